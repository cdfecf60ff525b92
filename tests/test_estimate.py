"""What is told before a build is what the build then gives, recipe by recipe."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from conftest import MINIATURE, bfloat16
from rich.console import Console
from typer.testing import CliRunner

from iwsltpack.artifact.sizes import measure
from iwsltpack.building import size_estimate as estimation
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.recipes import BUILT_IN, load_recipe
from iwsltpack.building.request import BuildRequest
from iwsltpack.building.size_estimate import DEFAULT_BITS, Estimate, estimate, step_for
from iwsltpack.cli import console
from iwsltpack.cli import estimate as command
from iwsltpack.cli.common import with_options
from iwsltpack.documents.choices import DEFAULT_STEP
from iwsltpack.documents.recipe import LayerRule, PruneRule, Recipe
from iwsltpack.errors import UsageError
from iwsltpack.quantizers.scales import SUFFIX, QuantizedMatrix

PACKED_HERE = [
    name for name, recipe in BUILT_IN.items() if recipe.engine == "codec" and not recipe.calibrated
]
CODINGS = [("zstd", 2), ("pcodec", 2), ("paper", 1)]


def wrong(found: Estimate, artifact: Path) -> dict[str, float]:
    """Return by how much of the truth each figure is off."""
    real = measure(artifact)
    parts = {name: (part.bytes, real.components[name].bytes) for name, part in found.sizes.components.items()}
    pairs = {"all": (found.sizes.total_bytes, real.total_bytes), **parts}
    assert found.sizes.parameters == real.parameters
    assert found.sizes.source_bytes == real.source_bytes
    return {name: told / true - 1 for name, (told, true) in pairs.items() if true or told}


@pytest.mark.parametrize("source", ["tiny", "miniature"])
@pytest.mark.parametrize("coding", CODINGS)
def test_a_model_of_small_tensors_is_foretold_to_the_byte(
    source: str, coding: tuple[str, int], tiny: Path, tmp_path: Path
) -> None:
    folder = tiny if source == "tiny" else MINIATURE
    names = PACKED_HERE if coding[0] == "zstd" else ["selected-q2", "prune20-q2"]
    recipes = [load_recipe(name) for name in names]
    for found in estimate(folder, recipes, coding[0], format_version=coding[1]):
        output = tmp_path / found.recipe.name
        build_artifact(BuildRequest(folder, output, found.recipe, coding[0], format_version=coding[1]))
        assert set(wrong(found, output).values()) == {0.0}, found.recipe.name
        assert found.sizes.entropy_bits == measure(output).entropy_bits


def large(random: np.random.Generator) -> dict[str, Any]:
    """Return a gated MLP whose rows and columns differ in spread, and an embedding whose first rows are larger."""
    tensors: dict[str, Any] = {}
    for layer in range(2):
        for name, shape in (("gate", (3000, 1100)), ("up", (3000, 1100)), ("down", (1100, 3000))):
            spread = np.exp(0.2 * random.standard_normal((shape[0], 1)))
            values = 0.013 * spread * random.standard_normal(shape)
            tensors[f"model.layers.{layer}.mlp.{name}_proj.weight"] = bfloat16(values)
    sizes = np.linspace(0.025, 0.015, 4000)[:, None]
    tensors["model.embed_tokens.weight"] = bfloat16(sizes * random.standard_normal((4000, 1100)))
    return tensors


@pytest.mark.parametrize("coding", CODINGS)
def test_large_tensors_are_foretold_from_a_sample(
    coding: tuple[str, int],
    checkpoint: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(estimation, "BUDGET", 1 << 21)
    source = checkpoint(large(np.random.default_rng(5)))
    prune = PruneRule(pattern="mlp$", fraction=0.25)
    rules = (LayerRule(pattern=".", bits=7), LayerRule(pattern="embed", bits=9, quantizer="rounding"))
    recipes = [
        load_recipe("fp16"),
        Recipe(name="r", description="", techniques=(), layers=rules, prune=prune),
    ]
    for found in estimate(source, recipes, coding[0], format_version=coding[1]):
        output = tmp_path / found.recipe.name
        build_artifact(BuildRequest(source, output, found.recipe, coding[0], format_version=coding[1]))
        off = wrong(found, output)
        assert abs(off["all"]) < 0.01, off
        assert max(map(abs, off.values())) < 0.02, off
        assert found.recipe.name == "fp16" or off["all"] != 0  # 0: nothing was sampled
        assert found.seconds > 0 and found.memory > 200 << 20


def matrices(folder: Path, names: dict[str, tuple[int, int]]) -> Path:
    """Write what a calibration might make of tensors."""
    folder.mkdir()
    random = np.random.default_rng(1)
    for name, (rows, columns) in names.items():
        scales = [np.exp(0.4 * random.standard_normal(size)).astype(np.float16) for size in (rows, columns)]
        sizes = 3 / scales[0][:, None] / scales[1]
        codes = np.rint(sizes * random.standard_normal((rows, columns))).astype(np.int16)
        QuantizedMatrix(codes=codes, row_scale=scales[0], column_scale=scales[1], delta=0.5).save(
            folder / f"{name}{SUFFIX}"
        )
    return folder


@pytest.mark.parametrize("coding", ["zstd", "pcodec"])
def test_calibrated_matrices_are_foretold(
    coding: str, checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimation, "BUDGET", 1 << 21)
    tensors = large(np.random.default_rng(5))
    source = checkpoint(tensors)
    folder = matrices(tmp_path / "matrices", {name: value[1].shape for name, value in tensors.items()})
    (found,) = estimate(source, [BUILT_IN["calibrated"]], coding, matrices=folder)
    build_artifact(BuildRequest(source, tmp_path / "out", found.recipe, coding, matrices=folder))
    assert found.guessed == 0
    off = wrong(found, tmp_path / "out")
    assert 0 < abs(off["all"]) < 0.01, off


def test_before_a_calibration_bits_and_step_for_a_size_are_told(tiny: Path) -> None:
    (found,) = estimate(tiny, [BUILT_IN["calibrated"]])
    part = found.sizes.components["selected"]
    assert part.bytes == pytest.approx(found.guessed * DEFAULT_BITS / 8, abs=40)
    assert found.bits_for(found.sizes.total_bytes) == pytest.approx(DEFAULT_BITS)
    smaller = found.sizes.total_bytes - found.guessed // 8
    assert found.bits_for(smaller) == pytest.approx(DEFAULT_BITS - 1, abs=1e-3)
    assert step_for(DEFAULT_BITS - 1) == pytest.approx(2 * DEFAULT_STEP)
    assert found.fits(smaller)
    assert 2 * found.guessed < found.work < 6 * found.guessed  # codes, and factors of narrow layers
    assert estimate(tiny, [BUILT_IN["global-q2"]])[0].work == 0
    assert not found.fits(found.sizes.total_bytes - found.guessed // 4)


def test_bitsandbytes_is_foretold_without_it(tiny: Path) -> None:
    """Against what bitsandbytes 0.50.2 and this package made of the tiny stand-in in format 2."""
    (found,) = estimate(tiny, [BUILT_IN["bnb-int8"]])
    # The stand-in has been given the miniature's tokenizer and processor since.
    since = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "processor_config.json")
    given = sum((tiny / name).stat().st_size for name in since)
    # And its manifest a line of 25 bytes with the CRC-32C of each of 120 chunks.
    given += 25 * 120
    assert found.sizes.total_bytes - given == pytest.approx(394_896, rel=0.005)
    assert found.sizes.components["linear"].bytes == pytest.approx(169_461, rel=0.001)


def typed(*arguments: object) -> Any:
    app = typer.Typer()
    app.command()(with_options(command.command))
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_table_fits_a_terminal_and_says_what_fits(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "out", Console(highlight=False, soft_wrap=True, width=80))
    asked = (tiny, "--target-size", "335KB", "--target-size", "1 kB")
    result = typed(*asked)
    assert result.exit_code == 0, result.exception
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    rows = {line.split()[0]: line for line in lines if line}
    assert {*BUILT_IN, "335KB"} <= set(rows)
    assert "0.378" in rows["selected-q3"]  # MB, as built
    assert "~" in rows["calibrated"] and "~" not in rows["global-q2"]
    assert f"up to {estimate(tiny, [BUILT_IN['calibrated']])[0].work / 1e9:.2f} GB of disk" in result.stdout
    assert "global-q2" in rows["335KB"] and "selected-q2" not in rows["335KB"]
    assert "none" in result.stdout and "below any that was measured" in " ".join(result.stdout.split())


def test_json_has_every_figure(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_as_json", False)  # as it is again after this test
    document = json.loads(typed(tiny, "--recipe", "global-q2", "--target-size", "1MB", "--json").stdout)
    told = document["recipes"]["global-q2"]
    assert {"total_bytes", "components", "seconds", "memory_bytes", "work_bytes"} <= set(told)
    assert document["targets"]["1MB"]["fits"] == ["global-q2"]


def test_what_would_be_ignored_is_refused(tiny: Path, tmp_path: Path) -> None:
    assert isinstance(typed(tiny, "--recipe", "fp16", "--matrices", tmp_path).exception, UsageError)
    assert isinstance(typed(tiny, "--target-size", "small").exception, UsageError)
    assert isinstance(typed(tiny, "--recipe", "nothing").exception, UsageError)
