"""Fetch an artifact from the hub: its manifest first, then exactly the files it lists, each checked as it comes.

Everything lands in ``OUTPUT.partial/artifact``, as in a build; the manifest is added last, and the folder renamed only
when the whole was verified. A pull that was killed goes on: whatever lies there is kept if its hash is right.
"""

from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iwsltpack.artifact.integrity import verify_artifact
from iwsltpack.building.partial import check_absent
from iwsltpack.documents.artifact import File
from iwsltpack.documents.manifest import MANIFEST_LIMIT, parse_manifest
from iwsltpack.documents.names import MANIFEST_NAME, PARTIAL_SUFFIX
from iwsltpack.errors import ArtifactError, ResourceError, UsageError, ValidationFailed
from iwsltpack.hub.changes import find_faults
from iwsltpack.hub.client import connected, first_answer, listing, locate, pause_s
from iwsltpack.system import fileio
from iwsltpack.system.progress import Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from huggingface_hub import HfApi

    from iwsltpack.documents.artifact import ArtifactManifest
    from iwsltpack.hub.client import RemoteFile

LOCK = "pull.lock"
ARTIFACT = "artifact"
ARRIVING = "arriving"
"""What stands in the partial folder: who is at work, files that were checked, and files on their way."""
WORKERS = 8
FILE_TRIES = 3
"""How often a file that comes damaged is asked for."""
TRANSFER_TRIES = 5
"""How often a transfer that breaks is begun."""


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What a pull did.

    Attributes
    ----------
    repo, revision, commit
        Where from; the commit is what the revision meant when the pull began.
    output
        The folder.
    artifact_sha256
        Of the manifest: the artifact's identity.
    files_fetched, bytes_fetched
        What was downloaded, the manifest left out.
    files_kept
        What an earlier, interrupted pull had left, and was right.
    """

    repo: str
    revision: str | None
    commit: str
    output: str
    artifact_sha256: str
    files_fetched: int
    bytes_fetched: int
    files_kept: int

    def to_json(self) -> dict[str, Any]:
        """Return everything as a JSON object."""
        return dict(vars(self))


def pull_artifact(
    name: str,
    output: Path | None = None,
    *,
    endpoint: str | None = None,
    progress: Progress | None = None,
) -> Pulled:
    """Bring an artifact from the hub, byte for byte.

    Parameters
    ----------
    name
        ``OWNER/NAME[@REVISION][/FOLDER]``, with or without ``hf://``; a slash in a revision is written ``%2F``.
    output
        Folder to create; default: the repository's name, here.
    endpoint
        URL of another hub than HF_ENDPOINT names.

    Raises
    ------
    UsageError
        `output` exists, something else lies in the partial folder, or another pull is at work there.
    ArtifactError
        No artifact in the repository, or only a part of one, or a file that comes damaged every time.
    ValidationFailed
        Its manifest is no good, or the repository does not hold what it lists.
    InputError, ResourceError
        See `hub_errors`; too little space on the disk. What was fetched is kept.
    """
    location = locate(name)
    output = output or Path(location.name)
    check_absent(output)
    folder = f"{location.folder}/" if location.folder else ""
    with connected(location.shown, endpoint=endpoint) as api:
        info = first_answer(api, location.repo, location.revision)
        commit = str(info.sha)
        with _workshop(output) as workshop:
            pull = _Pull(api, location.repo, commit, folder, workshop, progress or Silent())
            raw, manifest = pull.manifest()
            kept = pull.keep(manifest)
            wanted = [file for file in manifest.files if file.path not in kept]
            pull.fetch(wanted, sum(file.bytes for file in manifest.files))
            pull.finish(raw, output)
    return Pulled(
        repo=location.repo,
        revision=location.revision,
        commit=commit,
        output=str(output),
        artifact_sha256=manifest.sha256,
        files_fetched=len(wanted),
        bytes_fetched=sum(file.bytes for file in wanted),
        files_kept=len(kept),
    )


class _Pull:
    """One pull on its way into a workshop that nobody else uses."""

    def __init__(
        self, api: HfApi, repo: str, commit: str, folder: str, workshop: Path, progress: Progress
    ) -> None:
        self.api, self.repo, self.commit, self.folder = api, repo, commit, folder
        self.artifact, self.arriving = workshop / ARTIFACT, workshop / ARRIVING
        self.progress = progress
        self.stop = threading.Event()

    @property
    def where(self) -> str:
        return f"{self.repo}@{self.commit[:12]}"

    def manifest(self) -> tuple[bytes, ArtifactManifest]:
        """Fetch and check the manifest, and whether the repository lists what it names."""
        remote = listing(self.api, self.repo, self.commit)
        known = remote.get(f"{self.folder}{MANIFEST_NAME}")
        if known is None:
            raise self._no_artifact(remote)
        if known.bytes > MANIFEST_LIMIT:
            raise ArtifactError(
                "the manifest is too large for one",
                where=f"{self.where}/{MANIFEST_NAME}",
                expected=f"at most {MANIFEST_LIMIT} bytes",
                got=f"{known.bytes} bytes",
            )
        # What a killed pull left half fetched cannot be gone on with.
        shutil.rmtree(self.arriving, ignore_errors=True)
        path = self._download(MANIFEST_NAME)
        raw, where = fileio.read_bytes(path, limit=MANIFEST_LIMIT), f"{self.where}/{MANIFEST_NAME}"
        manifest = parse_manifest(raw, fileio.parse_json(raw, where), where)
        if problems := find_faults(manifest, remote, self.folder):
            raise ValidationFailed(
                "the repository does not hold what its manifest lists",
                problems,
                where=self.where,
                fix="let its owner push the artifact again",
            )
        return raw, manifest

    def _no_artifact(self, remote: dict[str, RemoteFile]) -> ArtifactError:
        if any(path.startswith(f"{self.folder}weights.zarr/") for path in remote):
            return ArtifactError(
                "the artifact is only half pushed",
                where=self.where,
                fix="let its owner run the same `iwsltpack push` again, then pull again",
            )
        return ArtifactError(
            "no artifact in this repository",
            where=self.where,
            expected=f"{self.folder}{MANIFEST_NAME}",
            got=f"{len(remote)} other files",
            fix="check the name and the revision",
        )

    def keep(self, manifest: ArtifactManifest) -> set[str]:
        """Return which files lie here already as they should be; whatever else lies here goes."""
        listed = {file.path: file for file in manifest.files}
        found = [path for path in self.artifact.rglob("*") if path.is_symlink() or not path.is_dir()]
        self.progress.start("looking at what was fetched before", len(found))

        def right(path: Path) -> str | None:
            name = path.relative_to(self.artifact).as_posix()
            whole = name in listed and not path.is_symlink() and _is_whole(path, listed[name])
            if not whole:
                path.unlink()
            self.progress.advance()
            return name if whole else None

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            kept = {name for name in pool.map(right, found) if name is not None}
        self.progress.finish()
        return kept

    def fetch(self, files: list[File], total: int) -> None:
        """Fetch many files at a time, the largest first; the first failure ends it."""
        missing = sum(file.bytes for file in files)
        self._check_space(missing)
        self.progress.start("downloading", total, "bytes")
        self.progress.advance(total - missing)
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="pull") as pool:
            futures = [pool.submit(self._fetch, file) for file in sorted(files, key=lambda f: -f.bytes)]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
            except BaseException:
                self.stop.set()
                pool.shutdown(cancel_futures=True)
                raise
        self.progress.finish()

    def _check_space(self, needed: int) -> None:
        free = shutil.disk_usage(self.artifact.parent).free
        if needed > free:
            raise ResourceError(
                "no space left for the artifact",
                where=self.artifact.parent,
                expected=f"{needed:,} bytes free",
                got=f"{free:,} bytes",
                fix="free space, or choose another --output",
            )

    def _fetch(self, file: File) -> None:
        target = self.artifact / file.path
        for tried in range(1, FILE_TRIES + 1):
            if self.stop.is_set():
                return
            path = self._download(file.path, again=tried > 1)
            if _is_whole(path, file):
                fileio.fsync_file(path)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
                self.progress.advance(file.bytes)
                return
        raise ArtifactError(
            "a file comes damaged",
            where=f"{self.where}/{file.path}",
            expected=f"{file.bytes} bytes of SHA-256 {file.sha256}",
            got=f"something else, {FILE_TRIES} times",
            fix="run the same command again; if that does not help, let its owner push the artifact again",
        )

    def _download(self, path: str, *, again: bool = False) -> Path:
        """Fetch one file with the library, which knows every way to the hub's stores."""
        tried = 0
        while True:
            tried += 1
            try:
                return Path(
                    self.api.hf_hub_download(
                        self.repo,
                        f"{self.folder}{path}",
                        revision=self.commit,
                        local_dir=self.arriving,
                        force_download=again,
                    )
                )
            except Exception as error:
                if (pause := pause_s(error, tried, TRANSFER_TRIES)) is None:
                    raise
            if self.stop.wait(pause):
                raise ResourceError("stopped", where=self.where)

    def finish(self, raw: bytes, output: Path) -> None:
        """Verify the whole, and give it its name."""
        shutil.rmtree(self.arriving)
        fileio.write_bytes(self.artifact / MANIFEST_NAME, raw)
        if problems := verify_artifact(self.artifact, self.progress):
            raise ValidationFailed(
                "what was fetched is not whole", problems, where=output, fix="run the same command again"
            )
        self.artifact.rename(output)
        fileio.fsync_directory(output.parent)


def _is_whole(path: Path, file: File) -> bool:
    return path.is_file() and path.stat().st_size == file.bytes and fileio.sha256_file(path) == file.sha256


@contextmanager
def _workshop(output: Path) -> Iterator[Path]:
    """Give the folder the artifact arrives in, locked; it stays on an error, to go on from."""
    workshop = output.with_name(output.name + PARTIAL_SUFFIX)
    if workshop.exists() and any(workshop.iterdir()) and not (workshop / LOCK).exists():
        raise UsageError(
            "something else than a pull lies where this one would work",
            where=workshop,
            fix="choose another --output, or remove that folder",
        )
    workshop.mkdir(parents=True, exist_ok=True)
    with fileio.exclusive_lock(workshop / LOCK, "another pull is writing this artifact"):
        # It may have been finished by another process since this one looked first.
        check_absent(output)
        (workshop / ARTIFACT).mkdir(exist_ok=True)
        yield workshop
        shutil.rmtree(workshop)
