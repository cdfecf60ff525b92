"""How often each code occurs in a tensor, and the entropy that makes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from iwsltpack.codecs.classes import Classes
from iwsltpack.codecs.codes import BIAS16, SHORT

COUNT_BLOCK = 1 << 19
"""Codes counted at a time: numpy makes 64-bit copies of what it counts, and a fresh table for each block."""


def _table() -> np.ndarray:
    return np.zeros(1 << 16, dtype=np.int64)


@dataclass
class CodeCounts:
    """How often each code occurs in a tensor.

    Attributes
    ----------
    narrow
        By biased 16-bit code.
    pairs
        By the low bytes of two codes -128..127 in a row: half as many to count.
    wide
        By plain 32-bit code.
    """

    narrow: np.ndarray = field(default_factory=_table)
    pairs: np.ndarray = field(default_factory=_table)
    wide: dict[int, int] = field(default_factory=dict)

    def add(self, codes: np.ndarray) -> None:
        """Count the codes of one block, in any integer form; those given by their bytes are all -128..127."""
        if codes.dtype == np.int32:
            for code, count in zip(*np.unique(codes, return_counts=True), strict=True):
                self.wide[int(code)] = self.wide.get(int(code), 0) + int(count)
            return
        flat, table = (codes[0], self.pairs) if codes.dtype == np.uint8 else (codes, self.narrow)
        if codes.dtype == np.uint8 and flat.size % 2:
            self.narrow[int(flat[-1]) | SHORT << 8] += 1
            flat = flat[:-1]
        words = flat.view(np.uint16)
        for start in range(0, words.size, COUNT_BLOCK):
            table += np.bincount(words[start : start + COUNT_BLOCK], minlength=1 << 16)

    def entropy(self) -> float:
        """Return the Shannon entropy, bits a code; 0 for no codes at all."""
        return entropy([self])

    def merged(self) -> np.ndarray:
        """Return how often each code that occurs does, in no order that matters."""
        narrow, pairs = self.narrow.copy(), self.pairs.reshape(256, 256)
        narrow[SHORT << 8 : (SHORT + 1) << 8] += pairs.sum(axis=0) + pairs.sum(axis=1)
        merged = dict(self.wide)
        for index in np.flatnonzero(narrow):
            merged[int(index) - BIAS16] = merged.get(int(index) - BIAS16, 0) + int(narrow[index])
        return np.array(list(merged.values()), dtype=np.float64)


def entropy(classes: Iterable[CodeCounts]) -> float:
    """Return the Shannon entropy of codes given their class, bits a code; 0 for no codes at all."""
    counted = [counts.merged() for counts in classes]
    total = max(sum(float(counts.sum()) for counts in counted), 1.0)
    return round(
        float(sum(counts.sum() / total * _entropy(counts / max(counts.sum(), 1)) for counts in counted)), 6
    )


def class_entropy(codes: np.ndarray, chunk: int) -> float:
    """Return the Shannon entropy of a matrix's codes given their class, bits a code, in chunks of so many codes."""
    classes = Classes.of_blocks([codes], codes.shape, chunk)
    order = classes.order(0, len(codes))
    counted = []
    for part in np.split(order.lay(codes.reshape(-1).astype(np.int32)), np.cumsum(order.sizes)[:-1]):
        counted.append(CodeCounts())
        counted[-1].add(part)
    return entropy(counted)


def _entropy(shares: np.ndarray) -> float:
    return abs(float(np.sum(shares * np.log2(shares))))
