"""From a test set to its hypotheses: no line lost, shifted or made up, whatever happens on the way."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import warm
from inference_fixtures import (
    MINIATURE,
    RATE,
    CheckpointSource,
    Told,
    journal_lines,
    of_another_artifact,
    run_request,
    tone,
    write_tone,
)

from iwsltpack.decoding import decode as decode_module
from iwsltpack.decoding.decode import DecodedSet, decode
from iwsltpack.decoding.generation import Hypothesis, Translator
from iwsltpack.decoding.options import DecodeOptions, default_prompt, read_per_set
from iwsltpack.documents.run import (
    Run,
    RunArtifact,
    RunOutput,
    RunSegment,
    RunSession,
    RunSettings,
    RunSummary,
    RunTestSet,
    read_run,
)
from iwsltpack.documents.schema import load_schema
from iwsltpack.errors import InputError, ResourceError, UsageError, ValidationFailed
from iwsltpack.system.progress import SILENT, Reporter

SOURCE = CheckpointSource(MINIATURE)


class Parrot:
    """In place of the model: says how long each recording is, and can run out of memory."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.room = 10**9
        self.fail_after = 10**9
        self.limit_needed = 0
        self.device = torch.device("cpu")
        self.model = self

    def generate(self, inputs: dict[str, torch.Tensor], max_new_tokens: int) -> list[Hypothesis]:
        frames = inputs["feature_attention_mask"].sum(dim=1).tolist()
        if len(frames) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if len(self.batches) >= self.fail_after:
            raise KeyboardInterrupt
        self.batches.append(len(frames))
        finish = "stop" if max_new_tokens >= self.limit_needed else "length"
        return [Hypothesis(text=f"说{count}", tokens=2, finish=finish) for count in frames]  # type: ignore[arg-type]


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch) -> Parrot:
    bird = Parrot()
    monkeypatch.setattr(decode_module, "Translator", lambda model, processor: bird)
    monkeypatch.setattr(decode_module, "load_from", lambda source, **options: object())
    return bird


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    """Ten recordings of ten lengths, out of the order of length."""
    for number, seconds in enumerate((1.1, 0.3, 2.0, 0.7, 1.5, 0.5, 0.9, 1.3, 1.8, 0.4), 1):
        write_tone(tmp_path / "talks" / f"{number}.wav", seconds)
    return tmp_path / "talks"


EXPECTED = [f"说{count}" for count in (110, 30, 200, 70, 150, 50, 90, 130, 180, 40)]


def run(
    test_dir: Path, output: Path, reporter: Reporter = SILENT, source: Any = SOURCE, **options: Any
) -> list[DecodedSet]:
    settings = DecodeOptions(**{"device": "cpu", "batch_size": 3, **options})
    return decode(run_request(test_dir, MINIATURE, output, settings), reporter, source)


def lines(done: DecodedSet) -> list[str]:
    return (done.folder / done.run.output.path).read_text(encoding="utf-8").split("\n")[:-1]


def test_lines_come_in_the_order_of_the_test_set_whatever_the_batches(
    parrot: Parrot, talks: Path, tmp_path: Path
) -> None:
    (done,) = run(talks, tmp_path / "out")
    assert lines(done) == EXPECTED
    assert parrot.batches == [3, 3, 3, 1]
    assert done.run.output.path == "talks.en-zh.txt"
    assert [segment.id for segment in done.run.segments] == [str(number) for number in range(1, 11)]
    assert done.run == read_run(tmp_path / "out")


def test_the_record_holds_no_path_user_or_host(parrot: Parrot, talks: Path, tmp_path: Path) -> None:
    run(talks, tmp_path / "out")
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    for secret in (str(tmp_path), os.uname().nodename, os.environ.get("USER", "/home/")):
        assert secret.encode() not in written


def test_an_interrupted_run_goes_on_and_gives_the_same_bytes(
    parrot: Parrot, talks: Path, tmp_path: Path
) -> None:
    (whole,) = run(talks, tmp_path / "whole")
    parrot.batches.clear()
    parrot.fail_after = 2
    with pytest.raises(KeyboardInterrupt):
        run(talks, tmp_path / "out")
    assert not (tmp_path / "out" / "run.json").exists()
    assert not (tmp_path / "out" / "talks.en-zh.txt").exists()
    parrot.fail_after = 10**9
    told: list[str] = []
    (done,) = run(talks, tmp_path / "out", Told(told))
    assert parrot.batches == [3, 3, 3, 1]
    assert "talks: 6 of 10 pieces were decoded before; going on" in told
    assert (done.folder / done.run.output.path).read_bytes() == (
        whole.folder / whole.run.output.path
    ).read_bytes()
    assert done.run.summary.sessions == 2
    assert done.run.summary.decode_seconds == pytest.approx(sum(s.seconds for s in done.run.segments))


def test_a_batch_torn_in_the_journal_is_searched_whole_again(
    parrot: Parrot, talks: Path, tmp_path: Path
) -> None:
    parrot.fail_after = 2
    with pytest.raises(KeyboardInterrupt):
        run(talks, tmp_path / "out")
    journal = tmp_path / "out" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-40])
    parrot.fail_after, parrot.batches = 10**9, []
    (done,) = run(talks, tmp_path / "out")
    assert parrot.batches == [3, 3, 1]
    assert lines(done) == EXPECTED


def test_recordings_that_change_places_while_the_model_loads_give_no_run(
    parrot: Parrot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [write_tone(tmp_path / "talks" / f"{number}.wav", 1.0, 300.0 * number) for number in (1, 2)]
    for path in paths:
        os.utime(path, ns=(10**18, 10**18))

    def change_places(*_: Any, **__: Any) -> object:
        paths[0].rename(tmp_path / "other.wav")
        paths[1].rename(paths[0])
        (tmp_path / "other.wav").rename(paths[1])
        return object()

    monkeypatch.setattr(decode_module, "load_from", change_places)
    with pytest.raises(InputError, match="the recording changed while it was being decoded"):
        run(tmp_path / "talks", tmp_path / "out")
    assert not (tmp_path / "out" / "run.json").exists()
    assert [record for record in journal_lines(tmp_path / "out") if record.get("kind") == "piece"] == []


def test_a_text_edited_in_the_journal_is_decoded_again_and_said_so(
    parrot: Parrot, talks: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (done,) = run(talks, tmp_path / "out")
    journal = tmp_path / "out" / "journal.jsonl"
    records = journal.read_bytes().splitlines(keepends=True)
    place = next(place for place, line in enumerate(records) if json.loads(line).get("part") == 0)
    records[place] = json.dumps({**json.loads(records[place]), "text": "edited by hand"}).encode() + b"\n"
    journal.write_bytes(b"".join(records))
    parrot.batches = []
    (again,) = run(talks, tmp_path / "out")
    assert lines(again) == lines(done) == EXPECTED
    assert parrot.batches == [3, 3, 3, 1]
    assert f"{journal}: the last {len(records) - place} records are dropped" in caplog.text
    assert b"edited by hand" not in journal.read_bytes()


def test_a_finished_run_is_not_decoded_again(parrot: Parrot, talks: Path, tmp_path: Path) -> None:
    run(talks, tmp_path / "out")
    before = (tmp_path / "out" / "run.json").read_bytes()
    parrot.batches.clear()
    run(talks, tmp_path / "out")
    assert parrot.batches == []
    assert (tmp_path / "out" / "run.json").read_bytes() == before


def test_hypotheses_that_were_altered_are_written_again_from_the_journal(
    parrot: Parrot, talks: Path, tmp_path: Path
) -> None:
    (done,) = run(talks, tmp_path / "out")
    (done.folder / done.run.output.path).write_text("edited\n")
    (again,) = run(talks, tmp_path / "out")
    assert lines(again) == EXPECTED
    assert parrot.batches == [3, 3, 3, 1]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"prompt": "Say it in Chinese."}, "settings.prompt"),
        ({"max_new_tokens": 65}, "settings.max_new_tokens"),
        ({"pair": "en-de"}, "pair"),
        ({"batch_size": 4}, "settings.batch_size"),
        ({"placeholder": "-"}, "settings.placeholder"),
        ({"dtype": "bfloat16"}, "settings.dtype"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(
    parrot: Parrot, talks: Path, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    run(talks, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    with pytest.raises(UsageError, match="other inputs or settings") as caught:
        run(talks, tmp_path / "out", **change)
    assert f"{named} = " in str(caught.value)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_another_artifact_or_changed_audio_is_refused(parrot: Parrot, talks: Path, tmp_path: Path) -> None:
    run(talks, tmp_path / "out")
    with pytest.raises(UsageError, match="artifact = "):
        run(talks, tmp_path / "out", source=of_another_artifact(SOURCE))
    write_tone(talks / "3.wav", 2.0, frequency=450)
    with pytest.raises(UsageError, match=r"test_set\.sha256 = "):
        run(talks, tmp_path / "out")


def test_a_run_that_did_not_fit_may_go_on_in_another_mode(
    parrot: Parrot, talks: Path, tmp_path: Path
) -> None:
    parrot.fail_after = 1
    with pytest.raises(KeyboardInterrupt):
        run(talks, tmp_path / "out")
    parrot.fail_after = 10**9
    (done,) = run(talks, tmp_path / "out", mode="stream")
    assert [record["mode"] for record in journal_lines(done.folder) if record.get("kind") == "session"] == [
        "load",
        "stream",
    ]


def test_out_of_memory_halves_the_batch_and_goes_on(parrot: Parrot, talks: Path, tmp_path: Path) -> None:
    parrot.room = 2
    told: list[str] = []
    (done,) = run(talks, tmp_path / "out", Told(told), batch_size=8)
    assert lines(done) == EXPECTED
    assert parrot.batches == [2] * 5
    assert told == [
        "out of memory with 8 pieces at once: going on with 4",
        "out of memory with 4 pieces at once: going on with 2",
    ]
    assert [record["items"] for record in journal_lines(done.folder) if record.get("kind") == "cap"] == [4, 2]


def test_what_did_not_fit_is_remembered_when_going_on(parrot: Parrot, talks: Path, tmp_path: Path) -> None:
    parrot.room, parrot.fail_after = 2, 4
    with pytest.raises(KeyboardInterrupt):
        run(talks, tmp_path / "out", batch_size=8)
    parrot.fail_after, parrot.batches = 10**9, []
    told: list[str] = []
    (done,) = run(talks, tmp_path / "out", Told(told), batch_size=8)
    assert not [text for text in told if "out of memory" in text]
    assert lines(done) == EXPECTED


def test_a_single_piece_that_does_not_fit_is_one_clear_error(
    parrot: Parrot, talks: Path, tmp_path: Path
) -> None:
    parrot.room = 0
    with pytest.raises(ResourceError, match="does not fit the device's memory") as caught:
        run(talks, tmp_path / "out")
    assert "--mode stream" in str(caught.value)
    assert not (tmp_path / "out" / "run.json").exists()


def test_truncated_outputs_are_counted_and_retried_when_asked(
    parrot: Parrot, talks: Path, tmp_path: Path
) -> None:
    parrot.limit_needed = 100
    (cut,) = run(talks, tmp_path / "cut")
    assert cut.run.summary.truncated == 10
    assert {segment.finish for segment in cut.run.segments} == {"length"}
    (still,) = run(talks, tmp_path / "still", retry_truncated=99)
    assert still.run.summary.truncated == 10
    parrot.batches.clear()
    (mended,) = run(talks, tmp_path / "mended", retry_truncated=100)
    assert mended.run.summary.truncated == 0
    assert parrot.batches == [3, 3, 3, 3, 3, 3, 1, 1]


def test_bad_audio_stops_everything_before_a_model_is_loaded(
    talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode_module, "load_from", lambda *a, **k: pytest.fail("the model was loaded"))
    (talks / "2.wav").write_bytes(b"")
    (talks / "7.wav").write_text("oops")
    with pytest.raises(ValidationFailed, match="2 of 10 segments have audio that cannot be used") as caught:
        run(talks, tmp_path / "out")
    assert [(p.rule, p.path) for p in caught.value.problems] == [
        ("audio.empty", "2.wav"),
        ("audio.unreadable", "7.wav"),
    ]
    assert not (tmp_path / "out").exists()


def test_bad_audio_keeps_its_line_with_a_placeholder(parrot: Parrot, talks: Path, tmp_path: Path) -> None:
    (talks / "2.wav").write_bytes(b"")
    (talks / "7.wav").write_text("oops")
    told: list[str] = []
    (done,) = run(talks, tmp_path / "out", Told(told), on_bad_audio="placeholder")
    expected = EXPECTED.copy()
    expected[1] = expected[6] = "…"
    assert lines(done) == expected
    assert [s.index for s in done.run.segments if s.finish == "placeholder"] == [1, 6]
    assert done.run.summary.placeholders == 2
    assert sum("2.wav" in text or "7.wav" in text for text in told) == 2
    assert "2 segments get the placeholder '…'" in told


def test_a_test_set_of_nothing_but_bad_audio_needs_no_model(
    talks: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(decode_module, "load_from", lambda *a, **k: pytest.fail("the model was loaded"))
    for path in talks.iterdir():
        path.write_bytes(b"")
    (done,) = run(talks, tmp_path / "out", on_bad_audio="placeholder")
    assert lines(done) == ["…"] * 10
    assert done.run.summary.seconds_per_segment == 0


@pytest.mark.parametrize(("pair", "joint"), [("en-zh", ""), ("en-de", " ")])
def test_an_over_long_segment_is_cut_and_joined_to_one_line(
    parrot: Parrot, talks: Path, tmp_path: Path, pair: str, joint: str
) -> None:
    quiet = np.zeros(RATE // 2, np.float32)
    soundfile.write(talks / "4.wav", np.concatenate([tone(6.0), quiet, tone(5.0), quiet, tone(4.0)]), RATE)
    told: list[str] = []
    (done,) = run(talks, tmp_path / "out", Told(told), pair=pair)
    assert len(lines(done)) == 10
    parts = lines(done)[3].split("说")[1:]
    assert lines(done)[3] == joint.join(f"说{part.strip()}" for part in parts)
    assert len(parts) == 3
    assert sum(int(part) for part in parts) == pytest.approx(1600, abs=3)
    assert all(int(part) <= 800 for part in parts)
    assert (done.run.segments[3].pieces, done.run.summary.segmented) == (3, 1)
    assert "talks: 1 segments over 8 s are cut at silences, one line each" in told


def test_an_over_long_segment_can_be_refused(parrot: Parrot, talks: Path, tmp_path: Path) -> None:
    write_tone(talks / "4.wav", 8.5)
    with pytest.raises(
        ValidationFailed, match="1 segments are longer than the 8 s the model hears"
    ) as caught:
        run(talks, tmp_path / "out", long="error")
    assert "segment 4: 8.50 s" in str(caught.value)
    write_tone(talks / "4.wav", 8.0)
    assert len(lines(run(talks, tmp_path / "out", long="error")[0])) == 10


def test_several_test_sets_go_into_folders_of_their_own(parrot: Parrot, talks: Path, tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_tone(tmp_path / "all" / name / "x.wav", 0.5)
    done = run(tmp_path / "all", tmp_path / "out")
    assert [str(item.folder.relative_to(tmp_path)) for item in done] == ["out/a", "out/b"]
    assert [item.run.output.path for item in done] == ["a.en-zh.txt", "b.en-zh.txt"]
    parrot.batches.clear()
    write_tone(tmp_path / "all" / "c" / "x.wav", 0.5)
    assert len(run(tmp_path / "all", tmp_path / "out")) == 3
    assert parrot.batches == [1]


def test_one_test_set_and_several_do_not_go_into_the_same_folder(
    parrot: Parrot, talks: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        write_tone(tmp_path / "all" / name / "x.wav", 0.5)
    run(talks, tmp_path / "one")
    with pytest.raises(UsageError, match="lies in the folder of another thing: run"):
        run(tmp_path / "all", tmp_path / "one")
    run(tmp_path / "all", tmp_path / "several")
    with pytest.raises(UsageError, match="the output is a folder of runs"):
        run(talks, tmp_path / "several")
    with pytest.raises(UsageError, match="of another thing: checkpoint"):
        run(talks, MINIATURE / "runs")
    assert not (MINIATURE / "runs").exists()


def test_a_finished_run_without_its_journal_is_never_overwritten(
    parrot: Parrot, talks: Path, tmp_path: Path
) -> None:
    run(talks, tmp_path / "out")
    (tmp_path / "out" / "journal.jsonl").unlink()
    with pytest.raises(UsageError, match="a finished run without its journal"):
        run(talks, tmp_path / "out")


def test_a_recording_that_changes_under_way_stops_the_run(
    parrot: Parrot, talks: Path, tmp_path: Path
) -> None:
    real = parrot.generate

    def meddle(inputs: dict[str, torch.Tensor], limit: int) -> list[Hypothesis]:
        write_tone(talks / "2.wav", 0.1)
        return real(inputs, limit)

    parrot.generate = meddle  # type: ignore[method-assign]
    with pytest.raises(InputError, match=r"2\.wav: the recording changed"):
        run(talks, tmp_path / "out", batch_size=1)


def test_the_summary_adds_up(parrot: Parrot, talks: Path, tmp_path: Path) -> None:
    (done,) = run(talks, tmp_path / "out")
    figures, audio = done.run.summary, done.run.test_set.audio_seconds
    assert audio == pytest.approx(10.5)
    assert figures.seconds_per_segment == pytest.approx(figures.decode_seconds / 10)
    assert figures.real_time_factor == pytest.approx(figures.decode_seconds / audio)
    assert figures.tokens_per_second == pytest.approx(20 / figures.decode_seconds)
    assert figures.peak_device_bytes is None
    assert figures.peak_host_bytes > 50e6
    assert Run.from_json(json.loads((done.folder / "run.json").read_text())) == done.run


def test_the_schema_and_the_record_name_the_same_fields() -> None:
    document = load_schema("run")
    assert {field.name for field in dataclasses.fields(Run)} == set(document["properties"])
    assert set(document["properties"]) - set(document["required"]) == {"sessions"}
    for part in (RunArtifact, RunOutput, RunSegment, RunSession, RunSettings, RunSummary, RunTestSet):
        definition = document["$defs"][part.__name__]
        assert {field.name for field in dataclasses.fields(part)} == set(definition["properties"])
        may_lack = {"engine"} if part is RunSettings else set()
        assert set(definition["required"]) == set(definition["properties"]) - may_lack


def test_the_record_tells_what_each_session_decoded_and_older_records_are_read_without_it(
    parrot: Parrot, talks: Path, tmp_path: Path
) -> None:
    parrot.fail_after = 2
    with pytest.raises(KeyboardInterrupt):
        run(talks, tmp_path / "out")
    parrot.fail_after = 10**9
    (done,) = run(talks, tmp_path / "out", mode="stream")
    first, second = done.run.sessions
    assert (first.mode, first.pieces, second.mode, second.pieces) == ("load", 6, "stream", 4)
    assert first.seconds + second.seconds == pytest.approx(done.run.summary.decode_seconds)
    assert done.run.summary.peak_host_bytes == max(first.peak_host_bytes, second.peak_host_bytes)
    document = done.run.to_json()
    del document["sessions"]
    assert Run.from_json(document) == replace(done.run, sessions=())


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("segments", 0, "audio"), "/home/me/a.wav"),
        (("segments", 0, "audio"), "../a.wav"),
        (("output", "path"), "sub/x.txt"),
        (("settings", "device"), "cuda:0"),
        (("settings", "max_new_tokens"), 0),
        (("summary", "decode_seconds"), -1),
        (("extra",), 1),
    ],
)
def test_a_record_that_cannot_be_is_refused(
    parrot: Parrot, talks: Path, tmp_path: Path, place: tuple[Any, ...], value: object
) -> None:
    (done,) = run(talks, tmp_path / "out")
    document = done.run.to_json()
    inner: Any = document
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    with pytest.raises(ValidationFailed, match="does not fit the run schema"):
        Run.from_json(document)


def test_the_prompt_follows_the_pair() -> None:
    assert default_prompt("en-zh") == "Translate this English speech into Chinese."
    assert default_prompt("en-de") == "Translate this English speech into German."
    filled = DecodeOptions(pair="en-de").resolved()
    assert (filled.max_new_tokens, filled.prompt) == (64, default_prompt("en-de"))
    assert DecodeOptions(prompt="", max_new_tokens=9).resolved().prompt == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pair": "en-fr"}, "unknown language pair 'en-fr'"),
        ({"max_new_tokens": 0}, "max-new-tokens is too small"),
        ({"batch_size": 0}, "batch-size is too small"),
        ({"batch_seconds": float("nan")}, "batch-seconds is too small"),
        ({"retry_truncated": 64, "max_new_tokens": 64}, "retry-truncated must exceed max-new-tokens"),
        ({"placeholder": " "}, "the placeholder must be one line"),
        ({"placeholder": "a\nb"}, "the placeholder must be one line"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DecodeOptions(**options)


def test_the_miniature_decodes_the_same_twice_and_in_every_mode(talks: Path, tmp_path: Path) -> None:
    for number in range(4, 11):
        (talks / f"{number}.wav").unlink()
    results = {
        name: run(talks, tmp_path / name, mode=mode, max_new_tokens=12)[0]
        for name, mode in (("a", "load"), ("b", "load"), ("c", "cache"), ("d", "stream"))
    }
    texts = {(done.folder / done.run.output.path).read_bytes() for done in results.values()}
    assert len(texts) == 1
    assert all(segment.tokens <= 12 for segment in results["a"].run.segments)


def test_an_edition_sets_prompt_and_limit_and_options_win_over_it() -> None:
    filled = DecodeOptions(edition="iwslt2027", pair="en-de").resolved()
    assert "German" in (filled.prompt or "")
    assert filled.prompt != default_prompt("en-de")
    assert filled.max_new_tokens == 256
    assert DecodeOptions(edition="iwslt2027", prompt="Say.", max_new_tokens=9).resolved().prompt == "Say."
    with pytest.raises(UsageError, match="retry-truncated must exceed"):
        DecodeOptions(edition="iwslt2027", retry_truncated=256).resolved()
    with pytest.raises(UsageError, match="iwslt1999"):
        DecodeOptions(edition="iwslt1999").resolved()


def test_each_test_set_may_have_settings_of_its_own(parrot: Parrot, tmp_path: Path) -> None:
    for name in ("talks", "news"):
        write_tone(tmp_path / "all" / name / "x.wav", 0.5)
    (tmp_path / "sets.toml").write_text('[news]\nprompt = "Translate this news."\nmax_new_tokens = 128\n')
    options = DecodeOptions(device="cpu")
    settings = read_per_set(tmp_path / "sets.toml")
    asked = run_request(tmp_path / "all", MINIATURE, tmp_path / "out", options, per_set=settings)
    done = decode(asked, source=SOURCE)
    assert [(d.run.test_set.name, d.run.settings.prompt, d.run.settings.max_new_tokens) for d in done] == [
        ("news", "Translate this news.", 128),
        ("talks", default_prompt("en-zh"), 64),
    ]
    with pytest.raises(UsageError, match="a test set that is not there: 'tv'"):
        decode(replace(asked, per_set={"tv": {}}), source=SOURCE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]\ncolour = 1\n", r"\[a\] colour = 1 cannot be set"),
        ("[a]\nmax_new_tokens = true\n", "max_new_tokens = True cannot be set"),
        ("[a]\nprompt = 3\n", "prompt = 3 cannot be set"),
        ("a = 3\n", "'a' is no table"),
        ("[a\n", "not valid TOML"),
    ],
)
def test_wrong_settings_of_a_test_set_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "sets.toml").write_text(text)
    with pytest.raises((UsageError, InputError), match=message):
        read_per_set(tmp_path / "sets.toml")


COMMAND = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from inference_fixtures import *
from iwsltpack.decoding.decode import decode
options = DecodeOptions(device="cpu", batch_size=2, max_new_tokens=8)
decode(run_request(Path(sys.argv[1]), MINIATURE, Path(sys.argv[2]), options), source=CheckpointSource(MINIATURE))
"""


def start(talks: Path, output: Path) -> Any:
    command = [sys.executable, "-c", COMMAND, str(talks), str(output), str(Path(__file__).parent)]
    return warm.start(command)


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bytes(talks: Path, tmp_path: Path) -> None:
    (whole,) = run(talks, tmp_path / "whole", batch_size=2, max_new_tokens=8)
    expected = (whole.folder / whole.run.output.path).read_bytes()
    dice = random.Random(11)
    output = tmp_path / "out"
    kills = 0
    journal = output / "journal.jsonl"
    for wanted in (0, 5):
        with start(talks, output) as process:
            while process.poll() is None:
                if journal.exists() and journal.read_bytes().count(b'"piece"') > wanted:
                    time.sleep(dice.uniform(0, 0.05))
                    process.kill()
                    kills += process.wait() == -signal.SIGKILL
                time.sleep(0.01)
    with start(talks, output) as process:
        assert process.wait() == 0
    assert (output / "talks.en-zh.txt").read_bytes() == expected
    assert kills == 2
    assert not list(output.glob("*.tmp"))


def test_the_real_translator_is_what_runs(talks: Path) -> None:
    assert decode_module.Translator is Translator
