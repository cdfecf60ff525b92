"""The closed vocabulary that talk *about* a translation is made of, in Chinese, English and German.

A meta prefix ("这段英语的中文翻译是：", "Sure, here is the German translation:") is recognised by being written
with these words alone; a sentence of a talk nearly always holds one that is not here. So the lists are kept
closed on purpose: no "we", no 模型, 系统, 机器, 词, "model", "word". Chinese is listed in simplified characters;
`simplified` makes a traditional line read the same. The words lie in ``vocabulary.toml``.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Final

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

TARGETS: Final = {"zh": CHINESE, "de": GERMAN}
"""Category of the names of each target language."""
LANGUAGES: Final = frozenset({ENGLISH, CHINESE, GERMAN, LANGUAGE})

_WORDS: Final[dict[str, dict[str, str]]] = tomllib.loads(
    resources.files("iwsltpack.cleaning").joinpath("vocabulary.toml").read_text(encoding="utf-8")
)
"""Category -> words, by writing: ``han``, and ``latin`` for English and German together."""
ENGLISH_FUNCTION_WORDS: Final = frozenset(_WORDS["function_words"]["english"].split())
GERMAN_FUNCTION_WORDS: Final = frozenset(_WORDS["function_words"]["german"].split())


@cache
def han_words() -> dict[str, str]:
    """Return word -> category for everything written in Chinese."""
    return {word: category for category, words in _WORDS["han"].items() for word in words.split()}


@cache
def latin_words() -> dict[str, str]:
    """Return lower-case word -> category for everything written in English or German."""
    return {word: category for category, words in _WORDS["latin"].items() for word in words.split()}


@cache
def han_lengths() -> dict[str, tuple[int, ...]]:
    """Return, for each character a Chinese entry begins with, the lengths of those entries, longest first."""
    lengths: dict[str, set[int]] = {}
    for word in han_words():
        lengths.setdefault(word[0], set()).add(len(word))
    return {first: tuple(sorted(found, reverse=True)) for first, found in lengths.items()}


_TO_SIMPLIFIED: Final = str.maketrans(*_WORDS["to_simplified"].values())


def simplified(text: str) -> str:
    """Return `text` with the vocabulary's traditional characters simplified, each in its place.

    >>> simplified("這段英語")
    '这段英语'
    """
    return text if text.isascii() else text.translate(_TO_SIMPLIFIED)


LONGEST: Final = max(map(len, han_words()))
"""Characters of the longest Chinese entry."""
