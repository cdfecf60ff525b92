"""Tensor types: their safetensors codes, their names in PyTorch, and the numpy type that carries their bits.

Neither numpy nor Zarr has bfloat16 or the 8-bit floats: their bits travel as unsigned integers of the same
width, and the manifest says what they mean.
"""

from dataclasses import dataclass

import numpy as np

from iwsltpack.documents.kinds import DTYPES
from iwsltpack.errors import InputError


@dataclass(frozen=True)
class DType:
    """One tensor type: safetensors code, PyTorch name, little-endian numpy type of the carrier."""

    code: str
    name: str
    carrier: np.dtype[np.generic]


_TABLE = tuple(DType(code, name, np.dtype(carrier)) for name, (code, carrier) in DTYPES.items())
BY_CODE = {dtype.code: dtype for dtype in _TABLE}
BY_NAME = {dtype.name: dtype for dtype in _TABLE}
ROUNDABLE = ("bfloat16", "float16", "float32")
"""Types a rounding rule may be applied to."""


def by_code(code: str, where: object = None) -> DType:
    """Return the type of a safetensors code; an unknown one is an `InputError` that lists the known."""
    if code not in BY_CODE:
        raise InputError("unknown tensor type", where=where, expected=", ".join(BY_CODE), got=code)
    return BY_CODE[code]


def by_name(name: str, where: object = None) -> DType:
    """Return the type of a PyTorch name; an unknown one is an `InputError` that lists the known."""
    if name not in BY_NAME:
        raise InputError("unknown tensor type", where=where, expected=", ".join(BY_NAME), got=name)
    return BY_NAME[name]


def to_float32(block: np.ndarray, dtype: str) -> np.ndarray:
    """Return a block, in the carrier type of one of the `ROUNDABLE` types, as a new float32 array; exact."""
    if dtype == "bfloat16":
        return (block.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return block.astype(np.float32)
