"""The lossy step: round weights to multiples of 2^-b exactly as the paper's chain does, as integer codes.

The paper's chain is float32 -> numcodecs ``Quantize(digits=d, dtype="f4", astype="f2")``. Quantize is absolute
rounding (half to even) to the step 2^-b with b = ceil(log2(10^d)), followed by a cast to float16, which is exact
up to code 2048 and rounds to 11 significant bits above. The integer code of a weight is k = value * 2^b of the
value *after* that cast, so that k * 2^-b is the paper's weight, bit for bit.

One thing is folded: Quantize gives -0.0 for small negative weights, an integer has one zero. The weights this
package gives back have +0.0 there, in every coding. No product or sum changes in value by that.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numcodecs import Quantize

from iwsltpack.codecs.dtypes import ROUNDABLE, to_float32
from iwsltpack.errors import ArtifactError, InputError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

BIAS16 = 0x8080
"""Added to a code to store it unsigned in 16 bits: codes -128..127 then share the constant high byte 0x80."""
SHORT = BIAS16 >> 8
"""That high byte."""
BIAS32 = 0x8000_0080
MIN16, MAX16 = -0x8000, 0xFFFF - BIAS16
"""Codes that fit both the biased unsigned and the signed 16-bit store."""
MAX_BITS = 14
"""Finest step: 65504 * 2^14, the largest float16 there, still fits a signed 32-bit code."""
TABLE_BLOCK = 1 << 18
"""Values looked up at a time: the 64-bit indices numpy makes stay in cache, and threads seldom wait for the
interpreter in between (measured: 1.8 times the rate of 1 << 14 with two threads)."""
_MAGNITUDE = np.uint16(0x7FFF)
"""All bits of a 16-bit float but its sign."""
INVALID = 0
"""Biased 16-bit code kept for a value that has none (NaN, infinity, out of the 16-bit range)."""


def bits_of_digits(digits: int) -> int:
    """Return b of the step 2^-b that numcodecs uses for decimal `digits` (1 -> 4, 2 -> 7, 3 -> 10, 4 -> 14)."""
    if not 0 <= digits <= 4:
        raise UsageError("no such rounding", expected="digits 0 to 4", got=digits)
    return math.ceil(math.log2(10**digits))


def digits_of_bits(bits: int) -> int | None:
    """Return the decimal digits whose step is 2^-bits, or None where there are none."""
    return next((digits for digits in range(5) if bits_of_digits(digits) == bits), None)


def reference(values: NDArray[np.float32], bits: int) -> NDArray[np.float16]:
    """Round by numcodecs' own Quantize where it has the step, by its formula between its steps.

    Parameters
    ----------
    values
        float32, any shape. Other types are refused: Quantize would reinterpret their bits in silence.
    bits
        Step 2^-bits.

    Returns
    -------
    ndarray
        float16 of the same shape, with Quantize's signed zeros; infinite where float16 cannot hold the value.
    """
    if values.dtype != np.float32:
        raise TypeError(f"reference() rounds float32, not {values.dtype}")
    with np.errstate(all="ignore"):
        if (digits := digits_of_bits(bits)) is not None:
            rounded = Quantize(digits=digits, dtype="<f4", astype="<f2").encode(values.ravel())
        else:
            scale = np.float32(2.0**bits)
            rounded = (np.around(scale * values.ravel()) / scale).astype(np.float16)
    result: NDArray[np.float16] = np.asarray(rounded, dtype=np.float16).reshape(values.shape)
    return result


def fold_zeros(values: NDArray[np.float16]) -> NDArray[np.float16]:
    """Return `values` with every -0.0 made +0.0 and all else untouched (NaN payloads included)."""
    return np.where(values == 0, np.float16(0), values)


class Rounder:
    """Rounds carried blocks of one type with one step.

    For 16-bit sources the code of each of the 65,536 bit patterns comes from a table that `reference`, that is
    numcodecs itself, filled: exact by construction and as fast as arithmetic.

    Parameters
    ----------
    bits
        Step 2^-bits, 0 to `MAX_BITS`.
    dtype
        Type of the source values, one of `ROUNDABLE`.
    """

    def __init__(self, bits: int, dtype: str) -> None:
        if not 0 <= bits <= MAX_BITS:
            raise UsageError("no such rounding", expected=f"bits 0 to {MAX_BITS}", got=bits)
        if dtype not in ROUNDABLE:
            raise InputError("cannot round this type", expected=", ".join(ROUNDABLE), got=dtype)
        self.bits, self.dtype = bits, dtype
        self.exact_codes = dtype != "float32"

    def codes16(self, block: np.ndarray) -> NDArray[np.uint16] | None:
        """Return the biased codes k + `BIAS16` of `block`, or None if a value has no 16-bit code.

        Where `exact_codes`, they stand for what `values` gives: that was checked for all 65,536 bit patterns.
        """
        if self.dtype == "float32":
            codes = _biased(reference(block, self.bits), self.bits)
        else:
            codes = look_up(_code_table(self.bits, self.dtype), block.view(np.uint16))
        return None if (codes == INVALID).any() else codes

    def short_codes(self, block: np.ndarray, out: NDArray[np.uint8]) -> bool:
        """Fill `out` with the low bytes of what `codes16` gives, if all codes are -128..127 and the source has 16 bits.

        Returns
        -------
        bool
            False, and `out` untouched, where a value is so large that its code, or that of its negative, may not be.
        """
        if self.dtype == "float32":
            return False
        table, largest = _short_table(self.bits, self.dtype)
        patterns = block.view(np.uint16).reshape(-1)
        for start in range(0, patterns.size, TABLE_BLOCK):
            if (patterns[start : start + TABLE_BLOCK] & _MAGNITUDE).max() > largest:
                return False
        _look_up_into(table, patterns, out)
        return True

    def codes32(self, block: np.ndarray) -> NDArray[np.int32]:
        """Return the codes k of `block`, whatever their range.

        Raises
        ------
        InputError
            A value is NaN, infinite, or too large for float16; its flat index in the block is told.
        """
        values = reference(to_float32(block, self.dtype), self.bits)
        if not np.isfinite(values).all():
            raise self._unusable(block, values)
        return np.rint(values.astype(np.float64) * 2.0**self.bits).astype(np.int32)

    def values(self, block: np.ndarray) -> NDArray[np.float16]:
        """Return what the paper's chain makes of `block` (zeros folded), without going through codes."""
        if self.dtype == "float32":
            return fold_zeros(reference(block, self.bits))
        return look_up(_value_table(self.bits, self.dtype), block.view(np.uint16))

    def signed_values(self, block: np.ndarray) -> NDArray[np.float16]:
        """Return what the paper's filters make of `block`, signed zeros included: what a `paper` chunk holds."""
        return reference(to_float32(block, self.dtype), self.bits)

    def _unusable(self, block: np.ndarray, values: NDArray[np.float16]) -> InputError:
        index = int(np.flatnonzero(~np.isfinite(values.ravel()))[0])
        value = float(to_float32(block.reshape(-1)[index : index + 1], self.dtype)[0])
        what = "too large for the codec" if math.isfinite(value) else "not a finite number"
        return InputError(
            f"a selected weight is {what}",
            where=index,
            expected=f"|weight| <= {np.finfo(np.float16).max:.0f}",
            got=value,
            fix="leave this layer out of the recipe, or repair the checkpoint",
        )


def look_up(table: np.ndarray, indices: NDArray[np.uint16]) -> np.ndarray:
    """Return ``table[indices]`` for a table of 65,536 entries, block by block.

    numpy widens 16-bit indices to 64 bits; done in small blocks, that stays in cache.
    """
    flat = np.ascontiguousarray(indices).reshape(-1)
    result = np.empty(flat.size, dtype=table.dtype)
    _look_up_into(table, flat, result)
    return result.reshape(indices.shape)


def _look_up_into(table: np.ndarray, indices: NDArray[np.uint16], out: np.ndarray) -> None:
    for start in range(0, indices.size, TABLE_BLOCK):
        block = slice(start, start + TABLE_BLOCK)
        # A 16-bit index cannot leave the table, so "clip" changes nothing but skips a copy of the output.
        np.take(table, indices[block], out=out[block], mode="clip")


def are_short(codes: NDArray[np.uint16]) -> bool:
    """Tell whether all of some biased 16-bit codes, at least one, are -128..127: one byte tells them apart."""
    return bool(codes.min() >> 8 == SHORT and codes.max() >> 8 == SHORT)


def values_of_planes(
    low: NDArray[np.uint8], high: NDArray[np.uint8], bits: int, out: NDArray[np.float16]
) -> None:
    """Fill `out` with the weights of biased 16-bit codes, given by their low and their high bytes; exact.

    Codes -128..127, as most are, are looked up two at a time.

    Parameters
    ----------
    low, high, out
        Flat and contiguous, of one length.
    """
    for start in range(0, out.size, TABLE_BLOCK):
        block = slice(start, start + TABLE_BLOCK)
        target, first, second = out[block], low[block], high[block]
        if second.size % 2 == 0 and second.min() == second.max() == SHORT:
            pairs = first.view(np.uint16)
            np.take(_pair_table(bits), pairs, out=target.view(np.uint32), mode="clip")
        else:
            codes = first | second.astype(np.uint16) << np.uint16(8)
            np.take(_decode_table(bits), codes, out=target, mode="clip")


def values_of_codes16(codes: NDArray[np.uint16], bits: int) -> NDArray[np.float16]:
    """Return the weights k * 2^-bits of biased 16-bit codes; exact."""
    return look_up(_decode_table(bits), codes)


def values_of_codes32(codes: NDArray[np.int32], bits: int) -> NDArray[np.float16]:
    """Return the weights k * 2^-bits of plain codes; exact for codes that `Rounder` made."""
    with np.errstate(over="ignore"):  # damaged codes may overflow; integrity is checked elsewhere
        return (codes.astype(np.float64) * 2.0**-bits).astype(np.float16)


def _biased(values: NDArray[np.float16], bits: int) -> NDArray[np.uint16]:
    with np.errstate(all="ignore"):
        k = np.rint(values.astype(np.float64) * 2.0**bits)
        fits = (k >= MIN16) & (k <= MAX16)
    return np.where(fits, k + BIAS16, INVALID).astype(np.uint16)


def _every_value(dtype: str) -> NDArray[np.float32]:
    patterns = np.arange(1 << 16, dtype=np.uint16)
    with np.errstate(invalid="ignore"):  # signalling NaN among the bit patterns
        return to_float32(patterns if dtype == "bfloat16" else patterns.view(np.float16), dtype)


@cache
def _value_table(bits: int, dtype: str) -> NDArray[np.float16]:
    return fold_zeros(reference(_every_value(dtype), bits))


@cache
def _code_table(bits: int, dtype: str) -> NDArray[np.uint16]:
    """Return the code of every bit pattern, once each is seen to stand for the reference's very value."""
    values = _value_table(bits, dtype)
    codes = _biased(values, bits)
    given_back = _decode_table(bits)[codes]
    if not np.array_equal(
        given_back.view(np.uint16)[codes != INVALID], values.view(np.uint16)[codes != INVALID]
    ):
        raise ArtifactError(
            "integer codes do not give back what this numcodecs rounds to", where=f"{dtype}, step 2^-{bits}"
        )
    return codes


@cache
def _short_table(bits: int, dtype: str) -> tuple[NDArray[np.uint8], int]:
    """Return the low byte of every bit pattern's code, and up to which magnitude, as a pattern, codes are short."""
    codes = _code_table(bits, dtype)
    long = codes >> 8 != SHORT
    either = long[: _MAGNITUDE + 1] | long[_MAGNITUDE + 1 :]
    return codes.astype(np.uint8), int(np.argmax(either)) - 1


@cache
def _pair_table(bits: int) -> NDArray[np.uint32]:
    """Return, for the low bytes of two codes -128..127 that stand one after the other, the two weights."""
    first = np.arange(1 << 16, dtype=np.uint16).view(np.uint8)
    pairs: NDArray[np.uint32] = _decode_table(bits)[first.astype(np.uint16) | SHORT << 8].view(np.uint32)
    return pairs


@cache
def _decode_table(bits: int) -> NDArray[np.float16]:
    return values_of_codes32(np.arange(1 << 16, dtype=np.int32) - BIAS16, bits)
