"""Where an artifact lies: a folder, or an address it is read from in place. Every way into an artifact starts here."""

import os
from dataclasses import dataclass
from pathlib import Path

from iwsltpack.documents.artifact import ArtifactManifest
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.errors import UsageError
from iwsltpack.remote import address as remote
from iwsltpack.remote.mirror import Mirror, open_mirror
from iwsltpack.system.progress import SILENT, Reporter

Place = Path | str
"""A folder, or an address such as ``hf://OWNER/NAME``; an address is always a `str`."""


@dataclass(frozen=True)
class Located:
    """An artifact of which the manifest is read, and nothing else.

    `path` is its folder or, of a remote one, the folder of the cache that mirrors it; `mirror` fetches its files.
    """

    path: Path
    manifest: ArtifactManifest
    mirror: Mirror | None = None

    @property
    def shown(self) -> str:
        """Where it lies, as it may be printed."""
        return str(self.path) if self.mirror is None else self.mirror.location.shown

    @property
    def total_bytes(self) -> int:
        """Size of the whole artifact: what the file system holds, or by its manifest where it lies elsewhere."""
        return folder_bytes(self.path) if self.mirror is None else self.mirror.total_bytes


def locate(where: Place) -> Located:
    """Read and check an artifact's manifest, wherever the artifact lies.

    A malformed address is a `UsageError`; for other errors see `read_manifest` and `open_mirror`.
    """
    if not is_address(where):
        path = Path(where)
        return Located(path, read_manifest(path))
    mirror = open_mirror(remote.parse(str(where)))
    return Located(mirror.folder, mirror.manifest, mirror)


def local_copy(where: Place, progress: Reporter = SILENT, *, recheck: bool = False) -> Path:
    """Return the folder of an artifact as it is; of a remote one, everything is fetched into the cache first.

    With `recheck`, what the cache holds already is hashed, and what was damaged since is fetched anew. Files that are
    missing or damaged at their source are a `ValidationFailed` that names each; for other errors see `locate`.
    """
    if not is_address(where):
        return Path(where)
    mirror = open_mirror(remote.parse(str(where)))
    if recheck:
        mirror.drop_damaged(progress)
    return mirror.fetch_all(progress)


def is_address(where: Place) -> bool:
    """Tell whether `where` is an address and not a path.

    One that was an address before it went through `pathlib.Path`, which makes one slash of two, is a `UsageError`.
    """
    if remote.is_remote(where):
        return True
    if remote.lost_a_slash(where) and not Path(where).exists():
        raise UsageError(
            "an address with one slash",
            where=where,
            expected=remote.FORMS,
            fix="give it as text, not as a Path",
        )
    return False


def hub_address(where: Place) -> Place:
    """Take ``OWNER/NAME[@REVISION]`` for a model on the hub, unless there is such a folder; all else stays as it is.

    >>> hub_address("owner/name"), hub_address("./owner/name")
    ('hf://owner/name', './owner/name')
    """
    text = str(where)
    return f"hf://{text}" if remote.is_hub_id(text) and not os.path.lexists(text) else where


def name_of(where: Place) -> str:
    """Return the last part of where an artifact lies, for folders named after it."""
    return remote.parse(str(where)).name if is_address(where) else Path(where).resolve().name


def shown(where: Place) -> str:
    """Return where an artifact lies, as it may be printed: no password and no signature."""
    return remote.without_secrets(str(where))


def folder_bytes(path: Path) -> int:
    """Return the exact bytes of every file below `path`, links counted as themselves."""
    return sum((Path(root) / name).lstat().st_size for root, _, names in os.walk(path) for name in names)
