"""``iwsltpack build``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iwsltpack.cli import console
from iwsltpack.cli.sharing import DaskOption, ShardOption, read_sharing
from iwsltpack.documents.choices import DEFAULT_CODING, DEFAULT_RECIPE, DEFAULT_SOURCE, DEFAULT_VERSION
from iwsltpack.documents.names import ARTIFACTS_DIR
from iwsltpack.errors import UsageError

if TYPE_CHECKING:
    from iwsltpack.cluster.shards import Shard


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
    """
    if list_:
        _list()
        return
    from iwsltpack.building.pipeline import build_artifact, check_request
    from iwsltpack.building.recipes import load_recipe
    from iwsltpack.building.source import find_source

    share = _check_sharing(shard, dask, workers)
    loaded = load_recipe(recipe)
    target = output or Path(ARTIFACTS_DIR) / f"{loaded.name}-{coding}"
    check_request(target, loaded, coding, format_version)
    names: list[str] = []
    with console.reporter() as reporter:
        folder = find_source(source, revision)
        known: dict[str, Any] = {
            "format_version": format_version,
            "matrices": matrices,
            "model_id": base_model or (None if Path(source).is_dir() else source),
            "revision": revision,
            "workers": workers,
            "progress": reporter,
        }
        if share is None:
            build_artifact(folder, target, loaded, coding, cluster=dask, **known)
        else:
            from iwsltpack.building.shards import build_shard

            names = build_shard(folder, target, loaded, coding, shard=share, **known)
    if share is None:
        tell_artifact(target)
    else:
        console.say(
            f"shard {share}: {len(names)} tensors packed; with all shards: iwsltpack merge {target}", "green"
        )


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
