"""Build an artifact: streamed tensor by tensor, on all cores, resumable, the same bytes every time.

Everything is written into ``OUTPUT.partial``; only when every tensor is written and checked is the manifest added
and the folder renamed. A journal in the partial folder says which tensors are done; a build that was killed goes on
from there when it is started again with the same source, recipe and coding.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
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
from iwsltpack.errors import ArtifactError, UsageError
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
        Tensors written at a time; default: one a core.

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
    known_id, known_revision = sidefiles.origin(source)
    base = BaseModel(
        id=model_id or known_id,
        revision=revision or known_revision,
        architecture=sidefiles.architecture(
            sidefiles.collect(source)[sidefiles.CONFIG], source / sidefiles.CONFIG
        ),
        bytes=checkpoint.nbytes,
        parameters=sum(tensor.count for tensor in checkpoint.tensors.values()),
        license=sidefiles.license_of(source),
        sha256=checkpoint.sha256,
    )
    draft = ArtifactManifest(
        tool=Tool(version=__version__, libraries={name: version(name) for name in LIBRARIES}),
        base_model=base,
        recipe=recipe,
        coding=coding_name,  # type: ignore[arg-type]
        tensors=(),
        files=(),
    )
    with _prepared(source, recipe, output) as folder:
        prepared = checkpoint if folder == source else open_checkpoint(folder)
        plans, side = plan_tensors(prepared, recipe), sidefiles.collect(folder)
        side[sidefiles.CONFIG] = _pruned_config(side[sidefiles.CONFIG], plans)
        partial = output.with_name(output.name + PARTIAL_SUFFIX)
        with fileio.disk_errors(partial):
            partial.mkdir(parents=True, exist_ok=True)
            with fileio.exclusive_lock(partial / LOCK, "another build is writing this artifact"):
                _resume(partial, checkpoint, draft)
                written = _write_all(partial, plans, packing, workers, progress or Silent())
                written = [(_from_origin(tensor, checkpoint), files) for tensor, files in written]
                manifest = _seal(partial, draft, written, _write_side_files(partial, side))
                _publish(partial, output)
    return manifest


def check_request(output: Path, coding_name: str) -> Coding:
    """Refuse what needs no look at the source, before hours may be spent on fetching it; return the coding."""
    if output.exists():
        raise UsageError("the output exists", where=output, fix="choose another --output, or remove it")
    return coding(coding_name)


@contextmanager
def _prepared(source: Path, recipe: Recipe, output: Path) -> Iterator[Path]:
    """Give the folder whose tensors are packed: the source, or what another library made of it."""
    if recipe.engine == "codec":
        yield source
        return
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
        """Return every whole record; a torn last line is what a kill leaves and does not count."""
        if not self._path.is_file():
            return []
        lines = self._path.read_bytes().split(b"\n")[:-1]
        records = []
        for line in lines:
            try:
                records.append(json.loads(line))
            except ValueError:
                break
        return records


def _resume(partial: Path, checkpoint: Checkpoint, draft: ArtifactManifest) -> None:
    """Begin the journal, or make sure that what lies there is this very build."""
    identity = fileio.sha256_bytes(
        fileio.canonical_json(
            {
                "draft": Part.to_json(draft),
                "files": [
                    [path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in checkpoint.files
                ],
            }
        )
    )
    journal = _Journal(partial / JOURNAL)
    records = journal.records()
    if not records:
        (partial / JOURNAL).unlink(missing_ok=True)
        journal.append({"build": identity})
    elif records[0].get("build") != identity:
        raise UsageError(
            "an unfinished build of another source, recipe, coding or version lies here",
            where=partial,
            fix="remove that folder, or choose another --output",
        )


def _write_all(
    partial: Path, plans: list[TensorPlan], packing: Coding, workers: int | None, progress: Progress
) -> list[tuple[Tensor, list[File]]]:
    journal = _Journal(partial / JOURNAL)
    group = store.create_group(partial)
    progress.start("building", sum(plan.source.nbytes for plan in plans), "bytes")
    done = _finished(partial, journal.records()[1:], progress)
    # The largest first, so that no core is left alone with one at the end.
    todo = sorted(
        (plan for plan in plans if plan.source.name not in done), key=lambda plan: -plan.source.nbytes
    )

    def work(plan: TensorPlan) -> tuple[Tensor, list[File]]:
        progress.note(plan.source.name)
        tensor, files = write_tensor(group, partial, plan, packing, progress)
        journal.append({"tensor": tensor.to_json(), "files": [file.to_json() for file in files]})
        return tensor, files

    with ThreadPoolExecutor(workers or os.cpu_count() or 1, thread_name_prefix="build") as pool:
        futures = [pool.submit(work, plan) for plan in todo]
        try:
            finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in finished:
                future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    progress.finish()
    written = {
        **done,
        **{tensor.name: (tensor, files) for tensor, files in (future.result() for future in futures)},
    }
    return [written[plan.source.name] for plan in plans]


def _finished(
    partial: Path, records: list[dict[str, Any]], progress: Progress
) -> dict[str, tuple[Tensor, list[File]]]:
    """Return the tensors of an earlier, killed build whose files are still what the journal says."""
    done = {}
    for record in records:
        tensor = Tensor.from_json(record["tensor"])
        files = [File.from_json(entry) for entry in record["files"]]
        if all(_unchanged(partial / file.path, file) for file in files):
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


def _write_side_files(partial: Path, side: dict[str, bytes]) -> list[File]:
    for name, data in side.items():
        fileio.write_bytes(partial / MODEL_DIR / name, data)
    return [
        File(path=f"{MODEL_DIR}/{name}", bytes=len(data), sha256=fileio.sha256_bytes(data))
        for name, data in side.items()
    ]


def _seal(
    partial: Path, draft: ArtifactManifest, written: list[tuple[Tensor, list[File]]], side: list[File]
) -> ArtifactManifest:
    group = partial / WEIGHTS_DIR / "zarr.json"
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
    _drop_strays(partial, {file.path for file in files})
    fileio.write_bytes(partial / MANIFEST_NAME, fileio.canonical_json(manifest.to_json()))
    return manifest


def _drop_strays(partial: Path, known: set[str]) -> None:
    """Remove what a killed or widened tensor left behind; only listed files may travel."""
    for path in partial.rglob("*"):
        if (
            path.is_file()
            and path.name not in (JOURNAL, LOCK)
            and path.relative_to(partial).as_posix() not in known
        ):
            path.unlink()


def _publish(partial: Path, output: Path) -> None:
    """Make everything durable, then give the folder its name."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fileio.fsync_file, [path for path in partial.rglob("*") if path.is_file()]))
    (partial / JOURNAL).unlink()
    (partial / LOCK).unlink()
    if output.exists():
        raise ArtifactError("the output appeared while it was being built", where=output)
    partial.rename(output)
    fileio.fsync_directory(output.parent)
