"""Undo a chain's packing of one chunk, never allocating more than the chunk is known to hold.

Zarr reads the same chunks, but lets the compressed bytes say how much memory to take: a forged megabyte can ask
for a terabyte. Here the size comes from the manifest, which has been checked, and a chunk that disagrees is refused.
"""

from __future__ import annotations

import numpy as np
from numcodecs import Shuffle

from iwsltpack.codecs.chains import Chain, unpack
from iwsltpack.codecs.frames import Buffer, unpack_frame
from iwsltpack.codecs.rounding import values_of_planes


def decode_chunk(chain: Chain, raw: Buffer, count: int) -> np.ndarray:
    """Return the `count` values packed in `raw`, flat, in ``chain.packed``.

    Raises
    ------
    ValueError, RuntimeError
        Damaged, or of another type or number of values.
    """
    if chain.is_pcodec:
        return _pcodec(raw, np.empty(count, chain.packed))
    plain = plain_of(chain, raw, count)
    if not chain.is_shuffled:
        return plain.view(chain.packed)
    if chain.packed.itemsize == 2:
        words = np.empty(count, np.uint16)
        low, high = plain.reshape(2, -1)
        _join(low, high, words)
        return words.view(chain.packed)
    return np.frombuffer(Shuffle(chain.packed.itemsize).decode(plain), chain.packed)


def decode_weights(chain: Chain, bits: int | None, raw: Buffer, count: int, out: np.ndarray) -> None:
    """Fill `out` with the first values of a tensor that are packed in `raw`.

    The same as `unpack` makes of `decode_chunk`, with fewer copies.

    Parameters
    ----------
    chain, bits
        As for `unpack`.
    raw, count
        As for `decode_chunk`.
    out
        Flat, contiguous, of the type `unpack` returns, at most `count` values: the end of a chunk may be padding.

    Raises
    ------
    ValueError, RuntimeError
        As `decode_chunk`.
    """
    if chain.is_pcodec and bits is None and out.size == count:
        _pcodec(raw, out)
    elif chain.is_shuffled and chain.packed.itemsize == 2:
        low, high = plain_of(chain, raw, count).reshape(2, -1)[:, : out.size]
        if bits is None:
            _join(low, high, out.view(np.uint16))
        else:
            values_of_planes(low, high, bits, out)
    else:
        out[:] = unpack(chain, bits, decode_chunk(chain, raw, count)[: out.size])


def plain_of(chain: Chain, raw: Buffer, count: int) -> np.ndarray:
    """Return a chunk of `count` values as it lay before Zstandard, flat uint8; not for pcodec.

    Raises
    ------
    ValueError, RuntimeError
        As `decode_chunk`.
    """
    size = count * chain.packed.itemsize
    if chain.compressors:
        return unpack_frame(raw, size)
    if len(raw) != size:
        raise ValueError(f"holds {len(raw)} bytes instead of {size}")
    return np.frombuffer(raw, np.uint8)


def _join(low: np.ndarray, high: np.ndarray, words: np.ndarray) -> None:
    """Fill `words` from their low and high bytes.

    Nearly all bytes of a model come this way. numcodecs' loop holds the interpreter's lock, numpy's do not.
    """
    words[:] = high
    words <<= 8
    words |= low


def _pcodec(raw: Buffer, result: np.ndarray) -> np.ndarray:
    from pcodec import standalone

    progress = standalone.simple_decompress_into(bytes(raw), result)
    if progress.n_processed != result.size or not progress.finished:
        raise ValueError(f"does not hold {result.size} values")
    return result
