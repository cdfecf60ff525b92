"""From a checkpoint and a recipe to what becomes of each tensor."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from iwsltpack.artifact import side_files
from iwsltpack.building.checkpoint import Checkpoint, SourceTensor
from iwsltpack.building.dropped_tokens import dropped_rows, find_dropped
from iwsltpack.building.mlp_layers import GATE, gated_mlps, select, title
from iwsltpack.building.prune import Kept, plan_pruning
from iwsltpack.codecs.chain import Coding
from iwsltpack.codecs.classes import class_count
from iwsltpack.codecs.dtypes import ROUNDABLE
from iwsltpack.documents import schema
from iwsltpack.documents.artifact import Component, Tensor, Vocabulary
from iwsltpack.documents.layout import MAX_CHUNK_VALUES, ArrayLayout, matrix_shape
from iwsltpack.documents.recipe import LayerRule, Recipe
from iwsltpack.errors import InputError, UsageError
from iwsltpack.quantizers.quantizer import Quantizer
from iwsltpack.quantizers.rounding import Rounding
from iwsltpack.quantizers.scales import QuantizedMatrix, Scaled
from iwsltpack.quantizers.uniform import Uniform

CHUNK_VALUES = 1 << 22
"""Values in a chunk, about: 8 MiB of bfloat16, enough to pack well, small enough for many threads."""

EMBEDDING = "embed"
"""In the name of an embedding table."""


@dataclass(frozen=True, kw_only=True)
class TensorPlan:
    """What becomes of one tensor; for `component` and `linear` see `iwsltpack.documents.artifact.Tensor`.

    Attributes
    ----------
    quantizer
        What turns its values into codes, or None: they are kept bit for bit.
    kept
        What pruning leaves of it, or None: everything.
    matrix
        File with the codes that a calibration made of it, which are packed in its place.
    vocabulary
        The tokens whose rows become zero.
    """

    source: SourceTensor
    quantizer: Quantizer | None
    kept: Kept | None
    component: Component
    linear: bool
    matrix: Path | None = None
    vocabulary: Vocabulary | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape after pruning."""
        return self.source.shape if self.kept is None else self.kept.shape(self.source.shape)

    @property
    def entry(self) -> Tensor:
        """The tensor as the manifest will describe it, but for what is known once it is packed."""
        shape, source, quantizer = self.shape, self.source, self.quantizer
        rows = rows_per_chunk(shape) if shape else 0
        by_class = quantizer is not None and quantizer.scales is not None
        return Tensor(
            name=source.name,
            shape=shape,
            dtype=source.dtype.name if quantizer is None else "float16",
            source_shape=source.shape,
            source_dtype=source.dtype.name,
            component=self.component,
            linear=self.linear,
            **({} if quantizer is None else quantizer.described()),
            classes=class_count(rows * matrix_shape(shape)[1]) if by_class else None,
            chunk_rows=rows,
            zero_rows=None if self.vocabulary is None else len(dropped_rows(self.vocabulary)),
        )

    def with_whole_paths(self) -> Self:
        """Return the plan for another process: no path depends on the folder it works in."""
        source = replace(self.source, path=self.source.path.resolve())
        return replace(self, source=source, matrix=self.matrix and self.matrix.resolve())

    def blocks(self) -> Iterable[tuple[int, int]]:
        """Yield the row range of every chunk; a scalar has the one range (0, 1)."""
        array, (rows, *_) = self.entry.array, self.shape or (1,)
        for start in array.starts:
            yield start, min(start + (array.chunk_rows or 1), rows)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Read the values of rows `start` to `stop` after pruning, in the carrier type; or their codes."""
        if self.matrix is not None:
            block = QuantizedMatrix.load(self.matrix).codes[start:stop]
        elif self.kept is not None:
            block = self.kept.read(self.source, start, stop)
        else:
            block = self.source.rows(start, stop)
        if self.vocabulary is not None:
            rows, block = dropped_rows(self.vocabulary), block.copy()
            block[rows[slice(*np.searchsorted(rows, (start, stop)))] - start] = 0
        return block


def rows_per_chunk(shape: tuple[int, ...]) -> int:
    """Cut the first axis into equal chunks where a number of chunks near the wanted one divides it.

    Zarr pads the last chunk to full size; equal chunks have no padding.
    """
    rows, row = max(shape[0], 1), math.prod(max(length, 1) for length in shape[1:])
    wanted = -(-rows * row // CHUNK_VALUES)
    for chunks in range(wanted, min(2 * wanted, rows) + 1):
        if rows % chunks == 0:
            return rows // chunks
    return -(-rows // min(wanted, rows))


def linear_layers(checkpoint: Checkpoint) -> list[str]:
    """Return the names of the linear layers, as the paper counts them (418 in Qwen2-Audio-7B-Instruct).

    A linear layer is a matrix called ``NAME.weight`` that is no embedding table.
    """
    axes = {name: len(checkpoint.tensors[f"{name}.weight"].shape) for name in _layers(checkpoint)}
    return [name for name, count in axes.items() if count == 2 and EMBEDDING not in name]


def _layers(checkpoint: Checkpoint) -> list[str]:
    """Return the names of what has a weight of two axes or more."""
    return [
        name.removesuffix(".weight")
        for name, tensor in checkpoint.tensors.items()
        if name.endswith(".weight") and len(tensor.shape) > 1
    ]


def plan_tensors(
    checkpoint: Checkpoint,
    recipe: Recipe,
    matrices: Mapping[str, Path] | None = None,
    *,
    sampled: bool = False,
) -> list[TensorPlan]:
    """Apply a recipe to a checkpoint; return a plan for each tensor, in the order of their names.

    Parameters
    ----------
    matrices
        Files with a `QuantizedMatrix` by tensor; these are packed, whatever the recipe says of the tensor.
    sampled
        Whether pruning may look at a part of the weights alone: enough for an estimate.

    InputError: the checkpoint is empty, or holds a tensor whose name or shape no artifact can hold.
    UsageError: a pattern matches no layer, or one of a type that cannot be rounded; a calibrated tensor
    has no matrix, or a matrix no tensor.
    """
    _check_names(checkpoint)
    matrices, layers = matrices or {}, set(linear_layers(checkpoint))
    rules = rules_of(checkpoint, recipe)
    kept = plan_pruning(checkpoint, recipe.prune, sampled=sampled) if recipe.prune else {}
    vocabulary, tables = (
        find_dropped(recipe.vocabulary, checkpoint) if recipe.vocabulary else (None, frozenset[str]())
    )
    plans = []
    for name in sorted(checkpoint.tensors):
        source = checkpoint.tensors[name]
        layer = name.rpartition(".")[0]
        quantizer = _quantizer(source, rules.get(name), matrices.get(name))
        plans.append(
            TensorPlan(
                source=source,
                quantizer=quantizer,
                kept=kept.get(name),
                component=_component(name, selected=quantizer is not None, linear=layer in layers),
                linear=layer in layers,
                matrix=matrices.get(name),
                vocabulary=vocabulary if name in tables else None,
            )
        )
    _check_matrices(plans, matrices)
    return plans


def check_storable(plans: list[TensorPlan], coding: Coding) -> None:
    """Refuse at once what this coding or version of the format cannot hold."""
    for entry in (plan.entry for plan in plans):
        coding.chain(entry)
        if coding.format_version == 1 and entry.quantizer is not None:
            raise UsageError(
                "format 1 holds multiples of 2^-b alone",
                where=entry.name,
                expected="bits or digits in every rule of the recipe, and no matrices",
                fix="build with --format-version 2",
            )


def _check_names(checkpoint: Checkpoint) -> None:
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
        shape, most_axes = tensor.shape, properties["shape"]["maxItems"]
        rows = rows_per_chunk(shape) if shape else 0
        if len(shape) > most_axes or math.prod(ArrayLayout("", shape, rows).chunk) > MAX_CHUNK_VALUES:
            raise InputError(
                "a tensor's shape cannot be stored",
                where=where,
                expected=f"at most {most_axes} axes, and {MAX_CHUNK_VALUES} values in a row of the first",
                got=list(shape),
            )


def rules_of(checkpoint: Checkpoint, recipe: Recipe) -> dict[str, LayerRule]:
    """Return the rule of each tensor that has one: a linear layer's weight; any of two axes or more for a quantizer."""
    linear = "linear layer", linear_layers(checkpoint)
    all_layers = "weight of two axes or more", _layers(checkpoint)
    rules: dict[str, LayerRule] = {}
    for rule in recipe.layers:
        kind, layers = linear if rule.quantizer is None else all_layers
        matched = select(rule.pattern, layers)
        if not matched:
            raise UsageError(
                f"a pattern of recipe {recipe.name!r} matches no {kind}",
                where=title(rule.pattern) or rule.pattern,
                expected=f"a regular expression over names such as {layers[0] if layers else '(none here)'}",
            )
        rules |= dict.fromkeys((f"{name}.weight" for name in matched), rule)
    return rules


def calibration_bytes(checkpoint: Checkpoint, recipe: Recipe) -> int:
    """Return the bytes on disk that a calibration takes beside the artifact, about and at most.

    Of each matrix, its factor (half of the inputs squared, in float32) and its codes (two bytes).
    """
    shapes = [
        checkpoint.tensors[name].shape
        for name, rule in rules_of(checkpoint, recipe).items()
        if rule.calibrated
    ]
    return sum(2 * math.prod(shape) + 2 * math.prod(shape[1:]) ** 2 for shape in shapes)


def _quantizer(source: SourceTensor, rule: LayerRule | None, matrix: Path | None) -> Quantizer | None:
    """Return what quantizes a tensor: the matrix made of it, or the rule, or nothing."""
    if matrix is not None:
        made = QuantizedMatrix.load(matrix)
        if made.codes.shape != (shape := matrix_shape(source.shape)) or 0 in shape:
            raise InputError(
                "a quantized matrix is of another shape than its tensor",
                where=matrix,
                expected=list(shape),
                got=list(made.codes.shape),
                fix="calibrate this very checkpoint",
            )
        return Scaled(made.delta, made.row_scale, made.column_scale)
    if rule is not None and rule.calibrated:
        raise UsageError(
            "the recipe wants a tensor as a calibration made it, and there is none",
            where=source.name,
            expected="a folder with NAME.matrix for every tensor it selects",
            fix="name data to calibrate on, or the folder: iwsltpack build --calibration DEVSET, or --matrices FOLDER",
        )
    if rule is None or (rule.bits is None and rule.step is None):
        return None
    if source.dtype.name not in ROUNDABLE:
        raise UsageError(
            "the recipe rounds a layer of a type that cannot be rounded",
            where=source.name,
            expected=", ".join(ROUNDABLE),
            got=source.dtype.name,
        )
    if rule.bits is not None:
        return Rounding(rule.bits, source.dtype.name)
    return Uniform(rule.step or 0, source.dtype.name)


def _check_matrices(plans: list[TensorPlan], matrices: Mapping[str, Path]) -> None:
    """Refuse matrices that would be ignored, or that pruning would cut."""
    for name in sorted(set(matrices) - {plan.source.name for plan in plans}):
        raise UsageError("a quantized matrix of a tensor that the checkpoint lacks", where=matrices[name])
    for plan in plans:
        if plan.matrix is not None and plan.kept is not None:
            raise UsageError(
                "the recipe prunes a tensor that was quantized unpruned",
                where=plan.source.name,
                fix="prune the checkpoint first, then calibrate the pruned one",
            )


def adapt_side_files(side: dict[str, bytes], plans: list[TensorPlan]) -> Vocabulary | None:
    """Let the configuration say what was pruned, and the generation settings suppress the tokens that are returned."""
    side[side_files.CONFIG] = pruned_config(side[side_files.CONFIG], plans)
    vocabulary = next((plan.vocabulary for plan in plans if plan.vocabulary), None)
    if vocabulary is not None and (settings := side.get(side_files.GENERATION_CONFIG)) is not None:
        side[side_files.GENERATION_CONFIG] = side_files.with_suppressed(settings, vocabulary.ids())
    return vocabulary


def pruned_config(config: bytes, plans: list[TensorPlan]) -> bytes:
    """Return the configuration of the pruned model; one configuration can say one size for all its MLPs."""
    sizes = {len(plan.kept.units) for plan in plans if plan.kept is not None}
    if not sizes:
        return config
    by_name = {plan.source.name: plan for plan in plans}
    gates = [by_name[f"{mlp}.{GATE}.weight"] for mlp in gated_mlps(by_name)]
    if len(sizes) > 1 or any(plan.kept is None for plan in gates):
        raise UsageError(
            "the recipe prunes some gated MLPs and not others, or differently, which no configuration can say",
            expected="one size for all of them",
            got=", ".join(sorted({str(plan.shape[0]) for plan in gates})) + " units",
            fix="let the pruning pattern match every gated MLP of the model",
        )
    return side_files.with_intermediate_size(config, sizes.pop())


def _component(name: str, *, selected: bool, linear: bool) -> Component:
    if selected:
        return "selected"
    if name.startswith("audio_tower."):
        return "audio_tower"
    if linear:
        return "linear"
    return "embedding" if EMBEDDING in name else "other"
