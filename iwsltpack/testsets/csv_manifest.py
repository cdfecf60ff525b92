"""Test sets listed in a CSV manifest: ``id,split,audio_path,source_en,target_zh``.

``id`` and ``audio_path`` are needed, other columns are optional; lines come out in the order of the rows. A
relative ``audio_path`` is looked for from the manifest's folder first, then from the working folder (the paper's
manifests are written from the top of its repository). The manifest is the user's own list, so absolute paths are
read too; only the file's name of such a path is ever written into a document.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from iwsltpack.errors import InputError, Problem
from iwsltpack.system.fileio import read_text
from iwsltpack.testsets.testset import Segment, TestSet, natural_key, refuse, safe_name, set_name

Row = dict[Any, Any]
"""A row by column; `csv` puts surplus values under the key None and None in place of lacking ones."""
NEEDED = ("id", "audio_path")
SOURCES = ("source_en", "source")
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
    name = set_name(path.parent) if path.stem.lower() in GENERIC_STEMS else safe_name(path.stem)
    return [
        TestSet(
            name=name if len(splits) == 1 else safe_name(f"{name}-{split or 'rest'}"),
            kind="csv",
            segments=tuple(_segment(index, row, path.parent) for index, row in enumerate(members)),
        )
        for split, members in splits.items()
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
    return None


def _segment(index: int, row: dict[str, str], folder: Path) -> Segment:
    written = row["audio_path"].strip()
    pure = PurePosixPath(written)
    local = folder / written
    path = local if local.exists() or not Path(written).exists() else Path(written)
    inside = not pure.is_absolute() and ".." not in pure.parts
    source = next((row[name].strip() for name in SOURCES if row.get(name, "").strip()), None)
    return Segment(
        index=index,
        id=row["id"].strip(),
        audio=pure.as_posix() if inside else pure.name,
        path=path,
        source=source,
    )
