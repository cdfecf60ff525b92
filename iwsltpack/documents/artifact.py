"""The artifact's manifest: what the model is, how each tensor is stored, and a checksum of every byte."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal, Self

from iwsltpack.documents.document import Document, Part
from iwsltpack.documents.kinds import Count, DType, Keywords, Sha256, whole
from iwsltpack.documents.layout import ArrayLayout
from iwsltpack.documents.names import ARTIFACT_FORMAT, ARTIFACT_VERSIONS
from iwsltpack.documents.recipe import Bits, Recipe
from iwsltpack.system import fileio

BOOKKEEPING = (".SCB", ".weight_format")
"""Scales and flags that bitsandbytes stores beside its int8 weights."""
CodingName = Annotated[str, whole("[a-z0-9-]{1,40}")]
"""Any: the registry of codings knows which there are."""
Component = Literal["selected", "linear", "embedding", "audio_tower", "other"]
Shape = Annotated[tuple[Count, ...], Keywords(maxItems=16)]
TensorName = Annotated[str, whole(r"(?!zarr\.json(?![\s\S]))[A-Za-z0-9_][A-Za-z0-9_.-]*", maxLength=250)]
"""A tensor's name is that of a folder, beside the ``zarr.json`` of the group."""
FilePath = Annotated[str, whole(r"(?!/)(?!(.*/)?\.\.?(/|$))(?!.*//)(?!.*/$)[^\\\u0000-\u001f]+")]


@dataclass(frozen=True, kw_only=True)
class Tool(Part):
    """The program that wrote a document.

    Attributes
    ----------
    version
        Of iwsltpack.
    libraries
        Name -> version of the libraries that shape the bytes.
    """

    name: str = "iwsltpack"
    version: str
    libraries: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class BaseModel(Part):
    """The checkpoint an artifact was built from.

    Attributes
    ----------
    id, revision
        Hub name and commit, where known.
    architecture
        The transformers class, e.g. ``Qwen2AudioForConditionalGeneration``.
    bytes
        Of the source's tensor files, exact.
    parameters
        Number of stored values.
    license
        SPDX identifier, where known.
    sha256
        Over every tensor's name, dtype, shape and file header: identifies the source without hashing 16 GB.
    """

    id: str | None = None
    revision: str | None = None
    architecture: str
    bytes: Count
    parameters: Count
    license: str | None = None
    sha256: Sha256


@dataclass(frozen=True, kw_only=True)
class Tensor(Part):
    """One checkpoint tensor and how it is stored.

    Attributes
    ----------
    name
        Checkpoint name, e.g. ``language_model.model.layers.0.mlp.up_proj.weight``.
    shape, dtype
        Of the tensor the artifact gives back (after pruning; quantized tensors are ``float16``, which holds
        the paper's values exactly).
    source_shape, source_dtype
        Of the tensor in the source checkpoint.
    component
        What part of the model it belongs to, for the size breakdown.
    linear
        Whether it belongs to a linear layer (weight or bias): the paper's measure of size.
    bits
        Fractional bits b of the rounding step 2^-b; None where the tensor is stored losslessly.
    wide
        Whether the codes take 32 bits in the store because one does not fit 16.
    entropy_bits
        Shannon entropy of the integer codes, bits a weight; None where lossless.
    chunk_rows
        Rows of the first axis in a chunk.
    bytes
        On disk, all files of the array.
    """

    name: TensorName
    shape: Shape
    dtype: DType
    source_shape: Shape
    source_dtype: DType
    component: Component
    linear: bool
    bits: Bits | None = None
    wide: bool = False
    entropy_bits: Annotated[float, Keywords(minimum=0, maximum=32)] | None = None
    chunk_rows: Count = 0
    bytes: Count = 0

    @property
    def array(self) -> ArrayLayout:
        """The array that holds it."""
        return ArrayLayout(self.name, self.shape, self.chunk_rows)

    @property
    def parameters(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def source_parameters(self) -> int:
        """Number of values in the source, before pruning."""
        return math.prod(self.source_shape)


@dataclass(frozen=True, kw_only=True)
class File(Part):
    """One file of the artifact: path relative to its top with ``/``, exact bytes, SHA-256."""

    path: FilePath
    bytes: Count
    sha256: Sha256


@dataclass(frozen=True, kw_only=True)
class ArtifactManifest(Document):
    """Manifest of an iwsltpack artifact.

    ``sha256`` is that of the canonical JSON with the field itself empty. Every file of the artifact but the manifest is
    in `files`. The manifest covers itself by `sha256` and by having only one valid byte sequence, so that no byte of
    an artifact is without a checksum.
    """

    SCHEMA: ClassVar[str] = "artifact"

    format: str = ARTIFACT_FORMAT
    format_version: Annotated[int, Keywords(enum=list(ARTIFACT_VERSIONS))] = 1
    tool: Tool
    base_model: BaseModel
    recipe: Recipe
    coding: CodingName
    tensors: tuple[Tensor, ...]
    files: tuple[File, ...]
    sha256: Sha256 = field(default="")

    def sealed(self) -> Self:
        """Return the same manifest with its own digest filled in."""
        return replace(self, sha256=self.digest())

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON with ``sha256`` empty."""
        return fileio.sha256_bytes(fileio.canonical_json({**Part.to_json(self), "sha256": ""}))

    @property
    def parameters(self) -> int:
        """Number of parameters the artifact gives back; another library's bookkeeping does not count."""
        return sum(tensor.parameters for tensor in self.tensors if not tensor.name.endswith(BOOKKEEPING))
