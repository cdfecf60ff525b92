"""Codes of a matrix laid class by class, so that codes of one size are packed together.

Rows of a matrix differ in how large their codes are, and so do its columns. Both are sorted into levels, and the class
of an entry is the sum of its row's and its column's, within bounds. In a chunk, rows are sorted by level and columns
are; then every class is a few rectangles, which lie one after the other. Levels come from sums of integers compared
with integers, the same on every machine.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal
from functools import cache, cached_property
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

CLASSES = 16
_FINE, _COARSE = 1 << 18, 1 << 14
"""Codes in a chunk from which levels are quarter, and half, powers of e; in a smaller one the tables of many classes
would cost more than they save."""
_BLOCK = 1 << 19
"""Codes put in their places at a time: they stay in cache."""
_EXACT = Context(prec=40)
_LEVELS = 32
"""Levels above one and below: codes of 0.0003 to 3,000 on average, and more in larger steps."""


@dataclass(frozen=True, eq=False)
class Classes:
    """The classes of a matrix's entries: ``clip(rows[i] + columns[j], 0, count - 1)``; there are `count` at most."""

    rows: NDArray[np.int8]
    columns: NDArray[np.int8]
    count: int

    @classmethod
    def of_blocks(cls, blocks: Iterable[NDArray[np.integer]], shape: tuple[int, ...], chunk: int) -> Self:
        """Sort the rows and columns of a matrix by the mean magnitude of their codes, which come some rows at a time.

        The number of codes in a chunk decides how fine the classes are; see `class_count`.
        """
        height, width = shape
        if class_count(chunk) == 1:
            return cls(np.zeros(height, np.int8), np.zeros(width, np.int8), 1)
        rows, down = [], np.zeros(width, np.int64)
        for block in blocks:
            magnitudes = np.abs(block.astype(np.int32))
            rows.append(magnitudes.sum(1, dtype=np.int64))
            down += magnitudes.sum(0, dtype=np.int64)
        steps = 4 if chunk >= _FINE else 2
        whole = _levels(down.sum(), height * width, steps)
        return cls(
            (_levels(np.concatenate(rows), width, steps) - whole + CLASSES // 2).astype(np.int8),
            (_levels(down, height, steps) - whole).astype(np.int8),
            CLASSES,
        )

    @cached_property
    def _columns(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Columns in order of their levels, and where each went."""
        order = np.argsort(self.columns, kind="stable")
        return order, np.argsort(order)

    def order(self, first: int, last: int) -> "Order":
        """Return how the codes of rows `first` to `last` lie in their chunk."""
        levels = self.rows[first:last].astype(np.intp)
        rows = np.argsort(levels, kind="stable")
        groups, starts = np.unique(levels[rows], return_index=True)
        columns = self.columns[self._columns[0]].astype(np.intp)
        # Of each group of rows, where the columns of every class begin and the last one's end.
        bounds = np.arange(1, self.count)[None] - groups[:, None]
        edges = np.searchsorted(columns, bounds).tolist()
        rectangles: list[list[tuple[slice, slice]]] = [[] for _ in range(self.count)]
        for (top, bottom), inner in zip(pairwise([*starts.tolist(), len(rows)]), edges, strict=True):
            for found, (left, right) in zip(rectangles, pairwise([0, *inner, len(columns)]), strict=True):
                if left < right:
                    found.append((slice(top, bottom), slice(left, right)))
        return Order(rows, *self._columns, rectangles)


@dataclass(frozen=True, eq=False)
class Order:
    """How the codes of a chunk's rows lie in it: the rectangles of each class, in the sorted matrix.

    `rows` and `columns` say which of them comes where once they are sorted, `places` where each column went.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    places: NDArray[np.intp]
    rectangles: list[list[tuple[slice, slice]]]

    @property
    def sizes(self) -> list[int]:
        """Codes of each class."""
        return [
            sum((down.stop - down.start) * (across.stop - across.start) for down, across in found)
            for found in self.rectangles
        ]

    def lay(self, codes: np.ndarray) -> np.ndarray:
        """Return codes, flat in a form of `iwsltpack.codecs.codes`, class by class."""
        if codes.ndim == 2:
            return np.stack([self.lay(plane) for plane in codes])
        matrix = codes.reshape(len(self.rows), len(self.columns))[self.rows].take(self.columns, 1)
        return np.concatenate([matrix[area].reshape(-1) for found in self.rectangles for area in found])

    def unlay(self, codes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Undo `lay` for plain codes: yield some rows at a time, still in cache, and the number of the first."""
        matrix = np.empty((len(self.rows), len(self.columns)), codes.dtype)
        start = 0
        for area in (area for found in self.rectangles for area in found):
            target = matrix[area]
            target[:] = codes[start : start + target.size].reshape(target.shape)
            start += target.size
        lines, step = np.argsort(self.rows), max(1, _BLOCK // len(self.columns))
        for start in range(0, len(lines), step):
            yield start, matrix[lines[start : start + step]].take(self.places, 1, mode="clip")


def class_count(chunk: int) -> int:
    """Return the classes at most for chunks of so many codes: one, or `CLASSES`."""
    return CLASSES if chunk >= _COARSE else 1


def _levels(sums: np.ndarray, number: int, steps: int) -> NDArray[np.intp]:
    """Return the levels of means given as sums of `number` codes: their logarithm, rounded to a share of one."""
    bounds = [
        int(_EXACT.multiply(mean, Decimal(number)).to_integral_value(ROUND_CEILING)) for mean in _means(steps)
    ]
    return np.searchsorted(np.array(bounds, np.int64), sums, "right") - _LEVELS


@cache
def _means(steps: int) -> list[Decimal]:
    """Return the means at which levels begin, in `steps` a power of e; `decimal` rounds alike everywhere."""
    return [_EXACT.exp(Decimal(2 * level + 1) / (2 * steps)) for level in range(-_LEVELS, _LEVELS)]
