"""A child of the process that is forked is what the same program would be when it is started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import warm
from conftest import LONGEST

TELL = """
import os, sys, threading
print(__name__, sys.argv, os.getcwd(), os.environ.get("WHO"), sys.stdin.read(), sys.path[0] == sys.argv[-1])
print("told", file=sys.stderr)
sys.exit({end})
"""


@pytest.mark.parametrize(
    ("kind", "end"), [("code", "'no'"), ("script", "3"), ("named", "3"), ("code", "None")]
)
def test_code_and_scripts_end_as_they_would(tmp_path: Path, kind: str, end: str) -> None:
    script, environment = tmp_path / "script.py", {**os.environ, "WHO": "me"}
    script.write_text(TELL.format(end=end))
    command = ["-c", script.read_text(), "a"] if kind == "code" else [str(script), str(tmp_path)]
    how: dict[str, Any] = {
        "cwd": tmp_path,
        "env": environment,
        "input": "in",
        "capture_output": True,
        "text": True,
    }
    expected = subprocess.run([sys.executable, *command], **how)
    if kind == "named":
        found = subprocess.run([warm.python(), *command], **how)
    else:
        found = warm.run([sys.executable, *command], cwd=tmp_path, env=environment, given="in")
    assert (found.returncode, found.stdout) == (expected.returncode, expected.stdout)
    assert found.stderr == expected.stderr


def test_errors_signals_and_what_is_left_for_the_end_are_those_of_a_program(tmp_path: Path) -> None:
    failed = warm.run(
        [sys.executable, "-c", "import atexit; atexit.register(print, 'end'); raise ValueError('x')"]
    )
    assert (failed.returncode, failed.stdout) == (1, "end\n")
    assert failed.stderr.endswith("ValueError: x\n")
    code = "import os, signal; os.kill(os.getpid(), signal.SIG{})"
    for name, ended in (("KILL", -signal.SIGKILL), ("TERM", -signal.SIGTERM), ("INT", -signal.SIGINT)):
        assert warm.run([sys.executable, "-c", code.format(name)]).returncode == ended
    sleeping = warm.start([sys.executable, "-c", "print('up', flush=True); import time; time.sleep(600)"])
    with pytest.raises(subprocess.TimeoutExpired):
        sleeping.wait(0.1)
    assert sleeping.poll() is None
    sleeping.send_signal(signal.SIGTERM)
    assert sleeping.wait(60) == sleeping.poll() == -signal.SIGTERM


def test_whoever_nobody_waits_for_any_more_is_killed(tmp_path: Path) -> None:
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    named = subprocess.Popen([warm.python(), "-c", code])
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.01)
    named.kill()
    named.wait()
    until = time.monotonic() + 60
    while Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert time.monotonic() < until


def test_what_libraries_read_at_import_is_not_changed_behind_their_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = "import sys; print('torch' in sys.modules)"
    assert warm.run([sys.executable, "-c", code]).stdout == "True\n" or os.environ.get(warm.ANEW)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    assert warm.run([sys.executable, "-c", code], env=environment).stdout == "False\n"
    named = subprocess.run([warm.python(), "-c", code], env=environment, capture_output=True, text=True)
    assert named.stdout == "False\n"
    monkeypatch.setenv(warm.ANEW, "1")
    assert warm.run([sys.executable, "-c", code]).stdout == "False\n"


def test_the_longest_files_are_there() -> None:
    names = [Path(__file__).with_name(f"test_{name}.py") for name in LONGEST]
    assert [path for path in names if not path.is_file()] == []
    assert len(set(names)) == len(names)
