"""What differs between families of models when they are asked about audio: one entry a family, said here alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Family:
    """How models of a family are asked, and how much they hear.

    `edition` is that of the track whose baseline the family is: prompt and token limit are that edition's where a
    person names neither an edition nor these; None for the paper's. With `text_first` the prompt stands before the
    audio; `template` holds variables of the chat template. `hears_seconds` are the most seconds of audio that are
    understood, or None: what the processor takes in. `told` is None for models that are asked in a conversation.
    Encoder–decoders are told a language by options of `generate` instead: target language -> these options, written
    ``name=value,name=value``.
    """

    edition: str | None = None
    text_first: bool = False
    template: Mapping[str, Any] = field(default_factory=dict)
    hears_seconds: float | None = None
    told: Mapping[str, str] | None = None


AUDIO_FIRST = Family()
"""Qwen2-Audio and those like it."""
GEMMA4 = Family(
    edition="iwslt2027",
    text_first=True,
    template={"enable_thinking": False},
    # Its processor takes 30 s, but past some 450 tokens of 40 ms each outputs no longer follow the audio.
    hears_seconds=18.0,
)
SEAMLESS = Family(told={"de": "tgt_lang=deu", "zh": "tgt_lang=cmn"})
WHISPER = Family(told={language: f"language={language},task=transcribe" for language in ("de", "zh")})
WHISPER_ENGLISH = Family(told={"de": "", "zh": ""})
"""Knows no language but English, in speech and in writing."""
FAMILIES = {
    "Gemma4UnifiedProcessor": GEMMA4,
    "Gemma4Processor": GEMMA4,
    "SeamlessM4TProcessor": SEAMLESS,
    "WhisperProcessor": WHISPER,
}
"""Class of the processor -> family."""


def family_of(processor: Any) -> Family:
    """Return the family of the model that a processor belongs to."""
    family = FAMILIES.get(type(processor).__name__, AUDIO_FIRST)
    if family is WHISPER and (
        getattr(processor, "english_only", False) or "<|de|>" not in processor.tokenizer.get_vocab()
    ):
        return WHISPER_ENGLISH
    return family
