"""One chunk on its way into an artifact: quantized, counted, packed, and compared when it is read back."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Lock
from typing import TypeVar

import numpy as np

from iwsltpack.codecs.chain import Chain
from iwsltpack.codecs.classes import Classes
from iwsltpack.codecs.codes import BIAS16, SHORT, TooWide
from iwsltpack.documents.artifact import File, Tensor
from iwsltpack.quantizers.quantizer import Quantizer

T = TypeVar("T")
COUNT_BLOCK = 1 << 19
"""Codes counted at a time: numpy makes 64-bit copies of what it counts, and a fresh table for each block."""
_table = partial(np.zeros, 1 << 16, np.int64)
_TABLES = Lock()
"""Held while tables change: chunks of one tensor are counted by several threads."""


def as_narrow_as_can_be(entry: Tensor, work: Callable[[Tensor], T]) -> T:
    """Pack a tensor by narrow codes, and all over again by wide ones where one of its codes needs them."""
    try:
        return work(entry)
    except TooWide:
        return work(replace(entry, wide=True))


@dataclass
class CodeCounts:
    """How often each code occurs in a tensor: `narrow` by biased 16-bit code, `wide` by plain 32-bit code.

    And `pairs` by the low bytes of two codes -128..127 in a row: half as many to count.
    """

    narrow: np.ndarray = field(default_factory=_table)
    pairs: np.ndarray = field(default_factory=_table)
    wide: Counter[int] = field(default_factory=Counter)

    def add(self, codes: np.ndarray) -> None:
        """Count the codes of one block, in any integer form; those given by their bytes are all -128..127."""
        if codes.dtype == np.int32:
            found, counts = np.unique(codes, return_counts=True)
            with _TABLES:
                self.wide.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
            return
        flat, table = (codes[0], self.pairs) if codes.dtype == np.uint8 else (codes, self.narrow)
        alone = flat[flat.size // 2 * 2 :] if codes.dtype == np.uint8 else flat[:0]
        words = flat[: flat.size - alone.size].view(np.uint16)
        blocks = (words[start : start + COUNT_BLOCK] for start in range(0, words.size, COUNT_BLOCK))
        counted = sum(np.bincount(block, minlength=1 << 16) for block in blocks)
        with _TABLES:
            table += counted
            self.narrow[alone.astype(np.uint16) | SHORT << 8] += 1

    def merged(self) -> np.ndarray:
        """Return how often each code that occurs does, in no order that matters."""
        narrow, pairs = self.narrow.copy(), self.pairs.reshape(256, 256)
        narrow[SHORT << 8 : (SHORT + 1) << 8] += pairs.sum(axis=0) + pairs.sum(axis=1)
        merged = self.wide.copy()
        merged.update({index - BIAS16: int(narrow[index]) for index in np.flatnonzero(narrow).tolist()})
        return np.array(list(merged.values()), dtype=np.float64)


def entropy(classes: Iterable[CodeCounts]) -> float:
    """Return the Shannon entropy of codes given their class, bits a code; 0 for no codes at all."""
    counted = [counts.merged() for counts in classes]
    total = max(sum(float(counts.sum()) for counts in counted), 1.0)
    bits = 0.0
    for counts in counted:
        shares = counts / max(counts.sum(), 1)
        bits += float(counts.sum() / total * abs(np.sum(shares * np.log2(shares))))
    return round(bits, 6)


def class_entropy(codes: np.ndarray, chunk: int) -> float:
    """Return the Shannon entropy of a matrix's codes given their class, bits a code, in chunks of so many codes."""
    classes = Classes.of_blocks([codes], codes.shape, chunk)
    order = classes.order(0, len(codes))
    counted = []
    for part in np.split(order.lay(codes.reshape(-1).astype(np.int32)), np.cumsum(order.sizes)[:-1]):
        counted.append(CodeCounts())
        counted[-1].add(part)
    return entropy(counted)


@dataclass(frozen=True)
class PackedChunk:
    """A chunk's bytes for its file, and what was packed into them by which chain."""

    data: bytes
    chain: Chain
    laid: np.ndarray

    @property
    def count(self) -> int:
        """Number of values."""
        return self.laid.nbytes // self.chain.packed.itemsize

    def matches(self, raw: memoryview) -> bool:
        """Tell whether bytes read back from the file stand for the same, bit by bit.

        ValueError, RuntimeError: they are so damaged that they cannot be unpacked.
        """
        found = self.chain.unpack(raw, self.count).view(np.uint8)
        laid = self.laid.view(np.uint8)
        # Eight bytes at a time: numpy makes an array of the answers.
        words = laid.size // 8 * 8
        return np.array_equal(found[words:], laid[words:]) and np.array_equal(
            found[:words].view(np.uint64), laid[:words].view(np.uint64)
        )


@dataclass(frozen=True)
class ChunkPacker:
    """Packs the chunks of one tensor; one without a quantizer is kept bit for bit.

    A whole chunk has `count` values; the last of a tensor may be handed in with fewer rows. Classes are those of the
    entries of a matrix whose codes lie class by class; the codes packed so far are counted for each.
    """

    chain: Chain
    count: int
    quantizer: Quantizer | None
    classes: Classes | None = None
    counts: dict[int, CodeCounts] = field(default_factory=lambda: defaultdict(CodeCounts))

    def described(self, entry: Tensor, files: Iterable[File]) -> Tensor:
        """Return a tensor's entry in the manifest once all of its chunks are packed, into some of its `files`."""
        bits = None if self.quantizer is None else entropy(self.counts.values())
        return replace(entry, entropy_bits=bits, bytes=sum(file.bytes for file in files))

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
                with _TABLES:
                    counts = self.counts[number]
                counts.add(codes[..., end - parts[number] : end])
        padded = [*parts, self.count - block.size] if len(parts) > 1 else ()
        return PackedChunk(self.chain.pack(laid, padded), self.chain, laid)
