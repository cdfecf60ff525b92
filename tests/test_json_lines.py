"""Append-only JSON lines: what was appended comes back, anything else does not."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iwsltpack.system import fileio, json_lines

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "text", "ä"]), inner),
    max_leaves=6,
)
RECORDS = st.dictionaries(st.sampled_from(["kind", "text", "seconds", "ü"]), VALUES)


def written(records: list[dict[str, Any]]) -> bytes:
    with tempfile.TemporaryFile() as stream:
        json_lines.append(stream.fileno(), records)
        return os.pread(stream.fileno(), 1 << 20, 0)


@given(st.lists(RECORDS, max_size=4))
def test_what_was_appended_comes_back(records: list[dict[str, Any]]) -> None:
    raw = written(records)
    found = list(json_lines.read(raw))
    assert [record for _, record in found] == records
    assert raw.count(b"\n") == len(records)
    assert [stop for stop, _ in found] == [place + 1 for place, byte in enumerate(raw) if byte == 10]


@given(RECORDS, RECORDS, st.data())
def test_no_byte_can_change_unnoticed(first: dict[str, Any], second: dict[str, Any], data: Any) -> None:
    raw = bytearray(written([first, second]))
    end = raw.index(b"\n")
    place = data.draw(st.integers(0, end - 1))
    raw[place] ^= data.draw(st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128]))
    *_, (_, last) = json_lines.read(bytes(raw))
    assert last == second
    # A change that means the same to JSON is none: 1e5 and 1E5, say.
    assert all(record in (None, first) for _, record in list(json_lines.read(bytes(raw)))[:-1])


@pytest.mark.parametrize(
    "line",
    [b"", b"null", b"[]", b"{}", b"{", b'{"sha256":null}', b"[" * 100_000, b'{"a":' + b"1" * 5000 + b"}"],
)
def test_what_is_no_record_is_told_from_one(line: bytes) -> None:
    good = written([{"a": 1}])
    assert [record for _, record in json_lines.read(line + b"\n" + good)] == [None, {"a": 1}]


@pytest.mark.parametrize("value", ["1e999", "-Infinity", "NaN", '"\\ud800"'])
def test_values_that_are_never_written_have_no_checksum(value: str) -> None:
    raw = f'{{"a":{value},"sha256":null}}\n'.encode()
    assert json.loads(raw)
    assert [record for _, record in json_lines.read(raw)] == [None]


def test_of_several_who_create_a_file_the_first_wins(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    path = tmp_path / "new" / "plan.json"

    def create(number: int) -> bytes:
        fileio.create_bytes(path, b"%d" % number * 10_000)
        return path.read_bytes()

    with ThreadPoolExecutor(8) as pool:
        seen = set(pool.map(create, range(8)))
    (content,) = seen
    assert len(content) == 10_000
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]
