"""A table as text: Markdown, CSV, LaTeX, JSON, and as a rich table for the terminal."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from iwsltpack.artifact.sizes import GIB
from iwsltpack.documents.choices import TableFormat
from iwsltpack.errors import UsageError
from iwsltpack.report.systems import MEASURE_TITLES, MEASURES, METRICS, System
from iwsltpack.report.table import ReportRow, ReportTable
from iwsltpack.system import fileio
from iwsltpack.system import tables as terminal
from iwsltpack.system.templates import render

MIB = 2**20
UNITS_NOTE = "GiB = 2^30 bytes, MiB = 2^20 bytes."
TABLE_DIGITS = {"comet": 6, "chrf": 2, "bleu": 2, "damage": 4}
MARKDOWN = str.maketrans(
    {"\\": r"\\", "|": r"\|", "<": "&lt;", "\n": " ", "*": r"\*", "_": r"\_", "`": r"\`"}
)
LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    | {"Δ": r"$\Delta$", "†": r"$^\dagger$", "≈": r"$\approx$"}
)


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
    found = {"name": "Method", "setting": "Setting"}
    for metric in table.metrics:
        found[metric] = table.titles[metric]
        if metric == table.metric and table.baseline is not None:
            found["delta"] = "Δ"
    later = {"seconds_per_item": "Sec/item", "ratio": "Ratio"}
    later |= {name: f"{MEASURE_TITLES[name].capitalize()} [{unit}]" for name in MEASURES}
    found |= {
        key: title for key, title in later.items() if any(row.figure(key) is not None for row in table.rows)
    }
    if table.metric is not None:
        found["status"] = "Pareto"
    texts = ("name", "setting", "status")
    return [ReportColumn(key=key, heading=title, figures=key not in texts) for key, title in found.items()]


def cells(table: ReportTable) -> list[list[Cell]]:
    """Return what stands in each cell, row by row."""
    shown, (_, divisor) = columns(table), size_unit([row.system for row in table.rows])
    return [
        [
            Cell(
                text=_text(row, column.key, table.metric, divisor),
                best=number in table.best.get(column.key, ()),
            )
            for column in shown
        ]
        for number, row in enumerate(table.rows)
    ]


def _text(row: ReportRow, key: str, metric: str | None, divisor: int) -> str:
    if key in ("name", "setting"):
        return str(getattr(row.system, key))
    mark = "" if row.like else "†"
    if key == "status":
        return "" if row.status == "not placed" else f"{row.status}{mark}"
    figure = row.figure(key)
    if figure is None:
        return "–"
    if key in MEASURES:
        return f"{'' if row.system.sizes[key].exact else '≈'}{figure / divisor:.3f}"
    if key == "ratio":
        return f"{figure:.3f}{mark}"
    if key == "delta":
        return f"{figure:+.{TABLE_DIGITS[str(metric)]}f}"
    return f"{figure:.{TABLE_DIGITS.get(key, 6)}f}"


def notes(table: ReportTable) -> list[str]:
    """Return what stands below the table: units, marks, warnings, signatures."""
    lines = [UNITS_NOTE]
    if table.metric is not None:
        axes = f"{table.titles[table.metric]} against {MEASURE_TITLES[table.measure]}"
        lines[0] += f" Pareto: {axes}; best of each column in bold."
    if any(not row.like and row.size is not None for row in table.rows):
        lines.append("† by another measure of size than the rest.")
    if any(not size.exact for row in table.rows for size in row.system.sizes.values()):
        lines.append("≈ published as a rounded figure.")
    lines += table.warnings
    for row in table.rows:
        if row.dominated_by:
            lines.append(f"{row.system.title} is dominated by {'; '.join(row.dominated_by)}.")
    scores = (row.system.scores.get(name) for row in table.rows for name in table.metrics)
    shared = dict.fromkeys(score.comparable or score.signature for score in scores if score)
    return lines + [f"Signature: {text}" for text in shared]


def to_markdown(tables: Sequence[ReportTable]) -> str:
    """Return the tables as GitHub's Markdown, best values bold, notes as a list."""
    return _filled("tables.md.jinja", tables, escaped=lambda text: text.translate(MARKDOWN))


def to_latex(tables: Sequence[ReportTable]) -> str:
    """Return the tables as LaTeX (package booktabs), best values bold, notes in the caption's place below."""

    def figure(text: str) -> str:
        return f"${text}$" if text[:1] in ("-", "+") and text[1:2].isdigit() else text.translate(LATEX)

    return _filled("tables.tex.jinja", tables, escaped=lambda text: text.translate(LATEX), figure=figure)


def _filled(template: str, tables: Sequence[ReportTable], **escapes: Callable[[str], str]) -> str:
    filters: dict[str, Callable[..., Any]] = {"columns": columns, "cells": cells, "notes": notes}
    return render(Path(__file__).with_name(template), filters | escapes, tables=tables)


def to_csv(tables: Sequence[ReportTable]) -> str:
    """Return all rows of all tables as CSV: exact bytes, both ratios, signatures; one header."""
    metrics = [name for name in METRICS if any(name in table.metrics for table in tables)]
    rows = [_csv_row(table, row, metrics) for table in tables for row in table.rows]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]) if rows else (), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _csv_row(table: ReportTable, row: ReportRow, metrics: Sequence[str]) -> dict[str, Any]:
    system = row.system
    found: dict[str, Any] = {"pair": table.pair, "test_set": table.test_set}
    for key, text in (("method", system.name), ("setting", system.setting)):
        # A spreadsheet would run a cell that begins like a formula.
        found[key] = f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
    for name in metrics:
        score = system.scores.get(name)
        found |= {name: score and score.score, f"{name}_signature": score and score.signature}
    found |= {key: row.figure(key) for key in ("delta", "seconds_per_item", "ratio")}
    return {
        **found,
        "ratio_measure": row.size_measure if row.ratio else None,
        "whole_folder_bytes": row.figure("whole"),
        "linear_layers_bytes": row.figure("linear"),
        "pareto": row.status,
        "dominated_by": "; ".join(row.dominated_by),
    }


def to_json(tables: Sequence[ReportTable]) -> dict[str, Any]:
    """Return everything the tables hold as one JSON object; sizes in exact bytes, by measure."""
    found = [
        {
            "pair": table.pair,
            "test_set": table.test_set,
            "metric": table.metric,
            "measure": table.measure,
            "baseline": table.baseline,
            "frontiers": {name: list(titles) for name, titles in table.frontiers.items()},
            "warnings": list(table.warnings),
            "rows": [_json_row(row) for row in table.rows],
        }
        for table in tables
    ]
    return {"format": "iwsltpack.report", "format_version": 1, "tables": found}


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

    rows = [[Text(cell.text, style="bold" if cell.best else "") for cell in row] for row in cells(table)]
    return terminal.Table(columns(table), rows, table.title)


WRITERS = {"markdown": to_markdown, "csv": to_csv, "latex": to_latex}


def to_text(tables: Sequence[ReportTable], kind: str) -> str:
    """Return the tables in one of the textual formats; another one is a `UsageError`."""
    if kind == "json":
        return fileio.canonical_json(to_json(tables)).decode()
    if kind not in WRITERS:
        raise UsageError(f"unknown format {kind!r}", expected=", ".join(get_args(TableFormat)))
    return WRITERS[kind](tables)
