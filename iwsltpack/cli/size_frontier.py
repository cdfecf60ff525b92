"""``iwsltpack frontier``."""

from pathlib import Path

from iwsltpack.cli import console
from iwsltpack.documents.choices import DEFAULT_PAIR, DEFAULT_SOURCE
from iwsltpack.system import fileio


def command(
    source: str = DEFAULT_SOURCE,
    *,
    sizes: str,
    calibration: Path,
    data: Path,
    references: Path | None = None,
    output: Path = Path("frontier"),
    recipe: str = "calibrated",
    coding: str | None = None,
    calibration_name: str | None = None,
    pair: str = DEFAULT_PAIR,
    base_model: str | None = None,
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
