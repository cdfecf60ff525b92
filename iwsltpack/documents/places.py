"""What a folder is, told by what lies in it, and where nothing else may be written."""

from pathlib import Path
from typing import Final, Literal

from iwsltpack.documents.names import (
    CLEANED_SCORE_NAME,
    INDEX_NAME,
    JOURNAL_NAME,
    MANIFEST_NAME,
    PLAN_NAME,
    RUN_NAME,
    SCORE_NAME,
    SHARDS_DIR,
    SINGLE_NAME,
    SUBMISSION_NAME,
)
from iwsltpack.documents.run import read_run
from iwsltpack.errors import InputError, UsageError
from iwsltpack.system.fileio import disk_errors

Thing = Literal["submission", "artifact", "run", "checkpoint"]
MARKS: Final[dict[Thing, tuple[str, ...]]] = {
    "submission": (SUBMISSION_NAME,),
    "artifact": (MANIFEST_NAME,),
    "run": (RUN_NAME, JOURNAL_NAME, f"{SHARDS_DIR}/{PLAN_NAME}"),
    "checkpoint": (SINGLE_NAME, INDEX_NAME),
}
"""A file by which a folder is known for each."""
DEPTH = 3
"""Folders looked into, one inside the other."""


def thing_at(folder: Path) -> Thing | None:
    """Tell what a folder is; None where it is nothing that this package makes or reads."""
    return next((t for t, names in MARKS.items() if any((folder / name).is_file() for name in names)), None)


def things_in(folder: Path, depth: int = DEPTH) -> list[tuple[Thing, Path]]:
    """Return what lies at or below a folder, by name; not what lies inside another, hidden or half-built."""
    if (found := thing_at(folder)) is not None:
        return [(found, folder)]
    if depth == 0 or not folder.is_dir():
        return []
    inner = [child for child in sorted(folder.iterdir()) if child.is_dir() and child.name[0] != "."]
    return [item for child in inner for item in things_in(child, depth - 1)]


def run_folders(path: Path) -> list[Path]:
    """Return the runs at or below `path`, begun ones too; if there is none, that is an `InputError`."""
    if not path.is_dir():
        raise InputError("no such run", where=path, fix="decode first: iwsltpack decode TESTDIR --output DIR")
    found = [place for thing, place in things_in(path) if thing == "run"]
    if not found:
        raise InputError(
            "no run in this folder", where=path, expected=f"{RUN_NAME}, or folders that hold one"
        )
    return found


def hypothesis_files(path: Path) -> list[Path]:
    """Return the raw hypotheses at `path`: the file itself, or those of every finished run in a folder."""
    if not path.is_dir():
        return [path]
    return [folder / read_run(folder).output.path for folder in run_folders(path)]


def refuse_inside(folder: Path, allowed: Thing | None = None) -> None:
    """Refuse to write into a folder that is, or lies in, what would be damaged; the folder itself may be `allowed`."""
    own = folder.resolve()
    for place in (own, *own.parents)[:DEPTH]:
        with disk_errors(folder):  # a folder of somebody else, which may not even be looked into
            found = thing_at(place)
        if found is not None and not (place == own and found == allowed):
            raise UsageError(
                f"the output {'is' if place == own else 'lies in'} the folder of another thing: {found}",
                where=folder,
                got=place,
                fix="give --output a folder of its own",
            )


def refuse_own_file(target: Path) -> None:
    """Refuse to write in place of what a run consists of: its hypotheses, record, journal and scores."""
    real = target.resolve()
    folder, own = real.parent, {RUN_NAME, JOURNAL_NAME, SCORE_NAME, CLEANED_SCORE_NAME}
    if (folder / RUN_NAME).is_file():
        own.add(read_run(folder).output.path)
    if thing_at(folder) == "run" and real in {(folder / name).resolve() for name in own}:
        raise UsageError(
            "this would replace a file of the run itself",
            where=target,
            expected="a name of its own",
            fix=f"give it another name, such as {target.with_suffix('.clean' + target.suffix)}",
        )


def refuse_above_runs(folder: Path) -> None:
    """Refuse to write a run into a folder that holds runs: nobody would find all of them."""
    if folder.is_dir() and (inner := [c.name for c in sorted(folder.iterdir()) if thing_at(c) == "run"]):
        raise UsageError(
            "the output is a folder of runs",
            where=folder,
            got=", ".join(inner),
            fix=f"give this run a folder of its own: --output {folder}/NAME",
        )
