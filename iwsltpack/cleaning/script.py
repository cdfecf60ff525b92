"""What a stretch of text is written in: Chinese by its script, German and English by their function words."""

import re
from functools import lru_cache
from typing import Final

import regex

from iwsltpack.cleaning.vocabulary import ENGLISH_FUNCTION_WORDS, GERMAN_FUNCTION_WORDS

HAN: Final = regex.compile(r"\p{Han}")
LETTER: Final = regex.compile(r"\p{L}")
CONTENT: Final = re.compile(r"[^\W_]")
LATIN_WORD: Final = regex.compile(r"\p{Latin}[\p{Latin}\p{M}'’-]*+")
FOREIGN: Final = regex.compile(r"[äöüßÄÖÜ\p{Han}]")
CLAUSE: Final = re.compile("[我你他她它们們这這那的了在是有不和]")
"""A character that a Chinese clause has and a term seldom."""
SAMPLE: Final = 4000
"""Characters looked at when a language is judged: more cannot change the verdict, only the time."""


def has_content(text: str) -> bool:
    """Tell whether `text` holds a letter or a digit."""
    return CONTENT.search(text) is not None


def latin_words(text: str) -> list[str]:
    """Return the words in Latin script, lower case, of the first `SAMPLE` characters."""
    return [word.group().lower() for word in LATIN_WORD.finditer(text[:SAMPLE])]


@lru_cache(maxsize=8)  # asked of the same line by several rules
def function_words(text: str) -> tuple[int, int]:
    """Return how many English and how many German function words `text` holds."""
    words, lists = latin_words(text), (ENGLISH_FUNCTION_WORDS, GERMAN_FUNCTION_WORDS)
    english, german = (sum(word in known for word in words) for known in lists)
    return english, german


def looks_english(text: str) -> bool:
    """Tell whether `text` is English rather than German: no Han, and English function words prevail."""
    english, german = function_words(text)
    return HAN.search(text) is None and english > german


def in_target(text: str, lang: str) -> bool:
    """Tell whether `text` could be a translation into `lang` (``zh``: holds Han; ``de``: is not English)."""
    if lang == "zh":
        return HAN.search(text) is not None
    return has_content(text) and HAN.search(text) is None and not looks_english(text)


def could_be_source(text: str, lang: str) -> bool:
    """Tell whether `text` is of the source language, or too short to tell ("Same here.")."""
    foreign = LATIN_WORD.search(text) is None or FOREIGN.search(text) is not None
    return in_source(text, lang) or (function_words(text) == (0, 0) and not foreign)


def is_sentence(text: str) -> bool:
    """Tell whether `text` ends as a sentence does and has three words, or four Han; without an end, five or eight."""
    ended = text.rstrip("\"'”’“」』 ")[-1:] in tuple(".!?。！？")
    words, characters = latin_words(text), len(HAN.findall(text[:SAMPLE]))
    if ended:
        return len(words) >= 3 or characters >= 4
    clause = function_words(text) != (0, 0) if len(words) >= 5 else CLAUSE.search(text) is not None
    return clause and (len(words) >= 5 or characters >= 8)


def in_source(text: str, lang: str) -> bool:
    """Tell whether `text` is words of the source language and none of the target's script."""
    words = latin_words(text)
    if not words or HAN.search(text) is not None:
        return False
    return lang == "zh" or looks_english(text)
