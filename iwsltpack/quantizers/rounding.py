"""The lossy step: round weights to multiples of 2^-b exactly as the paper's chain does, as integer codes.

The paper's chain is float32 -> numcodecs ``Quantize(digits=d, dtype="f4", astype="f2")``. Quantize is absolute
rounding (half to even) to the step 2^-b with b = ceil(log2(10^d)), followed by a cast to float16, which is exact
up to code 2048 and rounds to 11 significant bits above. The integer code of a weight is k = value * 2^b of the
value *after* that cast, so that k * 2^-b is the paper's weight, bit for bit.

One thing is folded: Quantize gives -0.0 for small negative weights, an integer has one zero. The weights this
package gives back have +0.0 there, in every coding. No product or sum changes in value by that.
"""

import math
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np
from numcodecs import Quantize
from numpy.typing import NDArray

from iwsltpack.codecs.codes import BIAS16, MAX16, MIN16, SHORT, signed
from iwsltpack.codecs.dtypes import ROUNDABLE, to_float32
from iwsltpack.codecs.paper import digits_of_bits
from iwsltpack.documents.artifact import Tensor
from iwsltpack.errors import ArtifactError, InputError, UsageError
from iwsltpack.quantizers.quantizer import Quantizer

MAX_BITS = 14
"""Finest step: 65504 * 2^14, the largest float16 there, still fits a signed 32-bit code."""
TABLE_BLOCK = 1 << 18
"""Values looked up at a time: the 64-bit indices numpy makes stay in cache, and threads seldom wait for the
interpreter in between (measured: 1.8 times the rate of 1 << 14 with two threads)."""
_MAGNITUDE = np.uint16(0x7FFF)
"""All bits of a 16-bit float but its sign."""
INVALID = 0
"""Biased 16-bit code kept for a value that has none (NaN, infinity, out of the 16-bit range)."""


def reference(values: NDArray[np.float32], bits: int) -> NDArray[np.float16]:
    """Round to the step 2^-bits by numcodecs' own Quantize where it has that step, by its formula between its steps.

    Values other than float32 are a `TypeError`: Quantize would reinterpret their bits in silence. The result has their
    shape and Quantize's signed zeros; it is infinite where float16 cannot hold the value.
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


class Rounding(Quantizer):
    """Rounds carried blocks of one type with one step.

    For 16-bit sources the code of each of the 65,536 bit patterns comes from a table that `reference`, that is
    numcodecs itself, filled: exact by construction and as fast as arithmetic.

    The step is 2^-bits, bits from 0 to `MAX_BITS`; `dtype`, the type of the source values, is one of `ROUNDABLE`, and
    of no meaning to one who only reads.
    """

    name: ClassVar[str] = "rounding"

    def __init__(self, bits: int, dtype: str = "float16") -> None:
        if not 0 <= bits <= MAX_BITS:
            raise UsageError("no such rounding", expected=f"bits 0 to {MAX_BITS}", got=bits)
        if dtype not in ROUNDABLE:
            raise InputError("cannot round this type", expected=", ".join(ROUNDABLE), got=dtype)
        self.bits, self.dtype, self.step = bits, dtype, 2.0**-bits

    @classmethod
    def of_entry(cls, entry: Tensor, _scales: NDArray[np.float16] | None = None, /) -> Self:
        """Return the rounding to an entry's bits."""
        return cls(entry.bits or 0)

    def described(self) -> dict[str, Any]:
        """Return the bits."""
        return {"bits": self.bits}

    def codes(self, block: np.ndarray, _first: int = 0, /) -> np.ndarray:
        """Return the codes of `block`, wherever it lies, in the shortest form that holds them all."""
        if self.dtype == "float32":
            return self._proven(reference(block, self.bits), block)
        planes = np.empty((2, block.size), np.uint8)
        if self.short_codes(block, planes[0]):
            planes[1] = SHORT
            return planes
        codes = np.empty(block.size, np.uint16)
        _look_up(_code_table(self.bits, self.dtype), block.view(np.uint16).reshape(-1), codes)
        # The table was proven pattern by pattern.
        return self._proven(self.values(block), block) if (codes == INVALID).any() else codes

    def short_codes(self, block: np.ndarray, out: NDArray[np.uint8]) -> bool:
        """Fill `out` with the low bytes of biased codes, if all codes are -128..127 and the source has 16 bits.

        False, and `out` untouched, where a value is so large that its code, or that of its negative, may not be.
        """
        if self.dtype == "float32":
            return False
        table, largest = _short_table(self.bits, self.dtype)
        patterns = block.view(np.uint16).reshape(-1)
        for start in range(0, patterns.size, TABLE_BLOCK):
            if (patterns[start : start + TABLE_BLOCK] & _MAGNITUDE).max() > largest:
                return False
        _look_up(table, patterns, out)
        return True

    def values(self, block: np.ndarray, _first: int = 0, /) -> NDArray[np.float16]:
        """Return what the paper's filters make of `block`, signed zeros included: what a `paper` chunk holds."""
        return reference(to_float32(block, self.dtype), self.bits)

    def weights(self, codes: np.ndarray, _first: int, out: NDArray[np.float16], /) -> None:
        """Fill `out` with the multiples of the step; exact."""
        if codes.dtype == np.uint8:
            self._fill(codes[0], codes[1], out)
        elif codes.dtype == np.uint16:
            _look_up(_decode_table(self.bits), codes, out)
        elif codes.dtype == np.int16:
            _look_up(_decode_table(self.bits), codes.view(np.uint16) + np.uint16(BIAS16), out)
        elif codes.dtype == np.int32:
            out[:] = values_of_codes32(codes, self.bits)
        else:
            out[:] = fold_zeros(codes)

    def _fill(self, low: NDArray[np.uint8], high: NDArray[np.uint8], out: NDArray[np.float16]) -> None:
        """Fill `out` with the weights of biased codes given by their bytes; -128..127, as most are, two at a time."""
        for start in range(0, out.size, TABLE_BLOCK):
            block = slice(start, start + TABLE_BLOCK)
            target, first, second = out[block], low[block], high[block]
            if second.size % 2 == 0 and second.min() == second.max() == SHORT:
                pairs = first.view(np.uint16)
                np.take(_pair_table(self.bits), pairs, out=target.view(np.uint32), mode="clip")
            else:
                codes = first | second.astype(np.uint16) << np.uint16(8)
                np.take(_decode_table(self.bits), codes, out=target, mode="clip")

    def integers(self, codes: np.ndarray) -> NDArray[np.int16] | NDArray[np.int32]:
        """Return the codes k, of which k * 2^-bits is the weight, exactly."""
        if codes.dtype != np.float16:
            return signed(codes)
        # Exact: a float16 times a power of two, far from float32's ends.
        scaled = codes.astype(np.float32) * np.float32(2.0**self.bits)
        with np.errstate(invalid="ignore"):
            found = scaled.astype(np.int32)
        if not np.array_equal(found.astype(np.float32), scaled):
            raise ValueError(f"a value is no multiple of 2^-{self.bits}")
        return found

    def _proven(self, values: NDArray[np.float16], block: np.ndarray) -> np.ndarray:
        """Return the codes of what `block` is rounded to, once each is seen to stand for its very value.

        A value that is NaN, infinite, or too large for float16 is an `InputError`.
        """
        values = values.reshape(-1)
        if not (finite := np.isfinite(values)).all():
            index = int(np.argmin(finite))
            value = float(to_float32(block.reshape(-1)[index : index + 1], self.dtype)[0])
            what = "too large for the codec" if math.isfinite(value) else "not a finite number"
            raise InputError(
                f"a selected weight is {what}",
                where=index,
                expected=f"|weight| <= {np.finfo(np.float16).max:.0f}",
                got=value,
                fix="leave this layer out of the recipe, or repair the checkpoint",
            )
        codes: np.ndarray = _biased(values, self.bits)
        if (codes == INVALID).any():
            codes = np.rint(values.astype(np.float64) * 2.0**self.bits).astype(np.int32)
        weights = np.empty(values.size, np.float16)
        self.weights(codes, 0, weights)
        _check_weights(weights, fold_zeros(values), f"{self.dtype}, step 2^-{self.bits}")
        return codes


def _check_weights(found: NDArray[np.float16], wanted: NDArray[np.float16], where: str) -> None:
    if not np.array_equal(found.view(np.uint16), wanted.view(np.uint16)):
        raise ArtifactError("integer codes do not give back what this numcodecs rounds to", where=where)


def _look_up(table: np.ndarray, indices: NDArray[np.uint16], out: np.ndarray) -> None:
    """Fill `out` with ``table[indices]``, block by block: so the 64-bit indices that numpy makes stay in cache."""
    for start in range(0, indices.size, TABLE_BLOCK):
        block = slice(start, start + TABLE_BLOCK)
        # A 16-bit index cannot leave the table, so "clip" changes nothing but skips a copy of the output.
        np.take(table, indices[block], out=out[block], mode="clip")


def values_of_codes32(codes: NDArray[np.integer], bits: int) -> NDArray[np.float16]:
    """Return the weights k * 2^-bits of plain codes; exact for codes that `Rounder` made."""
    with np.errstate(over="ignore"):  # damaged codes may overflow; integrity is checked elsewhere
        return (codes.astype(np.float64) * 2.0**-bits).astype(np.float16)


def _biased(values: NDArray[np.float16], bits: int) -> NDArray[np.uint16]:
    with np.errstate(all="ignore"):
        k = np.rint(values.astype(np.float64) * 2.0**bits)
        fits = (k >= MIN16) & (k <= MAX16)
    return np.where(fits, k + BIAS16, INVALID).astype(np.uint16)


@cache
def _code_table(bits: int, dtype: str) -> NDArray[np.uint16]:
    """Return the code of every bit pattern, once each is seen to stand for the reference's very value."""
    patterns = np.arange(1 << 16, dtype=np.uint16)
    with np.errstate(invalid="ignore"):  # signalling NaN among the bit patterns
        every = to_float32(patterns if dtype == "bfloat16" else patterns.view(np.float16), dtype)
    values = fold_zeros(reference(every, bits))
    codes = _biased(values, bits)
    valid = codes != INVALID
    _check_weights(_decode_table(bits)[codes][valid], values[valid], f"{dtype}, step 2^-{bits}")
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
