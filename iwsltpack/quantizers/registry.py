"""Every quantizer by its name in the manifest, and the one that a tensor has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iwsltpack.quantizers.rounding import Rounding
from iwsltpack.system.registry import Registry

if TYPE_CHECKING:
    from iwsltpack.documents.artifact import Tensor
    from iwsltpack.quantizers.quantizer import Quantizer

QUANTIZERS: Registry[type[Quantizer]] = Registry(
    "quantizer",
    Rounding,
)


def quantizer_of(entry: Tensor) -> Quantizer | None:
    """Return the quantizer of a tensor, or None where it is stored bit for bit."""
    return None if entry.bits is None else QUANTIZERS[Rounding.name].of_entry(entry)
