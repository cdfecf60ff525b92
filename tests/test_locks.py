"""Locks: what excludes what, how long it waits, and file systems that have none."""

from __future__ import annotations

import errno
import fcntl
import logging
import math
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import warm
from conftest import EXHAUSTIVE, REPOSITORY

from iwsltpack.demo.demo_run import CLEANED, HYPOTHESES, REFERENCES, lay_out
from iwsltpack.errors import ResourceError, UsageError
from iwsltpack.system import locks
from iwsltpack.system.locks import held, take

NO_LOCKS = [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY, errno.EBADF]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "a.lock"


def test_one_holds_it_and_the_next_is_refused_until_it_is_given_back(path: Path) -> None:
    with held(path, "busy") as taken:
        assert taken
        with pytest.raises(UsageError, match="busy") as caught, held(path, "busy"):
            pytest.fail("held twice")
        assert caught.value.where == str(path.parent)
    with held(path, "busy"):
        pass
    assert path.is_file()


def test_several_share_it_and_none_may_have_it_alone(path: Path) -> None:
    with (
        held(path, "busy", shared=True),
        held(path, "busy", shared=True),
        pytest.raises(UsageError, match="busy"),
        held(path, "busy"),
    ):
        pytest.fail("held though it is shared")
    with held(path, "busy"), pytest.raises(UsageError, match="busy"), held(path, "busy", shared=True):
        pytest.fail("shared though it is held")


def test_it_waits_for_the_holder_and_tells_that_it_does(path: Path) -> None:
    waits: list[bool] = []
    release, waited = threading.Event(), threading.Event()

    def holder() -> None:
        with held(path):
            release.set()
            waited.wait(20)

    def waiting() -> None:
        waits.append(True)
        waited.set()

    thread = threading.Thread(target=holder)
    thread.start()
    assert release.wait(20)
    with held(path, "busy", patience=math.inf, waiting=waiting) as taken:
        assert taken
    thread.join()
    assert waits


def test_without_a_sentence_it_goes_on_when_patience_ends(path: Path) -> None:
    with held(path), held(path, patience=0.1) as taken:
        assert not taken


def test_a_folder_is_locked_like_a_file(tmp_path: Path) -> None:
    first, second = os.open(tmp_path, os.O_RDONLY), os.open(tmp_path, os.O_RDONLY)
    try:
        assert take(first, tmp_path)
        assert not take(second, tmp_path)
    finally:
        os.close(first)
        os.close(second)


@pytest.mark.parametrize("number", NO_LOCKS)
def test_without_locks_it_goes_on_and_says_so_once(
    path: Path, number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)
    monkeypatch.setattr(locks, "_warned", threading.Event())
    with caplog.at_level(logging.WARNING), held(path, "busy"), held(path, "busy"):
        pass
    (record,) = caplog.records
    assert f"the file system of {path} has no locks ({os.strerror(number)})" in record.getMessage()


def test_another_refusal_is_one_clear_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(ResourceError, match="the operating system refused a file operation"), held(path):
        pytest.fail("held")


FAILING_FLOCK = """
#include <errno.h>
#include <stdlib.h>
int flock(int descriptor, int operation) { errno = atoi(getenv("TEST_ERRNO")); return -1; }
"""
LOCKING = [
    ("build",),
    ("build", "--output", "shards", "--shard", "1/1"),
    ("merge", "shards"),
    ("decode", "test"),
    ("decode", "test", "--output", "runs/shard", "--shard", "1/1"),
    ("merge", "runs/shard"),
    ("submit", "--primary"),
    ("submissions",),
]
"""Commands that hold a lock."""
OTHERS = [
    ("clean", HYPOTHESES, "--output", CLEANED),
    ("validate", "artifact", "runs/demo", "submissions"),
    ("score", "runs/demo", "--reference", REFERENCES, "--metric", "chrf"),
    ("report", "runs"),
    ("inspect", "artifact"),
    ("verify", "artifact"),
    ("export", "artifact", "--output", "exported"),
]


@pytest.fixture(scope="module")
def failing_flock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile a library whose `flock` fails as a file system without locks lets it fail."""
    if (compiler := shutil.which("gcc")) is None:
        pytest.skip("gcc, which compiles a failing flock, is not installed")
    folder = tmp_path_factory.mktemp("flock")
    (folder / "flock.c").write_text(FAILING_FLOCK)
    library = folder / "flock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "flock.c"], check=True)
    return library


@pytest.mark.slow
@pytest.mark.parametrize("first", range(len(NO_LOCKS)) if EXHAUSTIVE else [0])
def test_every_command_works_on_a_file_system_without_locks(
    tmp_path: Path, failing_flock: Path, first: int
) -> None:
    """The ways to refuse take turns, a command each; `make test-all` tries every command with all of them."""
    pytest.importorskip("sacrebleu", reason="scoring is not installed")
    folder = tmp_path / "demo"
    lay_out(folder)
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "IWSLTPACK_CACHE": str(tmp_path / "cache"),
        "LD_PRELOAD": str(failing_flock),
    }
    for turn, command in enumerate((*LOCKING, *OTHERS), first):
        environment["TEST_ERRNO"] = str(NO_LOCKS[turn % len(NO_LOCKS)])
        done = warm.run(
            [sys.executable, "-m", "iwsltpack", *command], cwd=folder, env=environment, often=True
        )
        assert done.returncode == 0, (command, done.stderr)
        assert done.stderr.count("has no locks") == (command in LOCKING), (command, done.stderr)
