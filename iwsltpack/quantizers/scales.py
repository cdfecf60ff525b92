"""A matrix as integer codes with a scale for each row and each column, and the one formula that gives its weights.

A calibrated quantizer makes such matrices one by one; each waits in a file of its own until it is packed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from iwsltpack.errors import InputError
from iwsltpack.system import fileio

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantizedMatrix:
    """What a quantizer with scales makes of a matrix.

    Attributes
    ----------
    codes
        Shape (rows, columns); int32, or int16 where all fit.
    row_scale, column_scale
        float16, shapes (rows,) and (columns,); finite, none negative.
    delta
        The step that the scales stretch; a positive float32.

    Raises
    ------
    InputError
        The parts do not fit each other, or a scale is negative or not finite.
    """

    codes: NDArray[np.integer]
    row_scale: NDArray[np.float16]
    column_scale: NDArray[np.float16]
    delta: float

    def __post_init__(self) -> None:
        kinds = [array.dtype.name for array in (self.codes, self.row_scale, self.column_scale)]
        if kinds[0] not in ("int16", "int32") or kinds[1:] != ["float16", "float16"]:
            raise InputError(
                "not the types of a quantized matrix",
                expected="codes of int16 or int32, scales of float16",
                got=", ".join(kinds),
            )
        if self.codes.ndim != 2 or (*self.row_scale.shape, *self.column_scale.shape) != self.codes.shape:
            raise InputError(
                "the scales do not fit the codes",
                expected="a scale for each row and each column of a matrix",
                got=[array.shape for array in (self.codes, self.row_scale, self.column_scale)],
            )
        for what, scale in (("row", self.row_scale), ("column", self.column_scale)):
            if (bad := np.flatnonzero(~(scale >= 0) | np.isinf(scale))).size:
                raise InputError(
                    f"a {what}'s scale is negative or not finite", where=bad[0], got=scale[bad[0]]
                )
        if not 0 < self.delta < np.inf or float(np.float32(self.delta)) != self.delta:
            raise InputError("not a step", expected="a positive float32", got=self.delta)

    def weights(self) -> NDArray[np.float16]:
        """Return the weights, shape (rows, columns)."""
        return scaled(self.codes, self.row_scale, self.column_scale, self.delta)

    def save(self, path: Path) -> None:
        """Write the matrix to a file of its own: four arrays in numpy's format one after the other, the codes last."""
        with fileio.atomic_open(path) as stream:
            for array in (np.float32(self.delta), self.row_scale, self.column_scale, self.codes):
                np.lib.format.write_array(stream, np.asarray(array), allow_pickle=False)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote; the codes stay in the file until they are asked for.

        Raises
        ------
        InputError
            The file is missing, cut or something else.
        """
        try:
            with path.open("rb") as stream:
                delta, rows, columns = (
                    np.lib.format.read_array(stream, allow_pickle=False) for _ in range(3)
                )
                np.lib.format.read_magic(stream)  # 1.0, as of every array without names
                shape, _, kind = np.lib.format.read_array_header_1_0(stream)
                codes = np.memmap(path, kind, "r", stream.tell(), shape)
                return cls(codes=codes, row_scale=rows, column_scale=columns, delta=float(delta))
        except (OSError, ValueError, TypeError) as error:
            raise InputError("cannot read a quantized matrix", where=path, got=str(error)) from error


def scaled(
    codes: NDArray[np.integer],
    row_scale: NDArray[np.float16],
    column_scale: NDArray[np.float16],
    delta: float,
) -> NDArray[np.float16]:
    """Return the weights of a matrix of codes, or of some of its rows.

    The order of the three products belongs to the format: every reader gets the same bits.

    Parameters
    ----------
    codes
        Shape (rows, columns), at most 2^24 in magnitude: float32 holds them exactly.
    row_scale, column_scale, delta
        See `QuantizedMatrix`.
    """
    rows = row_scale.astype(np.float32) * np.float32(delta)
    weights = codes.astype(np.float32)
    weights *= rows[:, None]
    weights *= column_scale.astype(np.float32)
    with np.errstate(over="ignore"):  # damaged codes may overflow; integrity is checked elsewhere
        return weights.astype(np.float16)
