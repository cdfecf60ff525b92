"""Undo a chain's packing of one chunk, never allocating more than the chunk is known to hold.

Zarr reads the same chunks, but lets the compressed bytes say how much memory to take: a forged megabyte can ask
for a terabyte. Here the size comes from the manifest, which has been checked, and a chunk that disagrees is refused.
"""

from __future__ import annotations

import numpy as np
from numcodecs import Shuffle, Zstd

from iwsltpack.codecs.chains import Chain

_MAGIC = b"\x28\xb5\x2f\xfd"


def decode_chunk(chain: Chain, raw: bytes, count: int) -> np.ndarray:
    """Return the `count` values packed in `raw`, flat, in ``chain.packed``.

    Raises
    ------
    ValueError, RuntimeError
        Damaged, or of another type or number of values.
    """
    if chain.is_pcodec:
        return _pcodec(raw, np.empty(count, chain.packed))
    size = count * chain.packed.itemsize
    if chain.compressors:
        if (declared := content_size(raw)) != size:
            raise ValueError(f"holds {declared} bytes instead of {size}")
        raw = Zstd().decode(raw)
    if len(raw) != size:
        raise ValueError(f"holds {len(raw)} bytes instead of {size}")
    if chain.is_shuffled:
        return _unshuffled(np.frombuffer(raw, np.uint8), chain.packed)
    return np.frombuffer(raw, chain.packed)


def _unshuffled(raw: np.ndarray, kind: np.dtype[np.generic]) -> np.ndarray:
    if kind.itemsize != 2:
        return np.frombuffer(Shuffle(kind.itemsize).decode(raw), kind)
    # Nearly all bytes of a model come this way. numcodecs' loop holds the interpreter's lock, numpy's do not.
    low, high = raw.reshape(2, -1)
    result = high.astype("<u2")
    result <<= 8
    result |= low
    return result.view(kind)


def _pcodec(raw: bytes, result: np.ndarray) -> np.ndarray:
    from pcodec import standalone

    progress = standalone.simple_decompress_into(raw, result)
    if progress.n_processed != result.size or not progress.finished:
        raise ValueError(f"does not hold {result.size} values")
    return result


def content_size(frame: bytes) -> int | None:
    """Return how many bytes a Zstandard frame says it unpacks to; None where it does not say, or is none.

    Source: RFC 8878, section 3.1.1.1.
    """
    if len(frame) < 5 or frame[:4] != _MAGIC:
        return None
    descriptor = frame[4]
    single_segment = bool(descriptor & 0x20)
    width = (1 if single_segment else 0, 2, 4, 8)[descriptor >> 6]
    start = 5 + (not single_segment) + (0, 1, 2, 4)[descriptor & 3]
    if not width or len(frame) < start + width:
        return None
    return int.from_bytes(frame[start : start + width], "little") + (256 if width == 2 else 0)
