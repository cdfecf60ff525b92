"""Cut what is too long for the model at its silences."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from iwsltpack.testsets.audio import FRAME_SECONDS, Samples

MARGIN_SECONDS = 0.04
"""Kept under the limit, so that rounding to samples and rates never reaches it."""
SMOOTH_FRAMES = 15
"""0.3 s: a pause between phrases, not the closure of a plosive."""


def cut_at_silences(energy: Samples, seconds: float, limit: float) -> list[tuple[float, float]]:
    """Cut a stretch into pieces of at most `limit` seconds, each cut at the quietest place it can be at.

    Every cut lies in the later half of what its piece may hold, so that pieces are few; the last piece is never a
    sliver. `energy` is the mean square in frames of 20 ms, shape (n,). Pieces are (start, stop) in seconds: the
    first starts at 0, each begins where the one before ended, and the last stops at `seconds`.
    """
    if seconds <= limit:
        return [(0.0, seconds)]
    most = int((limit - MARGIN_SECONDS) / FRAME_SECONDS)
    least = max(1, most // 8)
    total = max(len(energy), int(np.ceil(seconds / FRAME_SECONDS)))
    loudness = _smooth(np.pad(energy.astype(np.float64), (0, total - len(energy))))
    cuts = [0]
    while total - cuts[-1] > most:
        start = cuts[-1]
        high = min(start + most, total - least)
        window = loudness[min(start + most // 2, high) : high + 1]
        # The latest of equally quiet places: in digital silence that makes the fewest pieces.
        cuts.append(high - int(np.argmin(window[::-1])))
    bounds = [cut * FRAME_SECONDS for cut in cuts] + [seconds]
    return list(itertools.pairwise(bounds))


def _smooth(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the energy around the *start* of each frame, where a cut would fall: shape (n + 1,)."""
    half = SMOOTH_FRAMES // 2
    sums = np.concatenate([[0.0], np.cumsum(energy)])
    places = np.arange(len(energy) + 1)
    first, last = np.maximum(places - half, 0), np.minimum(places + half, len(energy))
    mean: NDArray[np.float64] = (sums[last] - sums[first]) / np.maximum(last - first, 1)
    return mean
