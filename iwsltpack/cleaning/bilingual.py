"""Answers in both languages: which part is the translation, and where talk about it begins again."""

from __future__ import annotations

from typing import Final

import regex

from iwsltpack.cleaning import vocabulary as v
from iwsltpack.cleaning.meta_prefix import COLONS, DECORATION, find_head, scan
from iwsltpack.cleaning.script import HAN, function_words, in_source, in_target, latin_words

WINDOW: Final = 1500
"""Characters from the start, or from the end, in which the border between the languages is looked for."""
MAX_BORDERS: Final = 60
MIN_WORDS: Final = 4
"""A source text shorter than this may be a name or a term, and is content."""
BORDER: Final = regex.compile(r"(?<=[.?!,;:。，：；！？'\"”’)）\]\-–—])\s*+|\s++|(?<=[^\p{Han}])(?=\p{Han})")
SOURCE_LABEL: Final = regex.compile(
    r"(?:英语|英文|原文|原句|源语言|English|Englisch(?:er|es)?|Original(?:text)?|Source)"
    r"(?:原文|文本|原句| text| speech| original)?"
    r"\s*+(?:是|为|is|ist)?\s*+[:：]",
    regex.IGNORECASE,
)
TRAILING_NOTE: Final = regex.compile(r"\s*+[(（\[【]([^()（）\[\]【】]{2,600}+)[)）\]】]\s*+[。.]?\s*+$")
ABOUT_TRANSLATION: Final = regex.compile(
    r"翻译|译文|原文|音频|语音|英语|英文|演讲|\b(?:translat|original|audio|speech|English|übersetz|englisch|Rede\b)",
    regex.IGNORECASE,
)
CLOSING_REMARK: Final = regex.compile(
    r"(?<=[。！？.!?\"'”’]\s*+)(?:以上(?:就)?[是为]|上述|The above|That is the|Das (?:ist|war) die)",
    regex.IGNORECASE,
)
RESTATED: Final = regex.compile(r"[.?!]['\"”’]?$")


def translation_start(line: str, lang: str) -> int | None:
    """Find where the translation starts in a line that gives the source text first.

    ``Hello everyone. 中文翻译：大家好。`` and ``English: Hello. Chinese: 你好。`` have the source before a meta prefix
    or label; everything before the translation is source text or talk about it, else None is returned.
    """
    window = line[:WINDOW]
    borders = [match.end() for match in BORDER.finditer(window)][:MAX_BORDERS]
    for border in borders:
        if border == 0 or (start := find_head(line, border, lang)) is None:
            continue
        rest = line[start:].lstrip(DECORATION)
        if in_target(rest[:WINDOW], lang) and _is_source_part(line[:border], lang):
            return start
    return None


def _is_source_part(text: str, lang: str) -> bool:
    tokens, delimiters = scan(text, 0, lang)
    labels = [mark for mark in delimiters if mark.kind == "colon"]
    labelled = bool(labels) and any(token.category in _NAMES_SOURCE for token in tokens)
    body = text[labels[-1].rest :] if labelled else text
    words = len(latin_words(body))
    if not in_source(body, lang) or words == 0:
        return False
    end = text.rstrip(DECORATION)[-1:]
    finished = words >= 2 and end in ".?!。！？'\"”’"
    return labelled or finished or (words >= MIN_WORDS - 1 and end in ",;:，：；-–—")


_NAMES_SOURCE: Final = frozenset((v.ENGLISH, v.SPEECH, v.TEXT, v.SAY, v.SAID, v.TRANSLATE, v.MEANING))


def source_tail(line: str, lang: str) -> int | None:
    """Find where a labelled source text ("英文：Hello everyone.") begins after the translation, or None."""
    offset = max(0, len(line) - WINDOW)
    if not any(colon in line for colon in COLONS):
        return None
    for label in SOURCE_LABEL.finditer(line, pos=offset):
        before, after = line[: label.start()], line[label.end() :]
        ended = before.rstrip(DECORATION)[-1:] in "。.!！?？\"'”’；;" and bool(before.strip())
        if ended and _restates(after, before, lang):
            return label.start()
    return None


def remark_start(line: str, lang: str) -> int | None:
    """Find where a closing remark ("以上是这段英语的中文翻译。") begins, or None."""
    for remark in CLOSING_REMARK.finditer(line, pos=max(0, len(line) - WINDOW)):
        tokens, _ = scan(line, remark.start(), lang)
        categories = {token.category for token in tokens}
        covered = bool(tokens) and not line[tokens[-1].end :].strip(DECORATION + "。.!！")
        if covered and v.TRANSLATE in categories and in_target(line[: remark.start()], lang):
            return remark.start()
    return None


def note_start(line: str, lang: str) -> int | None:
    """Find where a bracketed note about the translation, or the source restated, begins at the end of a line."""
    note = TRAILING_NOTE.search(line, pos=max(0, len(line) - WINDOW))
    if note is None or not in_target(line[: note.start()], lang):
        return None
    content, before = note.group(1).strip(), line[: note.start()]
    if _is_note(content, lang) or (RESTATED.search(content) and _restates(content, before, lang)):
        return note.start()
    return None


def _is_note(content: str, lang: str) -> bool:
    tokens, delimiters = scan(content, 0, lang)
    colons = [mark for mark in delimiters if mark.kind == "colon"]
    if not colons:
        return False
    head = {token.category for token in tokens[: colons[0].tokens]}
    if v.NOTE in head:
        return ABOUT_TRANSLATION.search(content, pos=colons[0].rest) is not None
    labelled = head & {v.TRANSLATE, v.ENGLISH} or SOURCE_LABEL.match(content)
    return bool(labelled) and content[colons[0].rest :].strip() != ""


def _restates(source: str, translation: str, lang: str) -> bool:
    words = len(latin_words(source))
    if words < MIN_WORDS or not in_source(source, lang) or sum(function_words(source)) == 0:
        return False
    if lang == "zh":
        # A Chinese translation has about 1.6 characters for each English word.
        return words >= 0.4 * len(HAN.findall(translation[-WINDOW:]))
    return words >= 0.6 * len(latin_words(translation))
