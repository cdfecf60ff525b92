"""Pack one chunk as the chain in its array's ``zarr.json`` says, so that zarr-python reads it.

Zarr's own pipeline packs the same values, but copies them several times on the way and, through numcodecs' shuffle,
holds the interpreter's lock; a build is mostly this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numcodecs import Shuffle

from iwsltpack.codecs.frames import pack_frame

if TYPE_CHECKING:
    from iwsltpack.codecs.chains import Chain

SPLIT_BLOCK = 1 << 18
"""Values taken apart at a time: what numpy makes on the way stays in cache."""


def encode_chunk(chain: Chain, values: np.ndarray, shape: tuple[int, ...]) -> bytes:
    """Return the bytes of one chunk.

    Parameters
    ----------
    chain
        The array's.
    values
        In ``chain.packed``, that is after the chain's filters; at most as many rows as a chunk has.
    shape
        Of a whole chunk. Zarr stores whole chunks only: missing rows are filled with zeros.
    """
    if not chain.is_pcodec:
        return pack_plain(chain, plain_bytes(chain, values, shape))
    from numcodecs.pcodec import PCodec

    whole = np.ascontiguousarray(_padded(chain, values, shape))
    return bytes(PCodec(**chain.serializer["configuration"]).encode(whole))


def plain_bytes(chain: Chain, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return one chunk as it lies before Zstandard, flat uint8; parameters as for `encode_chunk`. Not for pcodec."""
    raw = np.ascontiguousarray(_padded(chain, values, shape)).reshape(-1).view(np.uint8)
    return _shuffled(raw, chain.packed.itemsize) if chain.is_shuffled else raw


def pack_plain(chain: Chain, plain: np.ndarray) -> bytes:
    """Return the bytes of one chunk that lies as `plain_bytes` gives it."""
    return (
        pack_frame(plain, **chain.compressors[-1]["configuration"]) if chain.compressors else plain.tobytes()
    )


def _padded(chain: Chain, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if values.shape == shape:
        return values
    whole = np.zeros(shape, dtype=chain.packed)
    whole[: len(values)] = values
    return whole


def _shuffled(raw: np.ndarray, itemsize: int) -> np.ndarray:
    """Return all first bytes of the values, then all second bytes, and so on."""
    if itemsize != 2:
        return np.frombuffer(Shuffle(itemsize).encode(raw), np.uint8)
    # Nearly all bytes of a model go this way; numpy's loops, unlike numcodecs', let other threads run.
    words = raw.view("<u2")
    planes = np.empty((2, words.size), np.uint8)
    for start in range(0, words.size, SPLIT_BLOCK):
        block = slice(start, start + SPLIT_BLOCK)
        planes[0, block] = words[block].astype(np.uint8)
        planes[1, block] = words[block] >> np.uint16(8)
    return planes.reshape(-1)
