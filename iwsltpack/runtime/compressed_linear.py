"""Linear layers that stay compressed: decoded at first use (`cache`) or for each forward (`stream`), or held as
codes (`int8`).

transformers does the loading and the renaming; a small `HfQuantizer` swaps the linear layers for holders before, and
the holders for `CodedLinear` or `Int8Linear` after. What reaches a holder is the number of the tensor
(`weights.Handle`), so the mapping from checkpoint to module is transformers' own.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, Self, cast

import torch
from torch import nn
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from iwsltpack.artifact.reader import Artifact
from iwsltpack.documents.artifact import ArtifactManifest, Tensor
from iwsltpack.errors import ArtifactError
from iwsltpack.runtime.int8 import Int8Linear, read_codes
from iwsltpack.runtime.weights import LazyTensor

METHOD = "iwsltpack"
Keep = Literal["cache", "stream", "int8"]
THREADS = 4
"""Layers read at once as codes: as many as transformers' own loader reads."""


def layer_role(name: str) -> str | None:
    """Return what follows the last number in the name of a layer or its weight.

    It is the same for checkpoint and module names, which differ in front.

    >>> layer_role("language_model.model.layers.3.mlp.up_proj.weight")
    'mlp.up_proj'
    """
    parts = name.removesuffix(".weight").split(".")
    numbers = [index for index, part in enumerate(parts) if part.isdecimal()]
    return ".".join(parts[numbers[-1] + 1 :]) or None if numbers else None


def streamable(manifest: ArtifactManifest) -> frozenset[str]:
    """Return the tensors that may stay compressed: weights of the linear layers in numbered blocks.

    The output layer is not among them: it is read for every token and is tied to the embeddings in many models.
    """
    weights = [entry for entry in manifest.tensors if entry.name.endswith(".weight")]
    # A role with one layer that does not fit is left out as a whole: layers are swapped by role.
    unfit = {layer_role(entry.name) for entry in weights if not (entry.linear and len(entry.shape) == 2)}
    return frozenset(entry.name for entry in weights if layer_role(entry.name) not in {None, *unfit})


def rounded(manifest: ArtifactManifest) -> frozenset[str]:
    """Return those of the `streamable` tensors that the `int8` mode takes over: roles that have a rounded layer.

    A lossless layer among them is decoded: layers are swapped by role, all or none.
    """
    names = streamable(manifest)
    roles = {layer_role(entry.name) for entry in manifest.tensors if entry.quantized and entry.name in names}
    return frozenset(name for name in names if layer_role(name) in roles)


class _Holder(nn.Module):
    """Stands where a linear layer was while the loader runs; its weight receives the tensor's number."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.shape = (linear.out_features, linear.in_features)
        self.bias = linear.bias
        self.weight = nn.Parameter(torch.empty(1, dtype=torch.int64, device="meta"), requires_grad=False)


class CodedLinear(nn.Module):
    """A linear layer over a weight that the artifact decodes: y = x W^T + b.

    Not an `nn.Linear`: the loader would initialise its weight anew. `tensor` is that weight, undecoded, shape
    (out, in), the bias has shape (out,), `dtype` and `device` of `config` are those of the decoded weight. To `keep`
    it as ``cache`` is to keep what was decoded at first use; as ``stream``, to decode for every forward.
    """

    def __init__(self, tensor: LazyTensor, bias: nn.Parameter | None, config: "StreamingConfig") -> None:
        super().__init__()
        self.bias, self.keep = bias, config.keep
        self.out_features, self.in_features = tensor.shape
        self._tensor = tensor
        self._cached: torch.Tensor | None = None
        # Follows `.to()`, so that the layer knows where its parent went; never part of a state dict.
        place = torch.empty(0, dtype=config.dtype, device=config.device)
        self.register_buffer("_place", place, persistent=False)

    @property
    def weight(self) -> torch.Tensor:
        """The decoded weight, on the layer's device in its dtype."""
        if self._cached is not None:
            return self._cached
        weight: torch.Tensor = self._decode()
        if self.keep == "cache":
            self._cached = weight
        return weight

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _decode(self) -> torch.Tensor:
        place = self.get_buffer("_place")
        # A tensor made under inference mode would break autograd for ever after, so it is made outside of it.
        with torch.inference_mode(mode=False):
            return self._tensor.to(place.device, place.dtype)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._cached = None
        return self

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return ``inputs @ weight.T + bias``; shape (..., in) -> (..., out)."""
        return nn.functional.linear(inputs, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the figures shown when the model is printed."""
        return f"in_features={self.in_features}, out_features={self.out_features}, keep={self.keep}"


class StreamingConfig(QuantizationConfigMixin):
    """Tells transformers to use `StreamingQuantizer`; lives as long as the load, is never written.

    After a load as `int8`, `decoded` are the rounded layers that had to be decoded: too many of their codes are none.
    """

    def __init__(
        self,
        source: Artifact | None = None,
        streamed: frozenset[str] = frozenset(),
        keep: Keep = "stream",
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
        **_: Any,
    ) -> None:
        self.quant_method = METHOD  # type: ignore[assignment]
        self.source, self.streamed, self.keep = source, streamed, keep
        self.dtype, self.device = dtype, device or torch.device("cpu")
        self.decoded: list[str] = []

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        # transformers copies configurations; an opened artifact holds locks and is meant to be shared.
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return what may be shown of it: never the artifact's place."""
        return {"quant_method": METHOD, "keep": self.keep}


class StreamingQuantizer(HfQuantizer):
    """Swaps linear layers around transformers' own loading."""

    def __init__(self, quantization_config: StreamingConfig, **kwargs: Any) -> None:
        super().__init__(quantization_config, **kwargs)
        self.pre_quantized = True

    @property
    def is_compileable(self) -> bool:
        """Whether a token step may be compiled or recorded: only where no layer is decoded on the host."""
        return bool(cast("StreamingConfig", self.quantization_config).keep == "int8")

    def _process_model_before_weight_loading(self, model: nn.Module, **_: Any) -> nn.Module:
        config = cast("StreamingConfig", self.quantization_config)
        roles = {layer_role(name) for name in config.streamed}
        for name, module in list(model.named_modules()):
            if isinstance(module, nn.Linear) and layer_role(name) in roles:
                model.set_submodule(name, _Holder(module))
        return model

    def _process_model_after_weight_loading(self, model: nn.Module, **_: Any) -> nn.Module:
        config = cast("StreamingConfig", self.quantization_config)
        source = config.source
        if source is None:
            raise ArtifactError("a model that streams its weights cannot be loaded without its artifact")
        entries = sorted(source.manifest.tensors, key=lambda entry: entry.name)
        found: list[tuple[str, _Holder, Tensor]] = []
        for name, module in list(model.named_modules()):
            if not isinstance(module, _Holder):
                continue
            number = int(module.weight.item())
            entry = entries[number] if 0 <= number < len(entries) else None
            # A holder that received nothing, or another layer's number, stays: `refuse_unfilled` finds it.
            if entry is not None and entry.name in config.streamed and entry.shape == module.shape:
                found.append((name, module, entry))
        # Codes are read here and now; the other modes read nothing yet.
        with ThreadPoolExecutor(THREADS if config.keep == "int8" else 1) as pool:
            layers = list(pool.map(lambda item: _make_layer(config, source, item[1].bias, item[2]), found))
        for (place, _holder, entry), layer in zip(found, layers, strict=True):
            model.set_submodule(place, layer)
            if entry.quantized and isinstance(layer, nn.Linear):
                config.decoded.append(place)
        return model

    def is_serializable(self, **_: Any) -> bool:
        """Return False, so that `save_pretrained` refuses instead of writing half a model."""
        return False

    @property
    def is_trainable(self) -> bool:
        """Whether the weights can be trained: no."""
        return False


def _make_layer(
    config: StreamingConfig, source: Artifact, bias: nn.Parameter | None, entry: Tensor
) -> nn.Module:
    tensor = LazyTensor(source, entry)
    if config.keep != "int8":
        return CodedLinear(tensor, bias, config)
    if entry.quantized:
        codes = read_codes(source, entry, config.device, config.dtype)
        if codes is not None:
            return Int8Linear(codes, bias)
    out_features, in_features = entry.shape
    linear = nn.Linear(in_features, out_features, bias=False, device="meta")
    linear.weight = nn.Parameter(tensor.to(config.device, config.dtype))
    linear.register_parameter("bias", bias)
    return linear


def refuse_unfilled(model: nn.Module, model_dir: Path) -> None:
    """Refuse a model with layers that did not receive a tensor of theirs."""
    if layers := [name for name, module in model.named_modules() if isinstance(module, _Holder)]:
        raise ArtifactError(
            "a tensor does not fit its layer",
            where=model_dir,
            expected="shapes that agree with config.json",
            got=", ".join(layers[:5]),
            fix="build the artifact again from a checkpoint that matches its config.json",
        )


register_quantization_config(METHOD)(StreamingConfig)
register_quantizer(METHOD)(StreamingQuantizer)
