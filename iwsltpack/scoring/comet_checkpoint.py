"""COMET checkpoints: which one is asked for, a folder, a ``model.ckpt``, or a hub id that is downloaded once."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from iwsltpack.documents.choices import Device
from iwsltpack.documents.score import MetricCheckpoint
from iwsltpack.errors import InputError, ResourceError
from iwsltpack.scoring.cache import default_cache
from iwsltpack.system import fileio
from iwsltpack.system.progress import Reporter

DEFAULT_MODEL = "Unbabel/wmt22-comet-da"
"""What the paper and the track score with."""
BATCH_SIZE = 16
"""COMET's, in the paper."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_FILES = ("checkpoints/model.ckpt", "hparams.yaml")


@dataclass(frozen=True, kw_only=True)
class CometOptions:
    """Which COMET: hub id, folder or file; segments a batch; ``auto``, ``cuda`` or ``cpu``."""

    model: str = DEFAULT_MODEL
    batch_size: int = BATCH_SIZE
    device: Device = "auto"


@dataclass(frozen=True, kw_only=True)
class LocalCheckpoint:
    """A checkpoint on this machine: its ``model.ckpt``, what a signature says of it, the digest of its settings.

    With `reload` its settings are read from ``hparams.yaml`` and not from inside the checkpoint: true for the user's
    own folders, whose encoder may have moved since training.
    """

    path: Path
    identity: MetricCheckpoint
    reload: bool
    settings_sha256: str


def find_checkpoint(model: str, progress: Reporter) -> LocalCheckpoint:
    """Return the checkpoint, downloaded first if it is a hub id that is not on this machine yet.

    What is neither a checkpoint on disk nor a hub id is an `InputError`; a failed download is a `ResourceError`.
    """
    given = Path(model)
    if given.is_dir():
        return _local(given / "checkpoints" / "model.ckpt", given.resolve().name, None, reload=True)
    if given.is_file():
        folder = given.resolve().parent.parent
        return _local(given, folder.name or given.name, None, reload=True)
    if not _HUB_ID.fullmatch(model):
        raise InputError(
            "no such COMET checkpoint",
            where=model,
            expected=f"a folder with checkpoints/model.ckpt and hparams.yaml, or a hub id such as {DEFAULT_MODEL}",
        )
    snapshot = _snapshot(model, progress)
    revision = snapshot.name if re.fullmatch(r"[0-9a-f]{40}", snapshot.name) else None
    return _local(snapshot / _FILES[0], model, revision, reload=False)


def is_offline() -> bool:
    """Tell whether the user has forbidden the hub library to use the network."""
    return any(
        os.environ.get(name, "").lower() in ("1", "true", "yes", "on")
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def _local(path: Path, name: str, revision: str | None, *, reload: bool) -> LocalCheckpoint:
    settings = path.parent.parent / "hparams.yaml"
    for needed in (path, settings):
        if not needed.is_file():
            files = " and ".join(_FILES)
            raise InputError("not a whole COMET checkpoint", where=needed, expected=files, got="no such file")
    return LocalCheckpoint(
        path=path.absolute(),
        identity=MetricCheckpoint(name=name, revision=revision, sha256=_remembered_sha256(path)),
        reload=reload,
        settings_sha256=fileio.sha256_file(settings),
    )


def on_this_machine(model: str) -> bool:
    """Tell whether a checkpoint, a file, a folder or a hub id, is here already."""
    return Path(model).exists() or _whole(model, offline=True) is not None


def _whole(model: str, *, offline: bool) -> Path | None:
    """Return the hub library's copy of a checkpoint; None where it is not whole, or offline not there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(model, allow_patterns=list(_FILES), local_files_only=offline))
    except LocalEntryNotFoundError:
        if not offline:
            raise
        return None
    return folder if all((folder / name).is_file() for name in _FILES) else None


def _snapshot(model: str, progress: Reporter) -> Path:
    """Return the folder of a hub id: the hub library's copy, downloaded if it is missing or not whole."""
    if found := _whole(model, offline=True):
        return found
    progress.start(f"downloading {model} (once; 2.3 GB for wmt22-comet-da)", 1)
    cause: Exception | None = None
    try:
        if not is_offline() and (found := _whole(model, offline=False)):
            return found
        reason = "HF_HUB_OFFLINE is set" if is_offline() else f"it has no {_FILES[0]}"
    except Exception as error:  # noqa: BLE001 - the hub library has a dozen ways to say that it failed
        cause, reason = error, str(error).partition("\n")[0] or type(error).__name__
    finally:
        progress.finish()
    raise ResourceError(
        "the COMET checkpoint is not on this machine and could not be downloaded",
        where=model,
        got=reason,
        fix=f"run once with a network (huggingface-cli download {model}), or give a folder: --comet-model DIR",
    ) from cause


def _remembered_sha256(path: Path) -> str:
    """Return the file's SHA-256; one worked out before is believed while size and time stamp are the same."""
    found, cache = path.stat(), default_cache()
    state = {
        "file": str(path.resolve()),
        "bytes": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "inode": found.st_ino,
    }
    if (known := cache.get(state)) is None:
        known = {"sha256": fileio.sha256_file(path)}
        cache.put(state, known)
    return str(known["sha256"])
