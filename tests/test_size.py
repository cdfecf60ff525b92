"""Built to a size: what is asked for is got, what cannot be is refused at once, and the damage is what it says."""

from __future__ import annotations

import json
import math
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import calibration_fixtures as small
import numpy as np
import pytest
import torch
import warm
from conftest import EXHAUSTIVE
from inference_fixtures import MINIATURE
from test_calibrated_build import TESTSET, rows, typed

from iwsltpack.artifact.location import folder_bytes
from iwsltpack.building.checkpoint import open_checkpoint
from iwsltpack.building.plan import rules_of
from iwsltpack.building.recipes import BUILT_IN
from iwsltpack.building.size import RESERVE, SLACK, Goal, SizeTarget, goal_of, meet, parse_size
from iwsltpack.calibration.block_rounding import Settings
from iwsltpack.calibration.damage import damage_of, keep_predictions
from iwsltpack.calibration.data import CalibrationData, CalibrationRequest
from iwsltpack.calibration.model_weights import Weights
from iwsltpack.calibration.walk import gather
from iwsltpack.cli import build as command
from iwsltpack.cli import size_frontier
from iwsltpack.codecs.registry import coding_in
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.errors import InputError, UsageError
from iwsltpack.system.progress import SILENT

RECIPE = BUILT_IN["calibrated"]


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give two test sets of two clips each, first/ and second/."""
    folder = tmp_path_factory.mktemp("halves")
    heading, *lines = rows(4).splitlines(keepends=True)
    for name, part in (("first", lines[:2]), ("second", lines[2:])):
        shutil.copytree(TESTSET / "wavs", folder / name / "wavs")
        (folder / name / "manifest.csv").write_text("".join([heading, *part]), "utf-8")
    return folder


# What is asked for


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("3.0GB", 3_000_000_000),
        ("2.5 GiB", 2_684_354_560),
        ("800mb", 800_000_000),
        (".5MiB", 524_288),
        ("7B", 7),
        ("1TB", 10**12),
        ("123456", 123456),
        (" 3.GB ", 3_000_000_000),
    ],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "GB", "three GB", "-3GB", "3 XB", "1e9", "3,0GB", "nan", "inf", "0", "0.1", "٣GB", "3G B", "1..2GB"],
)
def test_what_is_no_size_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--target-size", "3GB", "--bits", "2"), "two sizes for one artifact"),
        (("--target-size", "3 apples"), "not a size"),
        (("--bits", "nan"), "must be a positive number"),
        (("--bits", "-2"), "must be a positive number"),
        (("--target-size", "2MB", "--step", "1e-4"), "--step fixes the size"),
        (("--target-size", "2MB", "--recipe", "selected-q3"), "has none to choose"),
        (("--target-size", "2MB", "--matrices", "{dev}"), "has none to choose"),
        (("--target-size", "2MB", "--shard", "1/2"), "does not go together with"),
        (("--target-size", "2MB", "--format-version", "1"), "format 1 holds multiples"),
        (("--target-size", "10kB"), "no calibrated artifact of this checkpoint is so small"),
        (("--bits", "1"), "no calibrated artifact of this checkpoint is so small"),
        (("--target-size", "1GB"), "no calibrated artifact of this checkpoint is so large"),
        (("--bits", "16"), "no calibrated artifact of this checkpoint is so large"),
    ],
)
def test_impossible_and_contradictory_requests_are_one_error_at_once(
    halves: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    given = [argument.format(dev=halves / "first") for argument in arguments]
    recipe = () if "--recipe" in given else ("--recipe", "calibrated")
    data = () if "--matrices" in given else ("--calibration", halves / "first")
    result = typed(command, MINIATURE, *recipe, *data, *given, "-o", tmp_path / "out")
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)
    assert not list(tmp_path.glob("out*"))


def test_the_least_that_is_told_is_taken_and_a_byte_less_is_not() -> None:
    checkpoint, coding = open_checkpoint(MINIATURE), coding_in(2, "zstd")
    wanted = {name for name, rule in rules_of(checkpoint, RECIPE).items() if rule.calibrated}
    with pytest.raises(UsageError) as caught:
        goal_of(SizeTarget(bytes=10_000), checkpoint, RECIPE, coding, wanted)
    assert "at least about" in str(caught.value)
    least = int("".join(filter(str.isdigit, str(caught.value.expected))))
    side = sum(path.stat().st_size for path in MINIATURE.glob("*.json"))
    assert side < least < 10**6
    goal = goal_of(SizeTarget(bytes=least), checkpoint, RECIPE, coding, wanted)
    assert goal.codes == pytest.approx(1, abs=1e-4)
    assert (goal.low, goal.high) == pytest.approx(
        [
            8 * size / sum(checkpoint.tensors[name].count for name in wanted)
            for size in ((1 - SLACK) * least, least - RESERVE)
        ]
    )
    with pytest.raises(UsageError, match="so small"):
        goal_of(SizeTarget(bytes=least - 10), checkpoint, RECIPE, coding, wanted)


# The search

CURVES: dict[str, Callable[[float], float]] = {
    "fine codes": lambda place: 4 - place,
    "many zeros": lambda place: math.log2(1 + 2 ** (2 * (4 - place))) / 2,
    "a floor": lambda place: 0.9 + max(0.0, 1.2 - 0.3 * place),
    "noise": lambda place: 4 - place + 0.004 * math.sin(1e6 * place),
}


@pytest.mark.parametrize("name", CURVES)
def test_the_search_ends_within_the_window(name: str) -> None:
    asked: list[float] = []

    def bits_at(step: float) -> float:
        asked.append(step)
        return CURVES[name](math.log2(step))

    for high in (6.0, 3.0, 1.5, 1.0):
        step = meet(bits_at, 1.0, Goal(low=(1 - SLACK) * high, high=high, codes=high))
        assert (1 - SLACK) * high <= CURVES[name](math.log2(step)) <= high
        assert step == asked[-1]
    assert len(asked) <= 4 * 12


def test_a_size_between_two_that_there_are_is_told() -> None:
    with pytest.raises(UsageError, match="no step meets the size"):
        meet(lambda step: 4.0 if step < 3 else 2.0, 1.0, Goal(low=2.98, high=3.0, codes=3.0))


def test_what_is_foretold_is_what_codes_take(tmp_path: Path) -> None:
    model = small.llama(layers=1)
    moments = gather(Weights.of_model(model), small.text(3), tmp_path, Settings(), selected=lambda _: True)
    assert moments.bits(moments.guess(5.0)) == pytest.approx(5, abs=0.6)
    places = [moments.bits(2.0**exponent) for exponent in range(-8, 2)]
    assert places == sorted(places, reverse=True)
    assert places[0] - places[1] == pytest.approx(1, abs=0.2)


# The damage


def test_damage_is_the_divergence_of_whole_forward_passes(tmp_path: Path) -> None:
    model, other, batches = small.llama(), small.llama(), small.text(3)
    keep_predictions(Weights.of_model(model), batches, tmp_path / "predictions.npy", SILENT)
    same = damage_of(Weights.of_model(model), batches, tmp_path / "predictions.npy", "text", SILENT)
    assert (same.kl, same.kl_error) == (0, 0)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.03)
        found = damage_of(Weights.of_model(other), batches, tmp_path / "predictions.npy", "text", SILENT)
        losses = []
        for batch in batches:
            p, q = (
                torch.log_softmax(m(**batch.inputs).logits[batch.targets].double(), -1)
                for m in (model, other)
            )
            losses += (p.exp() * (p - q)).sum(-1).tolist()
    assert found.tokens == len(losses) == sum(int(batch.targets.sum()) for batch in batches)
    assert found.kl == pytest.approx(np.mean(losses), rel=1e-3)
    assert found.kl_error == pytest.approx(np.std(losses, ddof=1) / math.sqrt(len(losses)), rel=1e-3)
    assert (
        str(found)
        == f"KL {found.kl:.4g} ± {found.kl_error:.2g} nats a token, on {len(losses)} held-out tokens of text"
    )


def test_every_eighth_segment_is_held_out_and_one_of_few(tmp_path: Path) -> None:
    data = CalibrationData(CalibrationRequest(data=TESTSET), MINIATURE, SILENT)
    assert data.held_out == {7}
    assert data.record(1, 0.1).segments == 7
    shutil.copytree(TESTSET / "wavs", tmp_path / "dev" / "wavs")
    for count, held_out in ((2, {1}), (1, set())):
        (tmp_path / "dev" / "manifest.csv").write_text(rows(count), "utf-8")
        few = CalibrationData(CalibrationRequest(data=tmp_path / "dev"), MINIATURE, SILENT)
        assert few.held_out == held_out


# A build


def test_a_build_is_as_large_as_asked_for_and_killed_ends_in_the_same_bytes(tmp_path: Path) -> None:
    moments, script = 12 if EXHAUSTIVE else 4, Path(__file__).with_name("killed_size.py")
    done = warm.run([sys.executable, script, tmp_path, moments])
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    asked, got = told["weighed"]
    assert (1 - SLACK) * asked <= got <= asked
    assert told["same_by_step"]
    assert (told["damage"]["data"], told["damage"]["kl"] > 0) == ("text", True)
    assert told["events"] > 120
    assert all(same for *_, same in told["outcome"]), told["outcome"]
    # How many events there are differs a little by which thread comes first: the last one need not come.
    assert all(killed for _, killed, _ in told["outcome"][:-1]), told["outcome"]


def run(place: str, times: int, *arguments: object) -> int:
    script = Path(__file__).with_name("killed_build.py")
    done = warm.run([sys.executable, script, place, times, *arguments])
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


# Several sizes

MOMENTS = (
    ("work/", 4),
    ("work/", 40),
    ("work/", 40),
    ("2MB.partial/", 5),
    ("2MB.partial/trials/", 8),
    ("2MB.partial/", 150),
    ("runs/2MB", 2),
    ("1.6MB.partial/", 5),
    ("runs/1.6MB", 1),
    ("frontier.json", 1),
)
"""When it is killed, one after the other: as it touches a place of its folder for the Nth time."""


def test_a_frontier_is_the_same_when_it_was_killed(halves: Path, tmp_path: Path) -> None:
    given = ("frontier", MINIATURE, "--sizes", "2MB,1.6MB", "--calibration", halves / "first", "--data")
    given = (*given, halves / "second", "--references", halves / "second" / "manifest.csv", "-o")
    output, whole = tmp_path / "out", tmp_path / "whole"
    assert run("nowhere at all", 1, *given, whole) == 0
    for place, times in MOMENTS if EXHAUSTIVE else MOMENTS[4::4]:
        assert run(f"{output}/{place}", times, *given, output) == -signal.SIGKILL, (place, times)
    assert run("nowhere at all", 1, *given, output) == 0
    found = json.loads((whole / "frontier.json").read_text())
    assert json.loads((output / "frontier.json").read_text()) == found
    assert [row["name"] for row in found["rows"]] == ["2MB", "1.6MB"]
    for row in found["rows"]:
        assert (1 - SLACK) * row["asked"] <= row["bytes"] <= row["asked"]
        assert row["bytes"] == folder_bytes(whole / row["name"])
        assert row["sha256"] == read_manifest(whole / row["name"]).sha256
    assert found["rows"][0]["damage"]["kl"] < found["rows"][1]["damage"]["kl"]
    assert {row["damage"]["data"] for row in found["rows"]} == {"second"}
    assert any(peer["gb"] == 3.98 for peer in found["published"])
    assert not (whole / "work").exists()
    printed = typed(size_frontier, *given[1:], whole)
    assert printed.exit_code == 0
    assert all(len(line) <= 80 for line in printed.stdout.splitlines())
    assert "1.6MB" in printed.stdout


@pytest.mark.parametrize(
    ("sizes", "data", "kind", "message"),
    [
        ("2MB,2000kB", "second", UsageError, "asked for twice"),
        ("2MB,", "second", UsageError, "not a size"),
        ("2MB,9kB", "second", UsageError, "so small"),
        ("2MB", "first", UsageError, "is what the model is calibrated on"),
        ("2MB", "nothing", InputError, "no such"),
    ],
)
def test_what_makes_no_frontier_is_told_at_once(
    halves: Path, tmp_path: Path, sizes: str, data: str, kind: Any, message: str
) -> None:
    given = (
        "--sizes",
        sizes,
        "--calibration",
        halves / "first",
        "--data",
        halves / data,
        "-o",
        tmp_path / "out",
    )
    result = typed(size_frontier, MINIATURE, *given)
    assert isinstance(result.exception, kind), result.exception
    assert message in str(result.exception)
    assert not list((tmp_path / "out").glob("*"))
