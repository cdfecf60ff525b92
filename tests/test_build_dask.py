"""Building on a cluster: the bytes of one process, whatever dies, from whatever state, with what is lost named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import warm
from conftest import REPOSITORY, write_checkpoint
from test_build import tree

from iwsltpack.artifact.integrity import verify_artifact
from iwsltpack.building import dask, pipeline, staging
from iwsltpack.building.checkpoint import open_checkpoint
from iwsltpack.building.partial import JOURNAL, STAGING, SourceFile, digests
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.plan import plan_tensors
from iwsltpack.building.recipes import BUILT_IN
from iwsltpack.building.request import BuildRequest
from iwsltpack.building.staging import Bundle, bundled, check_source, pack_bundle
from iwsltpack.building.tensor_writer import Stopped
from iwsltpack.cluster.local import local_cluster
from iwsltpack.codecs.registry import CODINGS
from iwsltpack.documents.recipe import LayerRule, Recipe
from iwsltpack.errors import InputError, ResourceError, UsageError
from iwsltpack.system.progress import Reporter

Built = Callable[[str, str], Path]
ALL = Recipe(name="all", description="", techniques=("x",), layers=(LayerRule(pattern=".", bits=10),))
POISON = "language_model.model.layers.1.mlp.up_proj.weight"
real_pack = dask._pack


def die_once(partial_folder: str, *setup: Any) -> Any:
    """Pack, but kill the worker half-way through the first bundle of all."""
    marker = Path(partial_folder) / "died"
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return real_pack(partial_folder, *setup)
    real_pack(partial_folder, *setup)
    os.kill(os.getpid(), signal.SIGKILL)
    return None


def die_of_poison(*setup: Any) -> Any:
    if POISON in setup[-1].names:
        os.kill(os.getpid(), signal.SIGKILL)
    return real_pack(*setup)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with local_cluster(2) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def small_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the tiny model as many items as a large one has."""
    monkeypatch.setattr(staging, "BUNDLE_BYTES", 2048)


class Counting(Reporter):
    """A progress sink that adds up."""

    def __init__(self) -> None:
        self.total, self.done = 0.0, 0.0

    def start(self, description: str, total: float, unit: str = "items") -> None:
        self.total = total

    def advance(self, amount: float = 1) -> None:
        self.done += amount


@pytest.mark.parametrize("recipe", ["selected-q3", "prune20-q2"])
@pytest.mark.parametrize("packed", ["paper", "zstd", "pcodec"])
def test_a_cluster_writes_the_bytes_of_one_process(
    address: str, tiny: Path, built: Built, tmp_path: Path, small_bundles: None, packed: str, recipe: str
) -> None:
    progress = Counting()
    build_artifact(
        BuildRequest(tiny, tmp_path / "out", BUILT_IN[recipe], packed), cluster=address, progress=progress
    )
    assert tree(tmp_path / "out") == tree(built(recipe, packed))
    assert progress.done == progress.total > 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_odd_tensors_come_out_as_from_one_process(address: str, tmp_path: Path) -> None:
    wide = np.linspace(-60, 60, 64, dtype=np.float32).reshape(8, 8)
    tensors = {
        "scalar": np.array(3, dtype=np.int64),
        "empty.weight": np.zeros((0, 4), dtype=np.float32),
        "wide.weight": wide,
        "flag": np.array([True, False]),
    }
    source = write_checkpoint(tmp_path / "source", tensors)
    build_artifact(BuildRequest(source, tmp_path / "one", ALL, "zstd"))
    build_artifact(BuildRequest(source, tmp_path / "two", ALL, "zstd"), cluster=address)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_a_worker_killed_mid_way_costs_nothing(
    address: str,
    tiny: Path,
    built: Built,
    tmp_path: Path,
    small_bundles: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dask, "_pack", die_once)
    noted: list[str] = []
    real = staging.adopt

    def adopt(staged: Any, partial_folder: Path) -> None:
        noted.extend(tensor.name for tensor, _ in staged.written)
        real(staged, partial_folder)

    monkeypatch.setattr(pipeline, "adopt", adopt)
    build_artifact(BuildRequest(tiny, tmp_path / "out", BUILT_IN["selected-q3"], "zstd"), cluster=address)
    assert tree(tmp_path / "out") == tree(built("selected-q3", "zstd"))
    assert len(noted) == len(set(noted)) == 66
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_tensor_that_kills_is_named_and_the_rest_is_packed(
    address: str,
    tiny: Path,
    built: Built,
    tmp_path: Path,
    small_bundles: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(dask, "_pack", die_of_poison)
        with pytest.raises(ResourceError, match=rf"{POISON}: 1 of 66 tensors could not be packed"):
            build_artifact(BuildRequest(tiny, output, BUILT_IN["selected-q3"], "zstd"), cluster=address)
    assert not output.exists()
    # On one machine it goes on with that tensor alone.

    packed: list[str] = []
    real = staging.write_tensor
    monkeypatch.setattr(staging, "write_tensor", lambda *a: (packed.append(a[1].source.name), real(*a))[1])
    build_artifact(BuildRequest(tiny, output, BUILT_IN["selected-q3"], "zstd"))
    assert packed == [POISON]
    assert tree(output) == tree(built("selected-q3", "zstd"))


def test_a_cluster_goes_on_where_one_process_stopped(
    address: str,
    tiny: Path,
    built: Built,
    tmp_path: Path,
    small_bundles: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:

    real, begun = staging.write_tensor, []

    def failing(*arguments: Any) -> Any:
        if len(begun) == 20:
            raise ResourceError("no space left to write")
        begun.append(arguments[1].source.name)
        return real(*arguments)

    with monkeypatch.context() as patch, pytest.raises(ResourceError, match="no space left"):
        patch.setattr(staging, "BUNDLE_BYTES", 0)
        patch.setattr(staging, "write_tensor", failing)
        build_artifact(BuildRequest(tiny, tmp_path / "out", BUILT_IN["selected-q3"], "zstd", workers=1))
    given: list[str] = []
    monkeypatch.setattr(
        dask, "bundled", lambda plans: (given.extend(p.source.name for p in plans), bundled(plans))[1]
    )
    build_artifact(BuildRequest(tiny, tmp_path / "out", BUILT_IN["selected-q3"], "zstd"), cluster=address)
    assert not set(given) & set(begun)
    assert len(given) + len(begun) == 66
    assert tree(tmp_path / "out") == tree(built("selected-q3", "zstd"))


CLIENT = """
import sys
from pathlib import Path
from iwsltpack.building import staging
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.request import BuildRequest
from iwsltpack.building.recipes import BUILT_IN
if __name__ == "__main__":
    staging.BUNDLE_BYTES = 2048
    request = BuildRequest(Path(sys.argv[1]), Path(sys.argv[2]), BUILT_IN["selected-q3"], "zstd")
    build_artifact(request, cluster=sys.argv[3])
"""


@pytest.mark.parametrize("target", ["local:2", "external"])
@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGINT])
def test_a_client_killed_mid_way_leaves_what_any_mode_can_go_on_with(
    address: str, tiny: Path, built: Built, tmp_path: Path, target: str, signal_: signal.Signals
) -> None:
    import psutil

    script, output = tmp_path / "client.py", tmp_path / "out"
    script.write_text(CLIENT)
    (tmp_path / "scratch").mkdir()
    cluster = address if target == "external" else target
    process = subprocess.Popen(
        [sys.executable, str(script), str(tiny), str(output), cluster],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(tmp_path / "scratch")},
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    journal = tmp_path / "out.partial" / JOURNAL
    while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < 3):
        time.sleep(0.002)
    children = psutil.Process(process.pid).children(recursive=True)
    # A terminal's Ctrl-C goes to the whole group.
    (os.killpg if signal_ == signal.SIGINT else os.kill)(process.pid, signal_)
    _, told = process.communicate(timeout=60)
    assert process.returncode == -signal_, told
    if signal_ == signal.SIGINT:
        assert told.count("Traceback") == 1, told
        assert not list((tmp_path / "scratch").iterdir())
    assert psutil.wait_procs(children, timeout=20)[1] == []
    build_artifact(BuildRequest(tiny, output, BUILT_IN["selected-q3"], "zstd"))
    assert tree(output) == tree(built("selected-q3", "zstd"))
    assert not (tmp_path / "out.partial").exists()


def test_an_error_of_a_worker_names_it(address: str, tmp_path: Path) -> None:
    weight = np.zeros((9, 5), dtype=np.float32)
    weight[6, 2] = np.nan
    source = write_checkpoint(tmp_path / "source", {"mlp.weight": weight})
    with pytest.raises(
        InputError, match=r"mlp\.weight\[6, 2\] \(on worker tcp://127\.0\.0\.1:\d+\): a selected"
    ):
        build_artifact(BuildRequest(source, tmp_path / "out", ALL, "zstd"), cluster=address)
    assert not (tmp_path / "out").exists()


def test_a_worker_that_sees_another_checkpoint_is_told(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "source", {"a.weight": np.zeros((2, 2), dtype=np.float32)})
    bundle = Bundle(plans=tuple(plan_tensors(open_checkpoint(source), BUILT_IN["fp16"])))
    path = source / "model.safetensors"
    state = SourceFile(name=path.name, bytes=path.stat().st_size, mtime_ns=path.stat().st_mtime_ns)
    known = digests([path])
    check_source(bundle, [state], known)
    sound, times = path.read_bytes(), (state.mtime_ns, state.mtime_ns)
    path.write_bytes(sound[:-1] + b"\x01")
    os.utime(path, ns=times)
    assert path.stat().st_mtime_ns == state.mtime_ns
    with pytest.raises(InputError, match="holds other weights than the build was begun with"):
        check_source(bundle, [state], known)
    path.write_bytes(sound)
    os.utime(path, (5, 5))
    with pytest.raises(InputError, match="another checkpoint file than the build was begun with"):
        check_source(bundle, [state], known)
    path.unlink()
    with pytest.raises(InputError, match=r"model\.safetensors: no such checkpoint file"):
        check_source(bundle, [state], known)


def test_a_worker_that_was_given_up_stops_and_writes_nothing_more(tmp_path: Path) -> None:
    rows = np.zeros((6, 1 << 21), dtype=np.float32)
    source = write_checkpoint(tmp_path / "source", {"a.weight": rows})
    (bundle,) = bundled(plan_tensors(open_checkpoint(source), BUILT_IN["fp16"]))
    partial_folder = tmp_path / "out.partial"
    (partial_folder / STAGING).mkdir(parents=True)
    chunks = 0

    class GivenUp(Counting):
        def advance(self, amount: float = 1) -> None:
            nonlocal chunks
            chunks += 1
            (partial_folder / STAGING).rename(tmp_path / "gone")

    with pytest.raises(Stopped):
        pack_bundle(bundle, partial_folder, CODINGS["zstd"], progress=GivenUp())
    assert chunks == 1
    assert not list(partial_folder.iterdir())


def test_bundles_are_small_tensors_then_the_largest_first_and_hold_each_once(
    tiny: Path, small_bundles: None
) -> None:
    plans = plan_tensors(open_checkpoint(tiny), BUILT_IN["selected-q3"])
    bundles = bundled(plans)
    assert sorted(name for bundle in bundles for name in bundle.names) == sorted(p.source.name for p in plans)
    alone = [bundle.nbytes for bundle in bundles if len(bundle.plans) == 1]
    assert alone == sorted(alone, reverse=True)
    assert [bundle.nbytes for bundle in bundles[-len(alone) :]] == alone
    assert all(bundle.nbytes <= 2048 for bundle in bundles if len(bundle.plans) > 1)
    assert bundled([]) == []


def test_a_recipe_of_another_library_is_not_spread(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="bnb-int8: another library packs this recipe"):
        build_artifact(BuildRequest(tiny, tmp_path / "out", BUILT_IN["bnb-int8"], "zstd"), cluster="local:1")


def iwsltpack(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).parent / "iwsltpack", *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_command_builds_on_a_local_cluster(tiny: Path, built: Built, tmp_path: Path) -> None:
    done = iwsltpack("build", tiny, "-o", "out", "--dask", "local:2", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "out\n"), done.stderr
    assert "smaller than the source's" in done.stderr
    assert "distributed" not in done.stderr
    assert tree(tmp_path / "out") == tree(built("selected-q3", "zstd"))
    assert verify_artifact(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dask", "nowhere"], "nowhere: not the address of a cluster"),
        (["--dask", "local:2", "--workers", "2"], "--workers and --dask do not go together"),
        (["--dask", "local", "--shard", "1/2"], "--shard and --dask do not go together"),
        (["--shard", "3/2"], "there is no shard 3/2"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(
    tiny: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    done = warm.iwsltpack("build", tiny, "-o", "out", *options, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []
