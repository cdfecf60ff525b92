"""The kinds of values that several documents hold, and what each of them refuses.

A kind is a Python type with keywords of JSON Schema beside it. The schemas under ``schemas/`` are generated from
the documents' fields (``make schemas``); a kind with a title gets a definition of its own there.
"""

from __future__ import annotations

from typing import Annotated, Any

from iwsltpack.documents.names import PAIRS

MAX_INTEGER = 2**53 - 1
"""Every JSON reader holds integers exactly up to here."""

ITEM_BYTES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint64": 8,
    "uint32": 4,
    "uint16": 2,
    "uint8": 1,
    "bool": 1,
}
"""Bytes of one value, by PyTorch's name of the type: sizes can be told without loading numpy."""


class Keywords:
    """Keywords of JSON Schema, beside a type that they narrow."""

    def __init__(self, **keywords: Any) -> None:
        self.keywords = keywords


def whole(pattern: str, **keywords: Any) -> Keywords:
    """Return the keywords of strings that `pattern` matches from end to end."""
    # `$` also matches before a line feed at the end.
    return Keywords(pattern=rf"^{pattern}(?![\s\S])", **keywords)


Text = Annotated[str, Keywords(minLength=1)]
DType = Annotated[str, Keywords(title="dtype", enum=[*ITEM_BYTES])]
Sha256 = Annotated[str, whole("[0-9a-f]{64}", title="sha256")]
FileName = Annotated[str, whole(r"[\w.+-]+")]
RelativePath = Annotated[str, whole(r"(?!/)(?!(?:[\s\S]*/)?\.\.(?:/|$))[\s\S]+")]
Pair = Annotated[str, whole("[a-z]{2}-[a-z]{2}")]
"""Any language pair."""
TrackPair = Annotated[str, Keywords(enum=[*PAIRS])]
"""A language pair of the track."""
Count = Annotated[int, Keywords(minimum=0, maximum=MAX_INTEGER)]
PositiveCount = Annotated[int, Keywords(minimum=1, maximum=MAX_INTEGER)]
Amount = Annotated[float, Keywords(minimum=0)]
"""Seconds, rates and ratios."""
PositiveAmount = Annotated[float, Keywords(exclusiveMinimum=0)]
Share = Annotated[float, Keywords(minimum=0, maximum=1)]
