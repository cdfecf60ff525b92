"""What chat models leave around a sentence: turn and end tokens, thinking, fences, emphasis, tags, entities, times.

A mark is taken away where its place shows that it is one: at an end of the line, after a finished sentence, around
a whole. Anywhere else it may be what the talk is about ("the token <s>"), so it stays and is reported.
"""

from __future__ import annotations

import html
from typing import Final

import regex

LONGEST: Final = 20_000
"""Characters of the longest line whose marks are repaired; a longer one is a broken output."""
_PIPED: Final = r"<[|｜][^<>|｜\s]{1,40}[|｜]?>|<[A-Za-z_]{1,30}[|｜]>"
_NAMED: Final = (
    r"</?(?:s|bos|eos|pad|unk|sep|cls|mask|start_of_turn|end_of_turn|start_of_audio|end_of_audio|audio|"
    r"audio_soft_token|image|AUDIO|2[a-z]{2,3}(?:_[A-Za-z]+)?|extra_id_\d+|unused\d+)>"
)
_BRACKETED: Final = r"\[/?(?:INST|SYS|CLS|SEP|PAD|BOS|EOS|UNK|MASK|SYSTEM_PROMPT|TOOL_CALLS)\]|<</?SYS>>"
TOKEN: Final = rf"(?:{_PIPED}|{_NAMED}|{_BRACKETED})"
ROLE: Final = r"(?:model|assistant|thought|final|analysis|user|system)"
_ENDED: Final = r"(?<=[。.!！?？…\"'”’“」』)）:：]\s*+)"
_ABOUT: Final = regex.compile(
    r"\s*+(?:[\p{Ll}\-–,;=|+/]|(?:Token|Tag|Marke|Zeichen|Symbol)|[、，；和与與及或是表代标標用作在会會将將被之指为為])"
)
"""How a sentence about a token goes on after it: "<s> markiert den Anfang", "<s>表示开始"."""
OPENING: Final = regex.compile(rf"\s*+(?:{TOKEN}\s*+(?:{ROLE}(?![\p{{L}}:]))?\s*+)++")
CLOSING: Final = regex.compile(rf"(?:(?<=\S)|{_ENDED})(?:{TOKEN}\s*+)++$")
BETWEEN: Final = regex.compile(rf"{_ENDED}(?:{TOKEN}\s*+)++")
NEXT_TURN: Final = regex.compile(
    r"(?:<end_of_turn>|<\|im_end\|>|<\|eot_id\|>|<turn\|>|<\|end\|>|<\|endoftext\|>|</s>)\s*+"
    r"(?:<start_of_turn>|<\|im_start\|>|<\|start_header_id\|>|<\|turn>|<\|start\|>|<\|user\|>|\[INST\])"
)
LEFTOVER_ROLE: Final = regex.compile(
    r"(?:(?:assistant|thought)\s++(?=[\p{Lu}\p{Han}\d\"'“„「])|model\s++(?=(?:Wir|Ich|Sie|Er|Es|Das|Die|Der|Ein|Eine|"
    r"Hallo|Danke|Und|Aber|Ja|Nein)\b))"
)
"""A role's name that is left where its tokens were skipped; no German or Chinese sentence begins so."""
THINKING: Final = regex.compile(
    r"<(?P<tag>think|thinking|thought|reasoning|reflection)>(?P<inner>.*?)</(?P=tag)>|\[THINK\](?P<inner>.*?)\[/THINK\]|"
    r"◁think▷(?P<inner>.*?)◁/think▷|<unused94>(?P<inner>.*?)<unused95>|"
    r"<\|channel>(?P<inner>.*?)<channel\|>|"
    r"(?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)<\|message\|>(?P<inner>.*?)"
    r"<\|end\|>(?:<\|start\|>assistant)?(?:<\|channel\|>final<\|message\|>)",
    regex.DOTALL,
)
UNOPENED_THINKING: Final = regex.compile(
    r"^[^<]*[。.!！?？…]\s*+</(?:think|thinking|thought|reasoning)>\s*+(?=[\p{Lu}\p{Han}\"“„「])"
)
_INFO: Final = (
    r"(?:(?:text|txt|plaintext|plain|markdown|md|json|html|xml|german|deutsch|chinese|zh|de|output)\s++)?"
)
FENCE: Final = regex.compile(
    rf"^```{_INFO}(?!\s*+```)(?:(?!```).)++(?:```)?$|^(?:(?!```).)++```$", regex.DOTALL
)
FENCE_MARK: Final = regex.compile(rf"^```{_INFO}|```$")
EMPHASIS: Final = regex.compile(
    r"(?<![*\p{Latin}\d])(?P<mark>\*\*\*|\*\*)(?=[^\s*_])(?P<inner>[^*\n]{1,400}?)(?<=[^\s*_])(?P=mark)(?![*_\p{Latin}\d])"
    r"|^(?P<mark>[*_]|__)(?=[^\s*_])(?P<inner>[^*_]{2,400})(?<=[^\s*_])(?P=mark)$"
)
TAGGED: Final = regex.compile(
    r"<(?P<tag>b|i|u|em|strong|p|span|div|font|sub|sup|br|html|body|translation|text|output|answer|response|result|"
    r"target|german|chinese|de|zh|sentence|speech)(?:\s[^<>]{0,80})?>(?P<inner>(?=\S)(?![和与與及或、]<)[^<>]{1,2000}(?<=\S)|)</(?P=tag)>",
    regex.IGNORECASE,
)
LINE_TAG: Final = regex.compile(
    rf"(?:^|{_ENDED})\s*+<(?:br|p|hr)\s*+/?>\s*+|\s*+<(?:br|hr)\s*+/?>$", regex.IGNORECASE
)
ENTITY: Final = regex.compile(r"&(?:[A-Za-z][A-Za-z0-9]{1,9}|#\d{1,6}|#[xX][0-9A-Fa-f]{1,5});")
NESTED_AMPERSAND: Final = regex.compile(r"&(?:amp;|#38;|#[xX]26;)++")
ABOUT_ENTITIES: Final = regex.compile(r"HTML|XML|[Ee]ntit|[Zz]eichen|Maskier|实体|實體|字符|转义|轉義")
_CLOCK: Final = r"(?:\d{1,2}:)?\d{1,2}:\d{2}(?:[.,]\d{1,3})?"
_SECONDS: Final = r"\d{1,5}\.\d{1,3}s?"
_SPAN: Final = rf"(?:{_CLOCK}|{_SECONDS})\s*(?:-->|->|–|-|—|~|,)\s*(?:{_CLOCK}|{_SECONDS})"
_STAMP: Final = (
    rf"(?:\[(?:{_CLOCK}|{_SPAN})\]|\((?:\d{{1,2}}:\d{{2}}:\d{{2}}(?:[.,]\d+)?|0\d:\d{{2}})\)|"
    rf"{_CLOCK}\s*-->\s*{_CLOCK}|\d{{1,2}}:\d{{2}}:\d{{2}}[.,]\d{{3}})"
)
TIME_STAMP: Final = regex.compile(rf"^(?:{_STAMP}[\s:：\-]*+)++(?=\S)|(?:\s*+{_STAMP})++$")
LEFT: Final = regex.compile(
    rf"(?P<token>{TOKEN}|</?(?:think|thinking|thought|reasoning)>)|(?P<fence>```)|(?P<emphasis>\*\*(?=\S)|(?<=\S)\*\*)"
    r"|(?P<heading>^#{1,6}\s)|(?P<tag>(?<![\p{L}\d])</?[a-z][a-z0-9_]{0,20}(?:\s[^<>]{0,80})?/?>)"
    r"|(?P<entity>&(?:amp|lt|gt|quot|apos|nbsp|#\d{1,6});)|(?P<record>^[{\[]\s*[\"'“].*[}\]]$)"
)


def drop_thinking(line: str, lang: str) -> str:  # noqa: ARG001
    """Take out what the model thought before it answered."""
    if "<" not in line and "THINK" not in line and "think▷" not in line:
        return line
    found = THINKING.search(line)
    if found is not None and _is_thought(line, found):
        return f"{line[: found.start()]} {line[found.end() :]}".strip()
    return UNOPENED_THINKING.sub("", line, count=1)


def _is_thought(line: str, found: regex.Match[str]) -> bool:
    before = OPENING.sub("", line[: found.start()])
    if before.strip() and before.rstrip()[-1] not in "。.!！?？…>":
        return False
    # "<think> and </think> enclose …" speaks of the tags.
    inner = next(filter(None, found.captures("inner")), "").strip()
    return not _ABOUT.match(line, found.end()) and (len(inner) == 0 or len(inner) > 5)


def drop_tokens(line: str, lang: str) -> str:  # noqa: ARG001
    """Take out special tokens and roles at the ends and between sentences, and a turn after the model's own."""
    if "<" not in line and "[" not in line:
        return _without_role(line)
    found = NEXT_TURN.search(line, pos=1)
    if found is not None and OPENING.sub("", line[: found.start()]).strip():
        line = line[: found.start()]
    opening = OPENING.match(line)
    if opening is not None and (_ABOUT.match(line, opening.end()) is None or opening.end() == len(line)):
        line = line[opening.end() :]
    line = CLOSING.sub("", line)
    return _without_role(
        BETWEEN.sub(lambda found: found.group() if _ABOUT.match(line, found.end()) else " ", line)
    )


def _without_role(line: str) -> str:
    role = LEFTOVER_ROLE.match(line)
    return line if role is None else line[role.end() :]


def drop_fence(line: str, lang: str) -> str:  # noqa: ARG001
    """Take away a code fence around the whole line, closed or not."""
    if "```" not in line or FENCE.match(line) is None:
        return line
    return FENCE_MARK.sub("", line).strip()


def drop_emphasis(line: str, lang: str) -> str:  # noqa: ARG001
    """Take away Markdown's marks of emphasis, in pairs, where no letter or digit touches them from outside."""
    return EMPHASIS.sub(lambda found: found["inner"], line) if "*" in line or "_" in line else line


def drop_tags(line: str, lang: str) -> str:  # noqa: ARG001
    """Take away pairs of tags, and line breaks written as tags."""
    if "<" not in line:
        return line
    return TAGGED.sub(lambda found: found["inner"], LINE_TAG.sub(" ", line)).strip()


def resolve_entities(line: str, lang: str) -> str:  # noqa: ARG001
    """Write the character for its entity, but where the line speaks of entities."""
    if "&" not in line or ABOUT_ENTITIES.search(line) is not None:
        return line
    return ENTITY.sub(lambda found: html.unescape(found.group()), NESTED_AMPERSAND.sub("&", line))


def drop_time_stamps(line: str, lang: str) -> str:  # noqa: ARG001
    """Take away time stamps at either end of the line."""
    return TIME_STAMP.sub("", line)


def mark_left(line: str, lang: str) -> str | None:  # noqa: ARG001
    """What may be a chat model's mark or content: a token, fence, tag, entity, heading or record that stays."""
    found = LEFT.search(line, endpos=LONGEST)
    return None if found is None else f"{found.lastgroup} {found.group().strip()!r} is left in the line"
