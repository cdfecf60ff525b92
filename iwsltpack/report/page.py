"""The page: one HTML file with everything in it, that needs no network and runs no text as code."""

import base64
import hashlib
import html
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from iwsltpack.report.render import TABLE_DIGITS, cells, columns, notes, size_unit
from iwsltpack.report.segments import Segments
from iwsltpack.report.systems import BOUNDS, DAMAGE, MEASURE_TITLES
from iwsltpack.report.table import ReportRow, ReportTable
from iwsltpack.system.templates import render
from iwsltpack.version import __version__

ASSETS = Path(__file__).with_name("page_assets")


def make_page(tables: Sequence[ReportTable], segments: Sequence[Segments], *, title: str) -> str:
    """Return the page of some tables as HTML, with the segments of each beside it."""
    data = {
        "made": f"Made by iwsltpack {__version__}.",
        "tables": [_table(table, part) for table, part in zip(tables, segments, strict=True)],
    }
    style, script = ((ASSETS / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return render(
        ASSETS / "page.html.jinja",
        {"hashed": _hash, "text": html.escape},
        title=title,
        style=style,
        script=script,
        data=embed_json(data),
    )


def embed_json(data: Any) -> str:
    """Return JSON that can stand inside a ``<script>`` element: nothing in it can end the element or open another."""
    text = json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    # Half a surrogate pair cannot be written as UTF-8; JSON writes it as Python does.
    return text.encode(errors="backslashreplace").decode()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _table(table: ReportTable, segments: Segments) -> dict[str, Any]:
    unit, divisor = size_unit([row.system for row in table.rows])
    texts = cells(table)
    return {
        "title": table.title,
        "metric": table.metric,
        "metrics": [
            {"key": name, "title": table.titles[name], "lower": name == DAMAGE, "bounds": _bounds(name)}
            for name in table.metrics
        ],
        "measure": table.measure,
        "measureTitles": MEASURE_TITLES,
        "unit": unit,
        "divisor": divisor,
        "columns": [{"heading": column.heading, "figures": column.figures} for column in columns(table)],
        "rows": [_row(table, row, line) for row, line in zip(table.rows, texts, strict=True)],
        # An object's keys are sorted when it is written: the order of the parts needs a list.
        "componentNames": list(
            dict.fromkeys(name for row in table.rows for name in row.system.components or {})
        ),
        "warnings": [*table.warnings, *segments.warnings],
        "notes": [note for note in notes(table) if note not in table.warnings],
        "segments": segments.data,
    }


def _bounds(metric: str) -> list[float | None]:
    return [bound if math.isfinite(bound) else None for bound in BOUNDS[metric]]


def _row(table: ReportTable, row: ReportRow, line: Sequence[Any]) -> dict[str, Any]:
    system = row.system
    return {
        "title": system.title,
        "cells": [
            # What a column is sorted by: figures as they are, anything else as it reads.
            {
                "text": cell.text,
                "best": cell.best,
                "value": row.figure(column.key) if column.figures else cell.text or None,
            }
            for cell, column in zip(line, columns(table), strict=True)
        ],
        "compared": {name: round(score, TABLE_DIGITS[name]) for name, score in row.compared.items()},
        "sizes": {name: size.bytes for name, size in system.sizes.items()},
        "placedBy": row.size_measure,
        "components": system.components,
    }
