"""Read tensors back from an artifact, whole or by rows, from any number of threads."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from iwsltpack import fileio
from iwsltpack.artifact import store
from iwsltpack.codecs.chains import coding, unpack
from iwsltpack.codecs.decoding import decode_chunk
from iwsltpack.codecs.dtypes import by_name
from iwsltpack.errors import ArtifactError
from iwsltpack.format.artifact import ArtifactManifest, Tensor, read_manifest
from iwsltpack.format.layout import chunk_key, chunk_shape, chunk_starts, metadata_path
from iwsltpack.format.names import MODEL_DIR, WEIGHTS_DIR

if TYPE_CHECKING:
    from pathlib import Path

    from iwsltpack.codecs.chains import Chain


class Artifact:
    """An artifact on disk, open for reading.

    Attributes
    ----------
    path
        Its folder.
    manifest
        As read and checked.
    """

    def __init__(self, path: Path, manifest: ArtifactManifest) -> None:
        self.path, self.manifest = path, manifest
        self._entries = {tensor.name: tensor for tensor in manifest.tensors}
        self._files = {file.path: file for file in manifest.files}
        self._checked: set[str] = set()

    @property
    def model_dir(self) -> Path:
        """Folder of the configuration, tokenizer and processor files."""
        return self.path / MODEL_DIR

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
        data = fileio.read_bytes(self.path / file.path, limit=file.bytes)
        if fileio.sha256_bytes(data) != file.sha256:
            raise ArtifactError("a file is damaged", where=self.path / file.path, fix=_verify(self.path))
        return data

    def tensor(self, name: str, *, workers: int = 1) -> np.ndarray:
        """Return a whole tensor.

        Parameters
        ----------
        name
            Checkpoint name.
        workers
            Threads that decode its chunks; 0 for one a core.

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

        def fill(start: int) -> None:
            if entry.shape:
                stop = min(start + entry.chunk_rows, entry.shape[0])
                result[start:stop] = self._rows(entry, start, stop)
            else:
                result[()] = self._unpack(entry, self._chunk(entry, 0))

        if workers == 1 or len(starts) < 2:
            for start in starts:
                fill(start)
        else:
            with ThreadPoolExecutor(min(workers or os.cpu_count() or 1, len(starts))) as pool:
                list(pool.map(fill, starts))
        return result

    def rows(self, name: str, start: int, stop: int) -> np.ndarray:
        """Return rows `start` to `stop` of the first axis; see `tensor`."""
        entry = self.entry(name)
        if not entry.shape or not 0 <= start <= stop <= entry.shape[0]:
            raise ArtifactError(
                "no such rows", where=name, expected=f"within {entry.shape}", got=f"{start}:{stop}"
            )
        return self._rows(entry, start, stop)

    def _rows(self, entry: Tensor, start: int, stop: int) -> np.ndarray:
        rows, blocks = entry.chunk_rows, []
        if start < stop and 0 not in entry.shape:
            for first in range(start // rows * rows, stop, rows):
                chunk = self._chunk(entry, first)[max(start - first, 0) : stop - first]
                blocks.append(self._unpack(entry, chunk))
        if len(blocks) == 1:
            return blocks[0]
        if not blocks:
            return np.empty((stop - start, *entry.shape[1:]), dtype=by_name(entry.dtype, entry.name).carrier)
        return np.concatenate(blocks)

    def _unpack(self, entry: Tensor, stored: np.ndarray) -> np.ndarray:
        return unpack(self.chain(entry.name), entry.bits, stored)

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
                "a chunk cannot be decoded", where=path, got=str(error), fix=_verify(self.path)
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
                fix=_verify(self.path),
            )
        return fileio.read_bytes(path, limit=size)

    def _checked_chain(self, entry: Tensor) -> Chain:
        """Return how a tensor is packed, once its array's metadata are seen to say the same."""
        chain = self.chain(entry.name)
        if entry.name not in self._checked:
            path = self.path / metadata_path(entry.name)
            store.check_metadata(path, entry.shape, entry.chunk_rows, chain)
            self._checked.add(entry.name)
        return chain


def open_artifact(path: Path) -> Artifact:
    """Open an artifact; see `read_manifest` for what is raised. Only the manifest is read."""
    return Artifact(path, read_manifest(path))


def _verify(path: Path) -> str:
    return f"iwsltpack verify {path}"
