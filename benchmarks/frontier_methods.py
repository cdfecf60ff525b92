"""Ways to compress a model's matrices, each with the bytes it really takes: for `benchmarks.frontier`.

Every way here changes weights in place to what its bytes say, so that all are judged by one loss on one model. HQQ,
NF4 and the K-quants are done by their own libraries on the CPU; GPTQ is this file's own code.
"""

from __future__ import annotations

import ctypes
import importlib.util
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from iwsltpack.artifact.reader import Artifact
from iwsltpack.calibration.moments import SecondMoment
from iwsltpack.calibration.towers import Batch

GROUP = 64
"""Weights that share a scale, in HQQ and NF4."""
GPTQ_GROUP, GPTQ_DAMPING = 128, 0.01
K_ROW = 256
"""Weights in a super-block of llama.cpp's K-quants."""

Change = Callable[[str, torch.Tensor], tuple[torch.Tensor, int]]
"""From a matrix and its name to what the compressed one says, and its bytes."""


@dataclass(frozen=True)
class Way:
    """One way to compress.

    Attributes
    ----------
    name
        In the table.
    code
        Whose code it is.
    prepare
        Given the model and calibration data, returns what is done to each matrix.
    """

    name: str
    code: str
    prepare: Callable[[Any, list[Batch]], Change]


def ways() -> dict[str, Way]:
    """Return every way but this project's own, by name."""
    hqq, own, llama = "hqq (library)", "this benchmark", "llama.cpp (libggml of pywhispercpp)"
    known = [
        Way("HQQ 4-bit g64", hqq, lambda *_: _hqq(4)),
        Way("HQQ 4-bit g64, zeros not rounded", hqq, lambda *_: _hqq(4, round_zero=False)),
        Way("HQQ 4/3-bit g64", hqq, lambda *_: _hqq_mix),
        Way("HQQ 3-bit g64", hqq, lambda *_: _hqq(3)),
        Way("NF4 g64, double quantized", "bitsandbytes (library)", lambda *_: _nf4),
        Way("GPTQ 4-bit g128", own, lambda model, data: _gptq(4, second_moments(model, data))),
        Way("GPTQ 3-bit g128", own, lambda model, data: _gptq(3, second_moments(model, data))),
        Way("Q4_K", llama, lambda *_: _k_quant("Q4_K")),
        Way("Q3_K", llama, lambda *_: _k_quant("Q3_K")),
    ]
    return {way.name: way for way in known}


@torch.no_grad()
def compress(matrices: dict[str, torch.nn.Parameter], change: Change) -> int:
    """Change weights in place to what is left of them; return the bytes they take."""
    total = 0
    for name, parameter in matrices.items():
        weights, size = change(name, parameter.detach())
        parameter.copy_(weights)
        total += size
    return total


def from_artifact(artifact: Artifact) -> Change:
    """Return the change to what an artifact holds."""

    def change(name: str, _: torch.Tensor) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(artifact.tensor(name).astype(np.float32)), artifact.entry(name).bytes

    return change


def _hqq(bits: int, **changed: Any) -> Change:
    """HQQ with the library's own settings for so many bits, but for those `changed`; scales and zeros in float16."""
    from hqq.core.quantize import BaseQuantizeConfig, Quantizer

    settings = BaseQuantizeConfig(nbits=bits, group_size=GROUP, axis=1)["weight_quant_params"] | changed

    def change(_: str, weight: torch.Tensor) -> tuple[torch.Tensor, int]:
        codes, facts = Quantizer.quantize(weight, device="cpu", compute_dtype=torch.float16, **settings)
        size = codes.numel() * codes.element_size() + 2 * (facts["scale"].numel() + facts["zero"].numel())
        facts["scale"], facts["zero"] = facts["scale"].half().float(), facts["zero"].half().float()
        return Quantizer.dequantize(codes, facts | {"compute_dtype": torch.float32}), size

    return change


def _hqq_mix(name: str, weight: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Three bits for the feed-forward layers, four for everything else."""
    narrow = any(part in name for part in ("fc1", "fc2", "mlp."))
    return _hqq(3 if narrow else 4)(name, weight)


def _nf4(_: str, weight: torch.Tensor) -> tuple[torch.Tensor, int]:
    from bitsandbytes import functional

    codes, state = functional.quantize_4bit(
        weight.contiguous(), blocksize=GROUP, quant_type="nf4", compress_statistics=True
    )
    kept = (codes, state.absmax, state.state2.absmax, state.offset)
    size = sum(tensor.numel() * tensor.element_size() for tensor in kept)
    return functional.dequantize_4bit(codes, state), size


def _k_quant(kind: str) -> Change:
    """Blocks of 256 weights in a row, whatever the width: 384 and 576 are no multiples, where llama.cpp falls back."""
    import gguf

    found = importlib.util.find_spec("_pywhispercpp")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("pywhispercpp, for llama.cpp's quantization code")
    library = ctypes.CDLL(str(Path(found.origin).with_name("libggml-base.so")))
    encode = library.ggml_quantize_chunk
    encode.restype = ctypes.c_size_t
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    encode.argtypes = [ctypes.c_int, pointer, pointer, number, number, number, pointer]
    code = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[code]

    def change(_: str, weight: torch.Tensor) -> tuple[torch.Tensor, int]:
        values = np.ascontiguousarray(weight.float().numpy()).reshape(-1, K_ROW)
        packed = np.zeros(values.size // block * size, np.uint8)
        done = encode(int(code), values.ctypes.data, packed.ctypes.data, 0, len(values), K_ROW, None)
        if done != packed.size:
            raise ValueError(f"llama.cpp wrote {done} bytes where {packed.size} were expected")
        back = gguf.quants.dequantize(packed.reshape(len(values), -1), code)
        return torch.from_numpy(back.reshape(weight.shape)), packed.size

    return change


@torch.no_grad()
def second_moments(model: Any, data: Iterable[Batch]) -> dict[str, torch.Tensor]:
    """Return ``E[x xT]`` of the inputs of every linear layer, from whole forward passes, by the name of its weight."""
    sums: dict[str, SecondMoment] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(_: Any, args: tuple[torch.Tensor, ...]) -> None:
            rows = args[0].detach().reshape(-1, args[0].shape[-1])
            zeros = torch.zeros(rows.shape[1], rows.shape[1], device=rows.device)
            sums.setdefault(f"{name}.weight", SecondMoment(zeros)).add(rows)

        return hook

    layers = [(name, part) for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)]
    handles = [part.register_forward_pre_hook(watch(name)) for name, part in layers]
    for batch in data:
        model(**batch.inputs, use_cache=False)
    for handle in handles:
        handle.remove()
    means = {name: total.mean() for name, total in sums.items()}
    output = model.get_output_embeddings()
    tied = [f"{name}.weight" for name, part in model.named_modules() if part is output]
    # The table that is shared with the output layer goes by the embedding's name.
    embedding = [name for name, part in model.named_modules() if part is model.get_input_embeddings()]
    return means | {f"{name}.weight": means[tied[0]] for name in embedding}


def _gptq(bits: int, moments: dict[str, torch.Tensor]) -> Change:
    """GPTQ, asymmetric, a float16 scale and a zero of so many bits for each group of a row."""

    def change(name: str, weight: torch.Tensor) -> tuple[torch.Tensor, int]:
        moment = moments[name].double()
        diagonal = moment.diagonal()
        diagonal[diagonal <= 0] = 1
        diagonal += GPTQ_DAMPING * diagonal.mean()
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(moment))
        upper = torch.linalg.cholesky(inverse, upper=True).float()
        left, columns = weight.float().clone(), weight.shape[1]
        rounded = torch.empty_like(left)
        for start in range(0, columns, GPTQ_GROUP):
            end = min(start + GPTQ_GROUP, columns)
            block = left[:, start:end].clone()
            low, high = block.amin(1).clamp(max=0), block.amax(1).clamp(min=0)
            scale = ((high - low) / (2**bits - 1)).clamp(min=1e-8).half().float()
            zero = torch.round(-low / scale)
            errors = torch.empty_like(block)
            for column in range(end - start):
                code = (torch.round(block[:, column] / scale) + zero).clamp(0, 2**bits - 1)
                rounded[:, start + column] = (code - zero) * scale
                place = start + column
                errors[:, column] = (block[:, column] - rounded[:, place]) / upper[place, place]
                block[:, column + 1 :] -= errors[:, column, None] * upper[place, place + 1 : end]
            left[:, end:] -= errors @ upper[start:end, end:]
        groups = len(weight) * math.ceil(columns / GPTQ_GROUP)
        return rounded, math.ceil((weight.numel() * bits + groups * (16 + bits)) / 8)

    return change
