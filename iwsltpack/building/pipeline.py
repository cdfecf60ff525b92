"""Build an artifact: streamed tensor by tensor, on all cores, resumable, the same bytes every time.

Everything is written into ``OUTPUT.partial/artifact`` (see `partial`); only when every tensor is written and checked
is the manifest added and that folder renamed. A journal beside it says which tensors are done; a build that was killed,
even between the last two steps, goes on from there when it is started again with the same source, recipe and coding,
on this machine, on a cluster or in shards.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeVar

from iwsltpack.artifact import side_files, zarr_metadata
from iwsltpack.building import publishing
from iwsltpack.building.bnb_int8 import int8_checkpoint
from iwsltpack.building.checkpoint import open_checkpoint
from iwsltpack.building.mlp_layers import stacked_experts
from iwsltpack.building.partial import (
    ARTIFACT,
    BuildPlan,
    PlannedTensor,
    SourceFile,
    agree,
    check_absent,
    finished,
    journal_of,
    lock_partial,
)
from iwsltpack.building.plan import adapt_side_files, check_storable, plan_tensors
from iwsltpack.building.tensor_writer import write_tensor
from iwsltpack.cluster.versions import PACKAGES
from iwsltpack.codecs.registry import coding_in
from iwsltpack.documents.artifact import ArtifactManifest, BaseModel, Calibration, Tensor, Tool
from iwsltpack.documents.choices import DEFAULT_CODING, DEFAULT_VERSION
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.documents.names import MANIFEST_NAME
from iwsltpack.documents.places import refuse_inside
from iwsltpack.errors import InputError, UsageError
from iwsltpack.quantizers.scales import find_matrices
from iwsltpack.system import fileio, memory
from iwsltpack.system.progress import SILENT, Reporter
from iwsltpack.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from iwsltpack.building.checkpoint import Checkpoint
    from iwsltpack.building.partial import BuildJournal, Written
    from iwsltpack.building.plan import TensorPlan
    from iwsltpack.codecs.chain import Coding
    from iwsltpack.documents.recipe import Recipe

T = TypeVar("T")
SPARE_WORKERS = 6
"""Writers beyond one a core: they fill the time the others wait for disk or interpreter."""
UNNAMED = (
    "the checkpoint does not tell which hub model it is, so the submission will be derived from {}: add "
    "--base-model OWNER/NAME here, or later to submit"
)


@dataclass(frozen=True, kw_only=True)
class BuildJob:
    """All that is known of a build before a tensor is packed.

    Attributes
    ----------
    checkpoint
        The source.
    plans
        What becomes of each tensor; their sources may lie in a checkpoint that another library made of it.
    side
        Name -> bytes of the files beside the weights.
    coding
        How tensors are packed.
    matrices
        Files with matrices that a calibration made, by tensor.
    plan
        The same, as it is written down.
    state
        Of the source's files, before any tensor was read; see `Checkpoint.state`.
    """

    checkpoint: Checkpoint
    matrices: dict[str, Path]
    plans: list[TensorPlan]
    side: dict[str, bytes]
    coding: Coding
    plan: BuildPlan
    state: str

    def check_source(self, partial_folder: Path) -> None:
        """Refuse to finish if the checkpoint is not what it was in the beginning."""
        if (
            _stamp(self.checkpoint, self.matrices) != self.plan.source
            or self.checkpoint.state() != self.state
        ):
            raise InputError(
                "the checkpoint changed while it was being packed",
                where=self.checkpoint.folder,
                fix=f"remove {partial_folder} and build again",
            )

    def note(self, journal: BuildJournal, written: Written) -> Written:
        """Record a finished tensor; return it as recorded."""
        tensor, files = from_origin(written[0], self.checkpoint), written[1]
        journal.add((tensor, files), self.state)
        return tensor, files


def build_artifact(
    source: Path,
    output: Path,
    recipe: Recipe,
    coding_name: str = DEFAULT_CODING,
    *,
    format_version: int = DEFAULT_VERSION,
    matrices: Path | None = None,
    calibration: Calibration | None = None,
    model_id: str | None = None,
    revision: str | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    progress: Reporter = SILENT,
) -> ArtifactManifest:
    """Build the artifact of a checkpoint folder.

    Parameters
    ----------
    source
        Folder with safetensors, configuration and processor files.
    output
        Folder to create; its parent is created if need be.
    recipe, coding_name
        What is rounded or pruned, and how the result is packed.
    format_version
        Of the artifact's format: 1, or 2, which older versions of this program cannot read.
    matrices
        Folder with what a calibration made of tensors, each a `QuantizedMatrix` in ``NAME.matrix``: packed in their
        place, whatever the recipe says. Needs format 2.
    calibration
        What they were made from, for the manifest.
    model_id, revision
        Hub name and commit of the source, where the folder does not tell.
    workers
        Tensors written at a time; default: six more than cores. Not for a cluster, which has workers of its own.
    cluster
        Address of a dask cluster that packs the tensors (see `iwsltpack.cluster.connection.connect`); source and
        output lie in folders that all its workers see.

    Returns
    -------
    ArtifactManifest
        As written, or as it was: what is finished already is not built again.

    Raises
    ------
    UsageError
        `output` is something else, or a partial build of something else lies there.
    InputError, ArtifactError, ResourceError
        See `open_checkpoint`, `write_tensor` and `pack_on_cluster`. The partial folder stays and is gone on with.
    """
    memory.keep_freed_blocks()
    packing = check_request(output, recipe, coding_name, format_version)
    if (manifest := finished_build(source, output, model_id, revision)) is not None:
        progress.say(f"{output}: built already, of this checkpoint, recipe and coding")
        return manifest
    with (
        prepared_job(
            source,
            output,
            recipe,
            packing,
            model_id,
            revision,
            matrices,
            calibration=calibration,
            alone=cluster is None,
            progress=progress,
        ) as job,
        fileio.disk_errors(output),
        lock_partial(output) as partial_folder,
    ):
        agree(partial_folder, job.plan)
        artifact = partial_folder / ARTIFACT
        written = _write_all(partial_folder, job, workers, cluster, progress)
        job.check_source(partial_folder)
        publishing.write_side_files(artifact, job.side)
        manifest = publishing.seal(artifact, job.plan, written)
        publishing.publish(artifact, output)
    return manifest


@contextmanager
def prepared_job(
    source: Path,
    output: Path,
    recipe: Recipe,
    packing: Coding,
    model_id: str | None,
    revision: str | None,
    matrices: Path | None,
    *,
    calibration: Calibration | None = None,
    alone: bool,
    progress: Reporter,
) -> Iterator[BuildJob]:
    """Look at source and recipe and plan the build.

    Parameters
    ----------
    source, output, recipe, packing, model_id, revision, matrices, calibration
        As for `build_artifact`.
    alone
        Whether this process does all the work; some recipes cannot be shared.
    progress
        Shows what another library does first.

    Raises
    ------
    UsageError
        `output` exists; the recipe does not fit the model, or cannot be shared.
    InputError
        See `open_checkpoint`.
    """
    if recipe.engine != "codec" and (matrices is not None or not alone):
        raise UsageError(
            "another library packs this recipe, in one piece",
            where=recipe.name,
            fix="build it without --dask, --shard and --matrices",
        )
    checkpoint = open_checkpoint(source)
    files = {} if matrices is None else find_matrices(matrices)
    stamp, state = _stamp(checkpoint, files), checkpoint.state()
    base = _base_model(checkpoint, model_id, revision)
    draft = replace(draft_manifest(checkpoint, recipe, packing), base_model=base, calibration=calibration)
    if draft.base_model.id is None:
        progress.say(UNNAMED.format(draft.base_model.architecture))
    with _prepared(source, recipe, output, progress) as folder:
        prepared = checkpoint if folder == source else open_checkpoint(folder)
        plans, side = plan_tensors(prepared, recipe, files), side_files.collect(folder)
        check_storable(plans, packing)
        if missing := side_files.missing(side):
            progress.say(
                f"without {' and '.join(missing)} this artifact can be inspected, but not decoded with"
            )
        if (vocabulary := adapt_side_files(side, plans)) is not None:
            progress.say(f"dropped tokens: {vocabulary}")
        stacked = stacked_experts({name: tensor.shape for name, tensor in prepared.tensors.items()})
        if stacked and recipe.layers:
            progress.say(
                f"kept lossless: experts stacked in one tensor, {len(stacked)} of them: {stacked[0]} …"
            )
        plan = BuildPlan(
            manifest=replace(draft, vocabulary=vocabulary),
            source=stamp,
            tensors=tuple(PlannedTensor(name=plan.source.name, bytes=plan.source.nbytes) for plan in plans),
            side=publishing.describe_side_files(side),
        )
        yield BuildJob(
            checkpoint=checkpoint,
            matrices=files,
            plans=plans,
            side=side,
            coding=packing,
            plan=plan,
            state=state,
        )


def draft_manifest(checkpoint: Checkpoint, recipe: Recipe, packing: Coding) -> ArtifactManifest:
    """Return what the manifest will say before a tensor is planned."""
    return ArtifactManifest(
        format_version=packing.format_version,
        tool=Tool(version=__version__, libraries={name: version(name) for name in PACKAGES}),
        base_model=_base_model(checkpoint, None, None),
        recipe=recipe,
        coding=packing.name,
        tensors=(),
        files=(),
    )


def _base_model(checkpoint: Checkpoint, model_id: str | None, revision: str | None) -> BaseModel:
    source = checkpoint.folder
    config = side_files.collect(source)[side_files.CONFIG]
    known_id, known_revision = side_files.origin(source)
    return BaseModel(
        id=model_id or known_id,
        revision=revision or known_revision,
        architecture=side_files.architecture(config, source / side_files.CONFIG),
        bytes=checkpoint.nbytes,
        parameters=sum(tensor.count for tensor in checkpoint.tensors.values()),
        license=side_files.license_of(source),
        sha256=checkpoint.sha256,
    )


def check_request(
    output: Path, recipe: Recipe, coding_name: str, format_version: int = DEFAULT_VERSION
) -> Coding:
    """Refuse what needs no look at the source, before hours may be spent on fetching it; return the coding."""
    packing = coding_in(format_version, coding_name)
    refuse_inside(output.parent)
    if not (output / MANIFEST_NAME).is_file():
        check_absent(output)
        return packing
    found = read_manifest(output)
    if (found.recipe, found.coding, found.format_version) != (recipe, coding_name, format_version):
        raise _occupied(output, found)
    return packing


def finished_build(
    source: Path, output: Path, model_id: str | None, revision: str | None
) -> ArtifactManifest | None:
    """Return the artifact at `output`, which passed `check_request`, or None where nothing lies there.

    The checkpoint is known again by the headers of its files, and by their times, which are before the artifact's.

    Raises
    ------
    UsageError
        It is another checkpoint's.
    InputError
        See `open_checkpoint`.
    """
    if not os.path.lexists(output):
        return None
    found, checkpoint = read_manifest(output), open_checkpoint(source)
    newest = max(file.mtime_ns for file in _stamp(checkpoint, {}))
    older = newest <= (output / MANIFEST_NAME).stat().st_mtime_ns
    if not older or found.base_model != _base_model(checkpoint, model_id, revision):
        raise _occupied(output, found)
    return found


def _occupied(output: Path, found: ArtifactManifest) -> UsageError:
    base, coding = found.base_model, f"{found.coding} in format {found.format_version}"
    return UsageError(
        "the output exists, and is another artifact than this request makes",
        where=output,
        got=f"recipe {found.recipe.name}, coding {coding}, of {base.id or base.architecture}",
        fix="choose another --output, or remove it",
    )


@contextmanager
def _prepared(source: Path, recipe: Recipe, output: Path, progress: Reporter) -> Iterator[Path]:
    """Give the folder whose tensors are packed: the source, or what another library made of it."""
    if recipe.engine == "codec":
        yield source
        return
    with fileio.disk_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
    with int8_checkpoint(source, output.parent, progress) as folder:
        yield folder


def _stamp(checkpoint: Checkpoint, matrices: Mapping[str, Path]) -> tuple[SourceFile, ...]:
    """Tell the state of all files that are packed; it changes when one of them is written to or replaced."""
    found = [(path.name, path.stat()) for path in (*checkpoint.files, *matrices.values())]
    return tuple(
        SourceFile(name=name, bytes=state.st_size, mtime_ns=state.st_mtime_ns) for name, state in found
    )


def _write_all(
    partial_folder: Path, job: BuildJob, workers: int | None, cluster: str | None, progress: Reporter
) -> dict[str, Written]:
    """Pack what is not packed yet; return every tensor by name."""
    zarr_metadata.create_group(partial_folder / ARTIFACT, job.plan.manifest.format_version)
    sizes, journal = job.plan.sizes, journal_of(partial_folder)
    progress.start("building", sum(sizes.values()), "bytes")
    done = finished(partial_folder, sizes, sizes, progress, source=job.state)
    if done:
        progress.say(f"{len(done)} of {len(sizes)} tensors were packed before; going on")
    todo = [plan for plan in job.plans if plan.source.name not in done]

    def note(written: Written) -> None:
        noted = job.note(journal, written)
        done[noted[0].name] = noted

    if cluster is None:
        _write_here(partial_folder / ARTIFACT, todo, job.coding, workers, note, progress)
    elif todo:
        from iwsltpack.building.dask import pack_on_cluster

        pack_on_cluster(cluster, partial_folder, todo, job.coding, job.plan.source, note, progress)
    progress.finish()
    return done


def _write_here(
    folder: Path,
    todo: list[TensorPlan],
    packing: Coding,
    workers: int | None,
    note: Callable[[Written], None],
    progress: Reporter,
) -> None:
    stop = threading.Event()

    def work(plan: TensorPlan) -> None:
        progress.note(plan.source.name)
        note(write_tensor(folder, plan, packing, progress, stop))

    # The largest first, so that no core is left alone with one at the end.
    ordered = sorted(todo, key=lambda plan: -plan.source.nbytes)
    in_threads(work, ordered, workers or (os.cpu_count() or 1) + SPARE_WORKERS, stop)


def in_threads(work: Callable[[T], None], items: Sequence[T], workers: int, stop: threading.Event) -> None:
    """Call `work` on every item, `workers` at a time; the first error sets `stop`, ends the rest and is raised."""
    with ThreadPoolExecutor(workers, thread_name_prefix="build") as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            finished_, _ = wait(futures, return_when=FIRST_EXCEPTION)
            # In order: of several errors, that of the item handed out first.
            for future in futures:
                if future in finished_:
                    future.result()
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def from_origin(tensor: Tensor, checkpoint: Checkpoint) -> Tensor:
    """Name the checkpoint's own tensor as the source, also where another library came between."""
    origin = checkpoint.tensors.get(tensor.name)
    if origin is None:
        return replace(tensor, source_shape=(0,))
    return replace(tensor, source_shape=origin.shape, source_dtype=origin.dtype.name)
