"""The journal: nothing lost, nothing torn taken in, nothing of another run gone on with."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from conftest import EXHAUSTIVE

from iwsltpack.decoding.journal import Decoded, Journal, Session, differences, read_journal
from iwsltpack.errors import InputError, ResourceError, UsageError
from iwsltpack.system import json_lines

BINDING = {
    "artifact": "a" * 64,
    "settings": {"prompt": "Übersetze.", "max_new_tokens": 64},
    "test_set": {"sha256": "b"},
}


def result(segment: int, text: str = "好", part: int = 0) -> Decoded:
    return Decoded(segment=segment, part=part, text=text, tokens=3, finish="stop", seconds=0.25)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "journal.jsonl"


def filled(path: Path, count: int = 6) -> bytes:
    with Journal(path, BINDING) as journal:
        journal.begin_session(
            Session(device_name="d", mode="load", load_seconds=1.5, libraries={"torch": "2"})
        )
        for start in range(0, count, 2):
            journal.record([result(start), result(start + 1, "第二行", part=1)])
        journal.note_peak(0, 1 << 20, None)
        journal.set_cap(4)
    return path.read_bytes()


def whole_results() -> dict[tuple[int, int], Decoded]:
    return {r.key: r for s in (0, 2, 4) for r in (result(s), result(s + 1, "第二行", part=1))}


def test_what_was_recorded_is_there_when_it_is_opened_again(path: Path) -> None:
    filled(path)
    with Journal(path, BINDING) as journal:
        assert journal.decoded == whole_results()
        assert [session.load_seconds for session in journal.sessions] == [1.5]
        assert (journal.cap, journal.dropped) == (4, 0)


def test_cut_at_any_byte_it_goes_on_with_whole_records_only(path: Path) -> None:
    whole = filled(path)
    ends = [place + 1 for place, byte in enumerate(whole) if byte == 10]
    for size in range(0, len(whole) + 1, 1 if EXHAUSTIVE else 3):
        path.write_bytes(whole[:size])
        with Journal(path, BINDING) as journal:
            records = max(0, sum(end <= size for end in ends) - 2)
            assert len(journal.decoded) == min(records, 6), size
            kept = max([end for end in ends if end <= size], default=0)
            assert journal.dropped == size - kept
            journal.record([result(90)])
        assert path.read_bytes().count(b"\n") == max(1, sum(end <= size for end in ends)) + 1
        with Journal(path, BINDING) as journal:
            assert (90, 0) in journal.decoded


def test_records_after_a_damaged_one_are_decoded_again(path: Path) -> None:
    lines = filled(path).split(b"\n")
    lines[4] = bytes(len(lines[4]))
    path.write_bytes(b"\n".join(lines))
    with Journal(path, BINDING) as journal:
        assert sorted(journal.decoded) == [(0, 0), (1, 1)]
        assert journal.dropped > 0


def edited(line: bytes, changes: dict[str, Any]) -> bytes:
    """Change a record as a hand or a bad disk does, its checksum left as it was."""
    return json.dumps({**json.loads(line), **changes}).encode()


PIECE, SESSION, PEAK, CAP = 2, 1, -3, -2
"""Lines of a full journal."""
DAMAGE: dict[str, tuple[int, dict[str, Any]]] = {
    "a negative segment": (PIECE, {"segment": -1}),
    "another segment": (PIECE, {"segment": 5}),
    "tokens that are text": (PIECE, {"tokens": "3"}),
    "two lines": (PIECE, {"text": "a\nb"}),
    "another text": (PIECE, {"text": "edited by hand"}),
    "half a surrogate pair": (PIECE, {"text": "\ud800"}),
    "an unknown finish": (PIECE, {"finish": "maybe"}),
    "negative seconds": (PIECE, {"seconds": -1}),
    "endless seconds": (PIECE, {"seconds": math.inf}),
    "no number of seconds": (PIECE, {"seconds": math.nan}),
    "an unknown field": (PIECE, {"colour": "red"}),
    "an unknown kind": (PIECE, {"kind": "other"}),
    "text that is none": (PIECE, {"text": None}),
    "an endless load": (SESSION, {"load_seconds": math.inf}),
    "a device that is a number": (SESSION, {"device_name": 5}),
    "libraries that are a list": (SESSION, {"libraries": ["torch"]}),
    "a peak of nobody": (PEAK, {"session": 9}),
    "a cap of nothing": (CAP, {"items": 0}),
    "no checksum": (PIECE, {"sha256": None}),
    "another checksum": (PIECE, {"sha256": "0" * 64}),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_record_its_checksum_does_not_fit_is_dropped_and_said_so(
    path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    place, changes = DAMAGE[kind]
    lines = filled(path).split(b"\n")
    sound = b"".join(line + b"\n" for line in lines[: place % len(lines)])
    lines[place] = edited(lines[place], changes)
    path.write_bytes(b"\n".join(lines))
    with Journal(path, BINDING) as journal:
        assert journal.dropped > 0
        assert all(found == whole_results()[key] for key, found in journal.decoded.items())
        assert len(journal.sessions) == (place != SESSION)
    assert path.read_bytes() == sound
    (record,) = caplog.records
    assert "damaged or has no checksum; what they held is decoded again" in record.getMessage()
    caplog.clear()
    with Journal(path, BINDING) as journal:
        assert journal.dropped == 0
    assert not caplog.records


NEW = {"kind": "piece", **asdict(result(7))}
LOAD = {"kind": "session", "device_name": "d", "mode": "load", "load_seconds": 1, "libraries": {}}


def test_a_sound_record_of_another_version_is_dropped(path: Path) -> None:
    strange = {
        "segment": -1,
        "part": "0",
        "tokens": "3",
        "text": None,
        "finish": "?",
        "seconds": -1,
        "session": 9,
    }
    for record in (
        *({**NEW, field: value} for field, value in strange.items()),
        {**NEW, "text": "a\nb"},
        *({**LOAD, field: 5} for field in ("device_name", "libraries", "worker")),
        {**LOAD, "load_seconds": -1},
        *({"kind": "cap", "items": items} for items in (0, "4")),
        {"kind": "peak", "session": -1, "host_bytes": 1, "device_bytes": None},
        *({"kind": "other"}, {"kind": "session", "colour": "red"}, {"kind": "cap"}),
    ):
        filled(path)
        first = path.read_bytes().splitlines(keepends=True)[0]
        with path.open("ab") as stream:
            json_lines.append(stream.fileno(), [record], first)
        with Journal(path, BINDING) as journal:
            assert len(journal.decoded) == 6
            assert journal.dropped > 0


def test_a_journal_of_before_there_were_checksums_is_begun_anew(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    header, *records = [json.loads(line) for line in filled(path).splitlines()]
    old = [{key: value for key, value in record.items() if key != "sha256"} for record in records]
    old[0]["load_seconds"] = math.inf
    path.write_text("".join(json.dumps(line) + "\n" for line in (header, *old)))
    assert not read_journal(path, BINDING).decoded
    assert not caplog.records
    with Journal(path, BINDING) as journal:
        assert not journal.decoded
        journal.record([result(0)])
    assert f"the last {len(old)} records are dropped" in caplog.text
    assert list(read_journal(path, BINDING).decoded) == [(0, 0)]


@pytest.mark.parametrize("place", [PIECE, SESSION])
def test_a_record_of_another_runs_journal_does_not_fit(path: Path, place: int) -> None:
    """The same pieces of other settings: pasted in whole, checksum and all."""
    ours = filled(path).split(b"\n")
    other = path.with_name("other.jsonl")
    with Journal(other, {**BINDING, "artifact": "c" * 64}) as journal:
        journal.begin_session(Session(device_name="e", mode="load", load_seconds=1, libraries={}))
        journal.record([result(0, "坏"), result(1, "坏", part=1)])
    pasted = [*ours[:place], other.read_bytes().split(b"\n")[place], *ours[place + 1 :]]
    path.write_bytes(b"\n".join(pasted))
    assert not read_journal(path, BINDING).decoded
    with Journal(path, BINDING) as journal:
        assert not journal.decoded
        assert journal.dropped == sum(len(line) + 1 for line in pasted[place:]) - 1


def test_a_journal_of_version_1_is_read_and_gone_on_with(path: Path) -> None:
    """There the checksum is of the record alone."""
    header, *records = [json.loads(line) for line in filled(path).splitlines()]
    first = json.dumps({**header, "format_version": 1}, separators=(",", ":")).encode() + b"\n"
    path.write_bytes(first)
    with path.open("ab") as stream:
        for record in records:
            del record["sha256"]
        json_lines.append(stream.fileno(), records)
    with Journal(path, BINDING) as journal:
        assert (journal.decoded, journal.dropped, journal.cap) == (whole_results(), 0, 4)
        journal.record([result(9)])
    assert len(read_journal(path, BINDING).decoded) == 7
    assert path.read_bytes().startswith(first)


def test_another_run_is_refused_and_the_difference_named(path: Path) -> None:
    before = filled(path)
    other = {**BINDING, "artifact": "c" * 64, "settings": {"prompt": "Translate.", "max_new_tokens": 64}}
    with pytest.raises(UsageError, match="other inputs or settings") as caught:
        Journal(path, other)
    assert 'settings.prompt = "Übersetze."' in str(caught.value)
    assert 'settings.prompt = "Translate."' in str(caught.value)
    assert "artifact" in str(caught.value)
    assert "max_new_tokens" not in str(caught.value)
    assert "remove the folder" in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "first",
    [b'{"format":"other"}\n', b'{"format":"iwsltpack.journal","format_version":3}\n', b"no json\n{}\n"],
)
def test_what_is_no_journal_is_left_alone(path: Path, first: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(first)
    with pytest.raises(InputError, match="not a journal this program can go on with"):
        Journal(path, BINDING)
    assert path.read_bytes() == first


def _hold(path: Path, ready: Any, release: Any) -> None:
    with Journal(path, BINDING):
        ready.set()
        release.wait(20)


def test_two_processes_cannot_write_one_run(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(path, ready, release))
    holder.start()
    try:
        assert ready.wait(60)
        with pytest.raises(UsageError, match="another process is decoding into this folder"):
            Journal(path, BINDING)
    finally:
        release.set()
        holder.join()
    with Journal(path, BINDING) as journal:
        assert not journal.decoded


def test_every_batch_is_on_the_disk_before_the_next(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fsync

    def watch(descriptor: int) -> None:
        synced.append(path.stat().st_size)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    with Journal(path, BINDING) as journal:
        for number in range(3):
            journal.record([result(number)])
            assert synced[-1] == path.stat().st_size


def test_a_full_disk_is_one_clear_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(path, BINDING) as journal:

        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        with pytest.raises(ResourceError, match="no space left to write"):
            journal.record([result(0)])


def test_differences_name_every_place() -> None:
    old, new = {"a": {"b": 1, "c": [1]}, "d": None}, {"a": {"b": 2, "c": [1]}, "e": 0}
    assert differences(old, new) == [("a.b", 1, 2), ("e", None, 0)]


def test_a_pipe_in_place_of_a_journal_does_not_block(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)
    for read in (Journal, read_journal):
        with pytest.raises(InputError, match="not a regular file"):
            read(path, BINDING)
