"""Figures of a configuration that no model has, refused before a library loops, allocates or counts by them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iwsltpack.artifact.side_files import CONFIG, GENERATION_CONFIG, SIZE_LIMIT, parse
from iwsltpack.errors import ArtifactError, InputError
from iwsltpack.system import fileio

LARGEST = 2**63
"""Integers of tensors and of the libraries' C parts are smaller."""
_PARTS = re.compile(r"(?!max_)\w*(layers?|blocks|experts|depth)")
"""Keys whose number is that of modules to be made, each of at least one tensor."""
_TOKEN = re.compile(r"\w*token_(id|index)")


def check_figures(model_dir: Path, tensors: int) -> None:
    """Refuse a model that cannot be made, or cannot be made of this many tensors.

    Raises
    ------
    ArtifactError
        A number of layers that is negative or larger than `tensors`; a token outside the vocabulary; a number that no
        library can hold; a file that is not usable JSON.
    """
    found = [(name, *figure) for name in (CONFIG, GENERATION_CONFIG) for figure in _read(model_dir / name)]
    vocabulary: float = max((value for _, key, value in found if key == "vocab_size"), default=LARGEST)
    least: float
    most: float
    for name, key, value in found:
        if _PARTS.fullmatch(key):
            least, most = 0, tensors
        elif _TOKEN.fullmatch(key):
            least, most = -1, vocabulary - 1
        else:
            least, most = -LARGEST, LARGEST - 1
        if not least <= value <= most:
            raise ArtifactError(
                "the configuration is not that of this model",
                where=model_dir / name,
                expected=f"{key} from {least} to {most}",
                got=value,
                fix="build the artifact again from a checkpoint that matches its config.json",
            )


def _read(path: Path) -> list[tuple[str, float]]:
    if not path.is_file():
        return []
    try:
        return list(_figures("", parse(fileio.read_bytes(path, limit=SIZE_LIMIT), path)))
    except InputError as error:
        raise ArtifactError(
            "the configuration cannot be read", where=error.where, expected=error.expected, got=error.got
        ) from error


def _figures(key: str, value: Any) -> Iterator[tuple[str, float]]:
    """Yield every number with the key it stands under, or the list it stands in."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _figures(name, item)
    elif isinstance(value, list):
        for item in value:
            yield from _figures(key, item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, value
