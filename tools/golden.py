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
from iwsltpack.documents.recipe import LayerRule, Recipe

DIGITS = 3


def main(version: int, output: Path) -> None:
    """Build one small artifact per coding, and the values they must decode to."""
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
    recipe = Recipe(
        name="golden", description="", techniques=("rounding",), layers=(LayerRule(pattern="mlp", bits=10),)
    )
    output.mkdir(parents=True)
    np.savez(output / "expected.npz", **expected)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        _write(source, tensors)
        for coding in ("paper", "zstd", "pcodec"):
            build_artifact(source, output / coding, recipe, coding, format_version=version)


def _write(folder: Path, tensors: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architectures": ["AnyModel"], "model_type": "any"}))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
