"""The Pareto frontier against its definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from iwsltpack.report.frontier import Point, dominates, dominators, frontier

points = st.lists(
    st.builds(
        Point,
        name=st.uuids().map(str),
        quality=st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5]),
        size=st.integers(1, 6),
    ),
    max_size=12,
)


@given(points)
def test_the_frontier_is_exactly_what_nothing_dominates(systems: list[Point]) -> None:
    expected = {point.name for point in systems if not any(dominates(other, point) for other in systems)}
    assert {point.name for point in frontier(systems)} == expected


@given(points)
def test_every_dominated_point_is_dominated_by_the_frontier(systems: list[Point]) -> None:
    kept = frontier(systems)
    for point in systems:
        found = dominators(point, systems)
        assert bool(found) != (point in kept)
        assert all(dominates(other, point) and other in kept for other in found)


def test_equal_systems_do_not_dominate_each_other() -> None:
    twins = [Point(name="a", quality=0.5, size=3), Point(name="b", quality=0.5, size=3)]
    assert frontier(twins) == twins
    assert not dominators(twins[0], twins)


def test_the_frontier_is_ordered_by_size() -> None:
    systems = [Point(name=str(i), quality=i / 10, size=i) for i in (3, 1, 2)]
    assert [point.size for point in frontier(systems)] == [1, 2, 3]
