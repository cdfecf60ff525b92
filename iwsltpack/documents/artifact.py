"""The artifact's manifest: what the model is, how each tensor is stored, and a checksum of every byte."""

import math
from collections.abc import Iterator
from dataclasses import field, replace
from typing import Annotated, Literal, Self

from iwsltpack.documents.document import OPTIONAL, Document, Part
from iwsltpack.documents.kinds import (
    Amount,
    Count,
    Crc32c,
    DType,
    Keywords,
    PositiveCount,
    Sha256,
    Text,
    TrackPair,
    whole,
)
from iwsltpack.documents.layout import ArrayLayout, group_metadata, matrix_shape
from iwsltpack.documents.names import ARTIFACT_FORMAT, ARTIFACT_VERSIONS
from iwsltpack.documents.recipe import Bits, Recipe, Step
from iwsltpack.errors import ArtifactError
from iwsltpack.system import fileio

BOOKKEEPING = (".SCB", ".weight_format")
"""Scales and flags that bitsandbytes stores beside its int8 weights."""
QuantizerName = Annotated[str, whole("[a-z0-9-]{1,40}")]
CodingName = Annotated[str, whole("[a-z0-9-]{1,40}")]
"""Any: the registry of codings knows which there are."""
SIDE_DTYPES = {"scales": "float16", "classes": "int8"}
"""Arrays beside codes that lie by class, and their types."""
Ranges = Annotated[str, whole(r"\d+(-\d+)?(,\d+(-\d+)?)*")]
"""Ascending numbers, and ranges of them with both ends: ``3,7-12``."""
Component = Literal["selected", "linear", "embedding", "audio_tower", "other"]
Shape = Annotated[tuple[Count, ...], Keywords(maxItems=16)]
TensorName = Annotated[str, whole(r"(?!zarr\.json(?![\s\S]))[A-Za-z0-9_][A-Za-z0-9_.-]*", maxLength=250)]
"""A tensor's name is that of a folder, beside the ``zarr.json`` of the group."""
FilePath = Annotated[str, whole(r"(?!/)(?!(.*/)?\.\.?(/|$))(?!.*//)(?!.*/$)[^\\\u0000-\u001f]+")]


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
        Fractional bits b where the tensor is rounded to multiples of 2^-b, as in every recipe of the paper.
    quantizer, step
        What else quantized it, and the step; since format 2. A tensor with neither is stored losslessly.
    classes
        Where the codes of a matrix lie class by class, beside its scales: the classes at most; since format 2. Of more
        axes than two, all but the first are its columns.
    zero_rows
        Rows that are zero because their tokens were dropped.
    wide
        Whether the codes take 32 bits in the store because one does not fit 16.
    entropy_bits
        Shannon entropy of the integer codes, bits a weight, given the class of each where there are classes; None where
        lossless.
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
    quantizer: QuantizerName | None = field(default=None, metadata=OPTIONAL)
    step: Step | None = field(default=None, metadata=OPTIONAL)
    classes: Annotated[int, Keywords(minimum=1, maximum=127)] | None = field(default=None, metadata=OPTIONAL)
    zero_rows: PositiveCount | None = field(default=None, metadata=OPTIONAL)
    wide: bool = False
    entropy_bits: Annotated[float, Keywords(minimum=0, maximum=32)] | None = None
    chunk_rows: Count = 0
    bytes: Count = 0

    @property
    def quantized(self) -> bool:
        """Whether it is stored as codes."""
        return self.bits is not None or self.quantizer is not None

    @property
    def array(self) -> ArrayLayout:
        """The array that holds its values or codes."""
        name = self.name if self.classes is None else f"{self.name}/codes"
        return ArrayLayout(name, self.shape, self.chunk_rows)

    @property
    def matrix_shape(self) -> tuple[int, int]:
        """Rows and columns, where codes lie by class."""
        return matrix_shape(self.shape)

    @property
    def side_arrays(self) -> tuple[ArrayLayout, ...]:
        """Scales and classes beside codes that lie by class: arrays of an entry for each row, then each column."""
        if self.classes is None:
            return ()
        length = sum(self.matrix_shape)
        return tuple(ArrayLayout(f"{self.name}/{part}", (length,), length) for part in SIDE_DTYPES)

    def paths(self, starts: range | None = None) -> Iterator[str]:
        """Yield the paths of all it takes to decode the chunks that begin at rows `starts`; None for the whole."""
        if self.classes is not None:
            yield group_metadata(self.name)
        for array in self.side_arrays:
            yield from array.paths(array.starts)
        yield from self.array.paths(self.array.starts if starts is None else starts)

    @property
    def values(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def parameters(self) -> int:
        """Number of values outside of the rows of dropped tokens."""
        return self.values - (self.zero_rows or 0) * math.prod(self.shape[1:])

    @property
    def source_parameters(self) -> int:
        """Number of values in the source, before pruning."""
        return math.prod(self.source_shape)


class Calibration(Part):
    """The data and settings that calibrated tensors were quantized by.

    Attributes
    ----------
    name
        Of the data set.
    sha256
        Of its segments and audio, as in a run's record.
    segments, tokens
        How much of it was used: segments, and tokens of the answers to them.
    labels
        Where the answers come from: references, or the model's own greedy outputs.
    references_sha256
        Of the references' file.
    pair
        Language pair.
    damping
        None where a rule chose one for each layer.
    step
        The global step.
    seed
        Of the labels drawn from the model's own distribution.
    """

    name: Text
    sha256: Sha256
    segments: Count
    tokens: Count
    labels: Literal["references", "model"]
    references_sha256: Sha256 | None = None
    pair: TrackPair
    damping: Annotated[float, Keywords(minimum=0)] | None
    step: Annotated[float, Keywords(exclusiveMinimum=0)]
    seed: int

    def __str__(self) -> str:
        """Return all but the digests as a phrase."""
        labels = "references" if self.labels == "references" else "the model's own outputs"
        damping = "by rule" if self.damping is None else f"{self.damping:g}"
        return (
            f"{self.name}, {self.pair}: {self.segments} segments, {self.tokens} tokens of {labels}; "
            f"step {self.step:g}, damping {damping}, seed {self.seed}"
        )


class Damage(Part):
    """What compression did to a model's predictions, measured on data that was held out from calibration.

    Attributes
    ----------
    kl, kl_error
        Kullback-Leibler divergence of the artifact's predictions from the uncompressed model's, in nats a token, and
        its standard error over the tokens.
    tokens
        Of answers that were predicted, each from the true ones before it.
    data
        Name of the data set.
    """

    kl: Amount
    kl_error: Amount
    tokens: Count
    data: Text

    def __str__(self) -> str:
        """Return all of it as a phrase."""
        return f"KL {self.kl:.4g} ± {self.kl_error:.2g} nats a token, on {self.tokens:,} held-out tokens of {self.data}"


class Vocabulary(Part):
    """The tokens that were dropped: their rows are zero, and no output may hold them.

    Attributes
    ----------
    tokens
        Rows of the embedding.
    dropped
        Ids of the tokens that were dropped.
    text_tokens, text_dropped
        Tokens of the recipe's text, and how many of them were dropped.
    """

    tokens: Annotated[int, Keywords(minimum=1, maximum=1 << 24)]
    dropped: Ranges
    text_tokens: Count | None = field(default=None, metadata=OPTIONAL)
    text_dropped: Count | None = field(default=None, metadata=OPTIONAL)

    def ids(self) -> list[int]:
        """Return the dropped tokens, ascending.

        Raises
        ------
        ArtifactError
            They are not, or are beyond the vocabulary.
        """
        found: list[int] = []
        for low, dash, high in (part.partition("-") for part in self.dropped.split(",")):
            first, last = int(low), int(high or low)
            if not (found[-1] if found else -1) < first <= last < self.tokens:
                raise ArtifactError(
                    "the dropped tokens are no ascending ids of the vocabulary",
                    expected=f"ids below {self.tokens}",
                    got=low + dash + high,
                )
            found += range(first, last + 1)
        return found

    def __str__(self) -> str:
        """Return it as a phrase."""
        count = len(self.ids())
        used = f"; {self.text_dropped} of the text's {self.text_tokens}" if self.text_tokens else ""
        return f"{count} of {self.tokens} ({100 * count / self.tokens:.1f} %){used}"


class File(Part):
    """One file of the artifact: path relative to its top with ``/``, exact bytes, SHA-256.

    A chunk has a CRC-32C too, which is cheaper to hold it against whenever it is read.
    """

    path: FilePath
    bytes: Count
    sha256: Sha256
    crc32c: Crc32c | None = field(default=None, metadata=OPTIONAL)


class ArtifactManifest(Document):
    """Manifest of an iwsltpack artifact.

    ``sha256`` is that of the canonical JSON with the field itself empty. Every file of the artifact but the manifest is
    in `files`. The manifest covers itself by `sha256` and by having only one valid byte sequence, so that no byte of
    an artifact is without a checksum.
    """

    SCHEMA = "artifact"

    format: str = ARTIFACT_FORMAT
    format_version: Annotated[int, Keywords(enum=list(ARTIFACT_VERSIONS))] = 1
    tool: Tool
    base_model: BaseModel
    recipe: Recipe
    coding: CodingName
    calibration: Calibration | None = field(default=None, metadata=OPTIONAL)
    damage: Damage | None = field(default=None, metadata=OPTIONAL)
    vocabulary: Vocabulary | None = field(default=None, metadata=OPTIONAL)
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
