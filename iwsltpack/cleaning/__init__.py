"""Clean-up of raw hypotheses by named, language-aware rules that never empty, merge or split a line."""

from __future__ import annotations

from iwsltpack.cleaning.engine import (
    LANGUAGES,
    Change,
    CleanedLine,
    CleanResult,
    clean_line,
    clean_lines,
    clean_stream,
)
from iwsltpack.cleaning.files import CleanSummary, clean_file, language_of, read_lines
from iwsltpack.cleaning.findings import REPORTS, Finding
from iwsltpack.cleaning.rules import RULES, CleaningRule
from iwsltpack.cleaning.server import as_server

__all__ = [
    "LANGUAGES",
    "REPORTS",
    "RULES",
    "Change",
    "CleanResult",
    "CleanSummary",
    "CleanedLine",
    "CleaningRule",
    "Finding",
    "as_server",
    "clean_file",
    "clean_line",
    "clean_lines",
    "clean_stream",
    "language_of",
    "read_lines",
]
