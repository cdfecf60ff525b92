"""Folders of recordings, one segment each: ACL 60/60's segmented wavs, and any other."""

import re
from pathlib import Path
from unicodedata import normalize

from iwsltpack.errors import Problem
from iwsltpack.testsets.testset import Segment, TestSet, list_audio, refuse, set_name

GOLD = "segmented_wavs/gold"
_SENTENCE = re.compile(r"sent_([0-9]+)")


def find_sentences(folder: Path) -> Path | None:
    """Return the folder of ``sent_N`` recordings at or under `folder` as ACL 60/60 ships it, or None."""
    for place in (folder, folder / "gold", folder / GOLD):
        audio = list_audio(place) if place.is_dir() else []
        if audio and all(_SENTENCE.fullmatch(path.stem) for path in audio):
            return place
    return None


def read_acl6060(place: Path) -> TestSet:
    """Read ``sent_N`` recordings in the order of N; `place` is what `find_sentences` found.

    They begin at 1, or at 0. A number that is missing or given twice is a `ValidationFailed`: every line after it would
    be another sentence's.
    """
    numbered: dict[int, Path] = {}
    problems: list[Problem] = []
    for path in list_audio(place):
        match = _SENTENCE.fullmatch(path.stem)
        number = int(match[1]) if match else -1
        if number in numbered:
            message = f"sentence {number} is there twice: {numbered[number].name} and {path.name}"
            problems.append(Problem(rule="acl6060.duplicate", message=message, path=str(place)))
        numbered[number] = path
    if missing := sorted(set(range(0 if 0 in numbered else 1, max(numbered))) - set(numbered)):
        shown = ", ".join(map(str, missing[:10])) + (", …" if len(missing) > 10 else "")
        fix = "fetch them, or read the folder as it is with --format folder"
        message = f"sentences missing: {shown}"
        problems.append(Problem(rule="acl6060.gap", message=message, path=str(place), fix=fix))
    refuse(problems, place)
    ordered = [numbered[number] for number in sorted(numbered)]
    return TestSet(name=set_name(place), kind="acl6060", segments=_segments(ordered, place))


def read_folder(folder: Path) -> TestSet:
    """Read every recording directly in `folder`, in natural order of the names.

    Two recordings of one name (``a.wav`` and ``a.flac``) are a `ValidationFailed`: a converted copy would be a line too
    many.
    """
    audio = list_audio(folder)
    seen: dict[str, str] = {}
    problems: list[Problem] = []
    for path in audio:
        name = normalize("NFC", path.stem)  # two forms of one name look the same
        if name in seen:
            message = f"two recordings of one name: {seen[name]} and {path.name}"
            where = str(folder)
            problems.append(Problem(rule="folder.duplicate", message=message, path=where, fix="remove one"))
        seen[name] = path.name
    refuse(problems, folder)
    return TestSet(name=set_name(folder), kind="folder", segments=_segments(audio, folder))


def _segments(paths: list[Path], folder: Path) -> tuple[Segment, ...]:
    return tuple(
        Segment(index=index, id=path.stem, audio=path.relative_to(folder).as_posix(), path=path)
        for index, path in enumerate(paths)
    )
