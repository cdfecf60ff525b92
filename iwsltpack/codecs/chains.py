"""Codec chains as data: for each coding, how a lossless and how a rounded tensor is packed in Zarr.

A chain is exactly the list of codecs that stands in an array's ``zarr.json``; plain zarr-python with numcodecs
reads every one of them. Three codings give back bit-identical weights for the same recipe:

``paper``
    The published chain to the letter: float32 -> Quantize -> float16 -> Zstandard 3. Lossless tensors stay raw.
``zstd``
    Integer codes, biased, 16 bits unsigned -> byte shuffle -> Zstandard 1. The default.
``pcodec``
    Integer codes, signed 16 bits -> pcodec level 8. The smallest, slowest to build.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from iwsltpack.codecs.dtypes import DType
from iwsltpack.codecs.rounding import (
    BIAS16,
    BIAS32,
    digits_of_bits,
    fold_zeros,
    values_of_codes16,
    values_of_codes32,
)
from iwsltpack.errors import UsageError

Json = dict[str, Any]

_PCODEC: Json = {"name": "numcodecs.pcodec", "configuration": {"level": 8}}
_PCODEC_KINDS = ("uint16", "uint32", "uint64", "int16", "int32", "int64", "float16", "float32", "float64")


def _zstd(level: int, *, checksum: bool) -> Json:
    return {"name": "zstd", "configuration": {"level": level, "checksum": checksum}}


def _bytes(kind: np.dtype[np.generic]) -> Json:
    if kind.itemsize == 1:
        return {"name": "bytes"}
    return {"name": "bytes", "configuration": {"endian": "little"}}


def _shuffle_zstd(kind: np.dtype[np.generic]) -> tuple[Json, ...]:
    if kind.itemsize == 1:
        return (_zstd(1, checksum=True),)
    return (
        {"name": "numcodecs.shuffle", "configuration": {"elementsize": kind.itemsize}},
        _zstd(1, checksum=True),
    )


@dataclass(frozen=True, kw_only=True)
class Chain:
    """How one array is packed.

    Attributes
    ----------
    kind
        numpy type of the Zarr array.
    filters, serializer, compressors
        The three stages of a Zarr v3 codec list, as JSON.
    bias
        What is added to a code before it is stored; 0 where the array holds values or plain codes.
    holds_codes
        Whether the array holds integer codes (then `attributes` says how xarray turns them into weights).
    """

    kind: np.dtype[np.generic]
    filters: tuple[Json, ...] = ()
    serializer: Json
    compressors: tuple[Json, ...] = ()
    bias: int = 0
    holds_codes: bool = False

    @property
    def packed(self) -> np.dtype[np.generic]:
        """Type in which values lie in a chunk: `kind`, but for the paper's cast to float16."""
        return np.dtype("<f2") if self.filters else self.kind

    @property
    def is_pcodec(self) -> bool:
        """Whether pcodec packs the values."""
        return self.serializer == _PCODEC

    @property
    def is_shuffled(self) -> bool:
        """Whether bytes are shuffled before Zstandard."""
        return len(self.compressors) > 1

    @property
    def wide(self) -> bool:
        """Whether the array holds 32-bit codes."""
        return self.holds_codes and self.kind.itemsize == 4

    def codecs(self) -> list[Json]:
        """Return the list as ``zarr.json`` declares it."""
        return [*self.filters, self.serializer, *self.compressors]

    def attributes(self, bits: int | None) -> Json:
        """Return the CF attributes by which ``stored * scale_factor + add_offset`` is the weight; exact."""
        if not self.holds_codes or bits is None:
            return {}
        return {"scale_factor": 2.0**-bits, "add_offset": -self.bias * 2.0**-bits}


@dataclass(frozen=True, kw_only=True)
class Coding:
    """A named family of chains; see the module's text."""

    name: str
    summary: str

    def lossless(self, dtype: DType) -> Chain:
        """Return the chain of a tensor that is kept bit for bit."""
        kind = dtype.carrier
        if self.name == "paper":
            return Chain(kind=kind, serializer=_bytes(kind))
        if self.name == "pcodec" and kind.name in _PCODEC_KINDS:
            return Chain(kind=kind, serializer=_PCODEC)
        return Chain(kind=kind, serializer=_bytes(kind), compressors=_shuffle_zstd(kind))

    def rounded(self, bits: int, *, wide: bool) -> Chain:
        """Return the chain of a tensor rounded to 2^-bits; `wide` when a code does not fit 16 bits."""
        if self.name == "paper":
            return _paper(bits)
        if self.name == "pcodec":
            signed = np.dtype("<i4" if wide else "<i2")
            return Chain(kind=signed, serializer=_PCODEC, holds_codes=True)
        kind = np.dtype("<u4" if wide else "<u2")
        bias = BIAS32 if wide else BIAS16
        return Chain(
            kind=kind, serializer=_bytes(kind), compressors=_shuffle_zstd(kind), bias=bias, holds_codes=True
        )


def _paper(bits: int) -> Chain:
    single = np.dtype("<f4")
    cast = {"name": "numcodecs.astype", "configuration": {"encode_dtype": "<f2", "decode_dtype": "<f4"}}
    digits = digits_of_bits(bits)
    # Between numcodecs' own steps the array is rounded before it is handed over, and only packed here.
    quantize: tuple[Json, ...] = (
        ()
        if digits is None
        else ({"name": "numcodecs.quantize", "configuration": {"digits": digits, "dtype": "<f4"}},)
    )
    return Chain(
        kind=single,
        filters=(*quantize, cast),
        serializer=_bytes(single),
        compressors=(_zstd(3, checksum=False),),
    )


CODINGS = {
    coding.name: coding
    for coding in (
        Coding(name="paper", summary="the published chain to the letter; unselected tensors raw"),
        Coding(name="zstd", summary="integer codes, byte shuffle, Zstandard; the default"),
        Coding(name="pcodec", summary="integer codes, pcodec; the smallest, slower to build"),
    )
}


def coding(name: str) -> Coding:
    """Return a coding by name; an unknown one is a `UsageError` that lists the known."""
    if name not in CODINGS:
        raise UsageError(f"unknown coding {name!r}", expected=", ".join(CODINGS))
    return CODINGS[name]


def pack_codes(chain: Chain, codes: np.ndarray) -> np.ndarray:
    """Turn codes as `Rounder` gives them (biased 16-bit, or plain 32-bit) into what `chain` stores.

    Shapes are kept; the result has ``chain.kind``.
    """
    if codes.dtype == np.uint16:
        return codes if chain.bias else (codes - np.uint16(BIAS16)).view(np.int16)
    return (codes.view(np.uint32) + np.uint32(BIAS32)) if chain.bias else codes


def unpack(chain: Chain, bits: int | None, stored: np.ndarray) -> np.ndarray:
    """Turn what an array holds into the tensor's values.

    Parameters
    ----------
    chain
        The array's.
    bits
        Rounding step 2^-bits of the tensor, None where it is lossless.
    stored
        Any block of the array, any shape, in ``chain.kind`` or ``chain.packed``.

    Returns
    -------
    ndarray
        Same shape: lossless tensors in their carrier type, rounded ones as float16, zeros folded.
    """
    if bits is None:
        return stored
    if not chain.holds_codes:
        return fold_zeros(stored.astype(np.float16))
    codes = unpack_codes(chain, stored)
    return values_of_codes32(codes, bits) if chain.wide else values_of_codes16(codes, bits)


def unpack_codes(chain: Chain, stored: np.ndarray) -> np.ndarray:
    """Undo `pack_codes`."""
    if stored.dtype.itemsize == 2:
        return stored if chain.bias else stored.view(np.uint16) + np.uint16(BIAS16)
    return (stored - np.uint32(BIAS32)).view(np.int32) if chain.bias else stored


def integer_codes(chain: Chain, bits: int, stored: np.ndarray) -> np.ndarray:
    """Turn what the array of a rounded tensor holds into its codes k, of which k * 2^-bits is the weight, exactly.

    Parameters
    ----------
    chain, bits, stored
        As for `unpack`.

    Returns
    -------
    ndarray
        Same shape, signed: int16, or int32 where the chain is wide or holds values.

    Raises
    ------
    ValueError
        The array holds values, and one is no multiple of the step that a code stands for.
    """
    if chain.wide:
        return unpack_codes(chain, stored)
    if chain.holds_codes:
        return (stored - np.uint16(chain.bias)).view(np.int16) if chain.bias else stored
    # Exact: a float16 times a power of two, far from float32's ends.
    scaled = stored.astype(np.float32) * np.float32(2.0**bits)
    with np.errstate(invalid="ignore"):
        codes = scaled.astype(np.int32)
    if not np.array_equal(codes.astype(np.float32), scaled):
        raise ValueError(f"a value is no multiple of 2^-{bits}")
    return codes
