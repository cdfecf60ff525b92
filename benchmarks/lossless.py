"""Losslessly packed tensors against zipnn: bytes and speed over the tensors that a recipe leaves alone.

    python -m benchmarks.lossless SOURCE [--recipe selected-q2] [--share 1] [--json FILE]

SOURCE is a checkpoint folder, say the full-size stand-in. Every tensor of 16-bit floats that the recipe does not round
goes through each way in turn, from memory to memory; what comes back is compared with what went in, outside the
clock. Ways: this package's `zstd` and `pcodec` codings, chunk by chunk as an artifact holds them, and zipnn (its
defaults, bfloat16) on the whole tensor; each with one thread and with one a core. ``--share 4`` takes every fourth
tensor. Speeds are bytes of source in seconds of that way, in one run. zipnn is no dependency of this project, and
needs a C compiler where it has no wheel: ``pip install zipnn``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

from iwsltpack.building.checkpoint import open_checkpoint
from iwsltpack.building.plan import TensorPlan, plan_tensors
from iwsltpack.building.recipes import load_recipe
from iwsltpack.codecs.registry import coding_in
from iwsltpack.documents.choices import DEFAULT_VERSION
from iwsltpack.system import memory

SMALLEST = 1 << 10
"""Values of a tensor that is worth a clock."""


@dataclass
class Sum:
    """What one way has done so far."""

    source_bytes: int = 0
    packed_bytes: int = 0
    pack_seconds: float = 0.0
    unpack_seconds: float = 0.0

    def figures(self) -> dict[str, float]:
        """Return bytes and rates."""
        return {
            "source_bytes": self.source_bytes,
            "packed_bytes": self.packed_bytes,
            "bits_per_weight": round(16 * self.packed_bytes / self.source_bytes, 4),
            "pack_gb_per_second": round(self.source_bytes / self.pack_seconds / 1e9, 3),
            "unpack_gb_per_second": round(self.source_bytes / self.unpack_seconds / 1e9, 3),
        }


def ours(name: str, threads: int, plan: TensorPlan, values: np.ndarray, total: Sum) -> np.ndarray:
    """Pack and unpack the chunks of one tensor by a coding of this package."""
    chain, count = (
        coding_in(DEFAULT_VERSION, name).lossless(plan.source.dtype),
        math.prod(plan.entry.array.chunk),
    )
    spans, back = list(plan.blocks()), np.empty_like(values)
    with ThreadPoolExecutor(threads) as pool:
        started = time.perf_counter()
        packed = list(pool.map(lambda span: chain.pack(chain.lay(values[slice(*span)], count)), spans))
        total.pack_seconds += time.perf_counter() - started
        started = time.perf_counter()

        def unpack(item: tuple[tuple[int, int], bytes]) -> None:
            chain.decode_into(item[1], count, back[slice(*item[0])].reshape(-1))

        list(pool.map(unpack, zip(spans, packed, strict=True)))
        total.unpack_seconds += time.perf_counter() - started
    total.packed_bytes += sum(map(len, packed))
    return back


def theirs(threads: int, plan: TensorPlan, values: np.ndarray, total: Sum) -> np.ndarray:
    """Pack and unpack one tensor by zipnn."""
    from zipnn import ZipNN

    tool = ZipNN(input_format="byte", bytearray_dtype=plan.source.dtype.name, threads=threads)
    raw = bytearray(values.tobytes())  # it reorders bytes in place
    started = time.perf_counter()
    packed = tool.compress(raw)
    total.pack_seconds += time.perf_counter() - started
    total.packed_bytes += len(packed)
    started = time.perf_counter()
    back = tool.decompress(packed)
    total.unpack_seconds += time.perf_counter() - started
    return np.frombuffer(back, values.dtype).reshape(values.shape)


def ways(cores: int) -> dict[str, Callable[[TensorPlan, np.ndarray, Sum], np.ndarray]]:
    """Return every way to pack by name."""
    table: dict[str, Callable[[TensorPlan, np.ndarray, Sum], np.ndarray]] = {}
    for threads in sorted({1, cores}):
        for name in ("zstd", "pcodec"):
            table[f"{name}, {threads} threads"] = partial(ours, name, threads)
        table[f"zipnn, {threads} threads"] = partial(theirs, threads)
    return table


def main() -> None:
    """Print a table, write JSON if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("--recipe", default="selected-q2")
    parser.add_argument("--share", type=int, default=1, help="take every SHARE-th tensor")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    memory.keep_freed_blocks()
    plans = [
        plan
        for plan in plan_tensors(open_checkpoint(arguments.source), load_recipe(arguments.recipe))
        if plan.quantizer is None and plan.source.dtype.name == "bfloat16" and plan.source.count >= SMALLEST
    ][:: arguments.share]
    table = ways(os.cpu_count() or 1)
    sums = {name: Sum() for name in table}
    for plan in plans:
        values = np.array(plan.read(0, plan.shape[0]))
        for name, way in table.items():
            sums[name].source_bytes += values.nbytes
            if way(plan, values, sums[name]).tobytes() != values.tobytes():
                raise SystemExit(f"{name}: {plan.source.name} came back changed")
    figures = {name: total.figures() for name, total in sums.items()}
    print(f"{len(plans)} tensors, {figures['zstd, 1 threads']['source_bytes']:,} bytes")
    print(f"{'':20}{'bytes':>16}{'bits/weight':>13}{'pack GB/s':>11}{'unpack GB/s':>13}")
    for name, row in figures.items():
        print(
            f"{name:20}{row['packed_bytes']:>16,}{row['bits_per_weight']:>13.3f}"
            f"{row['pack_gb_per_second']:>11.2f}{row['unpack_gb_per_second']:>13.2f}"
        )
    if arguments.json:
        libraries = ("iwsltpack", "numcodecs", "numpy", "pcodec", "zipnn", "zstandard")
        signature = {
            "command": f"python -m benchmarks.lossless SOURCE --recipe {arguments.recipe} --share {arguments.share}",
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "python": platform.python_version(),
            "libraries": {name: version(name) for name in libraries},
            "tensors": len(plans),
        }
        document = {"signature": signature, "ways": figures}
        arguments.json.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
