"""Find the test sets a folder holds, by what lies in it or as told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from iwsltpack.errors import InputError, Problem, UsageError
from iwsltpack.testsets.csv_manifest import list_manifests, read_manifest, read_manifests
from iwsltpack.testsets.folder import find_sentences, read_acl6060, read_folder
from iwsltpack.testsets.iwslt import ORDER_NAME, is_iwslt, is_order, lists_among, read_iwslt
from iwsltpack.testsets.recordings import files_below
from iwsltpack.testsets.testset import (
    RECORDINGS_FOLDERS,
    TestSet,
    is_audio,
    list_audio,
    natural_key,
    safe_name,
    set_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from iwsltpack.documents.choices import TestSetKind


def find_test_sets(
    path: Path, *, kind: TestSetKind | None = None, name: str | None = None, segmentation: Path | None = None
) -> list[TestSet]:
    """Return the test sets at `path`.

    A folder that holds ``FILE_ORDER``, a segmentation, a CSV manifest or recordings is a test set (a manifest with
    several splits, or several manifests, are several); otherwise each of its subfolders is looked at, in natural order.

    Parameters
    ----------
    path
        A folder, or a CSV manifest.
    kind
        What it is, where the contents would mislead.
    name
        Overrides the name, where there is one test set.
    segmentation
        YAML list of the segments of the one test set at `path`; None for the one that lies in it, if any.

    Raises
    ------
    InputError, ValidationFailed
        No test set there, or one that cannot be used as it stands.
    UsageError
        Two layouts at once and no `kind` to choose; `name` for several test sets; a `segmentation` for a layout that
        has none.
    """
    if segmentation is not None:
        if kind not in (None, "iwslt") or not path.is_dir():
            raise UsageError(
                "a segmentation was given for what is not cut by one",
                where=path,
                expected="the folder of an IWSLT test set",
                got=f"--format {kind}" if path.is_dir() else "no folder",
            )
        found = [read_iwslt(path, segmentation)]
    else:
        found = _named_apart(_find(path, kind), path)
    if name is None:
        return found
    if len(found) != 1:
        raise UsageError(
            "a name was given for more than one test set",
            where=path,
            got=", ".join(item.name for item in found),
        )
    if safe_name(name) != name:
        raise UsageError("not fit for a file name", where=name, expected="letters, digits, _ . + -")
    return [replace(found[0], name=name)]


def test_set_of(lines: Path, folder: Path) -> TestSet:
    """Return the test set at `folder` that a file of lines, ``TESTSET.PAIR.txt``, belongs to.

    Raises
    ------
    InputError, ValidationFailed
        See `find_test_sets`.
    UsageError
        There are several, and the file is named after none of them.
    """
    sets = find_test_sets(folder)
    chosen = [item for item in sets if lines.name.startswith(f"{item.name}.")] if len(sets) > 1 else sets
    if len(chosen) != 1:
        raise UsageError(
            "which test set do these hypotheses belong to?",
            where=folder,
            expected="a file named TESTSET.PAIR.txt, or the folder of one test set",
            got=", ".join(item.name for item in sets),
        )
    return chosen[0]


def _find(path: Path, kind: TestSetKind | None) -> list[TestSet]:
    if path.is_file():
        if is_order(path):
            return [read_iwslt(path.parent)]
        if path.suffix.lower() == ".csv" and kind in (None, "csv"):
            return read_manifest(path)
        raise InputError(
            "not a test set", where=path, expected="a folder, or a CSV manifest", got="another file"
        )
    if not path.is_dir():
        raise InputError(
            "no such test set", where=path, expected="a folder, or a CSV manifest", got="nothing there"
        )
    layout = kind or _layout(path)
    if layout is not None and (kind is None or _layout_present(path, kind)):
        return _read(path, layout)
    found: list[TestSet] = []
    passed_over: list[Path] = []
    for folder in _subfolders(path):
        inner = kind if kind is None or _layout_present(folder, kind) else None
        layout = inner if kind is not None else _layout(folder)
        if layout is None:
            passed_over.append(folder)
        else:
            found += _read(folder, layout)
    if not found:
        raise InputError(
            "no test set found",
            where=path,
            expected=f"{ORDER_NAME}, a CSV manifest, or wav/flac/mp3/ogg files, here or one folder down"
            if kind is None
            else f"a test set of the layout {kind!r}",
            got=", ".join(sorted(item.name for item in path.iterdir())[:8]) or "an empty folder",
        )
    if passed_over:
        _refuse_lists_in(passed_over)
        names = ", ".join(folder.name for folder in passed_over)
        found[0] = _with_notice(found[0], f"no test set in {names}: passed over", path)
    return found


def _refuse_lists_in(folders: list[Path]) -> None:
    """Refuse to pass over a segmentation or ``FILE_ORDER``, because another test set here may be meant by it."""
    if lists := lists_among(path for folder in folders for path in files_below(folder)):
        raise InputError(
            "a list of segments without recordings",
            where=lists[0],
            fix="put it into the folder of its test set, name it with --segments, or move it away",
        )


def _subfolders(path: Path) -> Iterator[Path]:
    folders = (item for item in path.iterdir() if item.is_dir() and not item.name.startswith("."))
    yield from sorted(folders, key=lambda item: natural_key(item.name))


def _layout_present(folder: Path, kind: TestSetKind) -> bool:
    if kind == "iwslt":
        return is_iwslt(folder)
    if kind == "csv":
        return bool(list_manifests(folder))
    if kind == "acl6060":
        return find_sentences(folder) is not None
    return bool(list_audio(folder))


def _layout(folder: Path) -> TestSetKind | None:
    """Return what `folder` is laid out as, or None where it is no test set itself."""
    listed: dict[TestSetKind, str] = {}
    if is_iwslt(folder):
        listed["iwslt"] = ORDER_NAME if any(map(is_order, folder.iterdir())) else "a segmentation"
    if list_manifests(folder):
        listed["csv"] = "a CSV manifest"
    # FILE_ORDER and a manifest may well list sentences; a segmentation of what is cut already says two things at once.
    if not {ORDER_NAME, "a CSV manifest"} & set(listed.values()) and find_sentences(folder) is not None:
        listed["acl6060"] = "ACL 60/60's sentences"
    if len(listed) > 1:
        raise UsageError(
            f"both {' and '.join(listed.values())}",
            where=folder,
            fix=f"say which is meant: {' or '.join(f'--format {kind}' for kind in listed)}",
        )
    if not listed and list_audio(folder):
        if folder.name.lower() in RECORDINGS_FOLDERS and is_iwslt(folder.resolve().parent):
            raise UsageError(
                "these recordings belong to the test set one folder up",
                where=folder,
                fix="give that folder, or read the recordings by themselves with --format folder",
            )
        return "folder"
    return next(iter(listed), None)


def _read(folder: Path, kind: TestSetKind) -> list[TestSet]:
    if kind == "iwslt":
        return [read_iwslt(folder)]
    found = (
        read_manifests(folder)
        if kind == "csv"
        else [{"acl6060": read_acl6060, "folder": read_folder}[kind](folder)]
    )
    files = files_below(folder)
    used = {segment.path for item in found for segment in item.segments}
    # A manifest is a person's own choice of recordings; what it leaves out needs no word.
    unread = [path for path in files if is_audio(path) and path not in used] if kind != "csv" else []
    for what, paths in (("recordings", unread), ("lists of segments", lists_among(files))):
        if paths:
            shown = ", ".join(path.relative_to(folder).as_posix() for path in paths[:5])
            more = ", …" if len(paths) > 5 else ""
            found[0] = _with_notice(found[0], f"{len(paths)} {what} are left out: {shown}{more}", folder)
    return found


def _with_notice(test_set: TestSet, message: str, where: Path) -> TestSet:
    notice = Problem(rule="testset.passed-over", severity="notice", message=message, path=str(where))
    return replace(test_set, notices=(*test_set.notices, notice))


def _named_apart(found: list[TestSet], path: Path) -> list[TestSet]:
    """Refuse two test sets of one name: their outputs would be one file."""
    names = [item.name for item in found]
    if len(set(names)) == len(names):
        return found
    twice = sorted({name for name in names if names.count(name) > 1})
    raise InputError(
        f"two test sets are called {twice[0]!r}",
        where=path,
        fix="rename one, or decode them one by one with --name",
    )


__all__ = ["find_test_sets", "set_name", "test_set_of"]
