"""``iwsltpack score``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iwsltpack.cli import console
from iwsltpack.documents.choices import Device
from iwsltpack.scoring.score import DEFAULT_METRICS, METRICS, CometOptions

if TYPE_CHECKING:
    from iwsltpack.documents.score import Score
    from iwsltpack.scoring.references import References


def command(
    hypotheses: Annotated[
        Path,
        typer.Argument(
            help="Text with one hypothesis a line, or the folder of a decoding run.", show_default=False
        ),
    ],
    reference: Annotated[
        Path,
        typer.Option(
            "--reference",
            "-r",
            help="Text, CSV manifest (target_zh, source_en) or IWSLT XML.",
            show_default=False,
        ),
    ],
    source_text: Annotated[
        Path | None,
        typer.Option("--source", help="What was said, for COMET; not needed where a manifest has it."),
    ] = None,
    metric: Annotated[str, typer.Option(help=f"Any of {', '.join(METRICS)}, joined by commas.")] = ",".join(
        DEFAULT_METRICS
    ),
    pair: Annotated[
        str | None, typer.Option(help="Language pair; default: the run's, the file name's, the references'.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Rows of a manifest to take, by its column split.")
    ] = None,
    clean: Annotated[
        bool, typer.Option("--clean", help="Score the lines as the cleaning rules leave them.")
    ] = False,
    resegment: Annotated[
        bool,
        typer.Option("--resegment", help="Cut the output to the reference lines first (needs mweralign)."),
    ] = False,
    baseline: Annotated[
        Path | None, typer.Option(help="Another system's hypotheses or run: test the difference against it.")
    ] = None,
    comet_model: Annotated[
        str, typer.Option(help="COMET checkpoint: hub id, folder or file.")
    ] = CometOptions.model,
    comet_batch_size: Annotated[
        int, typer.Option(help="Segments in one of COMET's batches.")
    ] = CometOptions.batch_size,
    comet_device: Annotated[Device, typer.Option(help="Where COMET runs.")] = CometOptions.device,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Where to write score.json; default: into the run's folder, if it is one."
        ),
    ] = None,
    cache: Annotated[bool, typer.Option(help="Keep scores and use those kept.")] = True,
    json_: Annotated[bool, typer.Option("--json", help="Print the whole document.")] = False,
) -> None:
    """Score hypotheses: chrF, BLEU and COMET, each with the signature that makes it comparable.

    The same texts scored again cost nothing. COMET runs in an environment of its own, built on first use.

    Example: iwsltpack score runs/q3 --reference manifest.csv --metric chrf,bleu,comet --resegment
    """
    from iwsltpack.scoring.cache import ScoreCache
    from iwsltpack.scoring.score import score
    from iwsltpack.scoring.texts import read_hypotheses

    language = _language(pair)
    with console.reporter() as reporter:
        result = score(
            read_hypotheses(hypotheses),
            _references(reference, source_text, language, split),
            metrics=[name.strip().lower() for name in metric.split(",") if name.strip()],
            language=language,
            clean=clean,
            resegment=resegment,
            baseline=None if baseline is None else read_hypotheses(baseline),
            comet=CometOptions(model=comet_model, batch_size=comet_batch_size, device=comet_device),
            cache=None if cache else ScoreCache(None),
            progress=reporter,
        )
    target = output or _place_in_run(hypotheses, cleaned=clean)
    if target is not None:
        result = _write(target, result)
    if json_:
        console.show_json(result.to_json())
    else:
        _show(result)
    _say(result, target)


def _language(pair: str | None) -> str | None:
    from iwsltpack.errors import UsageError

    if pair is None:
        return None
    language = pair.rpartition("-")[2]
    if not ("-" in pair and len(language) in (2, 3) and language.isalpha()):
        raise UsageError(f"not a language pair: {pair!r}", expected="SOURCE-TARGET, such as en-zh")
    return language


def _references(reference: Path, source: Path | None, language: str | None, split: str | None) -> References:
    from dataclasses import replace

    from iwsltpack.errors import InputError
    from iwsltpack.scoring.references import read_references, read_sources

    found = read_references(reference, language=language, split=split)
    if source is None:
        return found
    sources = read_sources(source, split=split)
    if len(sources) != len(found.lines):
        raise InputError(
            "not one source line for every reference",
            where=source,
            expected=len(found.lines),
            got=len(sources),
        )
    return replace(found, sources=sources)


def _place_in_run(hypotheses: Path, *, cleaned: bool) -> Path | None:
    from iwsltpack.documents.names import CLEANED_SCORE_NAME, SCORE_NAME

    return hypotheses / (CLEANED_SCORE_NAME if cleaned else SCORE_NAME) if hypotheses.is_dir() else None


def _write(target: Path, result: Score) -> Score:
    from iwsltpack.documents.score import read_score
    from iwsltpack.scoring.score import merge
    from iwsltpack.system import fileio

    whole = merge(read_score(target) if target.is_file() else None, result)
    fileio.write_json(target, whole.to_json())
    return whole


def _show(result: Score) -> None:
    from iwsltpack.documents.score import DIGITS, TITLES

    for entry in result.metrics:
        digits = DIGITS[entry.metric]
        console.show(f"{TITLES[entry.metric]:<6}{entry.score:>10.{digits}f}   {entry.signature.text}")
    if any(entry.comparison for entry in result.metrics):
        console.show("")
        console.show(_comparisons(result))


def _comparisons(result: Score) -> console.Table:
    from iwsltpack.documents.score import DIGITS, TITLES

    table = console.Table(box=None, pad_edge=False)
    for index, title in enumerate(
        (
            "against the baseline",
            "system",
            "± 95 %",
            "baseline",
            "difference",
            "p bootstrap",
            "p randomisation",
        )
    ):
        table.add_column(title, justify="left" if index == 0 else "right", no_wrap=True)
    for entry in result.metrics:
        if (test := entry.comparison) is None:
            continue
        digits = DIGITS[entry.metric]
        table.add_row(
            TITLES[entry.metric],
            f"{entry.score:.{digits}f}",
            f"{test.interval:.{digits}f}",
            f"{test.score:.{digits}f}",
            f"{test.difference:+.{digits}f}",
            f"{test.p_bootstrap:.4f}",
            f"{test.p_randomization:.4f}",
        )
    return table


def _say(result: Score, target: Path | None) -> None:
    console.say(f"{result.references.lines} segments into {result.language}, {result.hypotheses.name}")
    if result.metric("comet") is None:
        console.say("without COMET, by which the track ranks: add --metric chrf,bleu,comet")
    if target is not None:
        console.say(f"written to {target}")
