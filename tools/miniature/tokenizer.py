"""The processor: a small BPE in Qwen's shape, Whisper's log-mel over 8 s, the real chat template."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import transformers
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

if TYPE_CHECKING:
    from collections.abc import Iterable

#: transformers' constructors are untyped in part.
HF: Any = transformers

PROMPT = "Translate this English speech into Chinese."
CLOSING = "<|im_end|>"
SPECIALS: tuple[str, ...] = (
    "<|endoftext|>",
    "<|im_start|>",
    CLOSING,
    "<|AUDIO|>",
    "<|audio_bos|>",
    "<|audio_eos|>",
)
CHUNK_SECONDS = 8
TEMPLATE_TEXT = "system\nYou are a helpful assistant.\nuser\nAudio 1: \n" + PROMPT + "\nassistant\n"


def train_bpe(texts: Iterable[str], vocab_size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Learn a byte-level vocabulary and its merges, with Qwen's pre-tokenisation."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated", invert=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
        max_token_length=12,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]


def build_processor(texts: Iterable[str], vocab_size: int = 1000) -> Any:
    """Build the processor; its BPE is learnt from `texts` and the chat template's own words."""
    vocab, merges = train_bpe([*texts, *[TEMPLATE_TEXT] * 8], vocab_size)
    tokenizer = HF.Qwen2Tokenizer(
        vocab=vocab,
        merges=merges,
        padding_side="left",
        model_max_length=2048,
        additional_special_tokens=list(SPECIALS),
    )
    extractor = HF.WhisperFeatureExtractor(
        feature_size=128, chunk_length=CHUNK_SECONDS, return_attention_mask=True, padding_side="right"
    )
    return HF.Qwen2AudioProcessor(feature_extractor=extractor, tokenizer=tokenizer)


def prompt_text(processor: Any) -> str:
    """Render the one prompt of the miniature, up to and including the assistant's opening."""
    content = [{"type": "audio"}, {"type": "text", "text": PROMPT}]
    conversation = [{"role": "user", "content": content}]
    return str(processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False))
