"""The Pareto frontier of quality and size: the systems no other beats in one without losing in the other."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Point:
    """A system's place: more quality is better (damage counts as negative quality), fewer bytes are better."""

    name: str
    quality: float
    size: int


def dominates(one: Point, other: Point) -> bool:
    """Tell whether `one` is at least as good and as small as `other`, and better or smaller."""
    no_worse = one.quality >= other.quality and one.size <= other.size
    return no_worse and (one.quality > other.quality or one.size < other.size)


def frontier(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other dominates, smallest first; equal points stay together.

    >>> [p.name for p in frontier([Point(name="a", quality=1, size=2), Point(name="b", quality=0, size=3)])]
    ['a']
    """
    kept = [point for point in points if not any(dominates(other, point) for other in points)]
    return sorted(kept, key=lambda point: point.size)


def dominators(point: Point, points: Sequence[Point]) -> list[Point]:
    """Return the frontier's points that dominate `point`, best quality first; none where it is on the frontier."""
    found = [other for other in frontier(points) if dominates(other, point)]
    return sorted(found, key=lambda other: (-other.quality, other.size))
