"""The closed vocabulary that talk *about* a translation is made of, in Chinese, English and German.

A meta prefix ("这段英语的中文翻译是：", "Sure, here is the German translation:") is recognised by being written
with these words alone; a sentence of a talk nearly always holds one that is not here. So the lists are kept
closed on purpose: no "we", no 模型, 系统, 机器, 词, "model", "word". Chinese is listed in simplified characters;
`simplified` makes a traditional line read the same. The words lie in ``vocabulary.toml``, and in ``patterns.toml``
what the rules look for beside them.
"""

import re
from pathlib import Path
from typing import Final, NamedTuple

import regex

from iwsltpack.system.fileio import read_toml

DETERMINER: Final = "D"
CLASSIFIER: Final = "C"
SPEECH: Final = "S"
TEXT: Final = "N"
SPEAKER: Final = "K"
ENGLISH: Final = "E"
CHINESE: Final = "Z"
GERMAN: Final = "G"
LANGUAGE: Final = "F"
TRANSLATE: Final = "T"
OUTCOME: Final = "O"
MEANING: Final = "M"
MEANS: Final = "W"
COPULA: Final = "V"
SAY: Final = "X"
SAID: Final = "Y"
PARTICLE: Final = "P"
POLITE: Final = "A"
SELF: Final = "R"
NOTE: Final = "H"
QUOTED: Final = "Q"
NEUTRAL: Final = "U"
"""Says nothing about what the head is: adjectives of a translation, kinds of text."""
OTHER: Final = "J"
"""Somebody else speaks: content, unless the head also says that it translates and the rest is quoted."""
TASK: Final = "B"
"""A task may be a heading of content: only a quotation shows that it is not."""
UNKNOWN: Final = "?"
"""The one word that no list has and a likely label may hold."""

TARGETS: Final = {"zh": CHINESE, "de": GERMAN}
"""Category of the names of each target language."""
LANGUAGES: Final = frozenset({ENGLISH, CHINESE, GERMAN, LANGUAGE})


_WORDS: Final = read_toml(Path(__file__).with_suffix(".toml"))
"""Category -> words, by writing: ``han``, and ``latin`` for English and German together."""
SHAPES: Final = _WORDS["shapes"]
ENGLISH_FUNCTION_WORDS: Final = frozenset(_WORDS["function_words"]["english"].split())
GERMAN_FUNCTION_WORDS: Final = frozenset(_WORDS["function_words"]["german"].split())
OTHER_FUNCTION_WORDS: Final = frozenset(_WORDS["function_words"]["other"].split()) - GERMAN_FUNCTION_WORDS
ANSWER_KEYS: Final = frozenset(_WORDS["records"]["answer_keys"].split())
CLOSERS: Final[dict[str, str]] = _WORDS["closers"]


def _words(script: str, *tables: dict[str, dict[str, str]]) -> dict[str, str]:
    kinds = [kind for table in tables for kind in table[script].items()]
    return {word: kind for kind, words in kinds for word in words.split()}


class Lexicon(NamedTuple):
    """Word -> category of everything written in Chinese, and in English or German (lower case)."""

    han: dict[str, str]
    latin: dict[str, str]


CLOSED: Final = Lexicon(_words("han", _WORDS), _words("latin", _WORDS))
WIDE: Final = Lexicon(_words("han", _WORDS, _WORDS["wide"]), _words("latin", _WORDS, _WORDS["wide"]))
"""The words of labels that only the company of others shows to be labels as well."""
LONGEST: Final = max(map(len, WIDE.han))
"""Characters of the longest Chinese entry."""
_PATTERNS: Final = read_toml(Path(__file__).with_name("patterns.toml"))


class Patterns:
    """The patterns of one section of ``patterns.toml``, each an attribute that is compiled when it is first used."""

    def __init__(self, section: str) -> None:
        self._section: dict[str, str | list[str]] = _PATTERNS[section]

    def __getattr__(self, name: str) -> regex.Pattern[str]:
        compiled = regex.compile(self._text(name))
        setattr(self, name, compiled)
        return compiled

    def _text(self, name: str) -> str:
        return re.sub(r"%(\w+)%", lambda part: self._text(part[1]), "".join(self._section[name]))


_TO_SIMPLIFIED: Final = str.maketrans(*_WORDS["to_simplified"].values())


def simplified(text: str) -> str:
    """Return `text` with the vocabulary's traditional characters simplified, each in its place.

    >>> simplified("這段英語")
    '这段英语'
    """
    return text if text.isascii() else text.translate(_TO_SIMPLIFIED)
