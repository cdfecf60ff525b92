"""Checks of a hypothesis file: its bytes, its lines, and what they are written in."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from iwsltpack.cleaning import as_server, clean_line
from iwsltpack.submission.validation_rules import problem
from iwsltpack.testsets.order import compare_order

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from iwsltpack.errors import Problem

MAX_BYTES: Final = 256 << 20
MAX_LINE: Final = 1_000_000
SCRIPT_SHARE: Final = 0.5
MIN_LINES_FOR_SHARE: Final = 8
DUPLICATE_LENGTH: Final = 6
"""Shorter lines ("谢谢。") may well be said twice."""
CONTROL: Final = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069]"
)
SEPARATOR: Final = re.compile("[\x0b\x0c\x85\u2028\u2029]")
SPACES: Final = re.compile(r"^\s|\s$|\s\s|\t")
REPORTED: Final = {
    "not-target-language": "hyp.not-target-language",
    "half-translated": "hyp.half-translated",
    "refusal": "hyp.refusal",
    "no-content": "hyp.no-content",
    "prefix-only": "hyp.prefix-only",
    "source-only": "hyp.possible-label",
    "possible-label": "hyp.possible-label",
    "mark-left": "hyp.chat-mark",
}
"""What the cleaner reports, and the validator's rule for it."""
ALIGNMENT: Final = {"few": "alignment.skipped", "shuffled": "alignment.shuffled", "weak": "alignment.weak"}
"""What the lengths of segments and lines say together, and the rule for it."""
PREFIX_RULES: Final = ("meta-prefix", "both-languages")
SEEN_BY_OTHER_RULES: Final = ("line-break", "control-character", "unicode-form", "white-space")


@dataclass
class HypothesisFile:
    """A hypothesis file read: its lines, and every problem found in them."""

    path: Path
    lines: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def read_hypotheses(
    path: Path, lang: str | None, *, raw: bool = False, name: Path | None = None
) -> HypothesisFile:
    """Read and check a hypothesis file; it is called `name` in problems.

    Without a target language `lang`, what depends on it is left out. `raw` is the model's own output, before cleaning:
    what the cleaner will repair is no problem yet.
    """
    found = HypothesisFile(path=name or path)
    size = path.stat().st_size
    if size > MAX_BYTES:
        found.problems.append(problem("hyp.too-large", f"{size} bytes", path=found.path))
        return found
    return _read(path.read_bytes(), lang, found, raw=raw)


def check_hypotheses(data: bytes, lang: str | None, name: Path, *, raw: bool = False) -> list[Problem]:
    """Return every problem of hypotheses that lie in memory; `name` is what to call them."""
    return _read(data, lang, HypothesisFile(path=name), raw=raw).problems


def _read(data: bytes, lang: str | None, found: HypothesisFile, *, raw: bool) -> HypothesisFile:
    if not data:
        found.problems.append(problem("hyp.empty-file", "0 bytes", path=found.path))
        return found
    _check_bytes(data, found)
    for number, piece in enumerate(data.removesuffix(b"\n").split(b"\n"), 1):
        found.lines.append(_decode(piece, number, found))
    _check_lines(found, lang, raw=raw)
    return found


def _check_bytes(data: bytes, found: HypothesisFile) -> None:
    if data.startswith(b"\xef\xbb\xbf"):
        found.problems.append(problem("hyp.bom", "UTF-8 byte-order mark", path=found.path, line=1))
    if b"\r" in data:
        line = data[: data.index(b"\r")].count(b"\n") + 1
        count = data.count(b"\r")
        message = f"{count} carriage returns, the first here"
        found.problems.append(problem("hyp.crlf", message, path=found.path, line=line))
    if not data.endswith(b"\n"):
        line, message = data.count(b"\n") + 1, "the file ends within a line"
        found.problems.append(problem("hyp.final-newline", message, path=found.path, line=line))


def _decode(piece: bytes, number: int, found: HypothesisFile) -> str:
    piece = piece.removesuffix(b"\r")
    if number == 1:
        piece = piece.removeprefix(b"\xef\xbb\xbf")
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"byte 0x{piece[error.start]:02x} at column {error.start + 1}"
        found.problems.append(problem("hyp.encoding", message, path=found.path, line=number))
        # The byte's place is told; a mark of its own would be told a second time.
        return piece.decode("utf-8", errors="replace").replace("\ufffd", "?")


def _check_lines(found: HypothesisFile, lang: str | None, *, raw: bool) -> None:
    foreign = 0
    for number, line in enumerate(found.lines, 1):
        found.problems += _check_characters(line, number, found.path, raw=raw)
        foreign += not line.strip()
        if lang is None or not line.strip() or len(line) > MAX_LINE:
            continue
        worded = _check_wording(line, number, found.path, lang, raw=raw)
        foreign += any(entry.rule == "hyp.not-target-language" for entry in worded)
        found.problems += worded
    if len(found.lines) >= MIN_LINES_FOR_SHARE and foreign > SCRIPT_SHARE * len(found.lines):
        message = f"{foreign} of {len(found.lines)} lines are empty or not in {lang or 'any language'}"
        found.problems.append(problem("hyp.script-share", message, path=found.path))
    found.problems += _duplicates(found)


def _check_characters(line: str, number: int, path: Path, *, raw: bool) -> list[Problem]:
    checks = [
        ("hyp.empty-line", not line.strip(), "the line is empty"),
        ("hyp.replacement", "\ufffd" in line, "U+FFFD in the line"),
        ("hyp.too-large", len(line) > MAX_LINE, f"{len(line)} characters in one line"),
    ]
    if not raw:
        for rule, pattern in (("hyp.control", CONTROL), ("hyp.line-separator", SEPARATOR)):
            if (found := pattern.search(line)) is not None:
                checks.append((rule, True, f"U+{ord(found[0]):04X} in the line"))
        needless = bool(line.strip()) and SPACES.search(line) is not None
        decomposed = len(line) <= MAX_LINE and not unicodedata.is_normalized("NFC", line)
        checks += [
            ("hyp.white-space", needless, "needless white space"),
            ("hyp.nfc", decomposed, "not composed (NFC)"),
            ("hyp.server-changes", as_server(line) != line, f"it makes it: {_short(as_server(line))}"),
        ]
    return [problem(rule, message, path=path, line=number) for rule, broken, message in checks if broken]


def _check_wording(line: str, number: int, path: Path, lang: str, *, raw: bool) -> list[Problem]:
    problems = []
    for change in clean_line(line, lang).changes:
        if not change.repaired:
            rule = REPORTED.get(change.rule)
            message = change.message or change.rule
        elif raw or change.rule in SEEN_BY_OTHER_RULES:
            continue
        else:
            rule = "hyp.meta-prefix" if change.rule in PREFIX_RULES else "hyp.not-clean"
            message = f"rule {change.rule} would make it: {_short(change.after)}"
        if rule is not None:
            problems.append(problem(rule, message, path=path, line=number))
    return problems


def _short(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _duplicates(found: HypothesisFile) -> list[Problem]:
    problems = []
    start = 0
    for index in range(1, len(found.lines) + 1):
        if index < len(found.lines) and found.lines[index] == found.lines[start]:
            continue
        if index - start > 1 and len(found.lines[start].strip()) >= DUPLICATE_LENGTH:
            message = f"the same line {index - start} times in a row: {_short(found.lines[start])}"
            problems.append(problem("hyp.duplicate-lines", message, path=found.path, line=start + 1))
        start = index
    return problems


def check_alignment(durations: Sequence[float], lines: Sequence[str], path: Path) -> list[Problem]:
    """Return what durations (seconds) and lengths (characters) of the same segments say about the order."""
    if len(durations) != len(lines):
        return []
    verdict, figures = compare_order(durations, [len(line) for line in lines])
    return [problem(ALIGNMENT[verdict], figures, path=path)] if verdict in ALIGNMENT else []
