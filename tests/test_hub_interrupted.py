"""Push and pull are killed and cut off at random points; run again, they end as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import EXHAUSTIVE, REPOSITORY, write_checkpoint
from hub_server import REPO, WRITER, HubServer, contents, without_furniture

from iwsltpack.artifact.integrity import verify_artifact
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.recipes import load_recipe
from iwsltpack.building.request import BuildRequest
from iwsltpack.documents.names import MANIFEST_NAME
from iwsltpack.errors import IwsltpackError
from iwsltpack.hub.pull import pull_artifact
from iwsltpack.hub.push import push_artifact

pytest_plugins = ["hub_fixtures"]
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

POINTS = 10
KILLS = POINTS if EXHAUSTIVE else 4
"""Each takes a program of its own, which imports the hub's library."""
SEED = 20260101
COMMIT_FILES = 8

PUSH = f"""
import sys, pathlib
from iwsltpack.hub import changes, push
changes.COMMIT_FILES = {COMMIT_FILES}
push.push_artifact(pathlib.Path(sys.argv[1]), sys.argv[2])
"""
PULL = """
import sys, pathlib
from iwsltpack.hub.pull import pull_artifact
pull_artifact(sys.argv[2], pathlib.Path(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def two_artifacts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two artifacts of one model that have about half of their 27 files in common."""
    box, values = tmp_path_factory.mktemp("interrupted"), np.random.default_rng(1)
    tensors = {f"layers.{n}.mlp.up_proj.weight": values.normal(0, 0.02, (48, 64)) for n in range(7)}
    tensors |= {f"layers.{n}.attention.weight": values.normal(0, 0.02, (48, 64)) for n in range(5)}
    source = write_checkpoint(
        box / "source", {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    )
    for recipe in ("selected-q3", "selected-q2"):
        build_artifact(BuildRequest(source, box / recipe, load_recipe(recipe), "zstd"))
    return box / "selected-q3", box / "selected-q2"


@pytest.fixture
def artifact(two_artifacts: tuple[Path, Path]) -> Path:
    return two_artifacts[0]


@pytest.fixture(autouse=True)
def several_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iwsltpack.hub.changes.COMMIT_FILES", COMMIT_FILES)


def killed_at(hub: HubServer, request: int, code: str, folder: Path, home: Path) -> bool:
    """Run `code` in a process of its own and kill it when it makes its `request`-th request."""
    started: list[subprocess.Popen[bytes]] = []
    hub.heal()
    hub.fault("", kind="call", skip=request, action=lambda: os.kill(started[0].pid, signal.SIGKILL))
    with hub.lock:  # no request is served before the process is known
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(folder), REPO],
            env=hub.environment(WRITER, home),
            cwd=REPOSITORY,
            stderr=subprocess.DEVNULL,
        )
        started.append(process)
    code_of_exit = process.wait(120)
    hub.heal()
    return code_of_exit == -signal.SIGKILL


def check_between(hub: HubServer, artifact: Path, box: Path) -> None:
    """A repository that is not whole is not an artifact for anyone."""
    if REPO in hub.repositories and without_furniture(hub.files(REPO)) != contents(artifact):
        assert MANIFEST_NAME not in hub.files(REPO)
        with pytest.raises(IwsltpackError):
            pull_artifact(REPO, box / "never", endpoint=hub.endpoint)
        assert not (box / "never").exists()


@pytest.mark.slow
def test_push_killed_at_random_points_goes_on(
    hub: HubServer, artifact: Path, tmp_path: Path, hasty: None
) -> None:
    push_artifact(artifact, REPO, endpoint=hub.endpoint)
    whole, requests = hub.files(REPO), len(hub.requests)
    for point in sorted(random.Random(SEED).sample(range(2, requests), KILLS)):
        del hub.repositories[REPO]
        assert killed_at(hub, point, PUSH, artifact, tmp_path), point
        check_between(hub, artifact, tmp_path)
        hub.forget()
        push_artifact(artifact, REPO, endpoint=hub.endpoint)
        assert hub.files(REPO) == whole, point
        pull_artifact(REPO, tmp_path / f"out-{point}", endpoint=hub.endpoint)
        assert verify_artifact(tmp_path / f"out-{point}") == []


def test_push_cut_off_at_random_bytes_goes_on(
    hub: HubServer, artifact: Path, tmp_path: Path, hasty: None
) -> None:
    push_artifact(artifact, REPO, endpoint=hub.endpoint)
    whole, total = hub.files(REPO), hub.bytes_received() + hub.bytes_sent()
    for budget in random.Random(SEED).sample(range(1, total), POINTS):
        del hub.repositories[REPO]
        hub.break_after(budget)
        with pytest.raises(IwsltpackError) as caught:
            push_artifact(artifact, REPO, endpoint=hub.endpoint)
        assert caught.value.exit_code == 7, str(caught.value)
        hub.heal()
        check_between(hub, artifact, tmp_path)
        push_artifact(artifact, REPO, endpoint=hub.endpoint)
        assert hub.files(REPO) == whole, budget


def test_push_over_an_older_artifact_killed_at_random_points_goes_on(
    hub: HubServer, artifact: Path, two_artifacts: tuple[Path, Path], tmp_path: Path, hasty: None
) -> None:
    old = two_artifacts[1]
    push_artifact(old, REPO, endpoint=hub.endpoint)
    before = hub.files(REPO)
    hub.forget()
    push_artifact(artifact, REPO, endpoint=hub.endpoint)
    whole, requests = hub.files(REPO), len(hub.requests)
    for point in sorted(random.Random(SEED).sample(range(2, requests), 3)):
        del hub.repositories[REPO]
        hub.publish(REPO, before)
        assert killed_at(hub, point, PUSH, artifact, tmp_path), point
        # The old artifact, none, or the new one.
        there = without_furniture(hub.files(REPO))
        assert MANIFEST_NAME not in there or there in (contents(old), contents(artifact)), point
        push_artifact(artifact, REPO, endpoint=hub.endpoint)
        assert without_furniture(hub.files(REPO)) == without_furniture(whole), point


@pytest.mark.slow
def test_pull_killed_at_random_points_goes_on(
    hub: HubServer, artifact: Path, tmp_path: Path, hasty: None
) -> None:
    hub.publish(REPO, artifact)
    pull_artifact(REPO, tmp_path / "whole", endpoint=hub.endpoint)
    requests, kept = len(hub.requests), []
    for point in sorted(random.Random(SEED).sample(range(2, requests), KILLS)):
        out = tmp_path / f"out-{point}"
        assert killed_at(hub, point, PULL, out, tmp_path), point
        assert not out.exists()
        done = pull_artifact(REPO, out, endpoint=hub.endpoint)
        assert contents(out) == contents(artifact), point
        assert verify_artifact(out) == []
        assert not out.with_name(f"{out.name}.partial").exists()
        kept.append(done.files_kept)
    assert kept[-1] > kept[0]  # what was there was not fetched again


def test_pull_cut_off_at_random_bytes_goes_on(
    hub: HubServer, artifact: Path, tmp_path: Path, hasty: None
) -> None:
    hub.publish(REPO, artifact)
    pull_artifact(REPO, tmp_path / "whole", endpoint=hub.endpoint)
    total = hub.bytes_sent() + hub.bytes_received()
    for budget in random.Random(SEED).sample(range(1, total), POINTS):
        out = tmp_path / f"out-{budget}"
        hub.break_after(budget)
        with pytest.raises(IwsltpackError) as caught:
            pull_artifact(REPO, out, endpoint=hub.endpoint)
        assert caught.value.exit_code == 7, str(caught.value)
        assert not out.exists()
        hub.heal()
        pull_artifact(REPO, out, endpoint=hub.endpoint)
        assert contents(out) == contents(artifact), budget


def test_interrupted_process_leaves_no_wrong_file_behind(
    hub: HubServer, artifact: Path, tmp_path: Path, hasty: None
) -> None:
    """Whatever stands under its final name in the partial folder has the right bytes."""
    hub.publish(REPO, artifact)
    assert killed_at(hub, 40, PULL, tmp_path / "out", tmp_path)
    there = contents(tmp_path / "out.partial" / "artifact")
    assert 0 < len(there) < len(contents(artifact))
    assert there.items() <= contents(artifact).items()
    assert MANIFEST_NAME not in there
