"""The lossy step is numcodecs' Quantize, bit for bit, for every source type."""

from __future__ import annotations

import numpy as np
import pytest
from numcodecs import Quantize

from iwsltpack.codecs.codes import BIAS16
from iwsltpack.codecs.dtypes import to_float32
from iwsltpack.codecs.paper import bits_of_digits, digits_of_bits
from iwsltpack.errors import InputError, UsageError
from iwsltpack.quantizers.rounding import Rounding, fold_zeros, reference

EVERY_PATTERN = np.arange(1 << 16, dtype=np.uint16)


def weights_of(rounding: Rounding, codes: np.ndarray) -> np.ndarray:
    out = np.empty(codes.shape[-1], np.float16)
    rounding.weights(codes, 0, out)
    return out


def quantize(values: np.ndarray, digits: int) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(Quantize(digits=digits, dtype="f4", astype="f2").encode(values), dtype=np.float16)


def test_digits_give_the_steps_of_numcodecs() -> None:
    assert [bits_of_digits(digits) for digits in range(5)] == [0, 4, 7, 10, 14]
    assert [digits_of_bits(bits) for bits in (0, 4, 7, 10, 14)] == [0, 1, 2, 3, 4]
    assert digits_of_bits(8) is None


@pytest.mark.parametrize("digits", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_every_16_bit_pattern_rounds_to_the_bits_of_quantize(dtype: str, digits: int) -> None:
    source = EVERY_PATTERN if dtype == "bfloat16" else EVERY_PATTERN.view(np.float16)
    with np.errstate(invalid="ignore"):
        single = to_float32(source, dtype)
    wanted = quantize(single, digits)
    usable = np.isfinite(wanted)
    rounding = Rounding(bits_of_digits(digits), dtype)
    assert rounding.values(source[usable]).tobytes() == wanted[usable].tobytes()
    codes = rounding.codes(source[usable])
    assert codes.dtype == np.int32
    assert weights_of(rounding, codes).tobytes() == fold_zeros(wanted[usable]).tobytes()
    narrow = usable & (np.abs(wanted.astype(np.float64)) < 2.0 ** (14 - rounding.bits))
    codes = rounding.codes(source[narrow])
    assert codes.dtype == np.uint16
    assert weights_of(rounding, codes).tobytes() == fold_zeros(wanted[narrow]).tobytes()


@pytest.mark.parametrize("bits", [4, 7, 8, 10, 14])
def test_float32_values_survive_the_codes_bit_by_bit(bits: int) -> None:
    random = np.random.default_rng(1)
    values = np.concatenate(
        [random.standard_normal(5000) * spread for spread in (1e-4, 0.0125, 1.0)]
        + [[0.0, -0.0, 1e-40, -1e-40]]
    ).astype(np.float32)
    rounding = Rounding(bits, "float32")
    codes = rounding.codes(values)
    assert codes.dtype == (np.int32 if bits == 14 else np.uint16)
    assert weights_of(rounding, codes).tobytes() == fold_zeros(reference(values, bits)).tobytes()
    assert rounding.values(values).tobytes() == reference(values, bits).tobytes()


def test_error_is_at_most_half_a_step_where_float16_is_exact() -> None:
    values = np.random.default_rng(2).uniform(-2, 2, 10_000).astype(np.float32)
    for bits in (7, 10):
        error = np.abs(reference(values, bits).astype(np.float64) - values)
        assert error.max() <= 2.0**-bits / 2


def test_step_between_the_digits_follows_the_same_formula() -> None:
    values = np.array([0.3, -0.3, 1.0, 0.0019], dtype=np.float32)
    assert np.array_equal(reference(values, 8), (np.around(values * 256) / 256).astype(np.float16))


def test_halves_round_to_even_and_zeros_are_folded() -> None:
    step = 2.0**-7
    values = np.array([0.5, 1.5, 2.5, -0.5, -0.25], dtype=np.float32) * np.float32(step)
    raw = reference(values, 7)
    assert np.signbit(raw[3:]).all()  # numcodecs gives -0.0 here
    folded = weights_of(Rounding(7, "float32"), Rounding(7, "float32").codes(values))
    assert not np.signbit(folded).any()
    assert np.array_equal(folded / np.float16(step), [0, 2, 2, 0, 0])


def test_codes_out_of_the_16_bit_range_are_told_apart() -> None:
    rounding = Rounding(10, "float32")
    narrow = rounding.codes(np.array([0.5], dtype=np.float32))
    assert (narrow.dtype, narrow.tolist()) == (np.uint16, [512 + BIAS16])
    wide = rounding.codes(np.array([40.0, -40.0, 0.5], dtype=np.float32))
    assert (wide.dtype, wide.tolist()) == (np.int32, [40960, -40960, 512])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 70000.0])
def test_a_weight_without_a_code_is_named(value: float) -> None:
    block = np.array([0.1, 0.2, value], dtype=np.float32)
    with pytest.raises(InputError, match=r"^2: a selected weight is (not a finite number|too large)"):
        Rounding(10, "float32").codes(block)


def test_other_types_and_steps_are_refused() -> None:
    with pytest.raises(InputError, match="cannot round this type"):
        Rounding(7, "int64")
    with pytest.raises(UsageError, match="no such rounding"):
        Rounding(15, "float32")
    with pytest.raises(UsageError, match="digits 0 to 4"):
        bits_of_digits(9)
    with pytest.raises(TypeError, match="rounds float32, not float64"):
        reference(np.zeros(2), 7)  # type: ignore[arg-type]
