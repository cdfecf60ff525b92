"""Build an artifact: streamed tensor by tensor, on all cores, resumable, the same bytes every time.

Everything is written into ``OUTPUT.partial/artifact`` (see `partial`); only when every tensor is written and checked
is the manifest added and that folder renamed. A journal beside it says which tensors are done; a build that was killed,
even between the last two steps, goes on from there when it is started again with the same source, recipe and coding,
on this machine, on a cluster or in shards.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from iwsltpack.artifact import side_files
from iwsltpack.building import partial, publishing
from iwsltpack.building.bnb_int8 import int8_checkpoint
from iwsltpack.building.checkpoint import Checkpoint, open_checkpoint
from iwsltpack.building.mlp_layers import stacked_experts
from iwsltpack.building.plan import TensorPlan, adapt_side_files, check_storable, plan_tensors
from iwsltpack.building.request import BuildRequest, remember, stamp
from iwsltpack.building.staging import Bundle, Staged, adopt, bundled, pack_bundle
from iwsltpack.cluster.shards import Shard
from iwsltpack.cluster.versions import PACKAGES
from iwsltpack.documents.artifact import ArtifactManifest, Tensor, Tool
from iwsltpack.errors import InputError, UsageError
from iwsltpack.quantizers.scales import find_matrices
from iwsltpack.system import fileio, memory
from iwsltpack.system.progress import SILENT, Reporter
from iwsltpack.system.threads import for_each
from iwsltpack.version import __version__

SPARE_WORKERS = 6
"""Writers beyond one a core: they fill the time the others wait for disk or interpreter."""


@dataclass(frozen=True, kw_only=True)
class BuildJob:
    """All that is known of a build before a tensor is packed; `plan` is what of it is written down.

    Attributes
    ----------
    matrices
        Files with matrices that a calibration made, by tensor.
    plans
        What becomes of each tensor; their sources may lie in a checkpoint that another library made of it.
    side
        Name -> bytes of the files beside the weights.
    state
        Of the source's files, before any tensor was read; see `Checkpoint.state`.
    """

    request: BuildRequest
    checkpoint: Checkpoint
    matrices: dict[str, Path]
    plans: list[TensorPlan]
    side: dict[str, bytes]
    plan: partial.BuildPlan
    state: str

    def check_source(self, partial_folder: Path) -> None:
        """Refuse to finish if the checkpoint is not what it was in the beginning."""
        if stamp(self.checkpoint, self.matrices) != self.plan.source or self.checkpoint.state() != self.state:
            raise InputError(
                "the checkpoint changed while it was being packed",
                where=self.checkpoint.folder,
                fix=f"remove {partial_folder} and build again",
            )


def build_artifact(
    request: BuildRequest, *, cluster: str | None = None, progress: Reporter = SILENT
) -> ArtifactManifest:
    """Build the artifact of a checkpoint folder; what is finished already is not built again.

    Parameters
    ----------
    cluster
        Address of a dask cluster that packs the tensors (see `iwsltpack.cluster.connection.connect`); source and
        output lie in folders that all its workers see. It has workers of its own.

    UsageError: the output is something else, or a partial build of something else lies there. InputError,
    ArtifactError, ResourceError: see `open_checkpoint`, `write_tensor` and `pack_on_cluster`; the partial folder stays
    and is gone on with.
    """
    memory.keep_freed_blocks()
    output = request.output
    request.check()
    if request.target is not None:
        raise UsageError("only a calibrated build can meet a size", got=str(request.target))
    if (manifest := request.finished()) is not None:
        partial.sweep(output)
        progress.say(f"{output}: built already, of this checkpoint, recipe and coding")
        return manifest
    with (
        prepared_job(request, alone=cluster is None, progress=progress) as job,
        fileio.disk_errors(output),
        partial.lock_partial(output) as partial_folder,
    ):
        partial.agree(partial_folder, job.plan)
        written = pack(job, partial_folder, job.plan.sizes, progress, cluster=cluster)
        job.check_source(partial_folder)
        publishing.write_side_files(partial_folder / partial.ARTIFACT, job.side)
        manifest = publishing.seal(partial_folder / partial.ARTIFACT, job.plan, written)
        publishing.publish(partial_folder / partial.ARTIFACT, output)
        remember(manifest, job.plan.source)
    return manifest


@contextmanager
def prepared_job(request: BuildRequest, *, alone: bool, progress: Reporter) -> Iterator[BuildJob]:
    """Plan the build of a request that has passed its `check`; `alone` where this process does all the work.

    UsageError: the recipe does not fit the model, or cannot be shared. InputError: see `open_checkpoint`.
    """
    recipe = request.recipe
    if recipe.engine != "codec" and (request.matrices is not None or not alone):
        raise UsageError(
            "another library packs this recipe, in one piece",
            where=recipe.name,
            fix="build it without --dask, --shard and --matrices",
        )
    checkpoint = open_checkpoint(request.source)
    files = {} if request.matrices is None else find_matrices(request.matrices)
    source, state = stamp(checkpoint, files), checkpoint.state()
    draft = draft_manifest(request, checkpoint)
    if draft.base_model.id is None:
        progress.say(
            "the checkpoint does not tell which hub model it is, so the submission will be derived from "
            f"{draft.base_model.architecture}: add --base-model OWNER/NAME here, or later to submit"
        )
    with _prepared(request, progress) as folder:
        prepared = checkpoint if folder == request.source else open_checkpoint(folder)
        plans = plan_tensors(prepared, recipe, files)
        side = side_files.collect(folder, quantized=prepared is not checkpoint)
        check_storable(plans, request.coding)
        publishing.check_side_files(side, request.source, progress)
        if (vocabulary := adapt_side_files(side, plans)) is not None:
            progress.say(f"dropped tokens: {vocabulary}")
        stacked = stacked_experts({name: tensor.shape for name, tensor in prepared.tensors.items()})
        if stacked and recipe.layers:
            progress.say(
                f"kept lossless: experts stacked in one tensor, {len(stacked)} of them: {stacked[0]} …"
            )
        plan = partial.BuildPlan(
            manifest=replace(draft, vocabulary=vocabulary),
            source=source,
            sizes={plan.source.name: plan.source.nbytes for plan in plans},
            side=publishing.describe_side_files(side),
        )
        yield BuildJob(
            request=request,
            checkpoint=checkpoint,
            matrices=files,
            plans=plans,
            side=side,
            plan=plan,
            state=state,
        )


def draft_manifest(request: BuildRequest, checkpoint: Checkpoint) -> ArtifactManifest:
    """Return what the manifest will say before a tensor is planned."""
    return ArtifactManifest(
        format_version=request.coding.format_version,
        tool=Tool(version=__version__, libraries={name: version(name) for name in PACKAGES}),
        base_model=request.base_model(checkpoint),
        recipe=request.recipe,
        coding=request.coding.name,
        calibration=request.calibration,
        tensors=(),
        files=(),
    )


def _prepared(request: BuildRequest, progress: Reporter) -> AbstractContextManager[Path]:
    """Give the folder whose tensors are packed: the source, or what another library made of it."""
    if request.recipe.engine == "codec":
        return nullcontext(request.source)
    parent = request.output.parent
    with fileio.disk_errors(request.output):
        parent.mkdir(parents=True, exist_ok=True)
    return int8_checkpoint(request.source, parent, progress)


def pack(
    job: BuildJob,
    partial_folder: Path,
    names: Iterable[str],
    progress: Reporter,
    *,
    shard: Shard | None = None,
    cluster: str | None = None,
) -> dict[str, partial.Written]:
    """Pack those of the tensors called `names` that are not packed yet, here or on a cluster; return all by name."""
    sizes, journal = job.plan.sizes, partial.journal_of(partial_folder, shard)
    wanted = {name: sizes[name] for name in names}
    what = "building" if shard is None else f"building shard {shard}"
    progress.start(what, sum(wanted.values()), "bytes")
    done = partial.finished(partial_folder, wanted, sizes, progress, source=job.state)
    if done:
        progress.say(f"{len(done)} of {len(wanted)} tensors were packed before; going on")

    def take(staged: Staged) -> None:
        adopt(staged, partial_folder)
        for tensor, files in staged.written:
            written = from_origin(tensor, job.checkpoint), files
            journal.add(written, job.state)
            done[tensor.name] = written

    todo = [plan for plan in job.plans if plan.source.name in wanted and plan.source.name not in done]
    (partial_folder / partial.STAGING).mkdir(exist_ok=True)
    if cluster is None:
        stop, workers = threading.Event(), job.request.workers or (os.cpu_count() or 1) + SPARE_WORKERS

        def work(bundle: Bundle) -> None:
            progress.note(str(bundle))
            coding = job.request.coding
            take(pack_bundle(bundle, partial_folder, coding, progress=progress, stop=stop, pool=pool))

        # Chunks of all tensors wait in one line: the largest tensor alone is a third of some checkpoints.
        with ThreadPoolExecutor(workers) as pool, ThreadPoolExecutor(workers) as tensors:
            for_each(tensors, work, bundled(todo), stop)
    elif todo:
        from iwsltpack.building.dask import pack_on_cluster

        pack_on_cluster(cluster, partial_folder, todo, job.request.coding, job.plan.source, take, progress)
    progress.finish()
    return done


def from_origin(tensor: Tensor, checkpoint: Checkpoint) -> Tensor:
    """Name the checkpoint's own tensor as the source, also where another library came between."""
    if (origin := checkpoint.tensors.get(tensor.name)) is None:
        return replace(tensor, source_shape=(0,))
    return replace(tensor, source_shape=origin.shape, source_dtype=origin.dtype.name)
