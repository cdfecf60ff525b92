"""Artifacts over plain HTTP: the same tensors as from a folder, each file once, all checked, no endless waiting."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import warm
from http_store import HttpStore, isolate
from warm import iwsltpack

from iwsltpack.artifact.integrity import verify_artifact
from iwsltpack.artifact.location import local_copy, locate
from iwsltpack.artifact.reader import open_artifact
from iwsltpack.artifact.sizes import measure
from iwsltpack.documents.names import MANIFEST_NAME
from iwsltpack.errors import (
    ArtifactError,
    InputError,
    MissingDependency,
    ResourceError,
    UsageError,
    ValidationFailed,
)
from iwsltpack.remote import failure, http, mirror
from iwsltpack.remote.failure import Failure, of_status, persist
from iwsltpack.system import fileio

GOLDEN = Path(__file__).parent / "golden" / "v1"
LAYER = "block.mlp.up_proj.weight"
CHUNK = f"weights.zarr/{LAYER}/c/0/0"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return isolate(monkeypatch, tmp_path)


@pytest.fixture
def store() -> Iterator[HttpStore]:
    with HttpStore(GOLDEN) as server:
        yield server


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[tuple[HttpStore, Path]]:
    """A store of a copy that a test may change."""
    shutil.copytree(GOLDEN / "zstd", tmp_path / "served" / "q")
    with HttpStore(tmp_path / "served") as server:
        yield server, tmp_path / "served" / "q"


def listed(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def leftovers(cache: Path) -> list[Path]:
    return list((cache / ".incoming").iterdir())


@pytest.mark.parametrize("coding", ["paper", "zstd", "pcodec"])
def test_every_tensor_is_bit_for_bit_the_local_one(store: HttpStore, coding: str) -> None:
    remote = open_artifact(f"{store.url}/{coding}")
    with np.load(GOLDEN / "expected.npz") as expected:
        assert remote.names() == sorted(expected.files)
        for name in expected.files:
            got = remote.tensor(name)
            assert got.dtype == expected[name].dtype
            assert got.tobytes() == expected[name].tobytes(), name
            if got.shape:
                assert remote.rows(name, 1, len(got)).tobytes() == expected[name][1:].tobytes()


@pytest.mark.parametrize("recipe", ["selected-q3", "prune20-q2"])
def test_a_whole_model_read_from_several_threads_is_the_local_one(
    built: Callable[..., Path], recipe: str
) -> None:
    folder = built(recipe, "zstd")
    local = open_artifact(folder)
    with HttpStore(folder.parent) as store:
        remote = open_artifact(f"{store.url}/{folder.name}")
        with ThreadPoolExecutor(6) as pool:
            got = dict(zip(remote.names(), pool.map(remote.tensor, remote.names()), strict=True))
        for name in local.names():
            assert got[name].tobytes() == local.tensor(name).tobytes(), name
        assert set(store.counts().values()) == {1}, "a file was fetched twice"


def test_opening_and_measuring_fetch_the_manifest_and_nothing_else(store: HttpStore) -> None:
    sizes = measure(f"{store.url}/zstd")
    assert store.requests == [f"zstd/{MANIFEST_NAME}"]
    assert sizes == measure(GOLDEN / "zstd")


def test_inspect_reads_one_file(built: Callable[..., Path]) -> None:
    folder = built("selected-q3", "zstd")
    with HttpStore(folder) as store:
        remote, local = (iwsltpack("inspect", where, "--json") for where in (store.url, str(folder)))
        assert store.requests == [MANIFEST_NAME]
        assert json.loads(remote.stdout) == json.loads(local.stdout)


def test_a_tensor_fetches_its_own_files_alone(store: HttpStore) -> None:
    remote = open_artifact(f"{store.url}/zstd")
    store.forget()
    remote.tensor(LAYER)
    assert sorted(store.requests) == [f"zstd/{CHUNK}", f"zstd/weights.zarr/{LAYER}/zarr.json"]
    remote.tensor(LAYER)
    assert len(store.requests) == 2, "what was fetched is fetched again"
    assert (
        remote.model_dir.joinpath("config.json").read_bytes()
        == (GOLDEN / "zstd" / "model" / "config.json").read_bytes()
    )
    assert store.requests[2:] == ["zstd/model/config.json"]
    assert remote.side_file("config.json") is not None
    assert remote.side_file("none.json") is None


def test_rows_fetch_the_chunks_they_lie_in_alone(built: Callable[..., Path], monkeypatch: Any) -> None:
    folder = built("selected-q3", "zstd")
    local = open_artifact(folder)
    entry = max(
        local.manifest.tensors, key=lambda tensor: len(tensor.shape) and tensor.shape[0] // tensor.chunk_rows
    )
    with HttpStore(folder) as store:
        remote = open_artifact(store.url)
        store.forget()
        got = remote.rows(entry.name, 0, 1)
        assert got.tobytes() == local.rows(entry.name, 0, 1).tobytes()
        assert len(store.requests) == 2


def test_chunks_of_a_tensor_come_several_at_a_time(tmp_path: Path, checkpoint: Callable[..., Path]) -> None:
    from iwsltpack.building.pipeline import build_artifact
    from iwsltpack.building.recipes import load_recipe
    from iwsltpack.building.request import BuildRequest

    source = checkpoint({"big.weight": np.zeros((8 * 32, 1 << 17), dtype=np.float16)})
    build_artifact(BuildRequest(source, tmp_path / "many", load_recipe("fp16"), "zstd"))
    with HttpStore(tmp_path / "many") as store:
        store.fail("/c/", times=None, delay=0.2)
        for read in (
            lambda opened: opened.tensor("big.weight"),
            lambda opened: opened.rows("big.weight", 0, 256),
        ):
            shutil.rmtree(os.environ["IWSLTPACK_CACHE"], ignore_errors=True)
            remote = open_artifact(store.url)
            store.forget()
            assert not read(remote).any()
            assert len(store.requests) == 9
            assert store.most_at_once >= 6


def test_what_is_expected_comes_while_the_reader_is_busy(built: Callable[..., Path]) -> None:
    folder = built("selected-q3", "zstd")
    with HttpStore(folder) as store:
        store.fail("", times=None, delay=0.02)
        remote = open_artifact(store.url)
        remote.expect(remote.names())
        for name in remote.names():
            remote.tensor(name)
        assert set(store.counts().values()) == {1}, "a file was fetched twice"
        # One tensor alone is two or three files.
        assert 6 <= store.most_at_once <= mirror.SLOTS


def test_what_is_expected_and_broken_is_told_by_who_needs_it(store: HttpStore) -> None:
    store.fail(CHUNK, times=None, status=404)
    remote = open_artifact(f"{store.url}/zstd")
    remote.expect(remote.names())
    with pytest.raises(ArtifactError, match="missing at its source"):
        remote.tensor(LAYER)
    assert remote.tensor("norm.weight").shape == (3,)
    store.heal()
    assert remote.tensor(LAYER).shape == (24, 10)
    open_artifact(GOLDEN / "zstd").expect([LAYER])


def test_the_cache_is_laid_out_like_the_artifact_and_used_again(store: HttpStore, cache: Path) -> None:
    folder = local_copy(f"{store.url}/zstd")
    assert folder == cache / locate(GOLDEN / "zstd").manifest.sha256
    assert listed(folder) == listed(GOLDEN / "zstd")
    assert leftovers(cache) == []
    assert verify_artifact(folder) == []
    store.forget()
    again = open_artifact(f"{store.url}/zstd")
    for name in again.names():
        again.tensor(name)
    assert again.model_dir.is_dir()
    assert local_copy(f"{store.url}/zstd") == folder
    assert set(store.requests) == {f"zstd/{MANIFEST_NAME}"}


def test_a_folder_that_lost_files_is_completed(store: HttpStore) -> None:
    folder = local_copy(f"{store.url}/zstd")
    (folder / CHUNK).unlink()
    (folder / "model" / "config.json").write_bytes(b"{")
    store.forget()
    remote = open_artifact(f"{store.url}/zstd")
    remote.tensor(LAYER)
    assert remote.model_dir.is_dir()
    assert sorted(store.requests) == [f"zstd/{MANIFEST_NAME}", "zstd/model/config.json", f"zstd/{CHUNK}"]
    assert listed(folder) == listed(GOLDEN / "zstd")


def test_verify_mends_what_was_damaged_in_the_cache(store: HttpStore) -> None:
    folder = local_copy(f"{store.url}/zstd")
    path = folder / CHUNK
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    assert len(verify_artifact(folder)) == 1
    assert verify_artifact(f"{store.url}/zstd") == []
    assert listed(folder) == listed(GOLDEN / "zstd")


def test_a_replaced_artifact_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    served = tmp_path / "served"
    with HttpStore(served) as store:
        shutil.copytree(GOLDEN / "zstd", served)
        first = open_artifact(store.url)
        shutil.rmtree(served)
        shutil.copytree(GOLDEN / "pcodec", served)
        second = open_artifact(store.url)
        assert first.path != second.path
        assert second.tensor(LAYER).tobytes() == open_artifact(GOLDEN / "pcodec").tensor(LAYER).tobytes()


# What goes wrong, and is mended by another try.


@pytest.mark.parametrize(
    "trouble",
    [
        {"status": 500},
        {"status": 503, "times": 4},
        {"status": 429, "headers": {"Retry-After": "0"}},
        {"cut": 20},
        {"cut": 0},
        {"reset": True},
        {"flip": 7},
        {"shorten": 3},
        {"pad": 3},
        {"flip": 7, "times": 2},
    ],
)
def test_a_file_that_failed_is_asked_for_again(
    store: HttpStore, cache: Path, trouble: dict[str, Any]
) -> None:
    remote = open_artifact(f"{store.url}/zstd")
    store.fail(CHUNK, **trouble)
    store.forget()
    assert remote.tensor(LAYER).tobytes() == open_artifact(GOLDEN / "zstd").tensor(LAYER).tobytes()
    assert store.counts()[f"zstd/{CHUNK}"] == trouble.get("times", 1) + 1
    assert (remote.path / CHUNK).read_bytes() == (GOLDEN / "zstd" / CHUNK).read_bytes()
    assert leftovers(cache) == []


@pytest.mark.parametrize("trouble", [{"status": 502}, {"cut": 30}, {"reset": True}])
def test_a_manifest_that_failed_is_asked_for_again(store: HttpStore, trouble: dict[str, Any]) -> None:
    store.fail(MANIFEST_NAME, **trouble)
    assert locate(f"{store.url}/zstd").manifest == locate(GOLDEN / "zstd").manifest
    assert len(store.requests) == 2


def test_a_server_asks_for_time_and_gets_it() -> None:
    waited: list[float] = []

    class Clock(failure.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout or 0.0)
            return False

    answers = [
        of_status(429, {"Retry-After": "7"}),
        of_status(429, {"RateLimit": '"resolvers";r=0;t=41', "Retry-After": "1"}),
        of_status(503, {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}),
    ]

    def action() -> str:
        if answers:
            raise answers.pop(0)
        return "done"

    assert persist(action, patient=True, stop=Clock()) == "done"
    assert waited[:2] == [7.0, 42.0]
    assert waited[2] < 1.0


@pytest.mark.parametrize(("asked", "waits"), [(99999, 0), (200, 1), (330, 1)])
def test_a_server_that_asks_for_more_time_than_there_is_gets_none(asked: int, waits: int) -> None:
    waited: list[float] = []

    class Clock(failure.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waited.append(timeout or 0.0)
            return False

    def action() -> None:
        raise of_status(429, {"Retry-After": str(asked)})

    with pytest.raises(Failure) as caught:
        persist(action, patient=True, stop=Clock())
    assert waited == [asked] * waits and sum(waited) <= failure.PATIENCE_S
    told = failure.as_error(caught.value, "http://host/q")
    assert f"wait {asked} s, then run the same command again" in str(told)


# What goes wrong for good: one clear error, nothing half-written.


@pytest.mark.parametrize(
    ("trouble", "kind", "complaint", "asked"),
    [
        ({"status": 404}, ArtifactError, "a file of the artifact is missing at its source", 1),
        ({"status": 403}, InputError, "not allowed to read this", 1),
        ({"status": 400}, ResourceError, "the store refuses the request", 1),
        ({"status": 500}, ResourceError, "the store keeps failing", 5),
        ({"cut": 20}, ResourceError, "the store keeps failing", 5),
        ({"reset": True}, ResourceError, "the store keeps failing", 5),
        ({"flip": 7}, ArtifactError, "damaged, at its source or on its way", 3),
        ({"shorten": 1}, ArtifactError, "damaged, at its source or on its way", 3),
        ({"pad": 1}, ArtifactError, "damaged, at its source or on its way", 3),
        ({"pad": 9_000_000}, ArtifactError, "damaged, at its source or on its way", 3),
    ],
)
def test_a_file_that_cannot_be_had_is_one_clear_error(
    store: HttpStore,
    cache: Path,
    trouble: dict[str, Any],
    kind: type[Exception],
    complaint: str,
    asked: int,
) -> None:
    remote = open_artifact(f"{store.url}/zstd")
    store.fail(CHUNK, times=None, **trouble)
    store.forget()
    with pytest.raises(kind, match=complaint) as error:
        remote.tensor(LAYER)
    assert f"{store.url}/zstd/{CHUNK}" in str(error.value)
    assert store.counts()[f"zstd/{CHUNK}"] == asked
    assert not (remote.path / CHUNK).exists()
    assert leftovers(cache) == []
    store.heal()
    assert remote.tensor(LAYER).shape == (24, 10)


@pytest.mark.parametrize(
    ("status", "kind", "complaint"),
    [
        (404, ArtifactError, "no artifact here"),
        (410, ArtifactError, "no artifact here"),
        (401, InputError, "not allowed to read this"),
        (403, InputError, "not allowed to read this"),
        (418, ResourceError, "the store refuses the request"),
        (500, ResourceError, "the store keeps failing"),
    ],
)
def test_a_manifest_that_cannot_be_had_is_one_clear_error(
    store: HttpStore, status: int, kind: type[Exception], complaint: str
) -> None:
    store.fail(MANIFEST_NAME, times=None, status=status)
    with pytest.raises(kind, match=complaint) as error:
        locate(f"{store.url}/zstd")
    assert f"HTTP {status}" in str(error.value)
    assert error.value.__cause__ is None
    assert error.value.__context__ is None


def test_every_file_damaged_at_its_source_is_named_by_verify(store: HttpStore) -> None:
    store.fail("up_proj.weight/c/", times=None, flip=0)
    store.fail("norm.weight/zarr.json", times=None, status=404)
    problems = verify_artifact(f"{store.url}/zstd")
    assert [(problem.rule, problem.path) for problem in problems] == [
        ("artifact.source", CHUNK),
        ("artifact.source", "weights.zarr/norm.weight/zarr.json"),
    ]
    with pytest.raises(ValidationFailed, match="damaged at its source"):
        local_copy(f"{store.url}/zstd")
    told = iwsltpack("verify", f"{store.url}/zstd")
    assert told.returncode == ValidationFailed.exit_code
    assert CHUNK in told.stderr


def test_a_page_in_place_of_a_manifest_is_refused(mine: tuple[HttpStore, Path]) -> None:
    store, folder = mine
    (folder / MANIFEST_NAME).write_text("<html>Please log in</html>")
    with pytest.raises(InputError, match="not valid JSON") as error:
        locate(f"{store.url}/q")
    assert f"{store.url}/q/{MANIFEST_NAME}" in str(error.value)


def test_an_altered_manifest_is_refused(mine: tuple[HttpStore, Path]) -> None:
    store, folder = mine
    path = folder / MANIFEST_NAME
    path.write_bytes(path.read_bytes().replace(b'"zstd"', b'"pcodec"'))
    with pytest.raises(ArtifactError, match="was altered"):
        locate(f"{store.url}/q")


def test_a_manifest_larger_than_any_is_cut_off(
    mine: tuple[HttpStore, Path], monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    store, folder = mine
    monkeypatch.setattr(mirror, "MANIFEST_LIMIT", 1000)
    (folder / MANIFEST_NAME).write_bytes(b" " * 50_000_000)
    with pytest.raises(ArtifactError, match="damaged") as error:
        locate(f"{store.url}/q")
    assert "at most 1000 bytes" in str(error.value)
    assert leftovers(cache) == []


@pytest.mark.parametrize(
    "path", ["../../evil", "/etc/evil", "model/../../evil", "model//evil", "model/./e", "\\e"]
)
def test_no_path_of_a_manifest_leads_out_of_the_cache(
    mine: tuple[HttpStore, Path], cache: Path, path: str
) -> None:
    store, folder = mine
    hostile(folder, path)
    with pytest.raises(ValidationFailed, match="path"):
        local_copy(f"{store.url}/q")
    assert not list(cache.parent.parent.rglob("*evil*"))


def test_a_path_that_leads_out_is_refused_even_where_the_schema_let_it_pass(
    mine: tuple[HttpStore, Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iwsltpack.documents import schema

    store, folder = mine
    monkeypatch.setattr(schema, "check", lambda *_: None)
    hostile(folder, "model/../../../evil")
    shutil.copy(folder / "model" / "config.json", folder.parent / "evil")
    with pytest.raises(ArtifactError, match="leads out of the artifact"):
        local_copy(f"{store.url}/q")
    assert not list(cache.parent.rglob("*evil*"))


def hostile(folder: Path, path: str) -> None:
    """Give the configuration's entry in the manifest another path."""
    document = json.loads((folder / MANIFEST_NAME).read_bytes())
    entry = next(file for file in document["files"] if file["path"].startswith("model/"))
    entry["path"] = path
    document["sha256"] = fileio.sha256_bytes(fileio.canonical_json({**document, "sha256": ""}))
    (folder / MANIFEST_NAME).write_bytes(fileio.canonical_json(document))


@pytest.mark.parametrize("host", ["127.0.0.1:9", "no-such-host.invalid"])
def test_without_a_network_the_error_comes_at_once(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure, "FIRST_PAUSE_S", 10.0)
    started = time.monotonic()
    with pytest.raises(ResourceError, match="the store cannot be reached") as error:
        locate(f"http://{host}/q3")
    assert time.monotonic() - started < 3
    assert "check the address and the network" in str(error.value)


def test_a_server_that_went_away_for_a_moment_is_waited_for(
    store: HttpStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = open_artifact(f"{store.url}/zstd")
    tried: list[str] = []
    fetch = http.WebFiles.fetch
    monkeypatch.setattr(
        http.WebFiles, "fetch", lambda self, path, *rest: (tried.append(path), fetch(self, path, *rest))
    )
    store.close()
    with pytest.raises(ResourceError, match="cannot be reached"):
        remote.tensor(LAYER)
    assert max(map(tried.count, tried)) == failure.TRIES["unreachable"]


def test_a_server_that_says_nothing_is_given_up(store: HttpStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure, "READ_TIMEOUT_S", 0.1)
    monkeypatch.setitem(failure.TRIES, "transient", 2)
    store.fail(MANIFEST_NAME, times=None, delay=0.6)
    with pytest.raises(ResourceError, match="keeps failing") as error:
        locate(f"{store.url}/zstd")
    assert "Timeout" in str(error.value)


def test_what_a_library_says_is_repeated_without_its_secrets() -> None:
    told = Failure("transient", "GET http://me:secret@host/q?sig=hidden\n  with Bearer hf_tokentoken broke")
    assert told.got == str(told) == "GET http://host/q with bearer … broke"


def test_login_and_signature_reach_the_server_and_no_message(tmp_path: Path) -> None:
    with HttpStore(GOLDEN, password="Basic bWU6c2VjcmV0", query="sig=hidden%2B1") as store:
        host = store.url.removeprefix("http://")
        opened = open_artifact(f"http://me:secret@{host}/zstd?sig=hidden%2B1")
        assert opened.tensor(LAYER).shape == (24, 10)
        store.fail("", times=None, status=500)
        for address in (f"http://me:secret@{host}/zstd?sig=hidden%2B1", f"http://me:secret@{host}/pcodec"):
            with pytest.raises((ResourceError, InputError)) as error:
                open_artifact(address)
            assert "secret" not in f"{error.value}{error.value.to_json()}"
            assert "hidden" not in f"{error.value}{error.value.to_json()}"
        store.heal()
        with pytest.raises(InputError, match="not allowed"):
            open_artifact(f"{store.url}/zstd")
        told = iwsltpack("verify", f"http://me:secret@{host}/zstd?sig=hidden%2B1")
        assert told.stdout == f"http://{host}/zstd: whole\n", told.stderr
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"secret" not in path.read_bytes()
            assert b"hidden" not in path.read_bytes()


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "botocore", None)
    with pytest.raises(MissingDependency, match="needs a package that is not here") as error:
        locate("s3://somewhere/q3")
    assert "pip install '.[remote]'" in str(error.value)
    assert "botocore" in str(error.value)


@pytest.mark.parametrize("package", ["aiohttp", "fsspec", "botocore"])
def test_the_web_needs_no_extra(package: str, store: HttpStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert open_artifact(f"{store.url}/zstd").tensor(LAYER).shape == (24, 10)


def test_a_cache_that_may_not_be_written_is_one_clear_error(
    store: HttpStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("IWSLTPACK_CACHE", str(tmp_path / "file"))
    with pytest.raises(ResourceError, match="refused a file operation"):
        locate(f"{store.url}/zstd")


def test_a_full_disk_is_told_and_nothing_half_written(
    store: HttpStore, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    remote = open_artifact(f"{store.url}/zstd")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(ResourceError, match="no space left to write"):
            remote.tensor(LAYER)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (remote.path / CHUNK).exists()
    assert leftovers(cache) == []


def test_an_error_in_one_of_many_files_ends_the_rest(tmp_path: Path) -> None:
    calls: list[int] = []

    def work(item: int, stop: Any) -> int:
        calls.append(item)
        if item == 3:
            raise ResourceError("broken")
        stop.wait(0.05)
        return item

    with pytest.raises(ResourceError, match="broken"):
        list(mirror._in_parallel(work, list(range(500))))
    assert len(calls) < 50


def test_a_failure_is_not_tried_again_once_all_is_to_stop() -> None:
    stop = failure.Event()
    stop.set()
    calls: list[int] = []

    def action() -> None:
        calls.append(1)
        raise Failure("transient", "busy")

    with pytest.raises(Failure, match="busy"):
        persist(action, patient=True, stop=stop)
    assert len(calls) == 1


# Several at once, and killed on the way.

READ_ALL = """
import sys
from iwsltpack.artifact.reader import open_artifact
artifact = open_artifact(sys.argv[1])
for name in artifact.names():
    artifact.tensor(name)
artifact.model_dir
"""


def python(code: str, *arguments: str) -> Any:
    return warm.start([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE)


def test_processes_fill_one_cache_at_once_and_fetch_each_file_once(
    built: Callable[..., Path], cache: Path
) -> None:
    folder = built("selected-q3", "zstd")
    with HttpStore(folder) as store:
        store.fail("", times=None, delay=0.01)
        workers = [python(READ_ALL, store.url) for _ in range(3)]
        for worker in workers:
            _, errors = worker.communicate(timeout=120)
            assert worker.returncode == 0, errors
        counts = store.counts()
        assert counts.pop(MANIFEST_NAME) == 3
        assert set(counts.values()) == {1}
        (mirrored,) = [path for path in cache.iterdir() if not path.name.startswith(".")]
        unread = {"weights.zarr/zarr.json"}  # the manifest says all that the group does
        assert listed(mirrored) == {k: v for k, v in listed(folder).items() if k not in unread}
        assert leftovers(cache) == []


def test_a_lock_that_is_never_given_back_holds_nobody_up_for_ever(
    store: HttpStore, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    import fcntl

    remote = open_artifact(f"{store.url}/zstd")
    monkeypatch.setattr(mirror, "LOCK_PATIENCE_S", 0.1)
    monkeypatch.setattr(mirror, "LOCKS", 1)
    (cache / ".locks").mkdir(exist_ok=True)
    with (cache / ".locks" / "000").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert remote.tensor(LAYER).shape == (24, 10)


def test_killed_in_the_middle_it_goes_on_and_nothing_half_fetched_counts(
    built: Callable[..., Path], cache: Path
) -> None:
    folder = built("selected-q3", "zstd")
    with HttpStore(folder) as store:
        store.fail("/c/", times=None, delay=0.02)
        for kills in range(1, 4):
            worker = python(READ_ALL, store.url)
            until = time.monotonic() + 60
            while len(store.requests) < 25 * kills and time.monotonic() < until and worker.poll() is None:
                time.sleep(0.01)
            worker.kill()
            worker.communicate()
            (mirrored,) = [path for path in cache.iterdir() if not path.name.startswith(".")]
            for name, data in listed(mirrored).items():
                assert data == (folder / name).read_bytes(), f"{name} is not whole"
        store.heal()
        before = len(listed(mirrored))
        assert 1 < before < len(listed(folder))
        store.forget()
        assert local_copy(store.url) == mirrored
        assert len(store.requests) == len(listed(folder)) - before + 1, "what was whole is fetched again"
        assert listed(mirrored) == listed(folder)
        assert verify_artifact(mirrored) == []


def test_what_killed_processes_left_goes_after_a_day(store: HttpStore, cache: Path) -> None:
    (cache / ".incoming").mkdir(parents=True)
    old, young = cache / ".incoming" / "old.part", cache / ".incoming" / "young.part"
    old.write_bytes(b"1")
    young.write_bytes(b"1")
    os.utime(old, (0, time.time() - mirror.STALE_S - 60))
    locate(f"{store.url}/zstd")
    assert leftovers(cache) == [young]


def test_an_unknown_scheme_stops_a_command_with_a_usage_error() -> None:
    told = iwsltpack("inspect", "gs://bucket/a")
    assert told.returncode == UsageError.exit_code
    assert "not an address artifacts can be read from" in told.stderr
