"""bitsandbytes' own int8 checkpoint as an artifact, and the sentence told where it cannot be made."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from conftest import MINIATURE

from iwsltpack.artifact.sizes import measure
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.recipes import BUILT_IN
from iwsltpack.building.request import BuildRequest
from iwsltpack.errors import MissingDependency


def test_without_bitsandbytes_one_sentence_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(
        MissingDependency,
        match=r"this recipe needs bitsandbytes\n  to do: in the checkout of iwsltpack: pip install '\.\[bnb\]'",
    ):
        build_artifact(BuildRequest(MINIATURE, tmp_path / "out", BUILT_IN["bnb-int8"]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
@pytest.mark.filterwarnings("ignore")  # of bitsandbytes and its kernels, not of this package
def test_the_int8_save_is_packed_as_bitsandbytes_writes_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    manifest = build_artifact(BuildRequest(MINIATURE, tmp_path / "out", BUILT_IN["bnb-int8"], "paper"))
    assert capfd.readouterr().err == ""
    names = {tensor.name: tensor for tensor in manifest.tensors}
    layer = "language_model.model.layers.0.mlp.up_proj.weight"
    assert names[layer].dtype == "int8"
    assert names[layer].source_dtype == "bfloat16"
    assert layer.replace(".weight", ".SCB") in names
    sizes = measure(tmp_path / "out")
    assert sizes.parameters == sizes.source_parameters
    assert 0.5 < sizes.linear_bytes / sizes.source_linear_bytes < 0.7
    assert not list(tmp_path.glob(".int8-*"))
