"""Time and memory of a calibration at full size: two blocks of each tower and the whole vocabulary, projected to all.

    python -m benchmarks.frontier_full --work DIR --json FILE [--tokens 8192] [--threads 2] [--hidden 4096]

Makes a checkpoint of Qwen2-Audio-7B's sizes with two blocks in each tower (5.6 GB in DIR) and calibrates it on one
conversation with 30 s of audio, weights read from the files when they are needed. Measured are the CPU seconds of each
step, the largest memory, and the speed of a product of matrices in the same run. Of rounding, which takes time by the
row, 4096 rows of each kind of matrix are measured. The projection multiplies: blocks by their number, what is done for
each token by the tokens, rows by their number. Seconds are CPU seconds divided by threads.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from iwsltpack.calibration import block_rounding
from iwsltpack.calibration.block_rounding import Settings
from iwsltpack.calibration.model_weights import Weights
from iwsltpack.calibration.towers import Batch
from iwsltpack.calibration.walk import gather
from iwsltpack.quantizers.calibrated import BLOCK_ROWS, quantize
from iwsltpack.system import fileio
from iwsltpack.system.progress import Reporter
from tools.standin.generate import SCALES, generate

BLOCKS = 2
AUDIO, TEXT, ANSWER = 750, 20, 30
"""Tokens of the conversation; the answer's are targets."""


class Clock(Reporter):
    """Adds up CPU seconds by what they were spent on; of the two towers, what a step did last names it."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, float]] = []
        self._stage, self._last, self.factors = "", time.process_time(), 0.0

    def start(self, description: str, *_: Any, **__: Any) -> None:
        """Begin a stage."""
        self._stage = description.rpartition(" ")[2]
        self._last = time.process_time()

    def advance(self, *_: Any, **__: Any) -> None:
        """Note a step, without the factorizations in it."""
        now = time.process_time()
        self.steps.append((self._stage, now - self._last - self.factors))
        self._last, self.factors = now, 0.0


@contextmanager
def factors_timed(clock: Clock, found: dict[int, list[float]]) -> Iterator[None]:
    """Have the CPU seconds of every factorization noted, by the number of inputs."""
    plain = block_rounding.factorize

    def timed(moment: torch.Tensor, *rest: Any) -> Any:
        start = time.process_time()
        factor = plain(moment, *rest)
        took = time.process_time() - start
        clock.factors += took
        if moment.ndim == 2:
            found.setdefault(len(moment), []).append(took)
        return factor

    block_rounding.factorize = timed
    try:
        yield
    finally:
        block_rounding.factorize = plain


def conversation(config: Any) -> Batch:
    """Return a conversation with the longest audio that the model hears."""
    dice = torch.Generator().manual_seed(0)
    frames = 4 * AUDIO
    said = torch.randint(10, 300, (1, TEXT + ANSWER), generator=dice)
    heard = torch.full((1, AUDIO), config.audio_token_id)
    ids = torch.cat([said[:, :TEXT], heard, said[:, TEXT:]], 1)
    targets = torch.zeros_like(ids, dtype=torch.bool)
    targets[:, -ANSWER - 1 : -1] = True
    features = torch.randn(1, config.audio_config.num_mel_bins, frames, generator=dice)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "input_features": features}
    return Batch(inputs | {"feature_attention_mask": torch.ones(1, frames, dtype=torch.long)}, targets)


def all_but_positions(name: str) -> bool:
    """Tell whether a matrix is rounded."""
    return "position" not in name


def gflops(size: int = 2048) -> float:
    """Return the speed of a product of float32 matrices, per CPU second."""
    left = torch.randn(size, size)
    left @ left
    start, count = time.process_time(), 4
    for _ in range(count):
        left @ left
    return 2 * size**3 * count / (time.process_time() - start) / 1e9


def projected(figures: dict[str, Any], tokens: int) -> dict[str, float]:
    """Return the CPU seconds of all blocks and the whole vocabulary for so many tokens."""
    language, audio = figures["blocks"]
    times = tokens / figures["conversation"]
    a0, a1, l0, l1 = (seconds for stage, seconds in figures["steps"] if stage == "forward")
    backward = [seconds for stage, seconds in figures["steps"] if stage == "backward"]
    joints, blocks = backward[0] + backward[3] + backward[6], (backward[1:3], backward[4:6])
    many = max(language, audio) / BLOCKS  # towers of the full size have as many blocks
    return {
        "forward": times * (audio * a1 + language * l1 + max(0, a0 - a1) + max(0, l0 - l1)),
        "backward": times * (joints + many * sum(map(sum, blocks))),
        "factorizations": many * sum(map(sum, figures["factor_seconds"].values())),
        "rounding": sum(
            item["count"] * (item["read"] + item["shape"][0] * item["row"]) for item in figures["rounding"]
        ),
    }


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="Checkpoint and work.")
    parser.add_argument("--json", type=Path, required=True, help="Where the figures go.")
    parser.add_argument("--tokens", type=int, default=8192, help="To project to.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scale", choices=SCALES, default="full")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    scale = SCALES[options.scale]
    whole = (scale.layers, scale.audio_layers)
    SCALES["two blocks"] = dataclasses.replace(scale, layers=BLOCKS, audio_layers=BLOCKS, positions=2 * AUDIO)
    checkpoint = options.work / "checkpoint"
    if not checkpoint.exists():
        with fileio.atomic_directory(checkpoint) as folder:
            generate(folder, "two blocks")
    before, clock = gflops(), Clock()
    weights = Weights.of_checkpoint(checkpoint)
    data, factors = [conversation(weights.model.config)], {}
    with factors_timed(clock, factors):
        moments = gather(
            weights,
            data,
            options.work / "work",
            Settings(),
            selected=lambda name: "position" not in name,
            reporter=clock,
        )
    peak = {"gathering": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    rounding, step = [], moments.guess(3.0)
    kinds = Counter((tuple(weights.shapes[name]), "layers." in name) for name in moments.names)
    for (shape, inside), count in kinds.items():
        name = next(name for name in reversed(moments.names) if weights.shapes[name] == shape)
        rows = slice(0, BLOCK_ROWS)
        start = time.process_time()
        weight, factor = moments.weights.matrix(name), moments.factor(name)
        read = time.process_time()
        quantize(weight[rows], factor, torch.ones(len(weight[rows])), step)
        seconds = (time.process_time() - read) / len(weight[rows])
        count *= max(whole) // BLOCKS if inside else 1
        rounding.append({"shape": shape, "count": count, "read": read - start, "row": seconds})
        del weight, factor
    peak["rounding"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    figures = {
        "scale": options.scale,
        "threads": options.threads,
        "gflops_before": before,
        "gflops_after": gflops(),
        "conversation": AUDIO + TEXT + ANSWER,
        "peak_bytes": peak,
        "steps": clock.steps,
        "factor_seconds": factors,
        "rounding": rounding,
        "blocks": whole,
    }
    figures["projected_cpu_seconds"] = projected(figures, options.tokens)
    fileio.write_json(options.json, figures)
    hours = sum(figures["projected_cpu_seconds"].values()) / options.threads / 3600
    print(f"projected: {hours:.2f} h on {options.threads} cores like these")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
