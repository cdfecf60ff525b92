"""IWSLT's own layout: ``FILE_ORDER``, recordings, and a YAML list of segments.

Output = one line a segment; files in the order of ``FILE_ORDER``, segments within a file in the order of the YAML.
Without a YAML every file is one segment.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from iwsltpack.errors import InputError, Problem
from iwsltpack.testsets.testset import (
    AUDIO_SUFFIXES,
    Segment,
    TestSet,
    list_audio,
    read_text,
    refuse,
    set_name,
)

ORDER_NAME = "FILE_ORDER"
AUDIO_FOLDERS = ("", "wav", "wavs", "audio")
YAML_FOLDERS = ("", "txt")


@dataclass(frozen=True, kw_only=True)
class _Span:
    """One entry of the YAML: seconds in a recording."""

    offset: float
    duration: float


def is_iwslt(folder: Path) -> bool:
    """Tell whether `folder` is laid out as IWSLT ships its test sets."""
    return (folder / ORDER_NAME).exists()


def read_iwslt(folder: Path) -> TestSet:
    """Read the test set in `folder`.

    Raises
    ------
    InputError
        ``FILE_ORDER`` is missing or is no text; more than one YAML.
    ValidationFailed
        With every wrong line of ``FILE_ORDER`` and every wrong entry of the YAML.
    """
    order_path = folder / ORDER_NAME
    if not order_path.is_file():
        raise InputError("not an IWSLT test set", where=folder, expected=f"a file {ORDER_NAME}", got="none")
    files, problems = _read_order(order_path)
    yaml_path = _find_yaml(folder)
    spans: dict[str, list[_Span]] | None = None
    if yaml_path is not None:
        spans, wrong = _read_yaml(yaml_path, files)
        problems += wrong
    refuse(problems, folder)
    segments: list[Segment] = []
    for name, path in files.items():
        relative = path.relative_to(folder).as_posix()
        stem = PurePosixPath(name).with_suffix("").as_posix()
        if spans is None:
            segments.append(Segment(index=len(segments), id=stem, audio=relative, path=path))
            continue
        for number, span in enumerate(spans[name]):
            segments.append(
                Segment(
                    index=len(segments),
                    id=f"{stem}_{number}",
                    audio=relative,
                    path=path,
                    offset=span.offset,
                    duration=span.duration,
                )
            )
    return TestSet(
        name=set_name(folder), kind="iwslt", segments=tuple(segments), notices=_unlisted(folder, files)
    )


def _read_order(order_path: Path) -> tuple[dict[str, Path], list[Problem]]:
    """Return the files named in ``FILE_ORDER``, in order, and what is wrong with it."""
    folder = order_path.parent
    files: dict[str, Path] = {}
    problems: list[Problem] = []

    def wrong(rule: str, line: int, message: str, fix: str | None = None) -> None:
        problems.append(
            Problem(rule=f"file-order.{rule}", message=message, path=str(order_path), line=line, fix=fix)
        )

    text = read_text(order_path)
    for number, line in enumerate(text.splitlines(), 1):
        name = line.strip()
        if not name:
            continue
        if any(ord(character) < 32 for character in name):
            wrong("control", number, f"a control character in {name!r}")
        elif PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            wrong("escape", number, f"{name!r} leads out of the test set", "name files inside it")
        elif (path := _find_audio(folder, name)) is None:
            wrong("missing", number, f"no recording {name!r}{_nearest(folder, name)}")
        elif name in files or path in files.values():
            wrong("duplicate", number, f"{name!r} is listed twice", "remove one of the two lines")
        else:
            files[name] = path
    if not text.strip():
        wrong("empty", 1, "lists no recording")
    return files, problems


def _find_audio(folder: Path, name: str) -> Path | None:
    """Return the recording `name`, whose suffix may have been left out."""
    for place in AUDIO_FOLDERS:
        for suffix in ("", *AUDIO_SUFFIXES):
            path = folder / place / (name + suffix)
            if path.is_file() and path.suffix.lower() in AUDIO_SUFFIXES:
                return path
    return None


def _nearest(folder: Path, name: str) -> str:
    names = [
        path.name
        for place in AUDIO_FOLDERS
        if (folder / place).is_dir()
        for path in list_audio(folder / place)
    ]
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f" among the {len(names)} recordings there"


def _unlisted(folder: Path, files: dict[str, Path]) -> tuple[Problem, ...]:
    listed = set(files.values())
    places = [folder / place for place in AUDIO_FOLDERS if (folder / place).is_dir()]
    extra = [path for place in places for path in list_audio(place) if path not in listed]
    if not extra:
        return ()
    shown = ", ".join(path.name for path in extra[:5]) + (", …" if len(extra) > 5 else "")
    message = f"{len(extra)} recordings are not in {ORDER_NAME} and are left out: {shown}"
    return (
        Problem(
            rule="file-order.unlisted", severity="notice", message=message, path=str(folder / ORDER_NAME)
        ),
    )


def _find_yaml(folder: Path) -> Path | None:
    for place in YAML_FOLDERS:
        found = sorted(path for pattern in ("*.yaml", "*.yml") for path in (folder / place).glob(pattern))
        if len(found) > 1:
            raise InputError(
                "more than one segmentation",
                where=folder / place,
                expected="one YAML file",
                got=", ".join(path.name for path in found),
                fix="leave the one to be used and move the others away",
            )
        if found:
            return found[0]
    return None


def _load_yaml(path: Path) -> Any:
    import yaml

    # libyaml reads 10,000 segments in a tenth of the time of the loader in Python; both build plain values only.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.load(read_text(path), Loader=loader)  # noqa: S506
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(
            "not valid YAML",
            where=path,
            expected="a list of {wav, offset, duration}",
            got=" ".join(str(error).split()),
        ) from error


def _read_yaml(path: Path, files: dict[str, Path]) -> tuple[dict[str, list[_Span]], list[Problem]]:
    """Return each recording's spans in the order of the YAML, and every wrong entry."""
    data = _load_yaml(path)
    if not isinstance(data, list) or not data:
        raise InputError(
            "no list of segments",
            where=path,
            expected="a list of {wav, offset, duration}",
            got="nothing" if not data else type(data).__name__,
        )
    # The YAML may write the suffix where FILE_ORDER leaves it out, and the other way round.
    aliases = {file.stem: name for name, file in files.items()}
    aliases |= {file.name: name for name, file in files.items()} | {name: name for name in files}
    spans: dict[str, list[_Span]] = {name: [] for name in files}
    problems: list[Problem] = []
    seen: set[tuple[str, _Span]] = set()
    for number, entry in enumerate(data, 1):
        try:
            name, span = _read_entry(entry, aliases, seen)
        except _WrongEntry as error:
            problems.append(
                Problem(rule=f"yaml.{error.rule}", message=f"segment {number}: {error}", path=str(path))
            )
            continue
        seen.add((name, span))
        spans[name].append(span)
    unused = [name for name in files if not spans[name]] if not problems else []
    for name in unused:
        message = f"{name!r} of {ORDER_NAME} has no segment here; if that is meant, take it out there"
        problems.append(Problem(rule="yaml.unused", message=message, path=str(path)))
    return spans, problems


class _WrongEntry(Exception):
    """What is wrong with one entry of the YAML, and the rule it breaks."""

    def __init__(self, rule: str, message: str) -> None:
        self.rule = rule
        super().__init__(message)


def _read_entry(entry: object, aliases: dict[str, str], seen: set[tuple[str, _Span]]) -> tuple[str, _Span]:
    """Return the recording, as ``FILE_ORDER`` names it, and the stretch one entry asks for, which was not `seen`."""
    if not isinstance(entry, dict):
        raise _WrongEntry("entry", f"expected an object, got {_short(entry)}")
    if missing := [key for key in ("wav", "offset", "duration") if key not in entry]:
        raise _WrongEntry("keys", f"{', '.join(missing)} missing")
    wav = entry["wav"]
    if not isinstance(wav, str):
        raise _WrongEntry("wav", f"wav is {_short(wav)}, not a file name")
    if wav not in aliases:
        raise _WrongEntry("unknown-wav", f"{wav!r} is not in {ORDER_NAME}")
    numbers = []
    for key in ("offset", "duration"):
        value = _seconds(entry[key])
        if value is None:
            raise _WrongEntry("number", f"{key} is {_short(entry[key])}, not a number of seconds")
        numbers.append(value)
    offset, duration = numbers
    if offset < 0:
        raise _WrongEntry("offset", f"negative offset {offset}")
    if duration <= 0:
        raise _WrongEntry("duration", f"duration {duration} is not positive")
    found = aliases[wav], _Span(offset=offset, duration=duration)
    if found in seen:
        raise _WrongEntry("duplicate", f"the same stretch of {wav!r} is listed twice")
    return found


def _seconds(value: object) -> float | None:
    """Return a finite number, or None. YAML 1.1 reads ``1e-05`` as a string, which is a number all the same."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
