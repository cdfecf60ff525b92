"""What a test set is: named, with its segments in the order of the output lines."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from iwsltpack.documents.choices import TestSetKind
from iwsltpack.errors import Problem, ValidationFailed

READABLE = re.compile(
    r"\.(wave?|bwf|rf64|w64|flac|mp[23]|mpga|og[ga]|opus|aif[fc]?|au|snd|caf|sph|nist|voc|svx|8svx|ircam|avr)",
    re.IGNORECASE,
)
"""Suffixes of recordings that libsndfile reads. A file of any other name is one by its first bytes."""
UNREADABLE = re.compile(
    r"\.(m4[abv]|mp4|aac|ac3|wm[av]|asf|webm|mk[av]|mov|avi|mpe?g|amr|awb|3gpp?|3g2|spx|gsm|vox|raw|pcm|ape|wv|tta|r[am]|"
    r"flv|shn|dsf)",
    re.IGNORECASE,
)
"""Recordings all the same: passing over them would lose lines."""
MAGIC = re.compile(
    rb"RIFF....WAVE|RIFX....WAVE|RF64....WAVE|BW64....WAVE|riff\x2e\x91\xcf\x11|FORM....(?:AIF[FC]|8SVX|16SV)|fLaC|OggS"
    rb"|\.snd\0|dns\.|caff\0\x01|NIST_1A|Creative Voice File|2BIT|ID3[\x02-\x04]\0|....ftyp|\x1a\x45\xdf\xa3|#!AMR"
    rb"|\x30\x26\xb2\x75|RIFF....AVI ",
    re.DOTALL,
)
"""How files of sound begin, readable or not."""

RECORDINGS_FOLDERS = ("gold", "segmented_wavs", "full_wavs", "wav", "wavs", "audio", "data")
"""Names of folders that hold a test set's recordings, and say nothing about which."""

_UNSAFE = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One output line: number `index` from 0, named `id` in its test set and nowhere else in it.

    `audio` is a path relative to the test set, with ``/``, as it may be written into documents; `path` is where to read
    it. `offset` is seconds from the start of the file, `duration` seconds, None for the rest of it. `source` is what is
    said, where the test set tells.
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
    """Tell by its name, or else by its first bytes, whether a file is a recording, readable or not.

    Hidden files are none.
    """
    if path.name.startswith("."):
        return False
    if READABLE.fullmatch(path.suffix) or UNREADABLE.fullmatch(path.suffix):
        return True
    try:
        # What is no regular file, a pipe for one, might never answer.
        with path.open("rb") if path.is_file() else BytesIO() as stream:
            return MAGIC.match(stream.read(32)) is not None
    except OSError:
        return False


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
    while folder.name.lower() in RECORDINGS_FOLDERS and folder.parent.name:
        folder = folder.parent
    return safe_name(folder.name)


def refuse(problems: Iterable[Problem], where: Path) -> None:
    """Raise `ValidationFailed` with every problem, if there is one."""
    found = list(problems)
    if found:
        raise ValidationFailed("the test set cannot be used as it stands", found, where=where)
