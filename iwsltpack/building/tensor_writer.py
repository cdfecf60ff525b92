"""One tensor, chunk by chunk: read, pack, write, read back, compare bit by bit."""

import math
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np

from iwsltpack.artifact import zarr_metadata
from iwsltpack.building.chunk_packer import ChunkPacker, PackedChunk
from iwsltpack.building.plan import TensorPlan
from iwsltpack.codecs.chain import Coding
from iwsltpack.codecs.classes import Classes
from iwsltpack.codecs.codes import TooWide
from iwsltpack.codecs.dtypes import by_name
from iwsltpack.documents.artifact import SIDE_DTYPES, File, Tensor
from iwsltpack.documents.layout import ArrayLayout, group_metadata
from iwsltpack.documents.names import WEIGHTS_DIR
from iwsltpack.errors import ArtifactError, InputError, UsageError
from iwsltpack.quantizers.quantizer import Quantizer
from iwsltpack.system import direct_io, fileio
from iwsltpack.system.fileio import disk_errors
from iwsltpack.system.progress import Reporter
from iwsltpack.system.threads import for_each

LARGE = 1 << 20
"""Bytes of a chunk that is written past the page cache, and so compared with what the disk holds: its pages, which
nobody may ever read, take a third of a build's processor time (docs/measurements.md)."""


class Stopped(UsageError):
    """The build was stopped while this tensor was being written, or another took its folder away."""


def write_tensor(
    folder: Path,
    plan: TensorPlan,
    coding: Coding,
    progress: Reporter,
    stop: Event,
    pool: Executor | None = None,
    *,
    wide: bool = False,
) -> tuple[Tensor, list[File]]:
    """Write one tensor into the artifact under construction in `folder`, and describe it.

    Every chunk is read back from its file and compared bit by bit with what was to be stored; before each, `stop` is
    looked at, and whether `folder` is still there. Threads of `pool` pack the chunks, or this one. In the end all
    files are durable; their folders are not yet. Where a code is too wide, the tensor is packed again, by `wide` ones.

    InputError: the source ends early, or a weight to be rounded is not finite or too large; tensor and
    index are told. ArtifactError: what was read back is not what was to be written. ResourceError: the
    disk is full.
    """
    _go_on(stop, folder)
    entry, quantizer = replace(plan.entry, wide=wide), plan.quantizer
    array, chain = entry.array, coding.chain(entry)
    classes, files = None, []
    if quantizer is not None and entry.classes is not None:
        classes = Classes.of_blocks(
            (plan.read(*block) for block in plan.blocks()), entry.matrix_shape, math.prod(array.chunk)
        )
        group = fileio.canonical_json(zarr_metadata.tensor_group(entry))
        files.append(_create(folder, group_metadata(entry.name), group))
        for side, metadata, packed in side_arrays(entry, quantizer, classes, coding):
            files.append(_create(folder, side.metadata, metadata))
            files.append(_put(folder, side.path(0), packed, coding))
    packer = ChunkPacker(chain, math.prod(array.chunk), quantizer, classes)
    done: list[int] = []

    def put(rows: tuple[int, int]) -> File:
        _go_on(stop, folder)
        block = plan.read(*rows)
        try:
            packed = packer.pack(block, rows[0])
        except InputError as error:
            # From the flat index in the block to that in the tensor.
            row, *place = map(int, np.unravel_index(int(error.where or 0), plan.shape or (1,)))
            where = f"{plan.source.name}{[row + rows[0], *place]}"
            error.where = f"{where}{' after pruning' if plan.kept else ''}"
            raise
        file = _put(folder, array.path(rows[0]), packed, coding)
        size = block.size * plan.source.dtype.carrier.itemsize
        done.append(size)
        progress.advance(size)
        return file

    def describe() -> None:
        metadata = zarr_metadata.array_metadata(
            array, chain, zarr_metadata.attributes(entry, chain, quantizer)
        )
        files.append(_create(folder, array.metadata, metadata))

    try:
        # Metadata is made beside the first chunks: zarr takes a third of a second to load.
        files += for_each(pool, put, plan.blocks(), meanwhile=describe)
    except TooWide:
        progress.advance(-sum(done))
        return write_tensor(folder, plan, coding, progress, stop, pool, wide=True)
    with disk_errors(folder / WEIGHTS_DIR / array.name):
        for file in files:
            fileio.fsync(folder / file.path)
    return packer.described(entry, files), files


def _go_on(stop: Event, folder: Path) -> None:
    if stop.is_set() or not folder.is_dir():
        raise Stopped("the build was stopped, or another build of this output took over", where=folder)


def side_arrays(
    entry: Tensor, quantizer: Quantizer, classes: Classes, coding: Coding
) -> Iterator[tuple[ArrayLayout, bytes, PackedChunk]]:
    """Yield what lies beside codes by class, scales and classes: array, metadata, and its one chunk."""
    sides = np.asarray(quantizer.scales), np.concatenate([classes.rows, classes.columns])
    for array, values, dtype in zip(entry.side_arrays, sides, SIDE_DTYPES.values(), strict=True):
        chain = coding.lossless(by_name(dtype, array.name))
        metadata = zarr_metadata.array_metadata(array, chain, chain.marks)
        yield array, metadata, ChunkPacker(chain, values.size, None).pack(values, 0)


def _put(folder: Path, name: str, packed: PackedChunk, coding: Coding) -> File:
    """Write a chunk, read it back from its file, compare; describe what was read."""
    path, past_cache = folder / name, len(packed.data) >= LARGE
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        direct_io.write(path, packed.data, past_cache=past_cache)
        raw = direct_io.read(path, 0, len(packed.data) + 1, past_cache=past_cache)
    try:
        same, why = packed.matches(raw), None
    except (RuntimeError, ValueError) as error:  # so damaged that it cannot be unpacked
        same, why = False, str(error)
    if not same:
        raise ArtifactError(
            "a chunk read back is not what was written",
            where=path,
            got=why,
            fix="check memory and disk of this machine, then run the same command again",
        )
    # A first-version manifest has no second checksum.
    return _describe(name, raw, fileio.crc32c(raw) if coding.format_version > 1 else None)


def _create(folder: Path, path: str, metadata: bytes) -> File:
    """Write the metadata of an array or a group."""
    with disk_errors(folder / path):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(metadata)
    return _describe(path, metadata)


def _describe(path: str, data: bytes | memoryview, crc32c: str | None = None) -> File:
    return File(path=path, bytes=len(data), sha256=fileio.sha256_bytes(data), crc32c=crc32c)
