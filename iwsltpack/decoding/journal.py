"""What has been decoded, on disk as soon as it is known: an append-only file of JSON lines.

The first line binds the journal to artifact, test set and settings, and every record's checksum is of that line too:
records of another run do not fit. Every batch is appended with one write and one
fsync. A line torn by a kill, or one that its checksum does not fit, is cut off with all that follows when the journal
is opened again, and decoded anew. One process at a time holds the journal's lock; anybody may read.
"""

import json
import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self, get_args

from iwsltpack.documents.run import Finish
from iwsltpack.errors import InputError, UsageError, clipped
from iwsltpack.system import json_lines, locks
from iwsltpack.system.fileio import canonical_json, disk_errors, fsync, read_bytes

JOURNAL_FORMAT = "iwsltpack.journal"
JOURNAL_VERSION = 2
"""Version 1 is read and gone on with: there a record's checksum is of the record alone."""
LIMIT = 1 << 32
"""Bytes of a journal at most; a million segments take some hundred million."""
Key = tuple[int, int]
_log = logging.getLogger(__name__)


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
    """What a journal holds: outputs by segment and part, and every load of the model so far.

    `owners` has the index of the session that decoded a piece, `cap` the pieces that the device could hold at once when
    it last ran out of memory.
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

    def take(self, record: dict[str, Any]) -> bool:
        """Take in one record; False where it is one of another version."""
        fields = dict(record)
        kind = fields.pop("kind", None)
        try:
            if kind == "piece":
                # Without a session of its own, it was decoded by the last one before it.
                owner = fields.pop("session", len(self.sessions) - 1)
                result = Decoded(**fields)
                _check_piece(result)
                _check(-1 <= owner < len(self.sessions))
                self.decoded[result.key], self.owners[result.key] = result, owner
            elif kind == "session":
                session = Session(**fields)
                _check_session(session)
                self.sessions.append(session)
            elif kind == "peak":
                index = fields.pop("session")
                _check(index >= 0)
                self.sessions[index] = _with_peak(self.sessions[index], **fields)
            elif kind == "cap":
                _check(fields["items"] >= 1)
                self.cap = fields["items"]
            else:
                return False
        except (TypeError, LookupError, ValueError, AttributeError):
            return False
        return True


def _check(sound: bool) -> None:
    if not sound:
        raise ValueError


def _check_piece(piece: Decoded) -> None:
    """Refuse what this program never writes; values of other types are a `TypeError` where they are compared."""
    _check(min(piece.segment, piece.part, piece.tokens) >= 0 <= piece.seconds < math.inf)
    _check(all(isinstance(number, int) for number in (piece.segment, piece.part, piece.tokens)))
    _check(
        isinstance(piece.text, str)
        and not set(piece.text) & {"\n", "\r"}
        and piece.finish in get_args(Finish)
    )


def _check_session(session: Session) -> None:
    names = session.device_name, session.mode, session.worker, *session.libraries, *session.libraries.values()
    peaks = session.peak_host_bytes, session.peak_device_bytes or 0
    _check(all(isinstance(name, str) for name in names) and all(isinstance(peak, int) for peak in peaks))
    _check(min(peaks) >= 0 <= session.load_seconds < math.inf)


class Journal(Contents):
    """An open, locked journal, to be used as a context manager.

    `dropped` counts the bytes cut off its end: the first line that was torn or damaged, and all that followed.
    """

    def __init__(self, path: Path, binding: dict[str, Any]) -> None:
        super().__init__()
        self.path = path
        self.dropped = 0
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            _lock(self._descriptor, path)
            self._open(binding)
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def record(self, results: list[Decoded], session: int | None = None) -> None:
        """Append what the last session, or the one of that index, decoded; it is on the disk when this returns."""
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
        with disk_errors(self.path):
            json_lines.append(self._descriptor, records, self._bound)
            # Hours of decoding on a GPU hang on it: a batch costs one sync, and no power cut takes it back.
            os.fsync(self._descriptor)
        for record in records:
            self.take(record)

    def _open(self, binding: dict[str, Any]) -> None:
        """Take in the sound records and cut off the rest; write the first line if there is none."""
        raw = read_bytes(self.path, limit=LIMIT)
        kept = _replay(self, raw, self.path, binding)
        self._bound = bound(raw[:kept])
        self.dropped = len(raw) - kept
        with disk_errors(self.path):
            if self.dropped:
                _log.warning("%s: %s; what they held is decoded again", self.path, _loss(raw[kept:]))
                os.ftruncate(self._descriptor, kept)
            if kept == 0:
                header = {"format": JOURNAL_FORMAT, "format_version": JOURNAL_VERSION, "binding": binding}
                self._bound = canonical_json(header, indent=None)
                os.write(self._descriptor, self._bound)
                fsync(self.path.parent)
            os.fsync(self._descriptor)


def _loss(dropped: bytes) -> str:
    """Say what is cut off: a kill leaves part of a line, anything else whole lines."""
    if lines := dropped.count(b"\n"):
        return f"the last {lines} records are dropped, the first of them is damaged or has no checksum"
    return f"the last {len(dropped)} bytes are dropped, they are no whole record"


def read_journal(path: Path, binding: dict[str, Any]) -> Contents:
    """Read a journal that another process may be writing; one that is not there yet holds nothing.

    One that is bound to something else is a `UsageError`; what is no journal, or cannot be read, an `InputError`.
    """
    contents = Contents()
    if path.exists():
        _replay(contents, read_bytes(path, limit=LIMIT), path, binding)
    return contents


@contextmanager
def kept_from_writers(path: Path) -> Iterator[None]:
    """Keep processes from taking over the journal at `path` for the length of the block; several may keep it so.

    If a process is writing it, that is a `UsageError`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield
        return
    except OSError as error:
        raise InputError("cannot read the journal", where=path, got=error.strerror) from error
    try:
        _lock(descriptor, path, shared=True)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path, *, shared: bool = False) -> None:
    if not locks.take(descriptor, path, shared=shared):
        raise UsageError(
            "another process is decoding into this folder",
            where=path.parent,
            fix="wait for it to end, or give another --output",
        )


def bound(raw: bytes) -> bytes:
    """Return what the records of a journal are bound to: its first line; nothing in version 1."""
    first = raw[: raw.find(b"\n") + 1]
    return b"" if (json_lines.parse(first) or {}).get("format_version") == 1 else first


def read_header(raw: bytes, path: Path) -> dict[str, Any] | None:
    """Return a journal's first line, None where a kill came before it was whole; a damaged one is an `InputError`."""
    header = json_lines.parse(raw[: raw.find(b"\n") + 1])
    if header is None and raw.count(b"\n") > 1:
        raise _foreign(path, "its first line is damaged")
    return header


def _replay(contents: Contents, raw: bytes, path: Path, binding: dict[str, Any]) -> int:
    """Take in what the bytes of a journal hold; return how many are whole records, none where there is no header."""
    kept = raw.find(b"\n") + 1
    if (header := read_header(raw, path)) is None:
        return 0
    if header.get("format") != JOURNAL_FORMAT:
        raise _foreign(path, "its first line is another file's")
    if header.get("format_version") not in (1, JOURNAL_VERSION):
        raise _foreign(path, f"it is of version {header.get('format_version')}")
    check_same(header.get("binding"), binding, path.parent)
    for stop, record in json_lines.read(raw, kept, bound(raw)):
        if record is None or not contents.take(record):
            break
        kept = stop
    return kept


def check_same(old: Any, new: dict[str, Any], folder: Path) -> None:
    """Refuse to go on with a run that is bound to something else; every difference is named."""
    if found := differences(old, json.loads(canonical_json(new))):
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
    return clipped(json.dumps(value, ensure_ascii=False), 80)
