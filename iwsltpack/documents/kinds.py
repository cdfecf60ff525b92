"""The kinds of values that several documents hold, and what each of them refuses.

A kind is a Python type with keywords of JSON Schema beside it. The schemas under ``schemas/`` are generated from
the documents' fields (``make schemas``); a kind with a title gets a definition of its own there.
"""

from typing import Annotated, Any

from iwsltpack.documents.names import PAIRS

MAX_INTEGER = 2**53 - 1
"""Every JSON reader holds integers exactly up to here."""

DTYPES = {
    "float64": ("F64", "<f8"),
    "float32": ("F32", "<f4"),
    "float16": ("F16", "<f2"),
    "bfloat16": ("BF16", "<u2"),
    "float8_e4m3fn": ("F8_E4M3", "|u1"),
    "float8_e5m2": ("F8_E5M2", "|u1"),
    "int64": ("I64", "<i8"),
    "int32": ("I32", "<i4"),
    "int16": ("I16", "<i2"),
    "int8": ("I8", "|i1"),
    "uint64": ("U64", "<u8"),
    "uint32": ("U32", "<u4"),
    "uint16": ("U16", "<u2"),
    "uint8": ("U8", "|u1"),
    "bool": ("BOOL", "|b1"),
}
"""By PyTorch's name of a tensor type: what safetensors calls it, and the numpy type that carries its bits."""
ITEM_BYTES = {name: int(carrier[-1]) for name, (_, carrier) in DTYPES.items()}
"""Bytes of one value: sizes can be told without loading numpy."""


class Keywords:
    """Keywords of JSON Schema, beside a type that they narrow."""

    def __init__(self, **keywords: Any) -> None:
        self.keywords = keywords


def whole(pattern: str, **keywords: Any) -> Keywords:
    """Return the keywords of strings that `pattern` matches from end to end."""
    # `$` also matches before a line feed at the end.
    return Keywords(pattern=rf"^{pattern}(?![\s\S])", **keywords)


Text = Annotated[str, Keywords(minLength=1)]
DType = Annotated[str, Keywords(title="dtype", enum=[*DTYPES])]
Sha256 = Annotated[str, whole("[0-9a-f]{64}", title="sha256")]
Crc32c = Annotated[str, whole("[0-9a-f]{8}")]
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
