"""One chunk on its way into an artifact: rounded, counted, packed, and compared when it is read back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from iwsltpack.building.code_counts import CodeCounts
from iwsltpack.codecs.chains import pack_codes, unpack
from iwsltpack.codecs.decoding import decode_chunk, plain_of
from iwsltpack.codecs.encoding import encode_chunk, pack_plain, plain_bytes
from iwsltpack.codecs.rounding import SHORT, Rounder

if TYPE_CHECKING:
    from collections.abc import Callable

    from iwsltpack.codecs.chains import Chain


class TooWide(Exception):
    """A code does not fit 16 bits: the tensor is packed again with 32."""


@dataclass(frozen=True)
class PackedChunk:
    """A chunk's bytes.

    Attributes
    ----------
    data
        For its file.
    matches
        Whether bytes read back from there stand for the same, bit by bit.
    """

    data: bytes
    matches: Callable[[memoryview], bool]


class ChunkPacker:
    """Packs the chunks of one tensor.

    Parameters
    ----------
    chain
        The tensor's.
    shape
        Of a whole chunk; the last of a tensor may be handed in with fewer rows.
    bits, dtype
        Rounding step 2^-bits, None for a lossless tensor; type of the source.

    Attributes
    ----------
    counts
        Of the codes packed so far.
    """

    def __init__(self, chain: Chain, shape: tuple[int, ...], bits: int | None, dtype: str) -> None:
        self._chain, self._shape, self._bits = chain, shape, bits
        self._rounder = None if bits is None else Rounder(bits, dtype)
        self.counts = CodeCounts()

    def pack(self, block: np.ndarray) -> PackedChunk:
        """Round and pack one block of the source.

        What is compared in the end is, for rounded tensors, numcodecs' own result: its values, or the codes that were
        held against them pattern by pattern.

        Raises
        ------
        InputError
            A weight to be rounded is not finite or too large; its flat index is told.
        TooWide
            The chain is too narrow for a code.
        """
        plain = self._short(block)
        if plain is not None:
            return self._with_plain(plain)
        stored = block if self._rounder is None else self._round(self._rounder, block)
        if self._rounder is not None and not self._codes_suffice(self._rounder):
            return self._with_values(stored, self._rounder.values(block))
        if self._chain.is_pcodec:
            return self._with_values(stored, None)
        return self._with_plain(plain_bytes(self._chain, stored, self._shape))

    def _short(self, block: np.ndarray) -> np.ndarray | None:
        """Return what lies before Zstandard of a chunk of codes -128..127, as most are; no codes are made first."""
        chain = self._chain
        if self._rounder is None or not (chain.is_shuffled and chain.bias) or chain.wide:
            return None
        if block.shape != self._shape:  # the missing rows are padding, which has no code
            return None
        planes = np.empty((2, block.size), np.uint8)
        if not self._rounder.short_codes(block, planes[0]):
            return None
        planes[1] = SHORT
        self.counts.add_short(planes[0])
        return planes.reshape(-1)

    def _round(self, rounder: Rounder, block: np.ndarray) -> np.ndarray:
        """Return what a chunk holds of `block`; count its codes."""
        codes: np.ndarray | None = None if self._chain.wide else rounder.codes16(block)
        if codes is None:
            codes = rounder.codes32(block)
            if self._chain.holds_codes and not self._chain.wide:
                raise TooWide
        self.counts.add(codes)
        return pack_codes(self._chain, codes) if self._chain.holds_codes else rounder.signed_values(block)

    def _codes_suffice(self, rounder: Rounder) -> bool:
        """Tell whether equal codes mean equal weights, because each code was held against its weight before."""
        return rounder.exact_codes and self._chain.holds_codes and not self._chain.wide

    def _with_plain(self, plain: np.ndarray) -> PackedChunk:
        """Pack what lies before Zstandard, and compare that."""
        count = math.prod(self._shape)
        return PackedChunk(
            pack_plain(self._chain, plain),
            lambda raw: _same_bytes(plain_of(self._chain, raw, count), plain),
        )

    def _with_values(self, stored: np.ndarray, values: np.ndarray | None) -> PackedChunk:
        """Pack what a chunk holds, and compare the weights it stands for, or itself where `values` is None."""

        def matches(raw: memoryview) -> bool:
            decoded = decode_chunk(self._chain, raw, math.prod(self._shape)).reshape(self._shape)
            read, expected = decoded[: len(stored)] if self._shape else decoded, stored
            if values is not None:
                read, expected = unpack(self._chain, self._bits, read), values
            unsigned = np.dtype(f"u{expected.dtype.itemsize}")
            return read.dtype == expected.dtype and bool(
                np.array_equal(read.view(unsigned), expected.view(unsigned))
            )

        return PackedChunk(encode_chunk(self._chain, stored, self._shape), matches)


def _same_bytes(one: np.ndarray, other: np.ndarray) -> bool:
    """Compare two flat uint8 arrays, eight bytes at a time: numpy makes an array of the answers."""
    if one.size != other.size:
        return False
    words = one.size // 8 * 8
    return np.array_equal(one[words:], other[words:]) and np.array_equal(
        one[:words].view(np.uint64), other[:words].view(np.uint64)
    )
