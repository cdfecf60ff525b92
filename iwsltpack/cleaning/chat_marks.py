"""What chat models leave around a sentence: tokens, thinking, fences, emphasis, tags, entities, times, records, pinyin.

A mark is taken away where its place shows that it is one: at an end of the line, after a finished sentence, around
a whole. Anywhere else it may be what the talk is about ("the token <s>"), so it stays and is reported.
"""

import html
import unicodedata
from typing import Final

import regex

from iwsltpack.cleaning import vocabulary as v
from iwsltpack.cleaning.meta_prefix import PREFIX, wholly_talk
from iwsltpack.cleaning.script import HAN, LATIN_WORD, has_content, in_target

LONGEST: Final = 20_000
"""Characters of the longest line whose marks are repaired; a longer one is a broken output."""
DELETED: Final = str.maketrans("", "", "#<>")
"""What the evaluation server deletes."""
SURE: Final = 3
"""Syllables from which the spelling of a whole sentence is told from that of one name."""
MARKS: Final = v.Patterns("chat_marks")
PINYIN: Final = v.Patterns("romanisation")
RECORDS: Final = v.Patterns("records")


def list_mark(line: str) -> str | None:
    """Return what a line begins with as an item of a list does ("- ", "1. "), None for "1. FC Köln" and a dialogue."""
    found = MARKS.list_item.match(line)
    if found is None:
        return None
    begins = HAN.match(line, found.end()) or PREFIX.clause_begins.match(line, found.end())
    item = f" {line[0]} " not in line if found["number"] is None else begins is not None
    return found.group() if item else None


def drop_thinking(line: str, lang: str) -> str:  # noqa: ARG001
    """Take out what the model thought before it answered."""
    if not any(part in line for part in ("<", "THINK", "think▷", "assistantfinal")):
        return line
    found = MARKS.thinking.search(line)
    if found is not None and _is_thought(line, found):
        return f"{line[: found.start()]} {line[found.end() :]}".strip()
    return MARKS.unopened_thinking.sub("", line, count=1)


def _is_thought(line: str, found: regex.Match[str]) -> bool:
    before = MARKS.opening.sub("", line[: found.start()])
    if before.strip() and before.rstrip()[-1] not in "。.!！?？…>":
        return False
    if found["tag"] is None:
        return True
    # "<think> and </think> enclose …" speaks of the tags.
    inner = next(filter(None, found.captures("inner")), "").strip()
    return not MARKS.about.match(line, found.end()) and (len(inner) == 0 or len(inner) > 5)


def drop_tokens(line: str, lang: str) -> str:  # noqa: ARG001
    """Take out special tokens and roles at the ends and between sentences, and a turn after the model's own."""
    if "<" not in line and "[" not in line:
        return _without_role(line)
    found = MARKS.next_turn.search(line, pos=1)
    if found is not None and MARKS.opening.sub("", line[: found.start()]).strip():
        line = line[: found.start()]
    opening = MARKS.opening.match(line)
    if opening is not None and (MARKS.about.match(line, opening.end()) is None or opening.end() == len(line)):
        line = line[opening.end() :]
    line = MARKS.closing.sub("", line)
    return _without_role(
        MARKS.between.sub(lambda found: found.group() if MARKS.about.match(line, found.end()) else " ", line)
    )


def _without_role(line: str) -> str:
    role = MARKS.leftover_role.match(line)
    return line if role is None else line[role.end() :]


def drop_fence(line: str, lang: str) -> str:  # noqa: ARG001
    """Take away a code fence around the whole line, closed or not."""
    if "```" not in line or MARKS.fence.match(line) is None:
        return line
    return MARKS.fence_mark.sub("", line).strip()


def drop_emphasis(line: str, lang: str) -> str:  # noqa: ARG001
    """Take away Markdown's marks of emphasis, in pairs, where no letter or digit touches them from outside."""
    return MARKS.emphasis.sub(lambda found: found["inner"], line) if "*" in line or "_" in line else line


def drop_tags(line: str, lang: str) -> str:  # noqa: ARG001
    """Take away pairs of tags, and line breaks written as tags."""
    if "<" not in line:
        return line
    return MARKS.tagged.sub(lambda found: found["inner"], MARKS.line_tag.sub(" ", line)).strip()


def resolve_entities(line: str, lang: str) -> str:  # noqa: ARG001
    """Write the character for its entity, but where the line speaks of entities."""
    if "&" not in line or MARKS.about_entities.search(line) is not None:
        return line
    return MARKS.entity.sub(lambda found: html.unescape(found.group()), MARKS.nested_ampersand.sub("&", line))


def drop_time_stamps(line: str, lang: str) -> str:  # noqa: ARG001
    """Take away time stamps at either end of the line."""
    return MARKS.time_stamp.sub("", line)


def mark_left(line: str, lang: str) -> str | None:  # noqa: ARG001
    """What may be a chat model's mark or content: a token, role, fence, tag, entity, heading or record that stays."""
    found = MARKS.left.search(line, endpos=LONGEST)
    return None if found is None else f"{found.lastgroup} {found.group().strip()!r} is left in the line"


def drop_romanisation(line: str, lang: str) -> str:
    """Take away the pinyin of the whole line that follows it, in brackets or not."""
    if lang != "zh" or (spelled := PINYIN.spelled.fullmatch(line)) is None:
        return line
    text = PINYIN.label.sub("", spelled["text"].rstrip()).rstrip()
    if PINYIN.named.search(text) is not None:
        return line  # a sentence on how something is said
    decomposed = unicodedata.normalize("NFD", spelled["pinyin"].lower())
    plain = unicodedata.normalize("NFC", PINYIN.tone.sub("", decomposed))
    words = LATIN_WORD.findall(plain)
    syllables = sum(len(PINYIN.syllable.findall(word)) for word in words)
    known = sum(PINYIN.word.fullmatch(word) is not None for word in words)
    characters = len(HAN.findall(text))
    whole = syllables >= SURE and 0.7 * characters <= syllables <= 1.3 * characters
    # Without tones only a perfect fit tells pinyin from words of English.
    sure = PINYIN.tone.search(decomposed) is not None or (known == len(words) > 1 and syllables > 2 * SURE)
    return text if whole and sure and known >= 0.8 * len(words) else line


def unwrap_record(line: str, lang: str) -> str:
    """Keep the translation alone where the line is a record, a list or an assignment that holds it."""
    if line[:1] not in ("{", "[", "("):
        bare = RECORDS.bare.fullmatch(line)
        return line if bare is None else bare["value"]
    if (nested := RECORDS.nested.fullmatch(line)) is not None:
        return next(filter(None, nested.captures("inner")))
    single = RECORDS.list.fullmatch(line)
    if single is not None:
        return RECORDS.escaped.sub(r"\1", single["value"])
    entries: dict[str, str] = {}
    position = 1
    while position < len(line):
        entry = RECORDS.pair.match(line, position)
        if entry is None:
            return line
        entries[entry["key"]] = RECORDS.escaped.sub(r"\1", entry["value"])
        position = entry.end()
    wanted = {v.TRANSLATE, v.TARGETS[lang]}
    named = [key for key in entries if wanted & wholly_talk(key, lang) and "transcri" not in key.lower()]
    named = [key for key in named if in_target(entries[key], lang)] or named * (len(entries) == 1)
    words = {key: v.simplified(key.lower()).replace("_", " ").split() for key in entries}
    chosen = named or [key for key in entries if v.ANSWER_KEYS.issuperset(words[key])]
    return entries[chosen[-1]] if line[0] == "{" and chosen and has_content(entries[chosen[-1]]) else line


def as_server(line: str) -> str:
    """Return a line as the server scores it; it does the same to no reference.

    >>> as_server("Das #1 Modell mit x < y &amp; z")
    'Das 1 Modell mit x  y & z'
    """
    return html.unescape(line.translate(DELETED))
