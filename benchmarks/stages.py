"""Time of each stage of packing and checking one chunk, one thread: 2^22 Gaussian weights, q2 and lossless, `zstd`.

python -m benchmarks.stages
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from iwsltpack.artifact.tensor_writer import CodeCounts
from iwsltpack.codecs.chains import Chain, coding
from iwsltpack.codecs.decoding import decode_chunk
from iwsltpack.codecs.dtypes import by_name
from iwsltpack.codecs.encoding import encode_chunk
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


def pack(label: str, chain: Chain, values: np.ndarray) -> None:
    """Time what every chunk goes through."""
    raw = timed(f"{label}: shuffle, Zstandard", lambda: encode_chunk(chain, values, values.shape))
    timed(f"{label}: SHA-256", lambda: hashlib.sha256(raw).hexdigest())
    back = timed(f"{label}: Zstandard back, unshuffle", lambda: decode_chunk(chain, raw, COUNT))
    timed(f"{label}: compare", lambda: np.array_equal(back.reshape(values.shape), values))


def main() -> None:
    """Print one line a stage."""
    weights = (np.random.default_rng(0).standard_normal(COUNT) * 0.0125).astype(np.float32)
    block = (weights.view(np.uint32) >> 16).astype(np.uint16).reshape(-1, 4096)
    codes = timed("q2: round", lambda: Rounder(7, "bfloat16").codes16(block))
    timed("q2: count codes", lambda: CodeCounts().add(codes))
    pack("q2", coding("zstd").rounded(7, wide=False), codes)
    pack("lossless", coding("zstd").lossless(by_name("bfloat16", "weight")), block)


if __name__ == "__main__":
    main()
