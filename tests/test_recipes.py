"""Recipes select what the paper selected; pruning keeps the strongest units; recipe files are checked."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import THIRD_PARTY, bfloat16

from iwsltpack.artifact.reader import open_artifact
from iwsltpack.building.checkpoint import open_checkpoint
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.plan import CHUNK_VALUES, linear_layers, plan_tensors, rows_per_chunk
from iwsltpack.building.prune import keep_units, scores
from iwsltpack.building.recipes import BUILT_IN, load_recipe
from iwsltpack.building.request import BuildRequest
from iwsltpack.documents.recipe import LayerRule, PruneRule, Recipe
from iwsltpack.errors import InputError, UsageError, ValidationFailed

Make = Callable[..., Path]


def test_every_row_of_the_table_and_every_subset_is_built_in() -> None:
    rows = {"fp16", "bnb-int8", "selected-q3", "selected-q2", "global-q2", "prune20-q2"}
    subsets = {f"{subset}-q{digits}" for subset in ("up-down", "down", "up", "gate") for digits in (2, 3)}
    assert set(BUILT_IN) == rows | subsets | {"calibrated"}


def test_full_size_selection_is_the_papers(tmp_path: Path) -> None:
    from tools.standin.generate import SCALES, shapes

    names = [
        name.removesuffix(".weight")
        for name, shape in shapes(SCALES["full"]).items()
        if name.endswith(".weight") and len(shape) == 2 and "embed" not in name
    ]
    assert len(names) == 418
    import re

    selected = [name for name in names if re.search(BUILT_IN["selected-q3"].layers[0].pattern, name)]
    assert len(selected) == 96
    assert not any("audio_tower" in name for name in selected)


def test_linear_layers_are_those_of_the_published_report() -> None:
    if not THIRD_PARTY.is_dir():
        pytest.skip("the paper's per-layer report is not beside this checkout")
    from tools.standin.generate import SCALES, shapes

    tensors = shapes(SCALES["full"])
    with (THIRD_PARTY / "linear_layer_bytes.csv").open(newline="") as stream:
        rows = {row["layer_name"]: int(row["fp16_bytes"]) for row in csv.DictReader(stream)}
    ours = {
        name.removesuffix(".weight"): 2
        * sum(
            int(np.prod(tensors[key])) for key in (name, name.replace(".weight", ".bias")) if key in tensors
        )
        for name, shape in tensors.items()
        if name.endswith(".weight") and len(shape) == 2 and "embed" not in name
    }
    assert ours == rows
    assert sum(ours.values()) == 15_500_451_840


def test_subsets_round_only_their_projections(tiny: Path) -> None:
    checkpoint = open_checkpoint(tiny)
    for subset, wanted in (
        ("up-down", {"up_proj", "down_proj"}),
        ("gate", {"gate_proj"}),
        ("down", {"down_proj"}),
    ):
        plans = plan_tensors(checkpoint, BUILT_IN[f"{subset}-q3"])
        assert {plan.source.name.split(".")[-2] for plan in plans if plan.entry.bits is not None} == wanted


def test_global_rounds_every_linear_layer_and_nothing_else(tiny: Path) -> None:
    checkpoint = open_checkpoint(tiny)
    rounded = {
        p.source.name.removesuffix(".weight")
        for p in plan_tensors(checkpoint, BUILT_IN["global-q2"])
        if p.entry.bits
    }
    assert rounded == set(linear_layers(checkpoint))
    assert not any("embed" in name or "norm" in name or "conv" in name for name in rounded)


def test_later_rules_win(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "mix.toml").write_text(
        "name = 'mix'\n[[layers]]\npattern = 'mlp'\ndigits = 2\n[[layers]]\npattern = 'layers\\.0\\.mlp'\nbits = 9\n"
        "[[layers]]\npattern = 'layers\\.1\\.mlp\\.gate'\nlossless = true\n"
    )
    bits = {
        p.source.name: p.entry.bits
        for p in plan_tensors(open_checkpoint(tiny), load_recipe(str(tmp_path / "mix.toml")))
    }
    assert bits["language_model.model.layers.0.mlp.up_proj.weight"] == 9
    assert bits["language_model.model.layers.1.mlp.up_proj.weight"] == 7
    assert bits["language_model.model.layers.1.mlp.gate_proj.weight"] is None


def test_json_recipes_say_the_same_as_toml(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"name": "x", "layers": [{"pattern": "mlp", "digits": 3}]}))
    (tmp_path / "a.toml").write_text("name = 'x'\n[[layers]]\npattern = 'mlp'\nbits = 10\n")
    assert load_recipe(str(tmp_path / "a.json")) == load_recipe(str(tmp_path / "a.toml"))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("name = 'x'\n", ValidationFailed, "does not fit the recipe schema"),
        ("name = 'x'\n[[layers]]\npattern = 'a'\nbits = 3\ndigits = 1\n", ValidationFailed, "layers/0"),
        ("name = 'x'\n[[layers]]\npattern = 'a'\nbits = 15\n", ValidationFailed, "layers/0/bits"),
        (
            "name = 'x'\n[prune]\npattern = 'a'\nfraction = nan\n",
            ValidationFailed,
            "prune/fraction: nan is not",
        ),
        (
            "name = 'x'\n[prune]\npattern = 'a'\nfraction = -inf\n",
            ValidationFailed,
            "prune/fraction: -inf is not",
        ),
        ("name = 'x'\n[[layers]]\npattern = '('\nbits = 3\n", UsageError, "not a regular expression"),
        ("name = \n", InputError, "not valid TOML"),
    ],
)
def test_a_bad_recipe_file_is_told(tmp_path: Path, text: str, error: type[Exception], message: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(error, match=message):
        load_recipe(str(tmp_path / "r.toml"))


def test_unknown_and_missing_recipes_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown recipe 'q3'\n  expected: fp16, bnb-int8, selected-q3"):
        load_recipe("q3")
    with pytest.raises(InputError, match="cannot read the file"):
        load_recipe(str(tmp_path / "none.toml"))


def test_pruning_drops_a_fifth_rounded_down() -> None:
    assert len(keep_units(np.arange(11008.0), 0.2)) == 8807
    assert keep_units(np.array([5.0, 1.0, 3.0, 1.0, 9.0]), 0.4).tolist() == [0, 2, 4]
    assert len(keep_units(np.ones(100), 0.29)) == 71


def test_pruned_projections_keep_matching_units(tiny: Path, built: Callable[[str, str], Path]) -> None:
    checkpoint, mlp = open_checkpoint(tiny), "language_model.model.layers.0.mlp"
    units = keep_units(scores(checkpoint, mlp), 0.2)
    source = {
        name: checkpoint.tensors[f"{mlp}.{name}.weight"] for name in ("gate_proj", "up_proj", "down_proj")
    }
    full = {name: tensor.rows(0, tensor.shape[0]) for name, tensor in source.items()}
    magnitude = sum(
        np.abs((full[name].astype(np.uint32) << 16).view(np.float32)).sum(axis=axis, dtype=np.float64)
        for name, axis in (("gate_proj", 1), ("up_proj", 1), ("down_proj", 0))
    )
    assert np.allclose(scores(checkpoint, mlp), magnitude)
    artifact, whole = open_artifact(built("prune20-q2", "zstd")), open_artifact(built("selected-q2", "zstd"))
    assert len(units) == 138  # of 172
    for name in ("gate_proj", "up_proj"):
        assert np.array_equal(
            artifact.tensor(f"{mlp}.{name}.weight"), whole.tensor(f"{mlp}.{name}.weight")[units]
        )
    assert np.array_equal(
        artifact.tensor(f"{mlp}.down_proj.weight"), whole.tensor(f"{mlp}.down_proj.weight")[:, units]
    )
    config = json.loads((artifact.model_dir / "config.json").read_text())
    assert config["text_config"]["intermediate_size"] == 138
    assert artifact.manifest.parameters < artifact.manifest.base_model.parameters


def test_pruning_some_layers_only_is_refused_before_anything_is_written(tiny: Path, tmp_path: Path) -> None:
    recipe = Recipe(
        name="p", description="", techniques=("x",), prune=PruneRule(pattern=r"layers\.0\.mlp$", fraction=0.5)
    )
    with pytest.raises(UsageError, match="some gated MLPs and not others"):
        build_artifact(BuildRequest(tiny, tmp_path / "out", recipe, "zstd"))
    assert not list(tmp_path.iterdir())


def test_a_pruning_pattern_that_matches_nothing_is_an_error(checkpoint: Make, tmp_path: Path) -> None:
    source = checkpoint({"a.weight": bfloat16(np.ones((2, 2)))})
    recipe = Recipe(
        name="p", description="", techniques=("x",), prune=PruneRule(pattern="mlp$", fraction=0.5)
    )
    with pytest.raises(UsageError, match="mlp\\$: the pruning pattern matches no gated MLP"):
        build_artifact(BuildRequest(source, tmp_path / "out", recipe, "zstd"))


@pytest.mark.parametrize(
    "shape", [(11008, 4096), (4096, 11008), (156032, 4096), (8807, 4096), (1280,), (1280, 1280, 3)]
)
def test_chunks_are_near_the_wanted_size_and_waste_little(shape: tuple[int, ...]) -> None:
    rows = rows_per_chunk(shape)
    values, chunks = rows * int(np.prod(shape[1:])), -(-shape[0] // rows)
    assert values <= CHUNK_VALUES * 1.01
    assert chunks * rows - shape[0] < chunks


def test_a_pattern_that_does_not_come_to_an_end_is_told(checkpoint: Make, tmp_path: Path) -> None:
    source = checkpoint({f"mlp.{'a' * 60}.weight": bfloat16(np.ones((2, 2)))})
    recipe = Recipe(
        name="r", description="", techniques=("x",), layers=(LayerRule(pattern="(a|a)+!$", bits=7),)
    )
    with pytest.raises(UsageError, match="the pattern does not come to an end"):
        build_artifact(BuildRequest(source, tmp_path / "out", recipe, "zstd"))


@pytest.mark.parametrize(("fraction", "left"), [(0.001, "every unit"), (1.0, "nothing")])
def test_pruning_that_leaves_all_or_nothing_is_refused(
    tiny: Path, tmp_path: Path, fraction: float, left: str
) -> None:
    recipe = Recipe(
        name="p",
        description="",
        techniques=("x",),
        prune=PruneRule(pattern="mlp$", fraction=fraction),
    )
    with pytest.raises(UsageError, match=f"pruning would leave {left} of an MLP"):
        build_artifact(BuildRequest(tiny, tmp_path / "out", recipe, "zstd"))


def test_weights_whose_magnitude_is_not_at_hand_are_not_pruned(checkpoint: Make, tmp_path: Path) -> None:
    shapes = {"gate_proj": (6, 4), "up_proj": (6, 4), "down_proj": (4, 6)}
    eight = {f"l.mlp.{name}.weight": ("F8_E4M3", np.ones(shape, np.uint8)) for name, shape in shapes.items()}
    recipe = Recipe(
        name="p", description="", techniques=("x",), prune=PruneRule(pattern="mlp$", fraction=0.5)
    )
    with pytest.raises(UsageError, match=r"cannot prune weights of this type(.|\n)*got: float8_e4m3fn"):
        build_artifact(BuildRequest(checkpoint(eight), tmp_path / "out", recipe, "zstd"))


@pytest.mark.parametrize("suffix", ["json", "toml"])
def test_a_recipe_nested_without_end_is_one_sentence(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"r.{suffix}").write_text(("x = " if suffix == "toml" else "") + "[" * 100_000)
    with pytest.raises(InputError, match=r"not (usable|valid)"):
        load_recipe(str(tmp_path / f"r.{suffix}"))
