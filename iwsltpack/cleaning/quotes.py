"""Quotation marks around a whole text, told apart from quotation marks within it."""

import itertools
from collections.abc import Callable
from typing import Final

import regex

from iwsltpack.cleaning.script import has_content
from iwsltpack.cleaning.vocabulary import CLOSERS

SENTENCE_END: Final = "。！？!?.…"
TITLE_MARK: Final = "《"
MAX_MARKS: Final = 400
"""A text with more marks of one kind than this is no quotation but a broken line: it is left alone."""
APOSTROPHE: Final = regex.compile(r"(?<=\p{Latin})['’](?=\p{Latin})")
FINAL_PUNCTUATION: Final = regex.compile(r"[\s*_。．.,，、;；!！?？…]*+$")


def is_opener(character: str) -> bool:
    """Tell whether `character` can open a quotation."""
    return character in CLOSERS


def closing_mark(text: str, start: int, limit: int) -> int:
    """Return the index of the mark that closes the quotation opened at `start`, or -1.

    An apostrophe between two Latin letters closes nothing; marks past `start` + `limit` are not looked for.
    """
    closers = CLOSERS[text[start]]
    for index in range(start + 1, min(len(text), start + limit)):
        if text[index] in closers and APOSTROPHE.match(text, index) is None:
            return index
    return -1


def quotation_end(text: str) -> int:
    """Return the index of the mark that closes the quotation which `text` begins with, those within counted, or -1."""
    marks = _marks(text, text[0] + CLOSERS[text[0]]) or []
    depths = [0] if text[0] in CLOSERS[text[0]] else _depths(text, marks)[1:]
    return marks[depths.index(0)] if marks and 0 in depths else -1


def unwrap(text: str, *, opened: bool, is_tail: Callable[[str], bool] = lambda _: False) -> str | None:
    """Take away the quotation marks around the whole of `text`; None where they do not enclose it all.

    Parameters
    ----------
    opened
        A meta prefix stood before it, so that the mark opened with the prefix: it then also goes where the
        text was cut off before its closing mark.
    is_tail
        Tells whether what follows the closing mark is talk about the translation (" in Chinese.").
    """
    if not text or text[0] not in CLOSERS:
        return None
    closers = CLOSERS[text[0]]
    marks = _marks(text, text[0] + closers)
    if marks is None:
        return None
    last = next((index for index in reversed(marks) if text[index] in closers), -1)
    rest = text[last + 1 :]
    if last > 0 and (FINAL_PUNCTUATION.match(rest) or (opened and is_tail(rest))):
        inner = text[1:last].strip()
        tail = rest.strip(" *_")[:1] if FINAL_PUNCTUATION.match(rest) else ""
        if not _encloses(text, last, marks, opened=opened) or not has_content(inner):
            return None
        if text[0] == TITLE_MARK and inner[-1] not in SENTENCE_END:
            return None
        return inner if inner[-1] in SENTENCE_END + ",，" or not tail else inner + tail
    if opened and _never_closed(text, marks) and has_content(text[1:]):
        return text[1:].lstrip()
    return None


def _marks(text: str, characters: str) -> list[int] | None:
    if sum(text.count(character) for character in set(characters)) > MAX_MARKS:
        return None
    found = regex.compile(f"[{regex.escape(characters)}]").finditer(text, 1)
    return [mark.start() for mark in found if APOSTROPHE.match(text, mark.start()) is None]


def _encloses(text: str, last: int, marks: list[int], *, opened: bool) -> bool:
    opener, closers = text[0], CLOSERS[text[0]]
    inside = [index for index in marks if index < last]
    if not inside:
        return True
    if opener in closers:
        # Straight marks inside: only a finished sentence before the last one shows that it closes the whole.
        return opened and text[last - 1] in SENTENCE_END
    return _depths(text, inside)[-1] == 1 and 0 not in _depths(text, inside)


def _never_closed(text: str, marks: list[int]) -> bool:
    if text[0] in CLOSERS[text[0]]:
        return len(marks) % 2 == 0
    return 0 not in _depths(text, marks)


def _depths(text: str, marks: list[int]) -> list[int]:
    """Return how many quotations are open after each of `marks`, the one around the text included."""
    return list(itertools.accumulate((1 if text[index] == text[0] else -1 for index in marks), initial=1))
