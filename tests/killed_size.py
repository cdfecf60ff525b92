"""Run by a test in a process of its own: builds to a size that are killed at a chosen moment, each in a fork.

    python killed_size.py FOLDER MOMENTS

A moment is the Nth time that a build opens, renames, links, makes or removes something in its folder. Prints, as JSON,
how many there are, what was asked for and what the whole build weighs, whether the step that was found gives the
same bytes, and for every moment whether the kill came and whether what went on from it ended in them.
"""

from __future__ import annotations

import json
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import calibration_fixtures as small
import torch
from killed_calibration import attempt
from transformers import LlamaConfig, LlamaForCausalLM

from iwsltpack.artifact.location import folder_bytes
from iwsltpack.building.recipes import BUILT_IN
from iwsltpack.building.request import BuildRequest
from iwsltpack.building.size import SizeTarget
from iwsltpack.calibration.block_rounding import Settings
from iwsltpack.calibration.calibrated_build import build_on
from iwsltpack.calibration.model_weights import Weights
from iwsltpack.calibration.towers import Batch
from iwsltpack.documents.artifact import Calibration
from iwsltpack.documents.manifest import read_manifest

VOCABULARY = 4096


def model() -> Any:
    """Return a model large enough for half a percent of it to be some bytes."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, initializer_range=0.3, **sizes)).eval()


class Data:
    """A small model and its data, in the place of `CalibrationData`."""

    settings, measured_on = Settings(), "text"

    def weights(self) -> Weights:
        return Weights.of_checkpoint(ROOT / "checkpoint")

    def batches(self, *_: object) -> tuple[list[Batch], list[Batch]]:
        batches = small.text(3, VOCABULARY)
        return batches[:2], batches[2:]

    def record(self, tokens: int, step: float) -> Calibration:
        return Calibration(
            name="text",
            sha256="0" * 64,
            segments=2,
            tokens=tokens,
            labels="model",
            pair="en-zh",
            damping=None,
            step=step,
            seed=0,
        )


def build(output: Path, size: int | None, step: float | None = None) -> None:
    target = None if size is None else SizeTarget(bytes=size)
    request = BuildRequest(ROOT / "checkpoint", output, BUILT_IN["calibrated"], "pcodec", target=target)
    build_on(request, Data(), step)  # type: ignore[arg-type]


def result(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    ROOT, moments = Path(sys.argv[1]), int(sys.argv[2])
    model().save_pretrained(ROOT / "checkpoint")
    build(ROOT / "middle", None, 0.002)
    size = int(0.98 * folder_bytes(ROOT / "middle"))
    total = attempt(partial(build, ROOT / "whole", size), ROOT / "whole", 0)
    weighed = [size, folder_bytes(ROOT / "whole")]
    expected, manifest = result(ROOT / "whole"), read_manifest(ROOT / "whole")
    assert manifest.calibration is not None
    assert manifest.damage is not None
    build(ROOT / "step", None, manifest.calibration.step)
    outcome = []
    for number in range(moments):
        at = 1 + round(number * (total - 1) / (moments - 1))
        output = ROOT / f"killed-{number}"
        work = partial(build, output, size)
        killed = attempt(work, output, at) == -signal.SIGKILL
        if not output.exists():  # else it was killed with nothing left to do but to sweep up
            attempt(work, output, 0)
        outcome.append([at, killed, result(output) == expected])
    told = {
        "events": total,
        "weighed": weighed,
        "same_by_step": result(ROOT / "step") == expected,
        "damage": manifest.damage.to_json(),
        "outcome": outcome,
    }
    sys.stdout.write(json.dumps(told) + "\n")
