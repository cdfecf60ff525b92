"""Write the golden artifacts of a format version (once, by hand; tests only hold version 1 against what it still writes).

    python -m tools.golden 1 tests/golden/v1

The expected values in ``expected.npz`` come from numcodecs directly, not from this package's codecs.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from numcodecs import Quantize

from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.request import BuildRequest
from iwsltpack.documents.recipe import LayerRule, Recipe
from iwsltpack.quantizers.scales import QuantizedMatrix

DIGITS = 3
CODINGS = {1: ("paper", "zstd", "pcodec"), 2: ("zstd", "pcodec")}
"""The paper's stores no codes, and so no calibrated matrix."""
Tensors = dict[str, np.ndarray]


def main(version: int, output: Path) -> None:
    """Build one small artifact per coding, and the values they must decode to."""
    tensors, expected = _rounded()
    matrices = {}
    if version > 1:
        matrices = _calibrated()
        for name, (codes, row, column, step) in matrices.items():
            tensors[name] = np.zeros(codes.shape, np.float32)
            scaled = codes.astype("f4") * (row[:, None].astype("f4") * np.float32(step)) * column.astype("f4")
            expected[name] = scaled.astype(np.float16)
    recipe = Recipe(
        name="golden",
        description="",
        techniques=("rounding",),
        layers=(
            LayerRule(pattern="mlp", bits=10),
            *([LayerRule(pattern="o_proj", bits=None, step=0.003)] if version > 1 else []),
        ),
    )
    if version > 1:
        values, step = np.linspace(-1, 1, 35, dtype=np.float32).reshape(5, 7), np.float32(0.003)
        tensors["block.o_proj.weight"] = values
        rounded = np.rint(values / np.float64(step)).astype(np.float32) * step
        expected["block.o_proj.weight"] = rounded.astype(np.float16) + np.float16(0)
    output.mkdir(parents=True)
    np.savez(output / "expected.npz", **expected)
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "source", Path(folder) / "matrices"
        _write(source, tensors)
        made.mkdir()
        for name, (codes, row, column, step) in matrices.items():
            matrix = QuantizedMatrix(codes=codes, row_scale=row, column_scale=column, delta=step)
            matrix.save(made / f"{name}.matrix")
        for coding in CODINGS[version]:
            options = {"format_version": version, "matrices": made if matrices else None}
            build_artifact(BuildRequest(source, output / coding, recipe, coding, **options))


def _rounded() -> tuple[Tensors, Tensors]:
    """Return the tensors of version 1, and what they must be decoded to."""
    random = np.random.default_rng(20261122)
    layer = (random.standard_normal((24, 10)) * 0.02).astype(np.float32)
    layer[3, 4], layer[5, 6] = 1.75, -0.0
    wide = np.array([[40.0, -40.0], [1e-5, -1e-5]], dtype=np.float32)
    tensors = {
        "block.mlp.up_proj.weight": layer,
        "block.mlp.down_proj.weight": wide,
        "norm.weight": np.array([1.0, -0.0, np.inf], dtype=np.float32),
        "steps": np.array(-7, dtype=np.int64),
    }
    expected = dict(tensors)
    for name in ("block.mlp.up_proj.weight", "block.mlp.down_proj.weight"):
        half = np.asarray(
            Quantize(digits=DIGITS, dtype="f4", astype="f2").encode(tensors[name]), dtype=np.float16
        )
        expected[name] = half.reshape(tensors[name].shape) + np.float16(0)  # -0.0 + 0.0 is +0.0
    return tensors, expected


def _calibrated() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, float]]:
    """Return codes, scales of rows and of columns, and step of matrices with 16 classes, with one, and with wide codes."""
    random, made = np.random.default_rng(20261126), {}
    for name, shape in (("q_proj", (160, 120)), ("k_proj", (9, 7)), ("embed_tokens", (140, 130))):
        spread = np.exp(random.standard_normal(shape[0]))[:, None] * np.exp(random.standard_normal(shape[1]))
        codes = np.rint(random.standard_normal(shape) * spread).astype(np.int32)
        codes[3, 4] = 40_000 if name == "embed_tokens" else -200
        row, column = (random.uniform(0.5, 2, length).astype(np.float16) for length in shape)
        made[f"block.{name}.weight"] = codes, row, column, float(np.float32(0.0021))
    return made


def _write(folder: Path, tensors: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architectures": ["AnyModel"], "model_type": "any"}))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
