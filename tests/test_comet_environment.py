"""COMET's environment: built whole or not at all, by one builder at a time, from where pip is told to look."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from comet_fixtures import write_wheels

from iwsltpack.errors import MissingDependency
from iwsltpack.scoring import comet_env
from iwsltpack.scoring.comet_env import ensure_environment, environment_path, is_built

ROOT = Path(__file__).resolve().parents[1]
BUILD = "from iwsltpack.scoring.comet_env import ensure_environment; print(ensure_environment().python)"


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let pip see nothing but wheels made here."""
    for name in list(os.environ):
        if name.startswith(("PIP_", "UV_")) or name == "IWSLTPACK_COMET_PYTHON":
            monkeypatch.delenv(name)
    settings = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(write_wheels(tmp_path / "wheels")),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_CACHE_DIR": str(tmp_path / "uv"),
        "IWSLTPACK_CACHE": str(tmp_path / "cache"),
        "IWSLTPACK_COMET_TORCH": "9.9.9+cpu",
        "PYTHONPATH": str(ROOT),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "wheels"


def left_over(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "cache" / "comet").iterdir() if ".building." in path.name]


def start(extra: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILD],
        env={**os.environ, **(extra or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_is_built_once_and_then_needs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: Path
) -> None:
    assert not is_built()
    built = ensure_environment()
    assert (built.comet, built.torch) == ("2.2.7", "9.9.9+cpu")
    assert built.python.is_relative_to(environment_path())
    assert left_over(tmp_path) == []
    for wheel in index.iterdir():
        wheel.unlink()
    monkeypatch.setattr(comet_env, "_build", lambda *_: pytest.fail("built again"))
    assert ensure_environment() == built
    assert is_built()


def test_pips_configuration_file_says_where_packages_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: Path
) -> None:
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name)
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nno-index = true\n[install]\nfind-links = {index}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    # The machine's own configuration is read before it.
    monkeypatch.setenv("PIP_CONSTRAINT", os.devnull)
    assert ensure_environment().torch == "9.9.9+cpu"


def test_a_python_too_new_for_comet_has_uv_find_an_older_one(monkeypatch: pytest.MonkeyPatch) -> None:
    this = sys.version_info[:2]
    monkeypatch.setattr(comet_env, "NEWEST_PYTHON", this)
    monkeypatch.setattr(comet_env.sys, "version_info", (3, 99, 0))
    if shutil.which("uv") is None and not Path(sys.executable).with_name("uv").exists():
        pytest.skip("uv is not installed")
    version = "import sys; print(sys.version_info[:2])"
    python = ensure_environment().python
    done = subprocess.run([python, "-c", version], capture_output=True, text=True, check=True)
    assert done.stdout == f"{this}\n"


def test_a_python_too_new_and_no_uv_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comet_env.sys, "version_info", (3, 99, 0))
    monkeypatch.setattr(comet_env.shutil, "which", lambda *_, **__: None)
    with pytest.raises(MissingDependency, match=r"(?s)Python 3\.12 or older.*Python 3\.99, and no uv"):
        ensure_environment()
    assert left_over(tmp_path) == []


def test_without_pip_beside_this_program_the_environment_gets_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(comet_env.importlib.util, "find_spec", lambda _: None)
    built = ensure_environment()
    assert (built.comet, built.torch) == ("2.2.7", "9.9.9+cpu")
    assert (environment_path() / "bin" / "pip").exists()


def test_another_torch_gets_another_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    first = environment_path()
    monkeypatch.setenv("IWSLTPACK_COMET_TORCH", "8.8.8")
    assert environment_path() != first


def test_what_cannot_be_installed_is_told_with_the_installers_words(tmp_path: Path, index: Path) -> None:
    (index / "unbabel_comet-2.2.7-py3-none-any.whl").unlink()
    with pytest.raises(MissingDependency, match="could not be built") as caught:
        ensure_environment()
    assert "unbabel-comet" in str(caught.value).partition("got:")[2].partition("to do:")[0]
    assert "IWSLTPACK_COMET_PYTHON" in str(caught.value)
    assert left_over(tmp_path) == []
    assert not environment_path().exists()


def test_an_environment_that_does_not_work_is_not_kept(tmp_path: Path, index: Path) -> None:
    from comet_fixtures import write_wheel

    write_wheel(index, "unbabel_comet", "2.2.7", {"comet.py": "raise ImportError('pkg_resources is gone')"})
    with pytest.raises(MissingDependency, match="could not be built") as caught:
        ensure_environment()
    assert "pkg_resources is gone" in str(caught.value)
    assert left_over(tmp_path) == []


def test_a_builder_killed_in_the_middle_leaves_nothing_that_passes_for_whole(tmp_path: Path) -> None:
    waiting = tmp_path / "waiting"
    builder = start({"STUB_WAIT": str(waiting)})
    deadline = time.monotonic() + 60
    while not waiting.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert waiting.exists(), builder.communicate(timeout=5)
    builder.send_signal(signal.SIGKILL)
    builder.communicate(timeout=30)
    assert not environment_path().exists()
    assert len(left_over(tmp_path)) == 1
    built = ensure_environment()
    assert built.comet == "2.2.7"
    assert left_over(tmp_path) == []


def test_two_builders_at_once_end_with_one_environment(tmp_path: Path) -> None:
    builders = [start() for _ in range(3)]
    told = {builder.communicate(timeout=120) for builder in builders}
    assert {out for out, _ in told} == {f"{environment_path() / 'bin' / 'python'}\n"}, told
    assert left_over(tmp_path) == []


def test_a_half_built_environment_without_its_mark_is_built_again() -> None:
    ensure_environment()
    for damage in ("", "{", '{"comet": 1}'):
        (environment_path() / comet_env.COMPLETE_NAME).write_text(damage)
        assert not is_built()
    (environment_path() / "bin" / "python").unlink()
    assert ensure_environment().comet == "2.2.7"
    (environment_path() / "bin" / "python").unlink()
    assert ensure_environment().python.is_file()
