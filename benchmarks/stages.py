"""Time of each stage of packing, checking and reading one chunk of 2^22 Gaussian weights, q2 and lossless, `zstd`.

One thread: python -m benchmarks.stages
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numcodecs import Zstd

from iwsltpack.building.code_counts import CodeCounts
from iwsltpack.codecs.chains import Chain, coding
from iwsltpack.codecs.decoding import decode_chunk, decode_weights
from iwsltpack.codecs.dtypes import by_name
from iwsltpack.codecs.encoding import encode_chunk
from iwsltpack.codecs.frames import pack_frame, unpack_frame
from iwsltpack.codecs.rounding import Rounder

COUNT = 1 << 22
REPEATS = 8


def timed(label: str, action: Callable[[], Any]) -> Any:
    """Run once to warm up, then print the mean time; return the result."""
    result = action()
    started = time.perf_counter()
    for _ in range(REPEATS):
        action()
    print(f"{label:32} {(time.perf_counter() - started) / REPEATS * 1e3:7.2f} ms")
    return result


def pack(label: str, chain: Chain, bits: int | None, values: np.ndarray) -> None:
    """Time what every chunk goes through when it is built, and when it is read."""
    raw = timed(f"{label}: shuffle, Zstandard", lambda: encode_chunk(chain, values, values.shape))
    plain = unpack_frame(raw, values.nbytes)
    packed = timed(
        f"{label}: Zstandard, its own search", lambda: bytes(Zstd(level=1, checksum=True).encode(plain))
    )
    timed(f"{label}: Zstandard, ours", lambda: pack_frame(plain, level=1, checksum=True))
    print(f"{label + ': bytes, its own and ours':32} {len(packed):>10,} {len(raw):>10,}")
    timed(f"{label}: SHA-256", lambda: hashlib.sha256(raw).hexdigest())
    back = timed(f"{label}: Zstandard back, unshuffle", lambda: decode_chunk(chain, raw, COUNT))
    timed(f"{label}: compare", lambda: np.array_equal(back.reshape(values.shape), values))
    out = np.empty(COUNT, np.uint16 if bits is None else np.float16)
    timed(f"{label}: chunk to weights", lambda: decode_weights(chain, bits, raw, COUNT, out))


def main() -> None:
    """Print one line a stage."""
    weights = (np.random.default_rng(0).standard_normal(COUNT) * 0.0125).astype(np.float32)
    block = (weights.view(np.uint32) >> 16).astype(np.uint16).reshape(-1, 4096)
    codes = timed("q2: round", lambda: Rounder(7, "bfloat16").codes16(block))
    timed("q2: count codes", lambda: CodeCounts().add(codes))
    pack("q2", coding("zstd").rounded(7, wide=False), 7, codes)
    pack("lossless", coding("zstd").lossless(by_name("bfloat16", "weight")), None, block)


if __name__ == "__main__":
    main()
