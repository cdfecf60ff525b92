"""The published chain to the letter: float32 -> Quantize -> float16 -> Zstandard 3. Lossless tensors stay raw."""

import math
from typing import ClassVar

import numpy as np

from iwsltpack.codecs.chain import Chain, Coding, little_endian, zstd
from iwsltpack.codecs.dtypes import DType
from iwsltpack.errors import UsageError


def bits_of_digits(digits: int) -> int:
    """Return b of the step 2^-b that numcodecs uses for decimal `digits` (1 -> 4, 2 -> 7, 3 -> 10, 4 -> 14)."""
    if not 0 <= digits <= 4:
        raise UsageError("no such rounding", expected="digits 0 to 4", got=digits)
    return math.ceil(math.log2(10**digits))


def digits_of_bits(bits: int) -> int | None:
    """Return the decimal digits whose step is 2^-bits, or None where there are none."""
    return next((digits for digits in range(5) if bits_of_digits(digits) == bits), None)


class PaperChain(Chain):
    """Values, rounded before they come here, that the filters cast to float16; Zstandard looks far back among them."""

    sample: ClassVar[int] = 1 << 20

    @property
    def packed(self) -> np.dtype[np.generic]:
        """float16."""
        return np.dtype("<f2")


class Paper(Coding):
    """The codec of the paper."""

    name: ClassVar[str] = "paper"
    summary: ClassVar[str] = "the published chain to the letter; unselected tensors raw"

    def lossless(self, dtype: DType) -> Chain:
        """Return a chain that stores bytes as they are."""
        return Chain(kind=dtype.carrier, serializer=little_endian(dtype.carrier))

    def rounded(self, bits: int | None, /, *, wide: bool) -> Chain:  # noqa: ARG002 - no value is too wide
        """Return the paper's chain."""
        if bits is None:
            raise UsageError(
                "the paper's chain stores multiples of 2^-b alone",
                expected="a recipe with bits or digits in every rule",
                fix="choose another --coding",
            )
        single, digits = np.dtype("<f4"), digits_of_bits(bits)
        cast = {"name": "numcodecs.astype", "configuration": {"encode_dtype": "<f2", "decode_dtype": "<f4"}}
        quantize = {"name": "numcodecs.quantize", "configuration": {"digits": digits, "dtype": "<f4"}}
        return PaperChain(
            kind=single,
            # Between numcodecs' own steps the array is rounded before it is handed over, and only packed here.
            filters=(cast,) if digits is None else (quantize, cast),
            serializer=little_endian(single),
            compressors=(zstd(3, checksum=False),),
        )
