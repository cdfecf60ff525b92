"""Build an artifact: streamed tensor by tensor, on all cores, resumable, the same bytes every time.

Everything is written into ``OUTPUT.partial/artifact``; only when every tensor is written and checked is the manifest
added and that folder renamed. A journal beside it says which tensors are done; a build that was killed, even between
the last two steps, goes on from there when it is started again with the same source, recipe and coding.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from iwsltpack import __version__, fileio
from iwsltpack.artifact import sidefiles, store
from iwsltpack.artifact.checkpoint import open_checkpoint
from iwsltpack.artifact.int8 import int8_checkpoint
from iwsltpack.artifact.plan import plan_tensors
from iwsltpack.artifact.tensor_writer import write_tensor
from iwsltpack.codecs.chains import DEFAULT_CODING, coding
from iwsltpack.errors import ArtifactError, InputError, UsageError
from iwsltpack.format.artifact import ArtifactManifest, BaseModel, File, Tensor, Tool
from iwsltpack.format.document import Part
from iwsltpack.format.names import MANIFEST_NAME, MODEL_DIR, PARTIAL_SUFFIX, WEIGHTS_DIR
from iwsltpack.progress import Progress, Silent

if TYPE_CHECKING:
    from pathlib import Path

    from iwsltpack.artifact.checkpoint import Checkpoint
    from iwsltpack.artifact.plan import TensorPlan
    from iwsltpack.codecs.chains import Coding
    from iwsltpack.format.recipe import Recipe

JOURNAL = "build.jsonl"
LOCK = "build.lock"
ARTIFACT = "artifact"
"""What stands in the partial folder: which tensors are done, who is at work, and the artifact itself."""
SPARE_WORKERS = 2
"""Writers beyond one a core: they fill the time the others wait for disk or interpreter."""
LIBRARIES = ("numcodecs", "numpy", "pcodec", "zarr")


def build_artifact(
    source: Path,
    output: Path,
    recipe: Recipe,
    coding_name: str = DEFAULT_CODING,
    *,
    model_id: str | None = None,
    revision: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
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
    model_id, revision
        Hub name and commit of the source, where the folder does not tell.
    workers
        Tensors written at a time; default: two more than cores.

    Returns
    -------
    ArtifactManifest
        As written.

    Raises
    ------
    UsageError
        `output` exists, or a partial build of something else lies there.
    InputError, ArtifactError, ResourceError
        See `open_checkpoint` and `write_tensor`. The partial folder stays and is gone on with.
    """
    packing = check_request(output, coding_name)
    checkpoint = open_checkpoint(source)
    stamp = _stamp(checkpoint)
    draft = ArtifactManifest(
        tool=Tool(version=__version__, libraries={name: version(name) for name in LIBRARIES}),
        base_model=_base_model(checkpoint, model_id, revision),
        recipe=recipe,
        coding=coding_name,  # type: ignore[arg-type]
        tensors=(),
        files=(),
    )
    with _prepared(source, recipe, output) as folder:
        prepared = checkpoint if folder == source else open_checkpoint(folder)
        plans, side = plan_tensors(prepared, recipe), sidefiles.collect(folder)
        side[sidefiles.CONFIG] = _pruned_config(side[sidefiles.CONFIG], plans)
        with fileio.disk_errors(output), _workshop(output) as workshop:
            journal, artifact = _resume(workshop, stamp, draft), workshop / ARTIFACT
            written = _write_all(artifact, journal, plans, packing, workers, progress or Silent())
            if _stamp(checkpoint) != stamp:
                raise InputError(
                    "the checkpoint changed while it was being packed",
                    where=source,
                    fix=f"remove {workshop} and build again",
                )
            written = [(_from_origin(tensor, checkpoint), files) for tensor, files in written]
            manifest = _seal(artifact, draft, written, _write_side_files(artifact, side))
            _publish(artifact, output)
    return manifest


def _base_model(checkpoint: Checkpoint, model_id: str | None, revision: str | None) -> BaseModel:
    source = checkpoint.folder
    config = sidefiles.collect(source)[sidefiles.CONFIG]
    known_id, known_revision = sidefiles.origin(source)
    return BaseModel(
        id=model_id or known_id,
        revision=revision or known_revision,
        architecture=sidefiles.architecture(config, source / sidefiles.CONFIG),
        bytes=checkpoint.nbytes,
        parameters=sum(tensor.count for tensor in checkpoint.tensors.values()),
        license=sidefiles.license_of(source),
        sha256=checkpoint.sha256,
    )


@contextmanager
def _workshop(output: Path) -> Iterator[Path]:
    """Give the folder in which the artifact comes into being, locked; it stays on an error, to go on from."""
    workshop = output.with_name(output.name + PARTIAL_SUFFIX)
    workshop.mkdir(parents=True, exist_ok=True)
    with fileio.exclusive_lock(workshop / LOCK, "another build is writing this artifact"):
        # It may have been finished by another process since this one looked first.
        _check_absent(output)
        yield workshop
        shutil.rmtree(workshop)


def check_request(output: Path, coding_name: str) -> Coding:
    """Refuse what needs no look at the source, before hours may be spent on fetching it; return the coding."""
    _check_absent(output)
    return coding(coding_name)


def _check_absent(output: Path) -> None:
    if os.path.lexists(output):
        raise UsageError("the output exists", where=output, fix="choose another --output, or remove it")


@contextmanager
def _prepared(source: Path, recipe: Recipe, output: Path) -> Iterator[Path]:
    """Give the folder whose tensors are packed: the source, or what another library made of it."""
    if recipe.engine == "codec":
        yield source
        return
    with fileio.disk_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
    with int8_checkpoint(source, output.parent) as folder:
        yield folder


class _Journal:
    """Append-only record of finished tensors; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()

    def append(self, record: dict[str, Any]) -> None:
        line = fileio.canonical_json(record, indent=None)
        with self._lock, self._path.open("ab") as stream:
            # Not synced: what a power cut takes from the journal is built again, and resuming hashes every file.
            stream.write(line)

    def records(self) -> list[dict[str, Any]]:
        """Return every whole record; a torn line is what a kill or a full disk leaves, and does not count."""
        if not self._path.is_file():
            return []
        lines = self._path.read_bytes().split(b"\n")[:-1]
        records = []
        for line in lines:
            with suppress(ValueError):
                records.append(json.loads(line))
        return [record for record in records if isinstance(record, dict)]


def _stamp(checkpoint: Checkpoint) -> list[list[Any]]:
    """Tell the state of the source's files; it changes when one of them is written to or replaced."""
    found = [(path.name, path.stat()) for path in checkpoint.files]
    return [[name, state.st_size, state.st_mtime_ns] for name, state in found]


def _resume(workshop: Path, stamp: list[list[Any]], draft: ArtifactManifest) -> _Journal:
    """Begin the journal, or make sure that what lies there is this very build."""
    identity = fileio.sha256_bytes(fileio.canonical_json({"draft": Part.to_json(draft), "files": stamp}))
    journal = _Journal(workshop / JOURNAL)
    records = journal.records()
    if not records:
        (workshop / JOURNAL).unlink(missing_ok=True)
        journal.append({"build": identity})
    elif records[0].get("build") != identity:
        raise UsageError(
            "an unfinished build of another source, recipe, coding or version lies here",
            where=workshop,
            fix="remove that folder, or choose another --output",
        )
    return journal


def _write_all(
    folder: Path,
    journal: _Journal,
    plans: list[TensorPlan],
    packing: Coding,
    workers: int | None,
    progress: Progress,
) -> list[tuple[Tensor, list[File]]]:
    group = store.create_group(folder)
    progress.start("building", sum(plan.source.nbytes for plan in plans), "bytes")
    done = _finished(folder, journal.records()[1:], progress)
    # The largest first, so that no core is left alone with one at the end.
    todo = sorted(
        (plan for plan in plans if plan.source.name not in done), key=lambda plan: -plan.source.nbytes
    )
    stop = threading.Event()

    def work(plan: TensorPlan) -> tuple[Tensor, list[File]]:
        progress.note(plan.source.name)
        tensor, files = write_tensor(group, folder, plan, packing, progress, stop)
        journal.append({"tensor": tensor.to_json(), "files": [file.to_json() for file in files]})
        return tensor, files

    workers = workers or (os.cpu_count() or 1) + SPARE_WORKERS
    with ThreadPoolExecutor(workers, thread_name_prefix="build") as pool:
        futures = [pool.submit(work, plan) for plan in todo]
        try:
            finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in finished:
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    progress.finish()
    written = {
        **done,
        **{tensor.name: (tensor, files) for tensor, files in (future.result() for future in futures)},
    }
    return [written[plan.source.name] for plan in plans]


def _finished(
    folder: Path, records: list[dict[str, Any]], progress: Progress
) -> dict[str, tuple[Tensor, list[File]]]:
    """Return the tensors of an earlier, killed build whose files are still what the journal says."""
    done = {}
    for record in records:
        tensor = Tensor.from_json(record["tensor"])
        files = [File.from_json(entry) for entry in record["files"]]
        if all(_unchanged(folder / file.path, file) for file in files):
            done[tensor.name] = (tensor, files)
            progress.advance(sum(file.bytes for file in files))
    return done


def _unchanged(path: Path, file: File) -> bool:
    return path.is_file() and path.stat().st_size == file.bytes and fileio.sha256_file(path) == file.sha256


def _pruned_config(config: bytes, plans: list[TensorPlan]) -> bytes:
    """Return the configuration of the pruned model; one configuration can say one size for all its MLPs."""
    sizes = {len(plan.kept.units) for plan in plans if plan.kept is not None}
    if not sizes:
        return config
    gates = [plan for plan in plans if plan.source.name.endswith(".gate_proj.weight")]
    if len(sizes) > 1 or any(plan.kept is None for plan in gates):
        raise UsageError(
            "the recipe prunes some gated MLPs and not others, or differently, which no configuration can say",
            expected="one size for all of them",
            got=", ".join(sorted({str(plan.shape[0]) for plan in gates})) + " units",
            fix="let the pruning pattern match every gated MLP of the model",
        )
    return sidefiles.with_intermediate_size(config, sizes.pop())


def _from_origin(tensor: Tensor, checkpoint: Checkpoint) -> Tensor:
    """Name the checkpoint's own tensor as the source, also where another library came between."""
    origin = checkpoint.tensors.get(tensor.name)
    if origin is None:
        return replace(tensor, source_shape=(0,))
    return replace(tensor, source_shape=origin.shape, source_dtype=origin.dtype.name)


def _write_side_files(folder: Path, side: dict[str, bytes]) -> list[File]:
    for name, data in side.items():
        fileio.write_bytes(folder / MODEL_DIR / name, data)
    return [
        File(path=f"{MODEL_DIR}/{name}", bytes=len(data), sha256=fileio.sha256_bytes(data))
        for name, data in side.items()
    ]


def _seal(
    folder: Path, draft: ArtifactManifest, written: list[tuple[Tensor, list[File]]], side: list[File]
) -> ArtifactManifest:
    group = folder / WEIGHTS_DIR / "zarr.json"
    files = [
        File(path=f"{WEIGHTS_DIR}/zarr.json", bytes=group.stat().st_size, sha256=fileio.sha256_file(group)),
        *side,
        *(file for _, entries in written for file in entries),
    ]
    manifest = replace(
        draft,
        tensors=tuple(tensor for tensor, _ in written),
        files=tuple(sorted(files, key=lambda file: file.path)),
    ).sealed()
    _drop_strays(folder, {file.path for file in files})
    fileio.write_bytes(folder / MANIFEST_NAME, fileio.canonical_json(manifest.to_json()))
    return manifest


def _drop_strays(folder: Path, known: set[str]) -> None:
    """Remove what a killed or widened tensor left behind; only listed files may travel."""
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in known:
            path.unlink()


def _publish(folder: Path, output: Path) -> None:
    """Make everything durable, then give the folder its name."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fileio.fsync_file, [path for path in folder.rglob("*") if path.is_file()]))
    for directory in (path for path in folder.rglob("*") if path.is_dir()):
        fileio.fsync_directory(directory)
    fileio.fsync_directory(folder)
    if os.path.lexists(output):
        raise ArtifactError("the output appeared while it was being built", where=output)
    folder.rename(output)
    fileio.fsync_directory(output.parent)
