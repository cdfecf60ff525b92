"""What decoding costs and survives on a CPU, measured with the miniature: one command, JSON on stdout.

    python benchmarks/decode_cpu.py --artifact artifacts/miniature --segments 10000 --minutes 5

Parts: `flat` decodes many one-second segments and watches memory and the journal's share of the time; `kill` kills a
run with SIGKILL at random moments and compares the bytes; `batch` times batches against one by one; `modes` compares
the texts of load, cache and stream.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

from iwsltpack.decoding import journal as journal_module
from iwsltpack.decoding.decode import decode
from iwsltpack.decoding.options import DecodeOptions, RunRequest
from iwsltpack.runtime.environment import device_name
from iwsltpack.system.progress import Reporter

RATE = 16_000
PARTS = ("flat", "kill", "batch", "modes")


def make_talk(folder: Path, segments: int, seconds: float, seed: int = 0) -> Path:
    """Write one recording of noise and its segmentation, in IWSLT's layout."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    with soundfile.SoundFile(folder / "talk.wav", "w", RATE, 1, subtype="PCM_16") as sound:
        for _ in range(segments):
            time_axis = np.arange(round(seconds * RATE)) / RATE
            voice = 0.2 * np.sin(2 * np.pi * rng.uniform(100, 900) * time_axis)
            sound.write(voice + rng.normal(0, 0.02, time_axis.size))
    (folder / "FILE_ORDER").write_text("talk.wav\n")
    spans = [
        {"wav": "talk.wav", "offset": number * seconds, "duration": seconds} for number in range(segments)
    ]
    (folder / "segments.yaml").write_text(yaml.safe_dump(spans))
    return folder


def resident_bytes() -> int:
    """Return what this process holds in memory now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmRSS in /proc/self/status")


class Watch(Reporter):
    """Samples memory against segments done, and times the journal."""

    def __init__(self, minutes: float) -> None:
        self.until = time.monotonic() + 60 * minutes
        self.started = time.monotonic()
        self.done, self.rows, self.journal_seconds = 0, list[tuple[float, int, int]](), 0.0

    def start(self, description: str, *_: object) -> None:
        """Begin counting."""
        self.decoding = description.startswith("decoding")
        self.started = time.monotonic()

    def advance(self, amount: float = 1) -> None:
        """Take a sample; stop the run when its time is over."""
        if not self.decoding:
            return
        self.done += int(amount)
        self.rows.append((time.monotonic() - self.started, self.done, resident_bytes()))
        if time.monotonic() > self.until:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        """Ignore."""

    def finish(self) -> None:
        """Ignore."""


def request(talk: Path, artifact: Path, output: Path, **options: Any) -> RunRequest:
    """Return what is to be decoded, on the CPU."""
    settings = DecodeOptions(device="cpu", **options)
    return RunRequest(test_dir=talk, artifact=artifact, output=output, options=settings)


def measure_flat(artifact: Path, work: Path, segments: int, minutes: float) -> dict[str, Any]:
    """Decode up to `segments` one-second segments in at most `minutes`."""
    talk = make_talk(work / "flat", segments, 1.0)
    watch = Watch(minutes)
    real = journal_module.Journal.record

    def timed(self: Any, results: Any) -> None:
        before = time.perf_counter()
        real(self, results)
        watch.journal_seconds += time.perf_counter() - before

    journal_module.Journal.record = timed  # type: ignore[method-assign]
    try:
        decode(request(talk, artifact, work / "flat-run", max_new_tokens=8), watch)
    except KeyboardInterrupt:
        pass
    finally:
        journal_module.Journal.record = real  # type: ignore[method-assign]
    elapsed, done, last = watch.rows[-1]
    tenth = watch.rows[len(watch.rows) // 10]
    return {
        "segments_done": done,
        "segments_asked": segments,
        "seconds": elapsed,
        "segments_per_second": done / elapsed,
        "resident_bytes_after_a_tenth": tenth[2],
        "resident_bytes_at_the_end": last,
        "growth_bytes_per_1000_segments": 1000 * (last - tenth[2]) / max(1, done - tenth[1]),
        "journal_share_percent": 100 * watch.journal_seconds / elapsed,
        "journal_bytes": (work / "flat-run" / "journal.jsonl").stat().st_size,
    }


def command(artifact: Path, talk: Path, output: Path) -> list[str]:
    """Return the command line of a run in a process of its own."""
    code = (
        "import sys; from pathlib import Path; from iwsltpack.decoding.decode import decode;"
        "from iwsltpack.decoding.options import DecodeOptions, RunRequest;"
        "options = DecodeOptions(device='cpu', batch_size=4, max_new_tokens=8);"
        "test_dir, artifact, output = map(Path, sys.argv[1:]);"
        "decode(RunRequest(test_dir=test_dir, artifact=artifact, output=output, options=options))"
    )
    return [sys.executable, "-c", code, str(talk), str(artifact), str(output)]


def measure_kill(artifact: Path, work: Path, kills: int) -> dict[str, Any]:
    """Kill runs at random moments until `kills` have hit, each followed by the next; compare the finished bytes."""
    talk = make_talk(work / "kill", 120, 1.0, seed=1)
    whole = work / "whole"
    started = time.monotonic()
    subprocess.run(command(artifact, talk, whole), check=True)
    length = time.monotonic() - started
    expected = next(whole.glob("*.txt")).read_bytes()
    dice, hit, finished, equal = random.Random(4), 0, 0, 0
    output = work / "killed"
    while hit < kills:
        process = subprocess.Popen(command(artifact, talk, output))
        timer = threading.Timer(dice.uniform(0.3 * length, length), process.kill)
        timer.start()
        code = process.wait()
        timer.cancel()
        hit += code == -signal.SIGKILL
        if code == 0:
            finished += 1
            equal += next(output.glob("*.txt")).read_bytes() == expected
            shutil.rmtree(output)
    subprocess.run(command(artifact, talk, output), check=True)
    return {
        "kills": hit,
        "runs_finished": finished + 1,
        "byte_identical": equal + (next(output.glob("*.txt")).read_bytes() == expected),
    }


def measure_batch(artifact: Path, work: Path) -> dict[str, Any]:
    """Time the same segments at several batch sizes, one after the other, twice, the better kept."""
    talk = make_talk(work / "batch", 48, 2.0, seed=2)
    result: dict[str, Any] = {}
    texts = set()
    for size in (1, 4, 16):
        best = float("inf")
        for turn in range(2):
            output = work / f"batch-{size}-{turn}"
            (done,) = decode(request(talk, artifact, output, batch_size=size))
            best = min(best, done.run.summary.decode_seconds)
            texts.add((output / done.run.output.path).read_bytes())
        result[f"segments_per_second_batch_{size}"] = 48 / best
    result["texts_equal"] = len(texts) == 1
    return result


def measure_modes(artifact: Path, work: Path) -> dict[str, Any]:
    """Decode the same segments in every mode."""
    talk = make_talk(work / "modes", 32, 2.0, seed=3)
    result: dict[str, Any] = {}
    texts = set()
    for mode in ("load", "cache", "stream"):
        (done,) = decode(request(talk, artifact, work / f"mode-{mode}", mode=mode, batch_size=8))
        result[mode] = {
            "load_seconds": done.run.summary.load_seconds,
            "seconds_per_segment": done.run.summary.seconds_per_segment,
        }
        texts.add((done.folder / done.run.output.path).read_bytes())
    return {**result, "texts_equal": len(texts) == 1}


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--artifact", type=Path, required=True)
    parser.add_argument("--segments", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=5.0, help="most time for the flat part")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--parts", default=",".join(PARTS))
    options = parser.parse_args()
    import torch

    result: dict[str, Any] = {
        "machine": {
            "cpu": device_name(torch.device("cpu")),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "torch": torch.__version__,
    }
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for part in options.parts.split(","):
            if part == "flat":
                result[part] = measure_flat(options.artifact, work, options.segments, options.minutes)
            elif part == "kill":
                result[part] = measure_kill(options.artifact, work, options.kills)
            elif part == "batch":
                result[part] = measure_batch(options.artifact, work)
            elif part == "modes":
                result[part] = measure_modes(options.artifact, work)
            else:
                parser.error(f"unknown part {part!r}; known: {', '.join(PARTS)}")
            print(f"{part}: {json.dumps(result[part])}", file=sys.stderr, flush=True)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
