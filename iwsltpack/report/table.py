"""The table of a test set: differences, ratios, both measures of size, the frontier, and what must not be compared."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from iwsltpack.documents.choices import Measure
from iwsltpack.documents.results import SystemSize
from iwsltpack.documents.score import TITLES
from iwsltpack.errors import UsageError
from iwsltpack.report.frontier import Point, dominators, frontier
from iwsltpack.report.systems import MEASURE_MEANINGS, MEASURE_TITLES, MEASURES, System
from iwsltpack.scoring.comet_checkpoint import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Sequence

Status = Literal["frontier", "dominated", "not placed"]


@dataclass(frozen=True, kw_only=True)
class ReportRow:
    """A system with everything that follows from its companions.

    Attributes
    ----------
    compared
        By metric, the scores that may be compared with the other rows'.
    delta
        Ranking score above the baseline's; None without either, or where their signatures differ.
    size, size_measure
        The size it is placed by, and by which measure; None where none is known.
    like
        Whether that measure is the table's own.
    ratio
        The baseline's bytes (or the source's, without a baseline) over these, both by `size_measure`.
    status, dominated_by
        Its place, and titles of the frontier's systems that beat it.
    """

    system: System
    compared: dict[str, float]
    delta: float | None
    size: SystemSize | None
    size_measure: Measure | None
    like: bool
    ratio: float | None
    status: Status
    dominated_by: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ReportTable:
    """All systems of one test set.

    Attributes
    ----------
    metrics
        Those that any system has, in the order of columns.
    titles
        By metric, its heading: COMET by another checkpoint than the track's is named with it.
    metric, measure
        What the frontier is of; `metric` is None where nothing is scored.
    best
        For each column, the numbers of the rows that have its best value.
    frontiers
        By measure, the titles on the frontier of the systems whose size is known by it, smallest first.
    warnings
        Sentences a reader needs before comparing.
    """

    pair: str
    test_set: str
    metrics: tuple[str, ...]
    titles: dict[str, str]
    metric: str | None
    measure: Measure
    baseline: str | None
    rows: tuple[ReportRow, ...]
    best: dict[str, frozenset[int]]
    frontiers: dict[str, tuple[str, ...]]
    warnings: tuple[str, ...]

    @property
    def title(self) -> str:
        """Test set and language pair, or what else the rows have in common."""
        if not self.test_set:
            return "Artifacts without a run"
        return f"{self.test_set}, {self.pair}"


def make_tables(
    systems: Sequence[System],
    *,
    metric: str | None = None,
    measure: Measure | None = None,
    baseline: str | None = None,
) -> list[ReportTable]:
    """Return one table for each test set, in order of appearance.

    Parameters
    ----------
    systems
        See `gather` and `published`.
    metric
        What to rank by; None takes COMET where any system has it, then chrF, then BLEU.
    measure
        ``whole`` or ``linear``; None takes the one that more systems of the table are known by, the whole folder
        where that is even.
    baseline
        Name or title of the system to compare with; None takes the one marked as such (recipe fp16).

    Raises
    ------
    UsageError
        An unknown metric, measure or baseline.
    """
    if metric is not None and metric not in TITLES:
        raise UsageError(f"unknown metric {metric!r}", expected=", ".join(TITLES))
    if measure is not None and measure not in MEASURES:
        raise UsageError(f"unknown measure of size {measure!r}", expected=", ".join(MEASURES))
    if baseline is not None and not any(baseline in (system.name, system.title) for system in systems):
        raise UsageError(
            f"no system {baseline!r} to compare with", expected=", ".join(sorted({s.title for s in systems}))
        )
    groups: dict[tuple[str, str], list[System]] = {}
    for system in systems:
        groups.setdefault((system.pair, system.test_set), []).append(system)
    # Artifacts without a run come last.
    ordered = sorted(groups.items(), key=lambda item: not item[0][1])
    return [_Maker(members, metric, measure, baseline).table(*key) for key, members in ordered]


class _Maker:
    """Works out one table."""

    def __init__(
        self, systems: list[System], metric: str | None, measure: Measure | None, baseline: str | None
    ) -> None:
        self._systems = sorted(systems, key=lambda system: not system.baseline)
        present = [name for name in TITLES if any(name in system.scores for system in systems)]
        self._metrics = tuple(present)
        self._metric = metric if metric in present else (present[0] if present and metric is None else None)
        self._measure: Measure = measure or _common_measure(systems)
        self._baselines = [
            system
            for system in systems
            if (system.baseline if baseline is None else baseline in (system.name, system.title))
        ]
        self._comparable = {name: self._reference_signature(name) for name in present}

    def table(self, pair: str, test_set: str) -> ReportTable:
        rows = tuple(self._row(system) for system in self._systems)
        return ReportTable(
            pair=pair,
            test_set=test_set,
            metrics=self._metrics,
            titles={name: self._title(name) for name in self._metrics},
            metric=self._metric,
            measure=self._measure,
            baseline=self._baselines[0].title if self._baselines else None,
            rows=rows,
            best=self._best(rows),
            frontiers={name: titles for name in MEASURES if (titles := self._frontier_by(name))},
            warnings=tuple(self._warnings(rows)),
        )

    def _reference_signature(self, metric: str) -> str | None:
        """Return what a score must share to be compared: the baseline's, or else the most common."""
        for system in self._baselines:
            if metric in system.scores:
                return system.scores[metric].comparable
        counts = Counter(
            system.scores[metric].comparable for system in self._systems if metric in system.scores
        )
        return counts.most_common(1)[0][0]

    def _title(self, metric: str) -> str:
        for system in self._systems:
            entry = system.scores.get(metric)
            if entry and entry.comparable == self._comparable[metric] and entry.checkpoint:
                usual = entry.checkpoint == DEFAULT_MODEL
                return TITLES[metric] if usual else f"{TITLES[metric]} ({entry.checkpoint})"
        return TITLES[metric]

    def _comparable_score(self, system: System, metric: str | None) -> float | None:
        if metric is None or metric not in system.scores:
            return None
        entry = system.scores[metric]
        return entry.score if entry.comparable == self._comparable[metric] else None

    def _baseline_for(self, system: System) -> System | None:
        """Return the baseline in the same state of its text, or the first there is."""
        same = [other for other in self._baselines if other.cleaned == system.cleaned]
        return next(iter([*same, *self._baselines]), None)

    def _size(self, system: System) -> tuple[SystemSize | None, Measure | None]:
        """Return the size by the table's measure, or by another where only that is known."""
        for name in (self._measure, *MEASURES):
            if name in system.sizes:
                return system.sizes[name], name
        return None, None

    def _ratio(self, system: System, measure: Measure | None) -> float | None:
        if measure is None:
            return None
        baseline = self._baseline_for(system)
        if baseline is not None:
            whole = baseline.sizes[measure].bytes if measure in baseline.sizes else None
        else:
            whole = system.source_sizes.get(measure)
        return whole / system.sizes[measure].bytes if whole else None

    def _points(self, measure: Measure | None = None) -> list[Point]:
        """Return the systems that have a place, by one measure alone where it is given."""
        points = []
        for system in self._systems:
            quality = self._comparable_score(system, self._metric)
            size = system.sizes.get(measure) if measure else self._size(system)[0]
            if quality is not None and size is not None:
                points.append(Point(name=system.title, quality=quality, size=size.bytes))
        return points

    def _row(self, system: System) -> ReportRow:
        quality = self._comparable_score(system, self._metric)
        size, measure = self._size(system)
        baseline = self._baseline_for(system)
        theirs = None if baseline is None else self._comparable_score(baseline, self._metric)
        status: Status = "not placed"
        beaten_by: tuple[str, ...] = ()
        if quality is not None and size is not None:
            own = Point(name=system.title, quality=quality, size=size.bytes)
            beaten_by = tuple(point.name for point in dominators(own, self._points()))
            status = "dominated" if beaten_by else "frontier"
        return ReportRow(
            system=system,
            compared={
                name: value
                for name in self._metrics
                if (value := self._comparable_score(system, name)) is not None
            },
            delta=None if quality is None or theirs is None else quality - theirs,
            size=size,
            size_measure=measure,
            like=measure == self._measure,
            ratio=self._ratio(system, measure),
            status=status,
            dominated_by=beaten_by,
        )

    def _frontier_by(self, measure: Measure) -> tuple[str, ...]:
        return tuple(point.name for point in frontier(self._points(measure)))

    def _best(self, rows: tuple[ReportRow, ...]) -> dict[str, frozenset[int]]:
        best = {name: _where_best([row.compared.get(name) for row in rows], max) for name in self._metrics}
        best["ratio"] = _where_best([row.ratio if row.like else None for row in rows], max)
        for name in MEASURES:
            best[name] = _where_best([_bytes(row.system, name) for row in rows], min)
        best["seconds_per_item"] = _where_best([row.system.seconds_per_item for row in rows], min)
        return best

    def _warnings(self, rows: tuple[ReportRow, ...]) -> list[str]:
        return [
            *self._measure_warnings(rows),
            *self._signature_warnings(),
            *self._baseline_warnings(),
            *(f"{row.system.title}: {row.system.note}." for row in rows if row.system.note),
        ]

    def _measure_warnings(self, rows: tuple[ReportRow, ...]) -> list[str]:
        odd = [row for row in rows if row.size_measure is not None and not row.like]
        warnings = []
        for row in odd:
            other = str(row.size_measure)
            warnings.append(
                f"{row.system.title} is sized by another measure than its siblings: {MEASURE_TITLES[other]} "
                f"({MEASURE_MEANINGS[other]}), theirs is {MEASURE_TITLES[self._measure]} "
                f"({MEASURE_MEANINGS[self._measure]}). Its ratio is taken by its own measure; its place on the graph "
                "and on the frontier does not compare like with like."
            )
        if odd:
            for name in MEASURES:
                if titles := self._frontier_by(name):
                    known = sum(name in system.sizes for system in self._systems)
                    warnings.append(
                        f"Frontier by {MEASURE_TITLES[name]} alone, of the {known} systems it is known of: "
                        f"{'; '.join(titles)}."
                    )
        return warnings

    def _signature_warnings(self) -> list[str]:
        warnings = []
        for metric in self._metrics:
            odd = [
                system.title
                for system in self._systems
                if metric in system.scores and system.scores[metric].comparable != self._comparable[metric]
            ]
            if odd:
                warnings.append(
                    f"{TITLES[metric]} of {'; '.join(odd)} has another signature than the rest: shown, not compared."
                )
        return warnings

    def _baseline_warnings(self) -> list[str]:
        if self._baselines or not self._metrics:
            return []
        text = (
            "No baseline among the systems (recipe fp16, or --baseline-system NAME): no differences; ratios are "
            "against the source checkpoint."
        )
        return [text]


def _bytes(system: System, measure: Measure) -> float | None:
    return float(system.sizes[measure].bytes) if measure in system.sizes else None


def _where_best(values: list[float | None], choose: Any) -> frozenset[int]:
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return frozenset()
    best = choose(known)
    return frozenset(index for index, value in enumerate(values) if value == best)


def _common_measure(systems: Sequence[System]) -> Measure:
    counts = {name: sum(name in system.sizes for system in systems) for name in MEASURES}
    return max(MEASURES, key=lambda name: counts[name])
