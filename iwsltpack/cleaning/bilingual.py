"""Answers in both languages: which part is the translation, and where talk about it begins again."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from iwsltpack.cleaning import vocabulary as v
from iwsltpack.cleaning.meta_prefix import COLONS, DECORATION, ENDS, Head, find_head, scan, wholly_talk
from iwsltpack.cleaning.quotes import closing_mark, is_opener
from iwsltpack.cleaning.script import (
    HAN,
    LETTER,
    could_be_source,
    function_words,
    in_source,
    in_target,
    latin_words,
)

WINDOW: Final = 1500
"""Characters from the start, or from the end, in which the border between the languages is looked for."""
MAX_BORDERS: Final = 60
MIN_WORDS: Final = 4
"""A source text shorter than this may be a name or a term, and is content."""
BILINGUAL: Final = v.Patterns("bilingual")
FIGURE: Final = re.compile(r"\d")
CAPITAL_WITHIN: Final = re.compile(r"(?<=\s)[\"'„“‚‘(]*[A-ZÄÖÜ]")
SAME_FROM: Final = 0.5
"""Share of common letter pairs from which two sentences are taken for one translation given twice."""


def translation_start(line: str, lang: str) -> tuple[int, int] | None:
    """Find where the translation starts in a line that gives other text first.

    ``Hello everyone. 中文翻译：大家好。`` and ``English: Hello. Chinese: 你好。`` have the source before a meta prefix
    or label, ``大家好。中文翻译：大家好。`` the translation itself. Returns where the label begins and where the
    translation does.
    """
    for border, head in _heads_within(line, lang):
        rest = line[head.end :].lstrip(DECORATION)[:WINDOW]
        colon = any(map(line[border : head.end].__contains__, COLONS))
        if in_target(rest, lang) and _gives_way(line[:border], rest, head, lang, colon=colon):
            return border, head.end
    if (pair := BILINGUAL.pair.fullmatch(line[:WINDOW])) is not None:
        source, target = (next(filter(None, pair.captures(part))) for part in ("source", "target"))
        told = line[len(source) : len(line) - len(target)].rstrip()[-1:] in tuple(">→➔⇒")
        if (
            could_be_source(source, lang)
            and in_target(target, lang)
            and (told or not could_be_source(target, lang))
        ):
            return len(line[:WINDOW]) - len(target), len(line[:WINDOW]) - len(target)
    return _bracketed(line, lang)


def label_within(line: str, lang: str) -> int | None:
    """Find a label of the translation after a finished sentence: another translation of it, or content."""
    for border, head in _heads_within(line, lang):
        said = re.split(f"[{COLONS}]", line[:border])
        # "English: Agreed. Chinese: 同意。"
        source = len(said) > 1 and could_be_source(said[-1], lang) and not FIGURE.search(said[-1])
        named = head.has(v.TRANSLATE) or (source and head.has(v.TARGETS[lang]))
        if head.kind == "colon" and named and line[:border].rstrip(DECORATION)[-1:] in ENDS:
            return border
    return None


def _heads_within(line: str, lang: str) -> Iterator[tuple[int, Head]]:
    window = line[:WINDOW]
    marked = (
        any(map(line.__contains__, COLONS)) or BILINGUAL.copula_label.search(v.simplified(window)) is not None
    )
    if not marked or BILINGUAL.talk.search(window) is None:
        return
    for border in islice(BILINGUAL.border.finditer(window), MAX_BORDERS):
        if border.end() == 0:
            continue
        if (head := find_head(line, border.end(), lang) or _weak_head(line, border.end(), lang)) is not None:
            yield border.end(), head


def _weak_head(line: str, start: int, lang: str) -> Head | None:
    """Return words up to a colon that only the source text before them shows to be a label (意思是：, Ausgabe:)."""
    if line[:start].rstrip(DECORATION + "-–—,，;；")[-1:] not in ENDS or not _is_source_part(
        line[:start], lang
    ):
        return None
    tokens, delimiters = scan(line, start, lang)
    for mark in delimiters:
        read = tuple(token.category for token in tokens[: mark.tokens])
        told = mark.kind == "colon" or (mark.kind == "copula" and read[-1] in (v.COPULA, v.MEANS))
        if told and not _LABELS.isdisjoint(read):
            return Head(
                read, line[start : mark.rest], all_latin=False, kind=mark.kind, end=mark.rest, dash=False
            )
    return None


_LABELS: Final = frozenset((v.TRANSLATE, v.MEANING, v.MEANS, v.OUTCOME, v.LANGUAGE, v.CHINESE, v.GERMAN))


def _gives_way(before: str, rest: str, head: Head, lang: str, *, colon: bool) -> bool:
    """Tell whether what stands before a label is no more than the source text, or the translation a first time."""
    if _is_source_part(before, lang):
        return True
    if not colon or before.rstrip(DECORATION)[-1:] not in ENDS or not head.has(v.TRANSLATE):
        return False
    if head.has(v.TARGETS[lang]) and could_be_source(before, lang) and not FIGURE.search(before):
        return True
    return not any(map(before.__contains__, COLONS)) and _alike(before, rest)


def _alike(left: str, right: str) -> bool:
    one, other = (
        {text[index : index + 2] for index in range(len(text) - 1)}
        for text in ("".join(LETTER.findall(part[:WINDOW])) for part in (left, right))
    )
    return 2 * len(one & other) >= SAME_FROM * (len(one) + len(other)) > 0


def _bracketed(line: str, lang: str) -> tuple[int, int] | None:
    """Find the translation in ``We propose a new method. （我们提出了一种新方法。）``."""
    note = BILINGUAL.trailing_note.search(line, pos=max(0, len(line) - WINDOW))
    if note is None or not in_target(note.group(1), lang):
        return None
    before = line[: note.start()]
    words = len(latin_words(before))
    if before[-1:] not in ENDS or words < MIN_WORDS:
        return None
    if not in_source(before, lang) or not function_words(before)[0]:
        return None
    size = _size(note.group(1), lang)
    enough = size >= words if lang == "zh" else function_words(note.group(1))[1] > 0 and size >= 0.6 * words
    start = line.index(note.group(1), note.start())
    return (start - 1, start) if enough else None


def _is_source_part(text: str, lang: str) -> bool:
    tokens, delimiters = scan(text, 0, lang)
    labels = [mark for mark in delimiters if mark.kind == "colon"]
    labelled = bool(labels) and any(token.category in _NAMES_SOURCE for token in tokens)
    body = text[labels[-1].rest :] if labelled else text
    if not labelled and (named := BILINGUAL.names_source.match(v.simplified(text))) is not None:
        labelled, body = True, text[named.end() :]
    if labelled:
        return _reads_as_source(body, lang)
    words = len(latin_words(body))
    if not in_source(body, lang):
        return False
    told, figures = function_words(body)[0] > 0, FIGURE.search(body) is not None
    ended = _is_ended(body)
    end = text.rstrip(DECORATION)[-1:]
    # A term may be quoted; a clause that is has its full stop, or four words and more, "we" or "the" among them.
    clause = (words >= MIN_WORDS and told) or (ended and (told or not figures))
    finished = words >= 2 and clause and end in ".?!。！？'\"”’"
    return finished or (words >= MIN_WORDS - 1 and end in ",;:，：；-–—")


def _is_ended(text: str) -> bool:
    """Tell whether `text` has a full stop or its like, behind which marks and quotation marks may stand."""
    return text.strip(DECORATION + "\"'“”‘’")[-1:] in ENDS


def _reads_as_source(text: str, lang: str) -> bool:
    """Tell whether what a label names as the source is English: "Englisch: 30 Stunden." is of the talk."""
    words, plain = len(latin_words(text)), FIGURE.search(text) is None
    # German has its nouns in capitals; within Chinese two words are a sentence.
    sentence = words >= MIN_WORDS and plain and CAPITAL_WITHIN.search(text.strip()) is None
    if lang == "zh":
        sentence = words >= MIN_WORDS or (words > 1 and _is_ended(text) and plain)
    return could_be_source(text, lang) and (sentence or function_words(text)[0] > 0)


_NAMES_SOURCE: Final = frozenset((v.ENGLISH, v.SPEECH, v.TEXT, v.SAY, v.SAID, v.TRANSLATE, v.MEANING))


def source_tail(line: str, lang: str) -> int | None:
    """Find where a labelled source text ("英文：Hello everyone.") begins after the translation, or None."""
    offset = max(0, len(line) - WINDOW)
    if not any(colon in line for colon in COLONS):
        return None
    tail = v.simplified(line[offset:])
    for label in BILINGUAL.source_label.finditer(tail):
        before, after = line[: offset + label.start()], tail[label.end() :]
        ended = before.rstrip(DECORATION + "-–—")[-1:] in ENDS and in_target(before[-WINDOW:], lang)
        foreign = lang == "zh" or label["source"] is not None or label.group().lower().startswith("transl")
        if label["source"] is None and function_words(before[-WINDOW:] + after) == (0, 0) and lang == "de":
            continue  # "No! Translation: Nein!": nothing tells which is which
        if ended and label.end() - label.start() > 1 and _restates(after, before, lang, labelled=foreign):
            return offset + label.start()
    return None


def remark_start(line: str, lang: str) -> int | None:
    """Find where a closing remark ("以上是这段英语的中文翻译。") begins, or None."""
    if (note := BILINGUAL.own_note.search(line, pos=max(0, len(line) - WINDOW))) is not None:
        return note.start() if in_target(line[: note.start()], lang) else None
    for remark in BILINGUAL.closing_remark.finditer(line, pos=max(0, len(line) - WINDOW)):
        tokens, _ = scan(line, remark.start(), lang)
        categories = {token.category for token in tokens}
        covered = bool(tokens) and not line[tokens[-1].end :].strip(DECORATION + "。.!！")
        if covered and v.TRANSLATE in categories and in_target(line[: remark.start()], lang):
            return remark.start()
    return None


def note_start(line: str, lang: str, *, labelled: bool = False) -> int | None:
    """Find where a bracketed note about the translation, or the source restated, begins at the end of a line.

    After a label (`labelled`) every note is one of the model's.
    """
    note = BILINGUAL.trailing_note.search(line, pos=max(0, len(line) - WINDOW))
    if note is None or not in_target(line[: note.start()], lang):
        return None
    content, before = note.group(1).strip(), line[: note.start()]
    if _is_note(content, before, lang, labelled=labelled):
        return note.start()
    return note.start() if BILINGUAL.restated.search(content) and _restates(content, before, lang) else None


def without_note(text: str, lang: str) -> str:
    """Return a labelled translation without the notes and second wordings that follow it."""
    while (start := note_start(text, lang, labelled=True)) is not None:
        text = text[:start].rstrip()
    note = BILINGUAL.open_note.search(text, pos=max(0, len(text) - WINDOW))
    if note is not None and in_target(text[: note.start()], lang):
        text = text[: note.start()].rstrip()
    if text and is_opener(text[0]):
        end = closing_mark(text, 0, WINDOW)
        if end > 1 and text[end - 1] in ENDS and BILINGUAL.afterthought.match(text, end + 1) is not None:
            return text[: end + 1]
    return text


def quoted_before_talk(line: str, lang: str) -> str | None:
    """Return the quotation that ``"Hallo." is the German translation.`` begins with, else None."""
    end = closing_mark(line, 0, WINDOW)
    if end < 0 or not in_target(line[1:end], lang):
        return None
    talk, target = wholly_talk(line[end + 1 :], lang), v.TARGETS[lang]
    told = talk & {v.MEANING, v.OUTCOME} and talk & {v.SPEECH, v.ENGLISH, v.TEXT, target}
    if talk <= {v.MEANS, v.QUOTED} and line[end - 1] in ENDS and not could_be_source(line[1:end], lang):
        return line[1:end] if in_source(line[end + 1 :], lang) else None
    sure = line[end - 1] in ENDS and (told or target in talk <= {target, v.PARTICLE})
    return line[1:end] if v.TRANSLATE in talk or sure else None


def before_its_source(line: str, lang: str) -> str | None:
    """Return the translation in ``Hallo. is the German translation of Hello.``, else None."""
    if (told := BILINGUAL.translation_of.fullmatch(line[:WINDOW])) is None:
        return None
    target, source = told["target"], told["source"]
    words, size = len(latin_words(source)), _size(target, lang)
    clause = words >= MIN_WORDS - 1 and function_words(source)[0] > 0
    whole = told["ended"] is not None or size >= max(MIN_WORDS, 0.8 * words)
    return target if clause and whole and in_source(source, lang) and in_target(target, lang) else None


def _is_note(content: str, before: str, lang: str, *, labelled: bool) -> bool:
    ended = before.rstrip("\"'”’“」』 ")[-1:] in tuple(ENDS)
    talk = wholly_talk(content, lang)
    if ended and (v.TRANSLATE in talk or (v.TARGETS[lang] in talk and v.TEXT not in talk)):
        return True
    if labelled and BILINGUAL.about_translation.search(content) is not None:
        return True
    tokens, delimiters = scan(content, 0, lang)
    colons = [mark for mark in delimiters if mark.kind == "colon"]
    if not colons:
        return False
    head = {token.category for token in tokens[: colons[0].tokens]}
    if v.NOTE in head:
        return labelled or BILINGUAL.about_translation.search(content, pos=colons[0].rest) is not None
    named = labelled or head & {v.TRANSLATE, v.ENGLISH} or BILINGUAL.source_label.match(v.simplified(content))
    source = content[colons[0].rest :]
    if not named or (v.TRANSLATE not in head and not labelled and not _reads_as_source(source, lang)):
        return False
    return source.strip() != "" and (ended or labelled or _restates(source, before, lang, labelled=True))


def _restates(source: str, translation: str, lang: str, *, labelled: bool = False) -> bool:
    words = len(latin_words(source))
    english, german = function_words(source)
    if labelled:
        figures = english == 0 and FIGURE.search(source) is not None
        if words == 0 or HAN.search(source) is not None or german > english or figures:
            return False
    elif words < MIN_WORDS or not in_source(source, lang) or english + german == 0:
        return False
    # A Chinese translation has about 1.6 characters for each English word.
    return words >= (0.4 if lang == "zh" else 0.6) * _size(translation[-WINDOW:], lang)


def _size(text: str, lang: str) -> int:
    """Return how many characters of Chinese, or words, a translation has."""
    return len(HAN.findall(text)) if lang == "zh" else len(latin_words(text))
