"""Where an artifact's bytes lie: chunks of whole rows, and the files they are in."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from iwsltpack.documents.names import WEIGHTS_DIR

GROUP_METADATA = f"{WEIGHTS_DIR}/zarr.json"
MAX_CHUNK_VALUES = 1 << 27
"""Values in a chunk at most, which is at most 1 GiB decoded. Builders aim at 2^22; one row may take more."""


def group_metadata(name: str) -> str:
    """Return the path, inside the artifact, of the metadata of a group or an array."""
    return f"{WEIGHTS_DIR}/{name}/zarr.json"


def matrix_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Return the rows and columns of a tensor taken for a matrix: columns are all axes but the first.

    >>> matrix_shape((384, 80, 3))
    (384, 240)
    """
    return shape[0], math.prod(shape[1:])


@dataclass(frozen=True)
class ArrayLayout:
    """Where a Zarr array lies, and how it is cut into chunks of `chunk_rows` whole rows, 0 for a scalar.

    `name` is its path inside the group, say a tensor's name.
    """

    name: str
    shape: tuple[int, ...]
    chunk_rows: int

    @property
    def chunk(self) -> tuple[int, ...]:
        """Shape of a chunk; zero lengths count as one, as Zarr wants it."""
        return (self.chunk_rows, *(max(length, 1) for length in self.shape[1:])) if self.shape else ()

    @property
    def starts(self) -> range:
        """First row of every chunk; a scalar has one chunk, an empty array none."""
        if not self.shape:
            return range(1)
        return range(0, 0 if 0 in self.shape else self.shape[0], self.chunk_rows)

    @property
    def metadata(self) -> str:
        """Path, inside the artifact, of the array's metadata."""
        return group_metadata(self.name)

    def path(self, start: int) -> str:
        """Return the path, inside the artifact, of the chunk that begins at row `start`.

        >>> ArrayLayout("a.weight", (10, 4), 3).path(6)
        'weights.zarr/a.weight/c/2/0'
        """
        indices = (str(start // self.chunk_rows), *("0" for _ in self.shape[1:])) if self.shape else ()
        return "/".join([WEIGHTS_DIR, self.name, "c", *indices])

    def paths(self, starts: range) -> Iterator[str]:
        """Yield the paths of everything it takes to decode the chunks that begin at `starts`."""
        yield self.metadata
        yield from map(self.path, starts)
