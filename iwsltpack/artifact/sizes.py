"""How large an artifact is, by every measure in use, each under its own name.

GB = 10^9 bytes, GiB = 2^30 bytes. The organisers count the whole folder on disk; the paper's table counted the
linear layers alone, in GiB, and called it GB.
"""

from dataclasses import dataclass
from typing import Any, get_args

from iwsltpack.artifact.location import Place, locate
from iwsltpack.documents.artifact import ArtifactManifest, Component
from iwsltpack.documents.kinds import ITEM_BYTES

GB = 10**9
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class ComponentSize:
    """One part of the model: stored bytes, values, and the bytes the source took for it."""

    bytes: int
    parameters: int
    source_bytes: int

    @property
    def bits_per_weight(self) -> float:
        """Stored bits a value."""
        return 8 * self.bytes / self.parameters if self.parameters else 0.0


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Every measure of one artifact; exact bytes.

    Attributes
    ----------
    total_bytes
        Every file in the folder, manifest included: what the organisers rank.
    linear_bytes, source_linear_bytes
        Weights and biases of linear layers alone, stored and in the source: what the paper's table counts.
    components
        Tensor bytes by part of the model.
    state_dict_bytes
        Values of the decoded model in the dtypes that the artifact gives back: what the organisers' script weighs, as
        `torch.save(model.state_dict())`, but for the names in that file.
    side_bytes
        Configuration, tokenizer, processor, Zarr group, manifest.
    entropy_bits
        Mean Shannon entropy of the codes, given their class where there are classes, bits a weight, over the rounded
        layers; None without any.
    saved_by_dropping
        About what the rows of dropped tokens would take, had they been stored as the others.
    """

    total_bytes: int
    linear_bytes: int
    source_linear_bytes: int
    components: dict[str, ComponentSize]
    state_dict_bytes: int
    side_bytes: int
    entropy_bits: float | None
    parameters: int
    source_parameters: int
    source_bytes: int
    saved_by_dropping: int

    @property
    def bytes_above_entropy(self) -> int | None:
        """Stored bytes of the rounded layers, all files counted, above what the entropy of their codes comes to."""
        if self.entropy_bits is None:
            return None
        part = self.components["selected"]
        return part.bytes - round(self.entropy_bits * part.parameters / 8)

    @property
    def ratio(self) -> float:
        """Source bytes over total bytes."""
        return self.source_bytes / self.total_bytes

    def to_json(self) -> dict[str, Any]:
        """Return everything, units in the names."""
        selected = self.components["selected"]
        return {
            "total_bytes": self.total_bytes,
            "total_gb": self.total_bytes / GB,
            "total_gib": self.total_bytes / GIB,
            "linear_layers_bytes": self.linear_bytes,
            "linear_layers_gib": self.linear_bytes / GIB,
            "source_linear_layers_bytes": self.source_linear_bytes,
            "state_dict_bytes": self.state_dict_bytes,
            "source_bytes": self.source_bytes,
            "ratio_to_source": self.ratio,
            "parameters": self.parameters,
            "source_parameters": self.source_parameters,
            "side_bytes": self.side_bytes,
            "saved_by_dropping_bytes": self.saved_by_dropping,
            "components": {
                name: {**vars(part), "bits_per_weight": part.bits_per_weight}
                for name, part in self.components.items()
            },
            "selected_bits_per_weight": selected.bits_per_weight if selected.parameters else None,
            "selected_entropy_bits_per_weight": self.entropy_bits,
            "selected_bytes_above_entropy": self.bytes_above_entropy,
        }


def measure(where: Place) -> Sizes:
    """Measure an artifact; see `locate` for what is raised.

    The total of a folder is what the file system holds, not what the manifest says. Of a remote artifact only the
    manifest is read, and its word taken.
    """
    found = locate(where)
    return sizes_of(found.manifest, found.total_bytes)


def sizes_of(manifest: ArtifactManifest, total_bytes: int) -> Sizes:
    """Work out every measure from a manifest and the size of the whole folder."""
    parts = {name: [0, 0, 0] for name in get_args(Component)}
    linear = source_linear = 0
    entropy = weights = saved = 0.0
    for tensor in manifest.tensors:
        source_bytes = tensor.source_parameters * ITEM_BYTES[tensor.source_dtype]
        for index, amount in enumerate((tensor.bytes, tensor.parameters, source_bytes)):
            parts[tensor.component][index] += amount
        saved += tensor.bytes * (tensor.values - tensor.parameters) / max(tensor.parameters, 1)
        if tensor.linear:
            linear, source_linear = linear + tensor.bytes, source_linear + source_bytes
        if tensor.entropy_bits is not None:
            entropy, weights = entropy + tensor.entropy_bits * tensor.values, weights + tensor.parameters
    return Sizes(
        total_bytes=total_bytes,
        linear_bytes=linear,
        source_linear_bytes=source_linear,
        components={
            name: ComponentSize(bytes=stored, parameters=values, source_bytes=source)
            for name, (stored, values, source) in parts.items()
        },
        state_dict_bytes=sum(tensor.values * ITEM_BYTES[tensor.dtype] for tensor in manifest.tensors),
        side_bytes=total_bytes - sum(tensor.bytes for tensor in manifest.tensors),
        entropy_bits=entropy / weights if weights else None,
        parameters=manifest.parameters,
        source_parameters=manifest.base_model.parameters,
        source_bytes=manifest.base_model.bytes,
        saved_by_dropping=round(saved),
    )
