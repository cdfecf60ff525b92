"""What each of several sizes costs: one calibration, an artifact for every size, each measured on other data.

Every artifact can be used as soon as it has its name. A command that was killed goes on from there.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from iwsltpack.artifact.location import folder_bytes
from iwsltpack.artifact.sizes import GB
from iwsltpack.building.request import BuildRequest
from iwsltpack.building.size import SizeTarget, parse_size
from iwsltpack.calibration.calibrated_build import build_calibrated, check_targets
from iwsltpack.calibration.data import CalibrationRequest
from iwsltpack.decoding.decode import decode
from iwsltpack.decoding.options import DecodeOptions, RunRequest
from iwsltpack.documents.artifact import Damage
from iwsltpack.documents.document import Part
from iwsltpack.documents.names import PAIRS
from iwsltpack.documents.score import DIGITS, TITLES
from iwsltpack.errors import ArtifactError, MissingDependency, ResourceError, UsageError
from iwsltpack.report.plot import BLACK, BLUE, images
from iwsltpack.scoring.comet_env import is_built
from iwsltpack.scoring.references import read_references
from iwsltpack.scoring.score import score
from iwsltpack.scoring.texts import read_hypotheses
from iwsltpack.system import fileio
from iwsltpack.system.progress import SILENT, Reporter
from iwsltpack.system.tables import Column, Table

RESULT = "frontier.json"
NEAR = 3
"""Published systems are drawn up to so many times the largest size, and down to that part of the smallest."""


class SizeRow(Part):
    """An artifact, by the name of its folder and its digest; the bytes asked for and got; what it costs."""

    name: str
    sha256: str
    asked: int
    bytes: int
    bits_per_weight: float
    damage: Damage
    scores: dict[str, float]


def size_frontier(
    request: BuildRequest,
    calibration: CalibrationRequest,
    sizes: Sequence[str],
    data: Path,
    references: Path | None = None,
    progress: Reporter = SILENT,
) -> list[SizeRow]:
    """Build and measure an artifact of each size, the largest first; write ``frontier.{json,png,svg}``.

    Parameters
    ----------
    request
        Its output is the folder of everything.
    sizes
        As people write them; each becomes the name of an artifact.
    data, references
        Another test set, to measure on, and what its segments should say: for chrF, and COMET where its environment is
        built.

    UsageError: sizes that are none, or cannot be met. IwsltpackError: see `build_calibrated`, `decode` and `score`.
    """
    request.check_calibration(calibration.data)
    targets = {"".join(text.split()): SizeTarget(bytes=parse_size(text)) for text in sizes}
    if len(set(targets.values())) < len(sizes):
        raise UsageError("a size is asked for twice", got=", ".join(sizes))
    check_targets(request, list(targets.values()))
    calibration = replace(calibration, judge=data)
    output, work, rows = request.output, request.output / "work", []
    for name, target in sorted(targets.items(), key=lambda item: -item[1].amount):
        build = replace(request, output=output / name, target=target)
        manifest = build_calibrated(build, calibration, work=work, progress=progress)
        size = folder_bytes(output / name)
        if manifest.damage is None:
            raise ArtifactError("another artifact than this command makes: its damage is unknown", where=name)
        scored: dict[str, float] = {}
        if references is not None:
            scored = _scores(output, name, data, references, calibration.pair, progress)
        rows.append(
            SizeRow(
                name=name,
                sha256=manifest.sha256,
                asked=int(target.amount),
                bytes=size,
                bits_per_weight=8 * size / manifest.parameters,
                damage=manifest.damage,
                scores=scored,
            )
        )
        document = {"rows": [row.to_json() for row in rows], "published": peers()}
        fileio.write_json(output / RESULT, document)
    try:
        for kind, image in images(lambda _, axes: _fill(axes, rows)).items():
            fileio.write_bytes(output / f"frontier.{kind}", image)
    except MissingDependency as error:
        progress.say(f"no picture: {error.what}: {error.fix}")
    shutil.rmtree(work, ignore_errors=True)
    return rows


def _scores(
    output: Path, name: str, data: Path, references: Path, pair: str, progress: Reporter
) -> dict[str, float]:
    options, run = DecodeOptions(pair=pair), output / "runs" / name
    decode(RunRequest(test_dir=data, artifact=output / name, output=run, options=options), progress)
    texts = read_hypotheses(run), read_references(references, language=PAIRS[pair])
    found = list(score(*texts, metrics=("chrf",), progress=progress).metrics)
    if is_built():
        try:
            found += score(*texts, metrics=("comet",), progress=progress).metrics
        except ResourceError as error:  # its checkpoint is neither here nor to be had
            progress.say(f"no COMET: {error.what}")
    return {result.metric: result.score for result in found}


def peers() -> list[dict[str, Any]]:
    """Return the published systems: name, size in 10^9 bytes, and quality in words."""
    return list(fileio.read_toml(Path(__file__).with_name("data") / "peers.toml")["system"])


def table(rows: Sequence[SizeRow]) -> Table:
    """Return the rows for a terminal of 80 columns."""
    metrics = list(rows[0].scores)
    headings = ("asked", "bytes", "off", "bits", "KL", "± s.e.", *(TITLES[name] for name in metrics))
    cells = [
        (
            row.name,
            f"{row.bytes:,}",
            f"{100 * (row.bytes / row.asked - 1):+.2f} %",
            f"{row.bits_per_weight:.2f}",
            f"{row.damage.kl:.3g}",
            f"{row.damage.kl_error:.1g}",
            *(f"{row.scores[name]:.{DIGITS[name]}f}" for name in metrics),
        )
        for row in rows
    ]
    return Table([Column(heading=text, figures=bool(number)) for number, text in enumerate(headings)], cells)


def _fill(axes: Any, rows: Sequence[SizeRow]) -> None:
    sizes, losses = [row.bytes / GB for row in rows], [row.damage.kl for row in rows]
    axes.errorbar(sizes, losses, [row.damage.kl_error for row in rows], marker="o", capsize=3, color=BLUE)
    for row, *place in zip(rows, sizes, losses, strict=True):
        axes.annotate(row.name, place, xytext=(6, 6), textcoords="offset points", fontsize=8.5)
    shown = [peer for peer in peers() if min(sizes) / NEAR <= peer["gb"] <= max(sizes) * NEAR]
    for peer in shown:
        axes.axvline(peer["gb"], color=BLACK, linewidth=0.8, linestyle=":")
        text, place = f"{peer['name']}: {peer['quality']}", [peer["gb"], 0.98]
        look: dict[str, Any] = {"rotation": 90, "va": "top", "ha": "right", "fontsize": 6}
        axes.annotate(text, place, xycoords=("data", "axes fraction"), **look)
    marked = "; dotted: sizes that others published, and their quality, measured by them on other data"
    axes.set_title(f"Damage by size{marked if shown else ''}", loc="left", fontsize=9)
    axes.set_yscale("log")
    axes.set_xlabel("Size, whole folder [GB] (smaller is better)")
    axes.set_ylabel("KL from the uncompressed model, nats a token (lower is better)")
    axes.grid(visible=True, which="both", color="#E3E3E3", linewidth=0.8)
