"""The recordings of a test set, wherever they lie in it, found by the names its lists give them."""

import difflib
import os
import unicodedata
from pathlib import Path, PurePosixPath

from iwsltpack.testsets.testset import READABLE, UNREADABLE, is_audio, natural_key


def files_below(folder: Path) -> list[Path]:
    """Return every file at any depth, in natural order; hidden files and folders are left out.

    Links to folders are followed, because recordings often lie on another disk; a link back up is entered once.
    """
    found: list[Path] = []
    entered: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [name for name in folders if not name.startswith(".")] if real not in entered else []
        if real not in entered:
            found += [Path(place) / name for name in names if not name.startswith(".")]
        entered.add(real)
    return sorted(found, key=lambda path: natural_key(path.relative_to(folder).as_posix()))


def bare_name(name: str) -> str:
    """Return `name` without the suffix of a recording; what follows another dot belongs to the name.

    >>> bare_name("wav/2022.acl-long.110.wav"), bare_name("2022.acl-long.110")
    ('wav/2022.acl-long.110', '2022.acl-long.110')
    """
    suffix = PurePosixPath(name).suffix
    known = READABLE.fullmatch(suffix) or UNREADABLE.fullmatch(suffix)
    return name.removesuffix(suffix) if known else name


def unique_ids(names: list[str]) -> list[str]:
    """Return an id for each of `names`, which differ: without the suffix where that still tells all of them apart."""
    bare = [bare_name(name) for name in names]
    return bare if len(set(bare)) == len(bare) else names


class Recordings:
    """Every recording at or below a folder; `paths` are in natural order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = files_below(folder)
        self.paths = [path for path in self._files if is_audio(path)]
        self._found: dict[str, list[Path]] = {}
        self._named: dict[str, list[Path]] = {}
        for path in self.paths:
            whole = _folded(path.name)
            for key in {whole, bare_name(whole)}:
                self._named.setdefault(key, []).append(path)

    def relative(self, path: Path) -> str:
        """Return a path as documents hold it, relative to the folder."""
        return path.relative_to(self.folder).as_posix()

    def find(self, name: str) -> list[Path]:
        """Return the recording that `name` means; none where there is none, several where it may mean any of them.

        A name is a whole relative path, a part of one, or a file's name. Its suffix may be left out or differ in
        case. The closest match wins; only equally close ones are ambiguous.
        """
        if name not in self._found:
            wanted = PurePosixPath(_folded(name))
            named = self._named.get(wanted.name, ())
            scores = {path: _distance(wanted, self.relative(path), name) for path in named}
            best = min(scores.values(), default=None)
            self._found[name] = [path for path, score in scores.items() if score == best]
        return self._found[name]

    def nearest(self, name: str) -> str:
        """Return the end of a message that says `name` is not there: what may have been meant."""
        known = {path.name: path.name for path in self._files}
        known |= {self.relative(path): self.relative(path) for path in self._files}
        folded = {key.casefold(): value for key, value in known.items()}
        close = difflib.get_close_matches(name.casefold(), folded, n=1)
        if close:
            return f"; did you mean {folded[close[0]]!r}?"
        return f" among the {len(self.paths)} recordings there"


def _folded(name: str) -> str:
    """Return a name in one Unicode form (archives made on a Mac hold the other) with its suffix in lower case."""
    name = unicodedata.normalize("NFC", name)
    bare = bare_name(name)
    return bare + name[len(bare) :].lower()


def _distance(wanted: PurePosixPath, relative: str, written: str) -> tuple[int, int]:
    """Return how far a recording is from a name: in its folders first, then in its suffix."""
    have = PurePosixPath(_folded(relative))
    bare_have, bare_wanted = PurePosixPath(bare_name(str(have))), PurePosixPath(bare_name(str(wanted)))
    short, long = sorted((bare_wanted.parts, bare_have.parts), key=len)
    folders = 0 if short == long else 1 if long[-len(short) :] == short else 2
    suffix = 0 if relative == written else 1 if have.name == wanted.name else 2
    return folders, suffix
