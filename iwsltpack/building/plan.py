"""From a checkpoint and a recipe to what becomes of each tensor."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iwsltpack.building.patterns import select
from iwsltpack.building.prune import plan_pruning
from iwsltpack.codecs.dtypes import ROUNDABLE
from iwsltpack.documents import schema
from iwsltpack.documents.layout import MAX_CHUNK_VALUES, ArrayLayout
from iwsltpack.errors import InputError, UsageError
from iwsltpack.quantizers.rounding import Rounding

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np

    from iwsltpack.building.checkpoint import Checkpoint, SourceTensor
    from iwsltpack.building.prune import Kept
    from iwsltpack.documents.artifact import Component
    from iwsltpack.documents.recipe import Recipe
    from iwsltpack.quantizers.quantizer import Quantizer

CHUNK_VALUES = 1 << 22
"""Values in a chunk, about: 8 MiB of bfloat16, enough to pack well, small enough for many threads."""


@dataclass(frozen=True, kw_only=True)
class TensorPlan:
    """What becomes of one tensor.

    Attributes
    ----------
    source
        Where its values are.
    bits
        Rounding step 2^-bits, or None: kept bit for bit.
    kept
        What pruning leaves of it, or None: everything.
    component, linear
        See `iwsltpack.documents.artifact.Tensor`.
    """

    source: SourceTensor
    bits: int | None
    kept: Kept | None
    component: Component
    linear: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape after pruning."""
        return self.source.shape if self.kept is None else self.kept.shape(self.source.shape)

    @property
    def quantizer(self) -> Quantizer | None:
        """What turns its values into codes, or None: they are kept bit for bit."""
        return None if self.bits is None else Rounding(self.bits, self.source.dtype.name)

    @property
    def array(self) -> ArrayLayout:
        """The array it is packed into; chunks hold about `CHUNK_VALUES` values."""
        return ArrayLayout(self.source.name, self.shape, rows_per_chunk(self.shape) if self.shape else 0)

    def blocks(self) -> Iterable[tuple[int, int]]:
        """Yield the row range of every chunk; a scalar has the one range (0, 1)."""
        rows, *_ = self.shape or (1,)
        for start in self.array.starts:
            yield start, min(start + (self.array.chunk_rows or 1), rows)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read the values of rows `start` to `stop` after pruning, in the carrier type."""
        if self.kept is None:
            return self.source.rows(start, stop)
        return self.kept.read(self.source, start, stop)


def rows_per_chunk(shape: tuple[int, ...]) -> int:
    """Cut the first axis into equal chunks where a number of chunks near the wanted one divides it.

    Zarr pads the last chunk to full size; equal chunks have no padding.
    """
    rows, row = max(shape[0], 1), 1
    for length in shape[1:]:
        row *= max(length, 1)
    wanted = -(-rows * row // CHUNK_VALUES)
    for chunks in range(wanted, min(2 * wanted, rows) + 1):
        if rows % chunks == 0:
            return rows // chunks
    return -(-rows // min(wanted, rows))


def linear_layers(checkpoint: Checkpoint) -> list[str]:
    """Return the names of the linear layers, as the paper counts them (418 in Qwen2-Audio-7B-Instruct).

    A linear layer is a matrix called ``NAME.weight`` that is no embedding table.
    """
    return [
        name.removesuffix(".weight")
        for name, tensor in checkpoint.tensors.items()
        if name.endswith(".weight") and len(tensor.shape) == 2 and not _is_embedding(name)
    ]


def plan_tensors(checkpoint: Checkpoint, recipe: Recipe) -> list[TensorPlan]:
    """Apply a recipe to a checkpoint.

    Returns
    -------
    list of TensorPlan
        One a tensor, in the order of the checkpoint's names.

    Raises
    ------
    InputError
        The checkpoint is empty, or holds a tensor whose name or shape no artifact can hold.
    UsageError
        A pattern matches no linear layer, or a layer of a type that cannot be rounded.
    """
    _check_storable(checkpoint)
    layers = linear_layers(checkpoint)
    bits = _bits_of_layers(layers, recipe)
    kept = plan_pruning(checkpoint, recipe.prune) if recipe.prune else {}
    plans = []
    for name in sorted(checkpoint.tensors):
        source = checkpoint.tensors[name]
        layer = name.rpartition(".")[0]
        rounded = bits.get(layer) if name.endswith(".weight") else None
        if rounded is not None and source.dtype.name not in ROUNDABLE:
            raise UsageError(
                "the recipe rounds a layer of a type that cannot be rounded",
                where=name,
                expected=", ".join(ROUNDABLE),
                got=source.dtype.name,
            )
        plans.append(
            TensorPlan(
                source=source,
                bits=rounded,
                kept=kept.get(name),
                component=_component(name, selected=rounded is not None, linear=layer in layers),
                linear=layer in layers,
            )
        )
    return plans


def _check_storable(checkpoint: Checkpoint) -> None:
    """Refuse what the manifest's schema would refuse after hours of packing."""
    if not checkpoint.tensors:
        raise InputError("the checkpoint holds no tensor", where=checkpoint.folder)
    folded = Counter(name.casefold() for name in checkpoint.tensors)
    properties = schema.load_schema("artifact")["$defs"]["Tensor"]["properties"]
    for name, tensor in checkpoint.tensors.items():
        where = f"{tensor.path}: {name}"
        if not re.search(properties["name"]["pattern"], name) or len(name) > properties["name"]["maxLength"]:
            raise InputError(
                "a tensor's name cannot be that of a folder",
                where=where,
                expected=f"at most {properties['name']['maxLength']} letters, digits, '_', '.' and '-'",
                fix="rename the tensor in the checkpoint",
            )
        if folded[name.casefold()] > 1:
            raise InputError(
                "two tensors' names differ in upper and lower case alone, which not every file system tells apart",
                where=where,
                fix="rename one of them in the checkpoint",
            )
        _check_shape(where, tensor.shape, properties["shape"]["maxItems"])


def _check_shape(where: str, shape: tuple[int, ...], most_axes: int) -> None:
    rows = rows_per_chunk(shape) if shape else 0
    if len(shape) > most_axes or math.prod(ArrayLayout("", shape, rows).chunk) > MAX_CHUNK_VALUES:
        raise InputError(
            "a tensor's shape cannot be stored",
            where=where,
            expected=f"at most {most_axes} axes, and {MAX_CHUNK_VALUES} values in a row of the first",
            got=list(shape),
        )


def _bits_of_layers(layers: list[str], recipe: Recipe) -> dict[str, int | None]:
    bits: dict[str, int | None] = {}
    for rule in recipe.layers:
        matched = select(rule.pattern, layers)
        if not matched:
            raise UsageError(
                f"a pattern of recipe {recipe.name!r} matches no linear layer",
                where=rule.pattern,
                expected=f"a regular expression over names such as {layers[0] if layers else '(none here)'}",
            )
        bits |= dict.fromkeys(matched, rule.bits)
    return bits


def _is_embedding(name: str) -> bool:
    return "embed" in name


def _component(name: str, *, selected: bool, linear: bool) -> Component:
    if selected:
        return "selected"
    if name.startswith("audio_tower."):
        return "audio_tower"
    if linear:
        return "linear"
    return "embedding" if _is_embedding(name) else "other"
