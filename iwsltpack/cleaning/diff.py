"""A repair, shown: what was taken away and what was put in."""

from difflib import SequenceMatcher
from typing import Final, Literal

Mark = Literal["kept", "removed", "added"]
LONGEST: Final = 2000
"""Characters of a line that are compared one by one; longer lines are compared at their ends alone."""


def marked(before: str, after: str) -> list[tuple[Mark, str]]:
    """Return the pieces of both lines in order; joined without the added they are `before`."""
    if before == after:
        return [("kept", before)]
    if max(len(before), len(after)) > LONGEST:
        return _ends(before, after)
    pieces: list[tuple[Mark, str]] = []
    for kind, left, left_end, right, right_end in SequenceMatcher(
        None, before, after, autojunk=False
    ).get_opcodes():
        if kind == "equal":
            pieces.append(("kept", before[left:left_end]))
            continue
        if left_end > left:
            pieces.append(("removed", before[left:left_end]))
        if right_end > right:
            pieces.append(("added", after[right:right_end]))
    return pieces


def _ends(before: str, after: str) -> list[tuple[Mark, str]]:
    at = before.find(after) if after else -1
    if at < 0:
        return [("removed", before), ("added", after)]
    parts: list[tuple[Mark, str]] = [
        ("removed", before[:at]),
        ("kept", after),
        ("removed", before[at + len(after) :]),
    ]
    return [part for part in parts if part[1]]
