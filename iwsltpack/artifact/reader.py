"""Read tensors back from an artifact, whole or by rows, from any number of threads."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from iwsltpack import directio, fileio, memory
from iwsltpack.artifact import store
from iwsltpack.artifact.location import hub_address, locate
from iwsltpack.codecs.chains import coding, integer_codes, unpack
from iwsltpack.codecs.decoding import decode_chunk
from iwsltpack.codecs.dtypes import by_name
from iwsltpack.errors import ArtifactError, IwsltpackError
from iwsltpack.format.layout import ITEM_BYTES, chunk_key, chunk_shape, chunk_starts, metadata_path
from iwsltpack.format.names import MODEL_DIR, WEIGHTS_DIR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from iwsltpack.artifact.location import Located, Place
    from iwsltpack.codecs.chains import Chain
    from iwsltpack.format.artifact import Tensor

SPARE_READERS = 2
"""Readers beyond one a core: they decode while the others wait for the disk."""


class Artifact:
    """An artifact open for reading, in a folder or elsewhere; what lies elsewhere is fetched when it is needed.

    Attributes
    ----------
    path
        Its folder; of a remote one, the folder of the cache that mirrors it and may lack files.
    manifest
        As read and checked.
    """

    def __init__(self, located: Located) -> None:
        self.path, self.manifest = located.path, located.manifest
        self._located = located
        self._entries = {tensor.name: tensor for tensor in self.manifest.tensors}
        self._files = {file.path: file for file in self.manifest.files}
        self._checked: set[str] = set()
        memory.keep_freed_blocks()

    @cached_property
    def _past_cache(self) -> bool:
        """Whether chunks and the tensors made of them are too much for the page cache, by the manifest."""
        stored = sum(file.bytes for file in self.manifest.files)
        decoded = sum(tensor.parameters * ITEM_BYTES[tensor.dtype] for tensor in self.manifest.tensors)
        return directio.exceeds_cache(stored + decoded)

    @property
    def model_dir(self) -> Path:
        """Folder of the configuration, tokenizer and processor files."""
        self._need(path for path in self._files if path.startswith(f"{MODEL_DIR}/"))
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

    def chain(self, name: str) -> Chain:
        """Return how one tensor is packed."""
        entry = self.entry(name)
        packing = coding(self.manifest.coding)
        if entry.bits is None:
            return packing.lossless(by_name(entry.dtype, name))
        return packing.rounded(entry.bits, wide=entry.wide)

    def side_file(self, name: str) -> bytes | None:
        """Return one file of `model_dir` as the manifest knows it, or None where the artifact has none.

        Raises
        ------
        ArtifactError
            The file is not the one the manifest describes.
        """
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
        entries = map(self.entry, names)
        self._located.mirror.expect(
            path
            for entry in entries
            for path in _chunk_files(entry, chunk_starts(entry.shape, entry.chunk_rows))
        )

    def tensor(self, name: str, *, workers: int = 1) -> np.ndarray:
        """Return a whole tensor.

        Parameters
        ----------
        name
            Checkpoint name.
        workers
            Threads that decode its chunks; 0 for a few more than cores.

        Returns
        -------
        ndarray
            Of the entry's shape and dtype; bfloat16 and 8-bit floats as unsigned integers holding their bits.

        Raises
        ------
        ArtifactError
            Unknown name, a missing or damaged chunk, or an array that is not what the manifest promises.
        """
        entry = self.entry(name)
        result = np.empty(entry.shape, dtype=by_name(entry.dtype, name).carrier)
        starts = chunk_starts(entry.shape, entry.chunk_rows)
        self._need(_chunk_files(entry, starts))

        def fill(start: int) -> None:
            if entry.shape:
                stop = min(start + entry.chunk_rows, entry.shape[0])
                result[start:stop] = self._rows(entry, start, stop, self._unpack)
            else:
                result[()] = self._unpack(entry, self._chunk(entry, 0))

        if workers == 1 or len(starts) < 2:
            for start in starts:
                fill(start)
        else:
            threads = workers or (os.cpu_count() or 1) + SPARE_READERS
            with ThreadPoolExecutor(min(threads, len(starts))) as pool:
                list(pool.map(fill, starts))
        return result

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return rows `start` to `stop` of the first axis; see `tensor`."""
        return self._rows(self.entry(name), start, stop, self._unpack)

    def codes(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return the integer codes of rows `start` to `stop` of a rounded tensor.

        Returns
        -------
        ndarray
            int16, or int32 where they may need it; ``codes * 2**-bits`` is what `rows` returns.

        Raises
        ------
        ArtifactError
            As `tensor`; also where the tensor is not rounded, or holds a value that no code stands for.
        """
        entry = self.entry(name)
        if entry.bits is None:
            raise ArtifactError("the tensor is not rounded: it has no codes", where=f"{self.path}: {name}")
        return self._rows(entry, start, stop, self._unpack_codes)

    def _rows(
        self, entry: Tensor, start: int, stop: int, turn: Callable[[Tensor, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        if not entry.shape or not 0 <= start <= stop <= entry.shape[0]:
            raise ArtifactError(
                "no such rows", where=entry.name, expected=f"within {entry.shape}", got=f"{start}:{stop}"
            )
        rows, blocks = entry.chunk_rows, []
        if start < stop and 0 not in entry.shape:
            starts = range(start // rows * rows, stop, rows)
            self._need(_chunk_files(entry, starts))
            for first in starts:
                chunk = self._chunk(entry, first)[max(start - first, 0) : stop - first]
                blocks.append(turn(entry, chunk))
        if len(blocks) == 1:
            return blocks[0]
        if not blocks:
            return turn(
                entry, np.empty((stop - start, *entry.shape[1:]), dtype=self.chain(entry.name).packed)
            )
        return np.concatenate(blocks)

    def _unpack(self, entry: Tensor, stored: np.ndarray) -> np.ndarray:
        return unpack(self.chain(entry.name), entry.bits, stored)

    def _unpack_codes(self, entry: Tensor, stored: np.ndarray) -> np.ndarray:
        try:
            return integer_codes(self.chain(entry.name), entry.bits or 0, stored)
        except ValueError as error:
            raise ArtifactError(
                "a tensor's values are not what its rounding makes",
                where=f"{self.path}: {entry.name}",
                got=str(error),
                fix=self._verify(),
            ) from error

    def _chunk(self, entry: Tensor, start: int) -> np.ndarray:
        """Decode the chunk that begins at row `start`; the last one of a tensor is padded to full size."""
        chain = self._checked_chain(entry)
        shape = chunk_shape(entry.shape, entry.chunk_rows)
        path = self.path / WEIGHTS_DIR / chunk_key(entry.name, entry.shape, start, entry.chunk_rows)
        raw = self._read(path)
        try:
            return decode_chunk(chain, raw, math.prod(shape)).reshape(shape)
        except (RuntimeError, ValueError) as error:
            raise ArtifactError(
                "a chunk cannot be decoded", where=path, got=str(error), fix=self._verify()
            ) from error

    def _read(self, path: Path) -> bytes:
        size = self._files[path.relative_to(self.path).as_posix()].bytes
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            raise ArtifactError(
                "a chunk of a tensor is missing or cut",
                where=path,
                expected=f"{size} bytes",
                got="no such file" if found is None else f"{found} bytes",
                fix=self._verify(),
            )
        try:
            return bytes(directio.read(path, 0, size, past_cache=self._past_cache))
        except OSError as error:
            raise ArtifactError(
                "a chunk of a tensor cannot be read", where=path, got=error.strerror or str(error)
            ) from error

    def _checked_chain(self, entry: Tensor) -> Chain:
        """Return how a tensor is packed, once its array's metadata are seen to say the same."""
        chain = self.chain(entry.name)
        if entry.name not in self._checked:
            self._need([metadata_path(entry.name)])
            path = self.path / metadata_path(entry.name)
            store.check_metadata(path, entry.shape, entry.chunk_rows, chain)
            self._checked.add(entry.name)
        return chain

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


def _chunk_files(entry: Tensor, starts: range) -> Iterator[str]:
    """Yield the paths, inside the artifact, of everything it takes to decode the chunks that begin at `starts`."""
    yield metadata_path(entry.name)
    for start in starts:
        yield f"{WEIGHTS_DIR}/{chunk_key(entry.name, entry.shape, start, entry.chunk_rows)}"
