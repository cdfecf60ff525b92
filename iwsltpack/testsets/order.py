"""Do lines follow the audio? Rank correlation of segment durations and the lengths of texts."""

from collections.abc import Sequence
from typing import Final, Literal

from iwsltpack.documents.run import RunSegment
from iwsltpack.testsets.testset import Segment

Verdict = Literal["few", "shuffled", "weak", "fine"]

MIN_SEGMENTS: Final = 20
"""With fewer, chance alone gives correlations of 0.4 and more."""
SHUFFLED: Final = 0.15
SURE_FROM: Final = 50
"""Segments from which a correlation near zero is no accident: chance then stays below 0.3."""
WEAK: Final = 0.5


def ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, counted from 1; equal values share the mean of their ranks.

    >>> ranks([10.0, 20.0, 10.0])
    [1.5, 3.0, 1.5]
    """
    import numpy as np

    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return [float(rank) for rank in (np.cumsum(counts) - (counts - 1) / 2)[places]]


def spearman(left: Sequence[float], right: Sequence[float]) -> float:
    """Return Spearman's rank correlation, ties handled; 0 where one side never varies."""
    import numpy as np

    if len(left) != len(right):
        raise ValueError(f"{len(left)} values against {len(right)}")
    a, b = (np.array(ranks(side)) - (len(side) + 1) / 2 for side in (left, right))
    spread = float((a @ a) * (b @ b))
    return float(a @ b) / spread**0.5 if spread > 0 else 0.0


def compare_order(durations: Sequence[float], lengths: Sequence[int]) -> tuple[Verdict, str]:
    """Return what durations (seconds) and lengths (characters) of the same segments say, and the figures behind it."""
    if len(lengths) < MIN_SEGMENTS:
        return "few", f"{len(lengths)} segments"
    rho = spearman(durations, lengths)
    figures = f"Spearman {rho:.3f} over {len(lengths)} segments"
    if rho < SHUFFLED and len(lengths) >= SURE_FROM:
        return "shuffled", figures
    return "weak" if rho < WEAK else "fine", figures


def durations_of(segments: Sequence[Segment | RunSegment]) -> list[float]:
    """Return the seconds of each segment; of one that is all the rest of a file, by looking at the file."""
    from iwsltpack.testsets.audio import examine

    return [
        examine(segment.path).seconds - segment.offset if segment.duration is None else segment.duration
        for segment in segments
    ]
