"""Changes to a folder of submissions that take place wholly or not at all, also when the machine stops.

New folders are written beside the old ones under names that no reader looks at. One atomic write of a journal then
decides: without it nothing has happened, with it the rest is carried out, now or at the next start.
"""

import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from iwsltpack.errors import InputError
from iwsltpack.system import fileio, locks

HIDDEN: Final = ".iwsltpack-"
JOURNAL: Final = f"{HIDDEN}transaction.json"


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the folder for one writer; finish what an interrupted one had decided, drop what it had not."""
    with fileio.disk_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(root, os.O_RDONLY)
    try:
        locks.take(descriptor, root, patience=math.inf)
        recover(root)
        yield
    finally:
        os.close(descriptor)


def is_unfinished(root: Path) -> bool:
    """Tell whether a change was decided and not carried out to the end."""
    return (root / JOURNAL).is_file()


def write_folder(root: Path, number: int, files: dict[str, bytes]) -> Path:
    """Write a new folder under a hidden name and sync it; return it for `commit`."""
    folder = root / f"{HIDDEN}new-{number}"
    with fileio.disk_errors(folder):
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        for directory in {folder, *((folder / name).parent for name in files)}:
            fileio.fsync(directory)
    return folder


def commit(root: Path, install: dict[str, Path], remove: tuple[str, ...] = ()) -> None:
    """Put each folder of `install` in its place, replacing what is there, and take `remove` away: all or nothing."""
    journal = {
        "install": [{"from": path.name, "to": name} for name, path in install.items()],
        "remove": [name for name in remove if name not in install],
    }
    fileio.write_json(root / JOURNAL, journal)
    recover(root)


def recover(root: Path) -> None:
    """Carry out a journalled change to its end; without one, drop folders that were never decided on.

    A journal that is not one of ours is an `InputError`.
    """
    journal = root / JOURNAL
    if journal.is_file():
        steps = _read_journal(journal)
        for number, (source, name) in enumerate(steps["install"]):
            if (root / source).exists():
                _put_aside(root, name, number)
                (root / source).rename(root / name)
        for number, name in enumerate(steps["remove"], len(steps["install"])):
            _put_aside(root, name, number)
        fileio.fsync(root)
        _drop(root, f"{HIDDEN}old-")
        journal.unlink()
        fileio.fsync(root)
    _drop(root, HIDDEN)


def _put_aside(root: Path, name: str, number: int) -> None:
    if (root / name).exists():
        (root / name).rename(root / f"{HIDDEN}old-{number}")


def _drop(root: Path, prefix: str) -> None:
    for path in sorted(root.glob(f"{prefix}*")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)


def _read_journal(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
        install = [(_name(step["from"]), _name(step["to"])) for step in data["install"]]
        return {"install": install, "remove": [_name(name) for name in data["remove"]]}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            "the journal of an interrupted change cannot be read",
            where=path,
            got=str(error),
            fix="look at the hidden folders beside it, then delete the journal",
        ) from error


def _name(value: object) -> str:
    if not isinstance(value, str) or Path(value).name != value or value in ("", ".", ".."):
        raise ValueError(f"not a folder's name: {value!r}")
    return value
