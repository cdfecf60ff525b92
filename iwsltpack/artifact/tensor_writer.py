"""One tensor, chunk by chunk: round, pack, write, read back, compare bit by bit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from iwsltpack import directio, fileio
from iwsltpack.artifact import store
from iwsltpack.artifact.code_counts import CodeCounts
from iwsltpack.codecs.chains import pack_codes, unpack
from iwsltpack.codecs.decoding import decode_chunk
from iwsltpack.codecs.encoding import encode_chunk
from iwsltpack.codecs.rounding import Rounder
from iwsltpack.errors import ArtifactError, InputError
from iwsltpack.fileio import disk_errors
from iwsltpack.format.artifact import File, Tensor
from iwsltpack.format.layout import chunk_key, chunk_shape, metadata_path
from iwsltpack.format.names import WEIGHTS_DIR

if TYPE_CHECKING:
    from pathlib import Path
    from threading import Event

    import zarr

    from iwsltpack.artifact.plan import TensorPlan
    from iwsltpack.codecs.chains import Chain, Coding
    from iwsltpack.progress import Progress


class Stopped(Exception):
    """The build was stopped while this tensor was being written."""


class _TooWide(Exception):
    """A code does not fit 16 bits: the tensor is written again with 32."""


def write_tensor(
    group: zarr.Group,
    folder: Path,
    plan: TensorPlan,
    coding: Coding,
    progress: Progress,
    stop: Event,
) -> tuple[Tensor, list[File]]:
    """Write one tensor into `group`, which lies under `folder`, and describe it.

    Every chunk is read back from its file and compared bit by bit with the reference, which for rounded tensors is
    numcodecs' own result: with its values, or with the codes that were held against them pattern by pattern.
    `stop` is looked at before each.

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
        return _write(group, folder, plan, coding.lossless(plan.source.dtype), progress, stop)
    try:
        return _write(group, folder, plan, coding.rounded(plan.bits, wide=False), progress, stop)
    except _TooWide:
        return _write(group, folder, plan, coding.rounded(plan.bits, wide=True), progress, stop)


def _write(
    group: zarr.Group, folder: Path, plan: TensorPlan, chain: Chain, progress: Progress, stop: Event
) -> tuple[Tensor, list[File]]:
    name, counts = plan.source.name, CodeCounts()
    rounder = None if plan.bits is None else Rounder(plan.bits, plan.source.dtype.name)
    dtype = plan.source.dtype.name if rounder is None else "float16"
    attributes: dict[str, Any] = {"torch_dtype": dtype, **chain.attributes(plan.bits)}
    store.create_array(group, name, plan.shape, plan.chunk_rows, chain, attributes)
    files = [_describe(folder, metadata_path(name))]
    done = 0
    try:
        for start, end in plan.blocks():
            if stop.is_set():
                raise Stopped
            block = plan.read(start, end)
            stored, values = block, None
            if rounder is not None:
                stored = _round(rounder, chain, block, plan, start, counts)
                values = None if _codes_suffice(rounder, chain) else rounder.values(block)
            key = f"{WEIGHTS_DIR}/{chunk_key(name, plan.shape, start, plan.chunk_rows)}"
            raw = _put_and_compare(folder / key, stored, values, chain, plan)
            files.append(File(path=key, bytes=len(raw), sha256=fileio.sha256_bytes(raw)))
            progress.advance(block.nbytes)
            done += block.nbytes
    except _TooWide:
        progress.advance(-done)
        raise
    return Tensor(
        name=name,
        shape=plan.shape,
        dtype=dtype,
        source_shape=plan.source.shape,
        source_dtype=plan.source.dtype.name,
        component=plan.component,
        linear=plan.linear,
        bits=plan.bits,
        wide=chain.wide,
        entropy_bits=None if rounder is None else counts.entropy(),
        chunk_rows=plan.chunk_rows,
        bytes=sum(file.bytes for file in files),
    ), files


def _round(
    rounder: Rounder, chain: Chain, block: np.ndarray, plan: TensorPlan, start: int, counts: CodeCounts
) -> np.ndarray:
    """Return what a chunk of `chain` holds of `block`; count its codes."""
    codes: np.ndarray | None = None if chain.wide else rounder.codes16(block)
    if codes is None:
        try:
            codes = rounder.codes32(block)
        except InputError as error:
            raise _locate(error, plan, start) from error
        if chain.holds_codes and not chain.wide:
            raise _TooWide
    counts.add(codes)
    return pack_codes(chain, codes) if chain.holds_codes else rounder.signed_values(block)


def _codes_suffice(rounder: Rounder, chain: Chain) -> bool:
    """Tell whether equal codes in a chunk mean equal weights, because each code was held against its weight before."""
    return rounder.exact_codes and chain.holds_codes and not chain.wide


def _put_and_compare(
    path: Path, stored: np.ndarray, values: np.ndarray | None, chain: Chain, plan: TensorPlan
) -> memoryview:
    """Write a chunk, read it back from its file, decode it, compare; return the bytes read.

    What is compared is the weights with `values`, or, where that is None, what the chunk holds with `stored`.
    """
    shape, past_cache = chunk_shape(plan.shape, plan.chunk_rows), plan.source.past_cache
    packed = encode_chunk(chain, stored, shape)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        directio.write(path, packed, past_cache=past_cache)
        raw = directio.read(path, 0, len(packed) + 1, past_cache=past_cache)
    decoded = decode_chunk(chain, raw, math.prod(shape)).reshape(shape)
    read, expected = decoded[: len(stored)] if plan.shape else decoded, stored
    if values is not None:
        read, expected = unpack(chain, plan.bits, read), values
    unsigned = np.dtype(f"u{expected.dtype.itemsize}")
    if read.dtype != expected.dtype or not np.array_equal(read.view(unsigned), expected.view(unsigned)):
        raise ArtifactError(
            "a chunk read back is not what was written",
            where=path,
            fix="check memory and disk of this machine, then run the same command again",
        )
    return raw


def _locate(error: InputError, plan: TensorPlan, start: int) -> InputError:
    """Turn the flat index in a block into an index of the tensor."""
    index = np.unravel_index(int(error.where or 0), plan.shape or (1,))
    place = [int(index[0]) + start, *(int(axis) for axis in index[1:])]
    after = " after pruning" if plan.kept else ""
    return InputError(
        error.what,
        where=f"{plan.source.name}{place}{after}",
        expected=error.expected,
        got=error.got,
        fix=error.fix,
    )


def _describe(folder: Path, path: str) -> File:
    full = folder / path
    return File(path=path, bytes=full.stat().st_size, sha256=fileio.sha256_file(full))
