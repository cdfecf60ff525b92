"""Qwen2-Audio's architecture at 3 M parameters: configuration, training pass, saving in the hub's layout."""

from __future__ import annotations

import json
import math
import os
import shutil
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import (
    GenerationConfig,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
)

from tools.miniature.tokenizer import CHUNK_SECONDS, CLOSING

if TYPE_CHECKING:
    from pathlib import Path

#: Mel frames a second, halved by the second convolution and again by the pooling.
FRAME_RATE = 100
AUDIO_SHAPE: dict[str, Any] = {
    "d_model": 128,
    "encoder_layers": 3,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 512,
    "num_mel_bins": 128,
    "max_source_positions": CHUNK_SECONDS * FRAME_RATE // 2,
    "initializer_range": 0.05,
}
TEXT_SHAPE: dict[str, Any] = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "max_position_embeddings": 2048,
    "initializer_range": 0.05,
    "tie_word_embeddings": False,
}


def build_config(processor: Qwen2AudioProcessor) -> Qwen2AudioConfig:
    """Return the configuration that fits `processor`'s vocabulary (rounded up to a multiple of 64)."""
    tokenizer = processor.tokenizer
    vocabulary = math.ceil(len(tokenizer) / 64) * 64
    pad, closing = tokenizer.convert_tokens_to_ids(["<|endoftext|>", CLOSING])
    text = {"model_type": "qwen2", **TEXT_SHAPE, "vocab_size": vocabulary, "pad_token_id": pad}
    text |= {"bos_token_id": pad, "eos_token_id": closing}
    settings: dict[str, Any] = {
        "audio_config": {"model_type": "qwen2_audio_encoder", **AUDIO_SHAPE},
        "text_config": text,
        "audio_token_index": tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
        "tie_word_embeddings": False,
    }
    return Qwen2AudioConfig(**settings)


def sinusoids(length: int, channels: int) -> torch.Tensor:
    """Return Whisper's fixed position table, shape (length, channels), float32."""
    scale = math.log(10_000) / (channels // 2 - 1)
    angles = torch.arange(length)[:, None] * torch.exp(-scale * torch.arange(channels // 2))[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def build_model(processor: Qwen2AudioProcessor) -> Any:
    """Return a freshly initialised float32 model; draws from torch's global generator."""
    model: Any = Qwen2AudioForConditionalGeneration(build_config(processor))
    positions = model.model.audio_tower.embed_positions.weight
    positions.data.copy_(sinusoids(*positions.shape))
    positions.requires_grad_(False)
    closing, pad = processor.tokenizer.convert_tokens_to_ids([CLOSING, "<|endoftext|>"])
    settings: dict[str, Any] = {"bos_token_id": pad, "pad_token_id": pad, "eos_token_id": [closing, pad]}
    model.generation_config = GenerationConfig.from_dict(
        {**settings, "do_sample": False, "max_new_tokens": 64}
    )
    return model


def encode(tower: Any, mel: torch.Tensor, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the audio tower on mel frames (batch, 128, even T) padded to the batch's longest clip, not to 8 s.

    Equal to the tower's own forward up to rounding, because padding is masked there. Returns the states
    before pooling (batch, T/2, d) and the pooled, normalised states (batch, T/4, d).
    """
    hidden = nn.functional.gelu(tower.conv1(mel))
    hidden = nn.functional.gelu(tower.conv2(hidden)).permute(0, 2, 1)
    hidden = hidden + tower.embed_positions.weight[: hidden.shape[1]]
    lengths = (frames - 1) // 2 + 1
    mask = (torch.arange(hidden.shape[1])[None, :] < lengths[:, None])[:, None, None, :]
    for layer in tower.layers:
        hidden = layer(hidden, mask)
    pooled = tower.avg_pooler(hidden.permute(0, 2, 1)).permute(0, 2, 1)
    return hidden, tower.layer_norm(pooled)


def answer_logits(
    model: Any,
    ids: torch.Tensor,
    labels: torch.Tensor,
    mel: torch.Tensor,
    frames: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the logits that predict the answer tokens, those tokens, and the audio states before pooling.

    `ids` and `labels` (batch, length) are right-padded; `labels` is -100 outside the answer. The head runs on
    answer positions only.
    """
    core = model.model
    states, pooled = encode(core.audio_tower, mel, frames)
    tokens = ((frames - 1) // 2 + 1 - 2) // 2 + 1
    heard = pooled[torch.arange(pooled.shape[1])[None, :] < tokens[:, None]]
    embeddings = core.get_input_embeddings()(ids)
    audio = (ids == model.config.audio_token_id).unsqueeze(-1)
    embeddings = embeddings.masked_scatter(audio, core.multi_modal_projector(heard))
    hidden = core.language_model(inputs_embeds=embeddings, use_cache=False).last_hidden_state
    chosen = labels[:, 1:] != -100
    return model.lm_head(hidden[:, :-1][chosen]), labels[:, 1:][chosen], states


def _drop_paths(folder: Path) -> None:
    """Remove what would name this machine from the JSON files."""
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict):
            continue
        for key in ("_name_or_path", "name_or_path", "is_local", "local_files_only"):
            document.pop(key, None)
        if path.name != "tokenizer.json":
            path.write_text(
                json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8"
            )


def save(model: Any, processor: Qwen2AudioProcessor, folder: Path) -> None:
    """Write a bfloat16 copy and the processor to `folder`, replacing it in one rename."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    rounded: Any = Qwen2AudioForConditionalGeneration(model.config)
    rounded.to(torch.bfloat16)
    rounded.load_state_dict({name: value.to(torch.bfloat16) for name, value in model.state_dict().items()})
    rounded.generation_config = model.generation_config
    rounded.save_pretrained(temporary, max_shard_size="3MB")
    processor.save_pretrained(temporary)
    _drop_paths(temporary)
    for path in temporary.iterdir():
        path.chmod(0o644)
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        folder.rename(old)
    temporary.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
