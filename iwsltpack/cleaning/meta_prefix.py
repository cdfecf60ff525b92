"""Meta prefixes, recognised by their grammar: a head made of translation talk alone, up to a colon or a quote.

The scan reads a line word by word from a starting point and stops at the first word that is not in the
vocabulary. Every colon, quotation mark, comma, full stop or change of script it passed is a place where the
head may end; the last place at which the words read so far form a valid head wins. Each scan is linear in a
window of fixed size, whatever the line's length.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from iwsltpack.cleaning import vocabulary as v
from iwsltpack.cleaning.quotes import closing_mark, is_opener, unwrap
from iwsltpack.cleaning.script import (
    HAN,
    could_be_source,
    function_words,
    has_content,
    in_source,
    in_target,
    is_sentence,
    latin_words,
    looks_english,
)
from iwsltpack.cleaning.vocabulary import CLOSERS

WINDOW: Final = 240
"""Characters of talk a head may have, quoted source text not counted."""
MIN_CLAUSE: Final = 4
"""Words of a clause; a term may have three."""
MAX_QUOTED: Final = 1500
"""Characters of quoted source text a head may hold."""
COLONS: Final = ":：﹕∶"
COMMAS: Final = ",，、;；-–—"
STOPS: Final = "。.!！?？"
ENDS: Final = STOPS + "…\"'”’“」』；;"
"""After one of these a sentence is over."""
PREFIX: Final = v.Patterns("meta_prefix")
DECORATION: Final = " \t*_#>→()（）[]【】〔〕|~"

AROUND_LANGUAGE: Final = frozenset(
    (
        *(v.TEXT, v.SPEECH, v.OUTCOME, v.MEANING, v.MEANS, v.NEUTRAL, v.OTHER, v.SELF, v.DETERMINER, v.SAY),
        *(v.POLITE, v.LANGUAGE),
    )
)
"""What may stand beside the target language's name in the label of a quotation."""
_AROUND_SENTENCE: Final = AROUND_LANGUAGE - {v.OTHER, v.SAY}
LEADS_TO_QUOTE: Final = frozenset(
    (v.COPULA, v.TRANSLATE, v.PARTICLE, v.MEANS, v.CHINESE, v.GERMAN, v.SAID, v.OUTCOME)
)
"""What the last word of a head may be where a quotation follows without a colon."""

_BEFORE_CLAUSE: Final = frozenset((v.COPULA, v.MEANS, v.SAY, v.PARTICLE, v.GERMAN, v.TEXT, v.SAID))
"""What the last word of a head may be where the text follows with no mark at all."""
_TELLING: Final = v.LANGUAGES | {v.TRANSLATE, v.SPEECH, v.QUOTED, v.MEANING}
_NAMES_TEXT: Final = frozenset((v.SPEECH, v.TEXT, v.SPEAKER, v.ENGLISH, v.QUOTED))

DelimiterKind = Literal["colon", "quote", "comma", "stop", "script", "copula"]
KINDS: Final[dict[str, DelimiterKind]] = {
    **dict.fromkeys(COMMAS, "comma"),
    **dict.fromkeys(STOPS, "stop"),
    **dict.fromkeys(CLOSERS, "quote"),
    **dict.fromkeys(COLONS, "colon"),
}


class Word(NamedTuple):
    """One word of a head: its category, where it ends, whether it is written in Latin script."""

    category: str
    end: int
    latin: bool


class Delimiter(NamedTuple):
    """A place where a head may end: `tokens` words were read, the rest begins at `rest`."""

    kind: DelimiterKind
    tokens: int
    rest: int


@dataclass(frozen=True)
class Head:
    """What the words before a delimiter amount to; the text begins at `end`."""

    categories: tuple[str, ...]
    text: str
    all_latin: bool
    kind: DelimiterKind
    end: int
    dash: bool

    def has(self, *categories: str) -> bool:
        """Tell whether any of the categories occurs."""
        return any(category in self.categories for category in categories)

    @property
    def last(self) -> str:
        """Category of the last word."""
        return self.categories[-1]


def scan(
    line: str, start: int, lang: str, lexicon: v.Lexicon = v.CLOSED
) -> tuple[list[Word], list[Delimiter]]:
    """Read words of `lexicon` in `line` from index `start`; return them and every place the head may end."""
    tokens: list[Word] = []
    delimiters: list[Delimiter] = []
    position, limit = start, start + WINDOW
    length = len(line)
    while position < length and position < limit:
        character = line[position]
        kind = KINDS.get(character)
        if tokens and character in "-–" and line[position + 1 : position + 2].isdigit():
            break  # a minus sign
        unmarked = tokens and character.isalpha() and not line[tokens[-1].end : position].strip()
        if unmarked and tokens[-1].category in _BEFORE_CLAUSE:
            delimiters.append(Delimiter("copula", len(tokens), position))
        if tokens and HAN.match(line, position) and all(read.latin for read in tokens):
            delimiters.append(Delimiter("script", len(tokens), position))
        if kind is not None and tokens:
            delimiters.append(Delimiter(kind, len(tokens), position if kind == "quote" else position + 1))
        if is_opener(character):
            end = closing_mark(line, position, MAX_QUOTED)
            if end < 0 or not could_be_source(line[position + 1 : end], lang):
                if tokens:
                    break
                position += 1
                continue
            limit += end + 1 - position
            tokens.append(Word(v.QUOTED, end + 1, latin=True))
            position = end + 1
        elif kind is not None or character in DECORATION:
            if tokens and character in "】]〕)）" and line[start] in "【[〔(（":
                delimiters.append(Delimiter("colon", len(tokens), position + 1))
            position += 1
        elif (token := _word(line, position, lang, lexicon)) is not None:
            tokens.append(token)
            position = token.end
        elif lexicon is v.WIDE and tokens and (skipped := _unknown(line, position, lang, tokens)) is not None:
            tokens.append(skipped)
            position = skipped.end
        else:
            break
    return tokens, delimiters


def _word(line: str, position: int, lang: str, lexicon: v.Lexicon) -> Word | None:
    if position >= len(line):
        return None
    piece = v.simplified(line[position : position + v.LONGEST])
    for length in range(len(piece), 0, -1):
        if (category := lexicon.han.get(piece[:length])) is not None:
            return Word(category, position + length, latin=False)
    if piece[0] == "第":
        ordinal = PREFIX.ordinal.match(line, position)
        return None if ordinal is None else Word(v.CLASSIFIER, ordinal.end(), latin=False)
    if lexicon is v.WIDE and piece[0].isdigit():  # "Speaker 1:"
        return Word(v.CLASSIFIER, position + 1, latin=True)
    if (word := PREFIX.word.match(line, position)) is not None:
        lower = word.group().lower().replace("’", "'")
        # "man" is a person in English talk and "one" in German content.
        category = v.NEUTRAL if (lang, lower) == ("de", "man") else lexicon.latin.get(lower)
        if category is not None:
            return Word(category, word.end(), latin=True)
        compound = PREFIX.compound.fullmatch(lower)
        if compound is None and lexicon is v.WIDE:
            compound = PREFIX.wide_compound.fullmatch(lower)
        if compound is not None:
            return Word(str(compound.lastgroup), word.end(), latin=True)
        fused = PREFIX.fused.match(lower)
        if fused is not None and lower[fused.end() :] in lexicon.latin:
            return Word(lexicon.latin[fused.group()], position + fused.end(), latin=True)
    return None


def _unknown(line: str, position: int, lang: str, tokens: list[Word]) -> Word | None:
    """Return the word at `position` that no list has, if it is the first such, and a known word or a colon follows."""
    found = PREFIX.unknown.match(line, position)
    if found is None or any(token.category == v.UNKNOWN for token in tokens):
        return None
    for end in range(found.end() if found["latin"] else position + 1, found.end() + 1):
        after = line[end : end + 1].isspace() + end
        if line[after : after + 1] in COLONS or _word(line, after, lang, v.WIDE) is not None:
            return Word(v.UNKNOWN, end, latin=found["latin"] is not None)
    return None


def find_head(line: str, start: int, lang: str) -> Head | None:
    """Return the meta prefix that begins at index `start`; None where there is none.

    Its `end` may equal ``len(line)``: then the line is nothing but a prefix.
    """
    return _strict_head(line, start, lang) or _loose_head(line, start, lang)


def _strict_head(line: str, start: int, lang: str) -> Head | None:
    tokens, delimiters = scan(line, start, lang)
    found: Head | None = None
    for delimiter in reversed(delimiters):
        read = tokens[: delimiter.tokens]
        if delimiter.kind == "copula" and not _begins_after(line, read, delimiter.rest):
            continue
        # Words after a label that say nothing of a translation are its beginning: "译文：他说：“好。”".
        if found is not None:
            after = found.categories[len(read) :]
            if delimiter.kind != "colon" or not after or not _TELLING.isdisjoint(after):
                continue
        head = Head(
            categories=tuple(token.category for token in read),
            text=v.simplified(line[start : read[-1].end].lstrip(DECORATION)),
            all_latin=all(token.latin for token in read),
            kind=delimiter.kind,
            end=delimiter.rest,
            dash=line[delimiter.rest - 1] in "-–—",
        )
        if _is_meta(head, line[delimiter.rest :].lstrip(DECORATION), lang):
            found = head
    return found


def _begins_after(line: str, read: list[Word], start: int) -> bool:
    """Tell whether a text begins at `start`, after a copula and no mark.

    A space within Chinese tells, a capital no German noun has, or a clause that says nothing of the words before it.
    In English, "says", "translates to" and "in German" may stand in the copula's place.
    """
    copula = read[-1].category in (v.COPULA, v.MEANS)
    if read[-1].latin:
        copula |= read[-1].category == v.TEXT and any(word.category == v.MEANS for word in read)
        return (copula or looks_english(line[: read[-1].end])) and PREFIX.clause_begins.match(
            line, start
        ) is not None
    if not copula:
        return False
    rest = line[start : start + WINDOW]
    if start > read[-1].end:
        return len(HAN.findall(rest)) >= MIN_CLAUSE
    clause = is_sentence(rest) and ("，" in rest or "了" in rest) and PREFIX.predicate.match(rest) is None
    return clause and any(token.category == v.TRANSLATE for token in read)


def _loose_head(line: str, start: int, lang: str) -> Head | None:
    """Return what stands before a colon and a quoted rest, if words the vocabulary lacks are all that keeps it out."""
    window = v.simplified(line[start : start + WINDOW])
    head = PREFIX.unknown_head.match(window)
    if head is None or PREFIX.content_words.search(head.group()) is not None:
        return None
    rest = line[start + head.end() :].lstrip(DECORATION)
    if not is_wrapped(rest) or not (head["recording"] or in_target(rest, lang)):
        return None
    return Head((v.TRANSLATE,), head.group(), False, "colon", start + head.end(), dash=False)


def is_meta_tail(text: str) -> bool:
    """Tell whether `text`, found after a closing quote, is talk about the translation (" in Chinese.")."""
    return bool(wholly_talk(text) & {v.CHINESE, v.GERMAN, v.TRANSLATE, v.MEANING, v.ENGLISH})


def wholly_talk(text: str, lang: str = "", lexicon: v.Lexicon = v.CLOSED) -> set[str]:
    """Return the categories of the words `text` is made of; none where it holds a word the vocabulary lacks."""
    tokens, _ = scan(text, 0, lang, lexicon)
    covered = bool(tokens) and not text[tokens[-1].end :].strip(DECORATION + STOPS + ENDS)
    return {token.category for token in tokens} if covered else set()


def is_wrapped(rest: str) -> bool:
    """Tell whether a quotation encloses the whole of `rest`, talk about the translation after it not counted."""
    return bool(rest) and unwrap(rest, opened=True, is_tail=is_meta_tail) is not None


def _is_meta(head: Head, rest: str, lang: str) -> bool:
    wrapped = is_wrapped(rest)
    target = v.TARGETS[lang]
    says = head.kind == "comma" and head.all_latin and head.last == v.SAY and head.has(v.SPEECH)
    if wrapped and (head.dash or says):
        head = replace(head, kind="colon")
    if head.kind == "colon" and PREFIX.told.fullmatch(head.text) and (wrapped or is_sentence(rest)):
        return True
    if not wrapped and (head.kind == "quote" or head.has(v.OTHER, v.TASK)):
        return False
    if head.has(v.OTHER) and not (head.has(v.TRANSLATE) and head.has(v.SPEECH, v.TEXT, v.ENGLISH, target)):
        # "一位男士用英语说：'…'"
        told = head.has(v.ENGLISH) and (head.has(v.SPEECH) or not head.all_latin)
        offered = head.all_latin and head.has(target) and not head.has(v.SAY)  # "Hier finden Sie …"
        if head.categories[0] == v.OTHER or not (told or offered):
            return False
    # A short quotation of no certain language may be the translation, and the rest a note on it.
    if head.has(v.NOTE) or (head.has(v.QUOTED) and not wrapped and not in_source(head.text, lang)):
        return False
    ended = any(stop in text for text in (head.text, rest.rstrip(STOPS)) for stop in STOPS)
    if head.has(v.QUOTED) and not ended and not quotes_clause(head.text):
        return False  # 'apple' means 'Apfel': a talk about words
    switched, tail = _is_switched(head, rest, lang), set[str]()
    if wrapped and head.kind == "quote":
        tail = wholly_talk(rest[closing_mark(rest, 0, MAX_QUOTED) + 1 :])
    # You can say 'Wir sind einverstanden.' in German. 'We agree.' wird als 'Wir …' ins Deutsche übersetzt.
    around = {*head.categories, *tail} if head.has(v.QUOTED) and wrapped and head.kind == "quote" else set()
    if {v.TRANSLATE, target} <= around or (switched and target in tail):
        return True
    if head.has(v.SELF) and not head.has(v.POLITE, v.TRANSLATE, v.ENGLISH, target):
        return False
    if PREFIX.elsewhere.search(head.text) and not wrapped:
        return False
    if head.kind == "quote" and not (
        ended or is_sentence(rest) or head.has(v.TRANSLATE, v.SPEECH, v.TEXT, v.ENGLISH, v.SPEAKER)
    ):
        return False  # a term and its name in the target language
    if head.kind == "copula":
        named = head.all_latin or head.has(v.SPEECH, v.TEXT, v.ENGLISH, v.CLASSIFIER)
        told = head.all_latin and head.has(v.SPEECH, v.SPEAKER) and head.last == v.SAY
        return told or head.has(target) or (named and head.has(v.TRANSLATE, v.MEANING, v.MEANS))
    if head.has(v.TRANSLATE):
        bare = not wrapped and _is_credit(rest)
        return _is_translation(head, wrapped=wrapped, switched=switched, bare=bare)
    if head.kind in ("comma", "stop"):
        return False
    if _is_meaning(head, target, wrapped=wrapped, switched=switched):
        return True
    if _is_speech(head, wrapped=wrapped, switched=switched):
        return True
    said = head.last in (v.SAY, v.MEANS, target) and is_sentence(rest)
    labels = head.kind == "colon" or (head.kind == "quote" and (said or head.last == v.COPULA))
    labels |= head.kind == "script" and head.last == v.COPULA and is_sentence(rest)
    return labels and _is_label(head, rest, lang, wrapped=wrapped or switched)


def _is_switched(head: Head, rest: str, lang: str) -> bool:
    """Tell whether talk in English is followed by the target language."""
    if lang == "zh":
        return head.all_latin and HAN.match(rest.lstrip("'\"“‘「『《")) is not None
    telling = head.has(v.COPULA) or head.last == v.SAY
    english, german = function_words(rest)
    return head.kind in ("colon", "quote") and telling and looks_english(head.text) and german > english


def quotes_clause(text: str) -> bool:
    """Tell whether a quotation in `text` is a clause, not a term: four words and more, "we" or "the" among them."""
    quoted = (found.group(1) for found in PREFIX.quoted.finditer(text))
    return any(len(latin_words(each)) >= MIN_CLAUSE and function_words(each)[0] > 0 for each in quoted)


def _is_credit(rest: str) -> bool:
    """Tell whether `rest` may be a name, or a heading's second half, rather than a sentence."""
    if not has_content(rest):
        return False
    if rest.rstrip()[-1:] not in tuple(STOPS) and not is_opener(rest[:1]):
        return len(latin_words(rest)) <= 2 and len(HAN.findall(rest[:WINDOW])) <= 4
    return rest[:1].islower()


def _is_translation(head: Head, *, wrapped: bool, switched: bool, bare: bool) -> bool:
    named = head.has(v.SPEECH, v.ENGLISH, v.CHINESE, v.GERMAN, v.LANGUAGE, v.QUOTED, v.SPEAKER)
    if PREFIX.task_name.fullmatch(head.text) and not wrapped:
        return False
    if not named and (head.has(v.SAY) or (bare and not head.has(v.COPULA, v.OUTCOME))):
        return False
    told = named or head.has(v.DETERMINER, v.TEXT, v.POLITE, v.COPULA)
    if head.kind == "colon":
        return True
    if head.has(v.OUTCOME) and not (told or wrapped or switched):
        return False
    if head.kind == "quote":
        leads = head.last in LEADS_TO_QUOTE or (head.last == v.SAY and named)
        return leads and (named or head.all_latin or head.text.endswith("如下"))
    if head.kind == "comma":
        return head.last == v.COPULA and (named or head.has(v.DETERMINER))
    if head.kind == "stop":
        whole = head.has(v.SPEECH, v.ENGLISH) and head.has(v.GERMAN, v.CHINESE)
        begins = PREFIX.presents if whole else PREFIX.announces
        return head.has(v.POLITE, v.SELF) or begins.match(head.text) is not None
    return head.last in LEADS_TO_QUOTE and len(head.categories) > 2


def _is_meaning(head: Head, target: str, *, wrapped: bool, switched: bool) -> bool:
    if not head.has(v.MEANING, v.MEANS) or not (wrapped or head.has(v.COPULA, v.MEANS)):
        return False
    if head.has(v.SPEECH, v.ENGLISH, target) and (head.kind == "colon" or head.last in LEADS_TO_QUOTE):
        return True
    return (wrapped or switched) and head.has(v.TEXT, v.SPEAKER, v.QUOTED, v.CLASSIFIER)


def _is_speech(head: Head, *, wrapped: bool, switched: bool) -> bool:
    if not head.has(v.SPEECH, v.SPEAKER, v.ENGLISH):
        return False
    if not head.has(v.SPEECH, v.SPEAKER) and head.has(v.NEUTRAL):
        return False
    if PREFIX.news.match(head.text) is not None and not head.has(v.ENGLISH):
        return False
    if head.kind == "colon" and (
        head.has(v.SAID) or (head.has(v.SPEECH) and PREFIX.content_is.search(head.text))
    ):
        return True
    if switched:
        return head.has(v.SAY, v.COPULA)
    transcript = head.last == v.TEXT and head.has(v.SPEECH)  # "录音原文："
    return (
        wrapped
        and head.kind == "colon"
        and (head.has(v.SAY) or head.last in (v.COPULA, v.SAID) or transcript)
    )


def _is_label(head: Head, rest: str, lang: str, *, wrapped: bool) -> bool:
    target = v.TARGETS[lang]
    words = set(head.categories)
    if wrapped and PREFIX.target_side.fullmatch(head.text):
        return in_target(rest, lang)
    if target not in words:
        return False
    if v.PARTICLE in words and words & _NAMES_TEXT and words & {v.COPULA, v.SAY, v.SAID, v.MEANS}:
        return True
    allowed = {target, v.PARTICLE, v.COPULA}
    if wrapped:
        allowed |= AROUND_LANGUAGE
        if words & {v.PARTICLE, v.OUTCOME} or any(map(head.text.__contains__, "->→")):
            allowed |= {v.ENGLISH}
    elif {v.OUTCOME, v.COPULA} <= words:
        allowed |= {v.OUTCOME, v.DETERMINER, v.SPEECH, v.ENGLISH}
    elif v.PARTICLE in words:
        allowed |= {v.DETERMINER, v.POLITE}
    if not wrapped and is_sentence(rest):
        allowed |= _AROUND_SENTENCE if head.all_latin else {v.MEANING, v.SAY, v.OUTCOME}
        directed = not head.all_latin and any(map(head.text.__contains__, "转到至>→"))  # 英语转中文：
        allowed |= {v.ENGLISH} if head.text.isupper() or directed else set()
    if not words <= allowed or not rest:
        return False
    # "中文：300小时" is a table's row; a sentence begins with a capital or is long.
    row = rest[0].islower() or (
        rest[0].isdigit() and len(HAN.findall(rest[:WINDOW])) + len(latin_words(rest)) < 8
    )
    return in_target(rest, lang) and not row and PREFIX.language_label.search(rest[:WINDOW]) is None
