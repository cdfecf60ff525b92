"""The Zarr side of an artifact: metadata written by zarr-python itself, and checked before arrays are read."""

import json
import warnings
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from iwsltpack.codecs.chain import Chain
from iwsltpack.documents.artifact import Tensor
from iwsltpack.documents.layout import ArrayLayout
from iwsltpack.documents.names import ARTIFACT_FORMAT, WEIGHTS_DIR
from iwsltpack.errors import ArtifactError
from iwsltpack.quantizers.quantizer import Quantizer
from iwsltpack.system import fileio

Json = dict[str, Any]
_FILTERS = Lock()
REMINDER = "Numcodecs codecs are not in the Zarr version 3 specification"
"""Of zarr; the format says that they are used."""
METADATA_LIMIT = 1 << 20
"""Bytes of an array's metadata at most; it takes about 1 kB."""
_LABELS = {"data_type": "type", "chunk_grid": "chunks", "chunk_key_encoding": "chunk names"}


def create_group(folder: Path, version: int) -> None:
    """Create the group of an artifact of a format version under construction; arrays that are there already stay."""
    import zarr

    with fileio.disk_errors(folder):
        # A power cut may have left it empty, which zarr would refuse for ever.
        (folder / WEIGHTS_DIR / "zarr.json").unlink(missing_ok=True)
        zarr.open_group(
            folder / WEIGHTS_DIR,
            mode="a",
            zarr_format=3,
            attributes={"format": ARTIFACT_FORMAT, "format_version": version},
        )


def array_metadata(array: ArrayLayout, chain: Chain, attributes: Json) -> bytes:
    """Return the metadata of an array with exactly the codecs of `chain`, as zarr-python writes them."""
    settings = {
        "shape": array.shape,
        "chunks": array.chunk,
        "dtype": chain.kind.str,
        "filters": chain.filters,
        "serializer": chain.serializer,
        "compressors": chain.compressors,
        "attributes": attributes,
        # By place and length, so that xarray can open all arrays of a group side by side.
        "dimension_names": [f"axis{axis}_{length}" for axis, length in enumerate(array.shape)],
    }
    return _metadata(json.dumps(settings))


def attributes(entry: Tensor, chain: Chain, quantizer: Quantizer | None) -> Json:
    """Return the attributes of the array that holds a tensor's values or codes."""
    if entry.classes is not None:
        # The scales are not in them, so that a code times the step would be no weight.
        return chain.scaling(1.0)
    return {"torch_dtype": entry.dtype, **(chain.scaling(quantizer.step) if quantizer else chain.marks)}


def tensor_group(entry: Tensor) -> Json:
    """Return the metadata of the group of a tensor whose codes lie by class."""
    attributes = {
        "torch_dtype": entry.dtype,
        "quantizer": entry.quantizer,
        "step": entry.step,
        "classes": entry.classes,
        "chunk_rows": entry.chunk_rows,
    }
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


@cache
def _metadata(settings: str) -> bytes:
    """Let zarr-python write the metadata of an array: once for all the arrays of a model that are alike.

    It takes some 10 ms each time, most of them under the interpreter's lock, and half of a model's tensors are tiny.
    """
    import zarr
    from zarr.core.buffer import Buffer

    contents: dict[str, Buffer] = {}
    # The list of filters belongs to the process, so threads take turns: two at once would restore each other's.
    with _FILTERS, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=REMINDER)
        zarr.create_array(contents, fill_value=0, zarr_format=3, **json.loads(settings))
    return contents["zarr.json"].to_bytes()


def check_array(folder: Path, array: ArrayLayout, chain: Chain) -> None:
    """Refuse an array of an artifact unless its ``zarr.json`` says what the manifest promises; see `check`."""
    promised = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(array.shape),
        "data_type": chain.kind.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(array.chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": chain.codecs(),
        "storage_transformers": [],
    }
    check(folder / array.metadata, promised)


def check(path: Path, promised: Json) -> None:
    """Refuse a ``zarr.json`` unless it says what is promised, so that all readers read alike.

    If it is no JSON that can be read, that is an `InputError`; if anything differs, an `ArtifactError`.
    """
    found = fileio.read_json(path, limit=METADATA_LIMIT)
    for key, wanted in promised.items():
        got = found.get(key) if isinstance(found, dict) else None
        if got != wanted:
            raise ArtifactError(
                f"the array's {_LABELS.get(key, key)} differ from the manifest's",
                where=path,
                expected=wanted,
                got=str(got)[:300],
                fix="build or download the artifact again",
            )
