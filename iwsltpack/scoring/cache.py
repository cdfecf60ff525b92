"""Scores kept in the user's cache by the content they were computed from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iwsltpack.errors import IwsltpackError
from iwsltpack.system import fileio

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1
"""Of the way scores are computed here: a change of it makes every entry unknown."""


class ScoreCache:
    """Results by content: the key is the hash of everything they depend on.

    Parameters
    ----------
    directory
        Where entries lie; None keeps nothing.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def get(self, content: dict[str, Any]) -> dict[str, Any] | None:
        """Return what was computed from `content`, or None where it is not known or the entry is damaged."""
        path = self._path(content)
        if path is None or not path.is_file():
            return None
        try:
            entry = fileio.read_json(path)
        except IwsltpackError:
            return None  # an entry that cannot be read costs a computation, nothing else
        whole = (
            isinstance(entry, dict) and entry.get("key") == path.stem and isinstance(entry.get("value"), dict)
        )
        if not whole or entry.get("sha256") != _digest(entry["value"]):
            return None
        value: dict[str, Any] = entry["value"]
        return value

    def put(self, content: dict[str, Any], value: dict[str, Any]) -> None:
        """Keep a result; a cache that cannot be written is no reason to lose the result."""
        path = self._path(content)
        if path is None:
            return
        try:
            fileio.write_json(path, {"key": path.stem, "value": value, "sha256": _digest(value)})
        except (IwsltpackError, OSError):
            return

    def _path(self, content: dict[str, Any]) -> Path | None:
        if self._directory is None:
            return None
        key = _digest({"version": VERSION, **content})
        return self._directory / "scores" / key[:2] / f"{key}.json"


def _digest(document: dict[str, Any]) -> str:
    return fileio.sha256_bytes(fileio.canonical_json(document))


def default_cache() -> ScoreCache:
    """Return the cache in the user's cache folder."""
    return ScoreCache(fileio.cache_directory())
