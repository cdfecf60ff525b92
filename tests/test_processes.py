"""Commands among other users, closed and full streams, plain terminals and signals: one clear error each."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from evaluation_fixtures import write_run

from iwsltpack.scoring.references import References
from iwsltpack.scoring.score import score
from iwsltpack.scoring.texts import read_hypotheses
from iwsltpack.system import fileio

ARTIFACT = REPOSITORY / "tests" / "golden" / "v1" / "zstd"
COMMAND = (sys.executable, "-m", "iwsltpack", "-q")
PR_CAPBSET_DROP = 24
OVERRIDES = (1, 2)
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: with them, root is let in everywhere."""


def as_anybody() -> None:
    """Let a child that is root be kept out of folders as any user is."""
    if os.getuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in OVERRIDES:
            assert libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0


def run(
    *arguments: object, cwd: Path, environment: dict[str, str] | None = None, **how: Any
) -> tuple[int, str]:
    """Run a command; return its exit code and what it wrote on stderr."""
    how = {"stdout": subprocess.DEVNULL, **how}
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **(environment or {})},
        **how,
    )
    return done.returncode, done.stderr


def is_one_error(told: str) -> bool:
    return told.count("error: ") == 1 and "Traceback" not in told and "Exception ignored" not in told


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A folder in one that lets nobody in, as that of another user with mode 0700."""
    folder = tmp_path / "theirs" / "thing"
    folder.mkdir(parents=True)
    (folder / "iwsltpack.json").write_text("{}")
    folder.parent.chmod(0o000)
    yield folder
    folder.parent.chmod(0o755)


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "THEIRS"),
        ("verify", "THEIRS"),
        ("validate", "THEIRS"),
        ("clean", "THEIRS/a.txt", "--lang", "zh", "-o", "out.txt"),
        ("build", "THEIRS", "-o", "out"),
        ("decode", "THEIRS", "--artifact", str(ARTIFACT), "-o", "out"),
        ("decode", ".", "--artifact", "THEIRS", "-o", "out"),
        ("build", str(ARTIFACT), "-o", "THEIRS/out"),
        ("score", "THEIRS", "--reference", "THEIRS/a.txt"),
        ("report", "THEIRS", "-o", "out"),
        ("export", "THEIRS", "-o", "out"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_folder_of_another_user_is_one_error(
    arguments: tuple[str, ...], locked: Path, tmp_path: Path
) -> None:
    asked = [part.replace("THEIRS", str(locked)) for part in arguments]
    code, told = run(*asked, cwd=tmp_path, preexec_fn=as_anybody)
    assert is_one_error(told), told
    assert code in (2, 3, 4, 5, 7)


def test_scores_are_computed_without_a_cache_that_may_not_be_read(locked: Path, tmp_path: Path) -> None:
    (tmp_path / "a.en-zh.txt").write_text("你好。\n", "utf-8")
    asked = ("score", "a.en-zh.txt", "--reference", "a.en-zh.txt", "-o", "out.json")
    environment = {"IWSLTPACK_CACHE": str(locked)}
    code, told = run(*asked, cwd=tmp_path, environment=environment, preexec_fn=as_anybody)
    assert (code, told) == (0, "")
    assert (tmp_path / "out.json").is_file()


HOMELESS = """
import pwd
def unknown(number):
    raise KeyError(number)
pwd.getpwuid = unknown
from iwsltpack.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("score", "a.en-zh.txt", "--reference", "a.en-zh.txt", "-o", "out.json"), 0),
        (("inspect", "https://127.0.0.1:1/artifact"), 7),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_user_without_a_home_folder_is_told_where_one_is_needed(
    arguments: tuple[str, ...], expected: int, tmp_path: Path
) -> None:
    """As in a container that is run under a number nobody has."""
    (tmp_path / "a.en-zh.txt").write_text("你好。\n", "utf-8")
    named = ("HOME", "XDG_CACHE_HOME", "HF_HOME", fileio.CACHE_VARIABLE)
    environment = {key: value for key, value in os.environ.items() if key not in named}
    done = subprocess.run(
        [sys.executable, "-c", HOMELESS, "-q", *arguments], cwd=tmp_path, capture_output=True, text=True,
        check=False, env={**environment, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == expected, done.stderr
    assert ("to do: set HOME" in done.stderr, is_one_error(done.stderr)) == (expected > 0, expected > 0)


@pytest.mark.parametrize("mode", [0o000, 0o555])
@pytest.mark.parametrize(
    "arguments",
    [
        ("clean", "a.en-zh.txt"),
        ("export", str(ARTIFACT)),
        ("score", "a.en-zh.txt", "--reference", "a.en-zh.txt"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_an_output_in_a_folder_that_may_not_be_written_names_the_output(
    arguments: tuple[str, ...], mode: int, tmp_path: Path
) -> None:
    (tmp_path / "a.en-zh.txt").write_text("你好。\n", "utf-8")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    theirs.chmod(mode)
    code, told = run(*arguments, "-o", "theirs/out", cwd=tmp_path, preexec_fn=as_anybody)
    theirs.chmod(0o755)
    assert is_one_error(told), told
    assert code in (3, 7)
    assert told.startswith("error: theirs")
    assert "submission.json" not in told
    assert "Permission denied" in told
    assert "to do: see who owns it" in told
    assert list(theirs.iterdir()) == []


@pytest.mark.parametrize("arguments", [("inspect", ARTIFACT), ("inspect", ARTIFACT, "--json"), ("--help",)])
def test_standard_output_that_is_closed_or_full_is_one_error(
    arguments: tuple[object, ...], tmp_path: Path
) -> None:
    code, told = run(*arguments, cwd=tmp_path, preexec_fn=lambda: os.close(1), stdout=None)
    assert (code, is_one_error(told)) == (7, True), told
    assert "standard output is closed" in told
    with Path("/dev/full").open("wb") as full:
        code, told = run(*arguments, cwd=tmp_path, stdout=full)
    assert (code, is_one_error(told)) == (7, True), told
    assert "standard output cannot be written" in told
    assert "No space left on device" in told


def test_a_reader_that_has_had_enough_is_no_error(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    code, told = run("inspect", ARTIFACT, cwd=tmp_path, stdout=writing)
    os.close(writing)
    assert (code, told) == (1, "")


def test_a_terminal_without_the_characters_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "a.en-zh.txt").write_text("翻译：你好\n", encoding="utf-8")
    for form in ((), ("--json",)):
        code, told = run(
            "validate", "a.en-zh.txt", *form, cwd=tmp_path, environment={"PYTHONIOENCODING": "ascii"}
        )
        assert (code, is_one_error(told)) == (7, True), told
        assert "expected: UTF-8" in told
        assert r"got: '\u7ffb' in ascii" in told


def test_an_error_that_cannot_be_told_keeps_its_exit_code(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*COMMAND, "inspect", "nothing"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=full, check=False
        )
    assert (done.returncode, done.stdout) == (4, b"")


@pytest.mark.parametrize("seconds", [0.05, 0.15, 0.3, 0.5, 0.8, 1.2])
def test_a_process_that_is_stopped_while_it_starts_says_so_or_nothing(seconds: float, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "validate", str(ARTIFACT)],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert "Traceback" not in told
    # Before the command's own handling is up, Python ends by the signal itself: of its own interrupt, or of this one.
    assert process.returncode in (0, 130, -signal.SIGTERM, -signal.SIGINT)


def limited() -> None:
    """Let a child write no file of more than 1 MB, as on a disk that is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))


def test_clips_that_do_not_fit_the_disk_are_one_error_and_leave_nothing(tmp_path: Path) -> None:
    run_folder = write_run(tmp_path / "runs" / "a", ["你好"])
    result = score(read_hypotheses(run_folder), References(name="ref", lines=("你好",)), metrics=["chrf"])
    fileio.write_json(run_folder / "score.json", result.to_json())
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "sent_1.wav").write_bytes(bytes(2 * 10**6))
    elsewhere = (
        "import errno, os\n"
        "def link(*_): raise OSError(errno.EXDEV, 'on another disk')\n"
        "os.link = link\n"
        "from iwsltpack.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", elsewhere, "-q", "report", "runs", "--audio", "clips", "-o", "out"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limited,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert (done.returncode, is_one_error(done.stderr)) == (7, True), done.stderr
    assert "no space left to write" in done.stderr
    assert [path.name for path in (tmp_path / "out").rglob("*sent_1*")] == []
