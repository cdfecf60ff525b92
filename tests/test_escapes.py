"""What stands in names, texts and answers is shown to a terminal and a workflow's log, never obeyed by them."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from http_store import HttpStore, isolate
from rich.console import Console
from rich.text import Text

from iwsltpack.artifact.location import locate
from iwsltpack.cli import console
from iwsltpack.documents.names import MANIFEST_NAME
from iwsltpack.errors import (
    ArtifactError,
    InputError,
    Problem,
    ResourceError,
    UsageError,
    ValidationFailed,
    printable,
)
from iwsltpack.system.tables import Column, Table

GOLDEN = REPOSITORY / "tests" / "golden" / "v1"
RED = "\x1b[31m\x1b]0;mine\x07"
FORGED = "x\n::error::forged"


def iwsltpack(*arguments: str | Path, columns: int = 400) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "iwsltpack", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "", "HOME": "/", "COLUMNS": str(columns), "PYTHONPATH": str(REPOSITORY)},
    )


def harmless(text: str) -> bool:
    """Tell whether no control character and no workflow command is left in what a command printed."""
    return not any(printable(line) != line or line.lstrip().startswith("::") for line in text.split("\n"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (RED, r"\x1b[31m\x1b]0;mine\x07"),
        (FORGED, r"x\n::error::forged"),
        ("a\r\tb\x00\x7f", r"a\r\tb\x00\x7f"),
        ("\x9b31m\u2028\u202eabc\u2066", r"\x9b31m\u2028\u202eabc\u2066"),
        ("\udcff", r"\udcff"),
        ("你好　Ä\xa0‘x’ \u200d \\n [bold]", "你好　Ä\xa0‘x’ \u200d \\n [bold]"),
    ],
)
def test_only_what_would_act_is_written_otherwise(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown


def test_every_part_of_an_error_and_a_problem_is_one_line() -> None:
    error = InputError(FORGED, where=FORGED, expected=FORGED, got=RED, fix=FORGED)
    assert len(str(error).split("\n")) == 4
    problem = Problem(rule="r", message=FORGED, path=FORGED, fix=RED)
    assert len(str(ValidationFailed("w", [problem], where=FORGED)).split("\n")) == 2
    assert harmless(f"{error}\n{ValidationFailed('w', [problem], where=FORGED)}")
    assert error.where == FORGED, "a program gets what is there"


def test_talk_results_cells_and_progress_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    for name in ("out", "err"):
        monkeypatch.setattr(console, name, Console(file=said, width=200, highlight=False, soft_wrap=True))
    console.say(FORGED + RED)
    console.show(RED + FORGED + "[bold]a[/bold] [/]")
    columns = (Column(heading="a"), Column(heading="b"))
    console.show(Table(columns, [(FORGED, RED + "[/]"), (Text(FORGED, style="green"), "")], "title" + RED))
    monkeypatch.setattr(console, "err", Console(file=said, width=200, force_terminal=True, no_color=True))
    bars = console._Bars({"items": console._bars("items"), "bytes": console._bars("bytes")})
    bars.start("[/] building" + RED, 2)
    bars.note(RED + "[/] layer\u202e")
    bars.advance()
    bars.finish()
    printed = said.getvalue()
    assert "mine\x07" not in printed
    assert "\u202e" not in printed
    assert "\n::" not in printed
    assert printed.count(r"\x1b[31m") >= 5
    assert "[bold]a[/bold] [/]" in printed


def test_a_path_and_a_hypothesis_are_shown_by_the_commands(tmp_path: Path) -> None:
    told = iwsltpack("inspect", tmp_path / FORGED)
    assert told.returncode == ArtifactError.exit_code
    assert r"x\n::error::forged" in told.stderr
    hypotheses = tmp_path / f"{RED}.en-zh.txt"
    hypotheses.write_text(f"你好{RED}世界\n[bold]hi[/bold]\n[/]\n\u202eabc\n::error::x\n“你好\x1b”\n")
    for arguments in (
        ("validate", hypotheses),
        ("validate", "--format", "github", hypotheses),
        ("validate", tmp_path / FORGED),
        ("clean", hypotheses, "--output", tmp_path / "out.txt", "--diff"),
    ):
        told = iwsltpack(*arguments)
        assert "Traceback" not in told.stderr
        lines = [line for line in told.stdout.split("\n") if "--format" not in arguments or line[:2] != "::"]
        assert harmless("\n".join(lines) + told.stderr), arguments


@pytest.mark.parametrize("text", [RED, FORGED, "\u202eabc", "\x9b31m"])
def test_what_is_mistyped_is_shown(text: str) -> None:
    for arguments in ((text,), ("--" + text,), ("status", text), ("decode", "--" + text)):
        told = iwsltpack(*arguments)
        assert told.returncode == UsageError.exit_code
        assert harmless(told.stdout + told.stderr), arguments


def test_a_manifest_is_shown(tmp_path: Path) -> None:
    from test_hostile import reseal

    shutil.copytree(GOLDEN / "zstd", tmp_path / "art")
    reseal(tmp_path / "art", lambda m: m["recipe"].update(description=f"{RED}[/]{FORGED}"))
    told = iwsltpack("inspect", tmp_path / "art")
    assert told.returncode == 0, told.stderr
    assert harmless(told.stdout)
    assert r"\x1b[31m" in told.stdout


def test_what_a_server_says_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch, tmp_path)
    with HttpStore(GOLDEN) as store:
        store.fail(MANIFEST_NAME, times=None, status=418, reason=f"tea{RED}\x9b\u00e9")
        with pytest.raises(ResourceError, match="refuses the request") as error:
            locate(f"{store.url}/zstd")
    assert harmless(str(error.value))
    assert "HTTP 418 tea" in str(error.value)
