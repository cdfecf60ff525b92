"""Where an artifact's bytes lie: chunks of whole rows, and the files they are in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iwsltpack.documents.names import WEIGHTS_DIR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iwsltpack.documents.artifact import Tensor

GROUP_METADATA = f"{WEIGHTS_DIR}/zarr.json"
MAX_CHUNK_VALUES = 1 << 27
"""Values in a chunk at most, which is at most 1 GiB decoded. Builders aim at 2^22; one row may take more."""


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
