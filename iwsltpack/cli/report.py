"""``iwsltpack report``."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from iwsltpack.cli import console
from iwsltpack.documents.choices import Measure, TableFormat
from iwsltpack.documents.names import REPORT_DIR

if TYPE_CHECKING:
    from iwsltpack.report.table import ReportTable


def command(
    paths: list[str] | None = None,
    *,
    output: Path = Path(REPORT_DIR),
    reference: list[Path] | None = None,
    published: list[str] | None = None,
    rank_by: str | None = None,
    size: Measure | None = None,
    baseline_system: str | None = None,
    audio: Path | None = None,
    format_: TableFormat = "terminal",
) -> None:
    """Put quality beside size: the paper's table, the Pareto frontier, and a page to read every segment on.

    Both measures of size are told apart: the whole folder, which the track ranks by, and linear layers alone.

    Example: iwsltpack report runs artifacts --reference manifest.csv --output report
    """
    from iwsltpack.documents.places import refuse_inside
    from iwsltpack.report.report import collect, write_report
    from iwsltpack.scoring.references import read_references

    refuse_inside(output)
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


def _show(tables: "Sequence[ReportTable]", kind: TableFormat) -> None:
    from iwsltpack.report.render import drawn, notes, to_text

    if kind != "terminal":
        sys.stdout.write(to_text(tables, kind))
        return
    for table in tables:
        console.show(drawn(table))
        for note in notes(table):
            console.show(f"  {note}")
        console.show("")
