"""The folder in which an artifact comes into being: who may work there, what is being built, what is done.

``OUTPUT.partial`` holds ``build.json`` (the plan: it says which build this is and is enough to finish it), journals
``build*.jsonl`` (one for builds by one program, one for each shard), lock files, ``staging`` (tensors on their way) and
``artifact`` itself. Whoever goes on with the build, in whatever mode, reads every journal.
"""

import logging
import os
import shutil
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from iwsltpack.cluster.shards import Shard
from iwsltpack.documents.artifact import ArtifactManifest, File, Tensor
from iwsltpack.documents.document import Part
from iwsltpack.documents.names import BUILD_JOURNALS, PARTIAL_SUFFIX
from iwsltpack.errors import ArtifactError, InputError, UsageError
from iwsltpack.system import fileio, json_lines, locks
from iwsltpack.system.progress import SILENT, Reporter

JOURNAL = "build.jsonl"
LOCK = "build.lock"
SHARD = "build.shard-"
PLAN = "build.json"
SOURCE = "source.json"
ARTIFACT = "artifact"
STAGING = "staging"
PLAN_LIMIT = 64 << 20
_log = logging.getLogger(__name__)
READERS = 8
"""Threads that hash files."""
Written = tuple[Tensor, list[File]]
"""A finished tensor: its entry in the manifest, and its files."""


class SourceFile(Part):
    """State of one file of the checkpoint: it changes when the file is written to or replaced."""

    name: str
    bytes: int
    mtime_ns: int


Digests = dict[str, list[str]]
"""By name of a file: its state and the SHA-256 of all that it holds."""


def file_state(path: Path) -> str:
    """Return what is another once a file was written to or replaced, whatever time it is given; a copy has another."""
    found = path.stat()
    return f"{found.st_size} {found.st_ctime_ns} {found.st_ino}"


@lru_cache(4096)
def _digest(path: Path, _state: str) -> str:
    return fileio.sha256_file(path)


def digests(files: Iterable[Path], progress: Reporter = SILENT) -> Digests:
    """Read files whole, for other machines to tell whether their copies hold the same."""
    states = {path: file_state(path) for path in files}

    def read(path: Path) -> list[str]:
        found = [states[path], _digest(path, states[path])]
        progress.advance(path.stat().st_size)
        return found

    progress.start("reading the checkpoint", sum(path.stat().st_size for path in states), "bytes")
    with ThreadPoolExecutor(READERS) as pool:
        known = {path.name: found for path, found in zip(states, pool.map(read, states), strict=True)}
    progress.finish()
    return known


def holds_other(path: Path, known: Digests) -> bool:
    """Tell whether a file holds something else than is `known`: it is read whole unless it is the very same file."""
    state, digest = known[path.name]
    return (found := file_state(path)) != state and _digest(path, found) != digest


class BuildPlan(Part):
    """What is being built, the same for everyone who works at it.

    A manifest without tensors and files; the checkpoint's files; the bytes that each tensor has there, in the
    manifest's order; the files beside the weights.
    """

    manifest: ArtifactManifest
    source: tuple[SourceFile, ...]
    sizes: dict[str, int]
    side: tuple[File, ...]


class BuildJournal:
    """Append-only record of finished tensors; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()

    def append(self, record: dict[str, Any]) -> None:
        """Add one record."""
        with self._lock, self._path.open("ab") as stream:
            # Not synced: what a power cut takes from the journal is built again, and resuming hashes every file.
            json_lines.append(stream.fileno(), [record])

    def add(self, written: Written, source: str) -> None:
        """Record a finished tensor, and the state of the source it was read from; see `Checkpoint.state`."""
        tensor, files = written
        self.append(
            {"tensor": tensor.to_json(), "files": [file.to_json() for file in files], "source": source}
        )

    def records(self) -> list[dict[str, Any]]:
        """Return every sound record; of others there is a warning, and what they tell of is packed again."""
        if not self._path.is_file():
            return []
        lines = [record for _, record in json_lines.read(fileio.read_bytes(self._path))]
        if damaged := lines.count(None):
            _log.warning(
                "%s: %d records are damaged or have no checksum; their tensors are packed again",
                self._path,
                damaged,
            )
        return [record for record in lines if record is not None]


def partial_of(output: Path) -> Path:
    """Return the folder in which `output` is built."""
    return output.with_name(output.name + PARTIAL_SUFFIX)


def check_absent(output: Path) -> None:
    """Refuse an output that exists."""
    if os.path.lexists(output):
        raise UsageError("the output exists", where=output, fix="choose another --output, or remove it")


@contextmanager
def lock_partial(
    output: Path, lock: str = LOCK, busy: str = "another build is writing this artifact, or a shard of it"
) -> Iterator[Path]:
    """Give this process alone the folder in which `output` comes into being, by build or pull.

    The folder is removed at the end. After an error it stays, for the next command to go on from. If another process
    is at work there, which `busy` says, or has finished the artifact meanwhile, that is a `UsageError`.
    """
    partial_folder = _make_partial(output, lock)
    with locks.held(partial_folder / lock, busy):
        # It may have been finished by another process since this one looked first.
        check_absent(output)
        shutil.rmtree(partial_folder / STAGING, ignore_errors=True)
        yield partial_folder
        shutil.rmtree(partial_folder)


def _make_partial(output: Path, lock: str) -> Path:
    """Return the folder that `output` comes into being in, made if need be; one that is somebody else's is refused."""
    folder = partial_of(output)
    folder.mkdir(parents=True, exist_ok=True)
    if folder.is_symlink() or (not (folder / lock).is_file() and any(folder.iterdir())):
        raise UsageError(
            "the folder to build in is there already, and no build began it",
            where=folder,
            got="a link" if folder.is_symlink() else "other files",
            fix="move it away, or give --output another name",
        )
    return folder


def sweep(output: Path, lock: str = LOCK) -> None:
    """Remove what a build, or pull, that was killed between its last two steps left beside a finished artifact.

    A folder of that name without `lock` in it is somebody else's, and stays.
    """
    partial_folder = partial_of(output)
    if (partial_folder / lock).is_file() and not (partial_folder / ARTIFACT).exists():
        with locks.held(partial_folder / lock) as alone:
            if alone:
                shutil.rmtree(partial_folder)


@contextmanager
def lock_shard(output: Path, shard: Shard) -> Iterator[Path]:
    """Give a shard the folder `output` is built in; other shards may be there, a whole build or a merge may not."""
    partial_folder = _make_partial(output, LOCK)
    own = partial_folder / f"{_stem(shard)}.lock"
    with (
        locks.held(partial_folder / LOCK, "a build or a merge is writing this artifact", shared=True),
        locks.held(own, f"shard {shard} is being built by another process"),
    ):
        check_absent(output)
        yield partial_folder


def journal_of(partial_folder: Path, shard: Shard | None = None) -> BuildJournal:
    """Return the journal of a shard, or that of builds by one program."""
    return BuildJournal(partial_folder / (JOURNAL if shard is None else f"{_stem(shard)}.jsonl"))


def _stem(shard: Shard) -> str:
    return f"{SHARD}{shard.index}-of-{shard.count}"


def agree(partial_folder: Path, plan: BuildPlan) -> None:
    """Write the plan down, or make sure that what lies there is this very build; another is a `UsageError`."""
    path, own = partial_folder / PLAN, fileio.canonical_json(Part.to_json(plan))
    fileio.create_bytes(path, own)
    if fileio.read_bytes(path, limit=PLAN_LIMIT) != own:
        raise UsageError(
            "an unfinished build of another source, recipe, coding or version lies here",
            where=partial_folder,
            fix="remove that folder, or choose another --output",
        )


def agree_on_source(partial_folder: Path, files: Sequence[Path], progress: Reporter = SILENT) -> None:
    """Note down which weights shards are packed from, or make sure that these are the same."""
    path = partial_folder / SOURCE
    if not path.is_file():
        fileio.create_bytes(path, fileio.canonical_json(digests(files, progress)))
    known = fileio.read_json(path, limit=PLAN_LIMIT)
    if any(holds_other(file, known) for file in files):
        raise UsageError(
            "another shard was packed from a copy of the checkpoint that holds other weights",
            where=partial_folder,
            fix="give all shards the same checkpoint: remove that folder and begin anew",
        )


def read_plan(partial_folder: Path) -> BuildPlan:
    """Read what is being built; nothing begun there is an `InputError`, a damaged plan an `ArtifactError`."""
    path = partial_folder / PLAN
    if not path.is_file():
        raise InputError(
            "no build has been begun here",
            where=partial_folder,
            fix="build the shards first: iwsltpack build SOURCE --output OUTPUT --shard 1/4, and so on",
        )
    document = fileio.read_json(path, limit=PLAN_LIMIT)
    try:
        return BuildPlan.from_json(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            "the plan of the build is damaged", where=path, got=str(error), fix=f"remove {partial_folder}"
        ) from error


def finished(
    partial_folder: Path,
    names: Collection[str],
    sizes: dict[str, int],
    progress: Reporter = SILENT,
    *,
    source: str | None = None,
) -> dict[str, Written]:
    """Return those of `names` that any journal says are done and whose files still are what it says.

    With `source`, what was read from another state of the checkpoint does not count: it may have been other weights.
    """
    wanted = set(names)
    found: dict[str, Written] = {}
    for path in sorted(partial_folder.glob(BUILD_JOURNALS)):
        for record in BuildJournal(path).records():
            # A record may be of another version.
            with suppress(LookupError, TypeError, ValueError, AttributeError):
                tensor = Tensor.from_json(record["tensor"])
                files = [File.from_json(entry) for entry in record["files"]]
                if tensor.name in wanted and source in (None, record["source"]):
                    found[tensor.name] = (tensor, files)

    def whole(written: Written) -> bool:
        for file in written[1]:
            path = partial_folder / ARTIFACT / file.path
            there = path.is_file() and path.stat().st_size == file.bytes
            if not there or fileio.sha256_file(path) != file.sha256:
                return False
        progress.advance(sizes[written[0].name])
        return True

    with ThreadPoolExecutor(READERS) as pool:
        return {
            name: found[name]
            for name, good in zip(found, pool.map(whole, found.values()), strict=True)
            if good
        }
