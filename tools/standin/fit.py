"""Fit one sigma to every linear layer from the paper's published per-layer bytes.

    python -m tools.standin.fit ../shared/data/apg/linear_layer_bytes.csv

The paper's chain (numcodecs Quantize with 2 digits, float16, Zstandard 3) takes more bytes the wider a layer's
weights spread. The curve bytes(sigma) is measured on Gaussian weights with that very chain and inverted. Writes
``sigmas.json``: for each role, one sigma a layer index.
"""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

import numpy as np
from numcodecs import Quantize, Zstd

from iwsltpack.system import fileio

TABLE = Path(__file__).with_name("sigmas.json")
SAMPLE = 1 << 21
GRID = np.geomspace(0.001, 0.05, 40)


def round_to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Return float32 values rounded to bfloat16, half to even, as uint16 bits."""
    bits = values.view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(
        np.uint16
    )


def curve() -> np.ndarray:
    """Return bits a weight of the paper's q2 chain at every sigma of `GRID`, float64."""
    normal = np.random.default_rng(0).standard_normal(SAMPLE, dtype=np.float32)
    quantize, zstd = Quantize(digits=2, dtype="f4", astype="f2"), Zstd(level=3)
    bits = []
    for sigma in GRID:
        weights = (round_to_bfloat16(normal * np.float32(sigma)).astype(np.uint32) << 16).view(np.float32)
        bits.append(8 * len(zstd.encode(quantize.encode(weights))) / SAMPLE)
    return np.array(bits)


def fit(path: Path) -> dict[str, list[float]]:
    """Return role -> sigma of every layer index, from the CSV of per-layer bytes."""
    known = curve()
    table: dict[str, dict[int, float]] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            name = row["layer_name"]
            index = int(found.group(1)) if (found := re.search(r"\.layers\.(\d+)\.", name)) else 0
            role = re.sub(r"\.layers\.\d+\.", ".layers.N.", name)
            bias = _bias_bytes(role)
            weights = (int(row["fp16_bytes"]) - bias) // 2
            bits = 8 * (int(row["global_q2_zstd3_bytes"]) - bias) / weights
            table.setdefault(role, {})[index] = round(float(np.interp(bits, known, GRID)), 6)
    return {role: [sigmas[index] for index in sorted(sigmas)] for role, sigmas in sorted(table.items())}


def _bias_bytes(role: str) -> int:
    """Bytes of a layer's float16 bias, which the paper's figures include uncompressed."""
    if role.startswith("audio_tower"):
        return 0 if "k_proj" in role else 2 * (5120 if role.endswith("fc1") else 1280)
    if role.startswith("multi_modal_projector"):
        return 2 * 4096
    return 2 * 4096 if re.search(r"[qkv]_proj$", role) else 0


if __name__ == "__main__":
    fileio.write_json(TABLE, fit(Path(sys.argv[1])))
    print(f"wrote {TABLE.name}")
