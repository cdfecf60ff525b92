"""One run decoded by the workers of a cluster: the bytes of one process, whatever workers die of."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import deadly_tasks as deadly
import pytest
import torch
import typer
from http_store import HttpStore
from inference_fixtures import MINIATURE, RATE, Told, journal_lines, miniature, run_request, tone, write_tone
from typer.testing import CliRunner

from iwsltpack.cli import decode as decode_command
from iwsltpack.cli.common import with_options
from iwsltpack.cluster import local
from iwsltpack.cluster.connection import connect
from iwsltpack.cluster.items import Lost
from iwsltpack.cluster.local import cores, local_cluster
from iwsltpack.cluster.shared import check_readable
from iwsltpack.decoding import dask
from iwsltpack.decoding import generation as generation_module
from iwsltpack.decoding.dask_messages import BatchResult, BatchTask, WorkerSetup
from iwsltpack.decoding.dask_model import share_of_cores
from iwsltpack.decoding.dask_worker import translate_task
from iwsltpack.decoding.decode import decode
from iwsltpack.decoding.generation import InputBuilder, Translator
from iwsltpack.decoding.options import DecodeOptions, default_prompt
from iwsltpack.decoding.record import DecodedSet
from iwsltpack.errors import InputError, ResourceError, UsageError, ValidationFailed
from iwsltpack.system.progress import SILENT, Reporter

LENGTHS = (1.1, 0.3, 2.0, 0.7, 1.5, 0.5, 0.9, 1.3, 1.8, 0.4)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As each of two workers on two cores has; more would only get into each other's way."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of two workers, which the tests share: starting them costs more than decoding."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IWSLTPACK_CACHE", str(tmp_path_factory.mktemp("cache")))
        # A worker takes long to come back: let one death be enough to try an item alone.
        patch.setattr(local, "DEATHS_ALLOWED", 0)
        with local_cluster(2, threads=2) as started:
            yield started.scheduler_address


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from iwsltpack.building.pipeline import build_artifact
    from iwsltpack.building.recipes import load_recipe
    from iwsltpack.building.request import BuildRequest

    folder = tmp_path_factory.mktemp("artifact") / "q3"
    build_artifact(BuildRequest(MINIATURE, folder, load_recipe("selected-q3"), "zstd"))
    return folder


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "talks"
    for number, seconds in enumerate(LENGTHS, 1):
        write_tone(folder / f"{number}.wav", seconds, 200.0 + 40 * number)
    return folder


def settings(**options: Any) -> DecodeOptions:
    return DecodeOptions(**{"device": "cpu", "batch_size": 2, "max_new_tokens": 8, **options})


def decode_on(
    cluster: str | None,
    talks: Path,
    artifact: Path | str,
    output: Path,
    options: DecodeOptions,
    reporter: Reporter = SILENT,
    **more: Any,
) -> list[DecodedSet]:
    return decode(run_request(talks, artifact, output, options, cluster=cluster, **more), reporter)


@pytest.fixture(scope="module")
def alone(artifact: Path, talks: Path, tmp_path_factory: pytest.TempPathFactory) -> DecodedSet:
    """What one process makes of it."""
    (done,) = decode_on(None, talks, artifact, tmp_path_factory.mktemp("alone"), settings())
    assert len(set(text_of(done).splitlines())) > 1
    return done


def text_of(done: DecodedSet) -> bytes:
    return (done.folder / done.run.output.path).read_bytes()


def keys(folder: Path) -> list[tuple[int, int]]:
    records = [record for record in journal_lines(folder) if record.get("kind") == "piece"]
    return [(record["segment"], record["part"]) for record in records]


def expect_whole(done: DecodedSet, alone: DecodedSet) -> None:
    """The bytes of one process, every piece journaled, none twice."""
    assert text_of(done) == text_of(alone)
    assert sorted(keys(done.folder)) == [(index, 0) for index in range(len(LENGTHS))]
    assert sum(session.pieces for session in done.run.sessions) == len(LENGTHS)


class Swapper(Reporter):
    """Puts one recording in the place of another when decoding begins."""

    def __init__(self, taken: Path, replaced: Path) -> None:
        self.taken, self.replaced = taken, replaced

    def start(self, description: str, total: float, unit: Any = "items") -> None:
        if description.startswith("decoding"):
            self.taken.replace(self.replaced)


def test_a_worker_notices_a_recording_in_the_place_of_another(
    cluster: str, artifact: Path, tmp_path: Path
) -> None:
    first, second = (write_tone(tmp_path / "talks" / f"{n}.wav", 0.5, 300.0 * n) for n in (1, 2))
    with pytest.raises(InputError, match="the recording changed while it was being decoded"):
        decode_on(cluster, tmp_path / "talks", artifact, tmp_path / "out", settings(), Swapper(second, first))
    assert not (tmp_path / "out" / "run.json").exists()


class Stopper(Reporter):
    """Stops the run when so many segments are done."""

    def __init__(self, after: int) -> None:
        self.left = after

    def start(self, description: str, total: float, unit: Any = "items") -> None:
        self.counting = description.startswith("decoding")

    def advance(self, amount: float = 1) -> None:
        self.left -= int(amount) if self.counting else 0
        if self.left <= 0:
            raise KeyboardInterrupt


class Counted(Reporter):
    """Remembers stages and amounts."""

    def __init__(self) -> None:
        self.stages: list[list[Any]] = []

    def start(self, description: str, total: float, unit: Any = "items") -> None:
        self.stages.append([description, total, 0])

    def advance(self, amount: float = 1) -> None:
        self.stages[-1][2] += amount


def test_two_workers_write_the_bytes_of_one_process(
    cluster: str, artifact: Path, talks: Path, alone: DecodedSet, tmp_path: Path
) -> None:
    seen = Counted()
    (done,) = decode_on(cluster, talks, artifact, tmp_path / "out", settings(), seen)
    expect_whole(done, alone)
    assert seen.stages[-1] == ["decoding talks", 10, 10]
    assert {session.worker for session in done.run.sessions} == {"dask-1", "dask-2"}
    assert all(session.pieces and session.seconds > 0 for session in done.run.sessions)
    assert all(session.peak_host_bytes > 50e6 for session in done.run.sessions)
    assert done.run.settings == alone.run.settings
    assert (done.run.test_set, done.run.artifact) == (alone.run.test_set, alone.run.artifact)
    again = decode_on(cluster, talks, artifact, tmp_path / "out", settings())[0]
    assert again.run == done.run
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    for secret in (str(tmp_path), str(talks), os.uname().nodename, cluster, "127.0.0.1"):
        assert secret.encode() not in written


def test_several_test_sets_each_with_its_own_settings(
    in_process: None, artifact: Path, tmp_path: Path
) -> None:
    for name in ("news", "talks"):
        for number in (1, 2, 3):
            write_tone(tmp_path / "all" / name / f"{number}.wav", 0.3 * number, 150.0 * number)
    per_set = {"news": {"prompt": "Translate this news.", "max_new_tokens": 4}}
    expected = decode_on(None, tmp_path / "all", artifact, tmp_path / "alone", settings(), per_set=per_set)
    found = decode_on("local", tmp_path / "all", artifact, tmp_path / "out", settings(), per_set=per_set)
    assert [text_of(done) for done in found] == [text_of(done) for done in expected]
    assert [done.run.settings.prompt for done in found] == ["Translate this news.", default_prompt("en-zh")]


def test_it_goes_on_in_every_direction(
    cluster: str, artifact: Path, talks: Path, alone: DecodedSet, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        decode_on(cluster, talks, artifact, output, settings(), Stopper(2))
    first = keys(output)
    assert 0 < len(first) < 10
    with pytest.raises(KeyboardInterrupt):
        decode_on(None, talks, artifact, output, settings(), Stopper(2))
    assert len(first) < len(keys(output)) < 10
    told: list[str] = []
    (done,) = decode_on(cluster, talks, artifact, output, settings(), reporter=Told(told))
    expect_whole(done, alone)
    assert f"talks: {len(first) + 2} of 10 pieces were decoded before; going on" in told


class Dead(Exception):
    """What a killed worker looks like from within one process."""


class OneProcess:
    """In place of a client: this process is the only worker."""

    status = "running"

    def run(self, function: Any, *arguments: Any, on_error: str = "raise") -> dict[str, Any]:
        return {"inproc://1": function(*arguments)}

    def scheduler_info(self, n_workers: int = 5) -> dict[str, Any]:
        return {"workers": {f"inproc:{number}": {} for number in range(cores())}}


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a cluster be this process, where an item that raises `Dead` is lost."""

    @contextmanager
    def connected(address: str, **options: Any) -> Iterator[OneProcess]:
        yield OneProcess()

    def run(client: Any, function: Any, items: Any, *, done: Any, **options: Any) -> list[Lost[BatchTask]]:
        lost = []
        for item in items:
            try:
                done(item, function(item))
            except Dead:
                lost.append(Lost(item=item, reason="killed its worker"))
        return lost

    monkeypatch.setattr(dask, "connect", connected)
    monkeypatch.setattr(dask, "run_items", run)


def dies_of_the_killer(setup: WorkerSetup, task: BatchTask) -> BatchResult:
    if any(piece.segment == deadly.KILLER for piece in task.batch):
        raise Dead
    return translate_task(setup, task)


@pytest.fixture
def workers_do(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    return lambda function: monkeypatch.setattr(dask, "translate_task", function)


def test_a_segment_that_was_given_up_has_a_placeholder_until_it_is_decoded(
    in_process: None, artifact: Path, talks: Path, alone: DecodedSet, tmp_path: Path, workers_do: Any
) -> None:
    output = tmp_path / "out"
    workers_do(dies_of_the_killer)
    told: list[str] = []
    with pytest.raises(ValidationFailed, match="1 segments kill their workers"):
        decode_on("local", talks, artifact, output, settings())
    keeping = settings(on_bad_audio="placeholder")
    (given_up,) = decode_on("local", talks, artifact, output, keeping, reporter=Told(told))
    lines, expected = text_of(given_up).decode().split("\n"), text_of(alone).decode().split("\n")
    assert lines == [*expected[: deadly.KILLER], "…", *expected[deadly.KILLER + 1 :]]
    assert given_up.run.segments[deadly.KILLER].finish == "placeholder"
    assert given_up.run.summary.placeholders == 1
    assert "1 segments get the placeholder: they kill their workers" in told
    assert decode_on("local", talks, artifact, output, keeping)[0].run == given_up.run
    (mended,) = decode_on(None, talks, artifact, output, settings())
    assert text_of(mended) == text_of(alone)
    assert mended.run.summary.placeholders == 0


def test_out_of_memory_on_a_worker_halves_its_batches(
    in_process: None, artifact: Path, talks: Path, alone: DecodedSet, tmp_path: Path, workers_do: Any
) -> None:
    workers_do(deadly.short_of_memory)
    told: list[str] = []
    (done,) = decode_on("local", talks, artifact, tmp_path / "out", settings(), reporter=Told(told))
    expect_whole(done, alone)
    assert "dask-1: out of memory: going on with 1 pieces at once" in told


def test_another_artifact_at_the_same_place_is_refused(
    in_process: None, artifact: Path, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"sha256": "f" * 64}
    monkeypatch.setattr(dask, "WorkerSetup", lambda **fields: WorkerSetup(**fields | other))
    with pytest.raises(Exception, match="a worker finds another artifact at this place"):
        decode_on("local", talks, artifact, tmp_path / "out", settings())


def test_files_that_workers_do_not_see_are_named(cluster: str, tmp_path: Path) -> None:
    seen = tmp_path / "seen.wav"
    seen.write_bytes(b"1234")
    with connect(cluster) as client:
        check_readable(client, [seen])
        descriptor = os.open(seen, os.O_RDONLY)
        high = os.dup2(descriptor, 200)
        try:
            with pytest.raises(InputError, match="a worker does not see the same files") as caught:
                check_readable(client, [seen, Path(f"/proc/self/fd/{high}")])
        finally:
            os.close(high)
            os.close(descriptor)
    assert f"/proc/self/fd/{high}" in str(caught.value)


def test_workers_of_one_machine_share_its_cores_and_threads_do_not_change_the_text() -> None:
    assert share_of_cores({"": 2}) == max(1, cores() // 2)
    assert share_of_cores({"": 10_000}) == 1
    assert share_of_cores({"elsewhere": 4}) == cores()
    model, processor = miniature()
    builder, translator = InputBuilder(processor, default_prompt("en-zh")), Translator(model, processor)
    audio = [tone(seconds, 200 + 90 * seconds) for seconds in (0.4, 3.1, 6.9)]
    assert sum(samples.size for samples in audio) > 10 * RATE
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            found.append(translator.generate(builder.prepare(audio), 12))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_inputs_are_made_by_one_thread_at_a_time() -> None:
    _, processor = miniature()
    builder = InputBuilder(processor, default_prompt("en-zh"))
    held: list[bool] = []
    real = builder.processor

    def watch(**inputs: Any) -> Any:
        held.append(generation_module._one_at_a_time.locked())
        return real(**inputs)

    builder.processor = watch
    builder.prepare([tone(0.5)])
    assert held == [True]


def test_the_command_takes_a_cluster_and_refuses_a_shard_of_it(
    cluster: str, artifact: Path, talks: Path, alone: DecodedSet, tmp_path: Path
) -> None:
    app = typer.Typer()
    app.command()(with_options(decode_command.command))
    common = [talks, "--artifact", artifact, "-o", tmp_path / "out", "--device", "cpu", "--batch-size", 2]
    common += ["--max-new-tokens", 8, "--dask", cluster]
    result = CliRunner().invoke(app, [str(part) for part in [*common, "--shard", "1/2"]])
    assert isinstance(result.exception, UsageError)
    assert "--shard and --dask do not go together" in str(result.exception)
    result = CliRunner().invoke(app, [str(part) for part in common])
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path}/out/talks.en-zh.txt\n"), result
    assert (tmp_path / "out" / "talks.en-zh.txt").read_bytes() == text_of(alone)


# Last, because killed workers take long to come back.


def test_decoding_from_a_remote_artifact_survives_a_killed_worker(
    cluster: str, artifact: Path, talks: Path, alone: DecodedSet, tmp_path: Path, workers_do: Any
) -> None:
    workers_do(partial(deadly.kill_once, str(tmp_path / "mark")))
    with HttpStore(artifact) as store:
        (done,) = decode_on(cluster, talks, store.url, tmp_path / "out", settings())
        assert store.sent > 1e6
    assert (tmp_path / "mark").exists()
    expect_whole(done, alone)
    assert done.run.artifact == alone.run.artifact


def test_a_segment_that_kills_its_worker_fails_alone_and_is_named(
    cluster: str, artifact: Path, tmp_path: Path, workers_do: Any
) -> None:
    for number in range(1, 6):
        write_tone(tmp_path / "few" / f"{number}.wav", 0.2 * number)
    output = tmp_path / "out"
    workers_do(deadly.kill_always)
    told: list[str] = []
    with pytest.raises(ValidationFailed, match="1 segments kill their workers; all others are") as caught:
        decode_on(cluster, tmp_path / "few", artifact, output, settings(batch_size=4), reporter=Told(told))
    (problem,) = caught.value.problems
    assert (problem.rule, problem.path, problem.line) == ("decode.kills-worker", "5.wav", deadly.KILLER + 1)
    assert "segment 5: " in problem.message
    assert "--on-bad-audio placeholder" in str(caught.value)
    assert "workers die with few: segments 5, 4, 3, 2: going on with one at a time" in told
    assert sorted(keys(output)) == [(index, 0) for index in range(deadly.KILLER)]
    assert not (output / "run.json").exists()


def test_workers_that_die_whatever_they_are_given_are_told_from_bad_segments(
    cluster: str, artifact: Path, talks: Path, tmp_path: Path, workers_do: Any
) -> None:
    workers_do(deadly.kill_whatever)
    with pytest.raises(ResourceError, match="workers die while they load the model"):
        decode_on(
            cluster,
            talks,
            artifact,
            tmp_path / "out",
            settings(batch_size=16, on_bad_audio="placeholder"),
        )
    assert keys(tmp_path / "out") == []
