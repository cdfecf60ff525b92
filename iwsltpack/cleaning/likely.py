"""Labels that only other labels of the same file show to be labels: "Der Sprecher sagt:", 答案：, "I hope this helps."

A line alone does not tell them from content, so they are reported (`possible-label`). A model that labels some lines
past doubt labels more of them: in such a file they go.
"""

import string
from typing import Final, NamedTuple

from iwsltpack.cleaning import vocabulary as v
from iwsltpack.cleaning.bilingual import WINDOW
from iwsltpack.cleaning.meta_prefix import (
    DECORATION,
    MIN_CLAUSE,
    PREFIX,
    STOPS,
    Delimiter,
    is_wrapped,
    quotes_clause,
    scan,
    wholly_talk,
)
from iwsltpack.cleaning.quotes import closing_mark, is_opener
from iwsltpack.cleaning.script import HAN, function_words, in_source, in_target, is_sentence, latin_words

LIKELY: Final = v.Patterns("likely")
MAX_TAIL: Final = 300
"""Characters from the end in which a closing remark is looked for."""


class Shape(NamedTuple):
    """What a label is made of: a word of each of `parts`, of `only` these categories, before a quotation (`quoted`)."""

    parts: tuple[str, ...]
    only: str = string.ascii_letters + v.UNKNOWN
    quoted: bool = False

    def fits(self, head: set[str], *, quoted: bool) -> bool:
        """Tell whether words of the categories `head` are of this shape."""
        return quoted >= self.quoted and head <= set(self.only) and not any(map(head.isdisjoint, self.parts))


BEFORE_COLON, UNMARKED = (tuple(Shape(**each) for each in v.SHAPES[kind]) for kind in ("colon", "unmarked"))
_LAST, _PERSON, _TELLING = (frozenset(v.SHAPES[name]) for name in ("last", "person", "telling"))


def likely_label(line: str, lang: str) -> int | None:
    """Return where the text after what may be a label begins; None where no label may begin the line."""
    tokens, delimiters = scan(line, 0, lang, v.WIDE)
    read, done = [token.category for token in tokens], 0
    if is_opener(line[:1]) and read[:1] != [v.QUOTED]:
        return None  # a quotation that speaks of translating
    whole = LIKELY.whole.match(line)
    found = whole.end() if whole is not None and _stands_alone(line[whole.end() :], lang) else None
    for mark in delimiters:
        more = read[done : mark.tokens]
        goes_on = not done or not more or not _TELLING.isdisjoint(more)
        if goes_on and _may_end(line, mark, read[: mark.tokens], lang):
            found, done = mark.rest, mark.tokens
    if found is not None:
        return found
    return _after_source(line, lang)


def _after_source(line: str, lang: str) -> int | None:
    """Return where the translation begins after the source text and a dash."""
    pair = LIKELY.pair.match(line[:WINDOW])
    if (
        pair is None
        or not in_source(pair["source"], lang)
        or len(latin_words(pair["source"])) < MIN_CLAUSE - 1
    ):
        return None
    english, german = function_words(line[pair.end() :])
    told = in_target(line[pair.end() :], lang) and (lang == "zh" or german > english)
    return pair.end() if told and function_words(pair["source"])[0] > 0 else None


def _stands_alone(rest: str, lang: str, *, named: bool = False) -> bool:
    """Tell whether `rest` is a sentence of the target language, or a quotation and nothing else.

    After the translation's name (`named`) a sentence may have one word.
    """
    rest = rest.lstrip(DECORATION)
    begins = rest[:1].isalpha() and not rest[0].islower()
    ended = is_sentence(rest) or (named and rest[-1:] in tuple(STOPS))
    return in_target(rest, lang) and ((begins and ended) or is_wrapped(rest))


def _may_end(line: str, mark: Delimiter, read: list[str], lang: str) -> bool:
    """Tell whether the words `read` up to `mark` may be a label of what follows."""
    head, rest, last = set(read), line[mark.rest :].lstrip(DECORATION), line[mark.rest - 1]
    names, quoted = bool(head & {v.TRANSLATE, v.TARGETS[lang]}), is_wrapped(rest)
    if head & {v.NOTE, v.TASK} or not _stands_alone(rest, lang, named=names):
        return False
    if v.QUOTED in head and not quotes_clause(line[: mark.rest]):
        return False
    if v.OTHER in head and not (v.ENGLISH in head and quoted) and not {v.TRANSLATE, v.SELF} <= head:
        return False
    text = v.simplified(line[: mark.rest])
    hears = v.SELF in head and LIKELY.hears.search(text) is not None
    if v.SELF in head and not (names or hears or v.ENGLISH in head):
        return False
    if v.UNKNOWN in head and (
        mark.kind != "colon" or read[-1] == v.UNKNOWN or PREFIX.content_words.search(text)
    ):
        return False  # "Der Inhalt war bekannt:"
    if LIKELY.report.search(text) is not None or {v.TRANSLATE, v.SAY} <= head <= _PERSON:
        return False
    if mark.kind == "copula":
        begins = HAN.match(line, mark.rest) is not None and PREFIX.predicate.match(rest) is None
        ended = begins and read[-1] in (v.COPULA, v.MEANS, v.SAID)
        return ended and any(shape.fits(head, quoted=False) for shape in UNMARKED)
    asked = mark.kind == "stop" and last in "?？" and v.TARGETS[lang] in head  # the prompt said back
    dashed = mark.kind == "comma" and last in "-–—" and read[-1] == v.COPULA
    spoken = lang == "zh" and mark.kind == "comma" and bool(head & {v.SPEECH, v.SPEAKER})
    joined = (spoken or (quoted and mark.kind in ("comma", "quote"))) and read[-1] in {
        *_LAST,
        v.TARGETS[lang],
    }
    if not (mark.kind == "colon" or asked or dashed or joined):
        return False
    sense = v.MEANS in head and LIKELY.sense.search(text) is not None
    return names or hears or sense or any(shape.fits(head, quoted=quoted) for shape in BEFORE_COLON)


def without_remark(line: str, lang: str) -> str:
    """Take away a closing remark of the model where the line, or others of the file, carry labels past doubt."""
    if is_opener(line[:1]) and (end := closing_mark(line, 0, WINDOW)) > 0 and in_target(line[1:end], lang):
        clause = LIKELY.reported.match(line[end + 1 :])
        read = set() if clause is None else wholly_talk(clause["clause"], lang, v.WIDE)
        if read & {v.SAY, v.SAID} and read & {v.SPEAKER, v.SPEECH}:
            return line[1:end]
    start = max(0, len(line) - MAX_TAIL)
    bracket = LIKELY.bracket.search(line, pos=start)
    if bracket is not None and wholly_talk(bracket["note"], lang, v.WIDE) & {v.ENGLISH, v.TRANSLATE}:
        return line[: bracket.start()].rstrip()
    remark = LIKELY.closing.search(v.simplified(line[start:]))
    kept = "" if remark is None else line[: start + remark.start()]
    if remark is None or not in_target(kept, lang):
        return line
    if (itself := next(filter(None, remark.captures("itself")), None)) is not None:
        talk = wholly_talk(itself, lang, v.WIDE)
        told = v.TRANSLATE in talk or {v.SPEAKER, v.SAY, v.COPULA} <= talk or "意思" in itself
        told |= v.TARGETS[lang] in talk and bool(talk & {v.COPULA, v.ENGLISH})
        told |= remark.group().lstrip()[0] in "-–—"
        alien = talk & {v.UNKNOWN, v.QUOTED} or (v.SELF in talk and v.TRANSLATE not in talk)
        if not (told and talk) or alien:
            return line
    return kept.rstrip(DECORATION + "-–—,，")
