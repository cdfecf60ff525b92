"""Programs started in a fork of a process that has imported the heavy libraries already: seconds saved each time.

`run` and `start` take what one gives `subprocess.run` and `Popen`: `[sys.executable, "-m", "iwsltpack", ...]`, a script
or `-c` code. The child is a process of its own, in a session of its own: its memory, environment, streams, signals and
exit code are its own. Of iwsltpack only what lies below the command line is imported before the fork.

A test of the way from `exec` on takes `subprocess`. IWSLTPACK_EXHAUSTIVE=1 makes these do so as well, and so
does an environment with other values than ours for what libraries read when they are imported.
"""

from __future__ import annotations

import atexit
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from signal import SIGKILL
from subprocess import DEVNULL, PIPE
from threading import Thread
from typing import Any, Self

from warm_client import ask, can_be_forked, number, read_at_import

ANEW = "IWSLTPACK_EXHAUSTIVE"
OURS = dict(os.environ)
HERE = Path(__file__).parent


def _box(env: dict[str, str] = OURS) -> Path:
    """Return the folder of the socket of the process that is forked where libraries read `env`."""
    return _started(tuple(sorted(read_at_import(env).items())))


@cache
def _started(read: tuple[tuple[str, str], ...]) -> Path:
    """Start it, once; it ends with this one."""
    box = Path(tempfile.mkdtemp(prefix="warm-"))
    environment = {name: value for name, value in OURS.items() if name not in read_at_import(OURS)} | dict(
        read
    )
    program = box / "python"
    command = [sys.executable, HERE / "warm_server.py", box / "socket", program]
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=HERE.parent
    )
    assert server.stdin is not None
    assert server.stdout is not None
    if server.stdout.readline() != b"ready\n":
        raise RuntimeError(f"no process to fork: exit code {server.wait()}")
    server.stdout.close()
    program.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -IS "{HERE}/warm_client.py" "{box}/socket" "$@"\n'
    )
    program.chmod(0o755)

    def end(ours: int) -> None:
        if os.getpid() == ours:  # and not a fork of a test
            server.stdin.close()  # type: ignore[union-attr]
            server.wait()
            for path in (box / "socket", program):
                path.unlink()
            box.rmdir()

    atexit.register(end, os.getpid())
    return box


def python() -> str:
    """Return a program that may stand where Python's path would: what it is asked for is done in a fork."""
    return sys.executable if os.environ.get(ANEW) else str(_box() / "python")


def _in_a_thread(reading: int) -> Future[str]:
    """Read a pipe to its end while the child is at work."""
    text: Future[str] = Future()

    def read() -> None:
        with os.fdopen(reading, encoding="utf-8", errors="backslashreplace") as pipe:
            text.set_result(pipe.read())

    Thread(target=read, daemon=True).start()
    return text


class Child:
    """A fork at work, for what one does with `Popen`."""

    def __init__(self, command: list[str], cwd: Path, env: dict[str, str], streams: list[Any]) -> None:
        self.args, self.returncode = command, None
        self._texts: list[Future[str] | None] = [None, None, None]
        with ExitStack() as stack:
            numbers = []
            for number, stream in enumerate(streams):
                if stream == PIPE:
                    reading, writing = os.pipe()
                    stack.callback(os.close, writing)
                    self._texts[number] = _in_a_thread(reading)
                elif stream == DEVNULL:
                    writing = stack.enter_context(Path(os.devnull).open("r+b")).fileno()
                else:
                    writing = (
                        stream if isinstance(stream, int) else number if stream is None else stream.fileno()
                    )
                numbers.append(writing)
            self._server, self.pid = ask(str(_box(env) / "socket"), command[1:], str(cwd), env, numbers)

    def poll(self) -> int | None:
        if self.returncode is None and not select.select([self._server], [], [], 0)[0]:
            return None
        return self.wait()

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._server], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = number(self._server)
            self._server.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str | None, str | None]:
        self.wait(timeout)
        told = [None if text is None else text.result(timeout) for text in self._texts[1:]]
        return told[0], told[1]

    def send_signal(self, signal: int) -> None:
        """Send a signal; nothing where the program has ended, as `Popen` does."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal)

    def kill(self) -> None:
        self.send_signal(SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait()


def start(
    command: Sequence[object], *, cwd: Path | None = None, env: Mapping[str, str] | None = None,
    stdin: Any = None, stdout: Any = None, stderr: Any = None, often: bool = False,
) -> Any:  # fmt: skip
    """Start a program as `Popen` does; a stream is None, DEVNULL, a file, or PIPE: text for `communicate`.

    Where programs are started `often` in another environment, a process to fork is kept for it, too.
    """
    typed, environment = list(map(str, command)), dict(os.environ if env is None else env)
    other = not often and read_at_import(environment) != read_at_import(OURS)
    other = other or not can_be_forked(typed[1:])
    if other or typed[0] != sys.executable or os.environ.get(ANEW):
        return subprocess.Popen(
            typed, cwd=cwd, env=environment, stdin=stdin, stdout=stdout, stderr=stderr, text=True,
            start_new_session=True,
        )  # fmt: skip
    return Child(typed, cwd or Path.cwd(), environment, [stdin, stdout, stderr])


def run(
    command: Sequence[object], *, cwd: Path | None = None, env: Mapping[str, str] | None = None,
    given: str = "", timeout: float | None = 600, check: bool = False, often: bool = False,
) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run a program to its end, `given` on its standard input, and return what it wrote, as text."""
    with tempfile.TemporaryFile() as stdin:
        stdin.write(given.encode())
        stdin.seek(0)
        child = start(command, cwd=cwd, env=env, stdin=stdin, stdout=PIPE, stderr=PIPE, often=often)
        done = subprocess.CompletedProcess(child.args, 0, *child.communicate(timeout))
        done.returncode = child.returncode
        if check:
            done.check_returncode()
        return done


def iwsltpack(
    *arguments: object, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a folder, with more in its environment."""
    return run([sys.executable, "-m", "iwsltpack", *arguments], cwd=cwd, env={**os.environ, **environment})
