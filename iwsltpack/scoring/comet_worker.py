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
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# This folder has modules of names that COMET's libraries import from elsewhere.
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]

_write_lock = threading.Lock()


class Events:
    """Writes events to what stdout was when the program began."""

    def __init__(self) -> None:
        self._stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
        # Libraries print: whatever they say goes to the log.
        os.dup2(2, 1)

    def send(self, event: str, **fields: Any) -> None:
        """Write one event and flush it."""
        with _write_lock:
            self._stream.write(json.dumps({"event": event, **fields}) + "\n")
            self._stream.flush()


def load_model(comet: Any, request: dict[str, Any]) -> Any:
    """Load a checkpoint, first from local files alone: what was downloaded once needs no network again."""
    if request["reload"]:
        # A relative encoder path in hparams.yaml means: beside it.
        os.chdir(Path(request["checkpoint"]).parent.parent)
    attempts = (True,) if request["offline"] else (True, False)
    for local in attempts:
        try:
            return comet.load_from_checkpoint(
                request["checkpoint"], reload_hparams=request["reload"], local_files_only=local
            )
        except OSError:
            if local is attempts[-1]:
                raise
    raise AssertionError("unreachable")


def tell_batches(model: Any, events: Events) -> None:
    """Make the model tell after every batch how many segments it held."""
    original = model.predict_step

    def step(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        events.send("progress", segments=len(result["scores"]))
        return result

    model.predict_step = step


def serve() -> None:
    """Answer requests until stdin ends."""
    events = Events()
    torch = importlib.import_module("torch")
    comet = importlib.import_module("comet")
    events.send("ready", torch=torch.__version__, gpus=torch.cuda.device_count())
    models: dict[str, Any] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            checkpoint = request["checkpoint"]
            if checkpoint not in models:
                models[checkpoint] = load_model(comet, request)
                tell_batches(models[checkpoint], events)
            events.send("loaded")
            model = models[checkpoint]
            output = model.predict(
                request["samples"],
                batch_size=request["batch_size"],
                gpus=request["gpus"],
                progress_bar=False,
            )
            events.send("scores", scores=list(output["scores"]), system=output["system_score"])
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is told to the other side
            events.send("error", kind=type(error).__name__, message=str(error))


if __name__ == "__main__":
    serve()
