"""A model of calibrated matrices: every way to load, move, describe and serve it gives the weights that were made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from http_store import HttpStore, isolate
from inference_fixtures import MINIATURE, tone
from test_build import tree

from iwsltpack.artifact.export import export_checkpoint
from iwsltpack.artifact.integrity import verify_artifact
from iwsltpack.artifact.reader import open_artifact
from iwsltpack.artifact.sizes import measure
from iwsltpack.building.checkpoint import open_checkpoint
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.request import BuildRequest
from iwsltpack.codecs.dtypes import to_float32
from iwsltpack.decoding.prepare import InputBuilder
from iwsltpack.documents.recipe import LayerRule, Recipe
from iwsltpack.hub.card import write_card
from iwsltpack.quantizers.scales import QuantizedMatrix
from iwsltpack.runtime.int8 import Int8Linear
from iwsltpack.runtime.model import load_model, processor_from

MIXED = Recipe(
    name="mixed",
    description="",
    techniques=("post-training quantization",),
    layers=(
        LayerRule(pattern="embed_tokens|lm_head|mlp", bits=None, quantizer="calibrated"),
        LayerRule(pattern="self_attn", bits=None, step=0.0021),
    ),
)


def quantized(weight: np.ndarray) -> QuantizedMatrix:
    """Round a matrix with scales of its rows and columns, as a calibration would but for what it knows of the data."""
    row = np.sqrt((weight**2).mean(1) + 1e-8).astype(np.float16)
    column = RANDOM.uniform(0.8, 1.25, weight.shape[1]).astype(np.float16)
    step = row[:, None].astype(np.float32) * np.float32(0.0625) * column.astype(np.float32)
    codes = np.rint(weight / step).astype(np.int32)
    return QuantizedMatrix(codes=codes, row_scale=row, column_scale=column, delta=0.0625)


RANDOM = np.random.default_rng(20261126)


@pytest.fixture(scope="module")
def matrices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("matrices")
    for name, tensor in open_checkpoint(MINIATURE).tensors.items():
        if any(part in name for part in ("embed_tokens", "lm_head", "mlp")) and len(tensor.shape) == 2:
            weight = to_float32(tensor.rows(0, tensor.shape[0]), tensor.dtype.name)
            quantized(weight).save(folder / f"{name}.matrix")
    return folder


@pytest.fixture(scope="module")
def artifact(matrices: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("calibrated") / "artifact"
    build_artifact(BuildRequest(MINIATURE, output, MIXED, "pcodec", matrices=matrices))
    assert verify_artifact(output) == []
    return output


def wanted(artifact: Path, matrices: Path) -> dict[str, np.ndarray]:
    """Return the calibrated weights by name, from what was packed."""
    opened = open_artifact(artifact)
    names = [name for name in opened.names() if opened.entry(name).classes is not None]
    assert len(names) >= 8
    return {name: QuantizedMatrix.load(matrices / f"{name}.matrix").weights() for name in names}


def test_it_loads_alike_in_every_mode(artifact: Path) -> None:
    inputs = InputBuilder(processor_from(MINIATURE), "Translate.").prepare([tone(2.5, 300.0), tone(1.0)])
    models: dict[str, Any] = {}
    for mode in ("load", "cache", "stream", "int8"):
        models[mode] = load_model(artifact, device="cpu", mode=mode)  # type: ignore[arg-type]
    with torch.inference_mode():
        logits = {mode: model(**inputs).logits for mode, model in models.items()}
    for mode in ("cache", "stream", "int8"):
        assert torch.equal(logits[mode], logits["load"]), mode
    plain, held = dict(models["load"].named_modules()), 0
    for name, layer in models["int8"].named_modules():
        if isinstance(layer, Int8Linear):
            assert torch.equal(layer.weight, plain[name].weight), name
            held += layer.row_scale is not None
    assert held >= 3


def test_it_is_exported_and_served_bit_by_bit(
    artifact: Path, matrices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    export_checkpoint(artifact, tmp_path / "hf")
    exported = open_checkpoint(tmp_path / "hf").tensors
    with HttpStore(artifact.parent) as store:
        far = open_artifact(f"{store.url}/artifact")
        for name, weights in wanted(artifact, matrices).items():
            tensor = exported[name]
            assert tensor.dtype.name == "float16"
            assert tensor.rows(0, tensor.shape[0]).tobytes() == weights.tobytes()
            assert far.tensor(name).tobytes() == weights.tobytes()
            assert far.rows(name, 1, 3).tobytes() == weights[1:3].tobytes()
        assert verify_artifact(f"{store.url}/artifact") == []


def test_a_cluster_writes_the_bytes_of_one_process(artifact: Path, matrices: Path, tmp_path: Path) -> None:
    build_artifact(
        BuildRequest(MINIATURE, tmp_path / "out", MIXED, "pcodec", matrices=matrices), cluster="local:1"
    )
    assert tree(tmp_path / "out") == tree(artifact)


def test_its_size_stands_beside_the_entropy_given_the_class(artifact: Path) -> None:
    sizes, manifest = measure(artifact), open_artifact(artifact).manifest
    selected = [tensor for tensor in manifest.tensors if tensor.quantized]
    bound = sum((tensor.entropy_bits or 0) * tensor.parameters for tensor in selected) / 8
    assert abs(sizes.to_json()["selected_bytes_above_entropy"] - (sum(t.bytes for t in selected) - bound)) < 2
    assert sizes.bytes_above_entropy is not None
    assert sizes.bytes_above_entropy > 0


def test_the_card_tells_what_was_done_and_reads_what_it_shows(artifact: Path) -> None:
    manifest = open_artifact(artifact).manifest
    card = write_card(manifest, measure(artifact), "team/model")
    count = sum(tensor.classes is not None for tensor in manifest.tensors)
    assert f"| {count} matrices | codes and scales of rows and columns, by calibration | 0.0625 |" in card
    assert "| `self_attn` | rounded to multiples of the step | 0.0021 |" in card
    shown = card.partition('mode="r")["')[2].partition('"')[0]
    assert open_artifact(artifact).entry(shown).quantizer == "uniform"
