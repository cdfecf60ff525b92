"""Integer codes, signed -> pcodec level 8."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numcodecs.pcodec import PCodec
from pcodec import ChunkConfig, PagingSpec, standalone

from iwsltpack.codecs.chain import Chain, Coding, Json
from iwsltpack.codecs.codes import narrow, rotate_left, rotate_right, signed
from iwsltpack.codecs.dtypes import DType
from iwsltpack.codecs.frames import Buffer
from iwsltpack.codecs.shuffle_zstd import ShuffleZstd

_STAGE: Json = {"name": "numcodecs.pcodec", "configuration": {"level": 8}}
_KINDS = ("uint16", "uint32", "uint64", "int16", "int32", "int64", "float16", "float32", "float64")


@dataclass(frozen=True, kw_only=True)
class PcodecChain(Chain):
    """Numbers as pcodec packs them."""

    serializer: Json = field(default_factory=lambda: _STAGE)

    def scaling(self, step: float, /) -> Json:
        """Return the step; codes are stored as they are."""
        return {"scale_factor": step, "add_offset": 0.0}

    def lay(self, values: np.ndarray, count: int) -> np.ndarray:
        """Return the values of a whole chunk."""
        words = super().lay(values, count).view(self.kind)
        return rotate_left(words) if self.rotated else words

    def values(self, laid: np.ndarray) -> np.ndarray:
        """Undo `lay`."""
        if self.rotated:
            rotate_right(laid)
        return laid

    def pack(self, laid: np.ndarray, parts: Sequence[int] = ()) -> bytes:
        """Return them packed, each part by bins of its own."""
        if not parts:
            return bytes(PCodec(**_STAGE["configuration"]).encode(laid))
        pages = PagingSpec.exact_page_sizes([size for size in parts if size])
        config = ChunkConfig(compression_level=_STAGE["configuration"]["level"], paging_spec=pages)
        return bytes(standalone.simple_compress(laid, config))

    def unpack(self, raw: Buffer, count: int) -> np.ndarray:
        """Undo `pack`."""
        result = np.empty(count, self.kind)
        _decompress(raw, result)
        return result

    def decode_into(self, raw: Buffer, count: int, out: np.ndarray) -> None:
        """Fill `out` without a copy in between where it takes a whole chunk."""
        if out.size == count:
            _decompress(raw, out.view(self.kind))
            self.values(out.view(self.kind))
        else:
            super().decode_into(raw, count, out.view(self.kind))

    def lay_codes(self, codes: np.ndarray, _values: Callable[[], np.ndarray], count: int, /) -> np.ndarray:
        """Return the codes, signed."""
        plain = signed(codes if self.kind.itemsize == 4 else narrow(codes))
        return self.lay(plain.astype(self.kind, copy=False), count)


class Pcodec(Coding):
    """The smallest, slowest to build."""

    name: ClassVar[str] = "pcodec"
    summary: ClassVar[str] = "integer codes, pcodec; the smallest, slower to build"

    def lossless(self, dtype: DType) -> Chain:
        """Return a chain of numbers; what pcodec has no type for goes through Zstandard."""
        if dtype.carrier.name not in _KINDS:
            return ShuffleZstd(self.format_version).lossless(dtype)
        if self.rotates(dtype):
            return PcodecChain(kind=np.dtype(f"<u{dtype.carrier.itemsize}"), rotated=True)
        return PcodecChain(kind=dtype.carrier)

    def rounded(self, _bits: int | None, /, *, wide: bool) -> Chain:
        """Return a chain of signed codes; the step does not matter to it."""
        return PcodecChain(kind=np.dtype("<i4" if wide else "<i2"))


def _decompress(raw: Buffer, result: np.ndarray) -> None:
    progress = standalone.simple_decompress_into(bytes(raw), result)
    if progress.n_processed != result.size or not progress.finished:
        raise ValueError(f"does not hold {result.size} values")
