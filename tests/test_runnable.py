"""The runnable package: set up in a folder it was not made in, then three lines in, three lines out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from conftest import MINIATURE, REPOSITORY, TESTSET
from submission_fixtures import (  # noqa: F401
    artifact_fixture,
    request,
    rewrite_run,
    run_fixture,
    settings,
    tree,
    write_run,
)

from iwsltpack.errors import MissingDependency, ValidationFailed
from iwsltpack.submission.packaging import prepare
from iwsltpack.submission.runnable import make_runnable, requirements

NAME = "APG_DEMO_ModelCompression_en-zh_constrained_primary"


def make(root: Path, artifact: Path, run: Path) -> Path:
    asked = request(artifact, run)
    return make_runnable(root, asked, prepare(asked).submission)


def bash(script: Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(script), *map(str, arguments)],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(script.parent), **environment},
    )


@pytest.fixture(scope="module")
def runnable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runnable package of the miniature, moved to where it was not made, and set up there."""
    from iwsltpack.building.pipeline import build_artifact
    from iwsltpack.building.recipes import load_recipe
    from iwsltpack.building.request import BuildRequest

    if not (MINIATURE / "config.json").is_file() or not (TESTSET / "manifest.csv").is_file():
        pytest.skip("the miniature is not there")
    made = tmp_path_factory.mktemp("made")
    build_artifact(BuildRequest(MINIATURE, made / "artifact", load_recipe("selected-q3")))
    folder = make(made / "runnable", made / "artifact", write_run(made / "run", made / "artifact"))
    target = tmp_path_factory.mktemp("elsewhere") / "a folder with spaces"
    shutil.move(folder, target)
    shutil.rmtree(made)
    done = bash(target / "setup.sh", PACKAGES_FROM=sys.executable, PYTHON=sys.executable, PIP_NO_INDEX="1")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return target


def clips() -> list[Path]:
    return sorted(path for path in (TESTSET / "wavs").iterdir() if path.suffix == ".flac")[:2]


@pytest.mark.slow
def test_three_lines_in_three_lines_out(runnable: Path, tmp_path: Path) -> None:
    one, two = clips()
    (tmp_path / "audio").mkdir()
    shutil.copy(one, tmp_path / "audio" / "one.flac")
    (tmp_path / "in.txt").write_text(f"audio/one.flac\n/no/such/file.wav\n{two}\n")
    done = bash(
        runnable / "run.sh", "--lang-pair", "en-zh", "--batch-size", 2,
        "--input", tmp_path / "in.txt", "--output", tmp_path / "out.txt",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    lines = (tmp_path / "out.txt").read_text(encoding="utf-8").split("\n")
    assert len(lines) == 4
    assert (lines[1], lines[3]) == ("…", "")
    assert all(any("\u4e00" <= character <= "\u9fff" for character in lines[index]) for index in (0, 2))
    assert "line 2: no such file" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lang-pair", "en-de", "--batch-size", "1"], "invalid choice: 'en-de'"),
        (["--lang-pair", "en-zh", "--batch-size", "0"], "--batch-size must be at least 1"),
        (["--lang-pair", "en-zh", "--batch-size", "1", "--input", "/none"], "no such file: /none"),
    ],
)
def test_a_wrong_call_says_why_and_leaves_no_output(
    runnable: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "in.txt").touch()
    given = ["--input", str(tmp_path / "in.txt")] if "--input" not in arguments else []
    done = bash(runnable / "run.sh", *arguments, *given, "--output", tmp_path / "out.txt")
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "out.txt").exists()


@pytest.mark.slow
def test_no_input_gives_no_output_lines(runnable: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").touch()
    done = bash(
        runnable / "run.sh", "--lang-pair", "en-zh", "--batch-size", 1,
        "--input", tmp_path / "in.txt", "--output", tmp_path / "out.txt",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.txt").read_bytes() == b""


@pytest.mark.slow
def test_set_up_starts_from_nothing_and_fails_where_the_model_is_damaged(
    runnable: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(runnable, copy, ignore=shutil.ignore_patterns(".venv"))
    (copy / ".venv").mkdir()
    (copy / ".venv" / "stray").touch()
    victim = copy / "artifact" / "model" / "config.json"
    victim.write_bytes(victim.read_bytes() + b" ")
    done = bash(copy / "setup.sh", PACKAGES_FROM=sys.executable, PYTHON=sys.executable, PIP_NO_INDEX="1")
    assert done.returncode != 0
    assert "config.json" in done.stderr
    assert not (copy / ".venv" / "stray").exists()
    done = bash(copy / "run.sh", "--lang-pair", "en-zh")
    assert (done.returncode, done.stdout) == (1, "")
    assert "run first: bash setup.sh" in done.stderr


def test_it_holds_all_it_needs_and_nothing_of_this_machine(run: Path, artifact: Path, tmp_path: Path) -> None:
    folder = make(tmp_path / "runnable", artifact, run)
    files = tree(folder)
    assert {"setup.sh", "run.sh", "requirements.txt", "README.md", "translate.py", "settings.json"} <= set(
        files
    )
    assert {name: data for name, data in files.items() if name.startswith("artifact/")} == {
        f"artifact/{name}": data for name, data in tree(artifact).items()
    }
    assert "lib/iwsltpack/schemas/run.schema.json" in files
    assert not any("__pycache__" in name or "demo/miniature" in name for name in files)
    for data in files.values():
        assert str(tmp_path).encode() not in data
    assert "${" not in files["README.md"].decode()
    assert [os.access(folder / name, os.X_OK) for name in ("setup.sh", "run.sh")] == [True, True]


def test_it_is_the_same_each_time_and_replaces_itself(run: Path, artifact: Path, tmp_path: Path) -> None:
    first = tree(make(tmp_path / "runnable", artifact, run))
    assert tree(make(tmp_path / "runnable", artifact, run)) == first
    assert [path.name for path in (tmp_path / "runnable").iterdir()] == [NAME]


def test_requirements_are_pinned_without_local_tags() -> None:
    lines = requirements()
    assert f"torch=={metadata.version('torch').split('+')[0]}" in lines
    assert any(line.startswith("numcodecs[pcodec]==") for line in lines)
    assert not any("+" in line or "pytest" in line for line in lines)


def test_what_is_not_installed_cannot_be_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(MissingDependency, match="pins what is installed here"):
        requirements()


def test_every_declared_requirement_is_pinned_as_the_checkout_declares_it() -> None:
    import tomllib

    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "dependencies"
    ]
    names = sorted(re.split(r"[\[<>=~!, ]", line)[0].lower() for line in declared)
    assert sorted(re.split(r"[\[=]", line)[0].lower() for line in requirements()) == names


def test_the_settings_of_the_run_go_with_it(run: Path, artifact: Path, tmp_path: Path) -> None:
    import json

    template = "{{ messages }}"
    rewrite_run(
        run, settings=settings(prompt="Say it in Chinese.", retry_truncated=128, chat_template=template)
    )
    files = tree(make(tmp_path / "runnable", artifact, run))
    assert json.loads(files["settings.json"])["decode"] == {
        "max-new-tokens": 64,
        "prompt": "Say it in Chinese.",
        "retry-truncated": 128,
    }
    assert files["chat_template.jinja"].decode() == template


def test_a_copy_that_went_wrong_is_not_kept(
    run: Path, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iwsltpack.artifact import integrity

    asked = request(artifact, run)
    submission = prepare(asked).submission
    shown = [integrity.Problem(rule="artifact.checksum", message="damaged")]
    monkeypatch.setattr(integrity, "verify_artifact", lambda *_: shown)
    with pytest.raises(ValidationFailed, match="the copy of the artifact is not whole"):
        make_runnable(tmp_path / "runnable", asked, submission)
    assert [path.name for path in (tmp_path / "runnable").iterdir() if not path.name.startswith(".")] == []
