"""Where an artifact's bytes lie, and whether what a manifest says of them can be true.

A schema checks every number by itself. Here they are checked against each other, before any of them makes a
program allocate, loop or open a file.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from iwsltpack.documents.names import MANIFEST_NAME, WEIGHTS_DIR
from iwsltpack.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from iwsltpack.documents.artifact import ArtifactManifest, File, Tensor

GROUP_METADATA = f"{WEIGHTS_DIR}/zarr.json"
MAX_CHUNK_VALUES = 1 << 27
"""Values in a chunk at most, which is at most 1 GiB decoded. Builders aim at 2^22; one row may take more."""

ITEM_BYTES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint64": 8,
    "uint32": 4,
    "uint16": 2,
    "uint8": 1,
    "bool": 1,
}
"""Bytes of one value, by PyTorch's name of the type: sizes can be told without loading numpy."""


def chunk_shape(shape: tuple[int, ...], chunk_rows: int) -> tuple[int, ...]:
    """Return the shape of a chunk of `chunk_rows` full rows; zero lengths count as one, as Zarr wants it."""
    return (chunk_rows, *(max(length, 1) for length in shape[1:])) if shape else ()


def chunk_starts(shape: tuple[int, ...], chunk_rows: int) -> range:
    """Return the first row of every chunk; a scalar has one chunk, an empty tensor none."""
    if not shape:
        return range(1)
    return range(0, 0 if 0 in shape else shape[0], chunk_rows)


def chunk_key(name: str, shape: tuple[int, ...], start: int, chunk_rows: int) -> str:
    """Return the path, inside the group, of the chunk that begins at row `start`.

    >>> chunk_key("a.weight", (10, 4), 6, 3)
    'a.weight/c/2/0'
    """
    if not shape:
        return f"{name}/c"
    return "/".join([name, "c", str(start // chunk_rows), *("0" for _ in shape[1:])])


def metadata_path(name: str) -> str:
    """Return the path, inside the artifact, of a tensor's array metadata."""
    return f"{WEIGHTS_DIR}/{name}/zarr.json"


def chunk_paths(tensor: Tensor) -> Iterator[str]:
    """Yield the path, inside the artifact, of every chunk of a tensor."""
    for start in chunk_starts(tensor.shape, tensor.chunk_rows):
        yield f"{WEIGHTS_DIR}/{chunk_key(tensor.name, tensor.shape, start, tensor.chunk_rows)}"


def find_contradictions(manifest: ArtifactManifest) -> list[Problem]:
    """Return what in a manifest that fits its schema cannot be true."""
    problems = [
        *_doubles("tensor", (tensor.name for tensor in manifest.tensors)),
        *_doubles("file", (file.path for file in manifest.files)),
    ]
    owned: dict[str, dict[str, File]] = {tensor.name: {} for tensor in manifest.tensors}
    for file in manifest.files:
        top, _, rest = file.path.partition("/")
        name = rest.partition("/")[0]
        if top == WEIGHTS_DIR and name in owned:
            owned[name][file.path] = file
        elif file.path == MANIFEST_NAME or (top == WEIGHTS_DIR and file.path != GROUP_METADATA):
            problems.append(_problem(f"file {file.path!r} belongs to no tensor"))
    for tensor in manifest.tensors:
        problems += [
            _problem(f"tensor {tensor.name}: {text}") for text in _faults(tensor, owned[tensor.name])
        ]
    return problems


def _doubles(kind: str, names: Iterable[str]) -> list[Problem]:
    """Tell names that are one file where the file system takes upper and lower case for the same."""
    counts = Counter(name.casefold() for name in names)
    return [_problem(f"{kind} {name!r} stands there {n} times") for name, n in counts.items() if n > 1]


def _faults(tensor: Tensor, files: dict[str, File]) -> Iterator[str]:
    rounded = tensor.bits is not None
    if rounded != (tensor.component == "selected") or rounded != (tensor.entropy_bits is not None):
        yield "bits, entropy_bits and component do not agree on whether it is rounded"
    if rounded and tensor.dtype != "float16":
        yield f"rounded, yet of type {tensor.dtype} and not float16"
    if tensor.wide and not rounded:
        yield "wide, yet not rounded"
    if not tensor.shape:
        if tensor.chunk_rows:
            yield f"a scalar with {tensor.chunk_rows} chunk_rows"
            return
    elif not 1 <= tensor.chunk_rows <= max(tensor.shape[0], 1):
        yield f"chunk_rows {tensor.chunk_rows} does not fit shape {list(tensor.shape)}"
        return
    if (values := math.prod(chunk_shape(tensor.shape, tensor.chunk_rows))) > MAX_CHUNK_VALUES:
        yield f"chunks of {values} values, more than {MAX_CHUNK_VALUES}"
    # The number first: a shape may claim more chunks than could be counted one by one.
    count = len(chunk_starts(tensor.shape, tensor.chunk_rows)) + 1
    if len(files) != count or set(files) != {metadata_path(tensor.name), *chunk_paths(tensor)}:
        yield f"its {count} files are not those listed"
    elif tensor.bytes != sum(file.bytes for file in files.values()):
        yield "its bytes are not the sum of its files"


def _problem(message: str) -> Problem:
    return Problem(rule="artifact.contradiction", message=message, path=MANIFEST_NAME)
