"""A table as text: Markdown, CSV, LaTeX, JSON, and as a rich table for the terminal."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from iwsltpack.artifact.sizes import GIB
from iwsltpack.documents.choices import TableFormat
from iwsltpack.documents.score import TITLES
from iwsltpack.errors import UsageError
from iwsltpack.report.systems import MEASURE_TITLES, MEASURES
from iwsltpack.system import fileio
from iwsltpack.system import tables as terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iwsltpack.report.systems import System
    from iwsltpack.report.table import ReportRow, ReportTable

MIB = 2**20
UNITS_NOTE = "GiB = 2^30 bytes, MiB = 2^20 bytes."
PLACES = {"frontier": "frontier", "dominated": "dominated", "not placed": ""}
TABLE_DIGITS = {"comet": 6, "chrf": 2, "bleu": 2}


@dataclass(frozen=True, kw_only=True)
class ReportColumn(terminal.Column):
    """A column by the key of its values."""

    key: str
    figures: bool = True


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What stands in a cell; whether it is the best of its column."""

    text: str
    best: bool = False


def size_unit(systems: Sequence[System]) -> tuple[str, int]:
    """Return the unit all sizes are told in: GiB, or MiB where the largest is under a tenth of one."""
    largest = max((size.bytes for system in systems for size in system.sizes.values()), default=0)
    return ("GiB", GIB) if largest >= GIB / 10 else ("MiB", MIB)


def columns(table: ReportTable) -> list[ReportColumn]:
    """Return the table's columns; those that no row has a value for are left out."""
    unit, _ = size_unit([row.system for row in table.rows])
    found = [
        ReportColumn(key="name", heading="Method", figures=False),
        ReportColumn(key="setting", heading="Setting", figures=False),
    ]
    for metric in table.metrics:
        found.append(ReportColumn(key=metric, heading=table.titles[metric]))
        if metric == table.metric and table.baseline is not None:
            found.append(ReportColumn(key="delta", heading="Δ"))
    if any(row.system.seconds_per_item is not None for row in table.rows):
        found.append(ReportColumn(key="seconds_per_item", heading="Sec/item"))
    if any(row.ratio is not None for row in table.rows):
        found.append(ReportColumn(key="ratio", heading="Ratio"))
    found += [
        ReportColumn(key=name, heading=f"{MEASURE_TITLES[name].capitalize()} [{unit}]")
        for name in MEASURES
        if any(name in row.system.sizes for row in table.rows)
    ]
    if table.metric is not None:
        found.append(ReportColumn(key="status", heading="Pareto", figures=False))
    return found


def cells(table: ReportTable) -> list[list[Cell]]:
    """Return what stands in each cell, row by row."""
    shown = columns(table)
    _, divisor = size_unit([row.system for row in table.rows])
    return [
        [
            Cell(
                text=_text(row, column.key, table.metric, divisor),
                best=number in table.best.get(column.key, frozenset()),
            )
            for column in shown
        ]
        for number, row in enumerate(table.rows)
    ]


def _text(row: ReportRow, key: str, metric: str | None, divisor: int) -> str:
    system = row.system
    if key in ("name", "setting"):
        return str(getattr(system, key))
    if key in TITLES:
        return f"{system.scores[key].score:.{TABLE_DIGITS[key]}f}" if key in system.scores else "–"
    if key == "delta":
        return "–" if row.delta is None or metric is None else f"{row.delta:+.{TABLE_DIGITS[metric]}f}"
    if key == "seconds_per_item":
        return "–" if system.seconds_per_item is None else f"{system.seconds_per_item:.6f}"
    if key == "ratio":
        return "–" if row.ratio is None else f"{row.ratio:.3f}{'' if row.like else '†'}"
    if key == "status":
        mark = "" if row.like or not PLACES[row.status] else "†"
        return f"{PLACES[row.status]}{mark}"
    if key not in system.sizes:
        return "–"
    size = system.sizes[key]
    return f"{'' if size.exact else '≈'}{size.bytes / divisor:.3f}"


def notes(table: ReportTable) -> list[str]:
    """Return what stands below the table: units, marks, warnings, signatures."""
    lines = [UNITS_NOTE]
    if table.metric is not None:
        lines[0] += (
            f" Pareto: {table.titles[table.metric]} against {MEASURE_TITLES[table.measure]};"
            " best of each column in bold."
        )
    if any(not row.like and row.size is not None for row in table.rows):
        lines.append("† by another measure of size than the rest.")
    if any(not size.exact for row in table.rows for size in row.system.sizes.values()):
        lines.append("≈ published as a rounded figure.")
    lines += table.warnings
    lines += [
        f"{row.system.title} is dominated by {'; '.join(row.dominated_by)}."
        for row in table.rows
        if row.dominated_by
    ]
    return lines + _signature_notes(table)


def _signature_notes(table: ReportTable) -> list[str]:
    shared: dict[str, None] = {}
    for row in table.rows:
        for metric in table.metrics:
            if metric in row.system.scores:
                shared[row.system.scores[metric].comparable or row.system.scores[metric].signature] = None
    return [f"Signature: {text}" for text in shared]


def to_markdown(tables: Sequence[ReportTable]) -> str:
    """Return the tables as GitHub's Markdown, best values bold, notes as a list."""
    return "\n".join(_markdown(table) for table in tables)


def _markdown(table: ReportTable) -> str:
    def escape(text: str) -> str:
        plain = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
        return plain.replace("*", "\\*").replace("_", "\\_").replace("`", "\\`")

    heading = columns(table)
    lines = [f"## {escape(table.title)}", "", "| " + " | ".join(column.heading for column in heading) + " |"]
    lines.append("|" + "|".join(" ---: " if column.figures else " --- " for column in heading) + "|")
    for row in cells(table):
        shown = [f"**{escape(cell.text)}**" if cell.best else escape(cell.text) for cell in row]
        lines.append("| " + " | ".join(shown) + " |")
    return "\n".join([*lines, "", *(f"- {escape(note)}" for note in notes(table)), ""])


def to_csv(tables: Sequence[ReportTable]) -> str:
    """Return all rows of all tables as CSV: exact bytes, both ratios, signatures; one header."""
    metrics = [name for name in TITLES if any(name in table.metrics for table in tables)]
    header = ["pair", "test_set", "method", "setting"]
    header += [part for name in metrics for part in (name, f"{name}_signature")]
    header += ["delta", "seconds_per_item", "ratio", "ratio_measure"]
    header += ["whole_folder_bytes", "linear_layers_bytes", "pareto", "dominated_by"]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    for table in tables:
        for row in table.rows:
            writer.writerow(_csv_row(table, row, metrics))
    return stream.getvalue()


def _csv_row(table: ReportTable, row: ReportRow, metrics: Sequence[str]) -> list[Any]:
    system = row.system
    scores: list[Any] = []
    for name in metrics:
        entry = system.scores.get(name)
        scores += [entry.score, entry.signature] if entry else ["", ""]
    sizes = [system.sizes[name].bytes if name in system.sizes else "" for name in MEASURES]
    figures = [row.delta, system.seconds_per_item, row.ratio, row.size_measure if row.ratio else None]
    return [
        table.pair,
        table.test_set,
        _inert(system.name),
        _inert(system.setting),
        *scores,
        *("" if value is None else value for value in figures),
        *sizes,
        row.status,
        "; ".join(row.dominated_by),
    ]


def _inert(text: str) -> str:
    # A spreadsheet would run a cell that begins like a formula.
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "Δ": r"$\Delta$",
        "–": "--",
        "†": r"$^\dagger$",
        "≈": r"$\approx$",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
    }
)


def to_latex(tables: Sequence[ReportTable]) -> str:
    """Return the tables as LaTeX (package booktabs), best values bold, notes in the caption's place below."""
    return "\n".join(_latex(table) for table in tables)


def _latex(table: ReportTable) -> str:
    heading = columns(table)
    spec = "".join("r" if column.figures else "l" for column in heading)
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        "\\centering\\small",
        f"\\begin{{tabular}}{{{spec}}}",
        "\\toprule",
        " & ".join(column.heading.translate(_LATEX) for column in heading) + r" \\",
        "\\midrule",
    ]
    for row in cells(table):
        shown = [_latex_figure(cell) for cell in row]
        lines.append(" & ".join(shown) + r" \\")
    lines += ["\\bottomrule", "\\end{tabular}", f"\\caption{{{table.title.translate(_LATEX)}.}}"]
    lines += ["", "\\raggedright\\footnotesize", *(f"{note.translate(_LATEX)}\\\\" for note in notes(table))]
    return "\n".join([*lines, "\\end{table}", ""])


def _latex_figure(cell: Cell) -> str:
    text = cell.text.translate(_LATEX)
    if cell.text[:1] in ("-", "+") and cell.text[1:2].isdigit():
        text = f"${cell.text}$"
    return f"\\textbf{{{text}}}" if cell.best else text


def to_json(tables: Sequence[ReportTable]) -> dict[str, Any]:
    """Return everything the tables hold as one JSON object; sizes in exact bytes, by measure."""
    return {
        "format": "iwsltpack.report",
        "format_version": 1,
        "tables": [_json_table(table) for table in tables],
    }


def _json_table(table: ReportTable) -> dict[str, Any]:
    return {
        "pair": table.pair,
        "test_set": table.test_set,
        "metric": table.metric,
        "measure": table.measure,
        "baseline": table.baseline,
        "frontiers": {name: list(titles) for name, titles in table.frontiers.items()},
        "warnings": list(table.warnings),
        "rows": [_json_row(row) for row in table.rows],
    }


def _json_row(row: ReportRow) -> dict[str, Any]:
    system = row.system
    return {
        "method": system.name,
        "setting": system.setting,
        "published": system.published,
        "cleaned": system.cleaned,
        "scores": {
            name: {"score": entry.score, "signature": entry.signature}
            for name, entry in system.scores.items()
        },
        "delta": row.delta,
        "seconds_per_item": system.seconds_per_item,
        "ratio": row.ratio,
        "sizes": {
            name: {"bytes": size.bytes, "exact": size.exact, "gib": size.bytes / GIB}
            for name, size in system.sizes.items()
        },
        "components": system.components,
        "placed_by": row.size_measure,
        "pareto": row.status,
        "dominated_by": list(row.dominated_by),
        "note": system.note,
    }


def drawn(table: ReportTable) -> terminal.Table:
    """Return the table for a terminal."""
    from rich.text import Text

    return terminal.Table(
        columns(table),
        [[Text(cell.text, style="bold" if cell.best else "") for cell in row] for row in cells(table)],
        table.title,
    )


WRITERS = {"markdown": to_markdown, "csv": to_csv, "latex": to_latex}


def to_text(tables: Sequence[ReportTable], kind: str) -> str:
    """Return the tables in one of the textual formats.

    Raises
    ------
    UsageError
        An unknown format.
    """
    if kind == "json":
        return fileio.canonical_json(to_json(tables)).decode()
    if kind not in WRITERS:
        raise UsageError(f"unknown format {kind!r}", expected=", ".join(get_args(TableFormat)))
    return WRITERS[kind](tables)
