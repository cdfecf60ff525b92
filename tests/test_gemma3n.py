"""Gemma 3n by the route every architecture takes; its vision tower needs timm, which nothing else here does."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from inference_fixtures import CheckpointSource

from iwsltpack.runtime.compressed_linear import CodedLinear
from iwsltpack.runtime.int8 import held_as_int8
from iwsltpack.runtime.model import load_from, load_model

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="Gemma 3n's vision tower needs timm"),
    pytest.mark.filterwarnings("ignore"),  # of timm and torchvision, not of this package
]


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Gemma 3n with an audio tower, as its checkpoint lies on the hub."""
    from transformers import Gemma3nConfig, Gemma3nForConditionalGeneration, GenerationConfig

    text = {"vocab_size": 120, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4}
    text |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "sliding_window": 16}
    text |= {"vocab_size_per_layer_input": 100, "hidden_size_per_layer_input": 8, "num_kv_shared_layers": 0}
    text |= {"altup_num_inputs": 2, "laurel_rank": 4, "activation_sparsity_pattern": [0.0] * 4}
    text |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    audio = {"vocab_size": 8, "vocab_offset": 112, "hidden_size": 32, "input_feat_size": 32}
    audio |= {"conf_num_hidden_layers": 2, "conf_num_attention_heads": 2, "conf_attention_context_left": 5}
    audio |= {"conf_attention_chunk_size": 4, "sscp_conv_channel_size": [8, 4]}
    vision = {
        "architecture": "mobilenetv3_small_050",
        "hidden_size": 288,
        "vocab_size": 8,
        "vocab_offset": 104,
    }
    torch.manual_seed(6)
    model = Gemma3nForConditionalGeneration(
        Gemma3nConfig(
            text_config={**text, "layer_types": [*["sliding_attention"] * 3, "full_attention"]},
            audio_config=audio,
            vision_config={**vision, "model_args": None},
            audio_soft_tokens_per_image=6,
            vision_soft_tokens_per_image=4,
            **dict(zip(("boi_token_id", "eoi_token_id", "image_token_id"), (98, 104, 105), strict=True)),
            **dict(zip(("boa_token_id", "eoa_token_id", "audio_token_id"), (99, 112, 113), strict=True)),
        )
    )
    model.generation_config = GenerationConfig(eos_token_id=2, pad_token_id=0)
    folder = tmp_path_factory.mktemp("gemma3n")
    model.save_pretrained(folder)
    return folder


def heard(level: float = 1.0) -> dict[str, torch.Tensor]:
    features = torch.randn(1, 48, 32, generator=torch.Generator().manual_seed(1))
    return {
        "input_ids": torch.tensor([[1, 5, 99, *[113] * 6, 112, 6, 7]]),
        "input_features": level * features,
        "input_features_mask": torch.ones(1, 48, dtype=torch.bool),
    }


@pytest.mark.parametrize("mode", ["load", "cache", "stream"])
def test_every_mode_computes_what_the_checkpoint_computes(gemma: Path, mode: Any) -> None:
    from transformers import Gemma3nForConditionalGeneration

    reference = Gemma3nForConditionalGeneration.from_pretrained(gemma, dtype=torch.float32).eval()
    model = load_from(CheckpointSource(gemma), device="cpu", mode=mode)
    with torch.no_grad():
        assert torch.equal(model(**heard()).logits, reference(**heard()).logits)
        assert not torch.equal(model(**heard()).logits, model(**heard(0.0)).logits)
    coded = [name for name, module in model.named_modules() if isinstance(module, CodedLinear)]
    assert any("audio_tower" in name for name in coded) == (mode != "load")


def test_int8_computes_what_load_computes(gemma: Path, tmp_path: Path) -> None:
    from iwsltpack.building.pipeline import build_artifact
    from iwsltpack.building.recipes import load_recipe
    from iwsltpack.building.request import BuildRequest

    build_artifact(BuildRequest(gemma, tmp_path / "q2", load_recipe("global-q2"), "zstd"))
    plain = load_model(tmp_path / "q2", device="cpu")
    model = load_model(tmp_path / "q2", device="cpu", mode="int8")
    assert held_as_int8(model).layers > 20
    with torch.no_grad():
        assert torch.equal(model(**heard()).logits, plain(**heard()).logits)
