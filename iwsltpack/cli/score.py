"""``iwsltpack score``."""

import locale
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from iwsltpack.cli import common, console
from iwsltpack.documents.choices import DEFAULT_METRICS, Device
from iwsltpack.documents.names import CLEANED_SCORE_NAME, SCORE_NAME
from iwsltpack.documents.score import DIGITS, TITLES, Score, read_score
from iwsltpack.errors import UsageError
from iwsltpack.scoring.cache import ScoreCache
from iwsltpack.scoring.comet_checkpoint import CometOptions
from iwsltpack.system import fileio
from iwsltpack.system.progress import SetsReporter
from iwsltpack.system.tables import Table, columns

if TYPE_CHECKING:
    from iwsltpack.scoring.references import References

_LANGUAGES = {name.split("_")[0] for name in locale.locale_alias if len(name.split("_")[0]) in (2, 3)}
"""By letters of ISO 639, as the standard library knows them."""


def command(
    context: typer.Context,
    hypotheses: Path,
    *,
    reference: Path,
    source_text: Path | None = None,
    metric: str = ",".join(DEFAULT_METRICS),
    pair: str | None = None,
    split: str | None = None,
    test_set: Path | None = None,
    clean: bool = False,
    as_server: bool = False,
    resegment: bool = False,
    baseline: Path | None = None,
    comet_model: str = CometOptions.model,
    comet_batch_size: int = CometOptions.batch_size,
    comet_device: Device = CometOptions.device,
    output: Path | None = None,
    cache: bool = True,
) -> None:
    """Score hypotheses: chrF, BLEU and COMET, each with the signature that makes it comparable.

    The same texts scored again cost nothing. COMET runs in an environment of its own, built on first use.

    Example: iwsltpack score runs/q3 --reference manifest.csv --metric chrf,bleu,comet --resegment
    """
    from iwsltpack.documents.places import refuse_inside
    from iwsltpack.scoring.pairing import scoring_jobs
    from iwsltpack.scoring.score import score
    from iwsltpack.scoring.texts import read_hypotheses

    language, metrics = _language(pair), [name.strip().lower() for name in metric.split(",") if name.strip()]
    if "comet" not in metrics and (unused := common.typed(context, "comet_")):
        raise UsageError(
            "options of COMET, which is not asked for",
            got=unused[0],
            fix="--metric chrf,bleu,comet, or leave it out",
        )
    if test_set is not None:
        _check_use(test_set, [hypotheses, baseline])
    jobs = scoring_jobs(hypotheses, reference, baseline, language)
    if output is not None:
        if len(jobs) > 1:
            raise UsageError("one --output for several runs", fix="leave it out: scores lie beside each run")
        refuse_inside(output.parent, "run")
    results, documents = [], []
    with console.reporter() as reporter:
        texts = [read_hypotheses(job.hypotheses, test_set) for job in jobs]
        sets = SetsReporter(reporter, [len(text.lines) for text in texts])
        for job, text in zip(jobs, texts, strict=True):
            sets.next_set()
            result = score(
                text,
                _references(job.reference, source_text, language or text.target, split),
                metrics=metrics,
                language=language,
                clean=clean,
                as_server=as_server,
                resegment=resegment,
                baseline=None if job.baseline is None else read_hypotheses(job.baseline, test_set),
                comet=CometOptions(model=comet_model, batch_size=comet_batch_size, device=comet_device),
                cache=None if cache else ScoreCache(None),
                progress=sets,
            )
            target = output
            # A run's own documents hold what it wrote; the server's view of it goes where it is told.
            if target is None and job.hypotheses.is_dir() and not as_server:
                target = job.hypotheses / (CLEANED_SCORE_NAME if clean else SCORE_NAME)
            results.append((result if target is None else _write(target, result), target))
            documents.append(results[-1][0].to_json())
    if console.as_json():
        console.show_json(documents[0] if len(documents) == 1 else documents)
    for result, target in results:
        if not console.as_json():
            if len(results) > 1:
                console.show(f"{target.parent if target else result.hypotheses.name}:")
            _show(result)
        _say(result, target)


def _check_use(test_set: Path, texts: list[Path | None]) -> None:
    """Refuse a test set that nothing would be read from."""
    from iwsltpack.scoring.references import kind_of

    if all(path is None or path.is_dir() or kind_of(path) != "text" for path in texts):
        raise UsageError(
            "a run, CSV and XML name their segments themselves", where=test_set, fix="leave out --test-set"
        )


def _language(pair: str | None) -> str | None:
    if pair is None:
        return None
    languages = pair.split("-")
    if len(languages) != 2 or not {*languages} <= _LANGUAGES:
        raise UsageError(
            f"not a language pair: {pair!r}", expected="SOURCE-TARGET by letters of ISO 639, such as en-zh"
        )
    return languages[1]


def _references(
    reference: Path, source: Path | None, language: str | None, split: str | None
) -> "References":
    from iwsltpack.scoring.pairing import with_sources
    from iwsltpack.scoring.references import kind_of, read_references, read_side

    if split is not None and all(kind_of(path) != "csv" for path in (reference, source or reference)):
        raise UsageError(
            "only a manifest has splits", where=reference, got=f"--split {split}", fix="leave out --split"
        )
    found = read_references(reference, language=language, split=split)
    return found if source is None else with_sources(found, read_side(source, "source", split))


def _write(target: Path, result: Score) -> Score:
    from iwsltpack.scoring.score import merge

    old = read_score(target) if target.is_file() else None
    whole = merge(old, result)
    fileio.write_json(target, whole.to_json())
    for entry in () if old is None else old.metrics:
        new = whole.metric(entry.metric)
        if new is None or new.signature != entry.signature:
            figure = f"{TITLES[entry.metric]} {entry.score:.{DIGITS[entry.metric]}f}"
            console.say(f"no longer in {target}: {figure}   {entry.signature.text}", "yellow")
    return whole


def _show(result: Score) -> None:
    for entry in result.metrics:
        digits = DIGITS[entry.metric]
        console.show(f"{TITLES[entry.metric]:<6}{entry.score:>10.{digits}f}   {entry.signature.text}")
    if any(entry.comparison for entry in result.metrics):
        console.show("")
        console.show(_comparisons(result))


COLUMNS = columns(
    "against the baseline",
    figures=("system", "± 95 %", "baseline", "difference", "p bootstrap", "p randomisation"),
)


def _comparisons(result: Score) -> Table:
    rows = []
    for entry in result.metrics:
        if (test := entry.comparison) is None:
            continue
        digits = DIGITS[entry.metric]
        figures = [f"{figure:.{digits}f}" for figure in (entry.score, test.interval, test.score)]
        chances = [f"{chance:.4f}" for chance in (test.p_bootstrap, test.p_randomization)]
        rows.append((TITLES[entry.metric], *figures, f"{test.difference:+.{digits}f}", *chances))
    return Table(COLUMNS, rows)


def _say(result: Score, target: Path | None) -> None:
    console.say(f"{result.references.lines} segments into {result.language}, {result.hypotheses.name}")
    if result.metric("comet") is None:
        console.say("without COMET, by which the track ranks: add --metric chrf,bleu,comet")
    if target is not None:
        console.say(f"written to {target}")
