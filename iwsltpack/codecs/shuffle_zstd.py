"""Integer codes, biased and unsigned -> byte shuffle -> Zstandard 1."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numcodecs import Shuffle

from iwsltpack.codecs.chain import Chain, Coding, Json, little_endian, zstd
from iwsltpack.codecs.codes import (
    BIAS16,
    BIAS32,
    join_bytes,
    narrow,
    rotate_left,
    rotate_right,
    signed,
    split_bytes,
)
from iwsltpack.codecs.dtypes import DType
from iwsltpack.codecs.frames import BLOCK_BYTES, Buffer


@dataclass(frozen=True, kw_only=True)
class ShuffleChain(Chain):
    """All first bytes of the values, then all second bytes, and so on, in one Zstandard frame.

    The `bias` is added to a code before it is stored; it is 0 where the array holds values.
    """

    bias: int = 0

    def scaling(self, step: float, /) -> Json:
        """Return the step, and what takes the bias away."""
        return {"scale_factor": step, "add_offset": -self.bias * step}

    def lay(self, values: np.ndarray, count: int) -> np.ndarray:
        """Return the bytes, shuffled."""
        raw = super().lay(values, count)
        if self.kind.itemsize == 2:
            return split_bytes(raw.view("<u2"), rotated=self.rotated).reshape(-1)
        if self.rotated:
            raw = rotate_left(raw.view(self.kind)).view(np.uint8)
        return np.frombuffer(Shuffle(self.kind.itemsize).encode(raw), np.uint8)

    def pack(self, laid: np.ndarray, parts: Sequence[int] = ()) -> bytes:
        """Return the bytes of a whole chunk; where a plane of floats ends, a block of the frame does."""
        plane = laid.size // self.kind.itemsize
        if self.rotated and plane % BLOCK_BYTES and laid.size > BLOCK_BYTES:
            parts = [plane] * self.kind.itemsize
        return super().pack(laid, parts)

    def values(self, laid: np.ndarray) -> np.ndarray:
        """Undo `lay`."""
        if self.kind.itemsize == 2:
            return join_bytes(laid.reshape(2, -1), rotated=self.rotated).view(self.kind)
        words = np.frombuffer(Shuffle(self.kind.itemsize).decode(laid), self.kind)
        if self.rotated:
            rotate_right(words)
        return words

    def decode_into(self, raw: Buffer, count: int, out: np.ndarray) -> None:
        """Fill `out` without a copy in between where values have two bytes."""
        if self.kind.itemsize == 2:
            planes = self.unpack(raw, count).reshape(2, -1)[:, : out.size]
            join_bytes(planes, out.view(np.uint16), rotated=self.rotated)
        else:
            super().decode_into(raw, count, out.view(self.kind))

    def lay_codes(self, codes: np.ndarray, _values: Callable[[], np.ndarray], count: int, /) -> np.ndarray:
        """Return the codes, biased and shuffled; a whole chunk of codes -128..127 is that already."""
        if self.kind.itemsize == 4:
            plain = signed(codes).astype(np.int32, copy=False)
            return self.lay(plain.view(np.uint32) + np.uint32(BIAS32), count)
        codes = narrow(codes)
        if codes.dtype != np.uint8:
            return self.lay(codes, count)
        return codes.reshape(-1) if codes.shape[1] == count else self.lay(join_bytes(codes), count)

    def codes(self, raw: Buffer, count: int, size: int) -> np.ndarray:
        """Return 16-bit codes as their bytes, others plain."""
        if self.kind.itemsize == 4:
            return (self.decode(raw, count)[:size] - np.uint32(BIAS32)).view(np.int32)
        return self.unpack(raw, count).reshape(2, -1)[:, :size]


class ShuffleZstd(Coding):
    """Fast to build and to read."""

    name: ClassVar[str] = "zstd"
    summary: ClassVar[str] = "integer codes, byte shuffle, Zstandard; the default"

    def lossless(self, dtype: DType) -> Chain:
        """Return a chain that shuffles what has more than one byte."""
        kind = dtype.carrier
        if kind.itemsize == 1:
            return Chain(kind=kind, serializer=little_endian(kind), compressors=(zstd(1, checksum=True),))
        if self.rotates(dtype):
            return _shuffled(np.dtype(f"<u{kind.itemsize}"), rotated=True)
        return _shuffled(kind)

    def rounded(self, _bits: int | None, /, *, wide: bool) -> Chain:
        """Return a chain of biased codes; the step does not matter to it."""
        return _shuffled(np.dtype("<u4"), BIAS32) if wide else _shuffled(np.dtype("<u2"), BIAS16)


def _shuffled(kind: np.dtype[np.generic], bias: int = 0, *, rotated: bool = False) -> ShuffleChain:
    shuffle = {"name": "numcodecs.shuffle", "configuration": {"elementsize": kind.itemsize}}
    return ShuffleChain(
        kind=kind,
        serializer=little_endian(kind),
        compressors=(shuffle, zstd(1, checksum=True)),
        bias=bias,
        rotated=rotated,
    )
