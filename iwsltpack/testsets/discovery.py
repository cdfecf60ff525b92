"""Find the test sets a folder holds, by what lies in it or as told."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from iwsltpack.documents.choices import TestSetKind
from iwsltpack.errors import InputError, Problem, Severity, UsageError
from iwsltpack.testsets.csv_manifest import list_manifests, read_manifest
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
)
from iwsltpack.testsets.unread_lists import heads_beside, other_segmentations, refuse_other_order


def find_test_sets(
    path: Path, *, kind: TestSetKind | None = None, name: str | None = None, segmentation: Path | None = None
) -> list[TestSet]:
    """Return the test sets at `path`, a folder or a CSV manifest.

    A folder that holds ``FILE_ORDER``, a segmentation, a CSV manifest or recordings is a test set (a manifest with
    several splits, or several manifests, are several); otherwise each of its subfolders is looked at, in natural order.
    Where there is none, or one that cannot be used as it stands, that is an `InputError` or `ValidationFailed`.

    `kind` says what it is, where the contents would mislead; needed where there are two layouts at once. `name`
    overrides the name, where there is one test set. `segmentation` is a YAML list of the segments of the one test set
    at `path`; None for the one that lies in it, if any. For a layout that has none it is a `UsageError`.
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
        found = _find(path, kind)
    names = [item.name for item in found]
    if twice := sorted({one for one in names if names.count(one) > 1}):
        # Their outputs would be one file.
        raise InputError(
            f"two test sets are called {twice[0]!r}",
            where=path,
            fix="rename one, or decode them one by one with --name",
        )
    if name is None:
        return found
    if len(found) != 1:
        what = "a name was given for more than one test set"
        raise UsageError(what, where=path, got=", ".join(names))
    if safe_name(name) != name:
        raise UsageError("not fit for a file name", where=name, expected="letters, digits, _ . + -")
    return [replace(found[0], name=name)]


def test_set_of(lines: Path, folder: Path) -> TestSet:
    """Return the test set at `folder` that a file of lines, ``TESTSET.PAIR.txt``, belongs to.

    Of several, the file must be named after one, else it is a `UsageError`; see `find_test_sets`, too.
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
    if path.is_file() and is_order(path):
        return [read_iwslt(path.parent)]
    if path.is_file() and path.suffix.lower() == ".csv" and kind in (None, "csv"):
        return read_manifest(path)
    if not path.is_dir():
        what, got = ("not a", "another file") if path.exists() else ("no such", "nothing there")
        raise InputError(f"{what} test set", where=path, expected="a folder, or a CSV manifest", got=got)

    def layout_of(folder: Path) -> TestSetKind | None:
        return _layout(folder) if kind is None else kind if LAYOUTS[kind][0](folder) else None

    if (layout := layout_of(path)) is not None:
        return _read(path, layout)
    inner = [folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    inner.sort(key=lambda folder: natural_key(folder.name))
    layouts = {folder: layout_of(folder) for folder in inner}
    found = [item for folder, layout in layouts.items() if layout for item in _read(folder, layout)]
    if not found:
        raise InputError(
            "no test set found",
            where=path,
            expected=f"{ORDER_NAME}, a CSV manifest, or wav/flac/mp3/ogg files, here or one folder down"
            if kind is None
            else f"a test set of the layout {kind!r}",
            got=", ".join(sorted(item.name for item in path.iterdir())[:8]) or "an empty folder",
        )
    if passed_over := [folder for folder, layout in layouts.items() if layout is None]:
        # A segmentation or FILE_ORDER there may be meant for another test set here.
        if lists := lists_among(inside for folder in passed_over for inside in files_below(folder)):
            raise InputError(
                "a list of segments without recordings",
                where=lists[0],
                fix="put it into the folder of its test set, name it with --segments, or move it away",
            )
        names = ", ".join(folder.name for folder in passed_over)
        found[0] = _with_notice(found[0], f"no test set in {names}: passed over", path)
    return found


LAYOUTS: dict[TestSetKind, tuple[Callable[[Path], bool], Callable[[Path], list[TestSet]]]] = {
    "iwslt": (is_iwslt, lambda folder: [read_iwslt(folder)]),
    "csv": (
        lambda folder: bool(list_manifests(folder)),
        lambda folder: [found for path in list_manifests(folder) for found in read_manifest(path)],
    ),
    "acl6060": (
        lambda folder: find_sentences(folder) is not None,
        lambda folder: [read_acl6060(find_sentences(folder) or folder)],
    ),
    "folder": (lambda folder: bool(list_audio(folder)), lambda folder: [read_folder(folder)]),
}
"""How each layout is told, and how it is read."""


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
    found = LAYOUTS[kind][1](folder)
    files = files_below(folder)
    used = {segment.path: segment.duration for item in found for segment in item.segments}
    # A manifest is a person's own list, and so is a segmentation that was read.
    if kind != "csv" and set(used.values()) == {None}:
        heads = heads_beside(files)
        if kind != "iwslt":
            refuse_other_order(heads, list(used))
        for path in other_segmentations(heads, list(used)):
            message = "may say where segments lie, in a form that is not read: every recording is one segment"
            found[0] = _with_notice(found[0], message, path, "warning")
    if kind == "iwslt":
        return found
    # A manifest is a person's own choice of recordings; what it leaves out needs no word.
    unread = [path for path in files if is_audio(path) and path not in used] if kind != "csv" else []
    for what, paths in (("recordings", unread), ("lists of segments", lists_among(files))):
        if paths:
            shown = ", ".join(path.relative_to(folder).as_posix() for path in paths[:5])
            more = ", …" if len(paths) > 5 else ""
            found[0] = _with_notice(found[0], f"{len(paths)} {what} are left out: {shown}{more}", folder)
    return found


def _with_notice(test_set: TestSet, message: str, where: Path, severity: Severity = "notice") -> TestSet:
    notice = Problem(rule="testset.passed-over", severity=severity, message=message, path=str(where))
    return replace(test_set, notices=(*test_set.notices, notice))
