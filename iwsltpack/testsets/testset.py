"""What a test set is: named, with its segments in the order of the output lines."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from iwsltpack.errors import InputError, Problem, ValidationFailed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from iwsltpack.documents.choices import TestSetKind

AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff")
"""What libsndfile reads of what speech is shipped in."""
UNREADABLE_SUFFIXES = (".m4a", ".aac", ".mp4", ".wma", ".webm", ".amr", ".mka", ".mov", ".mkv", ".avi")
"""Recordings all the same: passing over them would lose lines."""

_UNSAFE = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One output line.

    Attributes
    ----------
    index
        Counts from 0; the output line.
    id
        As the test set names it; unique in it.
    audio
        Path relative to the test set, with ``/``, as it may be written into documents.
    path
        Where to read it.
    offset
        Seconds from the start of the file.
    duration
        Seconds; None for the rest of the file.
    source
        What is said, where the test set tells.
    """

    index: int
    id: str
    audio: str
    path: Path
    offset: float = 0.0
    duration: float | None = None
    source: str | None = None


@dataclass(frozen=True, kw_only=True)
class TestSet:
    """Segments in output order, and what a person should know about how they were found."""

    __test__ = False  # pytest would take the name for a test class

    name: str
    kind: TestSetKind
    segments: tuple[Segment, ...]
    notices: tuple[Problem, ...] = field(default=())


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key under which ``sent_2`` precedes ``sent_10``; a total order over strings.

    >>> sorted(["sent_10", "sent_2"], key=natural_key)
    ['sent_2', 'sent_10']
    """
    parts = re.split(r"([0-9]+)", text)
    return tuple((0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts)


def is_audio(path: Path) -> bool:
    """Tell by its name whether a file is a recording, readable or not; hidden files are none."""
    return not path.name.startswith(".") and path.suffix.lower() in AUDIO_SUFFIXES + UNREADABLE_SUFFIXES


def list_audio(folder: Path) -> list[Path]:
    """Return the recordings directly in `folder`, in natural order of their names."""
    return sorted(
        (path for path in folder.iterdir() if is_audio(path)), key=lambda path: natural_key(path.name)
    )


def safe_name(text: str) -> str:
    """Return `text` fit for a file name: letters, digits, ``_ . + -``."""
    return _UNSAFE.sub("_", text).strip("._") or "testset"


def set_name(folder: Path) -> str:
    """Name a test set after its folder, or after the first parent that says more than ``wav`` or ``gold``."""
    folder = folder.resolve()
    while (
        folder.name.lower() in ("gold", "segmented_wavs", "wav", "wavs", "audio", "data")
        and folder.parent.name
    ):
        folder = folder.parent
    return safe_name(folder.name)


def read_text(path: Path) -> str:
    """Read a UTF-8 text file of a test set; a byte order mark is left out.

    Raises
    ------
    InputError
        Not readable, or not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            "not UTF-8", where=path, expected="UTF-8 text", got=str(error), fix="save the file as UTF-8"
        ) from error
    except OSError as error:
        raise InputError("cannot read the file", where=path, got=error.strerror or str(error)) from error


def refuse(problems: Iterable[Problem], where: Path) -> None:
    """Raise `ValidationFailed` with every problem, if there is one."""
    found = list(problems)
    if found:
        raise ValidationFailed("the test set cannot be used as it stands", found, where=where)
