"""Decoding on dask workers against one process: same segments, same bytes, how many a second. JSON on stdout.

    python benchmarks/dask_decode.py --segments 400 --workers 2,4

Without `--artifact` the miniature is built into one. Workers are warmed by a small run first, so that the import of
torch is no part of the figures; the model is loaded anew in every run. `items_per_second` is over the whole stage of
decoding, with workers that includes the loading; `steady_items_per_second` is from the first tenth of the segments on.
`efficiency` is the steady rate over that of one process of one thread, divided by the cores the workers have.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from decode_cpu import make_talk

from iwsltpack.cluster.local import cores, local_cluster
from iwsltpack.decoding.dask import THREADS
from iwsltpack.decoding.decode import decode
from iwsltpack.decoding.options import DecodeOptions, RunRequest
from iwsltpack.runtime.environment import device_name
from iwsltpack.system.progress import Reporter

MINIATURE = Path(__file__).resolve().parents[1] / "iwsltpack" / "demo" / "miniature"


class Clock(Reporter):
    """Notes when each segment was done."""

    def __init__(self) -> None:
        self.started, self.total, self.rows = 0.0, 0, list[tuple[float, int]]()

    def start(self, description: str, total: float, *_: object) -> None:
        """Begin counting when decoding begins."""
        self.decoding = description.startswith("decoding")
        if self.decoding:
            self.started, self.total, self.rows = time.perf_counter(), int(total), []

    def advance(self, amount: float = 1) -> None:
        """Note the time."""
        if self.decoding and amount:
            done = (self.rows[-1][1] if self.rows else 0) + int(amount)
            self.rows.append((time.perf_counter() - self.started, done))

    def rates(self) -> dict[str, float]:
        """Return seconds and rates of the stage."""
        end, done = self.rows[-1]
        first, already = next(row for row in self.rows if row[1] >= self.total / 10)
        return {
            "seconds": end,
            "items_per_second": done / end,
            "steady_items_per_second": (done - already) / (end - first),
        }


def build(folder: Path) -> Path:
    """Build the miniature into an artifact."""
    from iwsltpack.building.pipeline import build_artifact
    from iwsltpack.building.recipes import load_recipe
    from iwsltpack.building.request import BuildRequest

    build_artifact(BuildRequest(MINIATURE, folder, load_recipe("selected-q3"), "zstd"))
    return folder


def one_process(talk: Path, artifact: Path, output: Path, options: DecodeOptions, threads: int) -> Any:
    """Decode here with so many threads; return the rates and the bytes."""
    torch.set_num_threads(threads)
    clock = Clock()
    request = RunRequest(test_dir=talk, artifact=artifact, output=output, options=options)
    (done,) = decode(request, clock)
    return clock.rates(), (output / done.run.output.path).read_bytes()


def on_workers(talk: Path, warm: Path, artifact: Path, work: Path, options: DecodeOptions, count: int) -> Any:
    """Decode on so many local workers; return the rates and the bytes."""
    clock = Clock()
    with local_cluster(count, threads=THREADS) as cluster:
        request = RunRequest(
            test_dir=warm,
            artifact=artifact,
            output=work / f"warm-{count}",
            options=options,
            cluster=cluster.scheduler_address,
        )
        decode(request)
        (done,) = decode(replace(request, test_dir=talk, output=work / f"workers-{count}"), clock)
    sessions = [
        {"worker": session.worker, "pieces": session.pieces, "load_seconds": session.load_seconds}
        for session in done.run.sessions
    ]
    return {**clock.rates(), "sessions": sessions}, (done.folder / done.run.output.path).read_bytes()


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--artifact", type=Path)
    parser.add_argument("--segments", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a segment")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--workers", default="2,4")
    asked = parser.parse_args()
    options = DecodeOptions(device="cpu", batch_size=asked.batch_size, max_new_tokens=asked.max_new_tokens)
    result: dict[str, Any] = {
        "machine": {
            "cpu": device_name(torch.device("cpu")),
            "cores": cores(),
            "python": platform.python_version(),
            "load_before": os.getloadavg()[0],
        },
        "torch": torch.__version__,
        "segments": asked.segments,
        "segment_seconds": asked.seconds,
        "batch_size": asked.batch_size,
        "max_new_tokens": asked.max_new_tokens,
    }
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        artifact = asked.artifact or build(work / "artifact")
        talk = make_talk(work / "talk", asked.segments, asked.seconds, seed=5)
        warm = make_talk(work / "warm", 16, asked.seconds, seed=6)
        decode(RunRequest(test_dir=warm, artifact=artifact, output=work / "warm-here", options=options))
        texts = set()
        for threads in sorted({1, cores()}):
            name = f"one_process_{threads}_threads"
            output = work / name
            result[name], text = one_process(talk, artifact, output, options, threads)
            texts.add(text)
            print(f"{name}: {json.dumps(result[name])}", file=sys.stderr, flush=True)
        alone = result["one_process_1_threads"]["steady_items_per_second"]
        best = max(
            value["steady_items_per_second"] for key, value in result.items() if key.startswith("one_")
        )
        for count in map(int, asked.workers.split(",")):
            name = f"workers_{count}"
            measured, text = on_workers(talk, warm, artifact, work, options, count)
            rate = measured["steady_items_per_second"]
            measured["speedup_over_best_one_process"] = rate / best
            measured["efficiency"] = rate / alone / min(count, cores())
            result[name] = measured
            texts.add(text)
            print(f"{name}: {json.dumps(measured)}", file=sys.stderr, flush=True)
    result["texts_equal"] = len(texts) == 1
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
