"""``iwsltpack build``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iwsltpack.cli import console
from iwsltpack.cli.sharing import DaskOption, ShardOption, read_sharing
from iwsltpack.documents.choices import (
    DEFAULT_CODING,
    DEFAULT_PAIR,
    DEFAULT_RECIPE,
    DEFAULT_SOURCE,
    DEFAULT_STEP,
    DEFAULT_VERSION,
)
from iwsltpack.documents.names import ARTIFACTS_DIR, PAIRS
from iwsltpack.errors import UsageError

if TYPE_CHECKING:
    from iwsltpack.calibration.data import CalibrationRequest
    from iwsltpack.cluster.shards import Shard
    from iwsltpack.documents.recipe import Recipe

NO_DATA = "name data to calibrate on: --calibration DEVSET"


def command(
    source: Annotated[str, typer.Argument(help="Checkpoint folder, or a hub id.")] = DEFAULT_SOURCE,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to create; default: artifacts/RECIPE-CODING."),
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="Built-in recipe (`--list` shows them) or a .toml/.json file.")
    ] = DEFAULT_RECIPE,
    coding: Annotated[
        str, typer.Option(help="How it is packed (`--list` shows the codings); the weights are the same.")
    ] = DEFAULT_CODING,
    format_version: Annotated[
        int, typer.Option(help="Of the artifact's format: 1, or 2, which older iwsltpack cannot read.")
    ] = DEFAULT_VERSION,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Test set to calibrate on, for recipes with calibrated rules: anything decode reads."
        ),
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(help="What its segments should say; default: what the model itself says of them."),
    ] = None,
    calibration_name: Annotated[
        str | None,
        typer.Option(help="What the track's rules call that data; default: the name of the test set."),
    ] = None,
    pair: Annotated[
        str | None,
        typer.Option(metavar="|".join(PAIRS), help=f"Of the calibration; default: {DEFAULT_PAIR}."),
    ] = None,
    step: Annotated[
        float | None,
        typer.Option(
            help=f"Of the calibration; half of it adds about one bit a weight; default: {DEFAULT_STEP:g}."
        ),
    ] = None,
    damping: Annotated[
        float | None,
        typer.Option(
            help="Of the calibration, as a share of the mean input; default: by the number of tokens."
        ),
    ] = None,
    matrices: Annotated[
        Path | None,
        typer.Option(help="Folder with what a calibration made of tensors, NAME.matrix; needs format 2."),
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Commit or tag of the hub model.")] = None,
    base_model: Annotated[
        str | None, typer.Option(help="Hub id to record for a checkpoint folder that does not tell it.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Tensors packed at a time; default: six more than cores.")
    ] = None,
    shard: ShardOption = None,
    dask: DaskOption = None,
    list_: Annotated[
        bool, typer.Option("--list", help="List the built-in recipes and codings, and stop.")
    ] = False,
) -> None:
    """Compress a checkpoint into an artifact.

    Streams tensor by tensor and checks every chunk it wrote. Killed, it goes on where it stopped when started again,
    also in another mode: the bytes are the same on one machine, on a cluster and in shards.

    Example: iwsltpack build Qwen/Qwen2-Audio-7B-Instruct --recipe selected-q3 --output artifacts/q3

    Calibrated: iwsltpack build CHECKPOINT --recipe calibrated --calibration DEVSET --pair en-zh --output artifacts/c
    """
    if list_:
        _list()
        return
    from iwsltpack.building.pipeline import build_artifact, check_request
    from iwsltpack.building.recipes import load_recipe
    from iwsltpack.building.source import find_source

    share = _check_sharing(shard, dask, workers)
    loaded = load_recipe(recipe)
    settings = {"pair": pair, "step": step, "damping": damping, "references": references}
    request = _calibration(loaded, calibration, {**settings, "name": calibration_name}, matrices, share)
    target = output or Path(ARTIFACTS_DIR) / f"{loaded.name}-{coding}"
    check_request(target, loaded, coding, format_version)
    names: list[str] = []
    with console.reporter() as reporter:
        folder = find_source(source, revision)
        known: dict[str, Any] = {
            "format_version": format_version,
            "model_id": base_model or (None if Path(source).is_dir() else source),
            "revision": revision,
            "workers": workers,
            "progress": reporter,
        }
        if request is not None:
            from iwsltpack.calibration.calibrated_build import build_calibrated

            build_calibrated(folder, target, loaded, coding, request, cluster=dask, **known)
        elif share is None:
            build_artifact(folder, target, loaded, coding, matrices=matrices, cluster=dask, **known)
        else:
            from iwsltpack.building.shards import build_shard

            names = build_shard(folder, target, loaded, coding, shard=share, matrices=matrices, **known)
    if share is None:
        tell_artifact(target)
    else:
        console.say(
            f"shard {share}: {len(names)} tensors packed; with all shards: iwsltpack merge {target}", "green"
        )


def _calibration(
    recipe: Recipe,
    data: Path | None,
    settings: dict[str, Any],
    matrices: Path | None,
    shard: Shard | None,
) -> CalibrationRequest | None:
    """Return what is to be calibrated on, or None; refuse what would be ignored, before anything is read."""
    given = {name: value for name, value in settings.items() if value is not None}
    if data is None:
        # The pair may be a setting for every command of the folder.
        given.pop("pair", None)
        if given:
            named = ", ".join("--calibration-name" if name == "name" else f"--{name}" for name in given)
            raise UsageError("settings of a calibration, and no data for one", got=named, fix=NO_DATA)
        if recipe.calibrated and matrices is None:
            raise UsageError("the recipe is calibrated, and there is no data", where=recipe.name, fix=NO_DATA)
        return None
    if not recipe.calibrated:
        raise UsageError(
            "the recipe has nothing to calibrate",
            where=recipe.name,
            expected='a rule with quantizer = "calibrated"',
            fix="leave --calibration out, or build with --recipe calibrated",
        )
    if matrices is not None or shard is not None:
        raise UsageError(
            "--calibration does not go together with --matrices or --shard",
            fix="build it in one piece: what takes the time is the calibration, not the packing",
        )
    from iwsltpack.calibration.data import CalibrationRequest

    return CalibrationRequest(data=data, **given)


def tell_artifact(target: Path) -> None:
    """Sum a finished artifact up, and print its path."""
    from iwsltpack.artifact.sizes import GIB, measure

    sizes = measure(target)
    console.say(
        f"{target}: {sizes.total_bytes:,} bytes ({sizes.total_bytes / GIB:.3f} GiB) on disk, "
        f"{sizes.ratio:.2f}x smaller than the source's {sizes.source_bytes / GIB:.3f} GiB",
        "green",
    )
    console.result({"output": str(target), **sizes.to_json()}, str(target))


def _check_sharing(shard: str | None, dask: str | None, workers: int | None) -> Shard | None:
    """Refuse options that exclude each other, and addresses that cannot be, before anything is read."""
    if dask is not None and workers is not None:
        raise UsageError(
            "--workers and --dask do not go together",
            fix="the cluster has its own workers; --dask local:N starts N of them here",
        )
    return read_sharing(shard, dask)


def _list() -> None:
    from iwsltpack.building.recipes import BUILT_IN
    from iwsltpack.codecs.registry import CODINGS
    from iwsltpack.system.tables import Column, Table

    what = Column(heading="what it does", prose=True)
    recipes = [(recipe.name, recipe.description) for recipe in BUILT_IN.values()]
    codings = [(coding.name, coding.summary) for coding in CODINGS.values()]
    console.result(
        {"recipes": dict(recipes), "codings": dict(codings)},
        Table((Column(heading="recipe"), what), recipes),
        Table((Column(heading="coding"), what), codings),
    )
