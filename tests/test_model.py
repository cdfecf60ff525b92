"""Loading from an artifact: the same weights in every mode, and nothing that is not exactly the artifact's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from inference_fixtures import MINIATURE, CheckpointSource, tone

from iwsltpack.decoding.generation import InputBuilder
from iwsltpack.errors import ArtifactError, MissingDependency, UsageError
from iwsltpack.runtime import weights
from iwsltpack.runtime.compressed_linear import CodedLinear, layer_role, streamable
from iwsltpack.runtime.model import audio_limit, load_from, processor_from, resolve_device, resolve_dtype
from iwsltpack.runtime.weights import LazyTensor
from iwsltpack.system import direct_io

PROMPT = "Translate this English speech into Chinese."


@pytest.fixture(scope="module")
def source() -> CheckpointSource:
    return CheckpointSource(MINIATURE)


@pytest.fixture(scope="module")
def inputs() -> dict[str, torch.Tensor]:
    return InputBuilder(processor_from(MINIATURE), PROMPT).prepare([tone(1.0), tone(2.5, 300.0)])


@pytest.fixture(scope="module")
def reference(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    from transformers import Qwen2AudioForConditionalGeneration

    model = Qwen2AudioForConditionalGeneration.from_pretrained(MINIATURE, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(**inputs).logits


@pytest.mark.parametrize("mode", ["load", "cache", "stream"])
def test_every_mode_computes_what_the_checkpoint_computes(
    source: CheckpointSource, inputs: dict[str, torch.Tensor], reference: torch.Tensor, mode: Any
) -> None:
    model = load_from(source, device="cpu", mode=mode)
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, reference)
        assert torch.equal(model(**inputs).logits, reference)
    coded = [module for module in model.modules() if isinstance(module, CodedLinear)]
    assert len(coded) == (0 if mode == "load" else 4 * 7 + 3 * 6)
    assert all((module._cached is not None) == (mode == "cache") for module in coded)
    assert not model.training
    wanted = json.loads((MINIATURE / "generation_config.json").read_text())
    assert model.generation_config.eos_token_id == wanted["eos_token_id"]
    assert model.generation_config.max_new_tokens == wanted["max_new_tokens"]


def test_a_streamed_model_holds_only_what_is_not_streamed(source: CheckpointSource) -> None:
    whole = sum(p.numel() for p in load_from(source, device="cpu").parameters())
    streamed = sum(p.numel() for p in load_from(source, device="cpu", mode="stream").parameters())
    names = streamable(source.manifest)
    left_out = sum(entry.parameters for entry in source.manifest.tensors if entry.name in names)
    assert streamed == whole - left_out
    assert left_out > 0.8 * whole - 800_000


def test_a_streamed_model_is_not_written_as_if_it_were_whole(
    source: CheckpointSource, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="not serializable"):
        load_from(source, device="cpu", mode="stream").save_pretrained(tmp_path)


def test_a_cached_layer_follows_its_model_to_another_dtype(source: CheckpointSource) -> None:
    model = load_from(source, device="cpu", mode="cache")
    layer = next(module for module in model.modules() if isinstance(module, CodedLinear))
    before = layer.weight
    model.to(torch.bfloat16)
    assert layer.weight.dtype is torch.bfloat16
    assert torch.equal(layer.weight, before.to(torch.bfloat16))


def test_a_layer_decoded_under_inference_mode_can_be_trained_through(source: CheckpointSource) -> None:
    model = load_from(source, device="cpu", mode="cache")
    layer = next(module for module in model.modules() if isinstance(module, CodedLinear))
    with torch.inference_mode():
        layer(torch.zeros(1, layer.in_features))
    x = torch.ones(1, layer.in_features, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None


def test_the_output_layer_and_the_embeddings_never_stream(source: CheckpointSource) -> None:
    names = streamable(source.manifest)
    assert names
    assert not [name for name in names if "embed" in name or "lm_head" in name or "projector" in name]
    assert layer_role("model.embed_tokens") is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_dtype_asked_for_is_that_of_every_weight(source: CheckpointSource, dtype: torch.dtype) -> None:
    for mode in ("load", "stream"):
        model = load_from(source, device="cpu", mode=mode, dtype=dtype)  # type: ignore[arg-type]
        assert {p.dtype for p in model.parameters()} == {dtype}


def test_a_large_tensor_is_decoded_block_by_block(
    source: CheckpointSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "language_model.lm_head.weight"
    (entry,) = (entry for entry in source.manifest.tensors if entry.name == name)
    monkeypatch.setattr(weights, "BLOCK_BYTES", 2 * 192 * 64 * 2)
    asked: list[tuple[int, int]] = []

    class Watching(CheckpointSource):
        def tensor(self, name: str) -> np.ndarray[Any, Any]:
            raise AssertionError("read whole")

        def rows(self, name: str, start: int, stop: int) -> np.ndarray[Any, Any]:
            asked.append((start, stop))
            return source.rows(name, start, stop)

    value = LazyTensor(Watching(MINIATURE), entry)[...].to("cpu", torch.float32)
    assert asked == [(start, min(start + 128, 704)) for start in range(0, 704, 128)]
    assert torch.equal(value, LazyTensor(source, entry)[...].to("cpu").float())
    assert value.data_ptr() % direct_io.ALIGNMENT == 0


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 5), (1,), (7, 9), (1023, 2049)])
def test_memory_for_weights_is_aligned_as_torch_aligns_its_own(shape: tuple[int, ...]) -> None:
    for dtype in (torch.float64, torch.bfloat16, torch.uint8):
        made = weights._empty(torch.Size(shape), dtype)
        assert (made.shape, made.dtype, made.is_contiguous()) == (shape, dtype, True)
        assert made.data_ptr() % direct_io.ALIGNMENT == 0
        made.fill_(1)
        assert made.sum() == made.numel()


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("float32", np.array([[1.5, -0.0, np.inf]], np.float32)),
        ("float16", np.array(7.0, np.float16)),
        ("bfloat16", np.array([0x3FC0, 0xFF80, 0x8000], np.uint16)),
        ("int64", np.array([2**40, -1])),
        ("float32", np.zeros((0, 4), np.float32)),
    ],
    ids=["infinities", "0-d", "bfloat16 bits", "int64", "empty"],
)
def test_every_kind_of_value_arrives_as_it_is(
    source: CheckpointSource, dtype: str, values: np.ndarray[Any, Any]
) -> None:
    from dataclasses import replace

    class One(CheckpointSource):
        def tensor(self, name: str) -> np.ndarray[Any, Any]:
            values.setflags(write=False)
            return values

    entry = replace(source.manifest.tensors[0], shape=values.shape, dtype=dtype)
    lazy = LazyTensor(One(MINIATURE), entry)
    got = lazy[...].to("cpu", None)
    assert got.dtype is getattr(torch, dtype)
    assert tuple(got.shape) == values.shape == tuple(lazy.get_shape())
    if dtype == "bfloat16":
        assert got.tolist() == [1.5, float("-inf"), -0.0]
    else:
        assert got.numpy().tobytes() == values.tobytes()


def test_a_type_the_loader_does_not_know_is_refused_by_name(source: CheckpointSource) -> None:
    from dataclasses import replace

    with pytest.raises(ArtifactError, match="cannot load tensors of type float8_e4m3fn"):
        LazyTensor(source, replace(source.manifest.tensors[0], dtype="float8_e4m3fn"))


class Altered(CheckpointSource):
    """The miniature with its list of tensors, or their values, tampered with."""

    def __init__(self, change: Any, path: Path = MINIATURE) -> None:
        super().__init__(path)
        from dataclasses import replace

        whole = CheckpointSource(path).manifest
        self.__dict__["manifest"] = replace(whole, tensors=tuple(change(whole.tensors)))

    def tensor(self, name: str) -> np.ndarray[Any, Any]:
        return super().tensor(name.removesuffix(".copy"))


def reshaped(tensors: Any) -> Any:
    from dataclasses import replace

    return [
        replace(t, shape=(t.shape[0] - 1, *t.shape[1:])) if t.name.endswith("0.mlp.up_proj.weight") else t
        for t in tensors
    ]


@pytest.mark.parametrize("mode", ["load", "stream"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors[:-1], "missing"),
        (lambda tensors: [t for t in tensors if not t.name.endswith("2.mlp.gate_proj.weight")], "missing"),
        (lambda tensors: [*tensors, _renamed(tensors[0])], "unexpected"),
    ],
    ids=["last missing", "streamed one missing", "one too many"],
)
def test_tensors_that_are_not_the_architectures_are_refused(mode: Any, change: Any, message: str) -> None:
    with pytest.raises(ArtifactError, match="not those of its architecture") as caught:
        load_from(Altered(change), device="cpu", mode=mode)
    assert message in str(caught.value)


def _renamed(tensor: Any) -> Any:
    from dataclasses import replace

    return replace(tensor, name=tensor.name + ".copy")


@pytest.mark.parametrize("mode", ["load", "stream"])
def test_a_tensor_of_another_shape_is_refused(mode: Any) -> None:
    class Cut(Altered):
        def tensor(self, name: str) -> np.ndarray[Any, Any]:
            value = super().tensor(name)
            return value[:-1] if name.endswith("0.mlp.up_proj.weight") else value

    with pytest.raises(ArtifactError, match=r"cannot be loaded|does not fit its layer"):
        load_from(Cut(reshaped), device="cpu", mode=mode)


@pytest.mark.parametrize("mode", ["load", "cache"])
def test_a_damaged_chunk_is_reported_as_itself(mode: Any) -> None:
    class Damaged(CheckpointSource):
        def tensor(self, name: str) -> np.ndarray[Any, Any]:
            if name.endswith("norm.weight"):
                raise ArtifactError("a chunk cannot be decoded", where=name)
            return super().tensor(name)

    with pytest.raises(ArtifactError, match=r"norm.weight: a chunk cannot be decoded"):
        load_from(Damaged(MINIATURE), device="cpu", mode=mode)


def folder_with(tmp_path: Path, name: str, change: Any) -> CheckpointSource:
    folder = tmp_path / "model"
    shutil.copytree(MINIATURE, folder)
    path = folder / name
    if change is None:
        path.unlink()
    else:
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))
    return CheckpointSource(folder)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("generation_config.json", None, "no generation settings"),
        ("generation_config.json", lambda d: d.pop("eos_token_id"), "name no end of sequence"),
        ("config.json", None, "configuration cannot be read"),
        ("config.json", lambda d: d.update(architectures=["os"]), "not one of transformers'"),
        ("config.json", lambda d: d.update(architectures=["AutoConfig"]), "not one of transformers'"),
        ("config.json", lambda d: d.update(architectures=[]), "not one of transformers'"),
    ],
    ids=["no generation settings", "no eos", "no config", "a module", "another class", "no architecture"],
)
def test_an_artifact_that_cannot_be_run_is_refused(
    tmp_path: Path, name: str, change: Any, message: str
) -> None:
    with pytest.raises(ArtifactError, match=message):
        load_from(folder_with(tmp_path, name, change), device="cpu")


def test_code_in_an_artifact_is_never_run(tmp_path: Path) -> None:
    source = folder_with(
        tmp_path, "config.json", lambda d: d.update(model_type="mine", auto_map={"AutoConfig": "evil.Config"})
    )
    (source.model_dir / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\n")
    with pytest.raises(ArtifactError, match="configuration cannot be read"):
        load_from(source, device="cpu")
    assert not (tmp_path / "ran").exists()


def test_a_processor_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="processor cannot be built"):
        processor_from(folder_with(tmp_path, "tokenizer.json", None).model_dir)


def test_what_the_model_hears_is_read_from_its_processor() -> None:
    assert audio_limit(processor_from(MINIATURE)) == 8.0


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_cuda_asked_for_and_absent_is_said_so() -> None:
    with pytest.raises(MissingDependency, match="no CUDA device can be used"):
        resolve_device("cuda")
    assert resolve_device("auto").type == "cpu"


def test_unknown_devices_dtypes_and_modes_are_refused(source: CheckpointSource) -> None:
    with pytest.raises(UsageError, match="unknown device 'tpu9'"):
        resolve_device("tpu9")
    with pytest.raises(UsageError, match="unknown dtype 'float8'"):
        resolve_dtype("float8", torch.device("cpu"))
    with pytest.raises(UsageError, match="unknown mode 'int4'"):
        load_from(source, device="cpu", mode="int4")  # type: ignore[arg-type]


def test_the_dtype_suits_the_device() -> None:
    assert resolve_dtype(None, torch.device("cpu")) is torch.float32
    assert resolve_dtype(None, torch.device("cuda", 0)) is torch.float16
    assert resolve_dtype("bfloat16", torch.device("cuda", 0)) is torch.bfloat16


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Gemma 4 with an audio tower, tied embeddings and scalar buffers, as its checkpoint lies on the hub."""
    from transformers import Gemma4Config, Gemma4ForConditionalGeneration, GenerationConfig

    torch.manual_seed(5)
    text = {
        "vocab_size": 128,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "sliding_window": 16,
    }
    text |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "global_head_dim": 16}
    text |= {"vocab_size_per_layer_input": 128, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0}
    text |= {"layer_types": ["sliding_attention", "sliding_attention", "full_attention"]}
    audio = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "output_proj_dims": 32}
    config = Gemma4Config(
        text_config={**text, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
        audio_config={**audio, "subsampling_conv_channels": [128, 4]},
        vision_config=None,
        **dict(
            zip(
                ("boi_token_id", "eoi_token_id", "image_token_id", "video_token_id"),
                range(100, 104),
                strict=True,
            )
        ),
        **dict(zip(("boa_token_id", "eoa_token_index", "audio_token_id"), range(104, 107), strict=True)),
    )
    model = Gemma4ForConditionalGeneration(config)
    model.generation_config = GenerationConfig(eos_token_id=2, pad_token_id=0)
    folder = tmp_path_factory.mktemp("gemma")
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("mode", ["load", "cache", "stream"])
def test_another_architecture_hears_the_same_in_every_mode(gemma: Path, mode: Any) -> None:
    from transformers import Gemma4ForConditionalGeneration

    ids = torch.tensor([[1, 5, 104, *[106] * 10, 105, 6, 7]])
    heard = {
        "input_ids": ids,
        "input_features": torch.randn(1, 40, 128, generator=torch.Generator().manual_seed(1)),
        "input_features_mask": torch.ones(1, 40, dtype=torch.bool),
        "mm_token_type_ids": torch.where(ids == 106, 3, 0),
    }
    reference = Gemma4ForConditionalGeneration.from_pretrained(gemma, dtype=torch.float32).eval()
    model = load_from(CheckpointSource(gemma), device="cpu", mode=mode)
    with torch.no_grad():
        assert torch.equal(model(**heard).logits, reference(**heard).logits)
        silent = {**heard, "input_features": torch.zeros(1, 40, 128)}
        assert not torch.equal(model(**heard).logits, model(**silent).logits)
    assert any("audio_tower" in name for name, m in model.named_modules() if isinstance(m, CodedLinear)) == (
        mode != "load"
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mode", ["load", "cache", "stream"])
def test_on_cuda_every_mode_computes_the_same(
    source: CheckpointSource, inputs: dict[str, torch.Tensor], mode: Any
) -> None:
    placed = {name: value.cuda() for name, value in inputs.items()}
    with torch.no_grad():
        expected = load_from(source, device="cuda").forward(**placed).logits
        model = load_from(source, device="cuda", mode=mode)
        assert {p.device.type for p in model.parameters()} == {"cuda"}
        assert {b.device.type for b in model.buffers()} == {"cuda"}
        assert torch.equal(model(**placed).logits, expected)
