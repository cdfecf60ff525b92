"""The int8 kernels against the library's float16 product, at the layers' shapes: one command, JSON on stdout.

    python -m benchmarks.int8_kernel --device cuda --json int8_kernel.json
    python -m benchmarks.int8_kernel --device cuda --sweep --rows 1,16,64 --shapes "gate and up,down"
    python -m benchmarks.int8_kernel --device cpu --scale small            # proof that it runs

For each shape and number of input rows: microseconds on the device (medians of replayed CUDA graphs that rotate among
as many weights as the device's cache cannot hold), bytes a second of weight read, microseconds the host needs to start
one product, and the largest error against float64 in units of the bound that the tests use. Ways: `codes`
(`int8_kernel.multiply`, up to its most rows), `blocks` (decode into a bounded scratch, then the library), `library`
(`torch.nn.functional.linear` of the float16 weight). `--sweep` times other plans beside the table's.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from iwsltpack.runtime import int8
from iwsltpack.runtime.environment import device_name
from iwsltpack.runtime.int8 import Codes, Int8Linear

SHAPES = {
    "full": {
        "gate and up": (11008, 4096),
        "down": (4096, 11008),
        "attention": (4096, 4096),
        "pruned gate and up": (8807, 4096),
        "pruned down": (4096, 8807),
    },
    "small": {"gate and up": (172, 64), "down": (64, 172)},
}
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 2048)
CACHE_BYTES = 160 << 20
"""More than any cache the weights could hide in: 50 MB of an H100, 126 MB of later ones."""
BITS = 10


def make_layer(shape: tuple[int, int], device: torch.device, dtype: torch.dtype, seed: int) -> Int8Linear:
    """Return a layer with codes spread as those of selected-q3 are, a standard deviation of 13."""
    random = torch.Generator(device).manual_seed(seed)
    out_features, in_features = shape
    codes = torch.zeros((out_features, -(-in_features // 16) * 16), dtype=torch.int8, device=device)
    drawn = torch.randn(shape, generator=random, device=device) * 13
    codes[:, :in_features] = drawn.round().clamp(-127, 127)
    none = torch.empty(0, dtype=torch.int32, device=device)
    values = torch.empty(0, dtype=dtype, device=device)
    return Int8Linear(Codes(codes, in_features, 2.0**-BITS, none, none, none, values), None)


def device_seconds(calls: list[Callable[[], Any]], device: torch.device) -> float:
    """Return the median seconds of one call, over replays of a graph of all of them; wall clock on a CPU."""
    for call in calls:
        call()
    if device.type != "cuda":
        taken = []
        for call in calls * 5:
            started = time.perf_counter()
            call()
            taken.append(time.perf_counter() - started)
        return statistics.median(taken)
    torch.cuda.synchronize(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    graph.replay()
    taken = []
    for _ in range(15):
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
        graph.replay()
        last.record()
        torch.cuda.synchronize(device)
        taken.append(first.elapsed_time(last) / 1000 / len(calls))
    return statistics.median(taken)


def host_seconds(call: Callable[[], Any], device: torch.device) -> float | None:
    """Return the median seconds the host is busy with one call; None on a CPU, where it does the work itself."""
    if device.type != "cuda":
        return None
    taken = []
    for _ in range(20):
        torch.cuda.synchronize(device)
        started = time.perf_counter()
        for _ in range(20):
            call()
        taken.append((time.perf_counter() - started) / 20)
    torch.cuda.synchronize(device)
    return statistics.median(taken)


def error_against_bound(layer: Int8Linear, inputs: torch.Tensor, outputs: torch.Tensor) -> float:
    """Return the largest error of `outputs` in units of n 2^-24 of the products' sizes plus the result's rounding."""
    exact = layer.codes[:, : layer.in_features].double() * layer.scale
    wide = inputs.double()
    expected, size = wide @ exact.T, wide.abs() @ exact.abs().T
    bound = (
        (layer.in_features + 2) * 2.0**-24 * size + torch.finfo(outputs.dtype).eps * expected.abs() + 2.0**-24
    )
    return float(((outputs.double() - expected).abs() / bound).max())


def measure(shape: tuple[int, int], rows: int, device: torch.device) -> dict[str, Any]:
    """Time every way for one shape and number of rows."""
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    copies = max(2, -(-CACHE_BYTES // (shape[0] * shape[1]))) if device.type == "cuda" else 2
    made = [make_layer(shape, device, dtype, seed) for seed in range(copies)]
    inputs = torch.randn((rows, shape[1]), device=device).to(dtype)
    floats = [layer.weight for layer in made]
    ways: dict[str, list[Callable[[], torch.Tensor]]] = {
        "blocks": [lambda layer=layer: layer._multiply_blocks(inputs) for layer in made],  # type: ignore[misc]
        "library": [lambda w=w: torch.nn.functional.linear(inputs, w) for w in floats],  # type: ignore[misc]
    }
    if device.type == "cuda" and rows <= int8.kernel.MOST_ROWS:
        ways["codes"] = [lambda layer=layer: layer._multiply_codes(inputs) for layer in made]  # type: ignore[misc]
    result: dict[str, Any] = {"rows": rows, "shape": list(shape)}
    for way, calls in ways.items():
        seconds, host = device_seconds(calls, device), host_seconds(calls[0], device)
        size = shape[0] * shape[1] * (dtype.itemsize if way == "library" else 1)
        result[way] = {
            "device_microseconds": seconds * 1e6,
            "host_microseconds": None if host is None else host * 1e6,
            "gigabytes_per_second": size / seconds / 1e9,
            "error_against_bound": error_against_bound(made[0], inputs, calls[0]()),
            "same_bits_twice": torch.equal(calls[0](), calls[0]()),
        }
    for way in ways.keys() - {"library"}:
        ratio = result[way]["device_microseconds"] / result["library"]["device_microseconds"]
        result[way]["time_against_library"] = ratio
    return result


def candidates(rows: int) -> list[Any]:
    """Return plans worth a try."""
    plan = int8.kernel.Plan
    if rows == 1:
        sizes = itertools.product((4, 8, 16), (512, 1024), (4, 8), (1, 2, 3))
        return [plan(1, n, k, 1, warps, stages) for n, k, warps, stages in sizes]
    block_m = min(128, max(16, 1 << (rows - 1).bit_length()))
    sizes = itertools.product((32, 64, 128), (64, 128), (1, 2, 4, 8), (3, 4))
    return [plan(block_m, n, k, split, 4, stages) for n, k, split, stages in sizes]


def sweep(shape: tuple[int, int], rows: int, device: torch.device) -> dict[str, Any]:
    """Time other plans beside the table's; what does not compile or fit is passed over."""
    copies = max(2, -(-CACHE_BYTES // (shape[0] * shape[1])))
    made = [make_layer(shape, device, torch.float16, seed) for seed in range(copies)]
    inputs = torch.randn((rows, shape[1]), device=device).half()
    for layer in made:
        layer._multiply_codes(inputs)
    chosen = int8.kernel.choose_plan(rows, *shape, 2)
    times: dict[Any, float] = {}
    for plan in {chosen, *candidates(rows)}:
        calls = [
            lambda held=layer._for_kernel, plan=plan: int8.kernel.multiply(inputs, held, None, plan)  # type: ignore[misc]
            for layer in made
        ]
        try:
            times[plan] = device_seconds(calls, device)
        except Exception as error:  # noqa: BLE001 - Triton has its own exceptions for each thing that does not fit
            print(f"{plan}: {type(error).__name__}", file=sys.stderr)
    best = sorted(times, key=lambda plan: times[plan])[:5]
    return {
        "shape": list(shape),
        "rows": rows,
        "table": {"plan": list(chosen), "microseconds": times[chosen] * 1e6},
        "best": [{"plan": list(plan), "microseconds": times[plan] * 1e6} for plan in best],
    }


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--scale", choices=SHAPES, default="full")
    parser.add_argument("--rows", default=",".join(map(str, ROWS)))
    parser.add_argument("--shapes", default="", help="names, separated by commas; default: all")
    parser.add_argument("--sweep", action="store_true", help="time other plans beside the table's")
    parser.add_argument("--json", type=Path, help="also write the result there")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda" and not int8.has_kernel():
        parser.error("Triton is not installed")
    wanted = options.shapes.split(",") if options.shapes else list(SHAPES[options.scale])
    results = []
    with torch.inference_mode():
        for name, rows in itertools.product(wanted, map(int, options.rows.split(","))):
            shape = SHAPES[options.scale][name]
            if options.sweep and (device.type != "cuda" or rows > int8.kernel.MOST_ROWS):
                continue
            results.append({"layer": name, **(sweep if options.sweep else measure)(shape, rows, device)})
            print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    document = {"device": device_name(device), "torch": torch.__version__, "results": results}
    text = json.dumps(document, indent=1)
    if options.json:
        options.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
