"""Products with int8 codes against float64, for the kernel tests: here in Triton's interpreter, on a GPU as compiled.

Run as a program with TRITON_INTERPRET=1 in the environment: prints a JSON line a case.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

import torch

from iwsltpack.runtime.int8_kernel import Plan, choose_plan, multiply
from iwsltpack.runtime.weights import Codes

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One product: `rows` x `depth` by `depth` x `outputs`."""

    dtype: str = "float16"
    rows: int = 1
    outputs: int = 70
    depth: int = 200
    bits: int = 10
    outliers: int = 0
    bias: bool = True
    split: int | None = None

    @property
    def name(self) -> str:
        tail = ("-bias" if self.bias else "") + (f"-split{self.split}" if self.split else "")
        shape = f"{self.rows}x{self.outputs}x{self.depth}"
        return f"{self.dtype}-{shape}-b{self.bits}-o{self.outliers}{tail}"


SHAPES = ((70, 200, 0), (33, 67, 9))
CASES = [
    *(
        Case(dtype=dtype, rows=rows, outputs=outputs, depth=depth, outliers=outliers)
        for place, dtype in enumerate(DTYPES)
        for turn, rows in enumerate((1, 3, 16, 70))
        for outputs, depth, outliers in (SHAPES if rows == 1 else (SHAPES[(place + turn) % 2],))
    ),
    *(
        Case(rows=rows, outputs=96, depth=1100, outliers=outliers, bias=False, split=3)
        for rows in (3, 16)
        for outliers in (0, 40)
    ),
    Case(dtype="float32", rows=5, outputs=65, depth=300, split=5),
    Case(rows=1, outputs=1, depth=1, bits=0),
    Case(rows=2, outputs=8, depth=16, bits=14, bias=False),
    Case(rows=1, outputs=9, depth=1030, bits=7, outliers=300),
    Case(rows=33, outputs=128, depth=128, bits=7),
    Case(rows=130, outputs=64, depth=64, bias=False),
]


def make(case: Case, device: str) -> tuple[torch.Tensor, Codes, torch.Tensor | None, torch.Tensor]:
    """Return input, weight as codes, bias, and the weight in float64; every int8 code, rows of zeros and ends occur."""
    random = torch.Generator().manual_seed(case.rows * 1000 + case.depth)
    dtype, step = DTYPES[case.dtype], 2.0**-case.bits
    shape = (case.outputs, case.depth)
    codes = torch.zeros((case.outputs, -(-case.depth // 16) * 16), dtype=torch.int8)
    codes[:, : case.depth] = torch.randint(-127, 128, shape, generator=random, dtype=torch.int8)
    codes[case.outputs // 2] = 0
    place = torch.randperm(case.outputs * case.depth, generator=random)[: case.outliers].sort().values
    row, column = place // case.depth, place % case.depth
    size = torch.randint(128, 2000, (case.outliers,), generator=random)
    sign = 1 - 2 * torch.randint(0, 2, (case.outliers,), generator=random)
    values = (size * sign * step).to(dtype)
    codes[row, column] = 0
    exact = codes[:, : case.depth].double() * step
    exact[row, column] = values.double()
    starts = torch.searchsorted(row, torch.arange(case.outputs + 1)) if case.outliers else row
    inputs = torch.randn((case.rows, case.depth), generator=random).to(dtype)
    bias = torch.randn(case.outputs, generator=random).to(dtype) if case.bias else None
    weight = Codes(
        codes.to(device),
        case.depth,
        step,
        starts.int().to(device),
        row.int().to(device),
        column.int().to(device),
        values.to(device),
    )
    return inputs.to(device), weight, None if bias is None else bias.to(device), exact


def plan_of(case: Case) -> Plan:
    """Return the table's plan, or one cut up so small that every loop runs more than once."""
    plan = choose_plan(case.rows, case.outputs, case.depth, DTYPES[case.dtype].itemsize)
    if case.split is None:
        return plan
    return plan._replace(split_k=case.split, block_k=64, block_n=32)


def run(case: Case, device: str) -> dict[str, Any]:
    """Return the largest error in units of the bound, and whether a second run gave the same bits.

    The bound: a float32 sum of n products in any order errs by at most n 2^-24 of the sum of their sizes; to it comes
    the rounding of the result to the dtype.
    """
    inputs, weight, bias, exact = make(case, device)
    output = multiply(inputs, weight, bias, plan_of(case))
    again = multiply(inputs, weight, bias, plan_of(case))
    wide = inputs.cpu().double()
    shift = 0.0 if bias is None else bias.cpu().double()
    expected = wide @ exact.T + shift
    size = wide.abs() @ exact.abs().T + (0.0 if bias is None else shift.abs())
    bound = (case.depth + 2) * 2.0**-24 * size + torch.finfo(output.dtype).eps * expected.abs() + 1e-30
    if output.dtype is torch.float16:
        bound += 2.0**-24  # under float16's normal numbers its steps no longer shrink
    excess = ((output.cpu().double() - expected).abs() / bound).max()
    return {
        "shape": list(output.shape),
        "dtype": str(output.dtype).removeprefix("torch."),
        "error_against_bound": float(excess) if torch.isfinite(output).all() else float("inf"),
        "same_bits": torch.equal(output, again),
        "largest": float(expected.abs().max()),
    }


def teach_interpreter_bfloat16() -> None:
    """Mend the interpreter's bfloat16, which it holds as bit patterns, but takes for integers in two places."""
    import numpy as np
    from triton import language as tl
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    plain_dot, plain_cast = InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl

    def create_dot(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        def widened(handle: Any) -> Any:
            if handle.dtype.scalar is not tl.bfloat16:
                return handle
            return TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

        return plain_dot(self, widened(a), widened(b), *rest)

    def cast_impl(self: Any, source: Any, target: Any) -> Any:
        if source.dtype.scalar.is_int() and target.scalar is tl.bfloat16:
            bits = source.data.astype(np.float32).view(np.uint32) >> 16  # exact for int8
            return TensorHandle(bits.astype(np.uint16), tl.bfloat16)
        return plain_cast(self, source, target)

    InterpreterBuilder.create_dot, InterpreterBuilder.cast_impl = create_dot, cast_impl
    InterpreterBuilder.create_si_to_fp = cast_impl


if __name__ == "__main__":
    teach_interpreter_bfloat16()
    for case in CASES:
        sys.stdout.write(json.dumps({"case": case.name, **asdict(case), **run(case, "cpu")}) + "\n")
