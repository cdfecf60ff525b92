"""Where a checkpoint comes from: a folder as it is, or the hub through huggingface_hub's own cache."""

from __future__ import annotations

import re
from pathlib import Path

from iwsltpack.artifact.checkpoint import INDEX_NAME
from iwsltpack.artifact.sidefiles import SIDE_FILES
from iwsltpack.errors import InputError, ResourceError

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def find_source(source: str, revision: str | None = None) -> Path:
    """Return the folder of a checkpoint; a hub id is downloaded, or found in the local cache.

    Raises
    ------
    InputError
        Neither a folder nor a hub id, or the hub has no such model or revision.
    ResourceError
        The hub cannot be reached and the cache does not hold the model.
    """
    path = Path(source)
    if path.is_dir():
        return path
    if not _HUB_ID.fullmatch(source) or path.is_absolute() or path.exists():
        raise InputError(
            "neither a checkpoint folder nor a hub id",
            where=source,
            expected="a folder, or OWNER/NAME on the hub",
        )
    return _from_hub(source, revision)


def _from_hub(source: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(
            snapshot_download(
                source,
                revision=revision,
                allow_patterns=["*.safetensors", INDEX_NAME, "README.md", *SIDE_FILES],
            )
        )
    except RepositoryNotFoundError as error:
        raise InputError(
            "the hub has no such model, or it is gated",
            where=source,
            fix="check the name; `hf auth login` for gated models",
        ) from error
    except RevisionNotFoundError as error:
        raise InputError("the model has no such commit or tag", where=source, got=revision) from error
    except HFValidationError as error:
        raise InputError(
            "not a hub id", where=source, expected="OWNER/NAME", got=str(error).splitlines()[0]
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ResourceError(
            "the hub cannot be reached, and the model is not in the local cache",
            where=source,
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            fix="check the network, or name a folder that holds the checkpoint",
        ) from error
