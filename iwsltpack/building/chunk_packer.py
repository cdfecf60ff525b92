"""One chunk on its way into an artifact: quantized, counted, packed, and compared when it is read back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from iwsltpack.building.code_counts import CodeCounts, entropy
from iwsltpack.codecs.chain import Chain
from iwsltpack.codecs.classes import Classes
from iwsltpack.codecs.codes import TooWide
from iwsltpack.documents.artifact import Tensor
from iwsltpack.quantizers.quantizer import Quantizer

T = TypeVar("T")


def as_narrow_as_can_be(entry: Tensor, work: Callable[[Tensor], T]) -> T:
    """Pack a tensor by narrow codes, and all over again by wide ones where one of its codes needs them."""
    try:
        return work(entry)
    except TooWide:
        return work(replace(entry, wide=True))


@dataclass(frozen=True)
class PackedChunk:
    """A chunk's bytes for its file, and what was packed into them by which chain."""

    data: bytes
    chain: Chain
    laid: np.ndarray

    def matches(self, raw: memoryview) -> bool:
        """Tell whether bytes read back from the file stand for the same, bit by bit.

        ValueError, RuntimeError: they are so damaged that they cannot be unpacked.
        """
        found = self.chain.unpack(raw, self.laid.nbytes // self.chain.packed.itemsize).view(np.uint8)
        laid = self.laid.view(np.uint8)
        # Eight bytes at a time: numpy makes an array of the answers.
        words = laid.size // 8 * 8
        return np.array_equal(found[words:], laid[words:]) and np.array_equal(
            found[:words].view(np.uint64), laid[:words].view(np.uint64)
        )


@dataclass(frozen=True)
class ChunkPacker:
    """Packs the chunks of one tensor.

    Attributes
    ----------
    chain
        The tensor's.
    count
        Values in a whole chunk; the last of a tensor may be handed in with fewer rows.
    quantizer
        The tensor's, None for one that is kept bit for bit.
    classes
        Of the entries of a matrix whose codes lie class by class.
    counts
        Of the codes packed so far, one for each class.
    """

    chain: Chain
    count: int
    quantizer: Quantizer | None
    classes: Classes | None = None
    counts: dict[int, CodeCounts] = field(default_factory=lambda: defaultdict(CodeCounts))

    def entropy(self) -> float:
        """Return the Shannon entropy of the codes packed so far, given their class, bits a code."""
        return entropy(self.counts.values())

    def pack(self, block: np.ndarray, first: int) -> PackedChunk:
        """Pack the rows of the source that begin at row `first`.

        The quantizer has proven its codes, so that what is laid out of them is all there is to compare in the end.

        InputError: a weight cannot be quantized; its flat index is told. TooWide: the chain is too
        narrow for a code.
        """
        if (quantizer := self.quantizer) is None:
            laid = self.chain.lay(block, self.count)
            return PackedChunk(self.chain.pack(laid), self.chain, laid)
        codes, parts = quantizer.codes(block, first), [block.size]
        if self.classes is not None:
            order = self.classes.order(first, first + len(block))
            codes, parts = order.lay(codes), order.sizes
        laid = self.chain.lay_codes(codes, lambda: quantizer.values(block, first), self.count)
        for number, end in enumerate(np.cumsum(parts)):
            if parts[number]:
                self.counts[number].add(codes[..., end - parts[number] : end])
        if len(parts) == 1:
            return PackedChunk(self.chain.pack(laid), self.chain, laid)
        return PackedChunk(self.chain.pack(laid, [*parts, self.count - block.size]), self.chain, laid)
