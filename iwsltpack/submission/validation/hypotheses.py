"""Checks of a hypothesis file: its bytes, its lines, and what they are written in."""

import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from iwsltpack.cleaning.chat_marks import as_server, list_mark
from iwsltpack.cleaning.engine import clean_line, shows_labels
from iwsltpack.cleaning.findings import replacement_character
from iwsltpack.errors import Problem, clipped
from iwsltpack.submission.validation_rules import problem
from iwsltpack.testsets.order import compare_order

MAX_BYTES: Final = 256 << 20
MAX_LINE: Final = 1_000_000
SHOWN: Final = 60
"""Characters of a line that a problem repeats."""
SCRIPT_SHARE: Final = 0.5
MIN_LINES_FOR_SHARE: Final = 8
DUPLICATE_LENGTH: Final = 6
"""Shorter lines ("谢谢。") may well be said twice."""
CONTROL: Final = re.compile(
    r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069]"
)
SEPARATOR: Final = re.compile("[\x0b\x0c\x85\u2028\u2029]")
OWN_NUMBER: Final = re.compile(r"\s*[(\[]?(\d{1,7})(?:[.．)\]、:：]|\s)")
NUMBERED_LINES: Final = 3
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
    "would-empty": "hyp.chat-mark",
}
"""What the cleaner reports, and the validator's rule for it."""
ALIGNMENT: Final = {"few": "alignment.skipped", "shuffled": "alignment.shuffled", "weak": "alignment.weak"}
"""What the lengths of segments and lines say together, and the rule for it."""
PREFIX_RULES: Final = ("meta-prefix", "both-languages", "likely-label")
SEEN_BY_OTHER_RULES: Final = ("line-break", "control-character", "unicode-form", "white-space")


@dataclass
class HypothesisFile:
    """A hypothesis file read: its lines, and every problem found in them."""

    path: Path
    lines: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(self, rule: str, message: str, line: int | None = None) -> None:
        """Add a problem of the file, or of a line of it."""
        self.problems.append(problem(rule, message, path=self.path, line=line))


def read_hypotheses(path: Path, lang: str | None, *, raw: bool = False) -> HypothesisFile:
    """Read and check a hypothesis file.

    Without a target language `lang`, what depends on it is left out. `raw` is the model's own output, before cleaning:
    what the cleaner will repair is no problem yet.
    """
    found = HypothesisFile(path=path)
    size = path.stat().st_size
    if size > MAX_BYTES:
        found.add("hyp.too-large", f"{size} bytes")
        return found
    return _read(path.read_bytes(), lang, found, raw=raw)


def check_hypotheses(data: bytes, lang: str | None, name: Path, *, raw: bool = False) -> list[Problem]:
    """Return every problem of hypotheses that lie in memory; `name` is what to call them."""
    return _read(data, lang, HypothesisFile(path=name), raw=raw).problems


def _read(data: bytes, lang: str | None, found: HypothesisFile, *, raw: bool) -> HypothesisFile:
    if not data:
        found.add("hyp.empty-file", "0 bytes")
        return found
    if data.startswith(b"\xef\xbb\xbf"):
        found.add("hyp.bom", "UTF-8 byte-order mark", 1)
    if count := data.count(b"\r"):
        line = data[: data.index(b"\r")].count(b"\n") + 1
        found.add("hyp.crlf", f"{count} carriage returns, the first here", line)
    if not data.endswith(b"\n"):
        found.add("hyp.final-newline", "the file ends within a line", data.count(b"\n") + 1)
    pieces = data.removeprefix(b"\xef\xbb\xbf").removesuffix(b"\n").split(b"\n")
    for number, piece in enumerate(pieces, 1):
        found.lines.append(_decode(piece.removesuffix(b"\r"), number, found))
    _check_lines(found, lang, raw=raw)
    return found


def _decode(piece: bytes, number: int, found: HypothesisFile) -> str:
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"byte 0x{piece[error.start]:02x} at column {error.start + 1}"
        found.add("hyp.encoding", message, number)
        # The byte's place is told; a mark of its own would be told a second time.
        return piece.decode("utf-8", errors="replace").replace("\ufffd", "?")


def _check_lines(found: HypothesisFile, lang: str | None, *, raw: bool) -> None:
    foreign, labelled = 0, lang is not None and shows_labels(found.lines, lang)
    marks = [None, *map(list_mark, found.lines), None]
    numbers = [OWN_NUMBER.match(line) for line in found.lines]
    for first in (0, 1):
        own = sum(
            number is not None and int(number[1]) == place for place, number in enumerate(numbers, first)
        )
        if own >= NUMBERED_LINES and own > SCRIPT_SHARE * len(numbers):
            found.add(
                "hyp.chat-mark", f"{own} of {len(numbers)} lines begin with their own number", 2 - first
            )
    for number, line in enumerate(found.lines, 1):
        broken = _wrong_characters(line, raw=raw)
        # Where the lines beside it are items as well, the talk may be a list.
        if (mark := marks[number]) is not None and marks[number - 1] is None and marks[number + 1] is None:
            broken.append(("hyp.chat-mark", f"the line begins as an item of a list does: {mark.strip()!r}"))
        if lang is not None and line.strip() and len(line) <= MAX_LINE:
            broken += _wrong_wording(line, lang, raw=raw, labelled=labelled)
        foreign += not line.strip() or any(rule == "hyp.not-target-language" for rule, _ in broken)
        for rule, message in broken:
            found.add(rule, message, number)
    if len(found.lines) >= MIN_LINES_FOR_SHARE and foreign > SCRIPT_SHARE * len(found.lines):
        message = f"{foreign} of {len(found.lines)} lines are empty or not in {lang or 'any language'}"
        found.add("hyp.script-share", message)
    start = 1
    for line, equal in itertools.groupby(found.lines):
        times = len(list(equal))
        if times > 1 and len(line.strip()) >= DUPLICATE_LENGTH:
            message = f"the same line {times} times in a row: {clipped(line, SHOWN)}"
            found.add("hyp.duplicate-lines", message, start)
        start += times


def _wrong_characters(line: str, *, raw: bool) -> list[tuple[str, str]]:
    """Return the rules on characters that a line breaks, each with what is wrong."""
    checks = [
        ("hyp.empty-line", not line.strip(), "the line is empty"),
        ("hyp.replacement", (lost := replacement_character(line, "")) is not None, lost or ""),
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
            (
                "hyp.server-changes",
                as_server(line) != line,
                f"it makes it: {clipped(as_server(line), SHOWN)}",
            ),
        ]
    return [(rule, message) for rule, broken, message in checks if broken]


def _wrong_wording(line: str, lang: str, *, raw: bool, labelled: bool) -> list[tuple[str, str]]:
    """Return the rules on wording that a line breaks: what the cleaner reports, and what it would repair."""
    found = []
    for change in clean_line(line, lang, labelled=labelled).changes:
        if not change.repaired:
            if change.rule in REPORTED:
                found.append((REPORTED[change.rule], change.message or change.rule))
        elif not raw and change.rule not in SEEN_BY_OTHER_RULES:
            rule = "hyp.meta-prefix" if change.rule in PREFIX_RULES else "hyp.not-clean"
            found.append((rule, f"rule {change.rule} would make it: {clipped(change.after, SHOWN)}"))
    return found


def check_alignment(durations: Sequence[float], lines: Sequence[str], path: Path) -> list[Problem]:
    """Return what durations (seconds) and lengths (characters) of the same segments say about the order."""
    if len(durations) != len(lines):
        return []
    verdict, figures = compare_order(durations, [len(line) for line in lines])
    return [problem(ALIGNMENT[verdict], figures, path=path)] if verdict in ALIGNMENT else []
