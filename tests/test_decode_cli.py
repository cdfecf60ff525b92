"""`iwsltpack decode` as it is typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from inference_fixtures import MINIATURE, write_tone
from typer.testing import CliRunner

from iwsltpack.cli import decode as command
from iwsltpack.cli.common import with_options
from iwsltpack.documents.run import read_run
from iwsltpack.errors import UsageError, ValidationFailed


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from iwsltpack.building.pipeline import build_artifact
    from iwsltpack.building.recipes import load_recipe
    from iwsltpack.building.request import BuildRequest

    folder = tmp_path_factory.mktemp("artifact") / "q3"
    build_artifact(BuildRequest(MINIATURE, folder, load_recipe("selected-q3"), "zstd"))
    return folder


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for number in (1, 2):
        write_tone(tmp_path / "talks" / f"{number}.wav", 0.5, 300.0 * number)
    return tmp_path / "talks"


def run(*arguments: object) -> Any:
    app = typer.Typer()
    app.command()(with_options(command.command))
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("mode", ["load", "cache", "stream", "int8"])
def test_an_artifact_decodes_a_folder(artifact: Path, clips: Path, tmp_path: Path, mode: str) -> None:
    output = tmp_path / "out"
    result = run(
        clips, "--artifact", artifact, "-o", output, "--device", "cpu", "--mode", mode, "--max-new-tokens", 3
    )
    assert result.exit_code == 0, result.exception
    assert result.stdout == f"{output}/talks.en-zh.txt\n"
    assert "talks: 2 lines" in result.stderr
    assert "2 outputs stopped at 3 tokens and are cut: try --retry-truncated 6" in result.stderr
    record = read_run(output)
    assert record.artifact.bytes == sum(path.stat().st_size for path in artifact.rglob("*") if path.is_file())
    assert record.artifact.recipe == "selected-q3"
    assert (record.settings.mode, record.settings.dtype, record.settings.device) == (mode, "float32", "cpu")


def test_an_empty_prompt_and_an_output_among_the_recordings_are_refused(
    artifact: Path, clips: Path, tmp_path: Path
) -> None:
    empty = run(clips, "--artifact", artifact, "-o", tmp_path / "out", "--device", "cpu", "--prompt", " ")
    assert isinstance(empty.exception, UsageError) and "the prompt is empty" in str(empty.exception)
    inside = run(clips, "--artifact", artifact, "-o", clips, "--device", "cpu")
    assert isinstance(inside.exception, UsageError)
    assert "the output is a folder of recordings" in str(inside.exception)
    assert sorted(path.name for path in clips.iterdir()) == ["1.wav", "2.wav"]
    assert not (tmp_path / "out").exists()


def test_every_option_reaches_the_run(artifact: Path, clips: Path, tmp_path: Path) -> None:
    (clips / "3.wav").write_bytes(b"")
    template = tmp_path / "chat.jinja"
    template.write_text("<|audio_bos|><|AUDIO|><|audio_eos|>{{ messages[-1]['content'][1]['text'] }}")
    (tmp_path / "sets.toml").write_text("[mine]\nmax_new_tokens = 2\nretry_truncated = 3\n")
    flags = [
        "--pair",
        "en-de",
        "--prompt",
        "Deutsch.",
        "--batch-size",
        1,
        "--batch-seconds",
        9,
        "--dtype",
        "bfloat16",
    ]
    flags += ["--on-bad-audio", "placeholder", "--placeholder", "---", "--format", "folder", "--name", "mine"]
    flags += ["--system-prompt", "Kurz.", "--chat-template", template, "--per-set", tmp_path / "sets.toml"]
    flags += ["--long", "error", "--device", "cpu", "--max-new-tokens", 1, "--edition", "iwslt2026"]
    result = run(clips, "--artifact", artifact, "-o", tmp_path / "out", *flags)
    assert result.exit_code == 0, result.exception
    found = read_run(tmp_path / "out")
    assert found.output.path == "mine.en-de.txt"
    assert (tmp_path / "out" / found.output.path).read_text().splitlines()[2] == "---"
    assert "1 lines hold the placeholder" in result.stderr
    settings = found.settings.to_json()
    expected = {"prompt": "Deutsch.", "system_prompt": "Kurz.", "max_new_tokens": 2, "retry_truncated": 3}
    expected |= {"batch_size": 1, "batch_seconds": 9.0, "dtype": "bfloat16", "on_bad_audio": "placeholder"}
    expected |= {"placeholder": "---", "long": "error", "chat_template": template.read_text()}
    assert {key: settings[key] for key in expected} == expected


def test_errors_come_out_as_they_are(artifact: Path, clips: Path, tmp_path: Path) -> None:
    assert isinstance(
        run(clips, "--artifact", artifact, "-o", tmp_path / "o", "--pair", "en-fr").exception, UsageError
    )
    (clips / "1.wav").write_text("x")
    result = run(clips, "--artifact", artifact, "-o", tmp_path / "o", "--device", "cpu")
    assert isinstance(result.exception, ValidationFailed)
    assert not (tmp_path / "o").exists()


def test_a_mode_that_is_not_there_is_not_offered(artifact: Path, clips: Path) -> None:
    result = run(clips, "--artifact", artifact, "--mode", "int4")
    assert result.exit_code == 2
    assert "int4" in result.stderr


def test_a_segmentation_may_be_given(artifact: Path, clips: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "elsewhere.yaml"
    chosen.write_text(
        "- {wav: wav/2.wav, offset: 0.1, duration: 0.2}\n- {wav: 2.wav, offset: 0.3, duration: 0.2}\n"
    )
    options = ["--artifact", artifact, "-o", tmp_path / "out", "--device", "cpu", "--max-new-tokens", 2]
    result = run(clips, *options, "--segments", chosen)
    assert result.exit_code == 0, result.exception
    assert "1 recordings have no segment and are left out: 1.wav" in result.stderr
    assert [(s.id, s.offset) for s in read_run(tmp_path / "out").segments] == [("2_0", 0.1), ("2_1", 0.3)]
