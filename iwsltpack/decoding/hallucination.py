"""Signs that a hypothesis is made up, seen without a reference. They are reported; they never change the output."""

from collections import Counter

import regex

from iwsltpack.documents.names import SCRIPTS

RATIO_LIMIT = 2.0
"""Output characters per source character, the sister track's measure of hallucination."""
SPEECH_LIMIT = {"zh": 12.0, "de": 40.0}
"""Characters per second of audio: more than twice what the fastest speakers' translations take."""
REPEATS = 4
"""Times a stretch must follow itself to count as a loop."""
_LOOP = regex.compile(rf"(.{{1,40}}?)\1{{{REPEATS - 1},}}")
_SCRIPT = {language: regex.compile(rf"\p{{{script}}}") for language, script in SCRIPTS.items()}
LOOPED_SHARE = 0.3
"""Share of the line a loop must take up; "......" at the end of a sentence is none."""


def find_signs(text: str, language: str, seconds: float, source: str | None = None) -> tuple[str, ...]:
    """Return the names of the signs found in one hypothesis; `source` is what is said in the audio, where known.

    They are ``empty``; ``long`` (over twice the source's characters or, where that is unknown, more characters than
    anyone can say in the time); ``repeated`` (a stretch that follows itself four times and more); ``script`` (no letter
    of the target language's script).
    """
    if not text.strip():
        return ("empty",)
    signs = []
    most = RATIO_LIMIT * len(source) if source else SPEECH_LIMIT[language] * max(seconds, 1.0)
    if len(text) > most:
        signs.append("long")
    # The last turn of a loop of words lacks the space that the others end with.
    loops = sum(len(match.group()) for match in _LOOP.finditer(f"{text} "))
    if loops >= max(REPEATS * 2, LOOPED_SHARE * len(text)):
        signs.append("repeated")
    if not _SCRIPT[language].search(text):
        signs.append("script")
    return tuple(signs)


def count_signs(lines: list[tuple[str, ...]]) -> dict[str, int]:
    """Return how many lines show each sign."""
    return dict(sorted(Counter(sign for signs in lines for sign in signs).items()))
