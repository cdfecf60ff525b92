"""``iwsltpack build``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iwsltpack.artifact.location import folder_bytes
from iwsltpack.artifact.sizes import GIB, sizes_of
from iwsltpack.cli import console
from iwsltpack.cluster.shards import Shard, read_sharing
from iwsltpack.documents.choices import DEFAULT_RECIPE, DEFAULT_SOURCE, DEFAULT_VERSION
from iwsltpack.documents.names import ARTIFACTS_DIR
from iwsltpack.errors import UsageError
from iwsltpack.system.tables import Table, columns

if TYPE_CHECKING:
    from iwsltpack.building.request import BuildRequest
    from iwsltpack.building.size import SizeTarget
    from iwsltpack.calibration.data import CalibrationRequest
    from iwsltpack.documents.artifact import ArtifactManifest


def command(
    source: str = DEFAULT_SOURCE,
    *,
    output: Path | None = None,
    recipe: str = DEFAULT_RECIPE,
    coding: str | None = None,
    format_version: int = DEFAULT_VERSION,
    calibration: Path | None = None,
    references: Path | None = None,
    calibration_name: str | None = None,
    pair: str | None = None,
    step: float | None = None,
    target_size: str | None = None,
    bits: float | None = None,
    damping: float | None = None,
    matrices: Path | None = None,
    revision: str | None = None,
    base_model: str | None = None,
    workers: int | None = None,
    shard: str | None = None,
    dask: str | None = None,
    list_: bool = False,
) -> None:
    """Compress a checkpoint into an artifact.

    Streams tensor by tensor and checks every chunk it wrote. Killed, it goes on where it stopped when started again,
    also in another mode: the bytes are the same on one machine, on a cluster and in shards.

    Example: iwsltpack build Qwen/Qwen2-Audio-7B-Instruct --recipe selected-q3 --output artifacts/q3

    Calibrated: iwsltpack build CHECKPOINT --recipe calibrated --calibration DEVSET --target-size 3.0GB -o artifacts/c
    """
    if list_:
        _list()
        return
    from iwsltpack.building.recipes import load_recipe
    from iwsltpack.building.request import BuildRequest
    from iwsltpack.building.source import find_source

    share = _check_sharing(shard, dask, workers)
    loaded = load_recipe(recipe)
    target = output or Path(ARTIFACTS_DIR) / (f"{loaded.name}-{coding}" if coding else loaded.name)
    request = BuildRequest(
        Path(source),
        target,
        loaded,
        coding,
        format_version=format_version,
        matrices=matrices,
        model_id=base_model or (None if Path(source).is_dir() else source),
        revision=revision,
        workers=workers,
        target=_target(target_size, bits),
    )
    settings = {"pair": pair, "step": step, "damping": damping, "references": references}
    data = _calibration(request, calibration, {**settings, "name": calibration_name}, share)
    request.check()
    names: list[str] = []
    manifest: ArtifactManifest | None = None
    with console.reporter() as reporter:
        request = replace(request, source=find_source(source, revision))
        if data is not None:
            from iwsltpack.calibration.calibrated_build import build_calibrated

            manifest = build_calibrated(request, data, cluster=dask, progress=reporter)
        elif share is None:
            from iwsltpack.building.pipeline import build_artifact

            manifest = build_artifact(request, cluster=dask, progress=reporter)
        else:
            from iwsltpack.building.shards import build_shard

            names = build_shard(request, shard=share, progress=reporter)
    if manifest is not None:
        tell_artifact(target, manifest)
    else:
        console.say(
            f"shard {share}: {len(names)} tensors packed; with all shards: iwsltpack merge {target}", "green"
        )


def _target(size: str | None, bits: float | None) -> SizeTarget | None:
    """Return what the artifact is to weigh, or None; two sizes are refused."""
    from iwsltpack.building.size import SizeTarget, parse_size

    if size is not None and bits is not None:
        raise UsageError("--target-size and --bits are two sizes for one artifact", fix="give one of them")
    if size is None and bits is None:
        return None
    return SizeTarget(bytes=None if size is None else parse_size(size), bits=bits)


def _calibration(
    request: BuildRequest, data: Path | None, settings: dict[str, Any], shard: Shard | None
) -> CalibrationRequest | None:
    """Return what is to be calibrated on, or None; refuse what would be ignored, before anything is read."""
    given = {name: value for name, value in settings.items() if value is not None}
    if request.target is not None and "step" in given:
        raise UsageError(
            "--step fixes the size, and a size is asked for", got=str(request.target), fix="give one"
        )
    if data is None:
        # The pair may be a setting for every command of the folder.
        given.pop("pair", None)
        if given:
            from iwsltpack.building.request import NO_DATA

            named = ", ".join("--calibration-name" if name == "name" else f"--{name}" for name in given)
            raise UsageError("settings of a calibration, and no data for one", got=named, fix=NO_DATA)
    request.check_calibration(data, shared=shard is not None)
    if data is None:
        return None
    from iwsltpack.calibration.data import CalibrationRequest

    return CalibrationRequest(data=data, **given)


def tell_artifact(target: Path, manifest: ArtifactManifest) -> None:
    """Sum a finished artifact up, and print its path."""
    sizes = sizes_of(manifest, folder_bytes(target))
    console.say(
        f"{target}: {sizes.total_bytes:,} bytes ({sizes.total_bytes / GIB:.3f} GiB) on disk, "
        f"{sizes.ratio:.2f}x smaller than the source's {sizes.source_bytes / GIB:.3f} GiB",
        "green",
    )
    if blank := [tensor.name for tensor in manifest.tensors if tensor.entropy_bits == 0]:
        told = f"{len(blank)} tensors hold one value alone: {blank[0]} …"
        console.say(f"{told}; the recipe rounds too coarsely for them", "yellow")
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

    recipes = [(recipe.name, recipe.description) for recipe in BUILT_IN.values()]
    codings = [(coding.name, coding.summary) for coding in CODINGS.values()]
    console.result(
        {"recipes": dict(recipes), "codings": dict(codings)},
        Table(columns("recipe", prose=["what it does"]), recipes),
        Table(columns("coding", prose=["what it does"]), codings),
    )
