"""Append-only files of JSON objects, one a line, each with a checksum of its own.

A kill or a full disk leaves a last line that is torn; a bad disk or an editor leaves lines that their checksums do not
fit. Neither counts: what such a line told is worked out anew.
"""

import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

from iwsltpack.system.fileio import canonical_json, sha256_bytes

CHECKSUM = "sha256"
"""Key of a record's checksum: the SHA-256 of the record's own line, as it would be without it.

Where records are bound to something (`bound`), its bytes stand before the line: a record of another file does not fit.
"""


def append(descriptor: int, records: Iterable[dict[str, Any]], bound: bytes = b"") -> None:
    """Append records to a file that was opened for it; the caller decides whether it is synced.

    After an `OSError`, which is raised as it comes, the last line may be torn.
    """
    # One write wherever the system allows, so that a kill seldom tears anything.
    data = b"".join(_line({**record, CHECKSUM: sha256_bytes(bound + _line(record))}) for record in records)
    written = 0
    while written < len(data):
        written += os.write(descriptor, data[written:])


def read(raw: bytes, start: int = 0, bound: bytes = b"") -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield, for every whole line of `raw` from `start` on, where it ends and its record; None if it is damaged."""
    while stop := raw.find(b"\n", start) + 1:
        yield stop, _sound(parse(raw[start:stop]), bound)
        start = stop


def parse(line: bytes) -> dict[str, Any] | None:
    """Return the object a line holds, unchecked; None if it holds none."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _line(record: dict[str, Any]) -> bytes:
    return canonical_json(record, indent=None)


def _sound(record: dict[str, Any] | None, bound: bytes) -> dict[str, Any] | None:
    """Return a record without its checksum, if that fits."""
    if record is None or CHECKSUM not in record:
        return None
    told = record.pop(CHECKSUM)
    try:
        return record if told == sha256_bytes(bound + _line(record)) else None
    except ValueError:  # infinity, or half a surrogate pair: never written here
        return None
