"""How large an artifact will be, and what it takes to build it, from a sample of each tensor: nothing is built.

The sample goes through the quantizer and the coding of a real build; metadata, manifest and side files are made as they
will be, so that only the chunks of large tensors are an estimate. Few bytes of a checkpoint are read.
"""

import math
import os
import tempfile
import time
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from iwsltpack.artifact import side_files, zarr_metadata
from iwsltpack.artifact.sizes import Sizes, sizes_of
from iwsltpack.building.bnb_int8 import converted
from iwsltpack.building.checkpoint import Checkpoint, open_checkpoint
from iwsltpack.building.chunk_packer import ChunkPacker, as_narrow_as_can_be
from iwsltpack.building.dropped_tokens import dropped_rows
from iwsltpack.building.pipeline import SPARE_WORKERS, draft_manifest, from_origin
from iwsltpack.building.plan import (
    TensorPlan,
    adapt_side_files,
    calibration_bytes,
    check_storable,
    plan_tensors,
    rules_of,
)
from iwsltpack.building.prune import PIECES, sample_places
from iwsltpack.building.publishing import describe_side_files
from iwsltpack.building.request import BuildRequest
from iwsltpack.building.tensor_writer import side_arrays
from iwsltpack.codecs.chain import Chain, Coding
from iwsltpack.codecs.classes import Classes
from iwsltpack.documents.artifact import File, Tensor
from iwsltpack.documents.choices import DEFAULT_STEP, DEFAULT_VERSION
from iwsltpack.documents.document import Part
from iwsltpack.documents.kinds import ITEM_BYTES
from iwsltpack.documents.layout import GROUP_METADATA, group_metadata
from iwsltpack.documents.recipe import LayerRule, Recipe
from iwsltpack.quantizers.scales import Scaled, find_matrices
from iwsltpack.system import fileio, memory
from iwsltpack.system.progress import SILENT, Reporter
from iwsltpack.system.threads import for_each

BUDGET = 1 << 26
"""Values looked at in all, about: a checkpoint of no more is packed whole. `Chain.sample` says how many of a tensor."""
OF_CLASSES = 8
"""How much larger a sample is whose codes are packed class by class: each class has a table of its own."""
DEFAULT_BITS = 3.0
"""Of a calibrated weight at the default step: 2.5 and 3.6 on the two models it was measured on."""
LEAST_BITS = 1.8
"""Of a calibrated weight: the least that was measured."""
DISK_RATE = 1e9
"""Bytes a second that a local disk reads or writes."""
BASE_MEMORY, COPIES = 200 << 20, 5
"""Memory of the program, and how often it holds the values of a chunk; together they meet what a full build took."""
CALIBRATION_SECONDS = 3e-6
"""Of one core, a weight, with some 8,000 tokens: projected from two small models."""
INT8_COPIES = 1.5
"""Memory that bitsandbytes' conversion takes, in sizes of the checkpoint."""
_NO_DIGEST = "0" * 64


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is expected of a recipe's artifact: its sizes, as `iwsltpack inspect` will tell them.

    And the time to build it on this machine, and bytes of memory that takes. `guessed` are weights that a calibration
    is still to round, at `DEFAULT_BITS` for the time being; the rest is no guess. `work` are the bytes on disk that it
    takes for that beside the artifact.
    """

    recipe: Recipe
    coding: str
    sizes: Sizes
    seconds: float
    memory: int
    guessed: int
    work: int

    def bits_for(self, size: int) -> float | None:
        """Return the bits a calibrated weight that make the artifact so large; None where nothing is calibrated."""
        if not self.guessed:
            return None
        return DEFAULT_BITS + 8 * (size - self.sizes.total_bytes) / self.guessed

    def fits(self, size: int) -> bool:
        """Tell whether the artifact will be no larger, if need be with a larger step than by default."""
        return self.sizes.total_bytes <= size or (self.bits_for(size) or 0) >= LEAST_BITS


def step_for(bits: float) -> float:
    """Return about the step of a calibration that takes so many bits a weight."""
    return DEFAULT_STEP * math.exp2(DEFAULT_BITS - bits)


def estimate(
    source: Path,
    recipes: Sequence[Recipe],
    coding_name: str | None = None,
    *,
    format_version: int = DEFAULT_VERSION,
    matrices: Path | None = None,
    progress: Reporter = SILENT,
) -> list[Estimate]:
    """Estimate the artifacts of a checkpoint folder, one a recipe; all is as for a build.

    `matrices` are for recipes that want them. What a build would be refused for before a tensor is packed is refused.
    """
    memory.keep_freed_blocks()
    requests = [
        BuildRequest(source, source, recipe, coding_name, format_version=format_version) for recipe in recipes
    ]
    codings = [request.coding for request in requests]
    checkpoint = open_checkpoint(source)
    # What is read here may stay in the cache: it is little, and wanted again by the next estimate.
    cached = {name: replace(tensor, past_cache=False) for name, tensor in checkpoint.tensors.items()}
    checkpoint = replace(checkpoint, tensors=cached)
    files = {} if matrices is None else find_matrices(matrices)
    planned = [_plan(checkpoint, request, files if request.recipe.calibrated else {}) for request in requests]
    plans: dict[Hashable, tuple[TensorPlan, Coding]] = {}
    for each, coding in zip(planned, codings, strict=True):
        check_storable(each.plans, coding)
        plans |= {_key(plan, coding): (plan, coding) for plan in each.plans}
    found: dict[Hashable, _Packed] = {}
    share = -(-sum(tensor.count for tensor in checkpoint.tensors.values()) // BUDGET)
    progress.start("sampling", len(plans))

    def work(item: tuple[Hashable, tuple[TensorPlan, Coding]]) -> None:
        key, (plan, coding) = item
        found[key] = as_narrow_as_can_be(plan.entry, lambda entry: _pack(plan, entry, coding, share))
        progress.advance()

    ordered = sorted(plans.items(), key=lambda item: -item[1][0].source.nbytes)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for_each(pool, work, ordered)
    progress.finish()
    return [
        _sum_up(each, [found[_key(plan, coding)] for plan in each.plans], checkpoint)
        for each, coding in zip(planned, codings, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class _Planned:
    """A build, what becomes of each tensor, and those whose codes are not known before a calibration."""

    request: BuildRequest
    plans: list[TensorPlan]
    guessed: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class _Packed:
    """A tensor as the manifest will describe it, its files, and the processor time that packing a value took."""

    entry: Tensor
    files: list[File]
    seconds: float


def _plan(checkpoint: Checkpoint, request: BuildRequest, matrices: dict[str, Path]) -> _Planned:
    recipe = request.recipe
    if recipe.engine != "codec":
        checkpoint = converted(checkpoint)
    guessed: frozenset[str] = frozenset()
    if not matrices and recipe.calibrated:
        guessed = frozenset(name for name, rule in rules_of(checkpoint, recipe).items() if rule.calibrated)
        lossless = [
            LayerRule(pattern=rule.pattern, bits=None, quantizer="rounding") if rule.calibrated else rule
            for rule in recipe.layers
        ]
        recipe = replace(recipe, layers=tuple(lossless))
    plans = plan_tensors(checkpoint, recipe, matrices, sampled=True)
    return _Planned(request=request, plans=plans, guessed=guessed)


def _key(plan: TensorPlan, coding: Coding) -> Hashable:
    """Tell apart what has to be packed apart: many recipes do the same to most tensors."""
    quantizer = () if plan.quantizer is None else tuple(sorted(plan.quantizer.described().items()))
    return (
        coding.name,
        plan.source.name,
        plan.source.dtype,
        plan.shape,
        quantizer,
        plan.matrix,
        plan.vocabulary,
    )


def _pack(plan: TensorPlan, entry: Tensor, coding: Coding, share: int) -> _Packed:
    """Pack a tensor, or a sample of it: one value of `share`."""
    array, chain, quantizer, classes = entry.array, coding.chain(entry), plan.quantizer, None
    wanted = max(chain.sample * (OF_CLASSES if entry.classes else 1), entry.values // share)
    whole = entry.values <= 2 * wanted
    blocks = [(start, plan.read(start, stop)) for start, stop in plan.blocks()] if whole else []
    if not whole:
        rows, block = _sample(plan, wanted)
        if quantizer is not None and quantizer.scales is not None:
            height, scales = plan.shape[0], quantizer.scales
            quantizer = Scaled(quantizer.step, scales[:height][rows], scales[height:])
        else:
            block = block.reshape(-1)[: block.size // chain.sample * chain.sample]
        blocks = [(0, block)]
    count = math.prod(array.chunk) if whole else blocks[0][1].size
    if quantizer is not None and entry.classes is not None:
        shape = entry.matrix_shape if whole else blocks[0][1].shape
        classes = Classes.of_blocks((block for _, block in blocks), shape, math.prod(array.chunk))
    packer = ChunkPacker(chain, count, quantizer, classes)
    sizes, begun = [], time.thread_time()
    for first, block in blocks:
        packed = packer.pack(block, first)
        # As a build does, for the time it takes.
        fileio.sha256_bytes(packed.data)
        packed.matches(memoryview(packed.data))
        sizes.append(len(packed.data))
    seconds = (time.thread_time() - begun) / max(sum(block.size for _, block in blocks), 1)
    if not whole:
        sizes = [round(sizes[0] / count * entry.values / len(array.starts))] * len(array.starts)
    sealed = coding.format_version > 1
    files = [_file(array.path(start), size, sealed) for start, size in zip(array.starts, sizes, strict=True)]
    metadata = zarr_metadata.array_metadata(array, chain, zarr_metadata.attributes(entry, chain, quantizer))
    files.append(_file(array.metadata, len(metadata)))
    if plan.quantizer is not None and classes is not None:
        group = fileio.canonical_json(zarr_metadata.tensor_group(entry))
        files.append(_file(group_metadata(entry.name), len(group)))
        for side, metadata, packed in side_arrays(entry, plan.quantizer, classes, coding):
            # A sample has fewer classes than there will be.
            size = round(len(packed.data) * side.shape[0] / packed.count)
            files.append(_file(side.path(0), size, sealed))
            files.append(_file(side.metadata, len(metadata)))
    return _Packed(entry=packer.described(entry, files), files=files, seconds=seconds)


def _sample(plan: TensorPlan, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows, spread over the tensor, and their values: `wanted` or more, dropped tokens in their proportion."""
    kept = np.arange(plan.shape[0])
    if plan.vocabulary is not None:
        kept = np.delete(kept, dropped_rows(plan.vocabulary))
    size = min(-(-wanted // (math.prod(plan.shape[1:]) * PIECES)), len(kept))
    source = plan.kept.units if plan.kept is not None and plan.kept.axis == 0 else kept
    starts = np.minimum(np.searchsorted(source, sample_places(plan.source.shape[0])), len(kept) - size)
    pieces = [kept[start : start + size] for start in np.unique(starts)]
    blocks = [plan.read(rows[0], rows[-1] + 1)[rows - rows[0]] for rows in pieces]
    rows, values = np.concatenate(pieces), np.concatenate(blocks)
    gone = round(len(rows) * (plan.shape[0] / len(kept) - 1))
    between = np.linspace(0, len(rows), gone, dtype=int)
    return np.insert(rows, between, 0), np.insert(values, between, 0, axis=0)


def _file(path: str, size: int, sealed: bool = False) -> File:
    return File(path=path, bytes=size, sha256=_NO_DIGEST, crc32c=_NO_DIGEST[:8] if sealed else None)


def _sum_up(each: _Planned, packed: list[_Packed], checkpoint: Checkpoint) -> Estimate:
    """Put the manifest together, and measure it as `iwsltpack inspect` does."""
    side = side_files.collect(checkpoint.folder)
    vocabulary = adapt_side_files(side, each.plans)
    entries = [from_origin(item.entry, checkpoint) for item in packed]
    for place, entry in enumerate(entries):
        if entry.name in each.guessed:
            size = round(DEFAULT_BITS * entry.values / 8)
            entries[place] = replace(entry, component="selected", bytes=size)
    with tempfile.TemporaryDirectory() as folder:
        zarr_metadata.create_group(Path(folder), each.request.format_version)
        group = _file(GROUP_METADATA, (Path(folder) / GROUP_METADATA).stat().st_size)
    files = [*describe_side_files(side), group]
    files += [file for item in packed for file in item.files]
    manifest = replace(
        draft_manifest(each.request, checkpoint),
        vocabulary=vocabulary,
        tensors=tuple(entries),
        files=tuple(files),
        sha256=_NO_DIGEST,
    )
    own = len(fileio.canonical_json(Part.to_json(manifest)))
    beside = sum(file.bytes for file in files[: len(side) + 1])
    sizes = sizes_of(manifest, own + beside + sum(entry.bytes for entry in entries))
    guessed = sum(entry.values for entry in entries if entry.name in each.guessed)
    return Estimate(
        recipe=each.request.recipe,
        coding=each.request.coding.name,
        sizes=sizes,
        seconds=_seconds(each, packed, sizes),
        memory=_memory(each, packed, sizes),
        guessed=guessed,
        work=calibration_bytes(checkpoint, each.request.recipe) if guessed else 0,
    )


def _seconds(each: _Planned, packed: list[_Packed], sizes: Sizes) -> float:
    """Return how long a build takes: packing, at the usual rate of each kind of tensor, or the disk if it is slower."""
    kinds: dict[Hashable, list[_Packed]] = {}
    for item in packed:
        kinds.setdefault((item.entry.dtype, item.entry.bits, item.entry.quantizer), []).append(item)
    busy = 0.0
    for kind in kinds.values():
        # Of a small tensor, most of the time is not that of its values.
        rates = [item.seconds for item in kind if item.entry.values >= Chain.sample] or [0.0]
        busy += median(rates) * sum(item.entry.values for item in kind)
    if each.guessed:
        busy += CALIBRATION_SECONDS * sizes.source_parameters
    return max(busy / (os.cpu_count() or 1), (sizes.source_bytes + sizes.total_bytes) / DISK_RATE)


def _memory(each: _Planned, packed: list[_Packed], sizes: Sizes) -> int:
    workers = (os.cpu_count() or 1) + SPARE_WORKERS
    taken = BASE_MEMORY + COPIES * workers * max(
        math.prod(item.entry.array.chunk) * ITEM_BYTES[item.entry.dtype] for item in packed
    )
    if each.guessed:
        taken += 4 * sizes.source_parameters
    return taken if each.request.recipe.engine == "codec" else taken + round(INT8_COPIES * sizes.source_bytes)
