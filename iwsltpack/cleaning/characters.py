"""Repairs that look at characters alone: breaks, controls, white space, runs and loops."""

import re
import unicodedata
from typing import Final

from iwsltpack.cleaning.script import HAN, LETTER
from iwsltpack.cleaning.vocabulary import Patterns

REAL_BREAKS: Final = re.compile(r"[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]++")
CONTROL: Final = re.compile(
    r"[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]++"
)
PUNCTUATION_RUN: Final = re.compile(r"([!！?？。，,、；;：:~～|/\\@%^&+])\1{3,}+")
MARKS_MATTER: Final = 1000
LINE_RUN: Final = re.compile(r"([.…_=*#·•\-—–])\1{9,}+")
LETTER_RUN: Final = re.compile(r"([^\W\d_])\1{11,}+")
LOOP_LONGEST: Final = 300
LOOP_TIMES: Final = 6
CHARACTERS: Final = Patterns("characters")
SPOKEN_TIMES: Final = 12
SENTENCE_ENDS: Final = "。.!！?？…"
LOOP_END: Final = "。.!！?？…，, "
_CJK = "[\u3000-\u303f\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
CJK_BREAK: Final = re.compile(f"(?<={_CJK})\n(?={_CJK})")
# Most lines hold nothing that any rule is about. This search finds that out at a fraction of the rules' cost; the
# standard library's engine is the faster one for it.
_SUSPECT_CHARACTER: Final = re.compile(
    "[\x00-\x1f\x7f-\xa0\xad\u1680\u2000-\u200f\u2028-\u202f\u205f-\u2069\u3000\ufeff\\\\]|^ |  | $|(.)\\1\\1\\1"
)


def is_plain(line: str) -> bool:
    """Tell, fast, that no rule on characters has anything to do in `line`."""
    return _SUSPECT_CHARACTER.search(line) is None and compose(line, "") == line


def may_loop(line: str) -> bool:
    """Tell, fast, whether a phrase may be repeated at the end of `line`."""
    end = line.rstrip(LOOP_END)[-1:]
    return len(line) >= 2 * LOOP_TIMES and end != "" and line.count(end) >= LOOP_TIMES


def fold_breaks(line: str, lang: str) -> str:  # noqa: ARG001
    """Turn real line breaks of every kind, and written ones (`\\n`), into a space; into nothing within Chinese.

    A written one is one at an end of the line, after a mark, before a capital or Chinese, or beside another; LaTeX
    commands and Windows paths are left alone.
    """
    if "\\" in line:
        line = CHARACTERS.escaped_breaks.sub(lambda match: match["path"] or "\n", line)
    if REAL_BREAKS.search(line) is None:
        return line

    lines = "\n".join(filter(None, map(str.strip, REAL_BREAKS.split(line))))
    return CJK_BREAK.sub("", lines).replace("\n", " ")


def drop_controls(line: str, lang: str) -> str:  # noqa: ARG001
    """Take out control, zero-width and direction characters, and byte-order marks."""
    return CONTROL.sub("", line)


def compose(line: str, lang: str) -> str:  # noqa: ARG001
    """Bring the line to Unicode's composed form (NFC), but for marks piled up without end."""
    # Sorting the marks on one letter takes time quadratic in their number.
    if line.isascii() or (len(line) > MARKS_MATTER and CHARACTERS.piled_marks.search(line)):
        return line
    return unicodedata.normalize("NFC", line)


def squeeze_spaces(line: str, lang: str) -> str:  # noqa: ARG001
    """Make every run of white space one space, and none at either end."""
    return " ".join(line.split())


def squeeze_runs(line: str, lang: str) -> str:  # noqa: ARG001
    """Shorten a mark written four times or more to one, a dot or dash written ten times or more to three.

    A letter written twelve times or more becomes three; digits are left alone.
    """
    line = PUNCTUATION_RUN.sub(r"\1", line)
    line = LINE_RUN.sub(r"\1\1\1", line)
    return LETTER_RUN.sub(r"\1\1\1", line)


def squeeze_loop(line: str, lang: str) -> str:  # noqa: ARG001
    """Keep a phrase of up to 300 characters once where it stands six times or more at the end of a line.

    A single word between commas must come twelve times: people do say "no, no, no, no, no, no". Capitals count as small
    letters, and the copy that stays ends where its phrase does, not with a comma or an "und".
    """
    if not may_loop(line):
        return line
    body = line.rstrip(LOOP_END)
    folded = body.lower() if len(body.lower()) == len(body) else body
    ended = line[len(body) :].strip("，, ")
    for length in range(2, min(LOOP_LONGEST, (len(body) + LOOP_LONGEST) // LOOP_TIMES) + 1):
        unit = folded[-length:]
        if not folded.endswith(unit * 2) or LETTER.search(unit) is None or len(set(unit)) == 1:
            continue
        times = SPOKEN_TIMES if CHARACTERS.spoken.fullmatch(unit) else LOOP_TIMES
        # Back to where the letters begin to repeat, which may be in the middle of `unit`.
        start = len(body) - length
        while start > 0 and folded[start - 1] == folded[start - 1 + length]:
            start -= 1
        over, gap = _phrase_end(unit, whole=ended != "")
        if len(body) - start + gap < times * length:
            continue
        end = start + length - gap
        if gap or ended:
            end += (len(body) + over - end) % length
            end += length * (CHARACTERS.within_word.match(body, end - length + gap - 1) is not None)
        elif HAN.search(unit) is not None:
            while CHARACTERS.within_word.match(body, end - 1) is not None:
                end += 1
        ended = ended or "".join(mark for mark in body[end : end + 1] if mark in SENTENCE_ENDS)
        hanging = None if gap or CHARACTERS.hanging.search(body) else CHARACTERS.hanging.search(body[:end])
        return body[: end if hanging is None else hanging.start()] + ended
    return line


def _phrase_end(unit: str, *, whole: bool) -> tuple[int, int]:
    """Return where in a repeated `unit` the phrase is over, and how many characters part it from its next copy, or 0.

    That is before a mark or an "und", or else a space: where the unit begins if one stands there, as the line then ends
    with a whole copy, or else, if it need not be `whole`, at the last, as the line was cut off within a copy.
    """
    for between in (CHARACTERS.between, CHARACTERS.space):
        found = [part for part in between.finditer(unit * 2) if part.start() < len(unit)]
        if found and (found[0].start() == 0 or not whole):
            chosen = found[0] if found[0].start() == 0 else found[-1]
            return chosen.start(), len(chosen.group())
    return 0, 0
