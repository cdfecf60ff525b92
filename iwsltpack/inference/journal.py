"""What has been decoded, on disk as soon as it is known: an append-only file of JSON lines.

The first line binds the journal to artifact, test set and settings. Every batch is appended with one write and one
fsync; a line torn by a kill is cut off when the journal is opened again and its batch decoded anew. One process at a
time holds the journal's lock.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from iwsltpack.errors import InputError, UsageError
from iwsltpack.fileio import canonical_json, disk_errors, fsync_directory

if TYPE_CHECKING:
    from pathlib import Path

JOURNAL_FORMAT = "iwsltpack.journal"
JOURNAL_VERSION = 1
Finish = Literal["stop", "length"]
Key = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """One piece's output: `segment` and `part` say which, `seconds` is its share of its batch's time."""

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
    """One start of the program that loaded the model."""

    device_name: str
    mode: str
    load_seconds: float
    libraries: dict[str, str]


class Journal:
    """An open, locked journal. Use as a context manager.

    Attributes
    ----------
    decoded
        What it holds, by segment and part.
    sessions
        Every start so far.
    cap
        Pieces the device could hold at once when it last ran out of memory, or None.
    dropped
        Bytes cut off the end because they were no whole records.
    """

    def __init__(self, path: Path, binding: dict[str, Any]) -> None:
        self.path = path
        self.decoded: dict[Key, Decoded] = {}
        self.sessions: list[Session] = []
        self.cap: int | None = None
        self.dropped = 0
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self._lock()
            self._replay(binding)
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def record(self, results: list[Decoded]) -> None:
        """Append the results of a batch; they are on the disk when this returns."""
        self._append([{"kind": "piece", **asdict(result)} for result in results])
        self.decoded |= {result.key: result for result in results}

    def begin_session(self, session: Session) -> None:
        """Append that the model was loaded once more."""
        self._append([{"kind": "session", **asdict(session)}])
        self.sessions.append(session)

    def set_cap(self, items: int) -> None:
        """Append that at most `items` pieces fit the device at once."""
        self._append([{"kind": "cap", "items": items}])
        self.cap = items

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                "another process is decoding into this folder",
                where=self.path.parent,
                fix="wait for it to end, or give another --output",
            ) from error

    def _append(self, records: list[dict[str, Any]]) -> None:
        data = b"".join(canonical_json(record, indent=None) for record in records)
        with disk_errors(self.path):
            written = 0
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
            os.fsync(self._descriptor)

    def _replay(self, binding: dict[str, Any]) -> None:
        """Take in what is there and cut off what is torn; write the header where there is none."""
        raw = self._read()
        lines = raw.split(b"\n")[:-1]
        header = _parse(lines[0]) if lines else None
        if header is None:
            if len(lines) > 1:
                raise _foreign(self.path, "its first line is damaged")
            os.ftruncate(self._descriptor, 0)
            self.dropped = len(raw)
            self._append([_header(binding)])
            fsync_directory(self.path.parent)
            return
        self._check_binding(header, binding)
        kept = len(lines[0]) + 1
        for line in lines[1:]:
            if not self._take(_parse(line)):
                break
            kept += len(line) + 1
        if kept < len(raw):
            self.dropped = len(raw) - kept
            os.ftruncate(self._descriptor, kept)
            os.fsync(self._descriptor)

    def _read(self) -> bytes:
        size = os.fstat(self._descriptor).st_size
        return os.pread(self._descriptor, size, 0) if size else b""

    def _take(self, record: dict[str, Any] | None) -> bool:
        """Take in one record; False where it is none."""
        if record is None:
            return False
        kind = record.pop("kind", None)
        try:
            if kind == "piece":
                result = Decoded(**record)
                if not _plausible(result):
                    return False
                self.decoded[result.key] = result
            elif kind == "session":
                self.sessions.append(Session(**record))
            elif kind == "cap" and isinstance(record.get("items"), int) and record["items"] > 0:
                self.cap = record["items"]
            else:
                return False
        except TypeError:
            return False
        return True

    def _check_binding(self, header: dict[str, Any], binding: dict[str, Any]) -> None:
        if header.get("format") != JOURNAL_FORMAT:
            raise _foreign(self.path, "its first line is another file's")
        if header.get("format_version") != JOURNAL_VERSION:
            raise _foreign(self.path, f"it is of version {header.get('format_version')}")
        found = differences(header.get("binding"), _through_json(binding))
        if found:
            raise UsageError(
                "this folder holds a run with other inputs or settings",
                where=self.path.parent,
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
