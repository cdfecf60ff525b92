"""The YAML list of segments that IWSLT ships: ``wav``, ``offset`` and ``duration`` of each, in seconds."""

import math
import re
import reprlib
from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import yaml

from iwsltpack.errors import InputError, Problem
from iwsltpack.system.fileio import read_text
from iwsltpack.testsets.recordings import Recordings

KEYS = ("wav", "offset", "duration")
EXPECTED = "a list of {wav, offset, duration}"
YAML_SUFFIXES = (".yaml", ".yml")
JSON_PEEK = 65_536
"""Bytes of a .json file that are looked at to tell a segmentation from anything else."""

_NUMBER = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
_CORE = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "float": (rf"{_NUMBER}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.0123456789")),
}
"""What plain words of YAML 1.2 mean, and how they begin. Version 1.1 takes 010 for 8, 1:30 for 90, ``no`` for false."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """A stretch of a recording, in seconds; without a duration, all of it."""

    path: Path
    offset: float
    duration: float | None


def is_segmentation(path: Path) -> bool:
    """Tell whether a file may be a segmentation; a YAML file is none only where it is plainly something else."""
    suffix = path.suffix.lower()
    if suffix == ".json":
        with path.open("rb") as stream:
            head = stream.read(JSON_PEEK)
        return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[") and b'"offset"' in head
    if suffix not in YAML_SUFFIXES:
        return False
    try:
        data = load_yaml(path)
    except InputError:
        return True
    return not isinstance(data, dict) or any(key in read_text(path) for key in KEYS)


def read_spans(path: Path, recordings: Recordings) -> tuple[list[Span], list[Problem]]:
    """Return every entry of the YAML at `path`, in its order, and what is wrong with others."""
    data = load_yaml(path)
    if not isinstance(data, list) or not data:
        got = type(data).__name__ if data else "nothing"
        raise InputError("no list of segments", where=path, expected=EXPECTED, got=got)
    spans: dict[Span, None] = {}
    problems: list[Problem] = []
    for number, entry in enumerate(data, 1):
        try:
            spans[_read_entry(entry, recordings, spans)] = None
        except WrongEntry as error:
            message = f"segment {number}: {error}"
            problems.append(Problem(rule=f"yaml.{error.rule}", message=message, path=str(path)))
    return list(spans), problems


def load_yaml(path: Path) -> Any:
    """Read a YAML 1.2 file in which no key stands twice; `InputError` where it is none."""
    try:
        return yaml.load(read_text(path), Loader=_loader())  # noqa: S506
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(
            "not valid YAML",
            where=path,
            expected=EXPECTED,
            got=" ".join(str(error).replace('in "<unicode string>", ', "at ").split()),
        ) from error


@cache
def _loader() -> Any:
    """Return a safe loader of the core schema of YAML 1.2."""
    # libyaml reads 10,000 segments in a tenth of the time of the loader in Python; both build plain values only.
    safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(safe):  # type: ignore[misc]
        yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[str] = set()
            for key, _ in node.value:
                if str(key.value) in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} stands twice", key.start_mark
                    )
                seen.add(str(key.value))
            return super().construct_mapping(node, deep)

    for name, (pattern, first) in _CORE.items():
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(rf"(?:{pattern})\Z"), first)
    # Said with a tag, an integer is still one of version 1.2.
    Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value, 10))
    return Loader


class WrongEntry(Exception):
    """What is wrong with one entry of a list of segments, and the rule it breaks."""

    def __init__(self, rule: str, message: str) -> None:
        self.rule = rule
        super().__init__(message)


def _read_entry(entry: object, recordings: Recordings, seen: Container[Span]) -> Span:
    """Return the stretch that one entry asks for, which was not `seen`."""
    if not isinstance(entry, dict):
        raise WrongEntry("entry", f"expected an object, got {reprlib.repr(entry)}")
    if missing := [key for key in KEYS if key not in entry]:
        raise WrongEntry("keys", f"{', '.join(missing)} missing")
    if wrong := [key for key in entry if not isinstance(key, str)]:
        raise WrongEntry(
            "keys", f"{reprlib.repr(wrong[0])} is no key; the decimals of a number follow a point"
        )
    path = _recording(entry["wav"], recordings)
    offset, duration = read_stretch(entry)
    span = Span(path=path, offset=offset, duration=duration)
    if span in seen:
        raise WrongEntry("duplicate", f"the same stretch of {entry['wav']!r} is listed twice")
    return span


def read_stretch(entry: Mapping[Any, object]) -> tuple[float, float]:
    """Return ``offset`` and ``duration`` of an entry, in seconds; what they cannot be is a `WrongEntry`."""
    numbers = []
    for key in ("offset", "duration"):
        value = _seconds(entry[key])
        if value is None:
            raise WrongEntry("number", f"{key} is {reprlib.repr(entry[key])}, not a number of seconds")
        numbers.append(value)
    offset, duration = numbers
    if offset < 0:
        raise WrongEntry("offset", f"negative offset {offset}")
    if duration <= 0:
        raise WrongEntry("duration", f"duration {duration} is not positive")
    return offset, duration


def _recording(wav: object, recordings: Recordings) -> Path:
    if not isinstance(wav, str):
        raise WrongEntry(
            "wav", f"wav is {reprlib.repr(wav)}, not a file name; put a name of digits in quotes"
        )
    if PurePosixPath(wav).is_absolute() or ".." in PurePosixPath(wav).parts:
        raise WrongEntry("escape", f"{wav!r} leads out of the test set")
    found = recordings.find(wav)
    if not found:
        raise WrongEntry("unknown-wav", f"{wav!r} is not in the test set{recordings.nearest(wav)}")
    if len(found) > 1:
        raise WrongEntry("ambiguous", f"{wav!r} may be {' or '.join(map(recordings.relative, found))}")
    return found[0]


def _seconds(value: object) -> float | None:
    """Return a finite number, also one in quotes; None for anything else."""
    if isinstance(value, str) and not re.fullmatch(_NUMBER, value):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
