"""The program that runs inside COMET's environment: one JSON request a line in, JSON events out.

It imports nothing of iwsltpack, which is not installed there. Requests: ``{"checkpoint", "reload", "offline",
"samples", "batch_size", "gpus"}``. Events: ``ready``, ``loaded``, ``progress``, ``scores``, ``error``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# This folder has modules of names that COMET's libraries import from elsewhere.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]


def open_events() -> Callable[..., None]:
    """Return what writes an event, with its fields, to what stdout is now; what libraries print goes to the log."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lock = threading.Lock()

    def send(event: str, **fields: Any) -> None:
        with lock:
            stream.write(json.dumps({"event": event, **fields}) + "\n")
            stream.flush()

    return send


def load_model(comet: Any, request: dict[str, Any]) -> Any:
    """Load a checkpoint, first from local files alone: what was downloaded once needs no network again."""
    if request["reload"]:
        # A relative encoder path in hparams.yaml means: beside it.
        os.chdir(Path(request["checkpoint"]).parent.parent)
    load = partial(comet.load_from_checkpoint, request["checkpoint"], reload_hparams=request["reload"])
    try:
        return load(local_files_only=True)
    except OSError:
        if request["offline"]:
            raise
        return load(local_files_only=False)


def tell_batches(model: Any, send: Callable[..., None]) -> None:
    """Make the model tell after every batch how many segments it held."""
    original = model.predict_step

    def step(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        send("progress", segments=len(result["scores"]))
        return result

    model.predict_step = step


def serve() -> None:
    """Answer requests until stdin ends."""
    send = open_events()
    torch = importlib.import_module("torch")
    comet = importlib.import_module("comet")
    send("ready", torch=torch.__version__, gpus=torch.cuda.device_count())
    models: dict[str, Any] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            checkpoint = request["checkpoint"]
            if checkpoint not in models:
                models[checkpoint] = load_model(comet, request)
                tell_batches(models[checkpoint], send)
            send("loaded")
            options = {name: request[name] for name in ("batch_size", "gpus")}
            output = models[checkpoint].predict(request["samples"], progress_bar=False, **options)
            send("scores", scores=list(output["scores"]), system=output["system_score"])
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is told to the other side
            send("error", kind=type(error).__name__, message=str(error))


if __name__ == "__main__":
    serve()
