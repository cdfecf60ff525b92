"""Items on workers: all done once, whatever dies; the ones that kill are named; errors arrive as they were raised."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from conftest import REPOSITORY

from iwsltpack.cluster import connection, local, shared, versions, worker
from iwsltpack.cluster.connection import connect
from iwsltpack.cluster.items import Lost, run_items
from iwsltpack.cluster.shards import Shard, deal
from iwsltpack.cluster.shared import check_shared
from iwsltpack.errors import (
    InputError,
    MissingDependency,
    Problem,
    ResourceError,
    UsageError,
    ValidationFailed,
)

POISON = (7, 8)
PROBLEMS = [Problem(rule="a.b", message="m" * 40, line=line) for line in range(1000)]
"""More than dask lets an error say."""


def square(number: int) -> int:
    return number * number


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_on_poison(number: int) -> int:
    time.sleep(0.01)
    if number in POISON:
        die()
    return number


def die_the_first_time(marker: str, number: int) -> int:
    if number == 5 and not Path(marker).exists():
        Path(marker).touch()
        die()
    return number


def always_die(number: int) -> int:
    die()
    return number


def refuse(number: int) -> int:
    if number == 3:
        raise InputError("is odd", where="item 3", expected="even", got="odd", fix="add one")
    return number


def find_problems(number: int) -> int:
    raise ValidationFailed("wrong", PROBLEMS, where="here", fix="mend")


def fail_by_mistake(number: int) -> int:
    raise KeyError(number)


def load(folder: str) -> int:
    """Count the loadings in a folder: one file each."""
    descriptor, _ = tempfile.mkstemp(dir=folder, prefix=f"{os.getpid()}-")
    os.close(descriptor)
    time.sleep(0.05)
    return os.getpid()


def use_loaded(folder: str, key: str, number: int) -> int:
    return worker.keep("test", key, partial(load, folder))


def fail_to_load(number: int) -> int:
    def broken() -> int:
        raise InputError("no such model", where="model")

    return worker.keep("test", "broken", broken)


def device_of(number: int) -> tuple[str, str | None]:
    time.sleep(0.1)
    return worker.address(), os.environ.get(local.DEVICES_VARIABLE)


def collect(client: Any, function: Any, items: Any, **options: Any) -> tuple[dict[Any, Any], list[Lost[Any]]]:
    """Run items; every result must come once."""
    results: dict[Any, Any] = {}

    def done(item: Any, result: Any) -> None:
        assert item not in results
        results[item] = result

    return results, run_items(client, function, items, key=str, done=done, **options)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with connect("local:2") as opened:
        yield opened


def test_every_item_is_done_once_and_drawn_only_when_there_is_room(client: Any) -> None:
    drawn, finished, ahead = 0, 0, 0

    def items() -> Iterator[int]:
        nonlocal drawn, ahead
        for number in range(200):
            drawn += 1
            ahead = max(ahead, drawn - finished)
            yield number

    def done(item: int, result: int) -> None:
        nonlocal finished
        assert result == item * item
        finished += 1

    assert run_items(client, square, items(), key=str, done=done) == []
    assert finished == 200
    assert ahead <= 5  # two threads, one waiting at each worker, one at the door


def test_no_items_are_no_work(client: Any) -> None:
    assert collect(client, square, []) == ({}, [])


def test_a_killed_workers_items_are_run_again(client: Any, tmp_path: Path) -> None:
    results, lost = collect(client, partial(die_the_first_time, str(tmp_path / "marker")), range(30))
    assert (tmp_path / "marker").exists()
    assert lost == []
    assert results == {number: number for number in range(30)}


def test_a_worker_killed_from_outside_costs_nothing(client: Any) -> None:
    victim = next(iter(client.run(os.getpid).values()))
    killer = threading.Timer(0.2, os.kill, (victim, signal.SIGKILL))
    killer.start()
    results, lost = collect(client, partial(slowly, 0.02), range(60))
    killer.join()
    assert lost == []
    assert sorted(results) == list(range(60))
    assert victim not in client.run(os.getpid).values()


def slowly(seconds: float, number: int) -> int:
    time.sleep(seconds)
    return number


def test_items_that_kill_are_lost_alone(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iwsltpack.cluster.items.AHEAD", 5)
    results, lost = collect(client, die_on_poison, range(24))
    assert [entry.item for entry in lost] == list(POISON)
    assert all("killed its worker 2 times when tried alone" in entry.reason for entry in lost)
    assert sorted(results) == [number for number in range(24) if number not in POISON]


def die_among_others(number: int) -> int:
    time.sleep(0.1 if number == 2 else 0.6)
    if number == 2:
        die()
    return number


def test_those_at_work_beside_a_killer_are_not_blamed() -> None:
    # Four threads of one process: the others die with the killer as often as dask forgives, and are done all the same.
    with connect("local:1", threads=4) as client:
        results, lost = collect(client, die_among_others, range(5))
    assert [entry.item for entry in lost] == [2]
    assert sorted(results) == [0, 1, 3, 4]


def test_workers_that_die_of_everything_end_the_run(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iwsltpack.cluster.items.HOPELESS", 2)
    with pytest.raises(ResourceError, match="workers die whatever they are given"):
        collect(client, always_die, range(1000))


def test_an_error_of_ours_arrives_as_it_was_raised(client: Any) -> None:
    with pytest.raises(InputError) as caught:
        collect(client, refuse, range(1000))
    assert vars(caught.value) == vars(
        InputError("is odd", where="item 3", expected="even", got="odd", fix="add one")
    )
    with pytest.raises(ValidationFailed) as failed:
        collect(client, find_problems, range(3))
    assert failed.value.problems == PROBLEMS
    assert str(failed.value) == str(ValidationFailed("wrong", PROBLEMS, where="here", fix="mend"))


def test_any_other_error_arrives_too(client: Any) -> None:
    with pytest.raises(KeyError, match="0"):
        collect(client, fail_by_mistake, [0])


def test_an_error_in_the_client_cancels_what_is_left(client: Any, tmp_path: Path) -> None:
    def full(item: int, result: int) -> None:
        raise ResourceError("no space left to write")

    with pytest.raises(ResourceError, match="no space left"):
        run_items(client, square, range(10_000), key=str, done=full)
    assert collect(client, square, range(3)) == ({0: 0, 1: 1, 2: 4}, [])


def test_what_is_heavy_is_loaded_once_in_each_process(client: Any, tmp_path: Path) -> None:
    results, _ = collect(client, partial(use_loaded, str(tmp_path), "one"), range(40))
    loadings = Counter(path.name.partition("-")[0] for path in tmp_path.iterdir())
    assert loadings == {str(process): 1 for process in results.values()}
    collect(client, partial(use_loaded, str(tmp_path), "two"), range(4))
    assert len(list(tmp_path.iterdir())) > len(loadings)
    worker.release(client, "test")
    assert set(client.run(kept).values()) == {0}


def kept() -> int:
    return len(worker._kept)


def test_what_cannot_be_loaded_is_told_as_itself(client: Any) -> None:
    with pytest.raises(InputError, match="model: no such model"):
        collect(client, fail_to_load, range(5))


def test_outside_of_a_cluster_an_item_knows_it() -> None:
    assert worker.address() == "this process"


def test_a_worker_of_another_version_is_refused(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    versions.check_workers(client)
    theirs = versions.installed()
    monkeypatch.setattr(versions, "installed", lambda *_: {**theirs, "numpy": "9.9", "iwsltpack": "7.0"})
    message = r"(?s)worker tcp://.*: a worker has other versions.*expected: iwsltpack 7.0, numpy 9.9"
    with pytest.raises(UsageError, match=message):
        versions.check_workers(client)
    # As one that joins later: its first item tells.
    with pytest.raises(UsageError, match=message):
        collect(client, square, range(3))


def test_a_shared_folder_is_recognised_and_left_clean(client: Any, tmp_path: Path) -> None:
    check_shared(client, tmp_path)
    assert list(tmp_path.iterdir()) == []


class Elsewhere:
    """A client whose only worker sees the folder under another name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, function: Any, probe: str, token: str, **_: Any) -> dict[str, str]:
        return {"tcp://10.0.0.7:1": function(str(self.folder / Path(probe).name), token)}


def test_a_folder_that_is_not_shared_is_told_with_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "PAUSE_S", 0.0)
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    client: Any = Elsewhere(there)
    with pytest.raises(InputError, match=r"(?s)here: a worker does not share.*10\.0\.0\.7:1: no such folder"):
        check_shared(client, here)
    there.mkdir()
    with pytest.raises(InputError, match="another folder of the same name there"):
        check_shared(client, here)

    def only_reads(name: str, token: str) -> str:
        return f"{shared.PROBE}{token}-nowhere"

    monkeypatch.setattr(shared, "_answer", only_reads)
    with pytest.raises(InputError, match="a worker does not share this folder"):
        check_shared(client, here)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    "address", ["", "nonsense", "host", "local:0", "local:x", "local:", "a b:1", "tcp://\u202eabc:1"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match=r"not the address of a cluster|not a number of local workers"):
        connection.check_address(address)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingDependency, match=r"pip install '\.\[dask\]'"):
        connection.check_address("local")


def test_a_scheduler_file_that_is_none_is_told(tmp_path: Path) -> None:
    path = tmp_path / "scheduler.json"
    with pytest.raises(InputError, match="no such scheduler file"), connect(str(path)):
        pass
    path.write_text("[]")
    with pytest.raises(InputError, match="not a dask scheduler file"), connect(str(path)):
        pass


def test_a_scheduler_that_does_not_answer_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "CONNECT_S", 0.5)
    started = time.monotonic()
    with (
        pytest.raises(ResourceError, match=r"127\.0\.0\.1:1: no dask scheduler answers"),
        connect("127.0.0.1:1"),
    ):
        pass
    assert time.monotonic() - started < 10


def dask(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments, "--no-dashboard"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"},
    )  # fmt: skip


def test_a_running_cluster_without_workers_then_with_them_then_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "scheduler.json"
    scheduler = dask("scheduler", "--port", "0", "--host", "127.0.0.1", "--scheduler-file", str(file))
    processes = [scheduler]
    try:
        while not file.exists():
            assert scheduler.poll() is None
            time.sleep(0.05)
        with monkeypatch.context() as hasty:
            hasty.setattr("iwsltpack.cluster.connection.PATIENCE_S", 0.3)
            error = pytest.raises(ResourceError, match="the cluster has had no worker for 0 seconds")
            with error, connect(str(file)):
                pass
        options = ("--nthreads", "2", "--no-nanny", "--local-directory", str(tmp_path / "scratch"))
        processes.append(dask("worker", "--scheduler-file", str(file), *options))
        with connect(json.loads(file.read_text())["address"].removeprefix("tcp://")) as client:
            assert collect(client, square, range(20)) == ({n: n * n for n in range(20)}, [])
            # Without a nanny a worker that was killed does not come back.
            with monkeypatch.context() as hasty:
                hasty.setattr("iwsltpack.cluster.connection.PATIENCE_S", 1.0)
                with pytest.raises(ResourceError, match="the cluster has had no worker for"):
                    collect(client, die_on_poison, range(7, 9))
            processes.append(dask("worker", "--scheduler-file", str(file), *options))

            def end(item: int, result: int) -> None:
                if item == 5:
                    scheduler.kill()

            with pytest.raises(ResourceError, match="the dask scheduler is gone"):
                run_items(client, partial(slowly, 0.05), range(1000), key=str, done=end)
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


def test_each_worker_sees_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "visible_gpus", lambda: ["GPU-a", "GPU-b"])
    with connect("local", gpus=True) as client:
        results, _ = collect(client, device_of, range(12))
    assert set(dict(results.values()).values()) == {"GPU-a", "GPU-b"}
    assert len(dict(results.values())) == 2


def test_visible_gpus_are_those_the_variable_names(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv(local.DEVICES_VARIABLE, raising=False)
    assert local.visible_gpus() == ["0", "1"]
    monkeypatch.setenv(local.DEVICES_VARIABLE, "3, 5")
    assert local.visible_gpus() == ["3", "5"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert local.visible_gpus() == []


SCRIPT = """
import os, tempfile
import psutil
from test_cluster import collect, die_on_poison
from iwsltpack.cluster.connection import connect
if __name__ == "__main__":
    before = dict(os.environ)
    with connect("local:2") as client:
        results, lost = collect(client, die_on_poison, range(8))
        found = psutil.Process().net_connections()
        listening = [entry.laddr.ip for entry in found if entry.status == psutil.CONN_LISTEN]
    assert dict(os.environ) == before
    print(len(results), len(lost), os.listdir(tempfile.gettempdir()), listening)
"""


def test_a_local_cluster_is_silent_and_leaves_nothing(tmp_path: Path) -> None:
    script, temporary = tmp_path / "script.py", tmp_path / "tmp"
    script.write_text(SCRIPT)
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}", "TMPDIR": str(temporary)},
    )  # fmt: skip
    assert done.stderr == ""
    # The scheduler and a nanny for each worker; no dashboard.
    assert done.stdout == f"7 1 [] {['127.0.0.1'] * 3}\n"


def test_a_worker_being_started_again_is_not_told_to_end_halfway(monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import SpecCluster

    at_the_end: list[set[int]] = []
    leave = SpecCluster.__exit__

    def look(cluster: Any, *error: Any) -> Any:
        at_the_end.append({worker.pid for worker in cluster.scheduler.workers.values()})
        return leave(cluster, *error)

    monkeypatch.setattr(SpecCluster, "__exit__", look)
    with connect("local:2") as client:
        client.wait_for_workers(2)
        living, killed = client.run(os.getpid).values()
        os.kill(killed, signal.SIGKILL)
        # Until its death is known there is nothing to wait for.
        while killed in {worker.pid for worker in client.cluster.scheduler.workers.values()}:
            time.sleep(0.01)
    assert len(at_the_end[0]) == 2
    assert living in at_the_end[0]
    assert killed not in at_the_end[0]


def test_a_worker_that_does_not_come_back_does_not_keep_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(cluster: Any) -> None:
        await asyncio.sleep(3600)

    monkeypatch.setattr(local, "_all_back", never)
    monkeypatch.setattr(local, "BACK_S", 0.1)
    with connect("local:1") as client:
        (worker,) = client.run(os.getpid).values()
    assert not psutil.pid_exists(worker)


@pytest.mark.parametrize("text", ["", "1", "0/4", "5/4", "1/0", "-1/4", "1/4/2", "a/b", "1/100001"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"not a shard|there is no shard"):
        Shard.parse(text)


def test_a_shard_is_read_as_it_is_written() -> None:
    assert Shard.parse(" 2/4 ") == Shard(index=2, count=4)
    assert str(Shard(index=2, count=4)) == "2/4"


def test_dealing_balances_and_does_not_depend_on_the_order() -> None:
    sizes = {f"t{number}": (number * 7919) % 1000 + 1 for number in range(300)}
    dealt = deal(sizes, 7)
    assert sorted(name for names in dealt for name in names) == sorted(sizes)
    loads = [sum(sizes[name] for name in names) for names in dealt]
    assert max(loads) <= 1.02 * min(loads)
    assert deal(dict(reversed(sizes.items())), 7) == dealt
    assert [len(names) for names in deal({"a": 1}, 3)] == [1, 0, 0]


def test_a_result_that_dies_with_its_worker_again_and_again_is_lost_and_no_error() -> None:
    """The future said it was finished; then its worker died, and the ones that ran it again."""
    from distributed import KilledWorker

    from iwsltpack.cluster.items import _Run
    from iwsltpack.system.progress import SILENT

    class Gone:
        key, status = "k", "finished"
        error = KilledWorker("k", SimpleNamespace(address="tcp://w:1"), 1)  # type: ignore[no-untyped-call]

        def result(self, timeout: float) -> object:
            self.status = "error"
            raise self.error

        def exception(self) -> Exception:
            return self.error

        def release(self) -> None: ...

    told = SimpleNamespace(scheduler_info=lambda **_: {"address": "a", "n_workers": 1, "total_threads": 1})
    run = _Run(client=told, function=str, key=str, done=lambda *_: None, packages=(), progress=SILENT)
    gone = Gone()
    run._flying["k"] = (3, "item", gone)
    run._landed.put(gone)
    assert run._collect() == [(3, "item", "killed its worker 2 times when tried alone, lastly tcp://w:1")]
    assert not run._flying
