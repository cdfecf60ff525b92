"""IWSLT's own layout: ``FILE_ORDER``, recordings, and a YAML list of segments, as the organisers' script reads it.

Output = one line a segment; files in the order of ``FILE_ORDER``, segments within a file in the order of the YAML.
Recordings that ``FILE_ORDER`` does not name come last. Without a YAML every file is one segment; with a YAML of one
recording ``FILE_ORDER`` is not needed.
"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, cast

from iwsltpack.errors import InputError, Problem, Severity
from iwsltpack.system.fileio import read_text
from iwsltpack.testsets.recordings import Recordings, bare_name, files_below, unique_ids
from iwsltpack.testsets.segments_yaml import Span, is_segmentation, read_spans
from iwsltpack.testsets.testset import Segment, TestSet, is_audio, list_audio, refuse, set_name

ORDER_NAME = "FILE_ORDER"


def is_iwslt(folder: Path) -> bool:
    """Tell whether `folder` is laid out as IWSLT ships its test sets: with ``FILE_ORDER``, or with a segmentation.

    Either lies in the folder itself, or below it beside the recordings (``txt``, ``yaml``). A folder whose subfolders
    are test sets by themselves is none.
    """
    lists = lists_among(sorted(folder.iterdir()))
    if any(map(is_order, lists)) or (lists and any(map(is_audio, files_below(folder)))):
        return True
    if list_audio(folder):
        return bool(lists_among(files_below(folder)))
    inner = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    beside = [path for path in inner if not any(map(is_audio, files_below(path)))]
    others = [path for path in inner if path not in beside]
    # A single folder of recordings belongs to the lists beside it, even with a list of its own.
    return any(lists_among(files_below(path)) for path in beside) and (
        len(others) == 1 or (bool(others) and not any(map(is_iwslt, others)))
    )


def lists_among(files: Iterable[Path]) -> list[Path]:
    """Return each ``FILE_ORDER`` and each segmentation among `files`; hidden ones are none."""
    shown = [path for path in files if not path.name.startswith(".")]
    return [path for kind in (is_order, is_segmentation) for path in shown if kind(path)]


def is_order(path: Path) -> bool:
    """Tell by its name whether a file is ``FILE_ORDER``, which some systems call ``file_order.txt``."""
    return path.name.upper() in (ORDER_NAME, f"{ORDER_NAME}.TXT")


def read_iwslt(folder: Path, segmentation: Path | None = None) -> TestSet:
    """Read the test set in `folder`, cut by the YAML `segmentation`, or else by the one in the folder.

    With one that was chosen, what ``FILE_ORDER`` lists beyond it is told and left out. With one that was found, that
    is an error: it may be the wrong one. `ValidationFailed` holds every wrong line of ``FILE_ORDER`` and every wrong
    entry of the YAML; neither of the two, more than one of either, and several recordings without an order are an
    `InputError`.
    """
    files = files_below(folder)
    order = _only(folder, list(filter(is_order, files)), ORDER_NAME)
    found = segmentation or _only(folder, list(filter(is_segmentation, files)), "segmentation")
    if (order is None and found is None) or (folder / ORDER_NAME).is_dir():
        raise InputError(
            "not an IWSLT test set", where=folder, expected=f"a file {ORDER_NAME}, or a YAML", got="none"
        )
    recordings = Recordings(folder)
    listed, problems = ({}, []) if order is None else _read_order(order, recordings, segmentation is not None)
    if found is None:
        # Listed ones first; a copy of a listed one in another format is no recording of its own.
        bare = {path: bare_name(recordings.relative(path)) for path in recordings.paths}
        others = [path for path in bare if bare[path] not in {bare[known] for known in listed}]
        spans = [Span(path=path, offset=0.0, duration=None) for path in (*listed, *others)]
    else:
        spans, wrong = read_spans(found, recordings)
        problems += wrong
    if order is None and len({span.path for span in spans}) > 1:
        raise InputError(
            "the order of the recordings is not known",
            where=folder,
            expected=f"a file {ORDER_NAME}, one recording a line, or segments of one recording only",
            got=f"segments of {len({span.path for span in spans})} recordings",
        )
    # A wrong line or entry would look like a recording left out.
    if not any(problem.severity == "error" for problem in problems):
        problems += _compare(order, found, listed, spans, recordings, segmentation is not None)
    refuse((problem for problem in problems if problem.severity == "error"), folder)
    segments = _segments(listed, spans, recordings, numbered=found is not None)
    return TestSet(name=set_name(folder), kind="iwslt", segments=segments, notices=tuple(problems))


def _only(folder: Path, found: list[Path], what: str) -> Path | None:
    """Return the one path found, or None; of several, none may be passed over."""
    if len(found) > 1:
        got = ", ".join(path.relative_to(folder).as_posix() for path in found)
        fix = "leave the one to be used and move the others away"
        if what == "segmentation":
            fix = "name the one to be used: --segments FILE"
        raise InputError(f"more than one {what}", where=folder, expected="one", got=got, fix=fix)
    return found[0] if found else None


def _read_order(order: Path, recordings: Recordings, lenient: bool) -> tuple[dict[Path, str], list[Problem]]:
    """Return the recordings named in ``FILE_ORDER`` with their names there, in order, and what is wrong with it."""
    listed: dict[Path, str] = {}
    problems: list[Problem] = []

    def wrong(rule: str, line: int, message: str, fix: str | None = None, **more: Any) -> None:
        rule = f"file-order.{rule}"
        problems.append(Problem(rule=rule, message=message, path=str(order), line=line, fix=fix, **more))

    text = read_text(order)
    # Not splitlines(): the other characters that end a line for Unicode may stand in a file's name.
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if not (name := line.strip()):
            continue
        found = recordings.find(name)
        if any(ord(character) < 32 for character in name):
            wrong("control", number, f"a control character in {name!r}")
        elif PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            wrong("escape", number, f"{name!r} leads out of the test set", "name files inside it")
        elif not found:
            missing = f"no recording {name!r}{recordings.nearest(name)}"
            wrong("missing", number, missing, severity="warning" if lenient else "error")
        elif len(found) > 1:
            meant = " or ".join(map(recordings.relative, found))
            wrong("ambiguous", number, f"{name!r} may be {meant}", "write which, with its folder and suffix")
        elif found[0] in listed:
            wrong("duplicate", number, f"{name!r} is listed twice", "remove one of the two lines")
        else:
            listed[found[0]] = name
    if not text.strip():
        wrong("empty", 1, "lists no recording")
    return listed, problems


def _compare(
    order: Path | None,
    yaml: Path | None,
    listed: dict[Path, str],
    spans: list[Span],
    recordings: Recordings,
    chosen: bool,
) -> list[Problem]:
    """Tell what only one of the lists names, what none names, and what ``FILE_ORDER`` may have meant."""
    problems: list[Problem] = []

    def tell(rule: str, severity: Severity, message: str, where: Path | None, fix: str | None = None) -> None:
        path = str(where or recordings.folder)
        problems.append(Problem(rule=rule, severity=severity, message=message, path=path, fix=fix))

    used = dict.fromkeys(span.path for span in spans)
    for path in [path for path in listed if path not in used]:
        message = f"{listed[path]!r} of {ORDER_NAME} has no segment here; if that is meant, take it out there"
        tell("yaml.unused", "warning" if chosen else "error", message, yaml)
    meant = {bare_name(path.name): recordings.relative(path) for path in listed}
    last = [path for path in used if path not in listed] if order is not None else []
    for path in last:
        if other := meant.get(bare_name(path.name)):
            message = f"{recordings.relative(path)} has the name of {other}, and {ORDER_NAME} lists only that"
            tell("file-order.ambiguous", "error", message, order, "list both, or take one away")
    unlisted = [path for path in recordings.paths if path not in used and path not in listed]
    for paths, what, severity in ((last, "come last", "warning"), (unlisted, "are left out", "notice")):
        if paths:
            why = f"are not in {ORDER_NAME}" if order is not None else "have no segment"
            shown = ", ".join(map(recordings.relative, paths[:5])) + (", …" if len(paths) > 5 else "")
            message = f"{len(paths)} recordings {why} and {what}: {shown}"
            tell("file-order.unlisted", cast("Severity", severity), message, order)
    return problems


def _segments(
    listed: dict[Path, str], spans: list[Span], recordings: Recordings, *, numbered: bool
) -> tuple[Segment, ...]:
    """Put the spans in order and name them, with numbers where a recording has several."""
    used = list(dict.fromkeys(span.path for span in spans))
    names = [listed.get(path) or path.name for path in used]
    if len(set(names)) < len(names):
        names = [listed.get(path) or recordings.relative(path) for path in used]
    ids = dict(zip(used, unique_ids(names), strict=True))
    rank = {path: place for place, path in enumerate(listed)}
    counts: Counter[Path] = Counter()
    segments = []
    # Sorting keeps the YAML's order within a recording, and among all that FILE_ORDER does not name.
    for index, span in enumerate(sorted(spans, key=lambda span: rank.get(span.path, len(rank)))):
        name = f"{ids[span.path]}_{counts[span.path]}" if numbered else ids[span.path]
        counts[span.path] += 1
        audio = recordings.relative(span.path)
        segments.append(Segment(index=index, id=name, audio=audio, **vars(span)))
    return tuple(segments)
