"""The command line as a user meets it: settings file, exit codes, streams, start-up."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
import warm
from evaluation_fixtures import REFERENCES, write_run

from iwsltpack.cli import NAMES, common, config, function_of
from iwsltpack.errors import UsageError

Built = Callable[[str, str], Path]


def iwsltpack(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Start the program as a user does, from its first import on."""
    return subprocess.run(
        [sys.executable, "-m", "iwsltpack", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_build_verify_inspect_export_in_a_row(tiny: Path, tmp_path: Path) -> None:
    built = iwsltpack(
        "build", tiny, "--recipe", "selected-q2", "--base-model", "me/tiny", "-o", "art", cwd=tmp_path
    )
    assert (built.returncode, built.stdout) == (0, "art\n")
    assert "bytes (0.000 GiB) on disk" in built.stderr
    assert iwsltpack("-q", "verify", "art", cwd=tmp_path).stdout == "art: whole\n"
    told = json.loads(iwsltpack("inspect", "art", "--json", cwd=tmp_path).stdout)
    assert told["base_model"]["id"] == "me/tiny"
    assert told["total_bytes"] == sum(
        path.stat().st_size for path in (tmp_path / "art").rglob("*") if path.is_file()
    )
    table = iwsltpack("inspect", "art", cwd=tmp_path).stdout
    assert f"{told['total_bytes']:,}" in table
    assert "linear layers (paper's measure)" in table
    assert iwsltpack("-q", "export", "art", "-o", "hf", cwd=tmp_path).stdout == "hf\n"
    assert (tmp_path / "hf" / "model.safetensors").is_file()


def test_quiet_leaves_only_results(tiny: Path, tmp_path: Path) -> None:
    done = iwsltpack("--quiet", "build", tiny, "-o", "art", cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("art\n", "")


LOUD = """
import logging, sys, warnings
from iwsltpack.cli import console
quiet = "-q" in sys.argv
console.configure(quiet=quiet)
if quiet:
    from transformers.utils.logging import get_logger
    get_logger("transformers.models").warning("a remark of transformers")
logging.getLogger("matplotlib").warning("a remark of matplotlib")
warnings.warn("a warning of Python's")
logging.getLogger("matplotlib").error("an error")
"""


def test_quiet_leaves_only_errors_of_other_libraries() -> None:
    for options in ([], ["-q"]):
        done = subprocess.run(
            [sys.executable, "-c", LOUD, *options], capture_output=True, text=True, check=True
        )
        told = [part in done.stderr for part in ("a remark of", "a warning of Python's", "an error")]
        assert told == [not options, not options, True], done.stderr


def test_settings_file_replaces_options_and_the_command_line_wins(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "iwsltpack.toml").write_text(
        f'recipe = "selected-q2"\n[build]\nsource = "{tiny}"\ncoding = "pcodec"\noutput = "from-settings"\n'
    )
    assert warm.iwsltpack("-q", "build", cwd=tmp_path).stdout == "from-settings\n"
    assert warm.iwsltpack("-q", "build", "--coding", "paper", "-o", "mine", cwd=tmp_path).stdout == "mine\n"
    for name, coding in (("from-settings", "pcodec"), ("mine", "paper")):
        told = json.loads(warm.iwsltpack("inspect", name, "--json", cwd=tmp_path).stdout)
        assert (told["coding"], told["recipe"]["name"]) == (coding, "selected-q2")


def test_a_switch_of_the_settings_file_is_turned_off_by_hand(tmp_path: Path) -> None:
    write_run(tmp_path / "run", REFERENCES)
    (tmp_path / "ref.txt").write_text("".join(f"{line}\n" for line in REFERENCES), encoding="utf-8")
    (tmp_path / "iwsltpack.toml").write_text(
        "json = true\n[score]\nclean = true\nmetric = 'chrf'\ncomet_model = 'x/y'\n"
    )
    command = ("score", "run", "-r", "ref.txt", "--no-cache")
    told = json.loads(warm.iwsltpack(*command, cwd=tmp_path).stdout)
    assert told["cleaned"] is True
    assert "|clean:no|" in warm.iwsltpack(*command, "--no-clean", "--no-json", cwd=tmp_path).stdout


@pytest.mark.parametrize("command", NAMES)
def test_every_switch_that_settings_can_turn_on_can_be_turned_off(command: str) -> None:
    app = typer.Typer(add_completion=False)
    app.command(cls=common.Command)(common.with_options(function_of(command)))
    switches = [item for item in typer.main.get_command(app).params if getattr(item, "is_flag", False)]
    assert [
        item.name for item in switches if not item.secondary_opts and item.name not in ("list_", "help")
    ] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipee = 'x'\n", "unknown setting 'recipee'"),
        ("[bild]\nrecipe = 'x'\n", "unknown table [bild]"),
        ("[build]\nteam = 'x'\n", "unknown setting 'team' in [build]"),
        ("recipe = \n", "not valid TOML"),
    ],
)
def test_a_wrong_settings_file_is_told_before_anything_runs(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "iwsltpack.toml").write_text(text)
    done = warm.iwsltpack("build", "nowhere", cwd=tmp_path)
    assert done.returncode in (2, 3)
    assert "iwsltpack.toml" in done.stderr
    assert message in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["iwsltpack.toml"]


def test_top_level_settings_reach_every_command_that_knows_them() -> None:
    spread = config.defaults(
        Path("x.toml"),
        {"pair": "en-de", "build": {"max-bits": 3}},
        {"build": {"max_bits"}, "a": {"pair"}, "b": {"pair"}},
    )
    assert spread == {"build": {"max_bits": 3}, "a": {"pair": "en-de"}, "b": {"pair": "en-de"}}
    with pytest.raises(UsageError, match="expected: max_bits, pair"):
        config.defaults(Path("x.toml"), {"nope": 1}, {"build": {"max_bits"}, "a": {"pair"}})


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["build", "no-such-folder"], 3, "neither a checkpoint folder nor a hub id"),
        (["inspect", "nothing"], 4, "no such artifact"),
        (["verify", "nothing"], 5, "no such artifact"),
        (["export", "nothing", "-o", "x"], 4, "no such artifact"),
        (["build", "--recipe", "best"], 2, "unknown recipe 'best'"),
        (["build", "--coding", "gzip"], 2, "unknown coding 'gzip'"),
        (["frobnicate"], 2, "No such command"),
    ],
)
def test_errors_are_sentences_with_a_code_of_their_own(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    done = warm.iwsltpack(*arguments, cwd=tmp_path)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_artifact_makes_verify_fail_and_name_it(built: Built, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(built("selected-q3", "zstd"), tmp_path / "art")
    (tmp_path / "art" / "model" / "config.json").write_text("{}")
    done = iwsltpack("verify", "art", "--json", cwd=tmp_path)
    assert done.returncode == 5
    assert [problem["path"] for problem in json.loads(done.stdout)] == ["model/config.json"]
    assert "the artifact is damaged" in done.stderr


def test_every_command_has_help_with_an_example(tmp_path: Path) -> None:
    from iwsltpack.cli import NAMES, function_of

    for name in NAMES:
        function = function_of(name)
        assert function.__doc__ is not None
        assert f"Example: iwsltpack {name}" in function.__doc__, name


def test_build_lists_recipes_and_codings(tmp_path: Path) -> None:
    told = iwsltpack("build", "--list", cwd=tmp_path).stdout
    for name in ("selected-q3", "prune20-q2", "bnb-int8", "gate-q2", "paper", "pcodec"):
        assert name in told


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_build_says_that_it_can_go_on(tmp_path: Path, tiny: Path, signal_: signal.Signals) -> None:
    slow = (
        "import time\n"
        "from iwsltpack.building import staging\n"
        "staging.BUNDLE_BYTES, real = 0, staging.write_tensor\n"
        "staging.write_tensor = lambda *a: (time.sleep(0.1), real(*a))[1]\n"
        "from iwsltpack.cli.main import main\n"
        "main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", slow, "-q", "build", str(tiny), "-o", "art", "--workers", "1"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while process.poll() is None and not (tmp_path / "art.partial" / "build.jsonl").exists():
        time.sleep(0.01)
    process.send_signal(signal_)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told == "interrupted; build, decode, push and pull go on where they stopped when run again\n"
    assert warm.iwsltpack("-q", "build", tiny, "-o", "art", cwd=tmp_path).returncode == 0
    assert warm.iwsltpack("-q", "verify", "art", cwd=tmp_path).returncode == 0


def test_inspect_does_without_numpy(built: Built, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom iwsltpack.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'numpy', 'zarr', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "inspect", str(built("selected-q3", "zstd"))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.endswith("[]\n")


def test_an_artifact_without_a_single_value_can_be_inspected(tmp_path: Path) -> None:
    import numpy as np
    from conftest import write_checkpoint

    write_checkpoint(tmp_path / "source", {"empty.weight": np.zeros((0, 4), dtype=np.float32)})
    for recipe in ("fp16", "global-q2"):
        assert (
            warm.iwsltpack("-q", "build", "source", "--recipe", recipe, "-o", recipe, cwd=tmp_path).returncode
            == 0
        )
        assert warm.iwsltpack("inspect", recipe, cwd=tmp_path).returncode == 0
        assert json.loads(warm.iwsltpack("inspect", recipe, "--json", cwd=tmp_path).stdout)["parameters"] == 0
