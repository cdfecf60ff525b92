"""The cleaning rules, in the order they are applied: one function each, from a line to the repaired line.

A rule returns the line as it is where it has nothing to repair. None of them may look beyond its line.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Final

from iwsltpack.cleaning import characters, chat_marks
from iwsltpack.cleaning import vocabulary as v
from iwsltpack.cleaning.bilingual import (
    before_its_source,
    note_start,
    quoted_before_talk,
    remark_start,
    source_tail,
    translation_start,
    without_note,
)
from iwsltpack.cleaning.likely import likely_label, without_remark
from iwsltpack.cleaning.meta_prefix import COLONS, DECORATION, ENDS, PREFIX, find_head, is_meta_tail
from iwsltpack.cleaning.quotes import TITLE_MARK, closing_mark, is_opener, quotation_end, unwrap
from iwsltpack.cleaning.script import has_content

Repair = Callable[[str, str], str]
"""``(line, lang) -> line``; its docstring is what the documentation says of the rule."""


@dataclass(frozen=True)
class CleaningRule:
    """A named repair with an example, and what becomes of it.

    Rules of `phase` 1 see characters only, those of `phase` 2 see what the line says, those of `phase` 3 may do so only
    where other labels show that the model writes them.
    """

    id: str
    phase: int
    apply: Repair
    example: str
    becomes: str = "大家好。"

    @property
    def summary(self) -> str:
        """What the rule does."""
        return " ".join((self.apply.__doc__ or "").split())


BRACKETS: Final = {"(": ")）", "（": ")）", "[": "]】", "【": "]】", "〔": "〕"}

# Most lines hold nothing that a rule on wording is about. This search finds that out at a fraction of the rules' cost.
_TALK: Final = re.compile(
    "[:：﹕∶'\"“”‘’„‚「『《«»‹›`＂＇〝)）\\]】<&*_āǎēěīǐōǒūǔ]|^(?:thought|assistant|model) "
    "|hope th|[-=]>|[→➔⇒]|译|譯|意思|转写|转录|[是为為] [\u3400-\u9fff]|[Tt]rans|bersetz|[Mm]ean|[Ss]pe|German|bedeutet"
    "|^.{0,40}[A-Za-z] ?[\u3400-\u9fff]"
)


def may_be_talk(line: str) -> bool:
    """Tell, fast, whether `line` holds anything that a rule on wording could be about."""
    return _TALK.search(line) is not None or characters.may_loop(line)


def drop_prefix(line: str, lang: str) -> str:
    """Take away talk about the translation before it, with the quotation marks it opens, closed or not."""
    marker = PREFIX.list_marker.match(line)
    starts = [0, 1] if line and is_opener(line[0]) else [0] if marker is None else [0, marker.end()]
    for start in starts:
        if (head := find_head(line, start, lang)) is not None:
            # A quotation that ends within the head is what somebody said, not a frame around it all.
            closed = closing_mark(line, 0, head.end + 1) if is_opener(line[0]) else -1
            if closed > 0 and v.QUOTED not in head.categories and line[closed - 1] not in COLONS + " ":
                continue
            end = _frame_end(line)
            goes_on = end > head.end and has_content(line[end + 1 :])
            if (goes_on and not is_meta_tail(line[end + 1 :])) or (end > head.end and line[0] == TITLE_MARK):
                continue  # a title: "„Übersetzung: Theorie und Praxis“ ist ein Buch."
            return _opened_text(line[head.end : end if goes_on else None], line[0], lang)
    return line


def _frame_end(line: str) -> int:
    """Return where the quotation or bracket that begins the line is closed, or -1."""
    if is_opener(line[:1]):
        return quotation_end(line)
    return min((at for mark in BRACKETS.get(line[:1], "") if (at := line.find(mark)) > 0), default=-1)


def keep_translation(line: str, lang: str) -> str:
    """Keep the translation alone where the source text, or the translation itself, stands before a label."""
    found = translation_start(line, lang)
    return line if found is None else _opened_text(line[found[1] :], line[found[0]], lang)


def drop_likely_label(line: str, lang: str) -> str:
    """Take away what may be a label where other lines of the file carry labels past doubt."""
    start = likely_label(line, lang)
    return line if start is None else _opened_text(line[start:], line[0], lang)


def _opened_text(rest: str, lead: str, lang: str) -> str:
    """Return the translation that a label opened: without its quotation marks, the bracket at `lead`, or a note."""
    rest = _undecorated(rest)
    marker = PREFIX.list_marker.match(rest)
    if marker is not None and rest[0] in "-*•·–" and rest[1:2].isspace() and f" {rest[0]} " not in rest:
        rest = rest[marker.end() :]
    rest = without_note(rest, lang)
    if rest[:1] and is_opener(rest[0]):
        inner = unwrap(rest, opened=True, is_tail=is_meta_tail)
        rest = rest if inner is None else inner
    # Models close a wide bracket with a narrow one, and the other way round.
    closing = BRACKETS.get(lead, "")
    if closing and rest.endswith(tuple(closing)) and rest.count(lead) < rest.count(rest[-1]):
        rest = rest[:-1]
    return rest.strip()


def _undecorated(rest: str) -> str:
    """Return `rest` without the marks around it; one whose partner stands within the text stays, and "#word"."""
    while rest[:1] and rest[0] in DECORATION:
        after = rest.lstrip(rest[0]).lstrip()
        attached = not rest.lstrip(rest[0])[:1].isspace()
        closing = BRACKETS.get(rest[0], rest[0] if rest[0] in "*_|" and attached else "")
        end = min((at for mark in closing if (at := after.find(mark)) >= 0), default=-1)
        if (rest[0] == "#" and attached) or (rest[0] in ">~" and after[:1].isdigit()):
            break
        if end > 0 and (has_content(after[end:]) or (rest[0] in BRACKETS and after[end - 1] not in ENDS)):
            break
        rest = after if end < 0 or rest[0] not in BRACKETS else after[:end] + after[end + 1 :]
    bare = rest.rstrip("*_ ")
    return rest.rstrip() if bare.count(rest[-1:]) % 2 and rest[-1:] in "*_" else bare


def drop_note(line: str, lang: str) -> str:
    """Take away a bracketed note or closing remark about the translation, or the source text restated, from the end."""
    if line[-1:] in ")）]】。." and (start := note_start(line, lang)) is not None:
        return line[:start].rstrip()
    if line and is_opener(line[0]) and (inner := quoted_before_talk(line, lang)) is not None:
        return inner
    if (told := before_its_source(line, lang)) is not None:
        return told
    start = source_tail(line, lang)
    start = remark_start(line, lang) if start is None else start
    if start is not None:
        return line[:start].rstrip(DECORATION + "-–—")
    return line


def drop_wrapping_quotes(line: str, lang: str) -> str:  # noqa: ARG001
    """Take away quotation marks around the whole line; quotations within it stay."""
    if not line or not is_opener(line[0]):
        return line
    inner = unwrap(line, opened=False)
    return line if inner is None else inner


def _short(repair: Repair) -> Repair:
    """Keep `repair` from lines so long that they are broken outputs: looking for pairs would take too long there."""

    @wraps(repair)
    def guarded(line: str, lang: str) -> str:
        return line if len(line) > chat_marks.LONGEST else repair(line, lang)

    return guarded


RULES: Final[tuple[CleaningRule, ...]] = (
    CleaningRule("line-break", 1, characters.fold_breaks, "大家\\n好。"),
    CleaningRule("control-character", 1, characters.drop_controls, "大家\u200b好。"),
    CleaningRule("unicode-form", 1, characters.compose, "fu\u0308r", "für"),
    CleaningRule("white-space", 1, characters.squeeze_spaces, " 大家好。\u3000 "),
    CleaningRule("character-run", 1, characters.squeeze_runs, "什么？？？？？？？？", "什么？"),
    CleaningRule("thinking", 2, _short(chat_marks.drop_thinking), "<think>用户想要中文。</think>大家好。"),
    CleaningRule("special-token", 2, _short(chat_marks.drop_tokens), "<start_of_turn>model 大家好。<eos>"),
    CleaningRule("time-stamp", 2, _short(chat_marks.drop_time_stamps), "[00:00:01] 大家好。"),
    CleaningRule("code-fence", 2, _short(chat_marks.drop_fence), "```text 大家好。```"),
    CleaningRule("emphasis", 2, _short(chat_marks.drop_emphasis), "**大家好。**"),
    CleaningRule("tag", 2, _short(chat_marks.drop_tags), "<b>大家好。</b>"),
    CleaningRule("entity", 2, _short(chat_marks.resolve_entities), "Q&amp;A环节", "Q&A环节"),
    CleaningRule("record", 2, _short(chat_marks.unwrap_record), "{'ChineseTranslation': '大家好。'}"),
    CleaningRule("romanisation", 2, _short(chat_marks.drop_romanisation), "大家好。(Dàjiā hǎo.)"),
    CleaningRule("phrase-loop", 2, characters.squeeze_loop, "我们模型模型模型模型模型模型", "我们模型"),
    CleaningRule("wrapping-quotes", 2, drop_wrapping_quotes, "'大家好。'"),
    CleaningRule("meta-prefix", 2, drop_prefix, "这段英语的中文翻译是：'大家好。'"),
    CleaningRule("both-languages", 2, keep_translation, "Hello everyone. 中文翻译为：'大家好。'"),
    CleaningRule("trailing-note", 2, drop_note, "大家好。（英文原文：Hello everyone.）"),
    CleaningRule("likely-label", 3, drop_likely_label, "演讲者说：大家好，谢谢。", "大家好，谢谢。"),
    CleaningRule("likely-remark", 3, without_remark, "大家好。希望对你有帮助！"),
)
