"""An artifact's tensors as the lazy state dict that transformers' own loader pulls from, one tensor at a time.

A value looks like a safetensors slice; nothing is decoded before the loader asks for it on its device, and then
block of rows by block of rows, so that the host never holds more than a few blocks whatever a tensor's size.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from iwsltpack.artifact.reader import Artifact
from iwsltpack.documents import kinds
from iwsltpack.documents.artifact import Tensor
from iwsltpack.errors import ArtifactError
from iwsltpack.system.direct_io import aligned

BLOCK_BYTES = 8 << 20
"""Decoded at once on the way to the device; with the loader's four threads this bounds the host's memory. Larger blocks
would come fresh from the kernel each time (see `iwsltpack.system.memory`)."""

DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, name)
    for name in (
        *("float64", "float32", "float16", "bfloat16"),
        *("int64", "int32", "int16", "int8", "uint8", "bool"),
    )
}
"""Types of tensors that a model can be made of."""


class Slice:
    """A tensor that is not made yet: the part of a safetensors slice's interface that transformers 5 uses."""

    def __init__(self, shape: tuple[int, ...], kind: str) -> None:
        self.shape, self.dtype, self.device = torch.Size(shape), DTYPES[kind], torch.device("cpu")
        self._kind = kind

    def get_shape(self) -> list[int]:
        """Return the shape, as a safetensors slice does."""
        return list(self.shape)

    def get_dtype(self) -> str:
        """Return safetensors' name of the type, e.g. ``BF16``."""
        return kinds.DTYPES[self._kind][0]

    def is_floating_point(self) -> bool:
        """Tell whether the values are floats."""
        return self.dtype.is_floating_point

    def __getitem__(self, index: Any) -> Any:
        # The loader writes `tensor[...].to(device, dtype)`: lazy through `[...]`, `to` can decode block by block.
        return self if index is Ellipsis else self.to("cpu", self.dtype)[index]

    def to(
        self, device: torch.device | str | int | None = None, dtype: torch.dtype | None = None, **_: Any
    ) -> torch.Tensor:
        """Make the tensor, on `device` as `dtype`."""
        raise NotImplementedError


class LazyTensor(Slice):
    """One tensor, undecoded; where it is of a state dict, that is told why it could not be decoded."""

    def __init__(self, source: Artifact, entry: Tensor, of: "LazyStateDict | None" = None) -> None:
        if entry.dtype not in DTYPES:
            raise ArtifactError(
                f"cannot load tensors of type {entry.dtype}", where=entry.name, expected=", ".join(DTYPES)
            )
        super().__init__(entry.shape, entry.dtype)
        self._source, self._entry, self._of = source, entry, of

    def to(
        self, device: torch.device | str | int | None = None, dtype: torch.dtype | None = None, **_: Any
    ) -> torch.Tensor:
        """Decode onto `device` as `dtype` (the source's where None and the state dict sets none)."""
        if dtype is None:
            wanted = None if self._of is None or not self.is_floating_point() else self._of.dtype
            dtype = wanted or self.dtype
        try:
            return self._decode(device, dtype)
        except Exception as error:
            if self._of is not None:
                # The loader reports the first failure as a mere conversion error.
                self._of.failure = self._of.failure or error
            raise

    def _decode(self, device: torch.device | str | int | None, dtype: torch.dtype) -> torch.Tensor:
        on_cpu = device is None or torch.device(device).type == "cpu"
        if not self.shape or (on_cpu and dtype == self.dtype):
            return as_torch(self._source.tensor(self._entry.name), self.dtype).to(device=device, dtype=dtype)
        target = _empty(self.shape, dtype) if on_cpu else torch.empty(self.shape, dtype=dtype, device=device)
        rows = rows_at_once(self._entry, BLOCK_BYTES // self.dtype.itemsize)
        for start in range(0, self.shape[0], rows):
            stop = min(start + rows, self.shape[0])
            target[start:stop] = as_torch(self._source.rows(self._entry.name, start, stop), self.dtype)
        return target


def rows_at_once(entry: Tensor, values: int) -> int:
    """Return how many rows make a block: whole chunks, of so many values in all or less, at least one."""
    chunk = max(1, entry.chunk_rows)
    return max(chunk, values // max(1, math.prod(entry.shape[1:])) // chunk * chunk)


def _empty(shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
    """Return a new tensor in memory of numpy's, which unlike torch asks for huge pages: fewer to wait for.

    It is aligned as torch's own memory is, and more: kernels may count on that.
    """
    room = np.frombuffer(aligned(shape.numel() * dtype.itemsize), np.uint8)
    return torch.from_numpy(room).view(dtype).view(shape)


def as_torch(array: np.ndarray[Any, Any], dtype: torch.dtype) -> torch.Tensor:
    """Wrap a decoded array, bfloat16 from its bits; copies only what torch may not write to."""
    array = np.require(array, requirements=["C", "W"])
    if dtype is torch.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


class LazyStateDict(Mapping[str, Any]):
    """Checkpoint name -> `LazyTensor`, or a handle for the tensors that stay compressed.

    `dtype` is what floats become where the loader does not say (transformers up to 5.17 does not cast beside a
    quantizer); `failure` is the first error of a tensor. The value of a `streamed` name is a handle: a tensor of one
    element, its place among the sorted names.
    """

    def __init__(
        self, source: Artifact, dtype: torch.dtype | None = None, streamed: frozenset[str] = frozenset()
    ) -> None:
        entries = {entry.name: entry for entry in source.manifest.tensors}
        self._entries = {name: entries[name] for name in sorted(entries)}
        self._source, self.dtype, self._streamed = source, dtype, streamed
        self.failure: Exception | None = None

    def __getitem__(self, name: str) -> Any:
        if name in self._streamed:
            return Handle(list(self._entries).index(name))
        return LazyTensor(self._source, self._entries[name], self)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def copy(self) -> dict[str, Any]:
        """Return a plain dict of the same lazy values."""
        return dict(self.items())


def decoded_tensors(source: Artifact) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every tensor decoded, by its checkpoint name; the next ones are decoded while one is being used."""
    kinds_of = {entry.name: entry.dtype for entry in source.manifest.tensors}
    if unknown := sorted(set(kinds_of.values()) - set(DTYPES)):
        raise ArtifactError(
            f"cannot load tensors of type {unknown[0]}", where=source.path, expected=", ".join(DTYPES)
        )
    source.expect(kinds_of)
    for name, values in source.tensors(kinds_of):
        yield name, as_torch(values, DTYPES[kinds_of[name]])


def packed_state(source: Artifact, *_: Any, **__: Any) -> dict[str, torch.Tensor]:
    """Return the state dict of a model that holds compressed weights: the bytes it holds, uint8, shape (n,) each.

    What measures a model by ``torch.save(model.state_dict())`` measures the artifact's weights then, not float tensors
    that exist nowhere.
    """
    return {
        f"{entry.name}.packed": torch.from_numpy(source.packed(entry.name))
        for entry in source.manifest.tensors
    }


class Codes(NamedTuple):
    """A weight as codes, those that int8 does not hold apart; all tensors on one device.

    Attributes
    ----------
    codes
        int8, shape (out, stride): zero past `in_features` and where an outlier is.
    in_features
        Columns that count; the stride is the next multiple of 16, so that every row can be read 16 bytes at a time.
    scale
        The step: 2^-b in most recipes.
    starts
        int32, shape (out + 1,): outliers `starts[n]` to `starts[n + 1]` are those of row n; empty without outliers.
    rows, columns
        Of the outliers, sorted by row, then column; int32.
    values
        The outliers' weights, in the model's dtype; without the scales where the kernel is given them.
    row_scale, column_scale
        The bits of float16, as int16, which no change of the model's dtype rounds; None where there are no scales.
    """

    codes: torch.Tensor
    in_features: int
    scale: float
    starts: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    values: torch.Tensor
    row_scale: torch.Tensor | None = None
    column_scale: torch.Tensor | None = None

    @property
    def has_outliers(self) -> bool:
        """Whether there are any."""
        return len(self.values) > 0


class Handle(Slice):
    """The value handed to the loader for a tensor that stays compressed: its number, as one int64."""

    def __init__(self, number: int) -> None:
        super().__init__((1,), "int64")
        self.number = number

    def to(self, device: torch.device | str | int | None = None, *_: Any, **__: Any) -> torch.Tensor:
        """Return the number on `device`; it never becomes a float, whatever is asked."""
        return torch.tensor([self.number], dtype=torch.int64, device=device)
