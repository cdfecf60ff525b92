"""What a coding is, and the chains it packs arrays with.

A chain is exactly the list of codecs that stands in an array's ``zarr.json``; plain zarr-python with numcodecs
reads every one of them. Zarr's own pipeline does the same work, but copies values several times on the way and, through
numcodecs' shuffle, holds the interpreter's lock. And it lets the compressed bytes say how much memory to take: a
forged megabyte can ask for a terabyte. Here the size comes from the manifest, which has been checked, and a chunk that
disagrees is refused.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from iwsltpack.codecs.dtypes import ROUNDABLE, DType, by_name
from iwsltpack.codecs.frames import Buffer, pack_frame, unpack_frame, without_checksum
from iwsltpack.documents.artifact import Tensor

Json = dict[str, Any]


def zstd(level: int, *, checksum: bool) -> Json:
    """Return the Zstandard stage of a chain."""
    return {"name": "zstd", "configuration": {"level": level, "checksum": checksum}}


def little_endian(kind: np.dtype[np.generic]) -> Json:
    """Return the stage that turns values into bytes."""
    if kind.itemsize == 1:
        return {"name": "bytes"}
    return {"name": "bytes", "configuration": {"endian": "little"}}


@dataclass(frozen=True, kw_only=True)
class Chain:
    """How one array is packed, chunk by chunk.

    This one stores values as their own bytes, raw or in a Zstandard frame; others override what they do differently.
    A chunk passes two states: its values, and what is laid out of them for the last stage. Both are flat arrays.

    Attributes
    ----------
    kind
        numpy type of the Zarr array.
    filters, serializer, compressors
        The three stages of a Zarr v3 codec list, as JSON.
    rotated
        Whether the array holds the bits of floats, each word rotated left by one; see `iwsltpack.codecs.codes`.
    sample
        Values that take as many bits each as those of a whole chunk do: one block of Zstandard.
    """

    sample: ClassVar[int] = 1 << 17
    kind: np.dtype[np.generic]
    filters: tuple[Json, ...] = ()
    serializer: Json
    compressors: tuple[Json, ...] = ()
    rotated: bool = False

    @property
    def packed(self) -> np.dtype[np.generic]:
        """Type of the values in a chunk, after the filters."""
        return self.kind

    def codecs(self) -> list[Json]:
        """Return the list as ``zarr.json`` declares it."""
        return [*self.filters, self.serializer, *self.compressors]

    @property
    def marks(self) -> Json:
        """Attributes of the array that tell plain readers what its codecs do not."""
        return {"rotated_bits": 1} if self.rotated else {}

    def scaling(self, _step: float, /) -> Json:
        """Return the CF attributes by which ``stored * scale_factor + add_offset`` is a code times a step, exactly.

        None where the chain stores the values themselves.
        """
        return {}

    def decode(self, raw: Buffer, count: int) -> np.ndarray:
        """Return the `count` values packed in `raw`, flat, in `packed`.

        ValueError, RuntimeError: it is damaged, or of another type or number of values.
        """
        return self.values(self.unpack(raw, count))

    def decode_into(self, raw: Buffer, count: int, out: np.ndarray) -> None:
        """Fill `out`, flat, contiguous and in `packed`, with the first values of a chunk; see `decode`."""
        out[:] = self.decode(raw, count)[: out.size]

    def codes(self, raw: Buffer, count: int, size: int) -> np.ndarray:
        """Return the first `size` codes of a chunk of `count`, in a form of `iwsltpack.codecs.codes`; see `decode`."""
        return self.decode(raw, count)[:size]

    def lay(self, values: np.ndarray, count: int) -> np.ndarray:
        """Return a chunk's values, in `packed` and of any shape, as its last stage takes them.

        Zarr stores whole chunks of `count` values only: missing ones become zeros at its end.
        """
        flat = np.ascontiguousarray(values).reshape(-1)
        if flat.size < count:
            flat = np.concatenate([flat, np.zeros(count - flat.size, flat.dtype)])
        return flat.view(np.uint8)

    def lay_codes(self, _codes: np.ndarray, values: Callable[[], np.ndarray], count: int, /) -> np.ndarray:
        """Return a chunk of codes as the last stage takes them.

        The codes are in a form of `iwsltpack.codecs.codes`; `values` gives what they stand for, to a chain that stores
        that instead; `count` is as for `lay`. A code that does not fit this array raises `TooWide`.
        """
        return self.lay(values(), count)

    def pack(self, laid: np.ndarray, parts: Sequence[int] = ()) -> bytes:
        """Return the bytes of a whole chunk that `lay` gave.

        `parts` are numbers of values, in this order, that are best packed by statistics of their own.
        """
        if not self.compressors:
            return laid.tobytes()
        return pack_frame(laid, **self.compressors[-1]["configuration"], ends=np.cumsum(parts[:-1]).tolist())

    def unpack(self, raw: Buffer, count: int) -> np.ndarray:
        """Undo `pack` for a chunk of `count` values; see `decode` for what is raised."""
        size = count * self.packed.itemsize
        if self.compressors:
            return unpack_frame(raw, size)
        if len(raw) != size:
            raise ValueError(f"holds {len(raw)} bytes instead of {size}")
        return np.frombuffer(raw, np.uint8)

    def checked(self, raw: memoryview) -> memoryview:
        """Return a chunk, in memory nobody else has, that need not be held against a checksum of its own any more."""
        return without_checksum(raw) if self.compressors else raw

    def values(self, laid: np.ndarray) -> np.ndarray:
        """Undo `lay`."""
        return laid.view(self.packed)


@dataclass(frozen=True)
class Coding(ABC):
    """A named family of chains. All codings give back bit-identical weights for the same recipe.

    The `name` is unique among codings and stands in the manifest. Chains may differ by the format's version.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    format_version: int = 1

    def rotates(self, dtype: DType) -> bool:
        """Tell whether the words of a lossless tensor are rotated: those of floats, since version 2."""
        return self.format_version > 1 and dtype.name in ROUNDABLE

    def chain(self, entry: Tensor) -> Chain:
        """Return the chain of a tensor by its entry in the manifest."""
        if not entry.quantized:
            return self.lossless(by_name(entry.dtype, entry.name))
        return self.rounded(entry.bits, wide=entry.wide)

    @abstractmethod
    def lossless(self, dtype: DType) -> Chain:
        """Return the chain of a tensor that is kept bit for bit."""

    @abstractmethod
    def rounded(self, bits: int | None, /, *, wide: bool) -> Chain:
        """Return the chain of a quantized tensor, rounded to 2^-bits where the step is such; `wide` for 32-bit codes.

        A coding that stores the values of such rounding only refuses others with a `UsageError`.
        """
