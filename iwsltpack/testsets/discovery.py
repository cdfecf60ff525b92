"""Find the test sets a folder holds, by what lies in it or as told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from iwsltpack.errors import InputError, Problem, UsageError
from iwsltpack.testsets.csv_manifest import list_manifests, read_manifest, read_manifests
from iwsltpack.testsets.folder import find_sentences, read_acl6060, read_folder
from iwsltpack.testsets.iwslt import ORDER_NAME, is_iwslt, read_iwslt
from iwsltpack.testsets.testset import TestSet, list_audio, natural_key, safe_name, set_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from iwsltpack.documents.choices import TestSetKind


def find_test_sets(path: Path, *, kind: TestSetKind | None = None, name: str | None = None) -> list[TestSet]:
    """Return the test sets at `path`.

    A folder that holds ``FILE_ORDER``, a CSV manifest or recordings is a test set (a manifest with several splits,
    or several manifests, are several); otherwise each of its subfolders is looked at, in natural order.

    Parameters
    ----------
    path
        A folder, or a CSV manifest.
    kind
        What it is, where the contents would mislead.
    name
        Overrides the name, where there is one test set.

    Raises
    ------
    InputError, ValidationFailed
        No test set there, or one that cannot be used as it stands.
    UsageError
        Two layouts at once and no `kind` to choose; `name` for several test sets.
    """
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


def _find(path: Path, kind: TestSetKind | None) -> list[TestSet]:
    if path.is_file():
        if path.name == ORDER_NAME:
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
    passed_over: list[str] = []
    for folder in _subfolders(path):
        inner = kind if kind is None or _layout_present(folder, kind) else None
        layout = inner if kind is not None else _layout(folder)
        if layout is None:
            passed_over.append(folder.name)
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
        notice = Problem(
            rule="testset.passed-over",
            severity="notice",
            message=f"no test set in {', '.join(passed_over)}: passed over",
            path=str(path),
        )
        found[0] = replace(found[0], notices=(*found[0].notices, notice))
    return found


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
    order, manifest = is_iwslt(folder), bool(list_manifests(folder))
    if order and manifest:
        raise UsageError(
            f"both {ORDER_NAME} and a CSV manifest",
            where=folder,
            fix="say which is meant: --format iwslt or --format csv",
        )
    if order:
        return "iwslt"
    if manifest:
        return "csv"
    if find_sentences(folder) is not None:
        return "acl6060"
    return "folder" if list_audio(folder) else None


def _read(folder: Path, kind: TestSetKind) -> list[TestSet]:
    if kind == "csv":
        return read_manifests(folder)
    return [{"iwslt": read_iwslt, "acl6060": read_acl6060, "folder": read_folder}[kind](folder)]


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


__all__ = ["find_test_sets", "set_name"]
