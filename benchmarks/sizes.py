"""Sizes asked for against sizes got, on models small enough for every machine.

    python -m benchmarks.sizes --models DIR --only whisper-tiny.en [--coding pcodec] [--count 10]

DIR is what ``python -m benchmarks.frontier --models DIR --prepare`` filled; ``--only miniature`` needs none. Moments
are gathered once; then an artifact is built for each of COUNT sizes, .15 to .4 of the checkpoint's bytes, and weighed.
Prints a line for each: asked, got, how far below, the damage on held-out data, and the artifacts it took.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.frontier_models import DEFAULT_AMOUNT, PACKAGES, subject
from iwsltpack.artifact.location import folder_bytes
from iwsltpack.building.checkpoint import open_checkpoint
from iwsltpack.building.recipes import BUILT_IN
from iwsltpack.building.request import BuildRequest
from iwsltpack.building.size import SizeTarget
from iwsltpack.calibration.block_rounding import Settings
from iwsltpack.calibration.calibrated_build import build_on
from iwsltpack.calibration.data import CalibrationData, CalibrationRequest
from iwsltpack.calibration.model_weights import Weights
from iwsltpack.calibration.towers import Batch
from iwsltpack.documents.artifact import Calibration
from iwsltpack.system import fileio
from iwsltpack.system.progress import SILENT, Reporter

DEMO = Path(__file__).parents[1] / "iwsltpack" / "demo"
MINIATURE = "miniature"
SHARES = {MINIATURE: (0.18, 0.4)}
"""Of the checkpoint's bytes; a fifth of the miniature's artifact is its tokenizer."""


class Real:
    """A model of `benchmarks.frontier_models` and its data, in the place of `CalibrationData`."""

    settings = Settings()

    def __init__(self, name: str, models: Path, amount: int) -> None:
        self.name, self.subject, self.amount = name, subject(name, models), amount
        self.measured_on = name

    def weights(self) -> Weights:
        """Return the model."""
        return Weights.of_model(self.subject.load())

    def batches(self, *_: object) -> tuple[list[Batch], list[Batch]]:
        """Return what to calibrate on, and what is held out."""
        return self.subject.calibration(self.amount), self.subject.held_out()[: self.amount]

    def record(self, tokens: int, step: float) -> Calibration:
        """Return what the manifest says."""
        return Calibration(
            name=self.name,
            sha256="0" * 64,
            segments=self.amount,
            tokens=tokens,
            labels="references",
            pair="en-zh",
            damping=None,
            step=step,
            seed=0,
        )


class Trials(Reporter):
    """Counts roundings."""

    count = 0

    def start(self, description: str, *_: Any, **__: Any) -> None:
        """Count."""
        self.count += description.startswith("rounding")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, required=True, help="Models and work.")
    parser.add_argument("--only", choices=[MINIATURE, *PACKAGES], required=True)
    parser.add_argument("--coding", default="pcodec")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument(
        "--amount", type=int, help="Clips or texts to calibrate on, and at most to measure on."
    )
    parser.add_argument("--json", type=Path, help="Where rows go.")
    options = parser.parse_args()
    source = DEMO / MINIATURE if options.only == MINIATURE else options.models / options.only
    asked = CalibrationRequest(data=DEMO / "testset")
    data: Any = (
        CalibrationData(asked, source, SILENT)
        if options.only == MINIATURE
        else Real(options.only, options.models, options.amount or DEFAULT_AMOUNT[options.only])
    )
    work = options.models / f"sizes-{options.only}"
    rows = []
    whole = open_checkpoint(source).nbytes
    for share in np.linspace(*SHARES.get(options.only, (0.15, 0.4)), options.count):
        size, output, told = int(share * whole), work / "artifact", Trials()
        shutil.rmtree(output, ignore_errors=True)
        target = SizeTarget(bytes=size)
        request = BuildRequest(source, output, BUILT_IN["calibrated"], options.coding, target=target)
        manifest = build_on(request, data, None, work=work / "calibration", progress=told)
        got = folder_bytes(output)
        rows.append({"asked": size, "got": got, "damage": str(manifest.damage), "artifacts": told.count})
        print(
            f"{size:>12,} {got:>12,} {100 * (got / size - 1):+.3f} %  {told.count}  {manifest.damage}",
            flush=True,
        )
        if options.json:
            fileio.write_json(options.json, {"model": options.only, "coding": options.coding, "rows": rows})


if __name__ == "__main__":
    main()
