"""What the MLP projections of a model are, held against the module names of every speech model of transformers."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from conftest import bfloat16
from inference_fixtures import Told
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from iwsltpack.building.checkpoint import open_checkpoint
from iwsltpack.building.mlp_layers import PROJECTIONS, gated_mlps, pattern
from iwsltpack.building.plan import plan_tensors
from iwsltpack.building.prune import plan_pruning
from iwsltpack.building.recipes import BUILT_IN
from iwsltpack.documents.recipe import PruneRule
from iwsltpack.errors import UsageError

SELECTED = {
    "canary": 144,
    "cohere_asr": 208,
    "data2vec-audio": 24,
    "dia": 60,
    "dots3_note": 138,
    "fun_asr_nano": 84,
    "gemma3n": 105,
    "gemma4": 90,
    "gemma4_unified": 90,
    "glmasr": 84,
    "granite_speech": 96,
    "granite_speech5_ctc": 64,
    "granite_speech_plus": 96,
    "hubert": 24,
    "kyutai_speech_to_text": 96,
    "lasr_ctc": 68,
    "moonshine": 24,
    "moonshine_streaming": 24,
    "moss_transcribe_diarize": 84,
    "nemo_speechlm": 46,
    "nemotron3_5_asr": 96,
    "nemotron_asr_streaming": 96,
    "nemotron_h_omni": 4,
    "parakeet_ctc": 96,
    "parakeet_rnnt": 96,
    "parakeet_tdt": 96,
    "phi4_multimodal": 64,
    "pop2piano": 36,
    "qwen2_5_omni": 84,
    "qwen2_5_omni_thinker": 84,
    "qwen2_audio": 96,
    "qwen3_asr": 84,
    "seamless_m4t": 144,
    "seamless_m4t_v2": 144,
    "sew": 24,
    "sew-d": 24,
    "speech-encoder-decoder": 48,
    "speech_to_text": 36,
    "speecht5": 36,
    "unispeech": 24,
    "unispeech-sat": 24,
    "vibevoice": 96,
    "vibevoice_asr": 96,
    "voxtral": 90,
    "voxtral_realtime": 78,
    "wav2vec2": 24,
    "wav2vec2-bert": 96,
    "wav2vec2-conformer": 48,
    "wavlm": 24,
    "whisper": 16,
}
"""Model type -> how many layers its default configuration's MLP projections are."""
NOT_UNDERSTOOD = {
    "inkling_mm_model": "all experts of a block are stacked in one tensor",
    "muse_spark": "all experts of a block are stacked in one tensor",
    "qwen3_omni_moe_thinker": "all experts of a block are stacked in one tensor, in memory; not in its checkpoints",
    "qwen3_omni_moe": "the same, and its default configuration cannot be built",
}
"""Model type -> why nothing of it is selected."""
TABLES = ("SPEECH_SEQ_2_SEQ", "CTC", "TDT", "RNNT", "MULTIMODAL_LM")


def speech_models() -> dict[str, str]:
    """Return every model type of transformers that makes text of speech, and its class."""
    found: dict[str, str] = {}
    for table in TABLES:
        for kind, name in getattr(modeling_auto, f"MODEL_FOR_{table}_MAPPING_NAMES").items():
            if table != "MULTIMODAL_LM" or hears(kind):
                found.setdefault(kind, name)
    return found


def hears(kind: str) -> bool:
    keys = CONFIG_MAPPING[kind]().to_dict()
    return any(re.search("audio|speech|sound", key) and not re.search("token|_id$", key) for key in keys)


def matrices(kind: str, name: str) -> list[str]:
    """Return the linear layers of a model of this type, as `linear_layers` counts them; nothing is allocated."""
    config = CONFIG_MAPPING[kind]()
    if kind in ("wav2vec2-bert", "wav2vec2-conformer"):
        config.vocab_size = 32
    elif kind == "moonshine_streaming":
        config.num_key_value_heads = config.num_attention_heads
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(transformers, name)(config)
    return [
        key.removesuffix(".weight")
        for key, value in model.named_parameters()
        if key.endswith(".weight") and value.dim() == 2 and "embed" not in key
    ]


def selected(names: list[str], *roles: str) -> list[str]:
    return [name for name in names if re.search(pattern(*roles), name)]


def test_every_speech_model_is_named_or_not_understood() -> None:
    assert set(speech_models()) <= SELECTED.keys() | NOT_UNDERSTOOD.keys()
    assert not SELECTED.keys() & NOT_UNDERSTOOD.keys()


@pytest.mark.parametrize("kind", sorted(speech_models().keys() - {"qwen3_omni_moe"}))
def test_the_mlp_projections_of_every_speech_model(kind: str) -> None:
    try:
        names = matrices(kind, speech_models()[kind])
    except ImportError as error:
        pytest.skip(f"{kind} needs a package that is not here: {str(error).splitlines()[-1]}")
    found = selected(names)
    assert len(found) == SELECTED.get(kind, 0)
    by_role = [selected(names, role) for role in PROJECTIONS]
    assert sorted(name for role in by_role for name in role) == sorted(found)  # each has one role
    gate, up, down, both = map(len, by_role)
    assert down == up + both
    assert gate in (0, up)
    blocks = {name.rpartition(".")[0] for name in found}
    assert not [name for name in blocks if re.search(r"attention|attn", name)]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("language_model.model.layers.31.mlp.up_proj", True),
        ("audio_tower.layers.3.fc1", False),
        ("model.visual.blocks.0.mlp.up_proj", False),
        ("model.vision_tower.encoder.layers.0.mlp.fc1", False),
        ("model.layers.0.mlp.gate", False),
        ("model.layers.0.mlp.router", False),
        ("model.layers.0.mlp.router.layers.0.fc1", False),
        ("model.layers.0.mlp.shared_expert_gate", False),
        ("model.layers.0.self_attn.gate_proj", False),
        ("model.layers.0.mlp.up_proj.base_layer", True),
        ("model.layers.0.mlp.up_proj.lora_A.speech", False),
        ("model.layers.0.mlp.up_proj.lora_B.default", False),
        ("model.layers.0.mlp.experts.117.down_proj", True),
        ("model.layers.0.block_sparse_moe.experts.2.w3", True),
        ("model.layers.0.block_sparse_moe.gate", False),
        ("decoder.block.0.layer.2.DenseReluDense.wi", True),
        ("encoder.layer.0.attention.output.dense", False),
        ("encoder.layer.0.output.dense", True),
        ("decoder.layers.0.linear2", True),
        ("encoder.layers.0.feed_forward1.linear1", True),
        ("model.decoder.layers.0.mlp.linear_fc2", True),
        ("model.multi_modal_projector.layers.0.mlp.fc1", False),
    ],
)
def test_a_name_is_an_mlp_projection_or_not(name: str, wanted: bool) -> None:
    assert (selected([name]) == [name]) == wanted


def matrix(rows: int = 8, columns: int = 8) -> Any:
    return bfloat16(np.full((rows, columns), 0.5))


def test_recipes_follow_the_table(checkpoint: Callable[..., Path]) -> None:
    """Of Whisper's names, the paper's own pattern selects nothing."""
    names = [f"model.{part}.layers.0.{layer}" for part in ("encoder", "decoder") for layer in ("fc1", "fc2")]
    others = ["model.encoder.layers.0.self_attn.q_proj", "proj_out"]
    source = open_checkpoint(checkpoint({f"{name}.weight": matrix() for name in names + others}))

    def rounded(recipe: str) -> set[str]:
        return {p.source.name for p in plan_tensors(source, BUILT_IN[recipe]) if p.entry.bits is not None}

    assert rounded("selected-q3") == rounded("up-down-q2") == {f"{name}.weight" for name in names}
    assert rounded("down-q3") == {f"{name}.weight" for name in names if name.endswith("fc2")}
    with pytest.raises(UsageError, match="the gate projections of the MLPs: a pattern of recipe 'gate-q3'"):
        rounded("gate-q3")


def test_a_subset_that_a_model_has_by_half_is_refused(checkpoint: Callable[..., Path]) -> None:
    """Where gate and up are one matrix, up-down would round the down projections alone."""
    names = ("model.layers.0.mlp.gate_up_proj.weight", "model.layers.0.mlp.down_proj.weight")
    source = open_checkpoint(checkpoint({name: matrix() for name in names}))
    assert {p.entry.bits for p in plan_tensors(source, BUILT_IN["selected-q2"])} == {7}
    with pytest.raises(UsageError, match="the up projections of the MLPs"):
        plan_tensors(source, BUILT_IN["up-down-q2"])


def test_pruning_leaves_other_towers_alone(checkpoint: Callable[..., Path]) -> None:
    mlps = ("model.language_model.layers.0.mlp", "model.visual.blocks.0.mlp")
    parts = ("gate_proj", "up_proj", "down_proj")
    source = open_checkpoint(checkpoint({f"{mlp}.{part}.weight": matrix() for mlp in mlps for part in parts}))
    assert gated_mlps(source.tensors) == [mlps[0]]
    kept = plan_pruning(source, PruneRule(pattern="mlp$", fraction=0.5))
    assert {name.rpartition(".mlp.")[0] for name in kept} == {"model.language_model.layers.0"}


def test_experts_in_one_stack_are_told(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    from iwsltpack.building.pipeline import build_artifact
    from iwsltpack.building.request import BuildRequest

    stack = bfloat16(np.zeros((2, 4, 4)))
    tensors = {"model.layers.0.mlp.up_proj.weight": matrix(), "model.layers.1.mlp.experts.up_proj": stack}
    told: list[str] = []
    build_artifact(
        BuildRequest(checkpoint(tensors), tmp_path / "out", BUILT_IN["selected-q3"], "zstd"),
        progress=Told(told),
    )
    assert (
        "kept lossless: experts stacked in one tensor, 1 of them: model.layers.1.mlp.experts.up_proj …"
        in told
    )
