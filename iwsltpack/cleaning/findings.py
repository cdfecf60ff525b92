"""Findings in a line that no rule can repair."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from iwsltpack.cleaning import vocabulary as v
from iwsltpack.cleaning.bilingual import BILINGUAL, label_within
from iwsltpack.cleaning.chat_marks import mark_left
from iwsltpack.cleaning.likely import likely_label, without_remark
from iwsltpack.cleaning.meta_prefix import COLONS, DECORATION, find_head, is_wrapped, scan
from iwsltpack.cleaning.script import (
    HAN,
    LETTER,
    SAMPLE,
    function_words,
    has_content,
    in_source,
    in_target,
    is_sentence,
    latin_words,
)

Check = Callable[[str, str], str | None]
"""``(line, lang) -> what is wrong``, or None; its docstring is what the documentation says of it."""


@dataclass(frozen=True)
class Finding:
    """A finding named as its check is: it goes into the audit and the line stays as it is."""

    find: Check

    @property
    def id(self) -> str:
        """The rule's name in the audit."""
        return self.find.__name__.replace("_", "-")

    @property
    def summary(self) -> str:
        """What is found."""
        return " ".join((self.find.__doc__ or "").split())


PREFIX_END: Final = COLONS + "*_'\"“”‘’「」『』《》«»„`"
FINDINGS: Final = v.Patterns("findings")


def empty_line(line: str, lang: str) -> str | None:  # noqa: ARG001
    """The line holds nothing."""
    return None if line.strip() else "the line is empty"


def no_content(line: str, lang: str) -> str | None:  # noqa: ARG001
    """The line holds neither a letter nor a digit, or a program's word for nothing ("nan", "null")."""
    if FINDINGS.nothing.fullmatch(line) is not None:
        return f"{line!r} is what a program writes for no text"
    return "no letter and no digit in the line" if line.strip() and not has_content(line) else None


def not_target_language(line: str, lang: str) -> str | None:
    """No Chinese character, or a third of kana (zh); English or Romance function words prevail (de)."""
    if in_target(line, lang):
        sample = line[:SAMPLE]
        if lang == "zh":
            kana = len(FINDINGS.kana.findall(sample))
            return (
                "the line looks Japanese, not Chinese"
                if kana >= max(4, len(HAN.findall(sample)) / 2)
                else None
            )
        other = sum(word in v.OTHER_FUNCTION_WORDS for word in latin_words(sample))
        foreign = other > 1 and other > function_words(sample)[1]
        return "the line looks neither German nor English" if foreign else None
    if len(LETTER.findall(line[:SAMPLE])) < 4:
        return None
    return "no Chinese character in the line" if lang == "zh" else "the line looks English, not German"


def half_translated(line: str, lang: str) -> str | None:
    """Six or more English words in a row in a Chinese line, or a whole English sentence beside the translation."""
    if line.count(" ") < 3:
        return None
    runs = FINDINGS.english_run.finditer(line[:SAMPLE]) if lang == "zh" else ()
    whole = FINDINGS.english_sentence.finditer(line[:SAMPLE])
    for run in (*runs, *whole):
        english, german = function_words(run.group())
        if english >= 2 and english > 2 * german and len(run.group()) < len(line) and in_target(line, lang):
            return f"{len(latin_words(run.group()))} words in a row are left in English"
    return None


def prefix_only(line: str, lang: str) -> str | None:
    """Talk about the translation, and no translation."""
    if line[-1:] not in PREFIX_END:
        return None
    head = find_head(line, 0, lang)
    alone = head is not None and not has_content(line[head.end :])
    return "nothing follows the meta prefix" if alone else None


def possible_label(line: str, lang: str) -> str | None:
    """What may be a label or content: talk about the translation or the recording, not certain enough."""
    if (head := find_head(line, 0, lang)) is not None:
        # „Übersetzung: Theorie und Praxis“ ist gut.
        title = not line[0].isalnum() and has_content(line[head.end :])
        return f"{line[: head.end].strip()!r} may be a label" if title else None
    if (end := likely_label(line, lang)) is not None:
        return f"{line[:end].strip()!r} may be a label"
    if (kept := without_remark(line, lang)) != line:
        return f"what stands beside {kept[:20]!r} may be the model's own words"
    if (end := _talk_first(line, lang)) is not None:
        return f"{line[:end].strip()!r} may be a label"
    found = label_within(line, lang)
    if found is None and (note := FINDINGS.explanation.search(line, endpos=SAMPLE)) is not None:
        found = note.start()
    return None if found is None else f"a label may stand at {line[found : found + 20]!r}"


def _talk_first(line: str, lang: str) -> int | None:
    """Return where talk about the translation or the recording ends that stands first, whatever follows it."""
    tokens, delimiters = scan(line, 0, lang)
    for mark in delimiters:
        head = {token.category for token in tokens[: mark.tokens]}
        told = bool(head & {v.SPEECH, v.SPEAKER}) and bool(head & {v.SAY, v.SAID, v.MEANING})
        rest = line[mark.rest :].lstrip(DECORATION)
        labelled = mark.kind == "colon" and bool(head & {v.TRANSLATE, v.TARGETS[lang]})
        says = head & {v.TEXT, v.MEANING, v.MEANS} and not head & {v.OTHER, v.SELF}
        quoted = mark.kind == "colon" and says and is_wrapped(rest) and in_target(rest, lang)
        clause = mark.kind == "copula" and {v.TRANSLATE, v.TARGETS[lang]} <= head and is_sentence(rest)
        likely = (told and mark.kind in ("colon", "comma")) or labelled or quoted or clause
        if likely and has_content(rest) and not rest[0].isdigit():
            return mark.rest
    return None


def source_only(line: str, lang: str) -> str | None:
    """The source text, labelled as such, and no translation."""
    label = BILINGUAL.source_label.match(v.simplified(line[:200]))
    if label is None or label["source"] is None or not in_source(line[label.end() :], lang):
        return None
    return "the source text, labelled as such, and no translation"


def replacement_character(line: str, lang: str) -> str | None:  # noqa: ARG001
    """U+FFFD, or text read in the wrong encoding ("fÃ¼r"): characters were lost before this file was written."""
    if "\ufffd" in line:
        return "U+FFFD in the line"
    found = None if line.isascii() else FINDINGS.mojibake.search(line)
    return None if found is None else f"{found.group()!r} looks like text read in the wrong encoding"


def refusal(line: str, lang: str) -> str | None:  # noqa: ARG001
    """The model says that it cannot translate."""
    return "the model refuses to translate" if FINDINGS.refusal.search(line) else None


REPORTS: Final = (
    Finding(empty_line),
    Finding(no_content),
    Finding(prefix_only),
    Finding(source_only),
    Finding(possible_label),
    Finding(mark_left),
    Finding(not_target_language),
    Finding(half_translated),
    Finding(replacement_character),
    Finding(refusal),
)
"""The checks, by the order in which they report."""
