"""Structured pruning of gated MLPs: whole intermediate units go, by weight magnitude."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iwsltpack.building.checkpoint import Checkpoint, SourceTensor
from iwsltpack.building.mlp_layers import DOWN, GATE, UP, gated_mlps, select
from iwsltpack.codecs.dtypes import ROUNDABLE, to_float32
from iwsltpack.documents.recipe import PruneRule
from iwsltpack.errors import UsageError

PROJECTIONS = (GATE, UP, DOWN)
BLOCK_ROWS = 512
PIECES, SAMPLED_ROWS = 16, 32
"""Places in a tensor that a sample is taken from, and rows scored at each."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The units that pruning keeps, ascending, of one axis: 0 for gate and up (rows are units), 1 for down."""

    axis: int
    units: NDArray[np.int64]

    def shape(self, source: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape that is left of `source`."""
        return tuple(len(self.units) if axis == self.axis else length for axis, length in enumerate(source))

    def read(self, source: SourceTensor, start: int, stop: int) -> np.ndarray:
        """Read what is kept of rows `start` to `stop` (counted after pruning)."""
        if self.axis == 1:
            return np.ascontiguousarray(source.rows(start, stop)[:, self.units])
        units = self.units[start:stop]
        first = int(units[0])
        return source.rows(first, int(units[-1]) + 1)[units - first]


def plan_pruning(checkpoint: Checkpoint, rule: PruneRule, *, sampled: bool = False) -> dict[str, Kept]:
    """Return what is kept, by tensor, of the weights and biases of every MLP whose name matches; see `scores`.

    UsageError: no MLP matches, nothing would be left of one, or nothing would go.
    """
    kept: dict[str, Kept] = {}
    mlps = gated_mlps(checkpoint.tensors)
    matched = select(rule.pattern, mlps)
    if not matched:
        raise UsageError(
            "the pruning pattern matches no gated MLP",
            where=rule.pattern,
            expected=f"a regular expression over names such as {mlps[0] if mlps else '(none here)'}",
        )
    for mlp in matched:
        units = keep_units(scores(checkpoint, mlp, sampled=sampled), rule.fraction)
        total = checkpoint.tensors[f"{mlp}.{GATE}.weight"].shape[0]
        if len(units) in (0, total):
            raise UsageError(
                f"pruning would leave {'nothing' if len(units) == 0 else 'every unit'} of an MLP",
                where=mlp,
                got=f"fraction {rule.fraction} of {total} units",
                fix="choose a fraction in between, or leave pruning out of the recipe",
            )
        for projection in PROJECTIONS:
            kept[f"{mlp}.{projection}.weight"] = Kept(axis=int(projection == DOWN), units=units)
        for projection in PROJECTIONS[:2]:
            if f"{mlp}.{projection}.bias" in checkpoint.tensors:
                kept[f"{mlp}.{projection}.bias"] = Kept(axis=0, units=units)
    return kept


def keep_units(magnitudes: NDArray[np.float64], fraction: float) -> NDArray[np.int64]:
    """Return the units that stay when the `fraction` of least magnitude goes, rounded down to whole units.

    Of equal magnitudes the earlier unit goes first, so that the choice is the same everywhere.

    >>> keep_units(np.array([3.0, 1.0, 2.0, 5.0, 4.0]), 0.2)
    array([0, 2, 3, 4])
    """
    dropped = math.floor(len(magnitudes) * fraction + 1e-9)  # 0.29 * 100 is 28.999… in binary
    return np.sort(np.argsort(magnitudes, kind="stable")[dropped:]).astype(np.int64)


def scores(checkpoint: Checkpoint, mlp: str, *, sampled: bool = False) -> NDArray[np.float64]:
    """Return the magnitude of every intermediate unit: the sum of |weight| over its gate row, up row, down column.

    With `sampled` over a part of large tensors: the units that are kept are about as large then, if not the same.
    """
    gate, up, down = (checkpoint.tensors.get(f"{mlp}.{projection}.weight") for projection in PROJECTIONS)
    if gate is None or up is None or down is None:
        raise UsageError("not a gated MLP", where=mlp, expected=", ".join(PROJECTIONS))
    if not (gate.shape == up.shape == down.shape[::-1]):
        raise UsageError(
            "the projections of an MLP do not fit each other",
            where=mlp,
            got=f"{gate.shape}, {up.shape}, {down.shape}",
        )
    for tensor in (gate, up, down):
        # Of the 8-bit floats only the bits are at hand, not the magnitude.
        if tensor.dtype.name not in ROUNDABLE:
            raise UsageError(
                "cannot prune weights of this type",
                where=tensor.name,
                expected=", ".join(ROUNDABLE),
                got=tensor.dtype.name,
            )
    if sampled and min(gate.shape) > 2 * PIECES * SAMPLED_ROWS:
        first = down.shape[0] // 8  # not where an estimate takes its samples from
        columns = _sums(down, axis=0, rows=range(first, first + SAMPLED_ROWS))
        places = sample_places(len(columns))[:, None] + np.arange(SAMPLED_ROWS)
        rows = np.concatenate(
            [_sums(gate, 1, range(*p)) + _sums(up, 1, range(*p)) for p in places[:, [0, -1]] + [0, 1]]
        )
        # The rows of other units are taken to be like those.
        total = np.resize(rows, len(columns))
        total[places.ravel()] = rows
        return total + columns * (down.shape[0] / SAMPLED_ROWS)
    return _sums(gate, axis=1) + _sums(up, axis=1) + _sums(down, axis=0)


def _sums(tensor: SourceTensor, axis: int, rows: range | None = None) -> NDArray[np.float64]:
    """Sum |weight| over one axis of a matrix, block of rows by block of rows."""
    total, rows = np.zeros(tensor.shape[1 - axis]), rows or range(tensor.shape[0])
    for start in rows[::BLOCK_ROWS]:
        stop = min(start + BLOCK_ROWS, rows.stop)
        values = to_float32(tensor.rows(start, stop), tensor.dtype.name)
        part = np.abs(values).sum(axis=axis, dtype=np.float64)
        if axis == 1:
            total[start:stop] = part
        else:
            total += part
    return total[rows.start : rows.stop] if axis == 1 else total


def sample_places(rows: int) -> NDArray[np.int64]:
    """Return the first rows of a sample, between the ends: the first tokens of a vocabulary are unlike all others."""
    return rows * (2 * np.arange(PIECES) + 1) // (2 * PIECES)
