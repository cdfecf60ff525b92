"""Every quantizer by its name in the manifest, and the one that a tensor has."""

import numpy as np
from numpy.typing import NDArray

from iwsltpack.documents.artifact import Tensor
from iwsltpack.errors import ArtifactError
from iwsltpack.quantizers.quantizer import Quantizer
from iwsltpack.quantizers.rounding import Rounding
from iwsltpack.quantizers.scales import Scaled
from iwsltpack.quantizers.uniform import Uniform
from iwsltpack.system.registry import Registry

QUANTIZERS: Registry[type[Quantizer]] = Registry(
    "quantizer",
    Rounding,
    Uniform,
    Scaled,
)


def quantizer_of(entry: Tensor, scales: NDArray[np.float16] | None = None) -> Quantizer | None:
    """Return the quantizer of a tensor, None where it is stored bit for bit; an unknown one is an `ArtifactError`."""
    if not entry.quantized:
        return None
    if (name := entry.quantizer or Rounding.name) not in QUANTIZERS:
        raise ArtifactError(
            "quantized as this program does not know",
            where=entry.name,
            expected=", ".join(QUANTIZERS),
            got=name,
            fix="install a newer iwsltpack",
        )
    return QUANTIZERS[name].of_entry(entry, scales)
