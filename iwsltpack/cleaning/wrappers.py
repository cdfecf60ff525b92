"""Records around a translation: ``{'GermanTranslation': '…'}``, ``{"source": "…", "target": "…"}``, ``["…"]``."""

from __future__ import annotations

from typing import Final

import regex

from iwsltpack.cleaning import vocabulary as v
from iwsltpack.cleaning.bilingual import wholly_talk
from iwsltpack.cleaning.script import has_content

PAIR: Final = regex.compile(
    r"\s*+[\"'“‘](?P<key>[\p{L}_\- ]{1,40}+)[\"'”’]\s*+[:：]\s*+(?P<quote>[\"'“‘])(?P<value>.*?)"
    r"(?:[\"'”’]\s*+(?:[,，](?=\s*+[\"'“‘])|[}\]]++\s*+[.。]?$)|[\"'”’]?+$)",
    regex.DOTALL,
)
"""One entry; the last may have been cut off."""
LIST: Final = regex.compile(r"\[\s*+([\"'])(?P<value>(?:(?!\1\s*+[,\]]).)++)\1\s*+\]", regex.DOTALL)
ANSWER_KEYS: Final = frozenset(
    """
    text output response result answer content sentence hypothesis target tgt message reply
    文本 结果 输出 答案
    """.split()  # noqa: SIM905
)
"""Keys that name no language: taken where no other entry says that it is the translation."""
ESCAPED: Final = regex.compile(r"\\([\"'/\\])")


def unwrap_record(line: str, lang: str) -> str:
    """Keep the translation alone where the line is a record or a list that holds it."""
    if line[:1] not in ("{", "["):
        return line
    single = LIST.fullmatch(line)
    if single is not None:
        return ESCAPED.sub(r"\1", single["value"])
    entries: dict[str, str] = {}
    position = 1
    while position < len(line):
        entry = PAIR.match(line, position)
        if entry is None:
            return line
        entries[entry["key"]] = ESCAPED.sub(r"\1", entry["value"])
        position = entry.end()
    wanted = {v.TRANSLATE, v.TARGETS[lang]}
    named = [key for key in entries if wanted & wholly_talk(key, lang)]
    generic = [key for key in entries if v.simplified(key.lower()) in ANSWER_KEYS]
    chosen = named or generic
    return entries[chosen[-1]] if line[0] == "{" and chosen and has_content(entries[chosen[-1]]) else line
