"""Lists beside recordings that are not read: an order by another name, segments in another form than IWSLT's."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from iwsltpack.errors import InputError
from iwsltpack.testsets.recordings import bare_name
from iwsltpack.testsets.testset import is_audio

PEEK = 65_536
"""Bytes of a file that are looked at."""
LISTS = (".txt", ".lst", ".list", ".scp", ".order", ".tsv", ".json", ".jsonl", "")
"""Suffixes of files whose contents tell what they are."""
_SEGMENTS_NAME = re.compile(
    r".*\.(?:stm|ctm|srt|vtt|sbv|textgrid|eaf|rttm|uem|ya?ml\.\w+)|segments(?:\.\w+)?", re.IGNORECASE
)
_TIMES = re.compile(rb"\b(?:offset|start|begin|onset)", re.IGNORECASE)


def heads_beside(files: Iterable[Path]) -> dict[Path, bytes]:
    """Return the first bytes of every file that is no recording; none of one whose name says that it is no list."""
    return {path: _head(path) for path in files if not is_audio(path)}


def refuse_other_order(heads: Mapping[Path, bytes], recordings: Sequence[Path]) -> None:
    """Refuse what may be meant as ``FILE_ORDER``: by its name, or as recordings in another order than `recordings`.

    Lines in another order than meant are all wrong, and look right.
    """
    names = [bare_name(path.name) for path in recordings]
    for path, head in heads.items():
        named = "fileorder" in re.sub(r"[\W_]", "", path.name.lower())
        if not (named or _other_order(head, names)):
            continue
        raise InputError(
            "a list of the recordings that is not read",
            where=path,
            expected="the order of the lines in a file FILE_ORDER",
            got="another name for it" if named else "recordings in another order than that of their names",
            fix="call it FILE_ORDER if the lines are to come out so, or move it away",
        )


def other_segmentations(heads: Mapping[Path, bytes], recordings: Sequence[Path]) -> list[Path]:
    """Return the files that may say where segments lie, in a form that is not read."""
    names = [bare_name(path.name).encode() for path in recordings]

    def is_one(path: Path, head: bytes) -> bool:
        told = _TIMES.search(head) is not None and any(name in head for name in names)
        return told or _SEGMENTS_NAME.fullmatch(path.name) is not None

    return [path for path, head in heads.items() if is_one(path, head)]


def _head(path: Path) -> bytes:
    if path.suffix.lower() not in LISTS or not path.is_file():
        return b""
    with path.open("rb") as stream:
        return stream.read(PEEK)


def _other_order(head: bytes, names: Sequence[str]) -> bool:
    """Tell whether a file's lines each end in one of the names, two or more, in another order."""
    words = [line.split()[-1] for line in head.decode("utf-8", "replace").splitlines() if line.strip()]
    listed = [bare_name(PurePosixPath(word).name) for word in words]
    if len(listed) < 2 or not set(listed) <= set(names):
        return False
    return listed != [name for name in names if name in listed]
