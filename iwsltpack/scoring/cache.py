"""Scores kept in the user's cache by the content they were computed from."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from iwsltpack.errors import IwsltpackError
from iwsltpack.system import fileio

VERSION = 1
"""Of the way scores are computed here: a change of it makes every entry unknown."""


class ScoreCache:
    """Results by content, in a folder: a key is the hash of all that a result depends on. Without one none are kept."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def get(self, content: dict[str, Any]) -> dict[str, Any] | None:
        """Return what was computed from `content`, or None where it is not known or the entry is damaged."""
        path = self._path(content)
        try:
            entry = None if path is None or not path.is_file() else fileio.read_json(path)
        except (IwsltpackError, OSError):
            return None  # an entry or a cache that cannot be read costs a computation, nothing else
        value: dict[str, Any] | None = entry.get("value") if isinstance(entry, dict) else None
        whole = path is not None and isinstance(value, dict) and entry == _entry(path.stem, value)
        return value if whole else None

    def put(self, content: dict[str, Any], value: dict[str, Any]) -> None:
        """Keep a result; a cache that cannot be written is no reason to lose the result."""
        path = self._path(content)
        with suppress(IwsltpackError, OSError):
            if path is not None:
                fileio.write_json(path, _entry(path.stem, value))

    def _path(self, content: dict[str, Any]) -> Path | None:
        if self._directory is None:
            return None
        key = _digest({"version": VERSION, **content})
        return self._directory / "scores" / key[:2] / f"{key}.json"


def _entry(key: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"key": key, "value": value, "sha256": _digest(value)}


def _digest(document: dict[str, Any]) -> str:
    return fileio.sha256_bytes(fileio.canonical_json(document))


def default_cache() -> ScoreCache:
    """Return the cache in the user's cache folder, if there is one."""
    try:
        return ScoreCache(fileio.cache_directory())
    except RuntimeError:  # a user without a home folder
        return ScoreCache(None)
