"""n-grams that hypotheses and references share, counted for many segments at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

BLOCK = 200_000
"""Symbols counted at once, what fits a processor's cache; a longer segment is counted by itself."""


def count_shared(hypotheses: Sequence[Ints], references: Sequence[Ints], order: int) -> Ints:
    """Count the n-grams of each pair of segments, up to the length `order`.

    Segments are symbols, any numbers from 0, shape (length,). The counts are int64, shape (segments, order, 3): n-grams
    of the hypothesis, of the reference, and shared ones, each of which counts as often as it stands on both sides.
    """
    sizes = [len(one) + len(other) for one, other in zip(hypotheses, references, strict=True)]
    blocks, start = [np.zeros((0, order, 3), np.int64)], 0
    while start < len(sizes):
        stop, held = start + 1, sizes[start]
        while stop < len(sizes) and held + sizes[stop] <= BLOCK:
            held += sizes[stop]
            stop += 1
        blocks.append(_count_block(hypotheses[start:stop], references[start:stop], order))
        start = stop
    return np.concatenate(blocks)


def _count_block(hypotheses: Sequence[Ints], references: Sequence[Ints], order: int) -> Ints:
    lengths = np.array([len(line) for line in (*hypotheses, *references)])
    segments = len(hypotheses)
    sides, owners = np.divmod(np.repeat(np.arange(2 * segments), lengths), segments)
    symbols, radix = _ranked(np.concatenate([*hypotheses, *references]).astype(np.int64))
    shared = np.zeros((segments, order), np.int64)
    grams, top = symbols, radix
    for size in range(1, order + 1):
        if size > 1:
            if top * radix * segments * 2 >= 2**63:
                ranks = np.unique(grams, return_inverse=True)[1]
                grams, top = ranks, len(grams)
            grams = grams[:-1] * radix + symbols[size - 1 :]
            top *= radix
        last = len(grams)
        inside = (owners[:last] == owners[size - 1 :]) & (sides[:last] == sides[size - 1 :])
        keys = np.sort(_promising(((owners[:last] * top + grams) * 2 + sides[:last])[inside]))
        # Equal n-grams lie together now, the hypothesis' before the reference's.
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        counts, values = np.diff(starts, append=len(keys)), keys[starts]
        (pairs,) = np.nonzero(values[:-1] ^ 1 == values[1:])
        both = np.minimum(counts[pairs], counts[pairs + 1])
        shared[:, size - 1] = np.bincount(values[pairs] // 2 // top, weights=both, minlength=segments)
    totals = np.maximum(0, lengths.reshape(2, segments, 1) - np.arange(order))
    return np.stack([*totals, shared], axis=2)


def _promising(keys: Ints) -> Ints:
    """Leave out what the other side lacks, where one side is so much longer that this costs less than sorting it."""
    few = min(keys[keys % 2 == 0], keys[keys % 2 == 1], key=len)
    if len(keys) <= 8 * len(few) or not len(few):
        return keys if len(few) else few
    wanted = np.sort(few) ^ 1
    found = wanted[np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)] == keys
    return np.concatenate([few, keys[found]])


def _ranked(symbols: Ints) -> tuple[Ints, int]:
    """Return the symbols numbered without gaps, and how many different ones there are."""
    present = np.zeros(int(symbols.max(initial=0)) + 1, np.bool_)
    present[symbols] = True
    numbers = np.cumsum(present) - 1
    return numbers[symbols], max(1, int(numbers[-1]) + 1)
