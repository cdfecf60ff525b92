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

from iwsltpack.building.chunk_packer import CodeCounts, PackedChunk
from iwsltpack.codecs.chain import Chain
from iwsltpack.codecs.dtypes import by_name
from iwsltpack.codecs.frames import pack_frame
from iwsltpack.codecs.registry import CODINGS
from iwsltpack.documents.choices import DEFAULT_CODING
from iwsltpack.quantizers.quantizer import Quantizer
from iwsltpack.quantizers.rounding import Rounding

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


def pack(label: str, chain: Chain, quantizer: Quantizer | None, block: np.ndarray) -> None:
    """Time what every chunk goes through when it is built, and when it is read."""
    if quantizer is None:
        plain = timed(f"{label}: shuffle", lambda: chain.lay(block, COUNT))
    else:
        codes = timed(f"{label}: round", lambda: quantizer.codes(block, 0))
        timed(f"{label}: count codes", lambda: CodeCounts().add(codes))
        plain = timed(f"{label}: shuffle", lambda: chain.lay_codes(codes, lambda: block, COUNT))
    raw = timed(f"{label}: Zstandard", lambda: chain.pack(plain))
    packed = timed(
        f"{label}: Zstandard, its own search", lambda: bytes(Zstd(level=1, checksum=True).encode(plain))
    )
    timed(f"{label}: Zstandard, ours", lambda: pack_frame(plain, level=1, checksum=True))
    print(f"{label + ': bytes, its own and ours':32} {len(packed):>10,} {len(raw):>10,}")
    timed(f"{label}: SHA-256", lambda: hashlib.sha256(raw).hexdigest())
    packed_chunk = PackedChunk(raw, chain, plain)
    timed(f"{label}: unpack and compare", lambda: packed_chunk.matches(memoryview(raw)))
    out = np.empty(COUNT, np.uint16 if quantizer is None else np.float16)

    def read() -> None:
        if quantizer is None:
            chain.decode_into(raw, COUNT, out)
        else:
            quantizer.weights(chain.codes(raw, COUNT, COUNT), 0, out)

    timed(f"{label}: chunk to weights", read)


def main() -> None:
    """Print one line a stage."""
    weights = (np.random.default_rng(0).standard_normal(COUNT) * 0.0125).astype(np.float32)
    block = (weights.view(np.uint32) >> 16).astype(np.uint16).reshape(-1, 4096)
    coding = CODINGS[DEFAULT_CODING]
    pack("q2", coding.rounded(7, wide=False), Rounding(7, "bfloat16"), block)
    pack("lossless", coding.lossless(by_name("bfloat16", "weight")), None, block)


if __name__ == "__main__":
    main()
