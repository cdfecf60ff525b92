"""An exported checkpoint is the artifact's model, to transformers and to safetensors."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import warm

from iwsltpack.artifact import export
from iwsltpack.artifact.reader import open_artifact
from iwsltpack.building.checkpoint import open_checkpoint
from iwsltpack.codecs.dtypes import BY_CODE
from iwsltpack.errors import UsageError


@pytest.mark.parametrize("recipe", ["fp16", "selected-q3", "prune20-q2"])
def test_every_tensor_is_exported_bit_by_bit(
    built: Callable[[str, str], Path], tmp_path: Path, recipe: str
) -> None:
    artifact = open_artifact(built(recipe, "zstd"))
    export.export_checkpoint(artifact.path, tmp_path / "hf")
    exported = open_checkpoint(tmp_path / "hf")
    assert sorted(exported.tensors) == artifact.names()
    for name, tensor in exported.tensors.items():
        assert tensor.dtype.name == artifact.entry(name).dtype
        assert tensor.rows(0, tensor.shape[0]).tobytes() == artifact.tensor(name).tobytes()


def test_lossless_export_is_the_source(tiny: Path, built: Callable[[str, str], Path], tmp_path: Path) -> None:
    export.export_checkpoint(built("fp16", "pcodec"), tmp_path / "hf")
    source, exported = open_checkpoint(tiny), open_checkpoint(tmp_path / "hf")
    for name, tensor in source.tensors.items():
        assert (
            tensor.rows(0, tensor.shape[0]).tobytes()
            == exported.tensors[name].rows(0, tensor.shape[0]).tobytes()
        )
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["dtype"] == "bfloat16"


def test_transformers_loads_a_pruned_rounded_export_completely(
    built: Callable[[str, str], Path], tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    import transformers

    transformers.utils.logging.disable_progress_bar()
    artifact = open_artifact(built("prune20-q2", "zstd"))
    export.export_checkpoint(artifact.path, tmp_path / "hf")
    model, info = transformers.Qwen2AudioForConditionalGeneration.from_pretrained(
        tmp_path / "hf", dtype="auto", output_loading_info=True
    )
    assert not any(info.values())
    assert model.dtype == torch.float16  # bfloat16 would round k/2^b again
    weight = dict(model.named_parameters())["model.language_model.layers.1.mlp.down_proj.weight"]
    wanted = artifact.tensor("language_model.model.layers.1.mlp.down_proj.weight")
    assert np.array_equal(weight.detach().numpy().view(np.uint16), wanted.view(np.uint16))


def test_large_models_are_exported_in_shards(
    built: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "SHARD_BYTES", 60_000)
    export.export_checkpoint(built("selected-q3", "zstd"), tmp_path / "hf")
    shards = sorted(path.name for path in (tmp_path / "hf").glob("*.safetensors"))
    assert len(shards) > 2
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "hf").iterdir()}
    assert set(modes.values()) == {0o644}, modes
    assert shards[0] == f"model-00001-of-{len(shards):05}.safetensors"
    assert (
        sorted(open_checkpoint(tmp_path / "hf").tensors)
        == open_artifact(built("selected-q3", "zstd")).names()
    )


def test_an_existing_folder_is_left_alone(built: Callable[[str, str], Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the output exists"):
        export.export_checkpoint(built("fp16", "zstd"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_second_export_compares_with_the_first(
    built: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "SHARD_BYTES", 60_000)
    output = tmp_path / "hf"
    export.export_checkpoint(built("selected-q3", "zstd"), output)
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in output.iterdir()}
    export.export_checkpoint(built("selected-q3", "pcodec"), output)  # the same weights
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in output.iterdir()} == before


@pytest.mark.parametrize("what", ["other weights", "a value", "a cut shard", "a side file", "another file"])
def test_an_output_that_is_another_export_is_refused(
    built: Callable[[str, str], Path], tmp_path: Path, what: str
) -> None:
    output = tmp_path / "hf"
    export.export_checkpoint(
        built("selected-q3" if what != "other weights" else "selected-q2", "zstd"), output
    )
    shard = output / "model.safetensors"
    data = bytearray(shard.read_bytes())
    if what == "a value":
        data[-1] ^= 1
        shard.write_bytes(data)
    elif what == "a cut shard":
        shard.write_bytes(data[:-8])
    elif what == "a side file":
        (output / "config.json").write_text("{}\n")
    elif what == "another file":
        (output / "notes.txt").write_text("mine\n")
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    with pytest.raises(UsageError, match="not what this export makes"):
        export.export_checkpoint(built("selected-q3", "zstd"), output)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def test_an_export_leaves_an_unfinished_build_of_that_name_alone(
    built: Callable[[str, str], Path], tmp_path: Path
) -> None:
    (tmp_path / "hf.partial").mkdir()
    (tmp_path / "hf.partial" / "build.jsonl").write_text("hours of work")
    export.export_checkpoint(built("fp16", "zstd"), tmp_path / "hf")
    assert (tmp_path / "hf.partial" / "build.jsonl").read_text() == "hours of work"


FULL_DISK = """
import resource, sys
from pathlib import Path
from iwsltpack.artifact.export import export_checkpoint
import torch, safetensors.torch
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
export_checkpoint(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    built: Callable[[str, str], Path], tmp_path: Path
) -> None:
    done = warm.run([sys.executable, "-c", FULL_DISK, built("fp16", "zstd"), tmp_path / "hf"])
    assert "iwsltpack.errors.ResourceError" in done.stderr
    assert "the shard cannot be written" in done.stderr
    assert not list(tmp_path.iterdir())


def test_tensors_of_every_type_are_exported(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    from iwsltpack.building.pipeline import build_artifact
    from iwsltpack.building.recipes import BUILT_IN
    from iwsltpack.building.request import BuildRequest

    random = np.random.default_rng(0)
    tensors = {
        f"t.{code}": (code, random.integers(0, 2, (3, 2), dtype=np.uint8).astype(dtype.carrier))
        for code, dtype in BY_CODE.items()
    }
    source = checkpoint({**tensors, "scalar": np.array(2.5), "empty": np.zeros((0, 3))})
    build_artifact(BuildRequest(source, tmp_path / "art", BUILT_IN["fp16"]))
    export.export_checkpoint(tmp_path / "art", tmp_path / "hf")
    exported = open_checkpoint(tmp_path / "hf").tensors
    for name, tensor in open_checkpoint(source).tensors.items():
        assert exported[name].dtype == tensor.dtype
        rows = tensor.shape[0] if tensor.shape else 1
        assert exported[name].rows(0, rows).tobytes() == tensor.rows(0, rows).tobytes(), name
