"""What the tests of push and pull share: a hub that this process talks to, and artifacts to send."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
from hub_server import GOLDEN, WRITER, HubServer


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub of its own for each test; this process is logged in to it as one who may write for `team`."""
    from huggingface_hub.utils import close_session

    home = tmp_path / "hf-home"
    for name, value in (
        ("HF_HUB_DISABLE_XET", True),
        ("HF_TOKEN_PATH", str(home / "token")),
        ("HF_HUB_CACHE", str(home / "hub")),
        ("HF_HUB_OFFLINE", False),
    ):
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    monkeypatch.setenv("HF_TOKEN", WRITER)
    close_session()
    with HubServer() as server:
        yield server
        close_session()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every pause between two tries, the library's too, be short."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.002)))
    monkeypatch.setattr("iwsltpack.remote.failure.FIRST_PAUSE_S", 0.002)


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A small artifact of this test's own."""
    return Path(shutil.copytree(GOLDEN / "zstd", tmp_path / "golden"))


@pytest.fixture
def iwsltpack(hub: HubServer, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a folder of its own, against the hub."""

    def run(
        *arguments: object, token: str | None = WRITER, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / "work"
        folder.mkdir(exist_ok=True)
        return subprocess.run(
            [sys.executable, "-m", "iwsltpack", *map(str, arguments)],
            cwd=folder,
            env=hub.environment(token, tmp_path / "hf-home", **environment),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run
