"""A matrix as integer codes with a scale for each row and each column, and the one formula that gives its weights.

A calibrated quantizer makes such matrices one by one; each waits in a file of its own until it is packed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from iwsltpack.codecs.codes import as_form, signed
from iwsltpack.documents.artifact import Tensor
from iwsltpack.errors import ArtifactError, InputError
from iwsltpack.quantizers.quantizer import EXACT, Quantizer
from iwsltpack.system import fileio

SUFFIX = ".matrix"
"""Of the file of one matrix, after the tensor's name."""
BLOCK = 1 << 19
"""Weights computed at a time: what is made on the way stays in cache, and threads seldom wait for the interpreter."""
SERIAL = 1 << 15
"""Values that torch converts in the calling thread; for more it would start threads of its own."""


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

    InputError: the parts do not fit each other, or a scale is negative or not finite.
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
        """Read what `save` wrote, the codes when they are asked for; a file that is none is an `InputError`."""
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


def find_matrices(folder: Path) -> dict[str, Path]:
    """Return the files of a folder that hold a `QuantizedMatrix`, by tensor; none at all is an `InputError`."""
    found = {path.name.removesuffix(SUFFIX): path for path in sorted(folder.glob(f"*{SUFFIX}"))}
    if not found:
        raise InputError("no quantized matrix lies there", where=folder, expected=f"a folder of NAME{SUFFIX}")
    return found


class Scaled(Quantizer):
    """Codes with a scale for each row and each column, which stretch the step; see `QuantizedMatrix`."""

    name: ClassVar[str] = "calibrated"

    def __init__(
        self, step: float, row_scale: NDArray[np.float16], column_scale: NDArray[np.float16]
    ) -> None:
        self.step, self.row_scale, self.column_scale = step, row_scale, column_scale
        self._columns = column_scale.astype(np.float32)

    @classmethod
    def of_entry(cls, entry: Tensor, scales: NDArray[np.float16] | None, /) -> Self:
        """Return the quantizer with the scales that lie beside the codes."""
        if scales is None:
            raise ArtifactError("quantized with scales, and there are none", where=entry.name)
        return cls(entry.step or 0, *np.split(scales, [entry.shape[0]]))

    @property
    def scales(self) -> NDArray[np.float16]:
        """Those of the rows, then those of the columns."""
        return np.concatenate([self.row_scale, self.column_scale])

    def codes(self, block: np.ndarray, first: int, /) -> np.ndarray:
        """Return a block of a `QuantizedMatrix`'s codes, once its weights are seen to be finite."""
        rows = self.row_scale[first : first + len(block)]
        largest = np.abs(block.astype(np.int64)).max(1, initial=0)[:, None]
        column = self.column_scale.max(initial=np.float16(0), keepdims=True)
        # One column for all is enough in nearly every block.
        if (largest > EXACT).any() or not np.isfinite(scaled(largest, rows, column, self.step)).all():
            weights = scaled(block, rows, self.column_scale, self.step)
            bad = ~np.isfinite(weights) | (np.abs(block.astype(np.int64)) > EXACT)
            if bad.any():
                index = int(np.argmax(bad))
                raise InputError(
                    "a calibrated weight is too large",
                    where=index,
                    expected=f"a code up to {EXACT} and a weight up to {np.finfo(np.float16).max:.0f}",
                    got=f"code {block.reshape(-1)[index]}",
                    fix="calibrate again, with a larger step",
                )
        return as_form(block)

    def weights(self, codes: np.ndarray, first: int, out: NDArray[np.float16], /) -> None:
        """Fill `out` with codes times scales, some rows at a time: what is made on the way stays in cache."""
        target = out.reshape(-1, self.column_scale.size)
        step = max(1, BLOCK // target.shape[1])
        for start in range(0, len(target), step):
            part = slice(start, start + step)
            rows = self.row_scale[first + start : first + min(start + step, len(target))]
            block = signed(codes[..., start * target.shape[1] :][..., : target[part].size])
            scaled(block.reshape(len(rows), -1), rows, self._columns, self.step, target[part])

    def weights_at(
        self, codes: NDArray[np.integer], rows: np.ndarray, columns: np.ndarray, /
    ) -> NDArray[np.float16]:
        """Return the weights at these places, of the same bits as in `weights`."""
        column = self.column_scale[columns][:, None]
        return scaled(codes[:, None], self.row_scale[rows], column, self.step)[:, 0]


def scaled(
    codes: NDArray[np.integer],
    row_scale: NDArray[np.floating],
    column_scale: NDArray[np.floating],
    delta: float,
    out: NDArray[np.float16] | None = None,
) -> NDArray[np.float16]:
    """Return the weights of a `QuantizedMatrix`, or of some of its rows, in `out` where they are wanted there.

    The order of the three products belongs to the format: every reader gets the same bits. Codes are at most 2^24 in
    magnitude: float32 holds them exactly.
    """
    import torch

    rows = row_scale.astype(np.float32) * np.float32(delta)
    weights = codes.astype(np.float32)
    weights *= rows[:, None]
    weights *= column_scale.astype(np.float32, copy=False)
    result = np.empty(weights.shape, np.float16) if out is None else out
    # numpy's cast takes 5 ns a value and all of the rest together one; both round to the nearest, ties to even.
    source, target = weights.reshape(-1), result.reshape(-1)
    for start in range(0, source.size, SERIAL):
        part = slice(start, start + SERIAL)
        torch.from_numpy(target[part]).copy_(torch.from_numpy(source[part]))
    return result
