"""The benchmarks run, at a small scale; what they measure is for a quiet machine, not for a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY


def run(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("standin") / "tiny"
    run("tools.standin.generate", "--scale", "tiny", "--output", folder)
    return folder


def test_building_and_reading_against_every_other_way(standin: Path, tmp_path: Path) -> None:
    run("benchmarks.artifact", standin, "--work", tmp_path / "work", "--json", tmp_path / "out.json")
    document = json.loads((tmp_path / "out.json").read_text())
    sides, source = document["sides"], document["signature"]["source_bytes"]
    assert set(sides) == {
        "build", "copy", "paper-build", "read", "paper-read", "safetensors-read", "load", "safetensors-load",
    }  # fmt: skip
    assert all(side["seconds"] > 0 and side["peak_bytes"] > 1 << 20 for side in sides.values())
    assert len(document["ratios"]) == 5
    assert document["ratios"]["build against copy"] == pytest.approx(
        sides["build"]["seconds"] / sides["copy"]["seconds"]
    )
    assert source == sum(path.stat().st_size for path in standin.glob("*.safetensors"))
    assert not (tmp_path / "work" / "copy").exists()
    assert (tmp_path / "work" / "artifact" / "iwsltpack.json").is_file()


def test_lossless_packing_against_zipnn(standin: Path, tmp_path: Path) -> None:
    pytest.importorskip("zipnn")
    shown = run("benchmarks.lossless", standin, "--json", tmp_path / "out.json")
    ways = json.loads((tmp_path / "out.json").read_text())["ways"]
    assert {name.split(",")[0] for name in ways} == {"zstd", "pcodec", "zipnn"}
    assert len({way["source_bytes"] for way in ways.values()}) == 1
    for name, way in ways.items():
        assert 8 < way["bits_per_weight"] < 14, name
        assert f"{way['packed_bytes']:,}" in shown


def test_vllm_reads_an_artifact_itself(tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    run(
        "benchmarks.vllm_engine", "--work", tmp_path / "work", "--segments", 20, "--json", tmp_path / "a.json"
    )
    found = json.loads((tmp_path / "a.json").read_text())
    assert (found["demo_same_engine"], found["demo_same_llm"], found["same"]) == (8, 8, 20)
    assert found["files_that_could_be_weights"] == []
    assert (found["kills"], found["sessions_of_killed"], found["killed_is_unbroken"]) == (2, 3, True)


def test_whisper_with_real_weights_says_what_generate_says(tmp_path: Path) -> None:
    models = os.environ.get("IWSLTPACK_MODELS")
    if models is None:
        pytest.skip("IWSLTPACK_MODELS names no folder that benchmarks.frontier_models prepared")
    work = ["--models", models, "--work", tmp_path / "work", "--count", 4]
    run("benchmarks.whisper", *work, "--json", tmp_path / "out.json")
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["same_as_generate"], found["same_one_by_one"], found["differing"]) == (4, 4, [])
    assert found["word_error_rate"] < 0.3


def test_vllm_says_what_decode_says(tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    shown = run("benchmarks.vllm_export", "--work", tmp_path / "work", "--json", tmp_path / "out.json")
    assert shown.startswith("8 of 8 texts")


def test_scores_of_many_lines_beside_sacrebleus_own(tmp_path: Path) -> None:
    shown = run(
        "benchmarks.score_speed", "--lines", 300, "--megabytes", 0.03, "--json", tmp_path / "out.json"
    )
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["differing"] == 0
    assert [row["metric"] for row in found["rows"]] == ["chrf", "bleu"] * 3
    assert shown.count("| one line of 0.03 MB, zh |") == 2


def test_a_calibrated_artifact_is_read_beside_a_rounded_one(tmp_path: Path) -> None:
    small = ["--size", 256, "--matrices", 2, "--rounds", 3]
    lines = run("benchmarks.calibrated_read", "--work", tmp_path / "work", *small).splitlines()
    assert [line.split(":")[0] for line in lines] == ["format 1", "format 2", "elapsed", "computing"]
    assert all(1 < float(line.split()[2]) < 8 for line in lines[:2])
    assert not (tmp_path / "work").exists()


def test_stages_of_one_chunk() -> None:
    lines = run("benchmarks.stages").splitlines()
    sizes = [line.split()[-2:] for line in lines if "bytes, its own and ours" in line]
    assert len(sizes) == 2
    for own, ours in sizes:
        assert int(ours.replace(",", "")) < int(own.replace(",", ""))


def test_every_weight_is_held_against_quantize(standin: Path, tmp_path: Path) -> None:
    for recipe in ("selected-q2", "selected-q3"):
        run("iwsltpack", "build", standin, "--recipe", recipe, "--output", tmp_path / recipe)
        shown = run("benchmarks.identical", standin, tmp_path / recipe)
        assert shown == "66 of 66 tensors identical; 6 are rounded\n"
    other = tmp_path / "other"
    run("tools.standin.generate", "--scale", "tiny", "--output", other)
    path = sorted(other.glob("*.safetensors"))[0]
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 0x80  # the sign of the last weight
    path.write_bytes(raw)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.identical", other, tmp_path / "selected-q2"],
        capture_output=True, text=True, check=False, cwd=REPOSITORY,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout.startswith("65 of 66")
    assert "different: " in done.stderr
