"""The model card says what the manifest says, in a form the hub reads and a person likes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY
from huggingface_hub import ModelCard

from iwsltpack.artifact.reader import open_artifact
from iwsltpack.artifact.sizes import measure
from iwsltpack.documents.artifact import ArtifactManifest
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.documents.recipe import LayerRule, PruneRule
from iwsltpack.hub.card import is_generated, write_card
from iwsltpack.system import fileio

GOLDEN = REPOSITORY / "tests" / "golden" / "v1"
REPO = "team/model"


def card_of(artifact: Path, **changes: object) -> str:
    manifest = read_manifest(artifact)
    base = replace(
        manifest.base_model,
        id="Qwen/Qwen2-Audio-7B-Instruct",
        revision="0a095220c30b7b31434169c3086508ef3ea5bf0a",
        license="Apache-2.0",
    )
    changed: ArtifactManifest = replace(manifest, base_model=base, **changes)  # type: ignore[arg-type]
    return write_card(changed, measure(artifact), REPO)


def test_front_matter_is_what_the_hub_asks_for() -> None:
    data = ModelCard(card_of(GOLDEN / "zstd")).data.to_dict()
    assert data == {
        "base_model": "Qwen/Qwen2-Audio-7B-Instruct",
        "base_model_relation": "quantized",
        "library_name": "iwsltpack",
        "license": "apache-2.0",
        "tags": ["iwslt", "model-compression", "zarr", "quantized"]
        if "post-training quantization" in read_manifest(GOLDEN / "zstd").recipe.techniques
        else ["iwslt", "model-compression", "zarr"],
    }


def test_a_model_with_an_audio_tower_is_filed_under_its_task(built) -> None:
    artifact = built("prune20-q2", "zstd")
    data = ModelCard(write_card(read_manifest(artifact), measure(artifact), REPO)).data.to_dict()
    assert data["pipeline_tag"] == "audio-text-to-text"
    assert data["tags"][3:] == ["speech-translation", "audio", "pruned", "quantized", "lossless-compression"]
    assert "base_model" not in data and "license" not in data  # the stand-in has neither


def test_both_measures_of_size_stand_there_to_the_byte() -> None:
    # tests/golden/v1/zstd by du -b and by adding up its linear layers' files.
    card = card_of(GOLDEN / "zstd")
    assert sum(path.stat().st_size for path in (GOLDEN / "zstd").rglob("*") if path.is_file()) == 7318
    assert (
        "| **whole folder on disk** (what the IWSLT organisers rank) | 7,318 | 0.000 | 0.000 | 566.4 % |"
        in card
    )
    assert "| linear layers alone (what the paper's table counts) | 2,072 | 0.000 | 0.000 | 212.3 % |" in card
    assert "| rounded layers | 2,072 | 244 | 67.934 | 212.3 % |" in card
    assert "Shannon entropy of 5.998 bits a weight" in card
    assert "GB = 10⁹ bytes, GiB = 2³⁰ bytes" in card


def test_provenance_names_model_revision_hashes_and_versions() -> None:
    card, manifest = card_of(GOLDEN / "zstd"), read_manifest(GOLDEN / "zstd")
    for fact in (
        "[Qwen/Qwen2-Audio-7B-Instruct](https://huggingface.co/Qwen/Qwen2-Audio-7B-Instruct)",
        "`0a095220c30b7b31434169c3086508ef3ea5bf0a`",
        f"`{manifest.sha256}`",
        f"`{manifest.base_model.sha256}`",
        "iwsltpack 0.1.0; numcodecs 0.16.6, numpy 2.4.6, pcodec 0.3.6, zarr 3.1.6",
    ):
        assert fact in card


def test_the_recipe_is_a_table_that_patterns_cannot_break() -> None:
    manifest = read_manifest(GOLDEN / "zstd")
    recipe = replace(
        manifest.recipe,
        layers=(LayerRule(pattern="up|down", bits=7), LayerRule(pattern="a`b", bits=None)),
        prune=PruneRule(pattern="mlp$", fraction=0.2),
        description="first line\n\n---\n| not | a table |\n<script>",
    )
    card = card_of(GOLDEN / "zstd", recipe=recipe)
    table = card.partition("## Recipe\n\n")[2].partition("\n\n")[0].splitlines()
    assert table == [
        "| layers | what is done | step |",
        "| --- | --- | ---: |",
        "| `mlp$` | 20 % of the units pruned by magnitude |  |",
        r"| `up\|down` | rounded to multiples of 2^-7 | 0.0078125 |",
        "| `a'b` | lossless |  |",
        "| everything else | lossless |  |",
    ]
    assert "<script>" not in card
    assert r"(first line --- \| not \| a table \| \<script\>)" in card


def test_the_same_artifact_gives_the_same_card() -> None:
    assert card_of(GOLDEN / "pcodec") == card_of(GOLDEN / "pcodec")
    assert card_of(GOLDEN / "pcodec") != card_of(GOLDEN / "zstd")


def test_a_card_knows_whether_it_was_edited() -> None:
    card = card_of(GOLDEN / "zstd").encode()
    assert is_generated(card)
    assert not is_generated(card.replace(b"# model", b"# My model"))
    assert not is_generated(card + b"More.\n")
    assert not is_generated(b"---\nlicense: mit\n---\n# Mine\n")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("other", {"license": "other"}),
        ("Tongyi Qianwen: {special}", {"license": "other", "license_name": "Tongyi Qianwen: {special}"}),
    ],
)
def test_a_license_the_hub_does_not_know_is_other(told: str, expected: dict[str, str]) -> None:
    manifest = read_manifest(GOLDEN / "zstd")
    changed = replace(manifest, base_model=replace(manifest.base_model, license=told))
    data = ModelCard(write_card(changed, measure(GOLDEN / "zstd"), REPO)).data.to_dict()
    assert {key: value for key, value in data.items() if key.startswith("license")} == expected


@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr")
@pytest.mark.parametrize("coding", ["paper", "zstd", "pcodec"])
def test_the_lines_for_plain_zarr_give_the_weights(coding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = GOLDEN / coding
    card = card_of(artifact)
    lines = re.findall(r"```python\n(.*?)```", card, re.DOTALL)[1]
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repo: str(artifact))
    found: dict[str, object] = {}
    exec(lines, found)
    values = found["values" if coding == "paper" else "weights"]
    name = "block.mlp.down_proj.weight"
    assert name in lines
    expected = open_artifact(artifact).tensor(name)
    assert np.array_equal(np.asarray(values, dtype=np.float16), np.asarray(expected, dtype=np.float16))


@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr")
def test_the_lines_for_plain_zarr_rotate_words_back(built, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = built("fp16", "zstd")
    lines = re.findall(r"```python\n(.*?)```", card_of(artifact), re.DOTALL)[1]
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda repo: str(artifact))
    found: dict[str, np.ndarray] = {}
    exec(lines, found)
    assert (
        found["bits"].tobytes()
        == open_artifact(artifact).tensor(open_artifact(artifact).names()[0]).tobytes()
    )


def test_the_lines_for_python_name_functions_that_exist() -> None:
    import iwsltpack

    lines = re.findall(r"```python\n(.*?)```", card_of(GOLDEN / "zstd"), re.DOTALL)[0]
    for name in re.findall(r"iwsltpack\.(\w+)\(", lines):
        assert callable(getattr(iwsltpack, name))
    assert len(lines.strip().splitlines()) == 4  # three and an empty one


def test_card_digest_is_over_what_stands_before_it() -> None:
    card = card_of(GOLDEN / "zstd")
    body, _, seal = card.rpartition("<!-- ")
    assert fileio.sha256_bytes(body.encode()) in seal
