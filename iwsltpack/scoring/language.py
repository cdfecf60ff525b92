"""Which language hypotheses are in: told, named, or read off the script of the references."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iwsltpack.documents.names import PAIRS
from iwsltpack.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iwsltpack.scoring.references import References
    from iwsltpack.scoring.texts import Hypotheses

NO_SPACES = ("zh", "ja")
"""Languages whose lines are joined without a space between them."""


def settle_language(hypotheses: Hypotheses, references: References, language: str | None) -> str:
    """Return the target language: as told, else the run's or file name's, the references', or their script's.

    Raises
    ------
    UsageError
        Nothing tells it.
    """
    pair = hypotheses.pair
    if told := language or (PAIRS.get(pair) if pair else None) or references.language:
        return told
    if _mostly_han(references.lines):
        return "zh"
    raise UsageError(
        "which language is this? BLEU's tokenizer and the cleaning rules depend on it",
        where=hypotheses.name,
        fix="say it: --pair en-de",
    )


def _mostly_han(lines: Sequence[str]) -> bool:
    import regex

    text = "".join(lines)
    han, letters = len(regex.findall(r"\p{Han}", text)), len(regex.findall(r"\p{L}", text))
    kana = regex.search(r"[\p{Hiragana}\p{Katakana}]", text)
    return letters > 0 and han > letters / 2 and kana is None
