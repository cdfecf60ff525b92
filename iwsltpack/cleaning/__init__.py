"""Clean-up of raw hypotheses by named, language-aware rules that never empty, merge or split a line."""

from iwsltpack.cleaning.chat_marks import as_server, list_mark
from iwsltpack.cleaning.engine import (
    LANGUAGES,
    Change,
    CleanedLine,
    CleanResult,
    clean_line,
    clean_lines,
    shows_labels,
)
from iwsltpack.cleaning.files import CleanSummary, clean_file, language_of
from iwsltpack.cleaning.findings import REPORTS, Finding
from iwsltpack.cleaning.rules import RULES, CleaningRule

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
    "language_of",
    "list_mark",
    "shows_labels",
]
