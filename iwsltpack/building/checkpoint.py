"""A source checkpoint: safetensors files, single or sharded, read tensor by tensor.

Files are read with positioned reads rather than mapped: a truncated file is then an error and not a bus
error, and pages read do not count as this program's memory. A checkpoint too large for the page cache is read past it.
"""

import json
import math
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from iwsltpack.artifact.side_files import refuse_pointer
from iwsltpack.codecs.dtypes import DType, by_code
from iwsltpack.documents.names import INDEX_NAME, SINGLE_NAME
from iwsltpack.errors import InputError
from iwsltpack.system import direct_io, fileio

HEADER_LIMIT = 100_000_000
"""Bytes of header at most, as the format says."""
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
_ADAPTER_TENSOR = re.compile(
    r"(^|\.)((lora|ia3|vera|oft|boft|hada|lokr)_\w+|base_layer|modules_to_save)(\.|$)"
)
"""Names that the peft library gives: of what is to be added to weights, and of weights to which something is."""
_SHARD = re.compile(r".*-(\d{5})-of-(\d{5})\.safetensors")
_SAME_AGAIN = "consolidated"
"""How the same weights, laid out for another program, are named beside a checkpoint of the hub."""


@dataclass(frozen=True, kw_only=True)
class SourceTensor:
    """Where one tensor lies: file, byte offset in it, type and shape; `past_cache` as `direct_io.read` takes it."""

    name: str
    path: Path
    offset: int
    dtype: DType
    shape: tuple[int, ...]
    past_cache: bool = False

    @property
    def count(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return self.count * self.dtype.carrier.itemsize

    @property
    def row(self) -> int:
        """Values in one row of the first axis; 1 for scalars and vectors."""
        return math.prod(self.shape[1:])

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return rows `start` to `stop` of the first axis, in the carrier type; a scalar is its own only row.

        InputError: the file ends too early.
        """
        shape = (stop - start, *self.shape[1:]) if self.shape else ()
        kind = self.dtype.carrier
        size = math.prod(shape) * kind.itemsize
        position = self.offset + start * self.row * kind.itemsize
        raw = direct_io.read(self.path, position, size, past_cache=self.past_cache)
        if len(raw) < size:
            raise InputError("the checkpoint file ends too early", where=f"{self.path}: {self.name}")
        block = np.frombuffer(raw, dtype=kind).reshape(shape)
        # A header of an odd length puts values at odd addresses, which numpy computes with slowly.
        return block if block.flags.aligned else block.copy()


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """All tensors of a checkpoint folder, by name, in the order of their files."""

    folder: Path
    tensors: dict[str, SourceTensor]
    files: tuple[Path, ...]
    sha256: str

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor files, headers included."""
        return sum(path.stat().st_size for path in self.files)

    def state(self) -> str:
        """Return a digest that is another once a tensor file was written to or replaced, whatever time it is given.

        Of the times that the file system itself notes of each file, which no program can set. Of one machine: a copy
        elsewhere, with the same size and time stamp, has another.
        """
        found = [(path.name, path.stat()) for path in self.files]
        return fileio.sha256_bytes(
            fileio.canonical_json([[name, it.st_size, it.st_ctime_ns, it.st_ino] for name, it in found])
        )


def open_checkpoint(folder: Path) -> Checkpoint:
    """Open a folder as `save_pretrained` or the hub lays it out.

    InputError: no such folder, no safetensors in it, or more than one checkpoint; a shard missing,
    truncated or not fetched by Git LFS; a malformed header; a tensor the index names and no shard holds;
    an adapter beside the weights.
    """
    if not folder.is_dir():
        raise InputError(
            "no such checkpoint folder",
            where=folder,
            fix="name a folder or a hub id such as Qwen/Qwen2-Audio-7B-Instruct",
        )
    files = _files(folder)
    tensors: dict[str, SourceTensor] = {}
    headers: list[Any] = []
    for path in files:
        header, start = _read_header(path)
        headers.append([path.name, path.stat().st_size, header])
        for name, tensor in _parse_header(path, header, start).items():
            if name in tensors:
                raise InputError("the same tensor stands in two files", where=path, got=name)
            tensors[name] = tensor
    if (folder / INDEX_NAME).is_file():
        # A tied tensor is stored once; older writers note its other names in the header's metadata.
        known = set(tensors).union(*(header.get("__metadata__", {}) for _, _, header in headers))
        if missing := [name for name in _weight_map(folder / INDEX_NAME) if name not in known]:
            raise InputError(
                "the index names tensors that no shard holds",
                where=folder / INDEX_NAME,
                got=", ".join(missing[:5]),
                fix="download it again",
            )
    if adapter := [name for name in tensors if _ADAPTER_TENSOR.search(name)]:
        raise _unmerged(folder, ", ".join(adapter[:5]))
    if direct_io.exceeds_cache(sum(path.stat().st_size for path in files)):
        tensors = {name: replace(tensor, past_cache=True) for name, tensor in tensors.items()}
    return Checkpoint(
        folder=folder,
        tensors=tensors,
        files=files,
        sha256=fileio.sha256_bytes(fileio.canonical_json(headers)),
    )


def _files(folder: Path) -> tuple[Path, ...]:
    """Return the tensor files of a checkpoint; what would be left out, or is another checkpoint, is refused."""
    adapter = next((name for name in ADAPTER_FILES if os.path.lexists(folder / name)), None)
    if adapter is not None:
        raise _unmerged(folder, adapter)
    found = sorted(path.name for path in folder.glob("*.safetensors"))
    index = folder / INDEX_NAME
    if os.path.lexists(index):
        names = sorted(set(_weight_map(index).values()))
        if missing := [name for name in names if not (folder / name).is_file()]:
            raise InputError(
                "a shard named by the index is missing",
                where=folder,
                expected=", ".join(missing),
                fix="download it again",
            )
    else:
        names = [SINGLE_NAME] if SINGLE_NAME in found else found
    if not names:
        raise InputError(
            "no safetensors checkpoint here",
            where=folder,
            expected=f"{SINGLE_NAME} or {INDEX_NAME}",
            got=", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "an empty folder",
        )
    if others := [name for name in found if name not in names and not name.startswith(_SAME_AGAIN)]:
        raise InputError(
            "two checkpoints in one folder, and which one is meant cannot be told",
            where=folder,
            expected=f"no safetensors files beside {INDEX_NAME if index.is_file() else SINGLE_NAME} and its own",
            got=", ".join(others[:8]),
            fix="move the files of one of them elsewhere",
        )
    counted = [match for name in names if (match := _SHARD.fullmatch(name))]
    if any(len({match[1] for match in counted}) < int(match[2]) for match in counted):
        raise InputError(
            "a shard is missing, by the names of the others",
            where=folder,
            expected=f"{counted[0][2]} shards",
            got=", ".join(names[:8]),
            fix="download it again",
        )
    return tuple(folder / name for name in names)


def _unmerged(where: Path, got: str) -> InputError:
    return InputError(
        "an adapter (LoRA) is not merged into the weights",
        where=where,
        expected="weights alone",
        got=got,
        fix="merge it first: peft's merge_and_unload, then save_pretrained",
    )


def _weight_map(index: Path) -> dict[str, str]:
    raw = fileio.read_bytes(index, limit=HEADER_LIMIT)
    refuse_pointer(index)
    document = fileio.parse_json(raw, index)
    weight_map = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise InputError(
            "not a checkpoint index", where=index, expected="an object weight_map of tensor -> file"
        )
    for name in weight_map.values():
        if Path(name).name != name:
            raise InputError("the index names a file outside its folder", where=index, got=name)
    return weight_map


def _read_header(path: Path) -> tuple[dict[str, Any], int]:
    if not path.is_file():
        raise InputError("not a file, or a link that leads nowhere", where=path)
    refuse_pointer(path)
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(40)
        length = int.from_bytes(head[:8], "little")
        if size < 8 or length > min(HEADER_LIMIT, size - 8):
            raise InputError(
                "not a safetensors file, or a truncated one",
                where=path,
                expected="the length of a header, and the header",
                got=f"{size} bytes in all, which begin with {head!r}",
                fix="download it again",
            )
        stream.seek(8)
        raw = stream.read(length)
    try:
        header = json.loads(raw, object_pairs_hook=_without_doubles)
        fileio.canonical_json(header)
    except (ValueError, RecursionError) as error:
        raise InputError("the safetensors header is not JSON", where=path, got=str(error)) from error
    if not isinstance(header, dict):
        raise InputError("the safetensors header is not an object", where=path)
    notes = header.get("__metadata__", {})
    if not isinstance(notes, dict) or not all(isinstance(value, str) for value in notes.values()):
        raise InputError(
            "the safetensors header has a malformed entry",
            where=f"{path}: __metadata__",
            expected="an object of texts",
            got=str(notes)[:200],
        )
    return header, 8 + length


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a name that stands twice in an object, of which a dict would keep the last in silence."""
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a name stands there twice")
    return content


def _check_entry(where: str, entry: Any) -> None:
    """Refuse a tensor's header entry that is not of the format's form, before any number in it is used."""

    def counts(value: Any) -> bool:
        return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)

    form = isinstance(entry, dict) and isinstance(entry.get("dtype"), str) and counts(entry.get("shape"))
    if not form or not counts(entry.get("data_offsets")) or len(entry["data_offsets"]) != 2:
        raise InputError("the safetensors header has a malformed entry", where=where, got=str(entry)[:200])


def _parse_header(path: Path, header: dict[str, Any], start: int) -> dict[str, SourceTensor]:
    tensors, expected = {}, 0
    size = path.stat().st_size - start
    entries = [(name, entry) for name, entry in header.items() if name != "__metadata__"]
    for name, entry in entries:
        _check_entry(f"{path}: {name}", entry)
    for name, entry in sorted(entries, key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        tensor = SourceTensor(
            name=name,
            path=path,
            offset=start + begin,
            dtype=by_code(entry["dtype"], f"{path}: {name}"),
            shape=tuple(entry["shape"]),
        )
        if end - begin != tensor.nbytes or begin != expected:
            raise InputError(
                "the safetensors header contradicts itself",
                where=f"{path}: {name}",
                expected=f"{tensor.nbytes} bytes from {expected}",
                got=f"{begin} to {end}",
            )
        expected = end
        tensors[name] = tensor
    if expected != size:
        raise InputError(
            "the safetensors file is truncated or has bytes left over",
            where=path,
            expected=f"{start + expected} bytes",
            got=f"{start + size} bytes",
            fix="download it again",
        )
    return tensors
