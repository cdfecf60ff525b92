"""Pinyin beside the Chinese sentence that it spells."""

from __future__ import annotations

import unicodedata
from typing import Final

import regex

from iwsltpack.cleaning.script import HAN, LATIN_WORD

SPELLED: Final = regex.compile(
    r"(?P<text>.*\p{Han}[^\p{L}(（\[]*?)\s*+[(（\[]?\s*+(?P<pinyin>\p{Latin}[^\p{Han}()（）\[\]]{2,1000})[)）\]]?[。.]?",
    regex.DOTALL,
)
_INITIAL: Final = "(?:zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw])"
_FINAL: Final = (
    "(?:iang|iong|uang|ueng|ang|eng|ing|ong|ian|iao|uai|uan|üan|ai|ei|ao|ou|an|en|in|un|ün|ia|ie|iu|ua|uo|ui|ue|üe|"
    "er|a|o|e|i|u|ü|v)"
)
SYLLABLE: Final = regex.compile(f"{_INITIAL}?{_FINAL}r?")
WORD: Final = regex.compile(f"(?:{_INITIAL}?{_FINAL}(?:n|ng|r)?['’-]?)+[1-5]?")
TONE: Final = regex.compile("[\u0300\u0301\u0304\u030c]")
SURE: Final = 3
"""Syllables from which the spelling of a whole sentence is told from that of one name."""


def drop_romanisation(line: str, lang: str) -> str:
    """Take away the pinyin of the whole line that follows it, in brackets or not."""
    if lang != "zh" or (spelled := SPELLED.fullmatch(line)) is None:
        return line
    decomposed = unicodedata.normalize("NFD", spelled["pinyin"].lower())
    plain = unicodedata.normalize("NFC", TONE.sub("", decomposed))
    words = LATIN_WORD.findall(plain)
    syllables = sum(len(SYLLABLE.findall(word)) for word in words)
    known = sum(WORD.fullmatch(word) is not None for word in words)
    characters = len(HAN.findall(spelled["text"]))
    whole = syllables >= SURE and 0.7 * characters <= syllables <= 1.3 * characters
    # Without tones only a perfect fit tells pinyin from words of English.
    sure = TONE.search(decomposed) is not None or (known == len(words) and syllables > 2 * SURE)
    return spelled["text"].rstrip() if whole and sure and known >= 0.8 * len(words) else line
