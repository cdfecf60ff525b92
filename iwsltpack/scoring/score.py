"""Score hypotheses: every number with its signature, computed once and then known by its content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from iwsltpack import cleaning
from iwsltpack.documents.artifact import Tool
from iwsltpack.documents.choices import Device
from iwsltpack.documents.score import (
    TITLES,
    Comparison,
    MetricResult,
    Score,
    ScoredText,
    Signature,
    digest,
)
from iwsltpack.errors import InputError, UsageError
from iwsltpack.scoring import sacrebleu_metrics
from iwsltpack.scoring.cache import ScoreCache, default_cache
from iwsltpack.scoring.comet import BATCH_SIZE, Comet
from iwsltpack.scoring.comet_checkpoint import DEFAULT_MODEL
from iwsltpack.scoring.language import NO_SPACES, settle_language
from iwsltpack.scoring.pairing import pair
from iwsltpack.scoring.significance import (
    BOOTSTRAP_SAMPLES,
    RANDOMIZATION_TRIALS,
    PairedResult,
    compare_means,
    compare_surface,
    seed,
)
from iwsltpack.scoring.texts import scored_text
from iwsltpack.system.progress import SILENT, Reporter
from iwsltpack.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iwsltpack.scoring.references import References
    from iwsltpack.scoring.texts import Hypotheses

METRICS = tuple(TITLES)
DEFAULT_METRICS = ("chrf", "bleu")
"""COMET is left out: its environment is a gigabyte and more."""


@dataclass(frozen=True, kw_only=True)
class CometOptions:
    """Which COMET: hub id, folder or file; segments a batch; ``auto``, ``cuda`` or ``cpu``."""

    model: str = DEFAULT_MODEL
    batch_size: int = BATCH_SIZE
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class _Text:
    """Hypotheses ready to be scored: as many lines as references, and what was done to get there."""

    scored: ScoredText
    lines: tuple[str, ...]
    cleaned: str | None
    resegmented: str | None


def score(
    hypotheses: Hypotheses,
    references: References,
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    language: str | None = None,
    clean: bool = False,
    as_server: bool = False,
    resegment: bool = False,
    baseline: Hypotheses | None = None,
    comet: CometOptions | None = None,
    cache: ScoreCache | None = None,
    progress: Reporter = SILENT,
) -> Score:
    """Score one set of hypotheses.

    Parameters
    ----------
    hypotheses
        From a text file or a run; see `read_hypotheses`.
    references
        From text, a manifest or XML, with sources where COMET is asked for; see `read_references`. Those of the
        hypotheses are taken, in their order; see `pair`.
    metrics
        Any of ``chrf``, ``bleu``, ``comet``.
    language
        Target language, two letters; None takes the run's, the file name's or the references'.
    clean
        Score what the cleaning rules make of the lines.
    as_server
        Do to the lines what the evaluation server does before it scores; after cleaning.
    resegment
        Cut the lines to the references first; without it their numbers must be equal.
    baseline
        Another system's hypotheses to test against.
    comet
        Checkpoint, batch size and device.
    cache
        Where results are kept; None takes the user's cache.
    progress
        Told about long steps.

    Returns
    -------
    Score
        Metrics in the order asked for.

    Raises
    ------
    InputError
        The references are of other segments, or COMET lacks sources.
    UsageError
        An unknown metric, or a language that nothing tells.
    """
    if unknown := [name for name in metrics if name not in METRICS]:
        raise UsageError(f"unknown metric {unknown[0]!r}", expected=", ".join(METRICS))
    if not metrics:
        raise UsageError("no metric to score with", expected=", ".join(METRICS))
    language = settle_language(hypotheses, references, language)
    given = references
    references = pair(given, hypotheses, resegment=resegment, reporter=progress)
    prepare = partial(_prepare, language=language, clean=clean, as_server=as_server, resegment=resegment)
    text = prepare(hypotheses, references)
    other = None
    if baseline is not None:
        _check_baseline(pair(given, baseline, resegment=resegment), references, baseline.name)
        other = prepare(baseline, references)
    scorer = _Scorer(references, language, cache or default_cache(), comet or CometOptions(), progress)
    try:
        results = tuple(scorer.result(name, text, other) for name in dict.fromkeys(metrics))
    finally:
        scorer.close()
    return Score(
        tool=_tool(results),
        language=language,
        hypotheses=text.scored,
        references=scored_text(references.name, references.lines),
        sources=None if references.sources is None else scored_text(references.name, references.sources),
        run=hypotheses.scored_run,
        cleaned=clean,
        resegmented=text.lines if text.resegmented else None,
        metrics=results,
    )


def merge(old: Score | None, new: Score) -> Score:
    """Return `new` with the metrics of `old` that it lacks, where both are of the same texts; else `new` alone."""
    if old is None or _made_of(old) != _made_of(new):
        return new
    kept = tuple(result for result in old.metrics if new.metric(result.metric) is None)
    order = {name: index for index, name in enumerate(METRICS)}
    metrics = tuple(sorted((*new.metrics, *kept), key=lambda result: order[result.metric]))
    libraries = {**old.tool.libraries, **new.tool.libraries}
    return replace(
        new,
        metrics=metrics,
        sources=new.sources or old.sources,
        tool=Tool(version=new.tool.version, libraries=libraries),
    )


def _made_of(score: Score) -> tuple[object, ...]:
    done = score.metrics[0].signature.cleaned
    return score.hypotheses, score.references, score.cleaned, done, score.resegmented


def _check_baseline(theirs: References, ours: References, name: str) -> None:
    """Refuse a baseline whose lines have other references than the system's, or the same in another order."""
    for number, (one, other) in enumerate(zip(ours.lines, theirs.lines, strict=False), 1):
        if one != other:
            raise InputError(
                "the baseline is of other segments, or of the same in another order",
                where=name,
                expected=f"{(ours.ids or ours.documents or ours.lines)[number - 1]} on line {number}",
                got=(theirs.ids or theirs.documents or theirs.lines)[number - 1],
            )


def _prepare(
    hypotheses: Hypotheses,
    references: References,
    *,
    language: str,
    clean: bool,
    as_server: bool,
    resegment: bool,
) -> _Text:
    lines, done = hypotheses.lines, []
    if clean:
        done.append(f"iwsltpack-{__version__}")
        lines = tuple(line.rstrip() for line in cleaning.clean_lines(lines, language).texts)
    scored = scored_text(hypotheses.name, lines)
    if as_server:
        done.append("server")
        lines = tuple(map(cleaning.as_server, lines))
    program = None
    if resegment:
        lines, program = _resegmented(lines, hypotheses, references, language)
    return _Text(scored=scored, lines=lines, cleaned="+".join(done) or None, resegmented=program)


def _resegmented(
    lines: tuple[str, ...], hypotheses: Hypotheses, references: References, language: str
) -> tuple[tuple[str, ...], str]:
    from iwsltpack.scoring.resegment import aligner_version, resegment

    recordings = hypotheses.documents
    if recordings is not None and len(set(recordings)) == len(lines):
        recordings = None  # each line is all of its talk, or nothing is known of the talks they belong to
    recut = resegment(
        lines,
        references.lines,
        documents=references.documents,
        hypothesis_documents=recordings,
        spaces=language not in NO_SPACES,
    )
    return tuple(recut), aligner_version()


def _tool(results: Sequence[MetricResult]) -> Tool:
    libraries = {}
    for result in results:
        settings = dict(part.split(":", 1) for part in result.signature.settings.split("|"))
        libraries["unbabel-comet" if result.metric == "comet" else "sacrebleu"] = settings["version"]
    return Tool(version=__version__, libraries=libraries)


class _Scorer:
    """Computes scores, or finds them in the cache; starts COMET at most once."""

    def __init__(
        self,
        references: References,
        language: str,
        cache: ScoreCache,
        options: CometOptions,
        progress: Reporter,
    ) -> None:
        self._references = references
        self._language = language
        self._cache = cache
        self._options = options
        self._progress = progress
        self._comet: Comet | None = None

    def close(self) -> None:
        """End COMET's worker."""
        if self._comet is not None:
            self._comet.close()

    def result(self, metric: str, text: _Text, baseline: _Text | None) -> MetricResult:
        """Return one metric's result, compared with the baseline where there is one."""
        own = self._scored(metric, text)
        if baseline is None:
            return own
        theirs = self._scored(metric, baseline)
        test = self._remember(
            {
                "test": metric,
                "ours": [own.signature.to_json(), digest(text.lines)],
                "theirs": [theirs.signature.to_json(), digest(baseline.lines)],
                "draws": [BOOTSTRAP_SAMPLES, RANDOMIZATION_TRIALS, seed()],
            },
            lambda: vars(self._test(metric, own, theirs, text, baseline)),
        )
        comparison = Comparison(
            baseline=baseline.scored,
            score=theirs.score,
            difference=own.score - theirs.score,
            bootstrap_samples=BOOTSTRAP_SAMPLES,
            randomization_trials=RANDOMIZATION_TRIALS,
            **test,
        )
        return replace(own, comparison=comparison)

    def _test(
        self, metric: str, own: MetricResult, theirs: MetricResult, text: _Text, baseline: _Text
    ) -> PairedResult:
        if metric == "comet":
            return compare_means(own.segments, theirs.segments)
        return compare_surface(metric, text.lines, baseline.lines, self._references.lines, self._language)

    def _scored(self, metric: str, text: _Text) -> MetricResult:
        return self._comet_score(text) if metric == "comet" else self._surface_score(metric, text)

    def _surface_score(self, metric: str, text: _Text) -> MetricResult:
        name, settings = sacrebleu_metrics.describe(metric, self._language)
        signature = self._signature(name, settings, text)
        references = self._references.lines
        value = self._remember_score(
            self._content(signature, text),
            lambda: sacrebleu_metrics.score_surface(metric, text.lines, references, self._language),
        )
        return self._finished(metric, signature, value)

    def _comet_score(self, text: _Text) -> MetricResult:
        sources = self._references.sources
        if sources is None:
            raise InputError(
                "COMET needs what was said as well as the references",
                where=self._references.name,
                fix="give it: --source FILE, or references in a manifest with a column source_en",
            )
        if self._comet is None:
            options = self._options
            self._comet = Comet(
                options.model, batch_size=options.batch_size, device=options.device, progress=self._progress
            )
        comet = self._comet
        value = self._cache.get(self._comet_content(comet, text)[1])
        if value is None:
            comet.start()  # from here on the device is certain
            signature, content = self._comet_content(comet, text)
            value = self._remember_score(
                content, lambda: comet.score(sources, text.lines, self._references.lines)
            )
        else:
            signature = self._comet_content(comet, text)[0]
        return self._finished("comet", signature, value)

    def _comet_content(self, comet: Comet, text: _Text) -> tuple[Signature, dict[str, Any]]:
        signature = replace(
            self._signature("COMET", comet.settings, text), checkpoint=comet.checkpoint.identity
        )
        content = self._content(signature, text)
        return signature, {**content, "hparams": comet.checkpoint.settings_sha256}

    def _content(self, signature: Signature, text: _Text) -> dict[str, Any]:
        return {"signature": signature.to_json(), "scored": digest(text.lines)}

    def _remember_score(
        self, content: dict[str, Any], compute: Callable[[], tuple[float, list[float]]]
    ) -> dict[str, Any]:
        return self._remember(content, lambda: dict(zip(("score", "segments"), compute(), strict=True)))

    def _remember(self, content: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        value = self._cache.get(content)
        if value is None:
            value = compute()
            self._cache.put(content, value)
        return value

    def _signature(self, metric: str, settings: str, text: _Text) -> Signature:
        sources = self._references.sources if metric == "COMET" else None
        return Signature(
            metric=metric,
            settings=settings,
            checkpoint=None,
            cleaned=text.cleaned,
            resegmented=text.resegmented,
            hypotheses=text.scored.sha256,
            references=digest(self._references.lines),
            sources=None if sources is None else digest(sources),
        )

    def _finished(self, metric: str, signature: Signature, value: dict[str, Any]) -> MetricResult:
        return MetricResult(
            metric=metric,  # type: ignore[arg-type]
            score=float(value["score"]),
            segments=tuple(map(float, value["segments"])),
            signature=signature,
        )
