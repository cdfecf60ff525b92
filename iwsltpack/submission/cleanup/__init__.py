"""Clean-up of raw hypotheses by named, language-aware rules that never empty, merge or split a line."""

from __future__ import annotations

from iwsltpack.submission.cleanup.engine import (
    LANGUAGES,
    Change,
    CleanedLine,
    CleanResult,
    clean_line,
    clean_lines,
    clean_stream,
)
from iwsltpack.submission.cleanup.files import CleanSummary, clean_file, language_of, read_lines
from iwsltpack.submission.cleanup.rules import REPORTS, RULES, Report, Rule

__all__ = [
    "LANGUAGES",
    "REPORTS",
    "RULES",
    "Change",
    "CleanResult",
    "CleanSummary",
    "CleanedLine",
    "Report",
    "Rule",
    "clean_file",
    "clean_line",
    "clean_lines",
    "clean_stream",
    "language_of",
    "read_lines",
]
