"""One run decoded in shards: together they write what one process would have written, whatever dies on the way."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
import warm
from inference_fixtures import (
    MINIATURE,
    CheckpointSource,
    Told,
    journal_lines,
    of_another_artifact,
    run_request,
    write_tone,
)
from typer.testing import CliRunner

from iwsltpack.cli import decode as decode_command
from iwsltpack.cli import merge as merge_command
from iwsltpack.cli.common import with_options
from iwsltpack.cluster.shards import Shard
from iwsltpack.decoding import decode as decode_module
from iwsltpack.decoding.batch_plan import plan_batches, plan_digest
from iwsltpack.decoding.decode import decode
from iwsltpack.decoding.generation import Hypothesis
from iwsltpack.decoding.journal import Journal
from iwsltpack.decoding.merge import merge_shards, shard_journal, shares
from iwsltpack.decoding.options import DecodeOptions
from iwsltpack.decoding.record import DecodedSet
from iwsltpack.documents.places import run_folders
from iwsltpack.documents.run import read_run
from iwsltpack.errors import InputError, UsageError, ValidationFailed
from iwsltpack.system.progress import SILENT, Reporter
from iwsltpack.testsets.survey import Piece

SOURCE = CheckpointSource(MINIATURE)
LENGTHS = (1.1, 0.3, 2.0, 0.7, 1.5, 0.5, 0.9, 1.3, 1.8, 0.4)


class Parrot:
    """In place of the model: says how long each recording is; stops after `fail_after` batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.fail_after = 10**9
        self.device = torch.device("cpu")

    def generate(self, inputs: dict[str, torch.Tensor], max_new_tokens: int) -> list[Hypothesis]:
        if len(self.batches) >= self.fail_after:
            raise KeyboardInterrupt
        frames = inputs["feature_attention_mask"].sum(dim=1).tolist()
        self.batches.append(frames)
        return [Hypothesis(text=f"说{count}", tokens=2, finish="stop") for count in frames]


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch) -> Parrot:
    bird = Parrot()
    monkeypatch.setattr(decode_module, "Translator", lambda model, processor: bird)
    monkeypatch.setattr(decode_module, "load_from", lambda source, **options: object())
    return bird


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    return make_talks(tmp_path / "talks")


def make_talks(folder: Path, lengths: tuple[float, ...] = LENGTHS) -> Path:
    for number, seconds in enumerate(lengths, 1):
        write_tone(folder / f"{number}.wav", seconds, 200.0 + 40 * number)
    return folder


def settings(options: dict[str, Any]) -> DecodeOptions:
    return DecodeOptions(**{"device": "cpu", "batch_size": 2, "max_new_tokens": 8, **options})


def whole(
    test_dir: Path, output: Path, reporter: Reporter = SILENT, shard: Shard | None = None, **options: Any
) -> list[DecodedSet]:
    return decode(run_request(test_dir, MINIATURE, output, settings(options), shard=shard), reporter, SOURCE)


def run_shard(
    test_dir: Path, output: Path, index: int, count: int, reporter: Reporter = SILENT, **options: Any
) -> list[DecodedSet]:
    return whole(test_dir, output, reporter, Shard(index=index, count=count), **options)


def text_of(done: DecodedSet) -> bytes:
    return (done.folder / done.run.output.path).read_bytes()


def without_times(done: DecodedSet) -> Any:
    """The record without what differs from run to run: times, memory, sessions."""
    document = done.run.to_json()
    assert len(document.pop("sessions")) == document["summary"]["sessions"]
    for name in ("load_seconds", "decode_seconds", "seconds_per_segment", "tokens_per_second"):
        del document["summary"][name]
    for name in ("real_time_factor", "peak_host_bytes", "sessions"):
        del document["summary"][name]
    for segment in document["segments"]:
        del segment["seconds"]
    return document


def test_shards_merged_write_what_one_process_writes(parrot: Parrot, talks: Path, tmp_path: Path) -> None:
    (alone,) = whole(talks, tmp_path / "alone")
    said = parrot.batches
    parrot.batches = []
    left = [run_shard(talks, tmp_path / "out", index, 3)[0].left for index in (2, 3, 1)]
    assert sorted(parrot.batches) == sorted(said)
    assert left[0] > left[1] > left[2] == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["shards"]
    (done,) = merge_shards(tmp_path / "out")
    assert text_of(done) == text_of(alone)
    assert without_times(done) == without_times(alone)
    assert read_run(tmp_path / "out") == done.run
    kept = [{key: r[key] for key in ("segment", "part", "text", "tokens", "finish")} for r in pieces(done)]
    assert sorted(kept, key=lambda r: r["segment"]) == sorted(
        ({key: r[key] for key in ("segment", "part", "text", "tokens", "finish")} for r in pieces(alone)),
        key=lambda r: r["segment"],
    )
    assert journal_lines(done.folder)[0] == journal_lines(alone.folder)[0]


def test_a_run_of_shards_alone_is_known_and_its_progress_told(
    parrot: Parrot, talks: Path, tmp_path: Path
) -> None:
    run_shard(talks, tmp_path / "runs" / "talks", 2, 3)
    assert run_folders(tmp_path / "runs") == [tmp_path / "runs" / "talks"]
    parrot.fail_after = len(parrot.batches) + 1
    with pytest.raises(KeyboardInterrupt):
        run_shard(talks, tmp_path / "runs" / "talks", 1, 3)
    said = sum(map(len, parrot.batches))
    (tmp_path / "iwsltpack.toml").write_text('[decode]\noutput = "runs"\n', encoding="utf-8")
    told = json.loads(warm.iwsltpack("status", "--json", cwd=tmp_path).stdout)
    [step] = [step for step in told["steps"] if step["step"] == "decoded"]
    assert (step["state"], step["told"]) == ("begun", f"{said} of {len(LENGTHS)} segments, 2 shards begun")
    with pytest.raises(UsageError, match="the output is a folder of runs"):
        whole(talks, tmp_path / "runs")


def pieces(done: DecodedSet) -> list[dict[str, Any]]:
    return [record for record in journal_lines(done.folder) if record.get("kind") == "piece"]


def test_the_real_model_in_shards_gives_the_bytes_of_one_process(talks: Path, tmp_path: Path) -> None:
    (alone,) = whole(talks, tmp_path / "alone")
    for index in (1, 2):
        run_shard(talks, tmp_path / "out", index, 2)
    (done,) = merge_shards(tmp_path / "out")
    assert text_of(done) == text_of(alone)
    assert len(set(text_of(done).splitlines())) > 1
    assert without_times(done) == without_times(alone)


def test_the_record_of_a_merged_run_is_honest_about_who_decoded_what(
    parrot: Parrot, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index, device in ((1, "NVIDIA A"), (2, "NVIDIA B")):
        monkeypatch.setattr(decode_module, "device_name", lambda _, name=device: name)
        monkeypatch.setattr(decode_module, "peak_host_bytes", lambda size=index: size * 10**9)
        run_shard(talks, tmp_path / "out", index, 2)
    (done,) = merge_shards(tmp_path / "out")
    first, second = done.run.sessions
    assert (first.worker, first.device_name, second.worker, second.device_name) == (
        "1/2",
        "NVIDIA A",
        "2/2",
        "NVIDIA B",
    )
    assert first.pieces + second.pieces == 10
    assert first.seconds + second.seconds == pytest.approx(done.run.summary.decode_seconds)
    assert done.run.summary.device_name == "NVIDIA A, NVIDIA B"
    assert (done.run.summary.sessions, done.run.summary.peak_host_bytes) == (2, 2 * 10**9)


def test_shards_may_hold_the_weights_in_different_ways(parrot: Parrot, talks: Path, tmp_path: Path) -> None:
    run_shard(talks, tmp_path / "out", 1, 2, mode="load")
    run_shard(talks, tmp_path / "out", 2, 2, mode="stream")
    (done,) = merge_shards(tmp_path / "out")
    assert [session.mode for session in done.run.sessions] == ["load", "stream"]
    assert done.run.settings.mode == "stream"


def test_shares_hold_every_batch_once_and_about_as_many_seconds(tmp_path: Path) -> None:
    pieces = [
        Piece(segment=number, part=0, offset=0.0, duration=0.5 + (number * 7919 % 97) / 10)
        for number in range(500)
    ]
    batches = plan_batches(pieces, 4, 60.0)
    digest = plan_digest(batches)
    for count in (1, 2, 3, 7, 16):
        dealt = shares(batches, count, digest)
        assert sorted((batch for share in dealt for batch in share), key=batches.index) == batches
        assert all(share == sorted(share, key=batches.index) for share in dealt)
        loads = [sum(piece.duration for batch in share for piece in batch) for share in dealt]
        assert max(loads) < 1.05 * sum(loads) / count
        assert dealt == shares(batches, count, digest)
    assert [len(share) for share in shares(batches[:2], 5, digest)].count(1) == 2


def test_small_test_sets_do_not_all_go_to_the_first_shard() -> None:
    firsts = set()
    for number in range(40):
        plan = plan_batches([Piece(segment=0, part=0, offset=0.0, duration=1.0 + number)], 1, 60.0)
        dealt = shares(plan, 4, plan_digest(plan))
        firsts.add(next(place for place, share in enumerate(dealt) if share))
    assert len(firsts) == 4


def test_missing_shards_and_pieces_are_named_with_the_command(
    parrot: Parrot, talks: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    held = [run_shard(talks, tmp_path / "held", index, 3)[0].pieces for index in (1, 2, 3)]
    run_shard(talks, output, 1, 3)
    parrot.fail_after = len(parrot.batches) + 1
    with pytest.raises(KeyboardInterrupt):
        run_shard(talks, output, 2, 3)
    parrot.fail_after = 10**9
    before = sorted(path for path in output.rglob("*"))
    with pytest.raises(ValidationFailed, match="not everything is decoded yet") as caught:
        merge_shards(output)
    assert [(problem.message, problem.fix) for problem in caught.value.problems] == [
        (
            f"talks: shard 2/3 stopped, 2 of its {held[1]} pieces are not decoded",
            "iwsltpack decode … --shard 2/3",
        ),
        (
            f"talks: shard 3/3 was not begun, {held[2]} of its {held[2]} pieces are not decoded",
            "iwsltpack decode … --shard 3/3",
        ),
    ]
    assert sorted(path for path in output.rglob("*")) == before
    for index in (2, 3):
        run_shard(talks, output, index, 3)
    assert len(merge_shards(output)) == 1


def test_a_shard_at_work_is_named_and_neither_merged_nor_run_twice(
    parrot: Parrot, talks: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    run_shard(talks, output, 1, 2)
    (done,) = run_shard(talks, tmp_path / "other", 2, 2)
    path = shard_journal(output, Shard(index=2, count=2))
    header = json.loads(done.journal.read_bytes().split(b"\n")[0])
    with Journal(path, header["binding"]):
        with pytest.raises(ValidationFailed, match="shard 2/2 is at work, "):
            merge_shards(output)
        with pytest.raises(UsageError, match="another process is decoding into this folder"):
            run_shard(talks, output, 2, 2)
        with pytest.raises(UsageError, match="another process is decoding into this folder"):
            whole(talks, output)
    run_shard(talks, output, 2, 2)
    merge_shards(output)


def test_a_shard_is_refused_while_one_process_decodes_the_whole(
    parrot: Parrot, talks: Path, tmp_path: Path
) -> None:
    (alone,) = whole(talks, tmp_path / "out")
    binding = journal_lines(alone.folder)[0]["binding"]
    with (
        Journal(tmp_path / "out" / "journal.jsonl", binding),
        pytest.raises(UsageError, match="another process is decoding into this folder"),
    ):
        run_shard(talks, tmp_path / "out", 1, 2)


@pytest.mark.parametrize(
    ("change", "named"),
    [({"prompt": "Say it."}, "settings.prompt"), ({"batch_size": 3}, "plan = "), ({"pair": "en-de"}, "pair")],
)
def test_a_shard_with_other_settings_is_refused(
    parrot: Parrot, talks: Path, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    run_shard(talks, tmp_path / "out", 1, 2)
    with pytest.raises(UsageError, match="other inputs or settings") as caught:
        run_shard(talks, tmp_path / "out", 2, 2, **change)
    assert named in str(caught.value)
    assert not (tmp_path / "out" / "shards" / "2-of-2").exists()


def test_a_journal_of_another_run_among_the_shards_is_refused(
    parrot: Parrot, talks: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    run_shard(talks, output, 1, 2)
    run_shard(talks, tmp_path / "other", 2, 2, prompt="Say it.")
    (tmp_path / "other" / "shards" / "2-of-2").rename(output / "shards" / "2-of-2")
    for refused in (lambda: merge_shards(output), lambda: whole(talks, output)):
        with pytest.raises(UsageError, match="other inputs or settings") as caught:
            refused()
        assert 'settings.prompt = "Say it."' in str(caught.value)
    assert not (output / "run.json").exists()


def test_an_altered_plan_is_refused(parrot: Parrot, talks: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run_shard(talks, output, 1, 1)
    path = output / "shards" / "plan.json"
    plan = json.loads(path.read_text())
    plan["segments"].pop()
    path.write_text(json.dumps(plan))
    with pytest.raises(UsageError, match=r"test_set\.segments"):
        merge_shards(output)
    plan["segments"][0]["audio"] = "/etc/passwd"
    path.write_text(json.dumps(plan))
    with pytest.raises(ValidationFailed, match="decoding-plan schema"):
        merge_shards(output)


def test_merged_twice_or_again_after_a_kill_it_writes_the_same(
    parrot: Parrot, talks: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    for index in (1, 2):
        run_shard(talks, output, index, 2)
    (done,) = merge_shards(output)
    files = {path.name: path.read_bytes() for path in output.iterdir() if path.is_file()}
    merge_shards(output)
    assert {path.name: path.read_bytes() for path in output.iterdir() if path.is_file()} == files
    journal = files["journal.jsonl"]
    for size in range(0, len(journal), 97):
        for name in ("run.json", done.run.output.path):
            (output / name).unlink()
        (output / "journal.jsonl").write_bytes(journal[:size])
        (again,) = merge_shards(output)
        assert text_of(again) == files[done.run.output.path]
        assert sum(session.pieces for session in again.run.sessions) == 10
        assert [session.worker for session in again.run.sessions] == ["1/2", "2/2"]
        assert len(pieces(again)) == 10


def test_a_plain_decode_goes_on_from_the_shards(parrot: Parrot, talks: Path, tmp_path: Path) -> None:
    (alone,) = whole(talks, tmp_path / "alone")
    run_shard(talks, tmp_path / "out", 1, 3)
    parrot.batches = []
    told: list[str] = []
    (done,) = whole(talks, tmp_path / "out", Told(told))
    assert len(parrot.batches) < 5
    assert text_of(done) == text_of(alone)
    assert any("pieces were decoded before; going on" in text for text in told)
    assert [session.worker for session in done.run.sessions] == ["1/3", None]
    assert len(pieces(done)) == 10


def test_shards_go_on_from_one_process_and_from_another_number_of_shards(
    parrot: Parrot, talks: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    (alone,) = whole(talks, tmp_path / "alone")
    parrot.batches, parrot.fail_after = [], 1
    with pytest.raises(KeyboardInterrupt):
        whole(talks, output)
    parrot.fail_after = 10**9
    run_shard(talks, output, 1, 2)
    for index in (1, 2, 3):
        run_shard(talks, output, index, 3)
    assert len(parrot.batches) == 5
    (done,) = merge_shards(output)
    assert text_of(done) == text_of(alone)
    assert len(pieces(done)) == 10


def test_several_test_sets_are_sharded_and_merged_each_in_its_folder(parrot: Parrot, tmp_path: Path) -> None:
    for name in ("b", "a", "shards"):
        make_talks(tmp_path / "all" / name, LENGTHS[:5])
    expected = [text_of(done) for done in whole(tmp_path / "all", tmp_path / "alone")]
    for index in (1, 2):
        assert len(run_shard(tmp_path / "all", tmp_path / "out", index, 2)) == 3
    done = merge_shards(tmp_path / "out")
    assert [str(item.folder.relative_to(tmp_path)) for item in done] == ["out/a", "out/b", "out/shards"]
    assert [text_of(item) for item in done] == expected


def test_more_shards_than_batches_and_bad_audio_change_nothing(
    parrot: Parrot, talks: Path, tmp_path: Path
) -> None:
    (talks / "2.wav").write_bytes(b"")
    (alone,) = whole(talks, tmp_path / "alone", on_bad_audio="placeholder", batch_size=8)
    for index in range(1, 5):
        run_shard(talks, tmp_path / "out", index, 4, on_bad_audio="placeholder", batch_size=8)
    (done,) = merge_shards(tmp_path / "out")
    assert text_of(done) == text_of(alone)
    assert text_of(done).decode().split("\n")[1] == "…"
    assert without_times(done) == without_times(alone)


def test_a_folder_without_shards_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no shards of a decoding run here") as caught:
        merge_shards(tmp_path)
    assert "--shard 1/4" in str(caught.value)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3", "1/999999"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"not a shard|there is no shard"):
        Shard.parse(text)
    assert Shard.parse("2/4") == Shard(index=2, count=4)


def test_nothing_of_the_machine_is_in_what_shards_write(parrot: Parrot, talks: Path, tmp_path: Path) -> None:
    run_shard(talks, tmp_path / "out", 1, 1)
    merge_shards(tmp_path / "out")
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    for secret in (str(tmp_path), os.uname().nodename, os.environ.get("USER", "/home/")):
        assert secret.encode() not in written


def test_the_commands_say_what_to_do_next(parrot: Parrot, talks: Path, tmp_path: Path) -> None:
    from iwsltpack.building.pipeline import build_artifact
    from iwsltpack.building.recipes import load_recipe
    from iwsltpack.building.request import BuildRequest

    build_artifact(BuildRequest(MINIATURE, tmp_path / "fp16", load_recipe("fp16"), "zstd"))
    app = typer.Typer()
    app.command("decode")(with_options(decode_command.command))
    app.command("merge")(with_options(merge_command.command))
    output = tmp_path / "out"
    common = ["decode", talks, "--artifact", tmp_path / "fp16", "-o", output, "--device", "cpu"]
    results = [
        CliRunner().invoke(app, [str(part) for part in [*common, "--batch-size", 2, "--shard", f"{index}/2"]])
        for index in (1, 2)
    ]
    assert [result.exit_code for result in results] == [0, 0], results
    assert results[0].stdout == f"{output}/shards/1-of-2/journal.jsonl\n"
    assert f"when the other shards are done, too: iwsltpack merge {output}" in results[0].stderr
    assert f"every shard is done; now: iwsltpack merge {output}" in results[1].stderr
    merged = CliRunner().invoke(app, ["merge", str(output)])
    assert (merged.exit_code, merged.stdout) == (0, f"{output}/talks.en-zh.txt\n"), merged
    assert "talks: 10 lines" in merged.stderr


COMMAND = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from inference_fixtures import *
from iwsltpack.cluster.shards import Shard
from iwsltpack.decoding.decode import decode
options = DecodeOptions(device="cpu", batch_size=2, max_new_tokens=8)
shard = Shard.parse(sys.argv[3])
asked = run_request(Path(sys.argv[1]), MINIATURE, Path(sys.argv[2]), options, shard=shard)
decode(asked, source=CheckpointSource(MINIATURE))
"""


def start(talks: Path, output: Path, shard: str) -> Any:
    command = [sys.executable, "-c", COMMAND, str(talks), str(output), shard, str(Path(__file__).parent)]
    return warm.start(command)


@pytest.mark.slow
def test_two_shards_at_the_same_time_one_killed_and_run_again(talks: Path, tmp_path: Path) -> None:
    (alone,) = whole(talks, tmp_path / "alone")
    output = tmp_path / "out"
    victim, other = start(talks, output, "1/2"), start(talks, output, "2/2")
    journal = shard_journal(output, Shard(index=1, count=2))
    with victim, other:
        until = time.monotonic() + 120
        while victim.poll() is None and time.monotonic() < until:
            if journal.exists() and journal.read_bytes().count(b'"piece"') > 0:
                victim.kill()
            time.sleep(0.005)
        assert victim.wait() == -signal.SIGKILL
        with pytest.raises(ValidationFailed, match="shard 1/2 stopped"):
            merge_shards(output)
        assert other.wait() == 0
    with start(talks, output, "1/2") as again:
        assert again.wait() == 0
    (done,) = merge_shards(output)
    assert text_of(done) == text_of(alone)
    assert sorted(s.worker or "" for s in done.run.sessions) == ["1/2", "1/2", "2/2"]


def test_a_shard_of_another_artifact_is_refused(parrot: Parrot, talks: Path, tmp_path: Path) -> None:
    run_shard(talks, tmp_path / "out", 1, 2)
    asked = run_request(talks, MINIATURE, tmp_path / "out", settings({}), shard=Shard(index=2, count=2))
    with pytest.raises(UsageError, match="artifact = "):
        decode(asked, source=of_another_artifact(SOURCE))
