"""``iwsltpack report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iwsltpack.cli import console
from iwsltpack.documents.choices import Measure, TableFormat
from iwsltpack.documents.names import REPORT_DIR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iwsltpack.report.table import ReportTable


def command(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            help="Runs, artifacts (also hf://, s3://, https://), score.json files, or folders of these.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for page, tables and graphs.")
    ] = Path(REPORT_DIR),
    reference: Annotated[
        list[Path] | None, typer.Option("--reference", "-r", help="References to show beside the segments.")
    ] = None,
    published: Annotated[
        list[str] | None,
        typer.Option(help="A published table beside them: palomino2026, or a results document."),
    ] = None,
    rank_by: Annotated[
        str | None,
        typer.Option(help="comet, chrf, bleu or damage (KL of the artifacts); default: the first there is."),
    ] = None,
    size: Annotated[
        Measure | None,
        typer.Option(
            help="What to place systems by: the whole folder, as ranked, or linear layers, as in the paper."
        ),
    ] = None,
    baseline_system: Annotated[
        str | None, typer.Option(help="System to compare with; default: recipe fp16.")
    ] = None,
    audio: Annotated[
        Path | None, typer.Option(help="Folder of the test set: its clips can be played on the page.")
    ] = None,
    format_: Annotated[TableFormat, typer.Option("--format", help="Of the table printed.")] = "terminal",
) -> None:
    """Put quality beside size: the paper's table, the Pareto frontier, and a page to read every segment on.

    Both measures of size are told apart: the whole folder, which the track ranks by, and linear layers alone.

    Example: iwsltpack report runs artifacts --reference manifest.csv --output report
    """
    from iwsltpack.report.report import collect, write_report
    from iwsltpack.scoring.references import read_references

    with console.reporter() as reporter:
        report = write_report(
            collect(paths or [], published or []),
            output,
            references=[read_references(path) for path in reference or []],
            metric=rank_by,
            measure=size,
            baseline=baseline_system,
            audio=audio,
            progress=reporter,
        )
    _show(report.tables, "json" if console.as_json() else format_)
    for notice in report.notices:
        console.say(notice, "yellow")
    console.say(f"{len(report.files)} files in {output}; the page: {report.page}")


def _show(tables: Sequence[ReportTable], kind: TableFormat) -> None:
    import sys

    from iwsltpack.report.render import drawn, notes, to_text

    if kind != "terminal":
        sys.stdout.write(to_text(tables, kind))
        return
    for table in tables:
        console.show(drawn(table))
        for note in notes(table):
            console.show(f"  {note}")
        console.show("")
