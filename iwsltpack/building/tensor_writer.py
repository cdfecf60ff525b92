"""One tensor, chunk by chunk: read, pack, write, read back, compare bit by bit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from iwsltpack.artifact import zarr_metadata
from iwsltpack.building.chunk_packer import ChunkPacker, PackedChunk
from iwsltpack.codecs.codes import TooWide
from iwsltpack.documents.artifact import File, Tensor
from iwsltpack.documents.names import WEIGHTS_DIR
from iwsltpack.errors import ArtifactError, InputError
from iwsltpack.system import direct_io, fileio
from iwsltpack.system.fileio import disk_errors

if TYPE_CHECKING:
    from pathlib import Path
    from threading import Event

    from iwsltpack.building.plan import TensorPlan
    from iwsltpack.codecs.chain import Chain, Coding
    from iwsltpack.system.progress import Reporter


class Stopped(Exception):
    """The build was stopped while this tensor was being written."""


def write_tensor(
    folder: Path,
    plan: TensorPlan,
    coding: Coding,
    progress: Reporter,
    stop: Event,
) -> tuple[Tensor, list[File]]:
    """Write one tensor into the artifact under construction in `folder`, and describe it.

    Every chunk is read back from its file and compared bit by bit with what was to be stored; see `ChunkPacker`.
    `stop` is looked at before each. In the end all files are durable; their folders are not yet.

    Raises
    ------
    InputError
        The source ends early, or a weight to be rounded is not finite or too large; tensor and index are told.
    ArtifactError
        What was read back is not what was to be written.
    ResourceError
        The disk is full.
    """
    if plan.bits is None:
        return _write(folder, plan, coding.lossless(plan.source.dtype), False, progress, stop)
    try:
        return _write(folder, plan, coding.rounded(plan.bits, wide=False), False, progress, stop)
    except TooWide:
        return _write(folder, plan, coding.rounded(plan.bits, wide=True), True, progress, stop)


def _write(
    folder: Path, plan: TensorPlan, chain: Chain, wide: bool, progress: Reporter, stop: Event
) -> tuple[Tensor, list[File]]:
    array, quantizer = plan.array, plan.quantizer
    dtype = plan.source.dtype.name if quantizer is None else "float16"
    attributes = {"torch_dtype": dtype, **(chain.scaling(quantizer.step) if quantizer else chain.marks)}
    metadata = zarr_metadata.create_array(folder, array, chain, attributes)
    packer = ChunkPacker(chain, math.prod(array.chunk), quantizer)
    files = [_describe(array.metadata, metadata)]
    done = 0
    try:
        for start, end in plan.blocks():
            if stop.is_set():
                raise Stopped
            block = plan.read(start, end)
            try:
                packed = packer.pack(block, start)
            except InputError as error:
                _locate(error, plan, start)
                raise
            path = array.path(start)
            raw = _put_and_compare(folder / path, packed, past_cache=plan.source.past_cache)
            files.append(_describe(path, raw))
            progress.advance(block.nbytes)
            done += block.nbytes
    except TooWide:
        progress.advance(-done)
        raise
    with disk_errors(folder / WEIGHTS_DIR / array.name):
        for file in files:
            fileio.fsync_file(folder / file.path)
    return Tensor(
        name=array.name,
        shape=plan.shape,
        dtype=dtype,
        source_shape=plan.source.shape,
        source_dtype=plan.source.dtype.name,
        component=plan.component,
        linear=plan.linear,
        bits=plan.bits,
        wide=wide,
        entropy_bits=None if quantizer is None else packer.counts.entropy(),
        chunk_rows=array.chunk_rows,
        bytes=sum(file.bytes for file in files),
    ), files


def _put_and_compare(path: Path, packed: PackedChunk, *, past_cache: bool) -> memoryview:
    """Write a chunk, read it back from its file, compare; return the bytes read."""
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
    return raw


def _locate(error: InputError, plan: TensorPlan, start: int) -> None:
    """Turn the flat index in a block into an index of the tensor."""
    index = np.unravel_index(int(error.where or 0), plan.shape or (1,))
    place = [int(index[0]) + start, *(int(axis) for axis in index[1:])]
    error.where = f"{plan.source.name}{place}{' after pruning' if plan.kept else ''}"


def _describe(path: str, data: bytes | memoryview) -> File:
    return File(path=path, bytes=len(data), sha256=fileio.sha256_bytes(data))
