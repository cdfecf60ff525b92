"""Rounding to the multiples of any step; `iwsltpack.quantizers.rounding` is for the paper's steps, and faster."""

import math
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from iwsltpack.codecs.codes import as_form, signed
from iwsltpack.codecs.dtypes import to_float32
from iwsltpack.documents.artifact import Tensor
from iwsltpack.errors import InputError, UsageError
from iwsltpack.quantizers.quantizer import EXACT, Quantizer


class Uniform(Quantizer):
    """A weight is float16(float32(code) * float32(step)); its code is the nearest, ties to even.

    `dtype` is the type of the source values, of no meaning to one who only reads.
    """

    name: ClassVar[str] = "uniform"

    def __init__(self, step: float, dtype: str = "float16") -> None:
        if not 0 < step < math.inf:
            raise UsageError("not a step", expected="a positive number", got=step)
        self.step, self.dtype = float(np.float32(step)), dtype

    @classmethod
    def of_entry(cls, entry: Tensor, _scales: NDArray[np.float16] | None = None, /) -> Self:
        """Return the rounding to an entry's step."""
        return cls(entry.step or 0)

    def codes(self, block: np.ndarray, _first: int = 0, /) -> np.ndarray:
        """Return the nearest codes."""
        values = to_float32(block, self.dtype).reshape(-1)
        with np.errstate(invalid="ignore", over="ignore"):
            codes = np.rint(values.astype(np.float64) / self.step)
            bad = ~(np.abs(codes) <= EXACT) | ~np.isfinite((codes * self.step).astype(np.float16))
        if bad.any():
            index = int(np.argmax(bad))
            raise InputError(
                "a selected weight cannot be rounded",
                where=index,
                expected=f"|weight| <= {np.finfo(np.float16).max:.0f}, and {EXACT} steps of {self.step}",
                got=float(values[index]),
                fix="leave this layer out of the recipe, or repair the checkpoint",
            )
        return as_form(codes.astype(np.int32))

    def weights(self, codes: np.ndarray, _first: int, out: NDArray[np.float16], /) -> None:
        """Fill `out` with the multiples of the step."""
        plain = signed(codes)
        out[:] = self.weights_at(plain, plain, plain)
