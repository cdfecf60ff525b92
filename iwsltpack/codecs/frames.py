"""Zstandard frames: written with a search that fits weights, read by any decoder.

Shuffled weights are a plane of bytes that hardly repeat beside one that hardly varies. What level 1 finds in the first
are matches of a few bytes by chance, which cost more than the bytes themselves. With a table of 64 places instead of
16,384 it soon stops looking, and leaves the plane to Huffman's code: two to three times the speed, and 2 to 6 % fewer
bytes (docs/measurements.md). The format leaves the search to the writer, so ``zarr.json`` still says level 1.
"""

from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import zstandard
from numcodecs import Zstd

Buffer = bytes | bytearray | memoryview
_SEARCHED_LEVEL = 1
_TABLE_LOG = 6
_DESCRIPTOR, _HAS_CHECKSUM, _CHECKSUM_BYTES, _SHORTEST = 4, 1 << 2, 4, 13
"""Of a frame (RFC 8878, 3.1.1): where its header says what it has, the bit of the checksum, which is at its end."""
BLOCK_BYTES = 1 << 17
"""Zstandard codes so many bytes at a time; what borders there are within them, a writer tells it by a flush."""


def pack_frame(raw: np.ndarray, *, level: int, checksum: bool, ends: Iterable[int] = ()) -> bytes:
    """Pack bytes, uint8 and flat, as one frame that says how many it holds, and ends with a checksum or not.

    Level 1 searches as the module's text says, others as Zstandard itself does. At `ends` blocks of `raw` end: what
    follows gets a code of its own.
    """
    if level != _SEARCHED_LEVEL:
        return bytes(Zstd(level=level, checksum=checksum).encode(raw))
    # A compressor serves one thread at a time; with so small a table a new one costs microseconds.
    cuts = sorted({0, *ends, raw.size})[:-1]
    packer = zstandard.ZstdCompressor(compression_params=_parameters(checksum, cut=len(cuts) > 1))
    if not cuts[1:]:
        return packer.compress(raw.data)
    # Room for all of it: what is packed is copied once, and not each time that a smaller room is full.
    stream, blocks = packer.chunker(size=raw.size, chunk_size=raw.size), list[bytes]()
    for start, end in pairwise([*cuts, raw.size]):
        blocks += [*stream.compress(raw.data[start:end]), *stream.flush()]  # type: ignore[no-untyped-call]
    return b"".join([*blocks, *stream.finish()])  # type: ignore[no-untyped-call]


@cache
def _parameters(checksum: bool, cut: bool) -> zstandard.ZstdCompressionParameters:
    settings: dict[str, Any] = {
        "strategy": zstandard.STRATEGY_FAST,
        "min_match": 7,
        "hash_log": _TABLE_LOG,
        "write_checksum": checksum,
        "write_content_size": True,
    }
    if cut:  # a stream copies what it packs through its window, which stays in cache if it is one block
        settings["window_log"] = BLOCK_BYTES.bit_length() - 1
    return zstandard.ZstdCompressionParameters.from_level(_SEARCHED_LEVEL, **settings)


def unpack_frame(frame: Buffer, size: int) -> np.ndarray:
    """Unpack a frame that holds `size` bytes, at least one; no more memory than that is taken, whatever the frame says.

    The bytes are uint8, flat, nobody else's. ValueError, RuntimeError: they are damaged, or of another size.
    """
    if (declared := content_size(frame)) != size:
        raise ValueError(f"holds {declared} bytes instead of {size}")
    plain = np.empty(size, np.uint8)
    Zstd().decode(frame, plain)
    return plain


def without_checksum(frame: memoryview) -> memoryview:
    """Return a frame less its own checksum, which costs a sixth of unpacking it, for one that was held against another.

    The header is changed where it lies: the memory is writable and nobody else's. Bytes that are no frame stay none.
    """
    if len(frame) < _SHORTEST or not frame[_DESCRIPTOR] & _HAS_CHECKSUM:
        return frame
    frame[_DESCRIPTOR] ^= _HAS_CHECKSUM
    return frame[:-_CHECKSUM_BYTES]


def content_size(frame: Buffer) -> int | None:
    """Return how many bytes a Zstandard frame says it unpacks to; None where it does not say, or is none."""
    try:
        size = zstandard.frame_content_size(frame)
    except zstandard.ZstdError:
        return None
    return None if size < 0 else size
