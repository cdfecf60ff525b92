"""The demo as a newcomer meets it: one command, every step, COMET plainly labelled."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from comet_fixtures import write_stub_python
from warm import iwsltpack

from iwsltpack.demo.demo_run import TINY_COMET, comparison, lay_out, make_tiny_comet
from iwsltpack.errors import IwsltpackError, UsageError
from iwsltpack.scoring.comet_env import PYTHON_VARIABLE, ensure_environment
from iwsltpack.system.progress import SILENT


@pytest.mark.slow
def test_the_demo_goes_the_whole_way_and_scores_every_recipe(tmp_path: Path) -> None:
    try:
        ensure_environment()
        comet = True
    except IwsltpackError:
        comet = False  # no network to build it: the rest of the way is the same
    done = iwsltpack("demo", "--comet" if comet else "--no-comet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "8 of 8 clips translated exactly as the reference." in done.stderr
    folder = tmp_path / "iwsltpack-demo"
    assert (folder / "report" / "index.html").is_file()
    assert len(list((folder / "submissions").glob("LAPTOP_*_primary/submission.json"))) == 1
    runs = ("demo", "fp16", "selected-q2", "global-q2")
    scores = [folder / "runs" / run / "score.json" for run in runs]
    scores.append(folder / "runs" / "demo" / "score.cleaned.json")
    for path in scores:
        found = {entry["metric"]: entry for entry in json.loads(path.read_text(encoding="utf-8"))["metrics"]}
        assert set(found) == ({"chrf", "bleu", "comet"} if comet else {"chrf", "bleu"}), path
        if comet:
            assert found["comet"]["signature"]["checkpoint"]["name"] == TINY_COMET
    assert (f"COMET ({TINY_COMET})" in done.stdout) == comet


def test_without_comet_no_step_asks_for_it() -> None:
    assert not any("comet" in step.command for step in comparison())
    asked = [step for step in comparison(comet=True) if " score " in step.line]
    assert len(asked) == 5
    assert all(f"--comet-model {TINY_COMET}" in step.command for step in asked)


def test_a_comet_environment_that_cannot_make_the_checkpoint_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay_out(tmp_path / "demo")
    monkeypatch.setenv(PYTHON_VARIABLE, str(write_stub_python(tmp_path / "stub")))
    with pytest.raises(IwsltpackError, match=r"(?s)cannot make the demo's checkpoint.*--no-comet"):
        make_tiny_comet(tmp_path / "demo", SILENT)


def test_a_folder_that_is_no_demos_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(UsageError, match="exists and is not a demo's"):
        lay_out(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"
