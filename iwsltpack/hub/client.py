"""The hub as push and pull see it: a quiet client, and what a repository holds at a commit."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, get_session
from huggingface_hub.hf_api import ModelInfo, RepoFile
from huggingface_hub.utils.sha import git_hash
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from iwsltpack.documents.artifact import File
from iwsltpack.documents.names import MANIFEST_NAME
from iwsltpack.errors import UsageError
from iwsltpack.remote import failure
from iwsltpack.remote.address import HubAddress, is_remote, parse
from iwsltpack.remote.hub_errors import hub_errors
from iwsltpack.system import fileio
from iwsltpack.system.quiet import quiet_loggers
from iwsltpack.version import __version__

MAIN = "main"


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub lists it; bytes and SHA-256 are those of the content, wherever it is stored.

    The hub gives a SHA-256 of large files alone. `blob` is Git's name of what the repository itself stores: the
    content, or a pointer to the large file.
    """

    bytes: int
    sha256: str | None
    blob: str

    def holds(self, file: File, local: Path | None = None) -> bool:
        """Tell whether this is `file`; `local` is where its bytes lie, read only if the hub gives no SHA-256.

        Without `local`, a file of the right size whose SHA-256 the hub does not give counts as the same.
        """
        if self.bytes != file.bytes:
            return False
        if self.sha256 is not None:
            return self.sha256 == file.sha256
        return local is None or self.blob == git_hash(local.read_bytes())

    def is_manifest_of(self, artifact: Path) -> bool:
        """Tell whether this is the manifest of an artifact on disk."""
        path = artifact / MANIFEST_NAME
        data = fileio.read_bytes(path)
        return self.holds(File(path=path.name, bytes=len(data), sha256=fileio.sha256_bytes(data)), path)


def locate(name: str) -> HubAddress:
    """Take ``OWNER/NAME[@REVISION]`` apart, with or without ``hf://``; an address of another store is refused."""
    location = parse(name if is_remote(name) else f"hf://{name}")
    if isinstance(location, HubAddress):
        return location
    raise UsageError(
        "not a repository on the hub", where=location.shown, expected="OWNER/NAME or hf://OWNER/NAME"
    )


@contextmanager
def connected(where: str, *, endpoint: str | None = None) -> Iterator[HfApi]:
    """Give a client of the hub, or of the one at `endpoint`; inside the block the library is silent.

    Its exceptions become ours, about the repository `where`; see `hub_errors` and `fileio.disk_errors`.
    """
    with fileio.disk_errors(where), hub_errors(where), _quiet():
        # One client for all requests of this process; it may have been replaced after a broken connection.
        session = get_session()
        before, session.timeout = session.timeout, failure.COMMIT_TIMEOUT_S
        try:
            yield HfApi(endpoint=endpoint, library_name="iwsltpack", library_version=__version__)
        finally:
            session.timeout = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's bars and retry messages, which quote signed addresses, off the terminal."""
    hidden = are_progress_bars_disabled()
    if not hidden:
        disable_progress_bars()
    try:
        with quiet_loggers("huggingface_hub", level=logging.CRITICAL):
            yield
    finally:
        if not hidden:
            enable_progress_bars()


def first_answer(api: HfApi, repo: str, revision: str | None = None) -> ModelInfo:
    """Ask for a repository's description: without a network, that takes as long as a connection may, and no longer."""
    return api.model_info(repo, revision=revision, timeout=failure.CONNECT_TIMEOUT_S)


def look(api: HfApi, repo: str, revision: str | None = None) -> tuple[str, dict[str, RemoteFile]]:
    """Return the commit that a revision stands for, and path -> file of everything that lies there."""
    commit = str(first_answer(api, repo, revision).sha)
    return commit, listing(api, repo, commit)


def listing(api: HfApi, repo: str, commit: str) -> dict[str, RemoteFile]:
    """Return path -> file of everything a repository holds at a commit."""
    return {
        entry.path: RemoteFile(
            bytes=entry.size, sha256=entry.lfs.sha256 if entry.lfs else None, blob=entry.blob_id
        )
        for entry in api.list_repo_tree(repo, recursive=True, revision=commit)
        if isinstance(entry, RepoFile)
    }
