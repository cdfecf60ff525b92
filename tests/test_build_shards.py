"""A build in shards: in any order, at once, killed and resumed, then merged into the bytes of one process."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_checkpoint
from test_build import run, tree
from warm import iwsltpack

from iwsltpack.building import pipeline, shards, staging
from iwsltpack.building.partial import LOCK, PLAN, digests, holds_other, lock_shard
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.recipes import BUILT_IN
from iwsltpack.building.request import BuildRequest
from iwsltpack.building.shards import build_shard, merge_build
from iwsltpack.cluster.shards import Shard
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.errors import ArtifactError, InputError, ResourceError, UsageError, ValidationFailed
from iwsltpack.system import fileio, locks

Built = Callable[[str, str], Path]
RECIPE = BUILT_IN["selected-q3"]


def shard(index: int, count: int = 3) -> Shard:
    return Shard(index=index, count=count)


@pytest.mark.parametrize("packed", ["paper", "zstd", "pcodec"])
def test_shards_in_any_order_merge_into_the_bytes_of_one_process(
    tiny: Path, built: Built, tmp_path: Path, packed: str
) -> None:
    names = [
        build_shard(BuildRequest(tiny, tmp_path / "out", RECIPE, packed), shard=shard(i)) for i in (2, 3, 1)
    ]
    assert sorted(name for part in names for name in part) == sorted(
        {name for part in names for name in part}
    )
    manifest = merge_build(tmp_path / "out")
    assert tree(tmp_path / "out") == tree(built("selected-q3", packed))
    assert len(manifest.tensors) == 66
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_merge_needs_no_checkpoint(built: Built, tiny: Path, tmp_path: Path) -> None:
    from shutil import copytree, rmtree

    source = copytree(tiny, tmp_path / "source")
    for index in (1, 2):
        build_shard(
            BuildRequest(source, tmp_path / "out", BUILT_IN["prune20-q2"], "zstd"), shard=shard(index, 2)
        )
    rmtree(source)
    merge_build(tmp_path / "out")
    assert tree(tmp_path / "out") == tree(built("prune20-q2", "zstd"))


SHARD = """
import sys
from pathlib import Path
from iwsltpack.building.shards import build_shard
from iwsltpack.building.request import BuildRequest
from iwsltpack.building.recipes import BUILT_IN
from iwsltpack.building import staging
from iwsltpack.cluster.shards import Shard
staging.BUNDLE_BYTES = 2048
build_shard(
    BuildRequest(Path(sys.argv[1]), Path(sys.argv[2]), BUILT_IN["selected-q3"], "zstd"), shard=Shard.parse(sys.argv[3])
)
"""


def test_shards_at_the_same_time_and_one_killed(tiny: Path, built: Built, tmp_path: Path) -> None:
    output = tmp_path / "out"
    processes = {index: run(SHARD, tiny, output, f"{index}/3") for index in (1, 2, 3)}
    journal = tmp_path / "out.partial" / "build.shard-2-of-3.jsonl"
    while processes[2].poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < 2):
        time.sleep(0.001)
    processes[2].send_signal(signal.SIGKILL)
    for process in processes.values():
        process.communicate()
    assert (processes[1].returncode, processes[3].returncode) == (0, 0)
    if processes[2].returncode == -signal.SIGKILL:
        with pytest.raises(ValidationFailed, match=r"shard 2/3: \d+ of \d+ tensors are missing: \S+, \S+"):
            merge_build(output)
    build_shard(BuildRequest(tiny, output, RECIPE, "zstd"), shard=shard(2))
    merge_build(output)
    assert tree(output) == tree(built("selected-q3", "zstd"))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_resumed_shard_packs_only_what_is_missing(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "BUNDLE_BYTES", 2048)
    real, begun = pipeline.pack_bundle, []

    def failing(bundle: Any, *arguments: Any, **options: Any) -> Any:
        if len(begun) == 4:
            raise ResourceError("no space left to write")
        begun.append(str(bundle))
        return real(bundle, *arguments, **options)

    monkeypatch.setattr(pipeline, "pack_bundle", failing)
    with pytest.raises(ResourceError, match="no space left"):
        build_shard(BuildRequest(tiny, tmp_path / "out", RECIPE, "zstd", workers=1), shard=shard(1))
    again: list[str] = []
    monkeypatch.setattr(
        pipeline, "pack_bundle", lambda b, *a, **o: (again.append(str(b)), real(b, *a, **o))[1]
    )
    build_shard(BuildRequest(tiny, tmp_path / "out", RECIPE, "zstd", workers=1), shard=shard(1))
    assert again
    assert not set(begun) & set(again)


def test_one_process_goes_on_with_what_shards_have_packed_and_shards_with_its_work(
    tiny: Path, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = build_shard(BuildRequest(tiny, tmp_path / "out", RECIPE, "zstd"), shard=shard(1))
    packed: list[str] = []
    real = staging.write_tensor

    def half(*arguments: Any) -> Any:
        if len(packed) == 10:
            raise ResourceError("stopped")
        packed.append(arguments[1].source.name)
        return real(*arguments)

    with monkeypatch.context() as patch, pytest.raises(ResourceError, match="stopped"):
        patch.setattr(staging, "BUNDLE_BYTES", 0)
        patch.setattr(staging, "write_tensor", half)
        build_artifact(BuildRequest(tiny, tmp_path / "out", RECIPE, "zstd", workers=1))
    assert not set(done) & set(packed)
    # Another number of shards cuts the rest anew.
    for index in (1, 2):
        build_shard(BuildRequest(tiny, tmp_path / "out", RECIPE, "zstd"), shard=shard(index, 2))
    merge_build(tmp_path / "out")
    assert tree(tmp_path / "out") == tree(built("selected-q3", "zstd"))


def test_a_merge_names_every_shard_that_is_not_complete(tiny: Path, tmp_path: Path) -> None:
    build_shard(BuildRequest(tiny, tmp_path / "out", RECIPE, "zstd"), shard=shard(2, 4))
    with pytest.raises(ValidationFailed, match="not every shard is packed yet") as caught:
        merge_build(tmp_path / "out")
    assert [problem.message.partition(":")[0] for problem in caught.value.problems] == [
        "shard 1/4", "shard 3/4", "shard 4/4",
    ]  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_a_merge_does_not_take_damaged_work(tiny: Path, tmp_path: Path) -> None:
    for index in (1, 2):
        build_shard(BuildRequest(tiny, tmp_path / "out", RECIPE, "zstd"), shard=shard(index, 2))
    artifact = tmp_path / "out.partial" / "artifact"
    victim = next(path for path in (artifact / "weights.zarr").rglob("*") if path.name == "0")
    data = victim.read_bytes()
    victim.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(ValidationFailed, match=r"shard ./2: 1 of \d+ tensors are missing"):
        merge_build(tmp_path / "out")
    victim.write_bytes(data)
    (artifact / "model" / "config.json").write_bytes(b"{}")
    with pytest.raises(InputError, match=r"config\.json: a file beside the weights is missing or altered"):
        merge_build(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_merge_without_a_build_or_with_a_damaged_plan_is_told(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no build has been begun here"):
        merge_build(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    build_shard(BuildRequest(tiny, tmp_path / "out", RECIPE, "zstd"), shard=shard(1, 1))
    for text in ("[]", "{}", '{"manifest": 1, "source": [], "sizes": {}, "side": []}'):
        (tmp_path / "out.partial" / PLAN).write_text(text)
        with pytest.raises(ArtifactError, match="the plan of the build is damaged"):
            merge_build(tmp_path / "out")


def test_shards_of_different_builds_do_not_mix(tiny: Path, tmp_path: Path) -> None:
    build_shard(BuildRequest(tiny, tmp_path / "out", RECIPE, "zstd"), shard=shard(1))
    for other in ((BUILT_IN["selected-q2"], "zstd"), (RECIPE, "pcodec")):
        with pytest.raises(UsageError, match="an unfinished build of another source, recipe, coding"):
            build_shard(BuildRequest(tiny, tmp_path / "out", *other), shard=shard(2))


def test_a_copy_is_read_whole_and_the_very_file_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / name / "a.safetensors" for name in ("first", "copy", "other")]
    for path in paths:
        path.parent.mkdir()
        path.touch()
        os.truncate(path, 260 << 20)
    with paths[2].open("r+b") as stream:
        stream.seek((1 << 20) + 50_000)
        stream.write(b"x")
    known = digests(paths[:1])
    assert [holds_other(path, known) for path in paths] == [False, False, True]
    monkeypatch.setattr(fileio, "sha256_file", lambda _: pytest.fail("read again"))
    assert not holds_other(paths[0], known)


def test_shards_of_copies_with_other_weights_do_not_mix(tiny: Path, tmp_path: Path) -> None:
    """The copies have one size and one time, as `cp -p` leaves them."""
    for name in ("copy", "other"):
        shutil.copytree(tiny, tmp_path / name, copy_function=shutil.copy2)
    path = next((tmp_path / "other").glob("*.safetensors"))
    found, data = path.stat(), path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    build_shard(BuildRequest(tiny, tmp_path / "out", RECIPE, "zstd"), shard=shard(1))
    with pytest.raises(UsageError, match="a copy of the checkpoint that holds other weights"):
        build_shard(BuildRequest(tmp_path / "other", tmp_path / "out", RECIPE, "zstd"), shard=shard(2))
    for number in (2, 3):
        build_shard(BuildRequest(tmp_path / "copy", tmp_path / "out", RECIPE, "zstd"), shard=shard(number))
    merge_build(tmp_path / "out")
    build_artifact(BuildRequest(tiny, tmp_path / "alone", RECIPE, "zstd"))
    assert tree(tmp_path / "out") == tree(tmp_path / "alone")


def test_of_two_first_shards_with_different_plans_one_wins(tiny: Path, tmp_path: Path) -> None:
    # As if the other one had written its plan just before.
    (tmp_path / PLAN).write_bytes(b"the other's")
    fileio.create_bytes(tmp_path / PLAN, b"mine")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"the other's"]


def test_who_may_work_at_the_same_time(tiny: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    build_shard(BuildRequest(tiny, output, RECIPE, "zstd"), shard=shard(1))
    with lock_shard(output, shard(2)), lock_shard(output, shard(3)):
        with pytest.raises(UsageError, match="shard 2/3 is being built by another process"):
            build_shard(BuildRequest(tiny, output, RECIPE, "zstd"), shard=shard(2))
        with pytest.raises(UsageError, match="another build is writing this artifact, or a shard of it"):
            merge_build(output)
        with pytest.raises(UsageError, match="another build is writing this artifact, or a shard of it"):
            build_artifact(BuildRequest(tiny, output, RECIPE, "zstd"))
    with (
        locks.held(output.with_name("out.partial") / LOCK, "held"),
        pytest.raises(UsageError, match="a build or a merge is writing this artifact"),
    ):
        build_shard(BuildRequest(tiny, output, RECIPE, "zstd"), shard=shard(2))


def test_a_file_system_without_locks_is_worked_on_without(
    tiny: Path, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    for index in (1, 2):
        build_shard(BuildRequest(tiny, tmp_path / "out", RECIPE, "zstd"), shard=shard(index, 2))
    merge_build(tmp_path / "out")
    assert tree(tmp_path / "out") == tree(built("selected-q3", "zstd"))


def test_the_same_shard_twice_at_once_does_no_harm_where_there_are_no_locks(
    tiny: Path, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is half-way through a tensor when the second packs it; both put it in its place."""
    output = tmp_path / "out"

    def unsupported(*_: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    real, inside = staging.write_tensor, []

    def overtaken(*arguments: Any) -> Any:
        if not inside:
            inside.append(True)
            build_shard(BuildRequest(tiny, output, RECIPE, "zstd"), shard=shard(1, 1))
        return real(*arguments)

    monkeypatch.setattr(staging, "write_tensor", overtaken)
    build_shard(BuildRequest(tiny, output, RECIPE, "zstd", workers=1), shard=shard(1, 1))
    merge_build(output)
    assert tree(output) == tree(built("selected-q3", "zstd"))


def test_more_shards_than_tensors_leave_some_with_nothing(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "source", {"a": np.ones(3, dtype=np.float32)})
    fp16 = BUILT_IN["fp16"]
    done = [
        build_shard(BuildRequest(source, tmp_path / "out", fp16, "zstd"), shard=shard(i)) for i in (1, 2, 3)
    ]
    assert sorted(done) == [[], [], ["a"]]
    merge_build(tmp_path / "out")
    build_artifact(BuildRequest(source, tmp_path / "one", fp16, "zstd"))
    assert tree(tmp_path / "out") == tree(tmp_path / "one")


def test_an_artifact_that_is_whole_is_left_alone(tiny: Path, built: Built, tmp_path: Path) -> None:
    whole = built("selected-q3", "zstd")
    before = tree(whole)
    manifest = read_manifest(whole)
    assert build_shard(BuildRequest(tiny, whole, RECIPE, "zstd"), shard=shard(1)) == [
        t.name for t in manifest.tensors
    ]
    assert merge_build(whole) == manifest
    with pytest.raises(UsageError, match="the output exists, and is another artifact"):
        build_shard(BuildRequest(tiny, whole, BUILT_IN["fp16"], "zstd"), shard=shard(1))
    assert tree(whole) == before


def test_a_killed_merge_is_done_again(
    tiny: Path, built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in (1, 2):
        build_shard(BuildRequest(tiny, tmp_path / "out", RECIPE, "zstd"), shard=shard(index, 2))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shards.publishing, "publish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        merge_build(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    merge_build(tmp_path / "out")
    assert tree(tmp_path / "out") == tree(built("selected-q3", "zstd"))


def test_leftovers_of_killed_workers_go_with_the_partial_folder(tiny: Path, tmp_path: Path) -> None:
    build_shard(BuildRequest(tiny, tmp_path / "out", RECIPE, "zstd"), shard=shard(1, 1))
    left = tmp_path / "out.partial" / "staging" / "tmpx" / "weights.zarr"
    left.mkdir(parents=True)
    (left / "chunk").write_bytes(b"half")
    merge_build(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not list((tmp_path / "out").rglob("chunk"))


def test_shards_and_merge_from_the_command_line(tiny: Path, built: Built, tmp_path: Path) -> None:
    call = partial(iwsltpack, cwd=tmp_path)
    first = call("build", tiny, "-o", "out", "--shard", "1/2")
    assert (first.returncode, first.stdout) == (0, ""), first.stderr
    assert "tensors packed; with all shards: iwsltpack merge out" in first.stderr
    early = call("merge", "out")
    assert early.returncode == ValidationFailed.exit_code
    assert "shard 2/2" in early.stderr
    assert call("build", tiny, "-o", "out", "--shard", "2/2").returncode == 0
    merged = call("merge", "out")
    assert (merged.returncode, merged.stdout) == (0, "out\n"), merged.stderr
    assert tree(tmp_path / "out") == tree(built("selected-q3", "zstd"))
