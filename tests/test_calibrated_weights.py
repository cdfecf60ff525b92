"""Weights read from a checkpoint or an artifact when they are needed, against a model that is loaded whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import calibration_fixtures as small
import pytest
import torch
import transformers
from test_calibration import SETTINGS, STEP, files, heard

from iwsltpack.artifact.reader import Artifact
from iwsltpack.calibration import model_weights as room
from iwsltpack.calibration.damage import predict
from iwsltpack.calibration.model_weights import Weights
from iwsltpack.calibration.streams import reading
from iwsltpack.calibration.towers import Batch, Call, find_towers
from iwsltpack.calibration.walk import gather
from iwsltpack.documents.artifact import Tensor
from iwsltpack.errors import ArtifactError, UsageError
from iwsltpack.runtime.model import load_checkpoint, load_model
from iwsltpack.system.progress import SILENT

MODELS: dict[str, tuple[Callable[[], Any], Callable[[], list[Batch]]]] = {
    "llama, tied": (lambda: small.llama(tied=True), lambda: small.text(2)),
    "whisper": (small.whisper, lambda: small.speech(2)),
    "seamless": (small.seamless, lambda: small.spoken_for_seamless(2)),
    "gemma 4": (small.gemma, lambda: small.text(2)),
}


def blocks_in_memory(weights: Weights) -> list[str]:
    return [
        f"{tower.name}.{number}"
        for tower in find_towers(weights.model)
        for number, block in enumerate(tower.blocks)
        if any(not weight.is_meta for weight in block.parameters())
    ]


def gathered(weights: Weights, batches: list[Batch], folder: Path) -> dict[str, bytes]:
    moments = gather(weights, batches, folder, SETTINGS, selected=lambda _: True)
    return files(moments.round(STEP, folder / "matrices")) | files(folder / "moments")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Callable[[Weights], list[int]]:
    """Give a function that has every block counted that is in memory when one is run."""

    def watch(weights: Weights) -> list[int]:
        counts: list[int] = []
        run = Call.run

        def counted(self: Call, *args: Any) -> torch.Tensor:
            counts.append(len(blocks_in_memory(weights)))
            return run(self, *args)

        monkeypatch.setattr(Call, "run", counted)
        return counts

    return watch


@pytest.mark.parametrize("kind", [*MODELS, "qwen2 audio"])
def test_block_by_block_from_the_files_it_is_the_same_bytes(
    kind: str, tiny: Path, tmp_path: Path, alone: Callable[[Weights], list[int]]
) -> None:
    folder = tiny
    if kind in MODELS:
        folder, batches = tmp_path / "checkpoint", MODELS[kind][1]()
        MODELS[kind][0]().save_pretrained(folder)
        (folder / "generation_config.json").write_text('{"eos_token_id": 2}')
    whole = Weights.of_model(load_checkpoint(folder))
    if kind not in MODELS:
        batches = [heard(whole.model)]
    expected = gathered(whole, batches, tmp_path / "whole")
    assert len(expected) > 30
    found = Weights.of_checkpoint(folder)
    counts = alone(found)
    assert gathered(found, batches, tmp_path / "parts") == expected
    assert set(counts) == {1}
    assert blocks_in_memory(found) == []
    if not found.tied & {name for name in found.shapes if "embed" in name}:
        assert found.output.weight.is_meta


def test_of_a_vocabulary_only_what_is_looked_up_is_read(tmp_path: Path) -> None:
    small.llama().save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 2}')
    weights, batches = Weights.of_checkpoint(tmp_path), small.text(1)
    table = weights.model.get_input_embeddings()
    used = batches[0].inputs["input_ids"].unique()
    with torch.no_grad():
        found = table(used)
    assert torch.equal(found, load_checkpoint(tmp_path).get_input_embeddings().weight[used])
    assert len(used) < 64
    assert table.weight.any(1).nonzero()[:, 0].tolist() == used.tolist()
    assert torch.equal(weights.matrix("model.embed_tokens.weight")[used], found)


def test_no_other_tensor_gets_the_id_of_one_that_is_not_read(tiny: Path) -> None:
    weights = Weights.of_checkpoint(tiny)
    made = [torch.nn.Parameter(torch.empty(1)) for _ in range(20_000)]
    assert not weights._unread.keys() & {id(tensor) for tensor in made}


def test_a_model_made_of_parts_of_tensors_is_loaded_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.llama(layers=1).save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 2}')
    joined = {"a": torch.empty(0), "b": torch.empty(0)}
    monkeypatch.setattr(
        room, "revert_weight_conversion", lambda _, state: joined if "q_proj" in str(state) else state
    )
    weights = Weights.of_checkpoint(tmp_path)
    assert blocks_in_memory(weights) == ["model.layers.0"]


def test_a_checkpoint_that_lacks_a_tensor_is_refused_before_a_value_is_read(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    small.llama(tied=True, layers=1).save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 2}')
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.embed_tokens.weight"]
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ArtifactError, match="lacks tensors") as error:
        Weights.of_checkpoint(tmp_path)
    assert "embed_tokens" in str(error.value)


@pytest.mark.parametrize("recipe", ["selected-q3"])
def test_an_artifact_predicts_what_it_does_whole(
    recipe: str,
    built: Callable[[str, str], Path],
    tmp_path: Path,
    alone: Callable[[Weights], list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, decoded, fill = built(recipe, "zstd"), Counter[tuple[str, int]](), Artifact._fill

    def counted(self: Artifact, entry: Tensor, first: int, *rest: Any) -> None:
        decoded[entry.name, first] += 1
        fill(self, entry, first, *rest)

    model = load_model(folder, dtype="float32", device="cpu")
    batch = heard(model)
    weights = Weights.of_artifact(folder)
    counts = alone(weights)
    monkeypatch.setattr(Artifact, "_fill", counted)
    [found] = predict(weights, [batch], tmp_path / "walk", SILENT)
    with torch.no_grad():
        expected = torch.log_softmax(model(**batch.inputs).logits[batch.targets].float(), -1)
    assert torch.allclose(found, expected, atol=1e-5)
    assert set(counts) == {1}
    assert len(set(batch.inputs["input_ids"].flatten().tolist())) > 1
    assert {times for (name, _), times in decoded.items() if "embed_tokens" in name} == {1}
    assert not (tmp_path / "walk").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", MODELS)
def test_on_cuda_what_is_gathered_is_what_the_cpu_gathers(kind: str, tmp_path: Path) -> None:
    batches, sides = MODELS[kind][1](), ("cuda", "cpu")
    for side in sides:
        weights = Weights.of_model(MODELS[kind][0]().to(side))
        try:
            gather(weights, batches, tmp_path / side, SETTINGS, selected=lambda _: True)
        except UsageError as refusal:
            if "hand keys and values to each other" not in refusal.what:
                raise
            pytest.skip(f"{kind} of transformers {transformers.__version__}: {refusal.what}")
    names = [path.name for path in (tmp_path / "cpu" / "moments").glob("*.sensitivity")]
    assert len(names) > 10
    for name in names + [each.replace(".sensitivity", ".factor") for each in names]:
        for cuda, cpu in zip(*(reading(tmp_path / side / "moments" / name) for side in sides), strict=True):
            torch.testing.assert_close(cuda, cpu, rtol=0.02, atol=0.01 * float(cpu.abs().max()))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_weights_are_read_when_they_are_needed(tmp_path: Path) -> None:
    small.llama(tied=True).save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 2}')
    weights, whole = Weights.of_checkpoint(tmp_path), load_checkpoint(tmp_path)
    assert (weights.device.type, weights.dtype) == ("cuda", torch.bfloat16)
    assert blocks_in_memory(weights) == []
    parts, (batch, *_) = predict(weights, small.text(2), tmp_path / "walk", SILENT), small.text(2)
    with torch.no_grad():
        logits = whole(batch.inputs["input_ids"].to("cuda")).logits[batch.targets.to("cuda")]
    torch.testing.assert_close(next(parts), logits.float().log_softmax(-1).cpu(), rtol=0.05, atol=0.05)
