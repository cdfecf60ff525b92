"""Test sets listed in a CSV manifest: ``id,split,audio_path,source_en,target_zh``.

``id`` and ``audio_path`` are needed, other columns are optional; lines come out in the order of the rows. With a column
``offset`` a row is a stretch of its recording, ``duration`` long, both in seconds; without one it is all of it. A
relative ``audio_path`` is looked for from the manifest's folder first, then from the working folder (the paper's
manifests are written from the top of its repository). The manifest is the user's own list, so absolute paths are
read too; only the file's name of such a path is ever written into a document.
"""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from unicodedata import normalize

from iwsltpack.errors import InputError, Problem
from iwsltpack.system.fileio import read_text
from iwsltpack.testsets.segments_yaml import WrongEntry, read_stretch
from iwsltpack.testsets.testset import Segment, TestSet, natural_key, refuse, safe_name, set_name

Row = dict[Any, Any]
"""A row by column; `csv` puts surplus values under the key None and None in place of lacking ones."""
NEEDED = ("id", "audio_path")
SOURCES = ("source_en", "source")
OTHER_TIMES = ("start", "end", "begin", "stop", "start_time", "end_time", "begin_time", "onset")
"""Columns that say where a segment lies, in ways that are not read."""
GENERIC_STEMS = ("manifest", "test", "metadata", "data")


def list_manifests(folder: Path) -> list[Path]:
    """Return the CSV files directly in `folder`, in natural order of their names."""
    shown = (path for path in folder.iterdir() if not path.name.startswith("."))
    found = [path for path in shown if path.suffix.lower() == ".csv"]
    return sorted(found, key=lambda path: natural_key(path.name))


def read_manifest(path: Path) -> list[TestSet]:
    """Read one manifest: a test set for each value of ``split``, in the order they first appear.

    `ValidationFailed` holds every wrong row; see `read_rows`, too.
    """
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    splits: dict[str, list[dict[str, str]]] = {}
    for line, row in read_rows(path, NEEDED):
        if found := _row_problem(row, seen):
            rule, message = found
            problems.append(Problem(rule=f"csv.{rule}", message=message, path=str(path), line=line))
            continue
        seen[row["id"].strip()] = line
        splits.setdefault((row.get("split") or "").strip(), []).append(row)
    refuse(problems, path)
    notices = _unsaid([row for members in splits.values() for row in members], path)
    name = set_name(path.parent) if path.stem.lower() in GENERIC_STEMS else safe_name(path.stem)
    return [
        TestSet(
            name=name if len(splits) == 1 else safe_name(f"{name}-{split or 'rest'}"),
            kind="csv",
            segments=tuple(_segment(index, row, path.parent) for index, row in enumerate(members)),
            notices=notices if not number else (),
        )
        for number, (split, members) in enumerate(splits.items())
    ]


def read_rows(path: Path, needed: Sequence[str]) -> list[tuple[int, Row]]:
    """Return every row with its line number; `InputError` where the columns `needed` are lacking, or any row."""
    text = read_text(path)
    if "\0" in text:
        raise InputError("a NUL character in the manifest", where=path, expected="CSV text")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in reader.fieldnames or []]
        if missing := [name for name in needed if name not in header]:
            raise InputError(
                f"the manifest lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}",
                where=path,
                expected="comma-separated columns id,audio_path[,split,source_en,target_zh]",
                got=",".join(header) or "an empty file",
            )
        if twice := sorted({name for name in header if header.count(name) > 1}):
            raise InputError(f"the column {twice[0]!r} appears twice", where=path, got=",".join(header))
        reader.fieldnames = header
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise InputError("not valid CSV", where=f"{path}:{reader.line_num}", got=str(error)) from error
    if not rows:
        raise InputError(
            "the manifest lists nothing", where=path, expected="a row for each segment", got="a header only"
        )
    return rows


def _unsaid(rows: Sequence[Row], path: Path) -> tuple[Problem, ...]:
    """Return what is to be said of recordings on several rows; `InputError` where their parts are told in vain."""
    if "offset" in rows[0]:
        return ()
    counts = Counter(row["audio_path"].strip() for row in rows)
    several = [name for name, count in counts.items() if count > 1]
    times = [name for name in OTHER_TIMES if name in rows[0]]
    if several and times:
        raise InputError(
            "the rows are parts of recordings, and where they lie is not told in a way that is read",
            where=path,
            expected="columns offset and duration, in seconds",
            got=", ".join(times),
            fix="write them so; a row without them is a whole recording",
        )
    message = f"{len(several)} recordings stand on several rows, each of which is all of it: {', '.join(several[:5])}"
    told = [Problem(rule="csv.whole", severity="warning", message=message, path=str(path))] if several else []
    if times:
        message = f"columns that are not read: {', '.join(times)}"
        told.append(Problem(rule="csv.whole", severity="notice", message=message, path=str(path)))
    return tuple(told)


def _row_problem(row: Row, seen: dict[str, int]) -> tuple[str, str] | None:
    """Return the rule that a row breaks and what is wrong with it, if anything."""
    if None in row:
        return "columns", f"{len(row[None])} more values than columns; quote a text that holds commas"
    if lacking := [name for name, value in row.items() if value is None]:
        return "columns", f"no value for {', '.join(lacking)}"
    identifier, audio = row["id"].strip(), row["audio_path"].strip()
    if not identifier:
        return "id", "empty id"
    if identifier in seen:
        return "duplicate", f"id {identifier!r} was used on line {seen[identifier]} already"
    if not audio:
        return "audio-path", f"{identifier}: empty audio_path"
    if any(ord(character) < 32 for character in audio):
        return "audio-path", f"{identifier}: a control character in audio_path"
    try:
        _stretch(row)
    except WrongEntry as error:
        return error.rule, f"{identifier}: {error}"
    return None


def _stretch(row: Row) -> tuple[float, float | None]:
    """Return where a row's segment begins and how long it is, in seconds; None: all the rest of its recording."""
    told = {key: row.get(key, "").strip() for key in ("offset", "duration")}
    return read_stretch(told) if told["offset"] or ("offset" in row and told["duration"]) else (0.0, None)


def _segment(index: int, row: dict[str, str], folder: Path) -> Segment:
    written = row["audio_path"].strip()
    pure = PurePosixPath(written)
    local = _named(folder / written)
    path = local if local.exists() or not Path(written).exists() else Path(written)
    inside = not pure.is_absolute() and ".." not in pure.parts
    offset, duration = _stretch(row)
    source = next((row[name].strip() for name in SOURCES if row.get(name, "").strip()), None)
    return Segment(
        index=index,
        id=row["id"].strip(),
        audio=pure.as_posix() if inside else pure.name,
        path=path,
        offset=offset,
        duration=duration,
        source=source,
    )


def _named(path: Path) -> Path:
    """Return the file of this name, also where its folder has it in the other Unicode form, as archives of a Mac do."""
    # Plain letters have one form: a folder is not listed anew for each of many files that are not there.
    if path.name.isascii() or path.exists() or not path.parent.is_dir():
        return path
    wanted = normalize("NFC", path.name)
    return next((other for other in path.parent.iterdir() if normalize("NFC", other.name) == wanted), path)
