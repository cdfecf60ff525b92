"""Matrix products with int8 codes that are converted in registers: Triton kernels, and the table of their shapes.

``y = (x K^T) 2^-b + o + c``: x the input, K the codes, o what the outliers add, c the bias. Codes are exact in every
float type here, products are summed in float32, and the one scaling is by a power of two, so nothing but the order
of the sum tells the result from a float32 product with the decoded weight.

No result depends on timing: block shapes come from a fixed table, and sums that several programs share are finished
by a second kernel in a fixed order.
"""

# mypy: disable-error-code="import-untyped, no-untyped-def, untyped-decorator"

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from iwsltpack.runtime.weights import Codes

MOST_ROWS = 256
"""Rows of input up to which reading the weight bounds a product, so that these kernels pay."""
PROGRAMS = 384
"""Programs wanted at once: about three for each of the 108 to 132 multiprocessors of an A100 or H100."""


class Plan(NamedTuple):
    """How a product is cut up: blocks of input rows, outputs and depth, parts of the depth, warps, pipeline stages."""

    block_m: int
    block_n: int
    block_k: int
    split_k: int
    warps: int
    stages: int


ONE_ROW = Plan(1, 8, 512, 1, 4, 3)
"""Whole rows of codes to a program: 4 KiB a step and three steps in flight, eight programs to a multiprocessor."""


def choose_plan(rows: int, out_features: int, in_features: int, itemsize: int) -> Plan:
    """Return the plan for 1 to `MOST_ROWS` rows of input and a layer's shape; the same for the same shape, always.

    `itemsize` is bytes of an input value: float32 needs twice the room.
    """
    if rows == 1:
        return ONE_ROW
    if rows <= 32:
        block_m, block_n, block_k, warps = (16 if rows <= 16 else 32), 64, 128, 4
    else:
        block_m, block_n, block_k, warps = (64 if rows <= 64 else 128), 64, 64, 4
    if itemsize == 4:
        block_k //= 2
    tiles = _parts(out_features, block_n) * _parts(rows, block_m)
    depth = _parts(in_features, block_k)
    split_k = max(1, min(8, PROGRAMS // tiles, depth // 4))
    return Plan(block_m, block_n, block_k, split_k, warps, 4 if itemsize == 2 else 3)


def _parts(whole: int, size: int) -> int:
    return -(-whole // size)


def multiply(
    inputs: torch.Tensor, weight: Codes, bias: torch.Tensor | None, plan: Plan | None = None
) -> torch.Tensor:
    """Return ``inputs @ W^T + bias`` without ever writing W: shape (rows, out), in the inputs' dtype.

    Inputs are float16, bfloat16 or float32, shape (rows, in), rows from 1 to `MOST_ROWS`, contiguous, beside the codes;
    the bias has shape (out,). Without a `plan` it is the table's.
    """
    rows, in_features = inputs.shape
    out_features = weight.codes.shape[0]
    plan = plan or choose_plan(rows, out_features, in_features, inputs.element_size())
    output = torch.empty((rows, out_features), dtype=inputs.dtype, device=inputs.device)
    if plan.block_m == 1:
        _launch_vector(inputs, weight, bias, output, plan)
    elif plan.split_k == 1 and not weight.has_outliers:
        _launch_blocks(inputs, weight, bias, output, plan)
    else:
        partial = torch.empty((plan.split_k, rows, out_features), dtype=torch.float32, device=inputs.device)
        _launch_blocks(inputs, weight, None, partial, plan)
        _launch_sum(inputs, weight, bias, partial, output)
    return output


def _launch_vector(
    inputs: torch.Tensor, weight: Codes, bias: torch.Tensor | None, output: torch.Tensor, plan: Plan
) -> None:
    out_features, stride = weight.codes.shape
    _vector_kernel[(_parts(out_features, plan.block_n),)](
        inputs,
        weight.codes,
        inputs if bias is None else bias,
        weight.starts,
        weight.columns,
        weight.values,
        output,
        out_features,
        weight.in_features,
        stride,
        weight.scale,
        block_n=plan.block_n,
        block_k=plan.block_k,
        stages=plan.stages,
        has_bias=bias is not None,
        has_outliers=weight.has_outliers,
        num_warps=plan.warps,
    )


def _launch_blocks(
    inputs: torch.Tensor, weight: Codes, bias: torch.Tensor | None, target: torch.Tensor, plan: Plan
) -> None:
    """Write into `target` the product itself, (rows, out), or the float32 sums of its parts, (split_k, rows, out)."""
    rows = inputs.shape[0]
    out_features, stride = weight.codes.shape
    depth = _parts(_parts(weight.in_features, plan.block_k), plan.split_k) * plan.block_k
    tiles = _parts(out_features, plan.block_n) * _parts(rows, plan.block_m)
    _blocks_kernel[(tiles, plan.split_k)](
        inputs,
        weight.codes,
        inputs if bias is None else bias,
        target,
        rows,
        out_features,
        weight.in_features,
        stride,
        depth,
        weight.scale,
        block_m=plan.block_m,
        block_n=plan.block_n,
        block_k=plan.block_k,
        has_bias=bias is not None,
        partial=target.dim() == 3,
        num_warps=plan.warps,
        num_stages=plan.stages,
    )


def _launch_sum(
    inputs: torch.Tensor,
    weight: Codes,
    bias: torch.Tensor | None,
    partial: torch.Tensor,
    output: torch.Tensor,
) -> None:
    parts, rows, out_features = partial.shape
    # Every outlier of a block is compared with each of its rows: small blocks where there are any.
    block_n, warps = (32, 1) if weight.has_outliers else (256, 4)
    _sum_kernel[(_parts(out_features, block_n), rows)](
        partial,
        inputs,
        inputs if bias is None else bias,
        weight.starts,
        weight.columns,
        weight.values,
        output,
        rows,
        out_features,
        weight.in_features,
        weight.scale,
        parts=parts,
        block_n=block_n,
        has_bias=bias is not None,
        has_outliers=weight.has_outliers,
        num_warps=warps,
    )


@triton.jit
def _outliers(
    x,
    starts,
    columns,
    values,
    first_row,
    out_features,
    block_n: tl.constexpr,
    block_e: tl.constexpr = 32,
):
    """Return what the outliers of `block_n` rows from `first_row` add for one row of input, by row and column."""
    row = first_row + tl.arange(0, block_n)
    inside = row < out_features
    first = tl.load(starts + row, mask=inside, other=0)
    last = tl.load(starts + row + 1, mask=inside, other=0)
    low = tl.load(starts + first_row)
    high = tl.load(starts + tl.minimum(first_row + block_n, out_features))
    total = tl.zeros((block_n,), dtype=tl.float32)
    for begin in range(low, high, block_e):
        entry = begin + tl.arange(0, block_e)
        there = entry < high
        column = tl.load(columns + entry, mask=there, other=0)
        value = tl.load(values + entry, mask=there, other=0.0).to(tl.float32)
        product = value * tl.load(x + column, mask=there, other=0.0).to(tl.float32)
        mine = (entry[None, :] >= first[:, None]) & (entry[None, :] < last[:, None])
        total += tl.sum(tl.where(mine, product[None, :], 0.0), axis=1)
    return total


@triton.jit
def _vector_kernel(
    x,
    codes,
    bias,
    starts,
    columns,
    values,
    output,
    out_features,
    in_features,
    stride,
    scale,
    block_n: tl.constexpr,
    block_k: tl.constexpr,
    stages: tl.constexpr,
    has_bias: tl.constexpr,
    has_outliers: tl.constexpr,
):
    """One row of input: every program streams `block_n` whole rows of codes; one sum across lanes, at the end."""
    first_row = tl.program_id(0) * block_n
    row = first_row + tl.arange(0, block_n)
    inside = row < out_features
    line = codes + row.to(tl.int64)[:, None] * stride
    total = tl.zeros((block_n, block_k), dtype=tl.float32)
    for begin in tl.range(0, in_features, block_k, num_stages=stages):
        column = begin + tl.arange(0, block_k)
        code = tl.load(line + column[None, :], mask=inside[:, None] & (column < stride)[None, :], other=0)
        value = tl.load(x + column, mask=column < in_features, other=0.0)
        # Said outright: whether Triton fuses a product and a sum by itself depends on its version.
        total = tl.fma(code.to(tl.float32), value.to(tl.float32)[None, :], total)
    result = tl.sum(total, axis=1) * scale
    if has_outliers:
        result += _outliers(x, starts, columns, values, first_row, out_features, block_n)
    if has_bias:
        result += tl.load(bias + row, mask=inside, other=0.0).to(tl.float32)
    tl.store(output + row, result.to(output.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows"])
def _blocks_kernel(
    x,
    codes,
    bias,
    target,
    rows,
    out_features,
    in_features,
    stride,
    depth,
    scale,
    block_m: tl.constexpr,
    block_n: tl.constexpr,
    block_k: tl.constexpr,
    has_bias: tl.constexpr,
    partial: tl.constexpr,
):
    """Several rows of input: a block of outputs over one part of the depth, on the tensor cores.

    The weight is the left factor, which a Hopper tensor core takes from registers: where its codes are converted.
    Neighbouring programs share a block of codes, so that it is read from memory once for all rows of input.
    """
    across = tl.cdiv(rows, block_m)
    m = (tl.program_id(0) % across) * block_m + tl.arange(0, block_m)
    n = (tl.program_id(0) // across) * block_n + tl.arange(0, block_n)
    part = tl.program_id(1)
    line = codes + n.to(tl.int64)[:, None] * stride
    heard = x + m.to(tl.int64)[None, :] * in_features
    total = tl.zeros((block_n, block_m), dtype=tl.float32)
    for begin in range(part * depth, tl.minimum(part * depth + depth, in_features), block_k):
        k = begin + tl.arange(0, block_k)
        code = tl.load(line + k[None, :], mask=(n < out_features)[:, None] & (k < stride)[None, :], other=0)
        value = tl.load(heard + k[:, None], mask=(m < rows)[None, :] & (k < in_features)[:, None], other=0.0)
        total = tl.dot(code.to(value.dtype), value, total, input_precision="ieee")
    inside = (n < out_features)[:, None] & (m < rows)[None, :]
    if partial:
        place = (part.to(tl.int64) * rows + m.to(tl.int64))[None, :] * out_features + n[:, None]
        tl.store(target + place, total, mask=inside)
    else:
        total *= scale
        if has_bias:
            total += tl.load(bias + n, mask=n < out_features, other=0.0).to(tl.float32)[:, None]
        place = m.to(tl.int64)[None, :] * out_features + n[:, None]
        tl.store(target + place, total.to(target.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows"])
def _sum_kernel(
    partial,
    x,
    bias,
    starts,
    columns,
    values,
    output,
    rows,
    out_features,
    in_features,
    scale,
    parts: tl.constexpr,
    block_n: tl.constexpr,
    has_bias: tl.constexpr,
    has_outliers: tl.constexpr,
):
    """Finish what `_blocks_kernel` left in parts: their sum in order, scale, outliers, bias."""
    first = tl.program_id(0) * block_n
    m = tl.program_id(1).to(tl.int64)
    n = first + tl.arange(0, block_n)
    inside = n < out_features
    total = tl.zeros((block_n,), dtype=tl.float32)
    for part in tl.static_range(parts):
        total += tl.load(partial + (part * rows + m) * out_features + n, mask=inside, other=0.0)
    total *= scale
    if has_outliers:
        total += _outliers(x + m * in_features, starts, columns, values, first, out_features, block_n)
    if has_bias:
        total += tl.load(bias + n, mask=inside, other=0.0).to(tl.float32)
    tl.store(output + m * out_features + n, total.to(output.dtype.element_ty), mask=inside)
