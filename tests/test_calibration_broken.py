"""What cannot be calibrated, typed as a person would: one clear error each, and nothing half-written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import REPOSITORY
from inference_fixtures import MINIATURE
from safetensors.torch import load_file, save_file
from test_calibrated_build import lines, rows, typed

from iwsltpack.cli import build as command
from iwsltpack.errors import IwsltpackError

TESTSET = REPOSITORY / "iwsltpack" / "demo" / "testset"


def clips(folder: Path, count: int) -> Path:
    shutil.copytree(TESTSET / "wavs", folder / "wavs")
    (folder / "manifest.csv").write_text(rows(count), "utf-8")
    return folder


def nothing(place: Path) -> list[Any]:
    (place / "dev").mkdir()
    return [MINIATURE, "--calibration", place / "dev"]


def given(*more: object, count: int = 2) -> Callable[[Path], list[Any]]:
    def arguments(place: Path) -> list[Any]:
        dev = clips(place / "dev", count)
        return [MINIATURE, "--calibration", dev, "--references", dev / "manifest.csv", *more]

    return arguments


def references(text: str) -> Callable[[Path], list[Any]]:
    def arguments(place: Path) -> list[Any]:
        dev = clips(place / "dev", 2)
        return [MINIATURE, "--calibration", dev, "--references", lines(place / "r.txt", text)]

    return arguments


def noise_for_audio(place: Path) -> list[Any]:
    arguments = given()(place)
    for path in (place / "dev" / "wavs").iterdir():
        path.write_bytes(b"\x01\x02" * 500)
    return arguments


def two_sets(place: Path) -> list[Any]:
    clips(place / "sets" / "a", 2), clips(place / "sets" / "b", 2)
    return [MINIATURE, "--calibration", place / "sets"]


def changed(place: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], None]) -> list[Any]:
    checkpoint = shutil.copytree(MINIATURE, place / "checkpoint")
    tensors, config = {}, json.loads((checkpoint / "config.json").read_text())
    for path in sorted(checkpoint.glob("model*")):  # shards and their index become one file
        tensors |= load_file(path) if path.suffix == ".safetensors" else {}
        path.unlink()
    change(tensors, config)
    save_file(tensors, checkpoint / "model.safetensors", {"format": "pt"})
    (checkpoint / "config.json").write_text(json.dumps(config))
    return [checkpoint, *given()(place)[1:]]


def nan_in_a_norm(tensors: dict[str, torch.Tensor], _: dict[str, Any]) -> None:
    tensors["language_model.model.layers.1.input_layernorm.weight"][3] = float("nan")


def infinite_output(tensors: dict[str, torch.Tensor], _: dict[str, Any]) -> None:
    tensors["language_model.lm_head.weight"][:, 0] = float("inf")


def weight_of_nothing(tensors: dict[str, torch.Tensor], _: dict[str, Any]) -> None:
    tensors["language_model.model.layers.0.extra.weight"] = torch.ones(4, 4)


def tied_to_nothing(tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> None:
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = True
    for name in ("model.embed_tokens", "lm_head"):
        del tensors[f"language_model.{name}.weight"]


def recipe(pattern: str) -> Callable[[Path], list[Any]]:
    def arguments(place: Path) -> list[Any]:
        text = f'name = "r"\n[[layers]]\npattern = "{pattern}"\nquantizer = "calibrated"\n'
        return [*given()(place), "--recipe", lines(place / "r.toml", text)]

    return arguments


BROKEN: dict[str, tuple[Callable[[Path], list[Any]], str]] = {
    "no data": (nothing, "no test set found"),
    "two test sets": (two_sets, "one test set"),
    "one clip": (given(count=1), "one segment is too little"),
    "audio that is none": (noise_for_audio, "2 of 2 segments have audio that cannot be used"),
    "another language": (given("--pair", "en-de"), "references are in another language"),
    "too few references": (references("一\n"), "not one reference for each segment"),
    "references of another talk": (
        references("<refset><doc docid='x'><seg>一</seg></doc><doc docid='y'><seg>二</seg></doc></refset>"),
        "of other documents",
    ),
    "a step of nothing": (given("--step", "0"), "must be a positive number"),
    "damping that is no number": (given("--damping", "nan"), "a number from 0 on"),
    "a size that cannot be": (
        given("--target-size", "20kB"),
        "no calibrated artifact of this checkpoint is so small",
    ),
    "NaN activations": (lambda place: changed(place, nan_in_a_norm), "activations are not finite"),
    "infinite logits": (lambda place: changed(place, infinite_output), "not finite"),
    "an embedding tied to nothing": (lambda place: changed(place, tied_to_nothing), "lacks tensors"),
    "a weight of no layer": (
        lambda place: changed(place, weight_of_nothing),
        "no whole weight of one of the model's modules",
    ),
    "no such layer": (recipe("no_such_proj"), "matches no"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_one_clear_error_and_nothing_half_written(case: str, tmp_path: Path) -> None:
    make, message = BROKEN[case]
    arguments = make(tmp_path)
    extra = [] if "--recipe" in arguments else ["--recipe", "calibrated"]
    output = tmp_path / "out"
    result = typed(command, *arguments, *extra, "-o", output)
    assert isinstance(result.exception, IwsltpackError), result.exception
    said = str(result.exception)
    assert message in said
    assert said.count("\n") < 8
    assert not output.exists()
    left = [path.name for path in tmp_path.rglob("*")]
    assert not [name for name in left if name.endswith((".tmp", ".matrix", ".factor", ".sensitivity"))]
