"""What has been decoded, on disk as soon as it is known: an append-only file of JSON lines.

The first line binds the journal to artifact, test set and settings. Every batch is appended with one write and one
fsync; a line torn by a kill is cut off when the journal is opened again and its batch decoded anew. One process at a
time holds the journal's lock; anybody may read.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self, get_args

from iwsltpack.documents.run import Finish
from iwsltpack.errors import InputError, UsageError
from iwsltpack.system.fileio import canonical_json, disk_errors, fsync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOURNAL_FORMAT = "iwsltpack.journal"
JOURNAL_VERSION = 1
Key = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """One piece's output: `segment` and `part` say which, `seconds` is its share of its batch's time.

    One that ends in ``placeholder`` was given up: it has no text, and its line gets the run's placeholder.
    """

    segment: int
    part: int
    text: str
    tokens: int
    finish: Finish
    seconds: float

    @property
    def key(self) -> Key:
        """Segment and part."""
        return self.segment, self.part


@dataclass(frozen=True, kw_only=True)
class Session:
    """One load of the model, by one process.

    `worker` tells which of several processes: ``2/4`` is a shard, ``dask-2`` a worker; it is empty where one process
    decodes alone. The peaks are bytes, as far as they are known.
    """

    device_name: str
    mode: str
    load_seconds: float
    libraries: dict[str, str]
    worker: str = ""
    peak_host_bytes: int = 0
    peak_device_bytes: int | None = None


class Contents:
    """What a journal holds.

    Attributes
    ----------
    decoded
        Outputs by segment and part.
    sessions
        Every load of the model so far.
    owners
        By segment and part, the index of the session that decoded it.
    cap
        Pieces the device could hold at once when it last ran out of memory, or None.
    """

    def __init__(self) -> None:
        self.decoded: dict[Key, Decoded] = {}
        self.sessions: list[Session] = []
        self.owners: dict[Key, int] = {}
        self.cap: int | None = None

    def settled(self, *, with_placeholders: bool = True) -> set[Key]:
        """Return what need not be decoded again; given-up pieces only if asked for."""
        return {
            key for key, result in self.decoded.items() if with_placeholders or result.finish != "placeholder"
        }

    def take(self, record: dict[str, Any] | None) -> bool:
        """Take in one record; False where it is none."""
        if record is None:
            return False
        kind = record.pop("kind", None)
        last = len(self.sessions) - 1
        try:
            if kind == "piece":
                owner = record.pop("session", last)
                result = Decoded(**record)
                if not (_plausible(result) and isinstance(owner, int) and -1 <= owner <= last):
                    return False
                self.decoded[result.key], self.owners[result.key] = result, owner
            elif kind == "session":
                self.sessions.append(Session(**record))
            elif kind == "peak" and 0 <= record["session"] <= last:
                index, host, device = record["session"], record["host_bytes"], record["device_bytes"]
                self.sessions[index] = _with_peak(self.sessions[index], host, device)
            elif kind == "cap" and isinstance(record.get("items"), int) and record["items"] > 0:
                self.cap = record["items"]
            else:
                return False
        except (TypeError, KeyError):
            return False
        return True


class Journal(Contents):
    """An open, locked journal. Use as a context manager.

    Attributes
    ----------
    dropped
        Bytes cut off the end because they were no whole records.
    """

    def __init__(self, path: Path, binding: dict[str, Any]) -> None:
        super().__init__()
        self.path = path
        self.dropped = 0
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            _lock(self._descriptor, path, fcntl.LOCK_EX)
            self._replay(binding)
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def record(self, results: list[Decoded], session: int | None = None) -> None:
        """Append the results of a batch, decoded by the last session or by the one with that index; they are on
        the disk when this returns."""
        told = {} if session is None else {"session": session}
        self._add([{"kind": "piece", **asdict(result), **told} for result in results])

    def begin_session(self, session: Session) -> int:
        """Append that the model was loaded once more; return the session's index."""
        self._add([{"kind": "session", **asdict(session)}])
        return len(self.sessions) - 1

    def set_cap(self, items: int) -> None:
        """Append that at most `items` pieces fit the device at once."""
        self._add([{"kind": "cap", "items": items}])

    def note_peak(self, session: int, host_bytes: int, device_bytes: int | None) -> None:
        """Append how much memory a session has taken, where it is more than is known."""
        known = self.sessions[session]
        if _with_peak(known, host_bytes, device_bytes) != known:
            self._add(
                [{"kind": "peak", "session": session, "host_bytes": host_bytes, "device_bytes": device_bytes}]
            )

    def _add(self, records: list[dict[str, Any]]) -> None:
        """Append records, then take them in: what is on the disk and what is in memory are the same."""
        data = b"".join(canonical_json(record, indent=None) for record in records)
        with disk_errors(self.path):
            written = 0
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
            os.fsync(self._descriptor)
        for record in records:
            self.take(record)

    def _replay(self, binding: dict[str, Any]) -> None:
        """Take in what is there and cut off what is torn; write the header where there is none."""
        raw = self._read()
        kept = _replay(self, raw, self.path, binding)
        if kept < len(raw):
            self.dropped = len(raw) - kept
            os.ftruncate(self._descriptor, kept)
            os.fsync(self._descriptor)
        if kept == 0:
            self._add_header(binding)

    def _add_header(self, binding: dict[str, Any]) -> None:
        with disk_errors(self.path):
            os.write(self._descriptor, canonical_json(_header(binding), indent=None))
            os.fsync(self._descriptor)
            fsync_directory(self.path.parent)

    def _read(self) -> bytes:
        size = os.fstat(self._descriptor).st_size
        return os.pread(self._descriptor, size, 0) if size else b""


def read_journal(path: Path, binding: dict[str, Any]) -> Contents:
    """Read a journal that another process may be writing; one that is not there yet holds nothing.

    Raises
    ------
    UsageError
        It is bound to something else.
    InputError
        It is no journal.
    """
    contents = Contents()
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return contents
    except OSError as error:
        raise InputError("cannot read the journal", where=path, got=error.strerror) from error
    _replay(contents, raw, path, binding)
    return contents


@contextmanager
def kept_from_writers(path: Path) -> Iterator[None]:
    """Keep processes from taking over the journal at `path` for the length of the block; several may keep it so.

    Raises
    ------
    UsageError
        A process is writing it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield
        return
    except OSError as error:
        raise InputError("cannot read the journal", where=path, got=error.strerror) from error
    try:
        _lock(descriptor, path, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path, kind: int) -> None:
    with disk_errors(path):
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                "another process is decoding into this folder",
                where=path.parent,
                fix="wait for it to end, or give another --output",
            ) from error


def _replay(contents: Contents, raw: bytes, path: Path, binding: dict[str, Any]) -> int:
    """Take in what the bytes of a journal hold; return how many are whole records, none where there is no header."""
    lines = raw.split(b"\n")[:-1]
    header = _parse(lines[0]) if lines else None
    if header is None:
        if len(lines) > 1:
            raise _foreign(path, "its first line is damaged")
        return 0
    _check_binding(header, binding, path)
    kept = len(lines[0]) + 1
    for line in lines[1:]:
        if not contents.take(_parse(line)):
            break
        kept += len(line) + 1
    return kept


def _check_binding(header: dict[str, Any], binding: dict[str, Any], path: Path) -> None:
    if header.get("format") != JOURNAL_FORMAT:
        raise _foreign(path, "its first line is another file's")
    if header.get("format_version") != JOURNAL_VERSION:
        raise _foreign(path, f"it is of version {header.get('format_version')}")
    check_same(header.get("binding"), binding, path.parent)


def check_same(old: Any, new: dict[str, Any], folder: Path) -> None:
    """Refuse to go on with a run that is bound to something else; every difference is named."""
    if found := differences(old, _through_json(new)):
        raise UsageError(
            "this folder holds a run with other inputs or settings",
            where=folder,
            expected="; ".join(f"{name} = {_short(old)}" for name, old, _ in found[:6]),
            got="; ".join(f"{name} = {_short(new)}" for name, _, new in found[:6]),
            fix="use that run's inputs and settings, give another --output, or remove the folder to begin anew",
        )


def differences(old: Any, new: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """Return dotted name, old and new value of every place where two JSON documents differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [
            found
            for key in keys
            for found in differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if old == new else [(name or "everything", old, new)]


def _header(binding: dict[str, Any]) -> dict[str, Any]:
    return {"format": JOURNAL_FORMAT, "format_version": JOURNAL_VERSION, "binding": binding}


def _through_json(document: dict[str, Any]) -> Any:
    return json.loads(canonical_json(document))


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _plausible(result: Decoded) -> bool:
    numbers = (result.segment, result.part, result.tokens)
    return (
        all(isinstance(number, int) and number >= 0 for number in numbers)
        and isinstance(result.text, str)
        and len(result.text.splitlines()) <= 1
        and result.finish in get_args(Finish)
        and isinstance(result.seconds, int | float)
        and result.seconds >= 0
    )


def _with_peak(session: Session, host_bytes: int, device_bytes: int | None) -> Session:
    """Return the session with the larger of the known and the given peaks."""
    device = session.peak_device_bytes
    if device_bytes is not None:
        device = max(device or 0, device_bytes)
    return replace(
        session, peak_host_bytes=max(session.peak_host_bytes, host_bytes), peak_device_bytes=device
    )


def _foreign(path: Path, why: str) -> InputError:
    return InputError(
        f"not a journal this program can go on with: {why}",
        where=path,
        expected=f"a journal of version {JOURNAL_VERSION}",
        fix="move it away to begin anew, or give another --output",
    )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"
