"""What a quantizer makes of a tensor comes back as it was made, or one clear error says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from iwsltpack.errors import InputError
from iwsltpack.quantizers.scales import QuantizedMatrix, scaled

RANDOM = np.random.default_rng(20261126)


def matrix(rows: int = 5, columns: int = 7, kind: type = np.int16) -> QuantizedMatrix:
    return QuantizedMatrix(
        codes=np.rint(RANDOM.standard_normal((rows, columns)) * 3).astype(kind),
        row_scale=RANDOM.uniform(0.5, 2, rows).astype(np.float16),
        column_scale=RANDOM.uniform(0.5, 2, columns).astype(np.float16),
        delta=float(np.float32(0.013)),
    )


@pytest.mark.parametrize("kind", [np.int16, np.int32])
@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (0, 4), (3, 0)])
def test_a_quantized_matrix_comes_back_from_its_file(
    tmp_path: Path, kind: type, shape: tuple[int, int]
) -> None:
    made = matrix(*shape, kind)
    made.save(tmp_path / "matrix")
    read = QuantizedMatrix.load(tmp_path / "matrix")
    assert read.delta == made.delta
    for name in ("codes", "row_scale", "column_scale"):
        assert getattr(read, name).dtype == getattr(made, name).dtype
        assert np.array_equal(getattr(read, name), getattr(made, name))
    made.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "matrix").read_bytes()


def test_weights_are_products_of_float32_in_one_order() -> None:
    made = matrix(3, 4)
    wanted = np.empty((3, 4), np.float16)
    for row in range(3):
        for column in range(4):
            step = np.float32(made.row_scale[row]) * np.float32(made.delta)
            weight = np.float32(made.codes[row, column]) * step
            wanted[row, column] = np.float16(weight * np.float32(made.column_scale[column]))
    assert made.weights().tobytes() == wanted.tobytes()
    assert scaled(made.codes[1:2], made.row_scale[1:2], made.column_scale, made.delta).tobytes() == (
        wanted[1:2].tobytes()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": np.zeros((5, 7))}, "not the types"),
        ({"row_scale": np.ones(5, np.float32)}, "not the types"),
        ({"row_scale": np.ones(6, np.float16)}, "do not fit the codes"),
        ({"codes": np.zeros(12, np.int32)}, "do not fit the codes"),
        ({"column_scale": np.array([1, 1, np.nan, 1, 1, 1, 1], np.float16)}, r"^2: a column's scale"),
        ({"row_scale": np.array([1, 1, 1, 1, np.inf], np.float16)}, r"^4: a row's scale"),
        ({"row_scale": np.array([-1, 1, 1, 1, 1], np.float16)}, r"^0: a row's scale"),
        ({"delta": 0.0}, "not a step"),
        ({"delta": 0.1}, "not a step"),  # no float32
        ({"delta": float("nan")}, "not a step"),
    ],
)
def test_parts_that_make_no_matrix_are_refused(change: dict[str, Any], message: str) -> None:
    made = matrix()
    parts = {name: getattr(made, name) for name in ("codes", "row_scale", "column_scale", "delta")}
    with pytest.raises(InputError, match=message):
        QuantizedMatrix(**{**parts, **change})


def test_a_cut_file_of_a_matrix_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "matrix"
    matrix().save(path)
    whole = path.read_bytes()
    for size in (0, 3, 100, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="cannot read a quantized matrix"):
            QuantizedMatrix.load(path)
    with pytest.raises(InputError, match="cannot read a quantized matrix"):
        QuantizedMatrix.load(tmp_path / "absent")
