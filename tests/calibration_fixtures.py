"""Small models of several architectures with data to calibrate on, and the plain way to what calibration gathers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from iwsltpack.calibration.moments import PROBES
from iwsltpack.calibration.towers import Batch

VOCABULARY = 64


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def llama(tied: bool = False, layers: int = 3) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config).eval()


def text(count: int = 4, vocabulary: int = VOCABULARY) -> list[Batch]:
    """Return sequences whose first tokens are a prompt and predict nothing."""
    batches = []
    for index in range(count):
        ids = torch.randint(3, vocabulary, (1, 20 + index), generator=generator(index))
        targets = torch.ones_like(ids, dtype=torch.bool)
        targets[:, :3] = targets[:, -1:] = False
        batches.append(Batch({"input_ids": ids}, targets))
    return batches


def whisper() -> Any:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(1)
    sizes = {
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
    }
    config = WhisperConfig(
        vocab_size=VOCABULARY,
        d_model=32,
        encoder_ffn_dim=40,
        decoder_ffn_dim=40,
        num_mel_bins=8,
        max_source_positions=20,
        max_target_positions=16,
        init_std=0.2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        **sizes,
    )
    return WhisperForConditionalGeneration(config).eval()


def speech(count: int = 3) -> list[Batch]:
    batches = []
    for index in range(count):
        ids = torch.randint(3, VOCABULARY, (1, 7 + index), generator=generator(index))
        targets = torch.ones_like(ids, dtype=torch.bool)
        targets[:, 0] = False
        features = torch.randn(1, 8, 40, generator=generator(50 + index))
        batches.append(Batch({"input_features": features, "decoder_input_ids": ids}, targets))
    return batches


def seamless() -> Any:
    from transformers import SeamlessM4Tv2Config, SeamlessM4Tv2ForSpeechToText

    torch.manual_seed(2)
    config = SeamlessM4Tv2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        feature_projection_input_dim=16,
        encoder_layers=1,
        encoder_ffn_dim=40,
        encoder_attention_heads=2,
        decoder_layers=2,
        decoder_ffn_dim=40,
        decoder_attention_heads=2,
        speech_encoder_layers=2,
        speech_encoder_attention_heads=2,
        speech_encoder_intermediate_size=40,
        num_adapter_layers=1,
        initializer_range=0.2,
        max_position_embeddings=64,
        layerdrop=0.0,
        speech_encoder_layerdrop=0.0,
    )
    return SeamlessM4Tv2ForSpeechToText(config).eval()


def spoken_for_seamless(count: int = 3) -> list[Batch]:
    return [
        Batch(
            {
                "input_features": torch.randn(1, 30, 16, generator=generator(80 + index)),
                "decoder_input_ids": batch.inputs["decoder_input_ids"],
            },
            batch.targets,
        )
        for index, batch in enumerate(speech(count))
    ]


def gemma() -> Any:
    """Return a small Gemma 4, text only: sliding and full attention, tied embeddings, soft-capped logits."""
    from transformers import Gemma4UnifiedForCausalLM, Gemma4UnifiedTextConfig

    torch.manual_seed(3)
    config = Gemma4UnifiedTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        global_head_dim=16,
        sliding_window=8,
        num_kv_shared_layers=0,
        hidden_size_per_layer_input=0,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.2,
    )
    return Gemma4UnifiedForCausalLM(config).eval()


class Plain:
    """What calibration gathers, gathered from whole forward and backward passes."""

    def __init__(self, model: Any, batches: list[Batch], seed: int = 0) -> None:
        self.moments: dict[str, torch.Tensor] = {}
        self.tokens: dict[str, int] = {}
        self.gradients: dict[str, torch.Tensor] = {}
        self.curvature = torch.zeros(model.get_output_embeddings().weight.shape[0], dtype=torch.float64)
        self.targets = sum(int(batch.targets.sum()) for batch in batches)
        self.weight_gradients: dict[str, list[torch.Tensor]] = {}
        self.probes: dict[str, torch.Tensor] = {}
        self.entries: dict[str, torch.Tensor] = {}
        """Squared gradients of what is no linear layer's, of whole weights, summed over batches."""
        self._kept: list[tuple[str, torch.Tensor, torch.Tensor]] = []
        handles = [
            layer.register_forward_hook(self._hook(f"{name}.weight"))
            for name, layer in model.named_modules()
            if isinstance(layer, nn.Linear)
        ]
        for number, batch in enumerate(batches):
            self._kept = []
            logits = model(**batch.inputs, use_cache=False).logits[batch.targets]
            chances = torch.softmax(logits.detach().float(), -1)
            labels = torch.multinomial(chances, 1, generator=generator(seed * 1_000_003 + number))[:, 0]
            nn.functional.cross_entropy(logits, labels, reduction="sum").backward()
            self.curvature += (chances * (1 - chances)).sum(0, dtype=torch.float64)
            for name, given, output in self._kept:
                self._add(number + 1, name, given, output)
            for name, weight in model.named_parameters():
                if weight.ndim > 1 and name not in self.moments and weight.grad is not None:
                    self.entries[name] = self.entries.get(name, 0) + weight.grad.double().square().flatten(1)
            model.zero_grad()
        for handle in handles:
            handle.remove()

    def _hook(self, name: str) -> Any:
        def hook(layer: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            if args[0].requires_grad:
                args[0].retain_grad()
            output.retain_grad()
            self._kept.append((name, args[0], output))

        return hook

    def _add(self, batch: int, name: str, given: torch.Tensor, output: torch.Tensor) -> None:
        deciding = given.grad if given.requires_grad else output.grad
        assert deciding is not None
        assert output.grad is not None
        rows = given.detach().reshape(-1, given.shape[-1])
        rows = rows[(deciding.reshape(len(rows), -1) != 0).any(-1)].double()
        self.moments[name] = self.moments.get(name, 0) + rows.T @ rows
        self.tokens[name] = self.tokens.get(name, 0) + len(rows)
        gradient = output.grad.reshape(-1, output.shape[-1]).T @ given.detach().reshape(-1, given.shape[-1])
        self.weight_gradients.setdefault(name, []).append(gradient)
        signs = 2 * torch.randint(0, 2, (len(gradient), PROBES), generator=generator(batch)) - 1
        self.probes[name] = self.probes.get(name, 0) + gradient.T @ signs.float()
        squared = output.grad.reshape(-1, output.shape[-1]).double().square().sum(0)
        self.gradients[name] = self.gradients.get(name, 0) + squared
