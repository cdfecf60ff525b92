"""Run by a test in a process of its own: calibrations that are killed at a chosen moment, each in a fork.

    python killed_calibration.py FOLDER MOMENTS

A moment is the Nth time that the calibration opens, renames, links, makes or removes something in its folder. Prints,
as JSON, how many there are, and for every moment whether the kill came and whether what went on from it ended in the
same bytes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import calibration_fixtures as small
import torch

from iwsltpack.calibration.block_rounding import Settings
from iwsltpack.calibration.model_weights import Weights
from iwsltpack.calibration.walk import gather

EVENTS = {"open", "os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"}


def attempt(work: Callable[[], None], folder: Path, kill_at: int) -> int:
    """Work in a fork that kills itself at an event in `folder` (0: never); return how it ended, or their number."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        with os.fdopen(reader) as pipe:
            told = pipe.read()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return -os.WTERMSIG(status)
        assert status == 0, told
        return int(told)
    events = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal events
        if event in EVENTS and str(folder) in str(args[0]):
            events += 1
            if events == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    try:
        work()
        os.write(writer, str(events).encode())
    except BaseException as error:
        os.write(writer, repr(error).encode())
        raise
    finally:
        os._exit(0 if sys.exc_info()[0] is None else 1)


def calibrate(folder: Path) -> None:
    """Gather the moments of the small model and round by two steps."""
    moments = gather(
        Weights.of_model(MODEL), BATCHES, folder, Settings(), selected=lambda name: "position" not in name
    )
    for name, step in (("fine", 0.05), ("coarse", 0.2)):
        moments.round(step, folder / "matrices" / name)


def result(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted((folder / "matrices").rglob("*.*"))
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    MODEL, BATCHES = small.whisper(), small.speech()
    root, moments = Path(sys.argv[1]), int(sys.argv[2])
    total = attempt(partial(calibrate, root / "whole"), root / "whole", 0)
    expected = result(root / "whole")
    outcome = []
    for number in range(moments):
        at = 1 + round(number * (total - 1) / (moments - 1))
        folder = root / f"killed-{number}"
        work = partial(calibrate, folder)
        killed = attempt(work, folder, at) == -signal.SIGKILL
        attempt(work, folder, 0)
        outcome.append([at, killed, result(folder) == expected])
    sys.stdout.write(json.dumps({"events": total, "files": len(expected), "outcome": outcome}) + "\n")
