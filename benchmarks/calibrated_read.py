"""Reading a calibrated artifact in format 2 beside one of uniform steps in format 1: the same matrices, one run.

    python -m benchmarks.calibrated_read --work DIR [--coding pcodec] [--size 4096] [--matrices 8] [--rounds 11]

Gaussian matrices whose rows and columns get scales of their own, and rounded to 2^-7. Another process makes the
artifacts, since one that decodes has built nothing. Both are read whole in turn, after one read that warms the page
cache. Prints bits a weight, and the medians of both clocks with their ratio.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.checks import read
from iwsltpack.artifact.reader import open_artifact
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.recipes import load_recipe
from iwsltpack.building.request import BuildRequest
from iwsltpack.quantizers.scales import QuantizedMatrix

STEP = float(np.float32(0.01))
RULES = {"format 1": "bits = 7", "format 2": 'quantizer = "calibrated"'}


def prepare(work: Path, size: int, count: int, coding: str) -> None:
    """Write a checkpoint and quantized matrices of it, and both artifacts."""
    drawn, tensors = np.random.default_rng(0), {}
    (work / "matrices").mkdir(parents=True)
    (work / "source").mkdir()
    for number in range(count):
        name = f"model.layers.{number}.mlp.up_proj.weight"
        rows, columns = (np.exp(drawn.normal(0, s, size)).astype(np.float16) for s in (0.3, 0.4))
        weights = drawn.normal(0, 0.012, (size, size)).astype(np.float32)
        steps = np.float32(STEP) * rows[:, None].astype(np.float32) * columns.astype(np.float32)
        QuantizedMatrix(
            codes=np.rint(weights / steps).astype(np.int16), row_scale=rows, column_scale=columns, delta=STEP
        ).save(work / "matrices" / f"{name}.matrix")
        tensors[name] = torch.from_numpy(weights).half()
    save_file(tensors, work / "source" / "model.safetensors")
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 1}
    (work / "source" / "config.json").write_text(json.dumps(config))
    for name, rule in RULES.items():
        recipe = work / f"{name}.toml"
        recipe.write_text(f"name = 'r{name[-1]}'\n[[layers]]\npattern = 'up_proj'\n{rule}\n")
        more = {"format_version": 1} if name.endswith("1") else {"matrices": work / "matrices"}
        build_artifact(BuildRequest(work / "source", work / name, load_recipe(str(recipe)), coding, **more))


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="Folder to make; it must not be there.")
    parser.add_argument("--coding", default="pcodec")
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--matrices", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    with ProcessPoolExecutor(1, get_context("spawn")) as other:
        other.submit(prepare, options.work, options.size, options.matrices, options.coding).result()
    artifacts = {name: open_artifact(options.work / name) for name in RULES}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in artifacts}
    for name, artifact in artifacts.items():
        size = sum(entry.bytes for entry in artifact.manifest.tensors)
        print(f"{name}: {8 * size / (options.matrices * options.size**2):.2f} bits a weight")
        read(artifact)
    for turn in range(options.rounds):
        for name in list(artifacts)[:: 1 if turn % 2 else -1]:
            found[name].append(read(artifacts[name]))
    for kind, what in enumerate(("elapsed", "computing")):
        one, other = (statistics.median(pair[kind] for pair in found[name]) for name in RULES)
        print(f"{what}: {one:.3f} s and {other:.3f} s: {other / one:.2f}x")
    shutil.rmtree(options.work)


if __name__ == "__main__":
    main()
