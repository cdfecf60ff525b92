"""Read tensors back from an artifact, whole or by rows, from any number of threads."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from iwsltpack.artifact import store
from iwsltpack.codecs.chains import coding, unpack
from iwsltpack.codecs.dtypes import by_name
from iwsltpack.errors import ArtifactError
from iwsltpack.format.artifact import ArtifactManifest, Tensor, read_manifest
from iwsltpack.format.names import MODEL_DIR, WEIGHTS_DIR

if TYPE_CHECKING:
    from pathlib import Path

    import zarr

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
        self._sizes = {file.path: file.bytes for file in manifest.files}
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._lock = Lock()

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
        if not entry.shape or 0 in entry.shape:
            return self._read(entry, ())
        result = np.empty(entry.shape, dtype=by_name(entry.dtype, name).carrier)

        def fill(start: int) -> None:
            stop = min(start + entry.chunk_rows, entry.shape[0])
            result[start:stop] = self._read(entry, slice(start, stop))

        starts = range(0, entry.shape[0], entry.chunk_rows)
        if workers == 1 or len(starts) == 1:
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
        return self._read(entry, slice(start, stop))

    def stored(self, name: str) -> np.ndarray:
        """Return what the array holds, undecoded: biased or plain codes, raw bits, or the paper's float32."""
        return np.asarray(self._array(self.entry(name))[...])

    def _read(self, entry: Tensor, place: Any) -> np.ndarray:
        array = self._array(entry)
        try:
            block = np.asarray(array[place])
        except (OSError, RuntimeError, ValueError) as error:
            raise ArtifactError(
                "a chunk cannot be decoded",
                where=f"{self.path}: {entry.name}",
                got=str(error),
                fix=_verify(self.path),
            ) from error
        return unpack(self.chain(entry.name), entry.bits, block)

    def _array(self, entry: Tensor) -> zarr.Array[Any]:
        with self._lock:
            if entry.name not in self._arrays:
                self._check_files(entry)
                self._arrays[entry.name] = store.open_array(
                    self._group, entry.name, entry.shape, entry.chunk_rows, self.chain(entry.name)
                )
            return self._arrays[entry.name]

    def _check_files(self, entry: Tensor) -> None:
        """Refuse missing or cut chunk files: Zarr itself would read an absent chunk as zeros."""
        if not entry.shape:
            starts: range = range(1)
        else:
            starts = range(0, 0 if 0 in entry.shape else entry.shape[0], max(entry.chunk_rows, 1))
        for start in starts:
            key = f"{WEIGHTS_DIR}/{store.chunk_key(entry.name, entry.shape, start, max(entry.chunk_rows, 1))}"
            path, size = self.path / key, self._sizes.get(key)
            found = path.stat().st_size if path.is_file() else None
            if size is None or found != size:
                raise ArtifactError(
                    "a chunk of a tensor is missing or cut",
                    where=path,
                    expected="listed in the manifest" if size is None else f"{size} bytes",
                    got="no such file" if found is None else f"{found} bytes",
                    fix=_verify(self.path),
                )

    @cached_property
    def _group(self) -> zarr.Group:
        return store.open_group(self.path)


def open_artifact(path: Path) -> Artifact:
    """Open an artifact; see `read_manifest` for what is raised. Only the manifest is read."""
    return Artifact(path, read_manifest(path))


def _verify(path: Path) -> str:
    return f"iwsltpack verify {path}"
