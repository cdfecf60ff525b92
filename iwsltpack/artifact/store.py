"""The Zarr side of an artifact: arrays created, written and read by zarr-python itself."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from iwsltpack.errors import ArtifactError
from iwsltpack.fileio import disk_errors
from iwsltpack.format.names import ARTIFACT_FORMAT, FORMAT_VERSION, WEIGHTS_DIR

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import zarr

    from iwsltpack.codecs.chains import Chain


_FILTERS = Lock()


@contextmanager
def numcodecs_accepted() -> Iterator[None]:
    """Silence zarr's reminder that numcodecs' codecs are not in the Zarr v3 specification: the format says so.

    The list of filters belongs to the process, so threads take turns: two at once would restore each other's.
    """
    with _FILTERS, warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Numcodecs codecs are not in the Zarr version 3 specification"
        )
        yield


def create_group(folder: Path) -> zarr.Group:
    """Create, or open for going on, the group of an artifact under construction."""
    import zarr

    with disk_errors(folder):
        return zarr.open_group(
            folder / WEIGHTS_DIR,
            mode="a",
            zarr_format=3,
            attributes={"format": ARTIFACT_FORMAT, "format_version": FORMAT_VERSION},
        )


def open_group(artifact: Path) -> zarr.Group:
    """Open the group of a finished artifact for reading."""
    import zarr

    try:
        return zarr.open_group(artifact / WEIGHTS_DIR, mode="r", zarr_format=3)
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise ArtifactError(
            "the artifact's Zarr group cannot be opened", where=artifact / WEIGHTS_DIR
        ) from error


def chunk_shape(shape: tuple[int, ...], chunk_rows: int) -> tuple[int, ...]:
    """Return the shape of a chunk of `chunk_rows` full rows; zero lengths count as one, as Zarr wants it."""
    return (chunk_rows, *(max(length, 1) for length in shape[1:])) if shape else ()


def dimension_names(shape: tuple[int, ...]) -> list[str]:
    """Name every axis by place and length, so that xarray can open all arrays of a group side by side.

    >>> dimension_names((4096, 11008))
    ['axis0_4096', 'axis1_11008']
    """
    return [f"axis{axis}_{length}" for axis, length in enumerate(shape)]


def create_array(
    group: zarr.Group,
    name: str,
    shape: tuple[int, ...],
    chunk_rows: int,
    chain: Chain,
    attributes: dict[str, Any],
) -> zarr.Array[Any]:
    """Create one array with exactly the codecs of `chain`; one of the same name is replaced."""
    with numcodecs_accepted(), disk_errors(group.store_path):
        return group.create_array(
            name,
            shape=shape,
            dtype=chain.kind,
            chunks=chunk_shape(shape, chunk_rows),
            filters=list(chain.filters),
            serializer=chain.serializer,
            compressors=list(chain.compressors),
            fill_value=0,
            attributes=attributes,
            dimension_names=dimension_names(shape),
            overwrite=True,
            # A chunk of zeros is a file like any other: an absent file is always an error.
            config={"write_empty_chunks": True},
        )


def open_array(
    group: zarr.Group, name: str, shape: tuple[int, ...], chunk_rows: int, chain: Chain
) -> zarr.Array[Any]:
    """Open one array and refuse it unless its metadata are what the manifest promises.

    Raises
    ------
    ArtifactError
        The array is missing, or its shape, type, chunks or codecs differ.
    """
    import zarr

    with numcodecs_accepted():
        try:
            array = group[name]
        except (KeyError, ValueError) as error:
            raise ArtifactError(
                "the array of a tensor cannot be opened", where=name, got=str(error)
            ) from error
    if not isinstance(array, zarr.Array):
        raise ArtifactError("not an array", where=name)
    metadata: Any = array.metadata.to_dict()
    found = (array.shape, np.dtype(array.dtype), array.chunks, list(metadata["codecs"]))
    expected = (shape, chain.kind, chunk_shape(shape, chunk_rows), chain.codecs())
    for label, got, wanted in zip(("shape", "type", "chunks", "codecs"), found, expected, strict=True):
        if got != wanted:
            raise ArtifactError(
                f"the array's {label} differ from the manifest's",
                where=name,
                expected=wanted,
                got=got,
                fix="build or download the artifact again",
            )
    return array


def chunk_key(name: str, shape: tuple[int, ...], start: int, chunk_rows: int) -> str:
    """Return the path, inside the group, of the chunk that begins at row `start`.

    >>> chunk_key("a.weight", (10, 4), 6, 3)
    'a.weight/c/2/0'
    """
    if not shape:
        return f"{name}/c"
    return "/".join([name, "c", str(start // chunk_rows), *("0" for _ in shape[1:])])
