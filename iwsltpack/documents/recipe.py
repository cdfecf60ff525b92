"""A recipe as data: which layers are rounded and how finely, and what is pruned first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from iwsltpack.documents.document import Part


@dataclass(frozen=True, kw_only=True)
class LayerRule(Part):
    """Round the weights of the matching linear layers to multiples of 2^-bits.

    Attributes
    ----------
    pattern
        Regular expression searched for in the layer's checkpoint name (without ``.weight``).
    bits
        Fractional bits b of the step 2^-b; None keeps the layer lossless. Later rules win over earlier ones.
    """

    pattern: str
    bits: int | None


@dataclass(frozen=True, kw_only=True)
class PruneRule(Part):
    """Structured pruning of gated MLPs: drop the intermediate units of least magnitude.

    Attributes
    ----------
    pattern
        Regular expression searched for in the MLP's checkpoint name, e.g. ``layers\\.0\\.mlp$``.
    fraction
        Share of the units to drop, rounded down to whole units.
    """

    pattern: str
    fraction: float


@dataclass(frozen=True, kw_only=True)
class Recipe(Part):
    """Layer selection + transform, independent of the coding that packs the result.

    Attributes
    ----------
    name, description
        For people.
    techniques
        Names of the compression techniques applied, as a submission's description needs them.
    layers
        Rounding rules; the last that matches a layer wins.
    prune
        Pruning applied before rounding, or None.
    engine
        ``codec`` for this package's chains; ``bitsandbytes`` for that library's own int8 checkpoint.
    """

    name: str
    description: str
    techniques: tuple[str, ...]
    layers: tuple[LayerRule, ...] = ()
    prune: PruneRule | None = None
    engine: Literal["codec", "bitsandbytes"] = "codec"
