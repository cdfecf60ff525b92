"""The cleaning rules, in the order they are applied: one function each, from a line to the repaired line.

A rule returns the line as it is where it has nothing to repair. None of them may look beyond its line.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import regex

from iwsltpack.cleaning.bilingual import note_start, remark_start, source_tail, translation_start
from iwsltpack.cleaning.meta_prefix import COLONS, DECORATION, find_head, is_meta_tail
from iwsltpack.cleaning.quotes import is_opener, unwrap
from iwsltpack.cleaning.script import (
    HAN,
    LETTER,
    function_words,
    has_content,
    in_target,
    latin_words,
)

Repair = Callable[[str, str], str]
"""``(line, lang) -> line``."""
Finding = Callable[[str, str], str | None]
"""``(line, lang) -> what is wrong``, or None."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A named repair; `phase` 1 rules see characters only, `phase` 2 rules see what the line says."""

    id: str
    summary: str
    example: tuple[str, str]
    phase: int
    apply: Repair


@dataclass(frozen=True, kw_only=True)
class Report:
    """A named finding that no rule can repair: it goes into the audit and the line stays as it is."""

    id: str
    summary: str
    find: Finding


REAL_BREAKS: Final = re.compile(r"[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]++")
# LaTeX commands and Windows paths also hold a backslash before these letters: a letter after them is no break
# unless, for \n, it is a capital or Han, or the word is none of LaTeX's.
ESCAPED_BREAKS: Final = re.compile(
    r"(?P<path>(?<![A-Za-z])[A-Za-z]:\\[A-Za-z0-9_ -]++[\\.]\S*+)"
    r"|(?<!\\)\\{1,2}(?:r\\{1,2}n"
    r"|n(?!abla|[uei](?![a-z])|eq|eg|ot|ewline|ewcommand|mid|leq|geq|exists|atural|earrow|warrow|olimits|ormal)"
    r"|[rt](?![A-Za-z]))"
)
CONTROL: Final = re.compile(
    r"[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]++"
)
SPECIAL_TOKEN: Final = re.compile(r"<\|[A-Za-z0-9_.\-]{1,40}+\|>")
PUNCTUATION_RUN: Final = re.compile(r"([!！?？。，,、；;：:~～|/\\@%^&+])\1{3,}+")
MARKS_MATTER: Final = 1000
PILED_MARKS: Final = regex.compile(r"\p{M}{60}")
LINE_RUN: Final = re.compile(r"([.…_=*#·•\-—–])\1{9,}+")
TWO_WORDS: Final = regex.compile(r"\p{Latin}{2}\P{Han}*?[\s,.;!?]\P{Han}*?\p{Latin}|\p{Latin}{2}[.?!,]")
LETTER_RUN: Final = re.compile(r"([^\W\d_])\1{11,}+")
PREFIX_END: Final = COLONS + "*_'\"“”‘’「」『』《》«»„`"
BRACKETS: Final = {"(": ")", "（": "）", "[": "]", "【": "】"}
LOOP_LONGEST: Final = 48
LOOP_TIMES: Final = 6
LOOP_END: Final = "。.!！?？…，, "
_CJK = "[\u3000-\u303f\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
CJK_BREAK: Final = re.compile(f"(?<={_CJK})\n(?={_CJK})")
MIXED_WORDS: Final = 6
ENGLISH_RUN: Final = regex.compile(r"(?:\p{Latin}[\p{Latin}'’\-]*+[\s,.;:]*+){6,}+")
REFUSAL: Final = regex.compile(
    r"^(?:抱歉|对不起|很抱歉|I'?m sorry|I am sorry|Sorry|Es tut mir leid|Entschuldigung)[，,.!。！\s].{0,40}?"
    r"(?:无法|不能|\bcannot\b|\bcan't\b|\bunable\b|\bkann\b).{0,30}?"
    r"(?:翻译|听|识别|处理|音频|语音|translat|audio|speech|hear|übersetz|aufnahme|hör)",
    regex.IGNORECASE,
)


# Most lines hold nothing that any rule is about. The two searches below find that out at a fraction of the
# rules' cost; the standard library's engine is the faster one for them.
_SUSPECT_CHARACTER: Final = re.compile(
    "[\x00-\x1f\x7f-\xa0\xad\u1680\u2000-\u200f\u2028-\u202f\u205f-\u2069\u3000\ufeff\\\\]|^ |  | $|<\\||(.)\\1\\1\\1"
)
_TALK: Final = re.compile(
    "[:：﹕∶'\"“”‘’„‚「『《«»‹›`＂＇〝)）\\]】]"
    "|译|转写|转录|[Tt]rans|bersetz|[Mm]ean|[Ss]pe|bedeutet|^.{0,40}[A-Za-z] ?[\u3400-\u9fff]"
)


def is_plain(line: str) -> bool:
    """Tell, fast, that no rule on characters has anything to do in `line`."""
    return _SUSPECT_CHARACTER.search(line) is None and compose(line, "") == line


def may_be_talk(line: str) -> bool:
    """Tell, fast, whether `line` holds anything that a rule on wording could be about."""
    return _TALK.search(line) is not None or _may_loop(line)


def _may_loop(line: str) -> bool:
    end = line.rstrip(LOOP_END)[-1:]
    return len(line) >= 2 * LOOP_TIMES and end != "" and line.count(end) >= LOOP_TIMES


def fold_breaks(line: str, lang: str) -> str:  # noqa: ARG001
    """Turn real and escaped line breaks into one space; into nothing between Chinese characters."""
    if "\\" in line:
        line = ESCAPED_BREAKS.sub(lambda match: match["path"] or "\n", line)
    if REAL_BREAKS.search(line) is None:
        return line

    lines = "\n".join(filter(None, map(str.strip, REAL_BREAKS.split(line))))
    return CJK_BREAK.sub("", lines).replace("\n", " ")


def drop_controls(line: str, lang: str) -> str:  # noqa: ARG001
    """Take out control, zero-width and direction characters, and the byte-order mark."""
    return CONTROL.sub("", line)


def drop_special_tokens(line: str, lang: str) -> str:  # noqa: ARG001
    """Take out the model's special tokens, e.g. ``<|im_end|>``."""
    return SPECIAL_TOKEN.sub("", line) if "<|" in line else line


def compose(line: str, lang: str) -> str:  # noqa: ARG001
    """Bring the line to Unicode's composed form (NFC), but for marks piled up without end."""
    # Sorting the marks on one letter takes time quadratic in their number.
    if line.isascii() or (len(line) > MARKS_MATTER and PILED_MARKS.search(line)):
        return line
    return unicodedata.normalize("NFC", line)


def squeeze_spaces(line: str, lang: str) -> str:  # noqa: ARG001
    """Make every run of white space one plain space, and none at either end."""
    return " ".join(line.split())


def squeeze_runs(line: str, lang: str) -> str:  # noqa: ARG001
    """Shorten one character repeated without end; digits are left alone."""
    line = PUNCTUATION_RUN.sub(r"\1", line)
    line = LINE_RUN.sub(r"\1\1\1", line)
    return LETTER_RUN.sub(r"\1\1\1", line)


def squeeze_loop(line: str, lang: str) -> str:  # noqa: ARG001
    """Keep one of the copies where a line ends in a phrase of up to 48 characters said six times or more."""
    if not _may_loop(line):
        return line
    body = line.rstrip(LOOP_END)
    for length in range(2, min(LOOP_LONGEST, len(body) // LOOP_TIMES) + 1):
        unit = body[-length:]
        if not body.endswith(unit * LOOP_TIMES) or LETTER.search(unit) is None or len(set(unit)) == 1:
            continue
        start = len(body) - length * _copies(body, unit)
        # The copies may begin in the middle of `unit`: go back while the letters still repeat.
        while start > 0 and body[start - 1] == body[start - 1 + length]:
            start -= 1
        return body[: start + length] + line[len(body) :]
    return line


def _copies(body: str, unit: str) -> int:
    """Count how often `unit` stands in a row at the end of `body`, in steps that double and halve again."""
    count, step = 0, 1
    end = len(body)
    while step:
        if body.endswith(unit * step, 0, end):
            count += step
            end -= step * len(unit)
            step *= 2
        else:
            step //= 2
    return count


def drop_prefix(line: str, lang: str) -> str:
    """Take away talk about the translation that stands before it, with the quotation it opens."""
    for start in (0, 1) if line and is_opener(line[0]) else (0,):
        if (end := find_head(line, start, lang)) is not None:
            return _opened_text(line[end:], line[0])
    return line


def keep_translation(line: str, lang: str) -> str:
    """Keep the translation alone where the line gives the source text and then its translation."""
    if TWO_WORDS.search(line, endpos=1500) is None or not any(colon in line for colon in COLONS):
        return line
    start = translation_start(line, lang)
    return line if start is None else _opened_text(line[start:], "")


def _opened_text(rest: str, lead: str) -> str:
    rest = rest.lstrip(DECORATION).rstrip("*_ ")
    if rest[:1] and is_opener(rest[0]):
        inner = unwrap(rest, opened=True, is_tail=is_meta_tail)
        rest = rest if inner is None else inner
    closing = BRACKETS.get(lead, "")
    if closing and rest.endswith(closing) and rest.count(lead) < rest.count(closing):
        rest = rest[:-1]
    return rest.strip()


def drop_note(line: str, lang: str) -> str:
    """Take away a bracketed note, or the source text restated, after the translation."""
    if line[-1:] in ")）]】。." and (start := note_start(line, lang)) is not None:
        return line[:start].rstrip()
    start = source_tail(line, lang)
    start = remark_start(line, lang) if start is None else start
    if start is not None:
        return line[:start].rstrip(DECORATION)
    return line


def drop_wrapping_quotes(line: str, lang: str) -> str:  # noqa: ARG001
    """Take away quotation marks around the whole line."""
    if not line or not is_opener(line[0]):
        return line
    inner = unwrap(line, opened=False)
    return line if inner is None else inner


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        id="line-break",
        summary=(
            "Real line breaks of every kind, and written ones (`\\n`), become a space, or nothing between "
            "Chinese characters. LaTeX commands and Windows paths are left alone."
        ),
        example=("大家好。\\n我是安娜。", "大家好。我是安娜。"),
        phase=1,
        apply=fold_breaks,
    ),
    Rule(
        id="control-character",
        summary="Control, zero-width and direction characters and byte-order marks are taken out.",
        example=("大家\u200b好。", "大家好。"),
        phase=1,
        apply=drop_controls,
    ),
    Rule(
        id="special-token",
        summary="Special tokens of the model are taken out.",
        example=("大家好。<|im_end|>", "大家好。"),
        phase=1,
        apply=drop_special_tokens,
    ),
    Rule(
        id="unicode-form",
        summary="Text is brought to Unicode's composed form (NFC).",
        example=("fu\u0308r", "für"),
        phase=1,
        apply=compose,
    ),
    Rule(
        id="white-space",
        summary="Runs of white space become one space; none is left at either end.",
        example=("大家好，\u3000  我是安娜。 ", "大家好， 我是安娜。"),
        phase=1,
        apply=squeeze_spaces,
    ),
    Rule(
        id="character-run",
        summary=(
            "Four or more of the same mark become one, ten or more of the same dot or dash three, twelve or more "
            "of the same letter three. Digits are left alone."
        ),
        example=("什么？？？？？？？？", "什么？"),
        phase=1,
        apply=squeeze_runs,
    ),
    Rule(
        id="phrase-loop",
        summary="A phrase of up to 48 characters said six times or more at the end of a line is kept once.",
        example=("我们使用模型模型模型模型模型模型模型", "我们使用模型"),
        phase=2,
        apply=squeeze_loop,
    ),
    Rule(
        id="wrapping-quotes",
        summary="Quotation marks around the whole line are taken away; quotations within it stay.",
        example=("'我们得到了结果。'", "我们得到了结果。"),
        phase=2,
        apply=drop_wrapping_quotes,
    ),
    Rule(
        id="meta-prefix",
        summary="Talk about the translation before it is taken away, with the quotation marks it opens, closed or not.",
        example=("这段英语的中文翻译是：'我们得到了结果。'", "我们得到了结果。"),
        phase=2,
        apply=drop_prefix,
    ),
    Rule(
        id="both-languages",
        summary="Where the line gives the source text first and then its translation, the translation alone is kept.",
        example=("Hello everyone. 中文翻译为：'大家好。'", "大家好。"),
        phase=2,
        apply=keep_translation,
    ),
    Rule(
        id="trailing-note",
        summary=(
            "A bracketed note or closing remark about the translation, or the source text restated, is taken away "
            "from the end."
        ),
        example=("大家好。（英文原文：Hello everyone.）", "大家好。"),
        phase=2,
        apply=drop_note,
    ),
)


def _no_target_script(line: str, lang: str) -> str | None:
    if in_target(line, lang) or len(LETTER.findall(line[:4000])) < 4:
        return None
    return "no Chinese character in the line" if lang == "zh" else "the line looks English, not German"


def _mixed(line: str, lang: str) -> str | None:
    if lang != "zh" or line.count(" ") < MIXED_WORDS - 1 or HAN.search(line) is None:
        return None
    for run in ENGLISH_RUN.finditer(line[:4000]):
        if function_words(run.group())[0] >= 2:
            return f"{len(latin_words(run.group()))} words in a row are left in English"
    return None


def _only_prefix(line: str, lang: str) -> str | None:
    if line[-1:] not in PREFIX_END:
        return None
    end = find_head(line, 0, lang)
    return "nothing follows the meta prefix" if end is not None and not has_content(line[end:]) else None


REPORTS: Final[tuple[Report, ...]] = (
    Report(
        id="empty-line",
        summary="The line holds nothing.",
        find=lambda line, _: None if line.strip() else "the line is empty",
    ),
    Report(
        id="no-content",
        summary="The line holds neither a letter nor a digit.",
        find=lambda line, _: (
            "no letter and no digit in the line" if line.strip() and not has_content(line) else None
        ),
    ),
    Report(id="prefix-only", summary="Talk about the translation, and no translation.", find=_only_prefix),
    Report(
        id="not-target-language",
        summary="No Chinese character (zh), or English function words prevail (de).",
        find=_no_target_script,
    ),
    Report(
        id="half-translated", summary="Six or more English words in a row inside a Chinese line.", find=_mixed
    ),
    Report(
        id="replacement-character",
        summary="U+FFFD: a character was lost before this file was written.",
        find=lambda line, _: "U+FFFD in the line" if "\ufffd" in line else None,
    ),
    Report(
        id="refusal",
        summary="The model says that it cannot translate.",
        find=lambda line, _: "the model refuses to translate" if REFUSAL.search(line) else None,
    ),
)
