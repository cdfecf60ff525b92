"""The artifact's manifest: what the model is, how each tensor is stored, and a checksum of every byte."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from iwsltpack.documents.document import Document, Part
from iwsltpack.documents.layout import find_contradictions
from iwsltpack.documents.names import ARTIFACT_FORMAT, FORMAT_VERSION, MANIFEST_NAME, PARTIAL_SUFFIX
from iwsltpack.documents.recipe import Recipe
from iwsltpack.errors import ArtifactError, ValidationFailed
from iwsltpack.system import fileio

Coding = Literal["paper", "zstd", "pcodec"]
BOOKKEEPING = (".SCB", ".weight_format")
"""Scales and flags that bitsandbytes stores beside its int8 weights."""
Component = Literal["selected", "linear", "embedding", "audio_tower", "other"]
MANIFEST_LIMIT = 64 << 20
"""Bytes of a manifest at most; that of a model of 7 B parameters takes about 1 MB."""


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
    bytes: int
    parameters: int
    license: str | None = None
    sha256: str


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

    name: str
    shape: tuple[int, ...]
    dtype: str
    source_shape: tuple[int, ...]
    source_dtype: str
    component: Component
    linear: bool
    bits: int | None = None
    wide: bool = False
    entropy_bits: float | None = None
    chunk_rows: int = 0
    bytes: int = 0

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

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ArtifactManifest(Document):
    """The whole manifest. ``sha256`` is that of the canonical JSON with the field itself empty.

    Every file of the artifact but the manifest is in `files`; the manifest covers itself by `sha256` and by
    having only one valid byte sequence, so that no byte of an artifact is without a checksum.
    """

    SCHEMA: ClassVar[str] = "artifact"

    format: str = ARTIFACT_FORMAT
    format_version: int = FORMAT_VERSION
    tool: Tool
    base_model: BaseModel
    recipe: Recipe
    coding: Coding
    tensors: tuple[Tensor, ...]
    files: tuple[File, ...]
    sha256: str = field(default="")

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

    def tensor(self, name: str) -> Tensor:
        """Return the entry of one tensor; an unknown name is an `ArtifactError`."""
        for entry in self.tensors:
            if entry.name == name:
                return entry
        raise ArtifactError("no such tensor in the artifact", where=name)


def read_manifest(artifact: Path) -> ArtifactManifest:
    """Read and check an artifact's manifest: presence, version, schema, own digest, sense.

    Raises
    ------
    ArtifactError
        Not an artifact, half-built, of a version this program does not know, or altered.
    InputError
        The manifest cannot be read, or is no JSON.
    ValidationFailed
        The manifest does not fit its schema, or contradicts itself.
    """
    path = artifact / MANIFEST_NAME
    if not path.is_file():
        raise _not_an_artifact(artifact)
    raw = fileio.read_bytes(path, limit=MANIFEST_LIMIT)
    return parse_manifest(raw, fileio.parse_json(raw, path), path)


def parse_manifest(raw: bytes, data: Any, path: object) -> ArtifactManifest:
    """Check the manifest `data` that was parsed from `raw`; see `read_manifest` for what is raised."""
    if not isinstance(data, dict) or data.get("format") != ARTIFACT_FORMAT:
        raise ArtifactError("not an artifact manifest", where=path, expected=f'"format": "{ARTIFACT_FORMAT}"')
    if data.get("format_version") != FORMAT_VERSION:
        raise ArtifactError(
            "written in a format version this program does not know",
            where=path,
            expected=FORMAT_VERSION,
            got=data.get("format_version"),
            fix="install a newer iwsltpack",
        )
    manifest = ArtifactManifest.from_json(data, path=path)
    try:
        digest = fileio.sha256_bytes(fileio.canonical_json({**data, "sha256": ""}))
        altered = manifest.sha256 != digest or raw != fileio.canonical_json(data)
    except ValueError as error:  # NaN, or half a character: the canonical form has neither
        digest, altered = str(error), True
    if altered:
        raise ArtifactError(
            "the manifest was altered: it does not match its own checksum",
            where=path,
            expected=manifest.sha256,
            got=digest,
            fix="build or download the artifact again",
        )
    if problems := find_contradictions(manifest):
        raise ValidationFailed(
            "the manifest contradicts itself", problems, where=path, fix="do not use this artifact"
        )
    return manifest


def _not_an_artifact(artifact: Path) -> ArtifactError:
    if not artifact.exists():
        partial = artifact.with_name(artifact.name + PARTIAL_SUFFIX)
        if partial.is_dir():
            return ArtifactError(
                "the artifact is only half built",
                where=partial,
                fix=f"run the same `iwsltpack build … --output {artifact}` again: it goes on where it stopped",
            )
        return ArtifactError(
            "no such artifact", where=artifact, fix="build one: iwsltpack build SOURCE --output DIR"
        )
    return ArtifactError(
        "not an artifact", where=artifact, expected=f"a folder that holds {MANIFEST_NAME}", got="none there"
    )
