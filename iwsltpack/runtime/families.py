"""What differs between families of models when they are asked about audio: one entry a family, said here alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Family:
    """How models of a family are asked, and how much they hear.

    Attributes
    ----------
    edition
        Edition of the track whose baseline the family is: prompt and token limit are that edition's where a person
        names neither an edition nor these. None for the paper's.
    text_first
        Whether the prompt stands before the audio.
    template
        Variables of the chat template.
    hears_seconds
        Most seconds of audio that are understood, or None: what the processor takes in.
    """

    edition: str | None = None
    text_first: bool = False
    template: Mapping[str, Any] = field(default_factory=dict)
    hears_seconds: float | None = None


AUDIO_FIRST = Family()
"""Qwen2-Audio and those like it."""
GEMMA4 = Family(
    edition="iwslt2027",
    text_first=True,
    template={"enable_thinking": False},
    # Its processor takes 30 s, but past some 450 tokens of 40 ms each outputs no longer follow the audio.
    hears_seconds=18.0,
)
FAMILIES = {"Gemma4UnifiedProcessor": GEMMA4, "Gemma4Processor": GEMMA4}
"""Class of the processor -> family."""


def family_of(processor: Any) -> Family:
    """Return the family of the model that a processor belongs to."""
    return FAMILIES.get(type(processor).__name__, AUDIO_FIRST)
