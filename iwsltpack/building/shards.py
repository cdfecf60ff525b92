"""A build cut into shards that never speak to each other, as in an array of jobs, and their merging."""

from pathlib import Path

from iwsltpack.building import partial, publishing
from iwsltpack.building.pipeline import pack, prepared_job
from iwsltpack.building.request import BuildRequest, remember
from iwsltpack.cluster.shards import Shard, deal
from iwsltpack.documents.artifact import ArtifactManifest
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.documents.names import MANIFEST_NAME
from iwsltpack.errors import InputError, Problem, ValidationFailed, listed
from iwsltpack.system import fileio
from iwsltpack.system.progress import SILENT, Reporter

NAMED = 3
"""Missing tensors named for each shard."""


def build_shard(request: BuildRequest, *, shard: Shard, progress: Reporter = SILENT) -> list[str]:
    """Pack one shard's tensors into the partial folder of the output, which all shards share; return their names.

    The request is the same for every shard; its tensors depend on the checkpoint and the number of shards alone.
    Where the artifact is made already, which `merge_build` does of all shards, all names are returned.

    UsageError: something else is there; another build, a merge or this very shard is at work; the partial
    folder is that of another build. InputError, ArtifactError, ResourceError: see `build_artifact`.
    Started again, the shard goes on where it stopped.
    """
    output = request.output
    request.check()
    if (manifest := request.finished()) is not None:
        partial.sweep(output)
        progress.say(f"{output}: built and merged already")
        return [tensor.name for tensor in manifest.tensors]
    with (
        prepared_job(request, alone=False, progress=progress) as job,
        fileio.disk_errors(output),
        partial.lock_shard(output, shard) as partial_folder,
    ):
        partial.agree(partial_folder, job.plan)
        partial.agree_on_source(partial_folder, (*job.checkpoint.files, *job.matrices.values()), progress)
        publishing.write_side_files(partial_folder / partial.ARTIFACT, job.side)
        names = deal(job.plan.sizes, shard.count)[shard.index - 1]
        pack(job, partial_folder, names, progress, shard=shard)
        job.check_source(partial_folder)
    return names


def holds_build(output: Path) -> bool:
    """Tell whether `output` is an artifact, whole or under construction, and not the folder of a run."""
    return (partial.partial_of(output) / partial.PLAN).is_file() or (output / MANIFEST_NAME).is_file()


def merge_build(output: Path, *, progress: Reporter = SILENT) -> ArtifactManifest:
    """Make the artifact of what the shards have packed: the bytes that one process would have written.

    Needs the partial folder alone, not the checkpoint. Every file is read and held against its checksum.

    InputError: no build has been begun there. UsageError: a shard or a build is at work.
    ValidationFailed: tensors are missing; every shard that lacks some is named.
    """
    partial_folder = partial.partial_of(output)
    if (output / MANIFEST_NAME).is_file():
        partial.sweep(output)
        progress.say(f"{output}: merged already")
        return read_manifest(output)
    plan = partial.read_plan(partial_folder)
    with fileio.disk_errors(output), partial.lock_partial(output):
        sizes, artifact = plan.sizes, partial_folder / partial.ARTIFACT
        progress.start("checking", sum(sizes.values()), "bytes")
        done = partial.finished(partial_folder, sizes, sizes, progress)
        progress.finish()
        if problems := _missing(partial_folder, plan, set(done)):
            raise ValidationFailed(
                "not every shard is packed yet",
                problems,
                where=partial_folder,
                fix="run these shards again, each goes on where it stopped; then merge again",
            )
        for file in plan.side:
            path = artifact / file.path
            if not path.is_file() or fileio.sha256_file(path) != file.sha256:
                raise InputError(
                    "a file beside the weights is missing or altered", where=path, fix="run any shard again"
                )
        manifest = publishing.seal(artifact, plan, done)
        publishing.publish(artifact, output)
        remember(manifest, plan.source)
    return manifest


def _missing(partial_folder: Path, plan: partial.BuildPlan, done: set[str]) -> list[Problem]:
    """Return one problem for each shard that lacks tensors, going by the number of shards most were begun with."""
    # Whoever was at work left a lock, named by one of how many it was.
    locks = partial_folder.glob(f"{partial.SHARD}*.lock")
    counts = [int(path.stem.rpartition("-")[2]) for path in locks]
    count = max(sorted(set(counts)), key=counts.count) if counts else 1
    problems = []
    for index, names in enumerate(deal(plan.sizes, count), 1):
        missing = [name for name in names if name not in done]
        if missing:
            what = f"shard {index}/{count}: {len(missing)} of {len(names)} tensors are missing"
            message = f"{what}: {listed(missing, NAMED)}"
            problems.append(Problem(rule="build.shard-incomplete", message=message))
    return problems
