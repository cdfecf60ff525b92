"""Do the lines follow the audio? Rank correlation of segment durations and hypothesis lengths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from iwsltpack.submission.validation_rules import problem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from iwsltpack.errors import Problem

MIN_SEGMENTS: Final = 20
"""With fewer, chance alone gives correlations of 0.4 and more."""
SHUFFLED: Final = 0.15
SURE_FROM: Final = 50
"""Segments from which a correlation near zero is an error: chance then stays below 0.3."""
WEAK: Final = 0.5


def ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, counted from 1; equal values share the mean of their ranks.

    >>> ranks([10.0, 20.0, 10.0])
    [1.5, 3.0, 1.5]
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    result = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for position in order[start : end + 1]:
            result[position] = (start + end) / 2 + 1
        start = end + 1
    return result


def spearman(left: Sequence[float], right: Sequence[float]) -> float:
    """Return Spearman's rank correlation, ties handled; 0 where one side never varies.

    Raises
    ------
    ValueError
        Sequences of different lengths.
    """
    if len(left) != len(right):
        raise ValueError(f"{len(left)} values against {len(right)}")
    a, b = ranks(left), ranks(right)
    mean = (len(a) + 1) / 2
    covariance = sum((x - mean) * (y - mean) for x, y in zip(a, b, strict=True))
    spread = sum((x - mean) ** 2 for x in a) * sum((y - mean) ** 2 for y in b)
    return covariance / spread**0.5 if spread > 0 else 0.0


def check_alignment(durations: Sequence[float], lines: Sequence[str], path: Path) -> list[Problem]:
    """Return what durations (seconds) and lengths (characters) of the same segments say about the order."""
    if len(durations) != len(lines):
        return []
    if len(lines) < MIN_SEGMENTS:
        return [problem("alignment.skipped", f"{len(lines)} segments", path=path)]
    rho = spearman(durations, [len(line) for line in lines])
    figures = f"Spearman {rho:.3f} over {len(lines)} segments"
    if rho < SHUFFLED and len(lines) >= SURE_FROM:
        return [problem("alignment.shuffled", figures, path=path)]
    return [problem("alignment.weak", figures, path=path)] if rho < WEAK else []
