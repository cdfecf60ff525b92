"""Linear layers that stay int8 codes on the device, multiplied without writing their float weight back.

A rounded weight is k * 2^-b with an integer code k; a calibrated one is stretched besides by a scale of its row and one
of its column, which go to the layer's outputs and inputs. Codes from -127 to 127 are held as int8, the few outside it
apart, as the weights they are. On CUDA, few rows of input (decoding token by token) go through `int8_kernel`, which
converts codes in registers. Many rows (the prompt), and every other device, decode block by block into a bounded
scratch: there the library's matrix product is the better one, and the decoding is a small part of its time.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import nn

from iwsltpack.artifact.reader import Artifact
from iwsltpack.documents.artifact import Tensor
from iwsltpack.quantizers.quantizer import Quantizer
from iwsltpack.runtime.weights import Codes, rows_at_once

try:
    from iwsltpack.runtime import int8_kernel as kernel
except ImportError:  # Triton comes with torch's CUDA builds for Linux, not with every other build.
    kernel = None  # type: ignore[assignment]

LARGEST = 127
OUTLIER_SHARE = 1 / 256
"""Most outliers among a layer's weights. Each takes ten bytes where a code takes one, so that a layer at this bound
holds 0.52 of its float16 size; a layer over it is decoded."""
SCRATCH_VALUES = 1 << 24
"""Weights decoded at once: 32 MiB in half precision, which the cache of an H100 holds until they are multiplied."""
READ_VALUES = 1 << 22
"""Codes on their way to the device at once, in each of the loader's threads."""


class _Block(NamedTuple):
    """Rows `start` to `stop` of a weight; outliers `first` to `last` lie in them."""

    start: int
    stop: int
    first: int
    last: int


def read_codes(source: Artifact, entry: Tensor, device: torch.device, dtype: torch.dtype) -> Codes | None:
    """Read a rounded tensor of two axes as codes onto `device`, a few rows at a time, never as floats.

    `dtype` is the type of the model's floats. Return None where more than `OUTLIER_SHARE` of the codes do not fit int8,
    or the tensor is empty.
    """
    out_features, in_features = entry.shape
    quantizer = source.quantizer(entry.name)
    if quantizer is None or not out_features * in_features:
        return None
    room = int(OUTLIER_SHARE * out_features * in_features)
    step = rows_at_once(entry, READ_VALUES)
    # Zeros, because what pads a row is multiplied like the rest of it.
    codes = torch.zeros((out_features, -(-in_features // 16) * 16), dtype=torch.int8, device=device)
    places = [np.empty((0, 2), np.int64)]
    values = [np.empty(0, np.float16)]
    for start in range(0, out_features, step):
        stop = min(start + step, out_features)
        raw = np.require(source.codes(entry.name, start, stop), requirements=["C", "W"])
        block = torch.from_numpy(raw).to(device)
        outside = (block > LARGEST) | (block < -LARGEST)
        place = outside.nonzero().cpu().numpy()
        room -= len(place)
        if room < 0:
            return None
        if len(place):
            place[:, 0] += start
            values.append(quantizer.weights_at(block[outside].cpu().numpy(), *place.T))
            places.append(place)
            block.masked_fill_(outside, 0)
        codes[start:stop, :in_features] = block
    rows, columns = np.concatenate(places).T

    def placed(array: np.ndarray[Any, Any], kind: torch.dtype) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, kind)

    return Codes(
        codes=codes,
        in_features=in_features,
        scale=quantizer.step,
        starts=placed(np.searchsorted(rows, np.arange(out_features + 1 if len(rows) else 0)), torch.int32),
        rows=placed(rows, torch.int32),
        columns=placed(columns, torch.int32),
        values=placed(np.concatenate(values), dtype),
        **_scales(quantizer, out_features, device),
    )


def _scales(quantizer: Quantizer, rows: int, device: torch.device) -> dict[str, torch.Tensor]:
    if (scales := quantizer.scales) is None:
        return {}
    bits = torch.from_numpy(scales.view(np.int16)).to(device)
    return {"row_scale": bits[:rows].clone(), "column_scale": bits[rows:].clone()}


class Int8Linear(nn.Module):
    """A linear layer over int8 codes: y = x (K 2^-b + outliers)^T + bias.

    Not an `nn.Linear`: it has no weight to initialise, save or train. The bias has shape (out,).
    """

    codes: torch.Tensor
    starts: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor
    values: torch.Tensor
    row_scale: torch.Tensor | None
    column_scale: torch.Tensor | None

    def __init__(self, held: Codes, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.out_features, self.in_features, self.scale = len(held.codes), held.in_features, held.scale
        self.bias = bias
        for name in ("codes", "starts", "rows", "columns", "values", "row_scale", "column_scale"):
            self.register_buffer(name, getattr(held, name))
        # Fixed here, so that no forward has to ask the device where its outliers are.
        step = max(1, SCRATCH_VALUES // self.in_features)
        edges = [*range(0, self.out_features, step), self.out_features]
        bounds = np.searchsorted(held.rows.cpu().numpy(), edges).tolist()
        self._blocks = tuple(
            _Block(*edge, *bound) for edge, bound in zip(pairwise(edges), pairwise(bounds), strict=True)
        )
        self._for_kernel: Any = None

    @property
    def weight(self) -> torch.Tensor:
        """The decoded weight, made anew at every call, shape (out, in), on the layer's device in its dtype."""
        # A tensor made under inference mode would break autograd for ever after, so it is made outside of it.
        with torch.inference_mode(mode=False):
            return self._decode(_Block(0, self.out_features, 0, len(self.values)), None)

    def _decode(self, block: _Block, scratch: torch.Tensor | None) -> torch.Tensor:
        """Return some rows of the weight, in `scratch` where there is one."""
        rows = block.stop - block.start
        target = self.values.new_empty((rows, self.in_features)) if scratch is None else scratch[:rows]
        # A copy and a scaling in place: five times faster on a CPU than one product of mixed types.
        codes = self.codes[block.start : block.stop, : self.in_features]
        if self.row_scale is not None and self.column_scale is not None:
            # In the very order that gives the artifact's bits; see `iwsltpack.quantizers.scales.scaled`.
            wide = codes.float().mul_(_floats(self.row_scale[block.start : block.stop, None]) * self.scale)
            target.copy_(wide.mul_(_floats(self.column_scale)).half())
        elif math.frexp(self.scale)[0] == 0.5:
            target.copy_(codes).mul_(self.scale)
        else:  # Products with a power of two are exact, others are the float16 that the artifact holds.
            target.copy_(codes.float().mul_(self.scale).half())
        if block.last > block.first:
            here = slice(block.first, block.last)
            target[self.rows[here] - block.start, self.columns[here]] = self.values[here]
        return target

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._for_kernel = None
        return self

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return ``inputs @ weight.T + bias``; shape (..., in) -> (..., out)."""
        if inputs.is_cuda and kernel is not None and self._fits_kernel(inputs):
            return self._multiply_codes(inputs)
        return self._multiply_blocks(inputs)

    def _fits_kernel(self, inputs: torch.Tensor) -> bool:
        """Tell whether the kernel takes `inputs`; whatever it does not, the library judges, errors included."""
        return (
            0 < inputs.numel() <= kernel.MOST_ROWS * self.in_features
            and inputs.shape[-1] == self.in_features
            and inputs.dtype == self.values.dtype
            and inputs.device == self.codes.device
            and not inputs.requires_grad
        )

    def _multiply_codes(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.row_scale is not None and self.column_scale is not None:
            narrowed = (inputs * _floats(self.column_scale)).to(inputs.dtype)
            product = self._launch(narrowed, None) * _floats(self.row_scale)
            return (product if self.bias is None else product + self.bias).to(inputs.dtype)
        return self._launch(inputs, self.bias)

    def _unscaled(self) -> torch.Tensor:
        """Return the outliers' weights as the kernel takes them: without the scales of their rows and columns."""
        if self.row_scale is None or self.column_scale is None:
            return self.values
        scale = _floats(self.row_scale)[self.rows] * _floats(self.column_scale)[self.columns]
        return torch.where(scale > 0, self.values / scale, 0).to(self.values.dtype)

    def _launch(self, inputs: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if self._for_kernel is None:
            outliers = self.starts, self.rows, self.columns, self._unscaled()
            self._for_kernel = Codes(self.codes, self.in_features, self.scale, *outliers)
        flat = inputs.reshape(-1, self.in_features).contiguous()
        # Triton launches on the current device, wherever its arguments are. Compiled, torch sees to that itself; else
        # it is looked at first, because to set it takes as long as to start a kernel.
        if torch.compiler.is_compiling() or torch.cuda.current_device() == inputs.get_device():
            result = kernel.multiply(flat, self._for_kernel, bias)
        else:
            with torch.cuda.device(inputs.device):
                result = kernel.multiply(flat, self._for_kernel, bias)
        return result.view(*inputs.shape[:-1], self.out_features)

    def _multiply_blocks(self, inputs: torch.Tensor) -> torch.Tensor:
        if len(self._blocks) == 1:
            return nn.functional.linear(inputs, self._decode(self._blocks[0], None), self.bias)
        scratch = None
        if not inputs.requires_grad:  # Where it does, autograd keeps every block for the way back.
            scratch = self.values.new_empty((self._blocks[0].stop, self.in_features))
        output = inputs.new_empty((*inputs.shape[:-1], self.out_features))
        for block in self._blocks:
            bias = None if self.bias is None else self.bias[block.start : block.stop]
            part = nn.functional.linear(inputs, self._decode(block, scratch), bias)
            output[..., block.start : block.stop] = part
        return output

    def extra_repr(self) -> str:
        """Return the figures shown when the model is printed."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, step={self.scale}, "
            f"outliers={len(self.values)}"
        )


def _floats(scales: torch.Tensor) -> torch.Tensor:
    return scales.view(torch.float16).float()


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a model holds as int8 codes: layers, their weights, and how many of these lie outside int8.

    `bytes` are resident for them, outliers and padding included.
    """

    layers: int
    weights: int
    outliers: int
    bytes: int


def held_as_int8(model: nn.Module) -> Held:
    """Sum up the `Int8Linear` layers of a model."""
    layers = [module for module in model.modules() if isinstance(module, Int8Linear)]
    return Held(
        layers=len(layers),
        weights=sum(layer.out_features * layer.in_features for layer in layers),
        outliers=sum(len(layer.values) for layer in layers),
        bytes=sum(buffer.nbytes for layer in layers for buffer in layer.buffers()),
    )


def has_kernel() -> bool:
    """Tell whether Triton is here, without which CUDA devices decode blocks for every product."""
    return kernel is not None
