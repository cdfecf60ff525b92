"""Do the lines follow the audio? What the durations of segments say, as a finding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iwsltpack.submission.validation_rules import problem
from iwsltpack.testsets.order import compare_order

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from iwsltpack.errors import Problem

RULES = {"few": "alignment.skipped", "shuffled": "alignment.shuffled", "weak": "alignment.weak"}


def check_alignment(durations: Sequence[float], lines: Sequence[str], path: Path) -> list[Problem]:
    """Return what durations (seconds) and lengths (characters) of the same segments say about the order."""
    if len(durations) != len(lines):
        return []
    verdict, figures = compare_order(durations, [len(line) for line in lines])
    return [problem(RULES[verdict], figures, path=path)] if verdict in RULES else []
