"""Score hypotheses: every number with its signature, computed once and then known by its content."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import regex

from iwsltpack.cleaning import chat_marks
from iwsltpack.cleaning.engine import LANGUAGES, clean_lines
from iwsltpack.cleaning.script import in_target, looks_english
from iwsltpack.documents.artifact import Tool
from iwsltpack.documents.choices import DEFAULT_METRICS
from iwsltpack.documents.score import (
    TITLES,
    Comparison,
    MetricCheckpoint,
    MetricResult,
    Score,
    ScoredText,
    Signature,
    digest,
)
from iwsltpack.errors import InputError, UsageError
from iwsltpack.scoring import sacrebleu_metrics
from iwsltpack.scoring.cache import ScoreCache, default_cache
from iwsltpack.scoring.comet import Comet
from iwsltpack.scoring.comet_checkpoint import CometOptions
from iwsltpack.scoring.pairing import pair
from iwsltpack.scoring.references import References, check_filled
from iwsltpack.scoring.resegment import aligner_version
from iwsltpack.scoring.resegment import resegment as cut_anew
from iwsltpack.scoring.significance import (
    BOOTSTRAP_SAMPLES,
    RANDOMIZATION_TRIALS,
    compare_means,
    compare_surface,
    seed,
)
from iwsltpack.scoring.texts import Hypotheses, scored_text
from iwsltpack.system.progress import SILENT, Reporter
from iwsltpack.version import __version__

NO_SPACES = ("zh", "ja")
"""Languages whose lines are joined without a space between them."""
SAMPLE = 1000
"""References that are looked at for their language."""
TARGETS = ("zh", "de", "ja", "ko")
"""Languages that BLEU has a tokenizer for."""


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
    """Score one set of hypotheses; results come in the order in which metrics are asked for.

    The references are from text, a manifest or XML, with sources where COMET is asked for; those of the hypotheses are
    taken, in their order; see `pair`. `metrics` are any of ``chrf``, ``bleu``, ``comet``. The target `language` has two
    letters; None takes the run's, the file name's or the references'.

    With `clean`, what the cleaning rules make of the lines is scored. `as_server` does to them, after that, what the
    evaluation server does before it scores. `resegment` cuts them to the references first; without it their numbers
    must be equal. `baseline` is another system's hypotheses to test against. Results are kept in `cache`; None takes
    the user's.

    References of other segments or another language, half of them empty or more, and sources that COMET lacks, are an
    `InputError`; an unknown metric, and a language that nothing tells, a `UsageError`. Single empty lines, and
    references that look like another language, are told to `progress`.
    """
    if unknown := [name for name in metrics if name not in TITLES]:
        raise UsageError(f"unknown metric {unknown[0]!r}", expected=", ".join(TITLES))
    if not metrics:
        raise UsageError("no metric to score with", expected=", ".join(TITLES))
    language = _language_of(language, references, hypotheses, baseline)
    given = references
    references = pair(given, hypotheses, resegment=resegment, reporter=progress)
    effect = "chrF leaves them out, BLEU counts every word there as wrong"
    check_filled(references.lines, references.name, "references", effect, progress)
    sample = [line for line in references.lines[:SAMPLE] if line.strip()]
    if (strange := sum(_foreign(line, language) for line in sample)) > len(sample) / 2:
        progress.say(
            f"{strange} of the first {len(sample)} references of {references.name} do not look like {language}"
        )
    prepare = partial(_prepare, language=language, clean=clean, as_server=as_server, resegment=resegment)
    text = prepare(hypotheses, references)
    other = None
    if baseline is not None:
        _check_baseline(pair(given, baseline, resegment=resegment), references, baseline.name)
        other = prepare(baseline, references)
    with ExitStack() as stack:
        cache = cache or default_cache()
        scorer = _Scorer(references, language, cache, comet or CometOptions(), progress, stack)
        results = tuple(scorer.result(name, text, other) for name in dict.fromkeys(metrics))
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
    kept = (result for result in old.metrics if new.metric(result.metric) is None)
    libraries = {**old.tool.libraries, **new.tool.libraries}
    return replace(
        new,
        metrics=tuple(sorted((*new.metrics, *kept), key=lambda result: [*TITLES].index(result.metric))),
        sources=new.sources or old.sources,
        tool=Tool(version=new.tool.version, libraries=libraries),
    )


def _made_of(score: Score) -> tuple[object, ...]:
    done = score.metrics[0].signature.cleaned
    texts = score.hypotheses.sha256, score.references.sha256
    return score.language, *texts, score.cleaned, done, score.resegmented


def _foreign(line: str, language: str) -> bool:
    if language in LANGUAGES:
        return not in_target(line, language)
    return language in TARGETS and looks_english(line)


def _language_of(
    language: str | None, references: References, hypotheses: Hypotheses, baseline: Hypotheses | None
) -> str:
    """Return the target language that is told, by the run, a file's name, the references or their script.

    What contradicts it is an `InputError`.
    """
    told = [(hypotheses.name, hypotheses.target), (references.name, references.language)]
    told += [("asked for", language), *([] if baseline is None else [(baseline.name, baseline.target)])]
    told = [(who, tongue) for who, tongue in told if tongue is not None]
    if len({tongue for _, tongue in told}) > 1:
        raise InputError(
            "hypotheses and references are not in one language",
            where=hypotheses.name,
            got=", ".join(f"{tongue} ({who})" for who, tongue in told),
            fix="give the references of this test set in the language of the hypotheses, and no other --pair",
        )
    if told:
        return str(told[0][1])
    text = "".join(references.lines)
    han, letters = len(regex.findall(r"\p{Han}", text)), len(regex.findall(r"\p{L}", text))
    if han > letters / 2 and regex.search(r"[\p{Hiragana}\p{Katakana}]", text) is None:
        return "zh"
    raise UsageError(
        "which language is this? BLEU's tokenizer and the cleaning rules depend on it",
        where=hypotheses.name,
        fix="say it: --pair en-de",
    )


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
        lines = tuple(line.rstrip() for line in clean_lines(lines, language).texts)
    scored = scored_text(hypotheses.name, lines)
    if as_server:
        done.append("server")
        lines = tuple(map(chat_marks.as_server, lines))
    program = None
    if resegment:
        recordings = hypotheses.documents
        if recordings is not None and len(set(recordings)) == len(lines):
            recordings = None  # each line is all of its talk, or nothing is known of the talks they belong to
        recut = cut_anew(
            lines,
            references.lines,
            documents=references.documents,
            hypothesis_documents=recordings,
            spaces=language not in NO_SPACES,
        )
        lines, program = tuple(recut), aligner_version()
    return _Text(scored=scored, lines=lines, cleaned="+".join(done) or None, resegmented=program)


def _tool(results: Sequence[MetricResult]) -> Tool:
    libraries = {}
    for result in results:
        settings = dict(part.split(":", 1) for part in result.signature.settings.split("|"))
        libraries["unbabel-comet" if result.metric == "comet" else "sacrebleu"] = settings["version"]
    return Tool(version=__version__, libraries=libraries)


@dataclass
class _Scorer:
    """Computes scores, or finds them in the cache; starts COMET at most once, to end with the `stack`."""

    references: References
    language: str
    cache: ScoreCache
    options: CometOptions
    progress: Reporter
    stack: ExitStack
    comet: Comet | None = None

    def result(self, metric: str, text: _Text, baseline: _Text | None) -> MetricResult:
        """Return one metric's result, compared with the baseline where there is one."""
        scored = self._comet_score if metric == "comet" else partial(self._surface_score, metric)
        own = scored(text)
        if baseline is None:
            return own
        theirs = scored(baseline)

        def test() -> dict[str, Any]:
            if metric == "comet":
                return compare_means(own.segments, theirs.segments)
            references = self.references.lines
            return compare_surface(metric, text.lines, baseline.lines, references, self.language)

        content = {
            "test": metric,
            "ours": [own.signature.to_json(), digest(text.lines)],
            "theirs": [theirs.signature.to_json(), digest(baseline.lines)],
            "draws": [BOOTSTRAP_SAMPLES, RANDOMIZATION_TRIALS, seed()],
        }
        comparison = Comparison(
            baseline=baseline.scored,
            score=theirs.score,
            difference=own.score - theirs.score,
            bootstrap_samples=BOOTSTRAP_SAMPLES,
            randomization_trials=RANDOMIZATION_TRIALS,
            **self._remember(content, test),
        )
        return replace(own, comparison=comparison)

    def _surface_score(self, metric: str, text: _Text) -> MetricResult:
        signature = self._signature(*sacrebleu_metrics.describe(metric, self.language), text)
        references = self.references.lines
        return self._result(
            metric,
            signature,
            {"signature": signature.to_json(), "scored": digest(text.lines)},
            lambda: sacrebleu_metrics.score_surface(metric, text.lines, references, self.language),
        )

    def _comet_score(self, text: _Text) -> MetricResult:
        sources = self.references.sources
        if sources is None:
            raise InputError(
                "COMET needs what was said as well as the references",
                where=self.references.name,
                fix="give it: --source FILE, or references in a manifest with a column source_en",
            )
        where, effect = f"given with {self.references.name}", "COMET reads an empty sentence there"
        check_filled(sources, where, "sources for COMET", effect, self.progress)
        if self.comet is None:
            self.comet = self.stack.enter_context(Comet(**vars(self.options), progress=self.progress))
        comet = self.comet

        def content() -> tuple[Signature, dict[str, Any]]:
            signature = self._signature("COMET", comet.settings, text, comet.checkpoint.identity)
            settings = {"hparams": comet.checkpoint.settings_sha256}
            return signature, {"signature": signature.to_json(), "scored": digest(text.lines), **settings}

        if self.cache.get(content()[1]) is None:
            comet.start()  # from here on the device is certain
        return self._result(
            "comet", *content(), lambda: comet.score(sources, text.lines, self.references.lines)
        )

    def _result(
        self,
        metric: str,
        signature: Signature,
        content: dict[str, Any],
        compute: Callable[[], tuple[float, list[float]]],
    ) -> MetricResult:
        value = self._remember(content, lambda: dict(zip(("score", "segments"), compute(), strict=True)))
        return MetricResult(
            metric=metric,  # type: ignore[arg-type]
            score=float(value["score"]),
            segments=tuple(map(float, value["segments"])),
            signature=signature,
        )

    def _remember(self, content: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        value = self.cache.get(content)
        if value is None:
            value = compute()
            self.cache.put(content, value)
        return value

    def _signature(
        self, metric: str, settings: str, text: _Text, checkpoint: MetricCheckpoint | None = None
    ) -> Signature:
        sources = self.references.sources if checkpoint else None
        return Signature(
            metric=metric,
            settings=settings,
            checkpoint=checkpoint,
            cleaned=text.cleaned,
            resegmented=text.resegmented,
            hypotheses=text.scored.sha256,
            references=digest(self.references.lines),
            sources=None if sources is None else digest(sources),
        )
