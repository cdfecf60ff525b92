"""Scoring with COMET through one worker process in its own environment: never a hang, always an answer."""

import contextlib
import json
import math
import os
import queue
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, get_args

from iwsltpack.documents.choices import Device
from iwsltpack.errors import MissingDependency, ResourceError, UsageError, how_it_ended
from iwsltpack.scoring.comet_checkpoint import BATCH_SIZE, DEFAULT_MODEL, find_checkpoint, is_offline
from iwsltpack.scoring.comet_env import (
    COMET_VERSION,
    CometEnvironment,
    ensure_environment,
    last_words,
    worker_environment,
)
from iwsltpack.system.progress import SILENT, Reporter

START_SECONDS = 600.0
"""For the worker to import its libraries."""
SILENCE_SECONDS = 1800.0
"""Longest wait between two signs of life: loading a checkpoint, or one batch."""
SILENCE_VARIABLE = "IWSLTPACK_COMET_TIMEOUT"
NETWORK_WORDS = ("Connection", "offline", "resolve", "Max retries", "couldn't connect")


class Comet:
    """COMET with one checkpoint; the worker is started when the first score is needed and ends with the block.

    `model` is a hub id, a folder or ``model.ckpt``; the paper's batch size is 16; the device ``auto`` is a GPU where
    COMET's environment sees one. For errors see `find_checkpoint` and `ensure_environment`.
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        *,
        batch_size: int = BATCH_SIZE,
        device: Device = "auto",
        progress: Reporter = SILENT,
    ) -> None:
        if device not in get_args(Device):
            raise UsageError(f"unknown device {device!r}", expected=", ".join(get_args(Device)))
        if batch_size < 1:
            raise UsageError("a batch needs at least one segment", got=batch_size)
        self._progress = progress
        self.environment = ensure_environment(progress)
        self.checkpoint = find_checkpoint(model, progress)
        self._batch_size = batch_size
        self._told_device = device
        self.device: str = device
        if device == "auto":
            # Asking torch takes seconds; a wrong guess is put right when the worker tells.
            visible = os.environ.get("CUDA_VISIBLE_DEVICES", "all") not in ("", "-1")
            likely = visible and "+cpu" not in self.environment.torch and Path("/dev/nvidiactl").exists()
            self.device = "cuda" if likely else "cpu"
        self._worker: _Worker | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    @property
    def settings(self) -> str:
        """Everything the scores depend on beside checkpoint and texts, in a signature's form."""
        return (
            f"nrefs:1|version:{self.environment.comet}|torch:{self.environment.torch}|device:{self.device}"
            f"|precision:fp32|batch:{self._batch_size}"
        )

    def start(self) -> "_Worker":
        """Start the worker if it is not running, settle the device, and return the worker.

        A worker that does not start is a `MissingDependency`, and so is a GPU that was asked for and COMET's torch
        lacks.
        """
        if self._worker is not None:
            return self._worker
        self._worker = _Worker(self.environment, self._progress)
        try:
            gpus = self._worker.wait("ready", START_SECONDS)["gpus"]
        except BaseException:
            self.close()
            raise
        if self._told_device == "cuda" and not gpus:
            self.close()
            raise MissingDependency(
                "COMET's torch sees no GPU",
                got=f"torch {self.environment.torch}",
                fix="use --comet-device cpu, or set IWSLTPACK_COMET_TORCH to a version with CUDA",
            )
        if self._told_device == "auto":
            self.device = "cuda" if gpus else "cpu"
        return self._worker

    def score(
        self, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]
    ) -> tuple[float, list[float]]:
        """Return the system score and every segment's, around 0 to 1.

        A worker that was killed, fell silent, or reported an error is a `ResourceError`.
        """
        if not hypotheses:
            raise UsageError("COMET has nothing to score: there are no segments")
        samples = [
            {"src": source, "mt": hypothesis, "ref": reference}
            for source, hypothesis, reference in zip(sources, hypotheses, references, strict=True)
        ]
        worker = self.start()
        request = {
            "checkpoint": str(self.checkpoint.path),
            "reload": self.checkpoint.reload,
            "offline": is_offline(),
            "batch_size": self._batch_size,
            "gpus": 1 if self.device == "cuda" else 0,
            "samples": samples,
        }
        try:
            answer = worker.ask(request)
        except BaseException:
            self.close()
            raise
        scores, system = [float(value) for value in answer["scores"]], float(answer["system"])
        if len(scores) != len(samples) or not all(map(math.isfinite, [*scores, system])):
            raise ResourceError(
                "COMET's answer is no score for every segment",
                expected=f"{len(samples)} finite numbers",
                got=f"{sum(map(math.isfinite, scores))} finite numbers",
                fix="check the checkpoint",
            )
        return system, scores


class _Worker:
    """The worker process, its events as a queue, and its standard error as a log."""

    def __init__(self, environment: CometEnvironment, progress: Reporter) -> None:
        self._progress = progress
        told = os.environ.get(SILENCE_VARIABLE)
        try:
            self._silence = float(told) if told else SILENCE_SECONDS
        except ValueError as error:
            raise UsageError("not a number of seconds", where=SILENCE_VARIABLE, got=told) from error
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        script = Path(__file__).with_name("comet_worker.py")
        try:
            self._process = subprocess.Popen(
                [str(environment.python), "-X", "utf8", str(script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                encoding="utf-8",
                env=worker_environment(offline=is_offline()),
            )
        except OSError as error:
            self._log.close()
            raise MissingDependency(
                "the COMET worker does not start", where=environment.python, got=str(error)
            ) from error
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(ValueError, OSError):
            for line in self._process.stdout or ():
                self._events.put(json.loads(line))
        self._events.put(None)

    def wait(self, wanted: str, seconds: float = math.inf) -> dict[str, Any]:
        """Return the next event of a name; the wait begins anew with every sign of life."""
        limit = min(seconds, self._silence)
        while True:
            try:
                event = self._events.get(timeout=limit)
            except queue.Empty:
                raise ResourceError(
                    f"the COMET worker has been silent for {limit:.0f} s and was stopped",
                    got=last_words(self._log),
                    fix=f"try a smaller --comet-batch-size, or set {SILENCE_VARIABLE} to more seconds",
                ) from None
            if event is None:
                raise self._ended()
            if event["event"] == "error":
                message = f"{event.get('kind')}: {event.get('message')}"
                raise ResourceError(
                    "COMET could not score",
                    got=message,
                    fix="the encoder's tokenizer is downloaded on first use: run once with a network"
                    if any(word in message for word in NETWORK_WORDS)
                    else f"check that the checkpoint is one for unbabel-comet {COMET_VERSION}",
                )
            if event["event"] == wanted:
                return event
            if event["event"] == "progress":
                self._progress.advance(event["segments"])

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return its scores."""
        self._progress.start("COMET", len(request["samples"]))
        # A thread of its own: a worker that does not read would block this one without an end.
        threading.Thread(target=self._send, args=(json.dumps(request) + "\n",), daemon=True).start()
        try:
            return self.wait("scores")
        finally:
            self._progress.finish()

    def _send(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._process.stdin is not None:
                self._process.stdin.write(line)
                self._process.stdin.flush()

    def _ended(self) -> ResourceError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        return ResourceError(
            "the COMET worker ended before it answered",
            got=": ".join(filter(None, (how_it_ended(self._process.returncode), last_words(self._log)))),
            fix="if memory ran out, use a smaller --comet-batch-size; if its environment is damaged, remove the "
            "folder comet in iwsltpack's cache; then run the same command again",
        )

    def close(self) -> None:
        """End the process, politely first; nothing of it is left."""
        with contextlib.suppress(OSError, ValueError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
        self._process.kill()
        self._process.wait()
        self._reader.join(timeout=5)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()
