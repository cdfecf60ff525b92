"""``iwsltpack frontier``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iwsltpack.cli import console
from iwsltpack.documents.choices import DEFAULT_CODING, DEFAULT_PAIR, DEFAULT_SOURCE
from iwsltpack.documents.names import PAIRS


def command(
    sizes: Annotated[str, typer.Option(help="Sizes of whole artifacts, as in 4GB,3GB,2.5GB,2GB.")],
    calibration: Annotated[Path, typer.Option(help="Test set to calibrate on: anything decode reads.")],
    data: Annotated[Path, typer.Option(help="Another test set, to measure on.")],
    source: Annotated[str, typer.Argument(help="Checkpoint folder, or a hub id.")] = DEFAULT_SOURCE,
    references: Annotated[
        Path | None,
        typer.Option(
            help="Of --data, for chrF, and COMET where its environment is built; default: KL alone."
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for artifacts, table and picture.")
    ] = Path("frontier"),
    recipe: Annotated[str, typer.Option(help="Recipe with calibrated rules.")] = "calibrated",
    coding: Annotated[str, typer.Option(help="How artifacts are packed.")] = DEFAULT_CODING,
    calibration_name: Annotated[
        str | None, typer.Option(help="What the track's rules call the calibration's data.")
    ] = None,
    pair: Annotated[str, typer.Option(metavar="|".join(PAIRS), help="Language pair.")] = DEFAULT_PAIR,
    base_model: Annotated[
        str | None, typer.Option(help="Hub id to record for a checkpoint folder that does not tell it.")
    ] = None,
) -> None:
    """Build one checkpoint to several sizes, and measure what each costs.

    Calibrates once. Each artifact can be used when it is there; killed, the command goes on when started again.

    Example: iwsltpack frontier CHECKPOINT --sizes 4GB,3GB,2GB --calibration DEVSET --data OTHERSET
    """
    from iwsltpack.building.recipes import load_recipe
    from iwsltpack.building.request import BuildRequest
    from iwsltpack.building.source import find_source
    from iwsltpack.calibration.data import CalibrationRequest
    from iwsltpack.report.size_frontier import RESULT, peers, size_frontier, table
    from iwsltpack.system import fileio

    model_id = base_model or (None if Path(source).is_dir() else source)
    with console.reporter() as reporter:
        build = BuildRequest(
            find_source(source, None), output, load_recipe(recipe), coding, model_id=model_id
        )
        asked = CalibrationRequest(data=calibration, name=calibration_name, pair=pair)
        rows = size_frontier(build, asked, sizes.split(","), data, references, reporter)
    console.result(fileio.read_json(output / RESULT), table(rows))
    console.say("Published by others, measured by them on other data:")
    for peer in peers():
        console.say(f"{peer['gb']:>6} GB  {peer['name']}: {peer['quality']}")
