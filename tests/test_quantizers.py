"""What a quantizer makes of a tensor comes back as it was made, or one clear error says why not."""

from __future__ import annotations

import pickle
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_codings import forms

from iwsltpack.codecs.codes import signed
from iwsltpack.errors import ArtifactError, InputError, UsageError
from iwsltpack.quantizers.quantizer import EXACT, Quantizer
from iwsltpack.quantizers.registry import QUANTIZERS, quantizer_of
from iwsltpack.quantizers.rounding import Rounding, fold_zeros
from iwsltpack.quantizers.scales import QuantizedMatrix, Scaled, scaled
from iwsltpack.quantizers.uniform import Uniform

RANDOM = np.random.default_rng(20261126)
BLOCKS = {
    "scalar": np.float32(0.31).reshape(()),
    "empty": np.zeros((0, 4), np.float32),
    "zeros": np.array([[0.0, -0.0, 1e-41, -1e-41]], np.float32),
    "weights": (RANDOM.standard_normal((33, 17)) * 0.02).astype(np.float32),
    "outliers": np.array([[0.01, -0.01, 300.0], [-300.0, 0.0, -1e-9]], np.float32),
    "largest": np.array([65504.0, -65504.0], np.float32),
}


def every_quantizer() -> dict[str, Quantizer]:
    """Return one or more quantizers of every registered kind, for a float32 tensor."""
    scales = RANDOM.uniform(0.25, 4, 3 * 17 + 33).astype(np.float16)
    made: dict[str, list[Quantizer]] = {
        "rounding": [Rounding(bits, "float32") for bits in (0, 4, 7, 9, 14)],
        "uniform": [Uniform(step, "float32") for step in (0.003, 2.0**-7, 1.0, 1e-4)],
        "calibrated": [Scaled(0.5, scales[:33], scales[33:50])],
    }
    assert set(made) == set(QUANTIZERS), "a quantizer is registered and not tested here"
    return {f"{name}-{number}": one for name, some in made.items() for number, one in enumerate(some)}


def source(quantizer: Quantizer, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a block as the quantizer takes it, and the weights that it stands for."""
    block = BLOCKS[name]
    if isinstance(quantizer, Rounding):
        return block, fold_zeros(quantizer.values(block, 0))
    if isinstance(quantizer, Uniform):
        block = block.clip(-EXACT * quantizer.step, EXACT * quantizer.step)
        multiples = [
            float(Fraction(round(Fraction(float(x)) / Fraction(quantizer.step)))) for x in block.flat
        ]
        return block, np.array([np.float16(np.float32(k * quantizer.step)) for k in multiples], np.float16)
    assert isinstance(quantizer, Scaled)
    codes = (
        np.rint(np.resize(block, (33, 17)) * 50).clip(-2000, 2000).astype(np.int32)[: len(block.reshape(-1))]
    )
    rows = quantizer.row_scale[: len(codes)]
    return codes, scaled(codes, rows, quantizer.column_scale, quantizer.step)


@pytest.mark.parametrize("quantizer", every_quantizer().values(), ids=list(every_quantizer()))
class TestEveryQuantizer:
    @pytest.mark.parametrize("name", BLOCKS)
    def test_codes_stand_for_what_it_makes_of_the_weights(self, quantizer: Quantizer, name: str) -> None:
        block, wanted = source(quantizer, name)
        codes = quantizer.codes(block, 0)
        assert codes.dtype in (np.uint8, np.uint16, np.int32)
        out = np.empty(block.size, np.float16)
        quantizer.weights(codes, 0, out)
        assert out.tobytes() == wanted.tobytes()
        integers = quantizer.integers(codes)
        assert integers.tolist() == signed(codes).tolist()
        assert integers.size == block.size

    def test_codes_are_the_same_in_every_form(self, quantizer: Quantizer) -> None:
        codes = signed(quantizer.codes(source(quantizer, "weights")[0][:2], 0)).astype(np.int32)
        wanted = np.empty(codes.size, np.float16)
        quantizer.weights(codes, 0, wanted)
        for form in [*forms(codes), codes.astype(np.int16)]:
            out = np.empty(codes.size, np.float16)
            quantizer.weights(form, 0, out)
            assert out.tobytes() == wanted.tobytes()
            assert quantizer.integers(form).tolist() == codes.tolist()

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
    def test_a_weight_that_has_no_code_is_named(self, quantizer: Quantizer, value: float) -> None:
        block, message = (
            np.array([[0, 1, 2], [3, 4, value]], np.float32),
            r"^5: a selected weight (is|cannot)",
        )
        if isinstance(quantizer, Scaled):
            block, message = np.zeros((2, 17), np.int32), r"^18: a calibrated weight is too large"
            block[1, 1] = 1 << 25 if value == 1e30 else 1 << 20
        with pytest.raises(InputError, match=message):
            quantizer.codes(block, 0)

    def test_its_class_makes_it_of_the_manifests_entry(self, quantizer: Quantizer) -> None:
        fields = {"bits": None, "quantizer": None, "step": None, **quantizer.described()}
        entry = SimpleNamespace(quantized=True, shape=(33, 17), name="x", **fields)
        again = quantizer_of(entry, quantizer.scales)  # type: ignore[arg-type]
        assert type(again) is type(quantizer) is QUANTIZERS[quantizer.name]
        assert again.step == quantizer.step
        assert np.array_equal(again.scales, quantizer.scales)  # type: ignore[arg-type]

    def test_it_can_be_sent_to_another_process(self, quantizer: Quantizer) -> None:
        there = pickle.loads(pickle.dumps(quantizer))
        assert (there.name, there.step) == (quantizer.name, quantizer.step)


def test_an_unknown_quantizer_lists_the_known() -> None:
    with pytest.raises(UsageError, match="unknown quantizer 'gptq'\n  expected: rounding"):
        QUANTIZERS["gptq"]
    entry = SimpleNamespace(quantized=True, quantizer="gptq", name="x.weight")
    with pytest.raises(ArtifactError, match=r"^x\.weight: quantized as this program does not know"):
        quantizer_of(entry)  # type: ignore[arg-type]


def test_codes_that_do_not_give_back_the_weights_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from iwsltpack.quantizers import rounding

    block, biased = BLOCKS["weights"], rounding._biased
    monkeypatch.setattr(rounding, "_biased", lambda values, bits: biased(values, bits) + np.uint16(1))
    with pytest.raises(ArtifactError, match=r"float32, step 2\^-7: integer codes do not give back"):
        Rounding(7, "float32").codes(block)
    rounding._code_table.cache_clear()
    with pytest.raises(ArtifactError, match=r"float16, step 2\^-7: integer codes do not give back"):
        Rounding(7, "float16").codes(np.full(3, 60.0, np.float16))


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


def test_weights_are_rounded_as_numpy_rounds() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    with np.errstate(invalid="ignore"):
        exact = halves[np.isfinite(halves)].astype(np.float32)
    codes = np.repeat(np.arange(-3000, 3000, dtype=np.int32)[:, None], 5, 1)
    for delta in (2.0**-14, 2.0**-24, 2.0**-30, 1.7e-5, 0.3, 31.0):
        row, column = np.ones(len(codes), np.float16), np.array([1, 0.333, 3e-5, 6e-8, 0], np.float16)
        with np.errstate(over="ignore"):
            wanted = (codes.astype(np.float32) * np.float32(delta) * column.astype(np.float32)).astype(
                np.float16
            )
        assert scaled(codes, row, column, delta).tobytes() == wanted.tobytes()
    between = (exact[:-1] + exact[1:]) / 2
    import torch

    with np.errstate(over="ignore"):
        for values in (exact, between, np.nextafter(between, np.float32(np.inf))):
            assert torch.from_numpy(values).half().numpy().tobytes() == values.astype(np.float16).tobytes()


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


def test_the_order_of_the_products_shows_in_the_bits() -> None:
    made = matrix(1500, 2000)
    codes, row, column = (
        array.astype(np.float32) for array in (made.codes, made.row_scale[:, None], made.column_scale)
    )
    delta = np.float32(made.delta)
    assert made.weights().tobytes() == (codes * (row * delta) * column).astype(np.float16).tobytes()
    for other in (
        codes * column * (row * delta),
        codes * row * delta * column,
        codes * (row * delta * column),
    ):
        assert made.weights().tobytes() != other.astype(np.float16).tobytes()


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
