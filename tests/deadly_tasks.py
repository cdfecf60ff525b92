"""What workers do in the tests instead of decoding quietly. Light to import: a killed worker has to come back."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iwsltpack.decoding.dask_messages import BatchResult, BatchTask, WorkerSetup
from iwsltpack.decoding.dask_worker import translate_task

if TYPE_CHECKING:
    from iwsltpack.decoding.generation import Hypothesis

KILLER = 4
"""Index of the segment that kills workers."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_once(mark: str, setup: WorkerSetup, task: BatchTask) -> BatchResult:
    """Kill the first worker that is given the killer, after it has loaded the model."""
    path = Path(mark)
    if any(piece.segment == KILLER for piece in task.batch) and not path.exists():
        translate_task(setup, task)
        path.touch()
        die()
    return translate_task(setup, task)


def kill_always(setup: WorkerSetup, task: BatchTask) -> BatchResult:
    """Kill every worker that is given the killer."""
    if any(piece.segment == KILLER for piece in task.batch):
        die()
    return translate_task(setup, task)


def kill_whatever(setup: WorkerSetup, task: BatchTask) -> BatchResult:
    """Kill every worker, as a model does that does not fit the memory."""
    die()
    return translate_task(setup, task)


def short_of_memory(setup: WorkerSetup, task: BatchTask) -> BatchResult:
    """Let this worker's device hold one piece at a time."""
    import torch

    from iwsltpack.decoding.generation import Translator

    real = Translator.generate

    def generate(self: Translator, inputs: dict[str, Any], limit: int) -> list[Hypothesis]:
        if len(inputs["input_ids"]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, inputs, limit)

    Translator.generate = generate  # type: ignore[method-assign]
    try:
        return translate_task(setup, task)
    finally:
        Translator.generate = real  # type: ignore[method-assign]
