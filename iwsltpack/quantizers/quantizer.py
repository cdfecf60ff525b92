"""What a quantizer is: it turns a tensor into integer codes, chunk by chunk, and codes back into weights."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from iwsltpack.codecs.codes import signed
from iwsltpack.documents.artifact import Tensor
from iwsltpack.errors import UsageError

EXACT = 1 << 24
"""Largest code of a step that is no power of two: up to there float32 holds every one."""


class Quantizer(ABC):
    """How one tensor is quantized: a method, with a unique name, and the parameters it has for this tensor.

    It is asked for whole chunks, and told where they begin: nothing says that a weight depends on its own code alone.
    A code is multiplied by the step to get a weight, before any scales.
    """

    name: ClassVar[str]
    step: float

    @classmethod
    @abstractmethod
    def of_entry(cls, entry: Tensor, scales: NDArray[np.float16] | None, /) -> Self:
        """Return the quantizer that a tensor's entry in the manifest and the scales stored for it describe."""

    def described(self) -> dict[str, Any]:
        """Return what is said of it in a tensor's entry, field by field."""
        return {"quantizer": self.name, "step": self.step}

    @property
    def scales(self) -> NDArray[np.float16] | None:
        """A scale for each row, then each column, of a matrix whose codes are stored by class; None without any."""
        return None

    @abstractmethod
    def codes(self, block: np.ndarray, first: int, /) -> np.ndarray:
        """Return the codes of a block of the source that begins at row `first`, proven to stand for their weights.

        They come in one of the integer forms of `iwsltpack.codecs.codes`; the block is in the source's carrier type.
        A weight that cannot be quantized is an `InputError`, which tells its flat index in the block.
        """

    def values(self, _block: np.ndarray, _first: int, /) -> np.ndarray:
        """Return the values of a block themselves, for a coding that stores no codes; one without is a `UsageError`."""
        raise UsageError(f"a coding that stores no codes cannot hold what quantizer {self.name!r} makes")

    @abstractmethod
    def weights(self, codes: np.ndarray, first: int, out: NDArray[np.float16], /) -> None:
        """Fill `out`, flat and contiguous, with the weights of a chunk that begins at row `first`.

        The codes are in any form of `iwsltpack.codecs.codes`, as many as `out` takes.
        """

    def weights_at(
        self, codes: NDArray[np.integer], _rows: np.ndarray, _columns: np.ndarray, /
    ) -> NDArray[np.float16]:
        """Return the weights of plain codes that stand in a matrix at these rows and columns."""
        with np.errstate(over="ignore"):  # damaged codes may overflow; integrity is checked elsewhere
            return (codes.astype(np.float32) * np.float32(self.step)).astype(np.float16)

    def integers(self, codes: np.ndarray) -> NDArray[np.int16] | NDArray[np.int32]:
        """Return the codes of a chunk as plain numbers, flat; a stored value that is no code's is a `ValueError`."""
        return signed(codes)
