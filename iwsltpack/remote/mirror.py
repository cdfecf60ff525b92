"""Copies of artifacts that lie elsewhere: of each a folder laid out like it, holding what was fetched so far.

Most lie in the local cache, `open_mirror`:

CACHE/artifacts/<manifest SHA-256>/…   a file gets its name once its size and checksum are the manifest's
CACHE/artifacts/.incoming/             files on their way
CACHE/artifacts/.locks/                one process at a time fetches a file
CACHE/artifacts/.known/                which artifact a hub address led to last, for work without a network

`mirror_into` makes one in a folder of the caller's, with ``.incoming`` and ``.locks`` beside it.
"""

import hashlib
import os
import re
import shutil
import stat
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import BoundedSemaphore, Event, Lock, Thread
from typing import TypeVar

from iwsltpack.documents.artifact import ArtifactManifest, File
from iwsltpack.documents.manifest import MANIFEST_LIMIT, parse_manifest, read_manifest
from iwsltpack.documents.names import MANIFEST_NAME
from iwsltpack.errors import ArtifactError, Problem, ResourceError, ValidationFailed
from iwsltpack.remote.address import Address, HubAddress
from iwsltpack.remote.failure import Failure, OfflineError
from iwsltpack.remote.store import Store
from iwsltpack.system import fileio, locks
from iwsltpack.system.progress import SILENT, Reporter

Item = TypeVar("Item")
Result = TypeVar("Result")

INCOMING = ".incoming"
FETCHES = 8
"""Files that one caller fetches at a time, and as many again ahead of all callers: enough to hide a store's latency."""
SLOTS = 16
"""Files fetched at a time in all: few enough to be a polite guest."""
LOCKS = 1024
LOCK_PATIENCE_S = 120.0
"""A process that was stopped in the middle of a fetch keeps its lock; a second fetch is better than no end."""
STALE_S = 24 * 3600.0
"""Age at which a file on its way was left by a process that is gone."""


class Mirror:
    """An artifact that lies elsewhere, and the folder that holds what was fetched of it.

    The folder is laid out like the artifact, and complete after `fetch_all` and `keep_manifest`.
    """

    def __init__(self, store: Store, manifest: ArtifactManifest, raw: bytes, folder: Path) -> None:
        self.location, self.manifest, self.folder = store.location, manifest, folder
        self._store = store
        self._files = {file.path: file for file in manifest.files}
        self._raw = raw
        self._slots = BoundedSemaphore(SLOTS)
        self._ahead: deque[File] = deque()
        self._fetching_ahead: list[Thread] = []
        self._lock = Lock()

    @property
    def total_bytes(self) -> int:
        """Size of the whole artifact by its manifest: a store need not offer a listing that could be summed."""
        return len(self._raw) + sum(file.bytes for file in self.manifest.files)

    def need(self, paths: Iterable[str]) -> None:
        """Fetch those of some files that are not here yet; may be called from several threads and processes.

        For errors see `Store.fetch`; what was fetched before stays.
        """
        missing = [file for file in map(self._entry, paths) if not self._here(file)]
        deque(_in_parallel(self._fetch, missing), maxlen=0)

    def expect(self, paths: Iterable[str]) -> None:
        """Fetch files in the background, in this order, that will be needed; returns at once.

        What goes wrong is not told here: whoever needs the file will be told.
        """
        with self._lock:
            self._ahead.extend(file for file in map(self._entry, paths) if not self._here(file))
            self._fetching_ahead = [thread for thread in self._fetching_ahead if thread.is_alive()]
            for _ in range(min(FETCHES, len(self._ahead)) - len(self._fetching_ahead)):
                # Daemons: a process that has what it came for does not wait for what it only expected.
                thread = Thread(target=self._fetch_ahead, name="iwsltpack-ahead", daemon=True)
                self._fetching_ahead.append(thread)
                thread.start()

    def _fetch_ahead(self) -> None:
        while True:
            try:
                file = self._ahead.popleft()
            except IndexError:
                return
            try:
                self._fetch(file, Event())
            except Exception:  # noqa: BLE001  # none is lost: the caller that needs the file meets it again
                self._ahead.clear()
                return

    def fetch_all(self, progress: Reporter = SILENT) -> Path:
        """Complete the folder and return it; what is here counts by its size, see `drop_damaged`.

        Files that are missing or damaged at their source are a `ValidationFailed` that names each; for other errors see
        `Store.fetch`. What was fetched before stays.
        """
        missing = sorted(self.missing(), key=lambda file: -file.bytes)
        size = sum(file.bytes for file in missing)
        self._check_space(size)
        problems = []
        progress.start("fetching", size, "bytes")
        for file, error in _in_parallel(self._fetch_or_tell, missing):
            if error is not None:
                problems.append(
                    Problem(rule="artifact.source", message=f"{error.what}: {error.got}", path=file.path)
                )
            progress.advance(file.bytes)
        progress.finish()
        if problems:
            raise ValidationFailed(
                "the artifact is damaged at its source",
                sorted(problems, key=lambda problem: problem.path or ""),
                where=self.location.shown,
                fix="publish it again",
            )
        return self.folder

    def missing(self) -> list[File]:
        """Return the files that are not here, or not of their size."""
        return [file for file in self.manifest.files if not self._here(file)]

    def drop_damaged(self, progress: Reporter = SILENT) -> None:
        """Hash what is here already, and remove what is not as the manifest says."""
        here = [file for file in self.manifest.files if self._here(file)]
        progress.start("checking what is here already", sum(file.bytes for file in here), "bytes")
        for file, whole in _in_parallel(lambda file, _: (file, self._whole(file)), here):
            if not whole:
                with fileio.disk_errors(self.folder):
                    self._target(file).unlink(missing_ok=True)
            progress.advance(file.bytes)
        progress.finish()

    def keep_manifest(self) -> None:
        """Write the manifest, unless it is here already."""
        path = self.folder / MANIFEST_NAME
        with fileio.disk_errors(path):
            if path.is_file() and path.read_bytes() == self._raw:
                return
            with self._arriving(path) as arriving:
                arriving.write_bytes(self._raw)

    def _entry(self, path: str) -> File:
        if path not in self._files:
            raise ArtifactError(
                "no such file in the artifact's manifest", where=f"{self.location.shown}/{path}"
            )
        return self._files[path]

    def _target(self, file: File) -> Path:
        # The schema admits no path that leads out; nothing is written on that word alone.
        target = self.folder / file.path
        if not Path(os.path.normpath(target)).is_relative_to(self.folder):
            raise ArtifactError("a file's path leads out of the artifact", where=file.path)
        return target

    def _here(self, file: File) -> bool:
        try:
            found = self._target(file).lstat()
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == file.bytes

    def _fetch(self, file: File, stop: Event) -> None:
        target = self._target(file)
        name = f"{self.manifest.sha256}/{file.path}".encode()
        number = int.from_bytes(hashlib.sha256(name).digest()[:4]) % LOCKS
        # So that threads and processes do not fetch a file at once. It only saves traffic: what keeps the cache whole
        # is that files are renamed into their place when complete. So work goes on without the lock after a while.
        with locks.held(self.folder.parent / ".locks" / f"{number:03x}", patience=LOCK_PATIENCE_S):
            if self._here(file):  # another was faster
                return
            with self._slots, self._arriving(target) as arriving:
                self._store.fetch(file.path, arriving, file.bytes, lambda path: _check(path, file), stop)

    def _fetch_or_tell(self, file: File, stop: Event) -> tuple[File, ArtifactError | None]:
        try:
            self._fetch(file, stop)
        except ArtifactError as error:
            return file, error
        return file, None

    def _check_space(self, needed: int) -> None:
        with fileio.disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise ResourceError(
                "no space left for the artifact",
                where=self.folder,
                expected=f"{needed:,} bytes free",
                got=f"{free:,} bytes",
                fix="free space, or choose a folder on another disk",
            )

    def _whole(self, file: File) -> bool:
        try:
            return fileio.sha256_file(self._target(file)) == file.sha256
        except OSError:
            return False

    @contextmanager
    def _arriving(self, target: Path) -> Iterator[Path]:
        """Give the path of a file to fill; without an error it becomes `target`, durable and in one step."""
        with _new_file(self.folder.parent) as path:
            yield path
            with fileio.disk_errors(target):
                fileio.fsync(path)
                path.chmod(0o644)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)


def open_mirror(location: Address) -> Mirror:
    """Fetch and check an artifact's manifest, and nothing else.

    What lies there may be no artifact that can be read, see `read_manifest`; the store may not be reached, see
    `Store.fetch`; or the scheme may need a package that is not here, a `MissingDependency`.
    """
    store = Store(location)
    _sweep()
    try:
        raw, manifest = _fetch_manifest(store, _root())
    except OfflineError:
        if (known := _recall(location)) is None:
            raise
        raw, manifest = fileio.read_bytes(known / MANIFEST_NAME), read_manifest(known)
    mirror = Mirror(store, manifest, raw, _root() / manifest.sha256)
    mirror.keep_manifest()
    _remember(location, manifest.sha256)
    return mirror


def mirror_into(location: Address, folder: Path) -> Mirror:
    """Do as `open_mirror`, with a folder outside of the cache, whose parent is the caller's alone.

    The manifest is kept out of the folder until `Mirror.keep_manifest`: what holds one passes for an artifact.
    """
    store = Store(location)
    with fileio.disk_errors(folder):
        shutil.rmtree(folder.parent / INCOMING, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    raw, manifest = _fetch_manifest(store, folder.parent)
    return Mirror(store, manifest, raw, folder)


def _root() -> Path:
    return fileio.cache_directory() / "artifacts"


def _fetch_manifest(store: Store, box: Path) -> tuple[bytes, ArtifactManifest]:
    with _new_file(box) as path:
        store.fetch(MANIFEST_NAME, path, MANIFEST_LIMIT, lambda _: None)
        raw = fileio.read_bytes(path, limit=MANIFEST_LIMIT)
    return raw, parse_manifest(raw, f"{store.location.shown}/{MANIFEST_NAME}")


def _check(path: Path, file: File) -> None:
    """Raise the `Failure` of a file that is not what the manifest says, in the words of the difference."""
    with fileio.disk_errors(path):
        size = path.stat().st_size
        digest = fileio.sha256_file(path) if size == file.bytes else None
    if digest is None:
        raise Failure("damaged", f"{size} bytes", expected=f"{file.bytes} bytes")
    if digest != file.sha256:
        raise Failure("damaged", f"SHA-256 {digest}", expected=f"SHA-256 {file.sha256}")


def _in_parallel(work: Callable[[Item, Event], Result], items: list[Item]) -> Iterator[Result]:
    """Yield results as they come; the first error ends it: what was not begun is not begun, and nothing tried again."""
    stop = Event()
    if len(items) < 2:
        yield from (work(item, stop) for item in items)
        return
    pool = ThreadPoolExecutor(min(FETCHES, len(items)), thread_name_prefix="iwsltpack-fetch")
    try:
        for done in as_completed([pool.submit(work, item, stop) for item in items]):
            yield done.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        stop.set()
        pool.shutdown()


@contextmanager
def _new_file(box: Path) -> Iterator[Path]:
    """Give the path of an empty file in the folder of those on their way; what is left there in the end goes."""
    incoming = box / INCOMING
    with fileio.disk_errors(incoming):
        incoming.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=incoming, suffix=".part")
        os.close(descriptor)
    try:
        yield Path(name)
    finally:
        with suppress(OSError):
            Path(name).unlink(missing_ok=True)


def _sweep() -> None:
    """Remove what killed processes left on its way."""
    oldest = time.time() - STALE_S
    with suppress(OSError):
        for path in (_root() / INCOMING).glob("*.part"):
            with suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def _note_path(location: Address) -> Path | None:
    """Return where it is noted what a hub address led to; of other stores nothing is, they are asked every time."""
    if not isinstance(location, HubAddress):
        return None
    endpoint = os.environ.get("HF_ENDPOINT", "")
    return _root() / ".known" / fileio.sha256_bytes(f"{endpoint} {location.shown}".encode())


def _remember(location: Address, sha256: str) -> None:
    path = _note_path(location)
    if path is not None and _recall(location) != _root() / sha256:
        fileio.write_bytes(path, sha256.encode())


def _recall(location: Address) -> Path | None:
    """Return the folder of the cache that an address led to last, if it led to one."""
    path = _note_path(location)
    if path is None or not path.is_file():
        return None
    sha256 = fileio.read_bytes(path, limit=64).decode("ascii", "replace")
    whole = re.fullmatch(r"[0-9a-f]{64}", sha256) is not None
    return _root() / sha256 if whole and (_root() / sha256 / MANIFEST_NAME).is_file() else None
