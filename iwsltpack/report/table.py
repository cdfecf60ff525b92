"""The table of a test set: differences, ratios, both measures of size, the frontier, and what must not be compared."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from iwsltpack.documents.choices import Measure
from iwsltpack.documents.results import SystemSize
from iwsltpack.errors import UsageError
from iwsltpack.report.frontier import Point, dominators, frontier
from iwsltpack.report.systems import DAMAGE, MEASURE_MEANINGS, MEASURE_TITLES, MEASURES, METRICS, System
from iwsltpack.scoring.comet_checkpoint import DEFAULT_MODEL

Status = Literal["frontier", "dominated", "not placed"]
NO_BASELINE = (
    "No baseline among the systems (recipe fp16, or --baseline-system NAME): no differences; ratios are against the "
    "source checkpoint."
)


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

    def figure(self, key: str) -> float | None:
        """Return the number in a column, None where there is none; sizes in bytes."""
        system = self.system
        if key in system.scores:
            return system.scores[key].score
        if key in system.sizes:
            return system.sizes[key].bytes
        own = {"delta": self.delta, "seconds_per_item": system.seconds_per_item, "ratio": self.ratio}
        return own.get(key)


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
        return f"{self.test_set}, {self.pair}" if self.test_set else "Artifacts without a run"


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
    metric
        What to rank by; None takes COMET where any system has it, then chrF, BLEU, the artifacts' damage.
    measure
        ``whole`` or ``linear``; None takes the one that more systems of the table are known by, the whole folder
        where that is even.
    baseline
        Name or title of the system to compare with; None takes the one marked as such (recipe fp16).
    """
    if metric is not None and metric not in METRICS:
        raise UsageError(f"unknown metric {metric!r}", expected=", ".join(METRICS))
    if measure is not None and measure not in MEASURES:
        raise UsageError(f"unknown measure of size {measure!r}", expected=", ".join(MEASURES))
    if baseline is not None and not any(baseline in (system.name, system.title) for system in systems):
        known = sorted({system.title for system in systems})
        raise UsageError(f"no system {baseline!r} to compare with", expected=", ".join(known))
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
        self._metrics = [name for name in METRICS if any(name in system.scores for system in systems)]
        wanted = metric or next(iter(self._metrics), None)
        self._metric = wanted if wanted in self._metrics else None
        known = {name: sum(name in system.sizes for system in systems) for name in MEASURES}
        most: Measure = max(MEASURES, key=lambda name: known[name])
        self._measure: Measure = measure or most
        self._baselines = [
            system
            for system in systems
            if (system.baseline if baseline is None else baseline in (system.name, system.title))
        ]
        self._comparable = {name: self._reference_signature(name) for name in self._metrics}

    def table(self, pair: str, test_set: str) -> ReportTable:
        rows = tuple(map(self._row, self._systems))
        best = {
            name: _best([row.compared.get(name) for row in rows], min if name == DAMAGE else max)
            for name in self._metrics
        }
        best["ratio"] = _best([row.ratio if row.like else None for row in rows], max)
        best |= {
            key: _best([row.figure(key) for row in rows], min) for key in (*MEASURES, "seconds_per_item")
        }
        frontiers = {name: tuple(p.name for p in frontier(self._points(name))) for name in MEASURES}
        return ReportTable(
            pair=pair,
            test_set=test_set,
            metrics=tuple(self._metrics),
            titles={name: self._title(name) for name in self._metrics},
            metric=self._metric,
            measure=self._measure,
            baseline=self._baselines[0].title if self._baselines else None,
            rows=rows,
            best=best,
            frontiers={name: titles for name, titles in frontiers.items() if titles},
            warnings=tuple(self._warnings(rows, frontiers)),
        )

    def _reference_signature(self, metric: str) -> str | None:
        """Return what a score must share to be compared: the baseline's, or else the most common."""
        theirs = [system.scores[metric].comparable for system in self._baselines if metric in system.scores]
        found = (system.scores[metric].comparable for system in self._systems if metric in system.scores)
        return theirs[0] if theirs else Counter(found).most_common(1)[0][0]

    def _title(self, metric: str) -> str:
        for system in self._systems:
            entry = system.scores.get(metric)
            if entry and entry.comparable == self._comparable[metric] and entry.checkpoint:
                usual = entry.checkpoint == DEFAULT_MODEL
                return METRICS[metric] if usual else f"{METRICS[metric]} ({entry.checkpoint})"
        return METRICS[metric]

    def _comparable_score(self, system: System, metric: str | None) -> float | None:
        entry = system.scores.get(metric or "")
        return entry.score if entry and entry.comparable == self._comparable[str(metric)] else None

    def _size(self, system: System) -> tuple[SystemSize | None, Measure | None]:
        """Return the size by the table's measure, or by another where only that is known."""
        for name in (self._measure, *MEASURES):
            if name in system.sizes:
                return system.sizes[name], name
        return None, None

    def _point(self, system: System, score: float, size: SystemSize) -> Point:
        return Point(name=system.title, quality=-score if self._metric == DAMAGE else score, size=size.bytes)

    def _points(self, measure: Measure | None = None) -> list[Point]:
        """Return the systems that have a place, by one measure alone where it is given."""
        points = []
        for system in self._systems:
            quality = self._comparable_score(system, self._metric)
            size = system.sizes.get(measure) if measure else self._size(system)[0]
            if quality is not None and size is not None:
                points.append(self._point(system, quality, size))
        return points

    def _row(self, system: System) -> ReportRow:
        quality = self._comparable_score(system, self._metric)
        size, measure = self._size(system)
        # The baseline in the same state of its text, or the first there is.
        same = [other for other in self._baselines if other.cleaned == system.cleaned]
        baseline = next(iter([*same, *self._baselines]), None)
        theirs = self._comparable_score(baseline, self._metric) if baseline else None
        whole: int | None = None
        if measure is not None and baseline is None:
            whole = system.source_sizes.get(measure)
        elif measure is not None and baseline is not None and measure in baseline.sizes:
            whole = baseline.sizes[measure].bytes
        status: Status = "not placed"
        beaten_by: tuple[str, ...] = ()
        if quality is not None and size is not None:
            own = self._point(system, quality, size)
            beaten_by = tuple(point.name for point in dominators(own, self._points()))
            status = "dominated" if beaten_by else "frontier"
        scores = {name: self._comparable_score(system, name) for name in self._metrics}
        return ReportRow(
            system=system,
            compared={name: value for name, value in scores.items() if value is not None},
            delta=None if quality is None or theirs is None else quality - theirs,
            size=size,
            size_measure=measure,
            like=measure == self._measure,
            ratio=whole / size.bytes if whole and size else None,
            status=status,
            dominated_by=beaten_by,
        )

    def _warnings(self, rows: Sequence[ReportRow], frontiers: dict[Measure, tuple[str, ...]]) -> list[str]:
        warnings = []
        for row in rows:
            if row.size_measure is not None and not row.like:
                other, own = (
                    f"{MEASURE_TITLES[name]} ({MEASURE_MEANINGS[name]})"
                    for name in (row.size_measure, self._measure)
                )
                warnings.append(
                    f"{row.system.title} is sized by another measure than its siblings: {other}, theirs is {own}. "
                    "Its ratio is taken by its own measure; its place on the graph and on the frontier does not "
                    "compare like with like."
                )
        for name, titles in frontiers.items() if warnings else ():
            if titles:
                known = sum(name in system.sizes for system in self._systems)
                warnings.append(
                    f"Frontier by {MEASURE_TITLES[name]} alone, of the {known} systems it is known of: "
                    f"{'; '.join(titles)}."
                )
        for metric in self._metrics:
            scored = [system for system in self._systems if metric in system.scores]
            odd = [system.title for system in scored if self._comparable_score(system, metric) is None]
            if odd:
                what = f"{METRICS[metric]} of {'; '.join(odd)}"
                warnings.append(f"{what} has another signature than the rest: shown, not compared.")
        if self._metrics and not self._baselines:
            warnings.append(NO_BASELINE)
        return warnings + [f"{row.system.title}: {row.system.note}." for row in rows if row.system.note]


def _best(values: list[float | None], choose: Callable[[list[float]], float]) -> frozenset[int]:
    """Return the places of the best of `values`, none where fewer than two are known."""
    known = [value for value in values if value is not None]
    best = choose(known) if len(known) > 1 else None
    return frozenset(place for place, value in enumerate(values) if value == best and value is not None)
