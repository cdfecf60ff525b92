"""A checkpoint calibrated and packed by one command, then decoded with, inspected, submitted; and what is refused."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
import warm
from conftest import REPOSITORY
from inference_fixtures import MINIATURE
from submission_fixtures import request as submission_request
from submission_fixtures import write_run
from typer.testing import CliRunner

from iwsltpack.artifact.sizes import measure
from iwsltpack.cli import build as command
from iwsltpack.cli import inspect
from iwsltpack.cli.common import with_options
from iwsltpack.decoding.decode import decode
from iwsltpack.decoding.options import DecodeOptions, RunRequest
from iwsltpack.documents.artifact import Calibration, Damage
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.documents.names import MANIFEST_NAME
from iwsltpack.errors import InputError, ResourceError, UsageError, ValidationFailed
from iwsltpack.hub.card import write_card
from iwsltpack.report.report import collect, write_report
from iwsltpack.submission.packaging import prepare
from iwsltpack.system.fileio import canonical_json
from iwsltpack.testsets.discovery import find_test_sets

TESTSET = REPOSITORY / "iwsltpack" / "demo" / "testset"
STEP = "3e-7"
"""The miniature is so sure of its sentences that the default leaves it nothing."""


def typed(command_: Any, *arguments: object) -> Any:
    app = typer.Typer()
    app.command()(with_options(command_.command))
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rows(count: int) -> str:
    lines = (TESTSET / "manifest.csv").read_text("utf-8").splitlines(keepends=True)
    return "".join(lines[: count + 1])


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give six of the eight clips, as a test set that is called dev."""
    folder = tmp_path_factory.mktemp("data") / "dev"
    shutil.copytree(TESTSET / "wavs", folder / "wavs")
    (folder / "manifest.csv").write_text(rows(6).replace(",demo,", ",dev,"), "utf-8")
    return folder


@pytest.fixture(scope="module")
def artifact(dev: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("built") / "calibrated"
    arguments = ("--recipe", "calibrated", "--calibration", dev, "--step", STEP, "-o", output)
    result = typed(command, MINIATURE, *arguments)
    assert result.exit_code == 0, result.exception
    assert "few, and so for other layers of its kind" in result.stderr
    assert "calibrated matrices take 3." in result.stderr
    assert not output.with_name("calibrated.partial").exists()
    again = typed(command, MINIATURE, *arguments)
    assert again.exit_code == 0 and "built already" in again.stderr
    return output


def test_it_says_what_the_uncompressed_model_says(artifact: Path, tmp_path: Path) -> None:
    manifest, sizes = read_manifest(artifact), measure(artifact)
    assert manifest.format_version == 2
    assert 8 * sizes.components["selected"].bytes / sizes.components["selected"].parameters < 4
    assert {tensor.quantizer for tensor in manifest.tensors if tensor.name.endswith("_proj.weight")} == {
        "calibrated"
    }
    options = DecodeOptions(device="cpu")
    decode(RunRequest(test_dir=TESTSET, artifact=artifact, output=tmp_path / "run", options=options))
    wanted = [line.rpartition(",")[2] for line in rows(8).splitlines()[1:]]
    assert (tmp_path / "run" / "testset.en-zh.txt").read_text("utf-8").splitlines() == wanted


def test_the_artifact_tells_what_it_was_calibrated_on(artifact: Path, dev: Path) -> None:
    found = read_manifest(artifact).calibration
    assert found is not None
    assert (found.name, found.segments, found.pair, found.labels) == ("dev", 5, "en-zh", "model")
    assert (found.step, found.damping, found.references_sha256) == (float(STEP), None, None)
    assert 5 < found.tokens < 5 * 40
    said = f"dev, en-zh: 5 segments, {found.tokens} tokens of the model's own outputs; step 3e-07, damping by rule"
    assert said in " ".join(typed(inspect, artifact).stdout.split())
    damage = read_manifest(artifact).damage
    assert damage is not None
    assert (damage.data, damage.kl > 0, damage.tokens > 1) == ("dev", True, True)
    assert str(damage) in " ".join(typed(inspect, artifact).stdout.split())
    card = write_card(read_manifest(artifact), measure(artifact), "team/model")
    assert str(damage).replace("_", r"\_") in card
    assert said in card and "codes and scales of rows and columns, by calibration" in card
    assert [item.name for item in find_test_sets(dev)] == ["dev"]


def test_a_report_ranks_artifacts_by_their_damage(artifact: Path, tmp_path: Path) -> None:
    damage = read_manifest(artifact).damage
    assert damage is not None

    def copied(name: str, damage: Damage) -> Path:
        shutil.copytree(artifact, tmp_path / name)
        manifest = read_manifest(artifact)
        changed = replace(manifest, damage=damage, recipe=replace(manifest.recipe, name=name)).sealed()
        (tmp_path / name / MANIFEST_NAME).write_bytes(canonical_json(changed.to_json()))
        return tmp_path / name

    worse = copied("worse-than-the-other", replace(damage, kl=damage.kl + 1))
    elsewhere = copied("elsewhere", replace(damage, data="other", kl=0.0))
    report = write_report(collect([artifact, worse, elsewhere]), tmp_path / "report")
    [table] = report.tables
    assert (table.metric, table.titles["damage"]) == ("damage", "KL")
    found = {row.system.name: (row.status, row.compared.get("damage")) for row in table.rows}
    assert found == {
        "calibrated": ("frontier", damage.kl),
        "worse-than-the-other": ("dominated", damage.kl + 1),
        "elsewhere": ("not placed", None),
    }
    assert table.best["damage"] == {[row.system.name for row in table.rows].index("calibrated")}
    assert any("elsewhere" in warning and "another signature" in warning for warning in table.warnings)
    [_, drawn] = [path for path in report.files if path.name.startswith("frontier")]
    assert "KL (lower is better)" in drawn.read_text("utf-8")
    assert f"data:dev|tokens:{damage.tokens}" in (tmp_path / "report" / "report.csv").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "refused"), [("dev", {"submit.datasets-not-allowed"}), ("ACL 60/60", set())]
)
def test_constrained_admits_what_the_edition_allows(
    artifact: Path, tmp_path: Path, name: str, refused: set[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(artifact, copy)
    manifest = read_manifest(copy)
    assert manifest.calibration is not None
    from iwsltpack.system import fileio

    renamed = replace(manifest, calibration=replace(manifest.calibration, name=name)).sealed()
    fileio.write_bytes(copy / "iwsltpack.json", fileio.canonical_json(renamed.to_json()))
    request = submission_request(copy, write_run(tmp_path / "runs" / "demo", copy))
    if refused:
        with pytest.raises(ValidationFailed) as error:
            prepare(request)
        assert refused <= {problem.rule for problem in error.value.problems}
        return
    package = prepare(request)
    assert package.submission.datasets == ("ACL 60/60",)
    description = package.files["DESCRIPTION.md"].decode()
    assert "ACL 60/60" in description and "from calibration data" in description


@pytest.mark.parametrize("judged_on", ["dev", "others"])
def test_a_test_set_that_was_calibrated_on_is_told(
    artifact: Path, dev: Path, tmp_path: Path, judged_on: str
) -> None:
    judged = dev if judged_on == "dev" else TESTSET
    run = tmp_path / "run"
    options = DecodeOptions(device="cpu", max_new_tokens=2)
    decode(RunRequest(test_dir=judged, artifact=artifact, output=run, options=options))
    with pytest.raises(ValidationFailed) as error:  # the edition does not allow a data set of this name
        prepare(submission_request(artifact, run))
    told = [found for found in error.value.problems if found.rule == "submit.calibrated-on-test-set"]
    assert [found.severity for found in told] == (["warning"] if judged_on == "dev" else [])


def test_doctor_knows_the_room_that_a_calibration_takes(tmp_path: Path, dev: Path) -> None:
    from iwsltpack.building.checkpoint import open_checkpoint
    from iwsltpack.building.plan import calibration_bytes
    from iwsltpack.building.recipes import load_recipe
    from iwsltpack.calibration.calibrated_build import CalibrationData
    from iwsltpack.calibration.data import CalibrationRequest
    from iwsltpack.calibration.walk import gather
    from iwsltpack.system.progress import SILENT

    checkpoint, recipe = open_checkpoint(MINIATURE), load_recipe("calibrated")
    data = CalibrationData(CalibrationRequest(data=dev), MINIATURE, SILENT)
    weights = data.weights()
    batches, _ = data.batches(weights.dtype, tmp_path, "x")
    wanted = {tensor for tensor in checkpoint.tensors if tensor in weights.shapes}
    moments = gather(
        weights, batches, tmp_path / "work", data.settings, selected=wanted.__contains__, identity="x"
    )
    moments.round(float(STEP), tmp_path / "work" / "matrices")
    taken = sum(path.stat().st_size for path in (tmp_path / "work").rglob("*") if path.is_file())
    room = calibration_bytes(checkpoint, recipe)
    assert 0.5 * room < taken < 1.1 * room


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_killed_in_calibration_and_in_packing_it_ends_in_the_same_bytes(tmp_path: Path) -> None:
    shutil.copytree(TESTSET / "wavs", tmp_path / "two" / "wavs")
    (tmp_path / "two" / "manifest.csv").write_text(rows(2), "utf-8")
    script, output = Path(__file__).with_name("killed_build.py"), tmp_path / "out"

    def build(place: str, times: int, target: Path) -> int:
        given = (MINIATURE, "--recipe", "calibrated", "--calibration", tmp_path / "two", "--step", STEP)
        more = ("--references", tmp_path / "two" / "manifest.csv", "--damping", "0.1", "-o", target)
        arguments = [sys.executable, script, place, times, "build", *given, *more]
        return warm.run(arguments).returncode

    assert build("nowhere at all", 1, tmp_path / "whole") == 0
    assert build("/calibration/moments/", 40, output) == -signal.SIGKILL
    assert build("/matrices/", 40, output) == -signal.SIGKILL
    assert build("/artifact/weights.zarr/", 100, output) == -signal.SIGKILL
    assert build("nowhere at all", 1, output) == 0
    assert tree(output) == tree(tmp_path / "whole")
    found = json.loads((output / "iwsltpack.json").read_text("utf-8"))["calibration"]
    assert (found["labels"], found["damping"], found["segments"]) == ("references", 0.1, 1)


def lines(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--recipe", "selected-q3", "--calibration", "{dev}"), "the recipe has nothing to calibrate"),
        (("--recipe", "calibrated"), "the recipe is calibrated, and there is no data"),
        (("--step", "1e-4", "--pair", "en-zh"), "settings of a calibration, and no data for one"),
        (
            ("--recipe", "calibrated", "--calibration", "{dev}", "--shard", "1/2"),
            "does not go together with --matrices or --shard",
        ),
        (("--recipe", "calibrated", "--calibration", "{dev}", "--step", "0"), "must be a positive number"),
        (("--recipe", "calibrated", "--calibration", "{dev}", "--damping", "-1"), "a number from 0 on"),
        (("--recipe", "calibrated", "--calibration", "{dev}", "--pair", "en-fr"), "unknown language pair"),
        (
            ("--recipe", "calibrated", "--calibration", "{dev}", "--references", "{csv}", "--pair", "en-de"),
            "the references are in another language",
        ),
        (
            ("--recipe", "calibrated", "--calibration", "{dev}", "--references", "{short}"),
            "not one reference for each segment",
        ),
        (("--recipe", "calibrated", "--calibration", "{nothing}"), "no "),
    ],
)
def test_what_cannot_be_is_one_error_before_anything_is_written(
    dev: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "nothing").mkdir()
    places = {
        "dev": dev,
        "csv": dev / "manifest.csv",
        "short": lines(tmp_path / "short.txt", "一\n二\n"),
        "nothing": tmp_path / "nothing",
    }
    output = tmp_path / "out"
    given = [argument.format(**places) for argument in arguments]
    result = typed(command, MINIATURE, *given, "-o", output)
    assert isinstance(result.exception, UsageError | InputError)
    assert message in str(result.exception)
    assert not list(tmp_path.glob("out*"))


def test_an_artifact_calibrated_otherwise_is_not_taken_for_this_one(artifact: Path, dev: Path) -> None:
    given = (MINIATURE, "--recipe", "calibrated", "--calibration", dev, "-o", artifact)
    for more in (("--step", "2e-7"), ("--step", STEP, "--calibration-name", "other")):
        result = typed(command, *given, *more)
        assert isinstance(result.exception, UsageError)
        assert "was calibrated otherwise" in str(result.exception)


def test_what_was_begun_with_another_request_is_not_published_for_this_one(
    dev: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iwsltpack.calibration import calibrated_build

    given = (
        MINIATURE,
        "--recipe",
        "calibrated",
        "--calibration",
        dev,
        "--step",
        STEP,
        "-o",
        tmp_path / "out",
    )

    def stop(*_: object) -> Damage:
        raise ResourceError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(calibrated_build, "damage_of", stop)
        assert isinstance(typed(command, *given).exception, ResourceError)
    trials = tmp_path / "out.partial" / "trials"
    assert read_manifest(trials / repr(float(STEP)) / "artifact").coding == "pcodec"
    result = typed(command, *given, "--coding", "zstd", "--base-model", "me/mine")
    assert result.exit_code == 0, result.exception
    found = read_manifest(tmp_path / "out")
    assert (found.coding, found.base_model.id) == ("zstd", "me/mine")


def test_blank_references_are_nothing_to_calibrate_on(dev: Path, tmp_path: Path) -> None:
    given = (MINIATURE, "--recipe", "calibrated", "--calibration", dev, "-o", tmp_path / "out")
    blank = lines(tmp_path / "blank.txt", "谢谢。\n\n\n\n\n\n")
    result = typed(command, *given, "--references", blank)
    assert isinstance(result.exception, InputError)
    assert "5 of 6 empty" in str(result.exception)


def test_the_record_reads_as_a_sentence() -> None:
    record = Calibration(
        name="ACL 60/60",
        sha256="0" * 64,
        segments=468,
        tokens=9000,
        labels="references",
        pair="en-zh",
        damping=0.05,
        step=1e-4,
        seed=0,
    )
    assert str(record) == (
        "ACL 60/60, en-zh: 468 segments, 9000 tokens of references; step 0.0001, damping 0.05, seed 0"
    )
