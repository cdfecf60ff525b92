"""Where a checkpoint comes from: a folder as it is, or the hub through huggingface_hub's own cache."""

import re
from difflib import get_close_matches
from pathlib import Path

from iwsltpack.artifact.side_files import SIDE_FILES
from iwsltpack.documents.names import INDEX_NAME
from iwsltpack.errors import InputError
from iwsltpack.remote.hub_errors import ask_hub
from iwsltpack.system import fileio

WANTED = ["*.safetensors", INDEX_NAME, "README.md", *SIDE_FILES]
"""Files of a checkpoint that are fetched from the hub."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def find_source(source: str, revision: str | None = None) -> Path:
    """Return the folder of a checkpoint; a hub id is downloaded, or found in the local cache.

    InputError: neither a folder nor a hub id, or the hub has no such model or revision. UsageError,
    ResourceError: see `hub_errors`; without the hub, a model that the local cache holds is found all the
    same.
    """
    if (folder := _folder(source)) is not None:
        return folder
    from huggingface_hub import snapshot_download

    named = source if revision is None else f"{source}@{revision}"
    try:
        with fileio.disk_errors(named):
            return Path(
                ask_hub(
                    lambda: snapshot_download(source, revision=revision, allow_patterns=WANTED),
                    named,
                    patient=False,
                )
            )
    except InputError as error:
        raise InputError(
            f"no such folder here, and {error.what}", where=error.where, got=error.got, fix=error.fix
        ) from error


def find_local(source: str) -> Path | None:
    """Return the folder of a checkpoint, None for a model of the hub that is not on this machine; nothing is fetched.

    What is neither a folder nor a hub id is an `InputError`.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    if (folder := _folder(source)) is not None:
        return folder
    try:
        return Path(snapshot_download(source, allow_patterns=WANTED, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _folder(source: str) -> Path | None:
    """Return the folder that `source` names, None where it can only be a hub id; refuse what is neither."""
    path = Path(source)
    if path.is_dir():
        return path
    here = path.parent.is_dir() and path.parent != Path()
    if not _HUB_ID.fullmatch(source) or path.is_absolute() or path.exists() or here:
        near = get_close_matches(path.name, [p.name for p in path.parent.iterdir()], 1) if here else []
        raise InputError(
            f"neither a checkpoint folder nor a hub id{'' if path.exists() else ': no such folder here'}",
            where=source,
            expected="a folder, or OWNER/NAME on the hub",
            fix=f"did you mean {path.parent / near[0]}?" if near else None,
        )
    return None
