"""Read tensors back from an artifact, whole or by rows, from any number of threads."""

import math
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

import numpy as np

from iwsltpack.artifact import zarr_metadata
from iwsltpack.artifact.location import Located, Place, hub_address, is_address, locate
from iwsltpack.codecs.chain import Chain, Coding
from iwsltpack.codecs.classes import Classes
from iwsltpack.codecs.codes import signed
from iwsltpack.codecs.dtypes import BY_NAME, DType, by_name
from iwsltpack.codecs.registry import coding_in
from iwsltpack.documents.artifact import SIDE_DTYPES, ArtifactManifest, Tensor
from iwsltpack.documents.kinds import ITEM_BYTES
from iwsltpack.documents.layout import ArrayLayout, group_metadata
from iwsltpack.documents.names import MANIFEST_NAME, MODEL_DIR
from iwsltpack.errors import ArtifactError, IwsltpackError, UsageError
from iwsltpack.quantizers.quantizer import Quantizer
from iwsltpack.quantizers.registry import quantizer_of
from iwsltpack.system import direct_io, fileio, memory

SPARE_READERS = 4
"""Readers beyond one a core: they decode while the others wait for the disk."""
AHEAD_BYTES = 256 << 20
"""Tensors beyond the one in use that are decoded ahead, all together about this much."""
_TURNS = BoundedSemaphore((os.cpu_count() or 1) + 1)
"""Chunks put in order at once, in hundreds of short steps: more threads only fight for the interpreter's lock."""


@dataclass(frozen=True, eq=False)
class _Stored:
    """How one tensor is stored, as its entry and the arrays beside its codes say."""

    chain: Chain
    quantizer: Quantizer | None
    classes: Classes | None

    def codes(self, raw: memoryview, count: int, size: int, first: int) -> np.ndarray:
        """Return the first `size` codes of the chunk that begins at row `first`, in their places."""
        if self.classes is None:
            return self.chain.codes(raw, count, size)
        blocks = [block for _, block in self._blocks(self.classes, raw, count, first)]
        return np.concatenate(blocks).reshape(-1)[:size]

    def decode_into(self, raw: memoryview, count: int, out: np.ndarray, first: int) -> None:
        """Fill `out`, flat, with the first weights of the chunk that begins at row `first`."""
        if self.quantizer is None:
            self.chain.decode_into(raw, count, out)
        elif self.classes is None:
            self.quantizer.weights(self.chain.codes(raw, count, out.size), first, out)
        else:
            with _TURNS:
                for start, block in self._blocks(self.classes, raw, count, first):
                    target = out[start * block.shape[1] :][: block.size]
                    self.quantizer.weights(block.reshape(-1)[: target.size], first + start, target)

    def _blocks(
        self, classes: Classes, raw: memoryview, count: int, first: int
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the codes of a chunk of a matrix, some rows at a time; see `Order.unlay`."""
        order = classes.order(first, first + count // len(classes.columns))
        return order.unlay(signed(self.chain.codes(raw, count, sum(order.sizes))))


class Artifact:
    """An artifact open for reading, in a folder or elsewhere; what lies elsewhere is fetched when it is needed.

    `path` is its folder or, of a remote one, the folder of the cache that mirrors it and may lack files.
    """

    def __init__(self, located: Located) -> None:
        self.path, self.manifest = located.path, located.manifest
        self._located, self._coding = located, coding_of(self.manifest, self.path)
        self._entries = {tensor.name: tensor for tensor in self.manifest.tensors}
        self._files = {file.path: file for file in self.manifest.files}
        self._known: dict[str, _Stored] = {}
        memory.keep_freed_blocks()

    @cached_property
    def _past_cache(self) -> bool:
        """Whether chunks and the tensors made of them are too much for the page cache, by the manifest."""
        stored = sum(file.bytes for file in self.manifest.files)
        decoded = sum(tensor.values * ITEM_BYTES[tensor.dtype] for tensor in self.manifest.tensors)
        return direct_io.exceeds_cache(stored + decoded)

    @cached_property
    def model_dir(self) -> Path:
        """Folder of the configuration, tokenizer and processor files, all held against their checksums."""
        paths = [path for path in self._files if path.startswith(f"{MODEL_DIR}/")]
        self._need(paths)
        for path in paths:
            self.side_file(path.removeprefix(f"{MODEL_DIR}/"))
        return self.path / MODEL_DIR

    @property
    def total_bytes(self) -> int:
        """Size of the whole artifact, every file counted."""
        return self._located.total_bytes

    def names(self) -> list[str]:
        """Return the checkpoint names of all tensors, sorted."""
        return sorted(self._entries)

    def entry(self, name: str) -> Tensor:
        """Return the manifest's entry of one tensor; an unknown name is an `ArtifactError`."""
        if name not in self._entries:
            raise ArtifactError("no such tensor in the artifact", where=f"{self.path}: {name}")
        return self._entries[name]

    def side_file(self, name: str) -> bytes | None:
        """Return one file of `model_dir` if the artifact has it; another than the manifest's is an `ArtifactError`."""
        file = self._files.get(f"{MODEL_DIR}/{name}")
        if file is None:
            return None
        self._need([file.path])
        data = fileio.read_bytes(self.path / file.path, limit=file.bytes)
        if fileio.sha256_bytes(data) != file.sha256:
            raise ArtifactError("a file is damaged", where=self.path / file.path, fix=self._verify())
        return data

    def expect(self, names: Iterable[str]) -> None:
        """Tell which tensors will be read soon, in this order; a remote artifact's are fetched meanwhile."""
        if self._located.mirror is None:
            return
        self._located.mirror.expect(path for name in names for path in self.entry(name).paths())

    def tensor(self, name: str) -> np.ndarray:
        """Return a whole tensor, of the entry's shape and dtype; bfloat16 and 8-bit floats as integers of their bits.

        An unknown name, a missing or damaged chunk, or an array that is not what the manifest promises is an
        `ArtifactError`.
        """
        entry = self.entry(name)
        result, starts = self._whole(entry)
        for start in starts:
            self._fill(entry, start, result)
        return result

    def tensors(self, names: Iterable[str], *, workers: int = 0) -> Iterator[tuple[str, np.ndarray]]:
        """Yield whole tensors by name, in this order; while one is being used, the next are decoded. See `tensor`.

        They are decoded in so many threads; 0 stands for a few more than cores.
        """
        todo, ahead = iter(names), 0
        begun: deque[tuple[str, np.ndarray, list[Future[None]]]] = deque()
        with ThreadPoolExecutor(workers or (os.cpu_count() or 1) + SPARE_READERS) as pool:
            try:
                while True:
                    while (not begun or ahead < AHEAD_BYTES) and (name := next(todo, None)) is not None:
                        entry = self.entry(name)
                        result, starts = self._whole(entry)
                        chunks = [pool.submit(self._fill, entry, start, result) for start in starts]
                        begun.append((name, result, chunks))
                        ahead += result.nbytes
                    if not begun:
                        return
                    name, result, chunks = begun.popleft()
                    for chunk in chunks:
                        chunk.result()
                    ahead -= result.nbytes
                    yield name, result
            finally:
                pool.shutdown(cancel_futures=True)

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return rows `start` to `stop` of the first axis; see `tensor`."""
        entry = self.entry(name)
        chunks = self._span(entry, start, stop)
        result = np.empty((stop - start, *entry.shape[1:]), dtype=by_name(entry.dtype, name).carrier)
        for first in chunks:
            self._fill(entry, first, result, start)
        return result

    def codes(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return the integer codes of rows `start` to `stop` of a rounded tensor: int16, or int32 if need be.

        What they are multiplied by, `quantizer` tells. A tensor that is not rounded, or holds a value that no code
        stands for, is an `ArtifactError`; for others see `tensor`.
        """
        entry = self.entry(name)
        stored = self._stored(entry)
        if (quantizer := stored.quantizer) is None:
            raise ArtifactError("the tensor is not rounded: it has no codes", where=f"{self.path}: {name}")
        blocks = []
        for first in self._span(entry, start, stop):
            rows = min(entry.chunk_rows, entry.shape[0] - first)
            size = rows * math.prod(entry.shape[1:])
            with self._opened(stored.chain, entry.array, first) as (raw, count):
                found = quantizer.integers(stored.codes(raw, count, size, first))
            blocks.append(found.reshape(rows, *entry.shape[1:])[max(start - first, 0) : stop - first])
        if len(blocks) == 1:
            return blocks[0]
        none = np.empty((0, *entry.shape[1:]), dtype=np.int32 if entry.wide else np.int16)
        return np.concatenate(blocks or [none])

    def packed(self, name: str) -> np.ndarray:
        """Return a tensor's stored bytes, every file that its values are made of in order; uint8, shape (n,)."""
        entry = self.entry(name)
        self._need(entry.paths())
        chunks = (self.path / path for path in entry.paths() if not path.endswith(".json"))
        parts = [np.frombuffer(self._read(path), np.uint8) for path in chunks]
        return np.concatenate(parts) if parts else np.empty(0, np.uint8)

    def quantizer(self, name: str) -> Quantizer | None:
        """Return what makes weights of a tensor's codes; None for one that is not rounded. See `tensor`."""
        return self._stored(self.entry(name)).quantizer

    def _whole(self, entry: Tensor) -> tuple[np.ndarray, range]:
        """Return room for a tensor, and the first rows of all its chunks, once they are here."""
        self._need(entry.paths())
        return np.empty(entry.shape, dtype=by_name(entry.dtype, entry.name).carrier), entry.array.starts

    def _span(self, entry: Tensor, start: int, stop: int) -> range:
        """Return the first rows of the chunks that hold rows `start` to `stop`, once they are here."""
        if not entry.shape or not 0 <= start <= stop <= entry.shape[0]:
            raise ArtifactError(
                "no such rows", where=entry.name, expected=f"within {entry.shape}", got=f"{start}:{stop}"
            )
        rows = entry.chunk_rows
        if start == stop or 0 in entry.shape:
            return range(0)
        chunks = range(start // rows * rows, stop, rows)
        self._need(entry.paths(chunks))
        return chunks

    def _fill(self, entry: Tensor, first: int, result: np.ndarray, offset: int = 0) -> None:
        """Decode the chunk that begins at row `first` into `result`, which begins at row `offset`."""
        if not entry.shape:
            result = result.reshape(1)
        begin, end = max(first, offset), min(first + max(entry.chunk_rows, 1), offset + len(result))
        target = result[begin - offset : end - offset]
        # Of a chunk that begins before the result, the rows in front are decoded, too.
        whole = target if begin == first else np.empty((end - first, *entry.shape[1:]), result.dtype)
        stored = self._stored(entry)
        with self._opened(stored.chain, entry.array, first) as (raw, count):
            stored.decode_into(raw, count, whole.reshape(-1), first)
        if whole is not target:
            target[:] = whole[begin - first :]

    @contextmanager
    def _opened(self, chain: Chain, array: ArrayLayout, first: int) -> Iterator[tuple[memoryview, int]]:
        """Give a chunk's bytes and number of values; what goes wrong inside is told of the chunk's file."""
        path = self.path / array.path(first)
        raw = self._read(path)
        try:
            yield chain.checked(raw), math.prod(array.chunk)
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(
                "a chunk cannot be decoded", where=path, got=str(error), fix=self._verify()
            ) from error

    def _read(self, path: Path) -> memoryview:
        """Read a chunk, held against its checksum: nothing else would stop a damaged one from being other weights.

        A checksum inside a chunk tells that it is whole, not that it is this one.
        """
        file = self._files[path.relative_to(self.path).as_posix()]
        there = path.stat().st_size if path.is_file() else None
        if there != file.bytes:
            raise ArtifactError(
                "a chunk of a tensor is missing or cut",
                where=path,
                expected=f"{file.bytes} bytes",
                got="no such file" if there is None else f"{there} bytes",
                fix=self._verify(),
            )
        try:
            raw = direct_io.read(path, 0, file.bytes, past_cache=self._past_cache)
        except OSError as error:
            raise ArtifactError(
                "a chunk of a tensor cannot be read", where=path, got=error.strerror or str(error)
            ) from error
        if file.crc32c is not None:
            kind, wanted, found = "CRC-32C", file.crc32c, fileio.crc32c(raw)
        else:
            kind, wanted, found = "SHA-256", file.sha256, fileio.sha256_bytes(raw)
        if found != wanted:
            raise ArtifactError(
                "a chunk of a tensor is damaged",
                where=path,
                expected=f"{kind} {wanted}",
                got=f"{kind} {found}",
                fix=self._verify(),
            )
        return raw

    def _stored(self, entry: Tensor) -> _Stored:
        """Return how a tensor is stored, once the metadata of its arrays are seen to say the same."""
        if (known := self._known.get(entry.name)) is not None:
            return known
        self._need(entry.paths(range(0)))
        chain, scales, classes = self._coding.chain(entry), None, None
        zarr_metadata.check_array(self.path, entry.array, chain)
        if entry.classes is not None:
            zarr_metadata.check(self.path / group_metadata(entry.name), zarr_metadata.tensor_group(entry))
            scales, found = (
                self._side(array, BY_NAME[dtype])
                for array, dtype in zip(entry.side_arrays, SIDE_DTYPES.values(), strict=True)
            )
            classes = Classes(found[: entry.shape[0]], found[entry.shape[0] :], entry.classes)
        self._known[entry.name] = _Stored(chain, quantizer_of(entry, scales), classes)
        return self._known[entry.name]

    def _side(self, array: ArrayLayout, dtype: DType) -> np.ndarray:
        """Return an array beside a tensor's codes."""
        chain, out = self._coding.lossless(dtype), np.empty(array.shape, dtype.carrier)
        zarr_metadata.check_array(self.path, array, chain)
        with self._opened(chain, array, 0) as (raw, count):
            chain.decode_into(raw, count, out)
        return out

    def _need(self, paths: Iterable[str]) -> None:
        """Have files here before they are read; of an artifact in a folder all of them are."""
        if self._located.mirror is not None:
            self._located.mirror.need(paths)

    def _verify(self) -> str:
        return f"iwsltpack verify {self._located.shown}"


def open_artifact(where: Place) -> Artifact:
    """Open an artifact; see `locate` for what is raised. Only the manifest is read."""
    return Artifact(locate(where))


def open_by_name(where: Place) -> Artifact:
    """Open an artifact that may also be named by its hub id, ``OWNER/NAME[@REVISION]``; see `hub_address`."""
    place = hub_address(where)
    try:
        return open_artifact(place)
    except IwsltpackError as error:
        if place != where:  # a path that was mistyped looks just like a hub id
            error.expected = f"a folder {where}, and there is none here; or a model of this name on the hub"
        raise


def open_if_artifact(name: object, **fetching: Any) -> Artifact | None:
    """Open what other programs name as they name a checkpoint; None for whatever is no artifact.

    It may be a folder, an address or a hub id; `fetching` are transformers' options for finding one: `revision`,
    `token`, `cache_dir`, `local_files_only`.
    """
    if not isinstance(name, (str, Path)) or not str(name):
        return None
    if (Path(name) / MANIFEST_NAME).is_file() or is_address(name):
        return open_artifact(name)
    if Path(name).exists() or str(name).count("/") != 1:
        return None
    from transformers.utils.hub import cached_file

    found = cached_file(
        str(name),
        MANIFEST_NAME,
        **fetching,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    revision = fetching.get("revision")
    return None if found is None else open_by_name(f"{name}@{revision}" if revision else str(name))


def coding_of(manifest: ArtifactManifest, where: object) -> Coding:
    """Return the coding that packed an artifact; one that this program lacks is an `ArtifactError`."""
    try:
        return coding_in(manifest.format_version, manifest.coding)
    except UsageError as error:
        raise ArtifactError(
            "packed with a coding this program does not know",
            where=where,
            expected=error.expected,
            got=manifest.coding,
            fix="install a newer iwsltpack",
        ) from error
