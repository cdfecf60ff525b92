"""The folder in which an artifact comes into being: who may work there, what is being built, what is done.

``OUTPUT.partial`` holds ``build.json`` (the plan: it says which build this is and is enough to finish it), journals
``build*.jsonl`` (one for builds by one program, one for each shard), lock files, ``staging`` (tensors on their way) and
``artifact`` itself. Whoever goes on with the build, in whatever mode, reads every journal.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iwsltpack.documents.artifact import ArtifactManifest, File, Tensor
from iwsltpack.documents.document import Part
from iwsltpack.documents.names import PARTIAL_SUFFIX
from iwsltpack.errors import ArtifactError, InputError, UsageError
from iwsltpack.system import fileio
from iwsltpack.system.progress import SILENT, Reporter

if TYPE_CHECKING:
    from collections.abc import Collection

    from iwsltpack.cluster.shards import Shard

JOURNAL = "build.jsonl"
LOCK = "build.lock"
PLAN = "build.json"
ARTIFACT = "artifact"
STAGING = "staging"
PLAN_LIMIT = 64 << 20
READERS = 8
"""Threads that hash finished files."""
Written = tuple[Tensor, list[File]]
"""A finished tensor: its entry in the manifest, and its files."""


@dataclass(frozen=True, kw_only=True)
class SourceFile(Part):
    """State of one file of the checkpoint: it changes when the file is written to or replaced."""

    name: str
    bytes: int
    mtime_ns: int


@dataclass(frozen=True, kw_only=True)
class PlannedTensor(Part):
    """A tensor to be packed, and its bytes in the source."""

    name: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class BuildPlan(Part):
    """What is being built, the same for everyone who works at it.

    Attributes
    ----------
    manifest
        Without tensors and files.
    source
        The checkpoint's files.
    tensors
        In the manifest's order.
    side
        Files beside the weights.
    """

    manifest: ArtifactManifest
    source: tuple[SourceFile, ...]
    tensors: tuple[PlannedTensor, ...]
    side: tuple[File, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """Name -> bytes in the source."""
        return {tensor.name: tensor.bytes for tensor in self.tensors}


class Journal:
    """Append-only record of finished tensors; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()

    def append(self, record: dict[str, Any]) -> None:
        """Add one record."""
        line = fileio.canonical_json(record, indent=None)
        with self._lock, self._path.open("ab") as stream:
            # Not synced: what a power cut takes from the journal is built again, and resuming hashes every file.
            stream.write(line)

    def add(self, written: Written) -> None:
        """Record a finished tensor."""
        tensor, files = written
        self.append({"tensor": tensor.to_json(), "files": [file.to_json() for file in files]})

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


def partial_of(output: Path) -> Path:
    """Return the folder in which `output` is built."""
    return output.with_name(output.name + PARTIAL_SUFFIX)


def check_absent(output: Path) -> None:
    """Refuse an output that exists."""
    if os.path.lexists(output):
        raise UsageError("the output exists", where=output, fix="choose another --output, or remove it")


@contextmanager
def lock_partial(output: Path) -> Iterator[Path]:
    """Give the workshop of `output` to nobody else; it is removed at the end, or stays on an error, to go on from.

    Raises
    ------
    UsageError
        Another build, a shard or a merge is at work there, or has finished the artifact meanwhile.
    """
    workshop = partial_of(output)
    workshop.mkdir(parents=True, exist_ok=True)
    with fileio.exclusive_lock(workshop / LOCK, "another build is writing this artifact, or a shard of it"):
        # It may have been finished by another process since this one looked first.
        check_absent(output)
        shutil.rmtree(workshop / STAGING, ignore_errors=True)
        yield workshop
        shutil.rmtree(workshop)


@contextmanager
def lock_shard(output: Path, shard: Shard) -> Iterator[Path]:
    """Give the workshop to one shard: others may be there, but not a whole build, a merge or the same shard."""
    workshop = partial_of(output)
    workshop.mkdir(parents=True, exist_ok=True)
    own = workshop / f"{_stem(shard)}.lock"
    with (
        fileio.shared_lock(workshop / LOCK, "a build or a merge is writing this artifact"),
        fileio.exclusive_lock(own, f"shard {shard} is being built by another process"),
    ):
        check_absent(output)
        yield workshop


def journal_of(workshop: Path, shard: Shard | None = None) -> Journal:
    """Return the journal of a shard, or that of builds by one program."""
    return Journal(workshop / (JOURNAL if shard is None else f"{_stem(shard)}.jsonl"))


def shards_begun(workshop: Path) -> list[str]:
    """Return ``I-of-N`` of every shard that has been at work."""
    prefix = "build.shard-"
    return sorted(path.stem.removeprefix(prefix) for path in workshop.glob(f"{prefix}*.lock"))


def _stem(shard: Shard) -> str:
    return f"build.shard-{shard.index}-of-{shard.count}"


def agree(workshop: Path, plan: BuildPlan) -> None:
    """Write the plan down, or make sure that what lies there is this very build.

    Raises
    ------
    UsageError
        It is another.
    """
    data, path = fileio.canonical_json(Part.to_json(plan)), workshop / PLAN
    if not path.exists():
        _create(path, data)
    if fileio.read_bytes(path, limit=PLAN_LIMIT) != data:
        raise UsageError(
            "an unfinished build of another source, recipe, coding or version lies here",
            where=workshop,
            fix="remove that folder, or choose another --output",
        )


def _create(path: Path, data: bytes) -> None:
    """Write a file whole; of several at once, on whatever machines, the first wins and nobody sees half a file."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()


def read_plan(workshop: Path) -> BuildPlan:
    """Read what is being built.

    Raises
    ------
    InputError
        Nothing has been begun there.
    ArtifactError
        The plan is damaged.
    """
    path = workshop / PLAN
    if not path.is_file():
        raise InputError(
            "no build has been begun here",
            where=workshop,
            fix="build the shards first: iwsltpack build SOURCE --output OUTPUT --shard 1/4, and so on",
        )
    document = fileio.read_json(path, limit=PLAN_LIMIT)
    try:
        return BuildPlan.from_json(document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(
            "the plan of the build is damaged", where=path, got=str(error), fix=f"remove {workshop}"
        ) from error


def finished(
    workshop: Path, names: Collection[str], sizes: dict[str, int], progress: Reporter = SILENT
) -> dict[str, Written]:
    """Return those of `names` that any journal says are done and whose files still are what it says."""
    wanted = set(names)
    found: dict[str, Written] = {}
    for path in sorted(workshop.glob("build*.jsonl")):
        for record in Journal(path).records():
            with suppress(KeyError, TypeError):  # the record of another version
                tensor = Tensor.from_json(record["tensor"])
                files = [File.from_json(entry) for entry in record["files"]]
                if tensor.name in wanted:
                    found[tensor.name] = (tensor, files)

    def whole(written: Written) -> bool:
        if not all(_unchanged(workshop / ARTIFACT / file.path, file) for file in written[1]):
            return False
        progress.advance(sizes[written[0].name])
        return True

    with ThreadPoolExecutor(READERS) as pool:
        return {
            name: found[name]
            for name, good in zip(found, pool.map(whole, found.values()), strict=True)
            if good
        }


def _unchanged(path: Path, file: File) -> bool:
    return path.is_file() and path.stat().st_size == file.bytes and fileio.sha256_file(path) == file.sha256
