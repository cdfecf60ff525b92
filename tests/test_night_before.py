"""The night before the deadline: commands run twice, wrong folders, wrong settings; nothing is lost or cut."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import warm
from submission_fixtures import CLEANED, LINES, artifact_fixture, request, run_fixture, write_run  # noqa: F401
from warm import iwsltpack

from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.recipes import BUILT_IN
from iwsltpack.building.request import BuildRequest
from iwsltpack.building.source import find_source
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.documents.places import refuse_above_runs, refuse_inside, run_folders
from iwsltpack.errors import InputError, UsageError
from iwsltpack.submission import ledger
from iwsltpack.submission.packaging import prepare
from iwsltpack.submission.validation import validate
from iwsltpack.system.progress import Reporter
from iwsltpack.system.tables import Column, Table

Built = Callable[[str, str], Path]


class Told(Reporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def say(self, text: str) -> None:
        self.texts.append(text)


def test_a_build_that_is_finished_is_done_again_in_one_line(tiny: Path, tmp_path: Path) -> None:
    arguments = ("build", tiny, "--recipe", "fp16", "--base-model", "me/tiny", "-o", "art")
    assert iwsltpack(*arguments, cwd=tmp_path).returncode == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "art").rglob("*")}
    again = iwsltpack(*arguments, cwd=tmp_path)
    assert (again.returncode, again.stdout) == (0, "art\n")
    assert "art: built already" in again.stderr.splitlines()[0]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "art").rglob("*")} == before


def test_another_request_into_a_finished_build_is_refused(tiny: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(tiny, tmp_path / "source"))
    build_artifact(BuildRequest(source, tmp_path / "out", BUILT_IN["fp16"], model_id="me/tiny"))
    for recipe, coding, model in (
        ("selected-q2", "zstd", "me/tiny"), ("fp16", "pcodec", "me/tiny"), ("fp16", "zstd", "you/tiny"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match="another artifact than this request makes"):
            build_artifact(BuildRequest(source, tmp_path / "out", BUILT_IN[recipe], coding, model_id=model))
    next(source.glob("*.safetensors")).touch()
    with pytest.raises(UsageError, match="another artifact than this request makes"):
        build_artifact(BuildRequest(source, tmp_path / "out", BUILT_IN["fp16"], model_id="me/tiny"))


@pytest.mark.parametrize("changed", ["model.safetensors", "chat_template.jinja", "generation_config.json"])
def test_a_model_trained_on_is_not_taken_for_the_one_that_was_built(
    tiny: Path, tmp_path: Path, changed: str
) -> None:
    first, second = (Path(shutil.copytree(tiny, tmp_path / name)) for name in ("step-500", "step-1000"))
    if changed.endswith(".safetensors"):
        for path in second.glob("*.safetensors"):
            data = bytearray(path.read_bytes())
            data[-100:] = bytes(100)
            path.write_bytes(data)
    else:
        (second / changed).write_text("{}")
    build_artifact(BuildRequest(first, tmp_path / "out", BUILT_IN["fp16"], model_id="me/tiny"))
    told = Told()
    build_artifact(BuildRequest(first, tmp_path / "out", BUILT_IN["fp16"], model_id="me/tiny"), progress=told)
    assert "built already" in told.texts[-1]
    with pytest.raises(UsageError, match="or the files of the checkpoint were written since"):
        build_artifact(BuildRequest(second, tmp_path / "out", BUILT_IN["fp16"], model_id="me/tiny"))


def test_a_folder_that_no_build_began_is_nobodys_to_build_in(tiny: Path, tmp_path: Path) -> None:
    request = BuildRequest(tiny, tmp_path / "out", BUILT_IN["fp16"], model_id="me/tiny")
    notes = tmp_path / "out.partial" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine")
    with pytest.raises(UsageError, match=r"(?s)no build began it.*other files"):
        build_artifact(request)
    assert notes.read_text() == "mine"
    shutil.rmtree(notes.parent)
    (tmp_path / "disk").mkdir()
    notes.parent.symlink_to(tmp_path / "disk")
    with pytest.raises(UsageError, match=r"(?s)no build began it.*a link"):
        build_artifact(request)
    notes.parent.unlink()
    notes.parent.mkdir()  # empty, it is as good as none
    build_artifact(request)


@pytest.mark.parametrize("name", ["nonsense name", "../../x", "a/b/c", "/etc", "OWNER/"])
def test_a_base_model_is_named_as_the_hub_names_it(tiny: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="not a model of the hub"):
        build_artifact(BuildRequest(tiny, tmp_path / "out", BUILT_IN["fp16"], model_id=name))


def test_reports_and_sizes_of_artifacts(tiny: Path, tmp_path: Path) -> None:
    assert iwsltpack("-q", "build", tiny, "--recipe", "fp16", "-o", "art", cwd=tmp_path).returncode == 0
    inside = iwsltpack("report", "art", "-o", "art", cwd=tmp_path)
    assert (inside.returncode, "the output is the folder of another thing: artifact" in inside.stderr) == (
        2,
        True,
    )
    told = "art holds other files than its manifest lists"
    assert told not in iwsltpack("inspect", "art", cwd=tmp_path).stderr
    (tmp_path / "art" / "junk").write_text("x")
    assert told in iwsltpack("inspect", "art", cwd=tmp_path).stderr
    (tmp_path / "art" / "junk").unlink()
    shutil.rmtree(next((tmp_path / "art" / "weights.zarr").glob("*.weight")))
    assert told in iwsltpack("inspect", "art", cwd=tmp_path).stderr


def test_settings_that_cannot_be_read_and_layers_that_are_nothing_are_told(
    tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "zero.toml").write_text("name = 'zero'\n[[layers]]\npattern = 'mlp'\nbits = 0\n")
    built = iwsltpack("build", tiny, "--recipe", "zero.toml", "-o", "art", cwd=tmp_path)
    assert (built.returncode, "tensors hold one value alone" in built.stderr) == (0, True), built.stderr
    plain = iwsltpack("build", tiny, "-o", "plain", cwd=tmp_path)
    assert (plain.returncode, "one value alone" in plain.stderr) == (0, False), plain.stderr
    (tmp_path / "iwsltpack.toml").symlink_to("nowhere")
    told = iwsltpack("status", cwd=tmp_path)
    assert (told.returncode, "the settings cannot be read" in told.stderr) == (2, True), told.stderr


def test_a_typed_step_puts_aside_the_size_of_the_settings(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "iwsltpack.toml").write_text('[build]\ntarget_size = "1MB"\n')
    done = iwsltpack("build", tiny, "--step", "1e-4", cwd=tmp_path)
    assert "settings of a calibration, and no data for one" in done.stderr
    done = iwsltpack("frontier", tiny, "--sizes", "1MB", "--calibration", "x", "--data", "y", "--recipe", "fp16",
                     cwd=tmp_path)  # fmt: skip
    assert (done.returncode, "the recipe has nothing to calibrate" in done.stderr) == (2, True), done.stderr


def test_a_base_model_that_is_not_known_is_told_at_build_and_named_at_submit(
    tiny: Path, artifact: Path, tmp_path: Path
) -> None:
    told = Told()
    build_artifact(BuildRequest(tiny, tmp_path / "art", BUILT_IN["fp16"]), progress=told)
    assert "--base-model OWNER/NAME here, or later to submit" in told.texts[0]
    assert read_manifest(artifact).base_model.id is None
    run = write_run(tmp_path / "run", artifact)
    package = prepare(request(artifact, run, base_model="Qwen/Qwen2-Audio-7B-Instruct"))
    assert package.submission.artifact.base_model == "Qwen/Qwen2-Audio-7B-Instruct"
    assert b"Qwen/Qwen2-Audio-7B-Instruct" in package.files["DESCRIPTION.md"]
    ledger.add(tmp_path / "submissions", package)
    assert validate(tmp_path / "submissions") == ("ledger", [])


def test_a_mistyped_folder_is_not_taken_for_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checkpoints" / "qwen").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"(?s)no such folder here.*did you mean checkpoints/qwen\?"):
        find_source("checkpoints/qwem")


def test_a_checkpoint_of_configuration_and_weights_alone_is_refused(tmp_path: Path) -> None:
    import shutil

    from conftest import MINIATURE, write_checkpoint

    bare = tmp_path / "bare"
    shutil.copytree(MINIATURE, bare, ignore=shutil.ignore_patterns("*token*", "processor*", "*.jinja"))
    done = iwsltpack("build", "bare", "-o", "art", cwd=tmp_path)
    assert done.returncode == 3
    assert "the checkpoint has no tokenizer and no feature extractor" in done.stderr
    assert "to do: fetch the checkpoint anew" in done.stderr
    assert not (tmp_path / "art").exists()
    shutil.copy(MINIATURE / "tokenizer.json", bare)
    with pytest.raises(InputError, match="no feature extractor"):
        build_artifact(BuildRequest(bare, tmp_path / "art", BUILT_IN["fp16"]))
    # A model that hears nothing needs neither to be what it is.
    told = Told()
    write_checkpoint(tmp_path / "deaf", {"a.weight": np.zeros((2, 2), dtype=np.float32)})
    build_artifact(
        BuildRequest(tmp_path / "deaf", tmp_path / "art", BUILT_IN["fp16"], model_id="me/x"), progress=told
    )
    assert "can be inspected, but not decoded with" in told.texts[0]


def test_several_sets_tell_which_one_and_the_time_left_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    from iwsltpack.system import progress

    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    class Noted(Reporter):
        def __init__(self) -> None:
            self.stages: list[str] = []
            self.notes: list[str] = []

        def start(self, description: str, total: float, unit: progress.Unit = "items") -> None:
            self.stages.append(description)

        def note(self, text: str) -> None:
            self.notes.append(text)

    shown = Noted()
    sets = progress.SetsReporter(shown, [100, 300])
    sets.next_set()
    sets.start("decoding tv", 10)
    sets.advance(5)
    now[0] = 50.0
    sets.note("3.0 s of audio a second")
    assert shown.notes[-1] == "3.0 s of audio a second, 5 min 50 s left for all sets"  # an eighth took 50 s
    sets.next_set()
    now[0] = 100.0
    sets.start("decoding talks", 10)
    assert shown.stages == ["set 1 of 2: decoding tv", "set 2 of 2: decoding talks"]
    assert shown.notes[-1] == "5 min 0 s left for all sets"
    alone = progress.SetsReporter(shown, [100])
    alone.next_set()
    alone.start("decoding tv", 10)
    alone.note("x")
    assert (shown.stages[-1], shown.notes[-1]) == ("decoding tv", "x")


def test_nothing_is_written_into_another_thing(artifact: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "one", artifact)
    for folder, thing in (
        (artifact, "is.*artifact"),
        (artifact / "model", "lies in.*artifact"),
        (run / "x", "lies in.*run"),
    ):
        with pytest.raises(UsageError, match=f"the output {thing}"):
            refuse_inside(folder, "run")
    refuse_inside(run, "run")
    refuse_above_runs(run)
    with pytest.raises(UsageError, match=r"(?s)a folder of runs.*--output .*runs/NAME"):
        refuse_above_runs(tmp_path / "runs")
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "model.safetensors").touch()
    with pytest.raises(UsageError, match="checkpoint"):
        refuse_inside(tmp_path / "hf" / "runs", "run")


def test_a_folder_of_anything_is_taken(artifact: Path, tmp_path: Path) -> None:
    import shutil

    runs = [write_run(tmp_path / "runs" / "q2" / name, artifact, name=name) for name in ("a", "b")]
    shutil.copytree(artifact, tmp_path / "artifacts" / "q2")
    assert run_folders(tmp_path / "runs") == runs
    assert validate(tmp_path / "runs") == ("runs", validate(runs[0])[1] + validate(runs[1])[1])
    assert validate(tmp_path / "artifacts") == ("folder", [])
    (tmp_path / "artifacts" / "q2" / "model" / "config.json").write_text("{}")
    assert {problem.rule for problem in validate(tmp_path / "artifacts")[1]} != set()
    assert validate(tmp_path)[0] == "folder"


def settings(folder: Path, text: str) -> Path:
    (folder / "iwsltpack.toml").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("text", "arguments", "told"),
    [
        ("[decode]\nmode = 'fast'\n", ("decode", "test"), "iwsltpack.toml: mode = 'fast' cannot be set"),
        ("[decode]\nbatch-size = 'many'\n", ("decode", "test"), "batch_size = 'many' cannot be set"),
        ("[submit]\nprimary = 'yes please'\n", ("submit",), "primary = 'yes please' cannot be set"),
        ("team = ['a', 'b']\n", ("submit",), "team = ['a', 'b'] cannot be set"),
        ("recipe = 'best'\n", ("build", "x"), "set in iwsltpack.toml: recipe = 'best'"),
        ("recipee = 'x'\n", ("build",), "did you mean 'recipe'?"),
        ("[decod]\nmode = 'load'\n", ("build",), "did you mean 'decode'?"),
        ("[decode]\nbatchsize = 3\n", ("decode",), "did you mean 'batch_size'?"),
    ],
)
def test_a_wrong_setting_names_file_key_and_the_nearest(
    tmp_path: Path, text: str, arguments: tuple[str, ...], told: str
) -> None:
    done = iwsltpack(*arguments, cwd=settings(tmp_path, "artifact = 'a'\n" + text))
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert "iwsltpack.toml" in done.stderr
    assert len(done.stderr) < 500


def test_the_command_line_wins_over_a_setting_that_excludes_it(
    artifact: Path, run: Path, tmp_path: Path
) -> None:
    text = (
        f"edition = 'demo'\nteam = 'APG'\nartifact = '{artifact}'\n[submit]\nprimary = true\nrun = '{run}'\n"
    )
    done = iwsltpack("submit", "--contrastive", "--json", cwd=settings(tmp_path, text))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["submission"]["type"] == "contrastive"
    assert iwsltpack("-q", "submit", cwd=tmp_path).returncode == 0
    assert len(list((tmp_path / "submissions").glob("*_primary/submission.json"))) == 1


def test_common_options_stand_before_or_after_the_command(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text(f"artifact = '{artifact}'\n", encoding="utf-8")
    before = iwsltpack("--json", "--config", "other.toml", "inspect", cwd=tmp_path)
    after = iwsltpack("inspect", "--config", "other.toml", "--json", cwd=tmp_path)
    assert before.stdout == after.stdout
    assert json.loads(before.stdout)["coding"] == "zstd"
    for arguments in (("-q", "verify", artifact), ("verify", artifact, "-q")):
        done = iwsltpack(*arguments, cwd=tmp_path)
        assert (done.stdout, done.stderr) == (f"{artifact}: whole\n", "")
    failed = iwsltpack("inspect", "nothing", "-v", cwd=tmp_path)
    assert "Traceback" in failed.stderr
    assert failed.returncode == 4


def test_every_command_gives_json() -> None:
    import inspect

    from iwsltpack.cli import NAMES, common, function_of

    for name in NAMES:
        assert {"quiet", "verbose", "json", "config"} <= set(
            inspect.signature(common.with_options(function_of(name))).parameters
        ), name


LONG = "APG_IWSLT26_ModelCompression_en-zh_constrained_contrastive.selected-q3-second-try"
CHINESE = "我们提出了一种无需额外训练的简单方法，并在三个数据集上进行了实验，结果比基线好得多。"


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_table_cuts_anything(width: int) -> None:
    from rich.console import Console

    told = Table(
        (Column(heading="state"), Column(heading="found", prose=True), Column(heading="to do", prose=True)),
        [("ok", f"files of {LONG[:40]} are whole", "look at each of them " * 8)],
    )
    columns = (
        Column(heading="#", figures=True), Column(heading="name"), Column(heading="said", prose=True),
        Column(heading="model"),
    )  # fmt: skip
    said = "a sentence of some words that may be wrapped where it does not fit"
    table = Table(columns, [("1", LONG, said, CHINESE), ("2", "b", "", "c")], "Title")
    console = Console(width=width, soft_wrap=True, highlight=False, file=io.StringIO())
    with console.capture() as captured:
        console.print(table, soft_wrap=False, crop=False)
        console.print(told, soft_wrap=False, crop=False)
    text = captured.get()
    assert LONG in text
    assert CHINESE in text
    assert f" {LONG[:40]} " in f"{text} "
    assert all(word in text for word in said.split())
    assert "…" not in text


RUN_ALL = """
import json, sys
from iwsltpack.cli.main import main
for arguments in json.load(sys.stdin):
    sys.argv = ["iwsltpack", *arguments]
    try:
        main()
    except SystemExit:
        pass
    print("\\x00", flush=True)
"""


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_twelve_commands_cut_nothing(artifact: Path, tmp_path: Path, width: int) -> None:
    """Names, scores, digests and rules stand there whole, at every width and in a pipe."""
    pytest.importorskip("sacrebleu", reason="one of the commands is score")
    spoilt = (LINES[0], "The translation is: it is better", "", *LINES[3:])
    run = write_run(tmp_path / "runs" / "a-system-of-a-rather-long-name" / "demo", artifact)
    other = write_run(tmp_path / "runs" / "another-system-of-a-long-name" / "demo", artifact, lines=spoilt)
    (tmp_path / "references.txt").write_text("".join(f"{line}\n" for line in CLEANED), encoding="utf-8")
    text = (
        f"edition = 'demo'\nteam = 'A_TEAM_OF_MANY_PEOPLE'\nartifact = '{artifact}'\n"
        f"[decode]\noutput = '{run.parent}'\n[submit]\nrun = '{run.parent}'\n"
        "[score]\nreference = 'references.txt'\n"
    )
    settings(tmp_path, text)
    assert iwsltpack("-q", "submit", "--primary", cwd=tmp_path).returncode == 0
    name = next((tmp_path / "submissions").iterdir()).name
    digest = read_manifest(artifact).sha256
    wanted: dict[tuple[object, ...], tuple[str, ...]] = {
        ("build", "--list"): ("up-down-q2", "pcodec"),
        ("inspect", artifact): (digest, "selected-q2"),
        ("verify", artifact): (str(artifact),),
        ("validate", "runs"): (
            f"{other.relative_to(tmp_path)}/demo.en-zh.txt",
            "alignment.skipped",
            "hyp.empty-line",
        ),
        ("validate", "submissions"): ("submissions",),
        ("submissions",): (name, "contrastive" if "contrastive" in name else "PRIMARY"),
        ("submit", "--primary", "--dry-run"): (name, "demo.en-zh.txt"),
        ("score", run, "--baseline", other, "--metric", "chrf"): ("chrF", "p randomisation"),
        ("clean", other, "-o", "clean.txt", "--diff"): ("The translation is",),
        ("report", "runs"): ("selected-q2", "another-system-of-a-long-name"),
        ("status",): (name, str(run)),
        ("doctor",): (str(artifact), "A_TEAM_OF_MANY_PEOPLE"),
    }
    assert len(wanted) == 12
    asked = json.dumps([list(map(str, command)) for command in wanted])
    environment = {**os.environ, "COLUMNS": str(width)}
    done = warm.run([sys.executable, "-c", RUN_ALL], given=asked, cwd=tmp_path, env=environment, check=True)
    outputs = done.stdout.split("\x00\n")[:-1]
    assert len(outputs) == len(wanted)
    for (command, parts), output in zip(wanted.items(), outputs, strict=True):
        assert "…" not in output, (command, output)
        for part in parts:
            assert part in output, (command, output, done.stderr[-1500:])


def test_a_folder_of_runs_is_cleaned_and_scored_set_by_set(artifact: Path, tmp_path: Path) -> None:
    for system in ("q2", "q3"):
        for name in ("tst.one", "two"):
            write_run(tmp_path / "runs" / system / name, artifact, name=name)
    cleaned = iwsltpack("clean", "runs/q2", "-o", "clean", "--audit", "audit", "--json", cwd=tmp_path)
    assert cleaned.returncode == 0, cleaned.stderr
    assert [item["output"] for item in json.loads(cleaned.stdout)] == [
        "clean/tst.one/tst.one.en-zh.txt", "clean/two/two.en-zh.txt"
    ]  # fmt: skip
    assert (tmp_path / "clean" / "two" / "two.en-zh.txt").read_text().splitlines() == list(CLEANED)
    assert (tmp_path / "audit" / "two" / "two.en-zh.jsonl").is_file()
    one = iwsltpack("clean", "runs/q2/two", "-o", "two.zh", cwd=tmp_path)
    assert (one.returncode, (tmp_path / "two.zh").is_file()) == (0, True)
    folder = iwsltpack("clean", "runs/q2/two", "-o", "alone", "--audit", "alone-audit", cwd=tmp_path)
    assert folder.returncode == 0 and "-> alone/two.en-zh.txt" in folder.stderr
    assert (tmp_path / "alone" / "two.en-zh.txt").read_bytes() == (tmp_path / "two.zh").read_bytes()
    assert (tmp_path / "alone-audit" / "two.en-zh.jsonl").is_file()
    texts = "".join(f"{line}\n" for line in LINES)
    (tmp_path / "refs" / "two").mkdir(parents=True)
    (tmp_path / "refs" / "two" / "ref.txt").write_text(texts)
    (tmp_path / "refs" / "tst.one.zh.txt").write_text(texts)
    arguments = ("score", "runs/q2", "-r", "refs", "--metric", "chrf", "--baseline", "runs/q3")
    scored = iwsltpack(*arguments, cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    assert [line for line in scored.stdout.splitlines() if line.endswith(":")] == [
        "runs/q2/tst.one:", "runs/q2/two:"
    ]  # fmt: skip
    for name in ("tst.one", "two"):
        score = json.loads((tmp_path / "runs" / "q2" / name / "score.json").read_text())
        assert score["metrics"][0]["score"] == 100.0
    reported = iwsltpack("report", "runs", cwd=tmp_path)
    assert reported.returncode == 0, reported.stderr
    titles = [line for line in reported.stdout.splitlines() if line.endswith(", en-zh")]
    assert titles == ["tst.one, en-zh", "two, en-zh", "mean of 2 test sets, en-zh"]
    assert iwsltpack(*arguments, "-o", "x.json", cwd=tmp_path).returncode == 2
    (tmp_path / "refs" / "tst.one.zh.txt").unlink()
    missing = iwsltpack(*arguments, cwd=tmp_path)
    assert missing.returncode == 3
    assert "one file of references for tst.one" in missing.stderr


@pytest.mark.parametrize("name", ["commands", "settings"])
def test_the_pages_of_commands_and_keys_are_what_the_command_line_says(name: str) -> None:
    from importlib.metadata import version

    from conftest import REPOSITORY

    if f"typer=={version('typer')}" not in (REPOSITORY / "constraints.txt").read_text():
        pytest.skip("another version of typer words its help differently")
    done = warm.run([sys.executable, "-m", f"tools.{name}"], cwd=REPOSITORY, check=True)
    assert done.stdout == (REPOSITORY / "docs" / f"{name}.md").read_text(encoding="utf-8")


def test_runnable_packages_of_two_labels_lie_side_by_side(artifact: Path, run: Path, tmp_path: Path) -> None:
    from iwsltpack.submission.runnable import make_runnable

    made = []
    for label in ("a", "b"):
        asked = request(artifact, run, type="contrastive", label=label)
        made.append(make_runnable(tmp_path / "runnable", asked, prepare(asked).submission))
    assert sorted((tmp_path / "runnable").iterdir()) == sorted(made)
    assert len(set(made)) == 2
