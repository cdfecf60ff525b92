"""How much damping for how many tokens: whisper-tiny.en or SmolLM2 at equal bits, for several dampings and amounts.

    python -m benchmarks.frontier_damping --models DIR --only whisper-tiny.en --amounts 12,59,234 --json FILE

DIR is what ``python -m benchmarks.frontier --models DIR --prepare`` filled. Moments are gathered once for an amount, at
the least damping; others are added to them. At each, the model is rounded by two steps around the bits asked for, and
the divergence is read between them on a logarithmic scale. A row is written as soon as it is known.
"""

from __future__ import annotations

import argparse
import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.frontier import Judge, calibrated_sizes, packed, put_in
from benchmarks.frontier_models import PACKAGES
from iwsltpack.building.size import near
from iwsltpack.calibration.block_rounding import Moments, Settings
from iwsltpack.calibration.model_weights import Weights
from iwsltpack.calibration.streams import reading
from iwsltpack.calibration.walk import gather
from iwsltpack.quantizers.calibrated import factorize
from iwsltpack.system import fileio

LEAST = 0.01
AROUND = (-0.12, 0.12)
"""Bits beside those asked for at which the divergence is measured."""


def damped(moments: Moments, damping: float, folder: Path) -> Moments:
    """Return moments with more damping than `LEAST`, made from those with it."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(moments.folder, folder)
    found = copy.copy(moments)
    found.folder = folder
    if damping == LEAST:
        return found
    for path in sorted(folder.glob("*.factor")):
        diagonal, *below = reading(path)
        moment = diagonal.square()
        if below:
            lower = torch.zeros(len(diagonal), len(diagonal), dtype=torch.float64)
            lower[tuple(torch.tril_indices(len(diagonal), len(diagonal)))] = below[0].double()
            moment = lower @ lower.T
        mean = float((moment.diagonal() if below else moment).mean()) / (1 + LEAST)
        more = (damping - LEAST) * mean
        path.unlink()
        name = path.name.removesuffix(".factor")
        found._save(name, factorize(moment + (more * torch.eye(len(moment)) if below else more), 0.0, name))
    return found


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, required=True, help="Models and work.")
    parser.add_argument("--only", choices=PACKAGES, required=True)
    parser.add_argument("--amounts", default="12,59", help="Clips or texts to calibrate on.")
    parser.add_argument("--dampings", default="0.05,0.2,0.5")
    parser.add_argument("--bits", type=float, default=2.5, help="A weight, scales and classes included.")
    parser.add_argument("--json", type=Path, required=True, help="Where rows are kept.")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows: list[dict[str, Any]] = fileio.read_json(options.json) if options.json.exists() else []
    judge = Judge(options.only, options.models, 0)
    for amount in map(int, options.amounts.split(",")):
        model = judge.subject.load()
        names = calibrated_sizes(judge.subject.folder)
        data = judge.subject.calibration(amount)
        work = options.models / "calibrations" / f"{options.only}-{amount}-damping"
        gathered = gather(
            Weights.of_model(model), data, work, Settings(damping=LEAST), selected=names.__contains__
        )
        for damping in map(float, options.dampings.split(",")):
            if any((row["amount"], row["damping"]) == (amount, damping) for row in rows):
                continue
            moments, points = damped(gathered, damping, work / f"{damping:g}"), []
            for more in AROUND:
                wanted = options.bits + more
                step = near(moments.bits, moments.guess(wanted), wanted)
                found = judge.subject.load()
                rounded = moments.round(step, work / f"{damping:g}-{wanted:g}")
                artifact = packed(judge.subject.folder, rounded, work / f"{rounded.name}.artifact")
                size, weights = put_in(found, artifact)
                shutil.rmtree(rounded)
                shutil.rmtree(artifact.path)
                row = judge.row(
                    found, way="", code="", bytes=size, bits_per_weight=0, seconds=0, amount=amount
                )
                points.append((8 * size / weights, row.kl, row.kl_error))
            bits, losses, _ = (np.array(column) for column in zip(*points, strict=True))
            slope = float(np.diff(np.log(losses))[0] / np.diff(bits)[0])
            loss = float(np.exp(np.log(losses[0]) + slope * (options.bits - bits[0])))
            rows.append(
                {
                    "model": options.only,
                    "amount": amount,
                    "damping": damping,
                    "bits": options.bits,
                    "kl": loss,
                }
                | {"points": points, "tokens": gathered.targets}
            )
            fileio.write_json(options.json, rows)
            print(f"{options.only} {amount:>4} {damping:<5g} KL {loss:.4f}  {points}", flush=True)
            shutil.rmtree(work / f"{damping:g}")


if __name__ == "__main__":
    main()
