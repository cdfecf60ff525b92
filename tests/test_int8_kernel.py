"""Triton kernels over int8 codes: interpreted here against float64, compiled for two GPUs, run where there is one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

from int8_cases import CASES, DTYPES, Case, make, plan_of, run

from iwsltpack.runtime import int8_kernel as kernel
from iwsltpack.runtime.int8_kernel import MOST_ROWS, choose_plan, multiply

NAMES = [case.name for case in CASES]


@pytest.fixture(scope="module")
def interpreted() -> dict[str, dict[str, Any]]:
    """Every case in Triton's interpreter, in a process of its own: it has to be chosen before Triton is imported."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("int8_cases.py"))],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {record["case"]: record for record in map(json.loads, done.stdout.splitlines())}


def judge(case: Case, record: dict[str, Any]) -> None:
    assert record["shape"] == [case.rows, case.outputs]
    assert record["dtype"] == case.dtype
    assert record["error_against_bound"] <= 1
    assert record["same_bits"]
    assert record["largest"] > 0


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_interpreted_kernels_stay_within_the_bound_and_repeat_themselves(
    interpreted: dict[str, dict[str, Any]], case: Case
) -> None:
    judge(case, interpreted[case.name])


def test_the_cases_go_through_every_kernel() -> None:
    plans = [plan_of(case) for case in CASES]
    assert any(plan.block_m == 1 for plan in plans)
    assert any(plan.split_k > 1 for plan in plans)
    one = [case for case, plan in zip(CASES, plans, strict=True) if plan.block_m > 1 and plan.split_k == 1]
    assert {case.outliers > 0 for case in one} == {True, False}
    assert {case.dtype for case in one} == set(DTYPES)
    assert any(case.rows > plan.block_m > 1 for case, plan in zip(CASES, plans, strict=True))


@pytest.mark.parametrize(
    ("outputs", "depth"), [(11008, 4096), (4096, 11008), (4096, 4096), (8807, 4096), (7, 5)]
)
@pytest.mark.parametrize("rows", [1, 2, 16, 17, 64, MOST_ROWS])
def test_a_plan_covers_the_whole_depth_and_leaves_no_part_empty(rows: int, outputs: int, depth: int) -> None:
    for itemsize in (2, 4):
        plan = choose_plan(rows, outputs, depth, itemsize)
        steps = -(-depth // plan.block_k)
        each = -(-steps // plan.split_k)
        assert each * plan.split_k >= steps
        assert each * (plan.split_k - 1) < steps
        assert plan == choose_plan(rows, outputs, depth, itemsize)
        assert (plan.block_m == 1) == (rows == 1)
        assert plan.block_m == 1 or min(plan.block_m, plan.block_n, plan.block_k) >= 16


POINTERS = {"float16": "*fp16", "bfloat16": "*bf16", "float32": "*fp32"}


def compile_kernel(
    name: str, dtype: str, capability: int, constants: dict[str, Any], warps: int, stages: int
) -> Any:
    """Compile one kernel for a GPU that need not be here, for aligned pointers and sizes."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    function = getattr(kernel, name)
    floats = {"x", "bias", "values", "output", "target"}
    types: dict[str, str] = {}
    for argument in function.arg_names:
        if argument in constants:
            types[argument] = "constexpr"
        elif argument in floats:
            types[argument] = POINTERS[dtype]
        else:
            special = {
                "codes": "*i8",
                "starts": "*i32",
                "columns": "*i32",
                "partial": "*fp32",
                "scale": "fp32",
            }
            types[argument] = special.get(argument, "i32")
    if constants.get("partial"):
        types["target"] = "*fp32"
    names = list(types)
    aligned = [names.index(n) for n in names if types[n] not in ("constexpr", "fp32") and n != "rows"]
    source = ASTSource(
        fn=function,
        signature=types,
        constexprs={(names.index(key),): value for key, value in constants.items()},
        attrs={(place,): [["tt.divisibility", 16]] for place in aligned},
    )
    target = GPUTarget("cuda", capability, 32)
    return triton.compile(source, target=target, options={"num_warps": warps, "num_stages": stages})


def machine_code(compiled: Any, folder: Path) -> str:
    """Return the disassembly, by the tool that comes with Triton."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "nvdisasm"
    if not tool.is_file():
        pytest.skip("this Triton comes without nvdisasm")
    path = folder / "kernel.cubin"
    path.write_bytes(compiled.asm["cubin"])
    return subprocess.run([str(tool), str(path)], capture_output=True, text=True, check=True).stdout


def count(code: str, instruction: str) -> int:
    return len(re.findall(rf"\b{instruction}", code))


@pytest.fixture
def _fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("the interpreter compiles nothing")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))


@pytest.mark.slow
@pytest.mark.usefixtures("_fresh_cache")
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
@pytest.mark.parametrize("capability", [80, 90], ids=["A100", "H100"])
def test_the_kernel_for_one_row_reads_16_bytes_at_a_time_and_keeps_to_registers(
    tmp_path: Path, capability: int
) -> None:
    plan = choose_plan(1, 11008, 4096, 2)
    constants = {"block_n": plan.block_n, "block_k": plan.block_k, "stages": plan.stages}
    constants |= {"has_bias": True, "has_outliers": True}
    compiled = compile_kernel("_vector_kernel", "float16", capability, constants, plan.warps, 3)
    code = machine_code(compiled, tmp_path)
    assert count(code, r"(LDGSTS\S*\.128|LDG\.E\.128)") >= 2
    assert count(code, r"LDG\.E\.[US]8") == 0
    assert count(code, "(LDL|STL)") == 0
    assert count(code, "FFMA") >= plan.block_n * plan.block_k // (32 * plan.warps)


@pytest.mark.slow
@pytest.mark.usefixtures("_fresh_cache")
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
@pytest.mark.parametrize("capability", [80, 90], ids=["A100", "H100"])
@pytest.mark.parametrize(("rows", "dtype"), [(16, "float16"), (64, "bfloat16"), (MOST_ROWS, "float16")])
def test_the_kernel_for_several_rows_runs_on_the_tensor_cores(
    tmp_path: Path, capability: int, rows: int, dtype: str
) -> None:
    plan = choose_plan(rows, 4096, 11008, 2)
    constants: dict[str, Any] = {"block_m": plan.block_m, "block_n": plan.block_n, "block_k": plan.block_k}
    constants |= {"has_bias": False, "partial": plan.split_k > 1}
    compiled = compile_kernel("_blocks_kernel", dtype, capability, constants, plan.warps, plan.stages)
    code = machine_code(compiled, tmp_path)
    assert count(code, "HGMMA" if capability == 90 else "HMMA") > 0
    assert count(code, r"LDG\.E\.[US]8") == 0
    assert count(code, "(LDL|STL)") == 0
    # An H100 has 228 KiB of shared memory a multiprocessor, an A100 164: two programs at least are to fit.
    assert compiled.metadata.shared <= 82 << 10


@pytest.mark.slow
@pytest.mark.usefixtures("_fresh_cache")
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
@pytest.mark.parametrize("outliers", [False, True])
def test_the_kernel_that_adds_up_the_parts_compiles(outliers: bool) -> None:
    constants = {"parts": 6, "block_n": 32 if outliers else 256, "has_bias": True, "has_outliers": outliers}
    for capability in (80, 90):
        assert compile_kernel("_sum_kernel", "float16", capability, constants, 4, 3).asm["cubin"]


gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


class TestOnGPU:
    pytestmark = gpu

    @pytest.mark.parametrize("case", CASES, ids=NAMES)
    def test_kernels_stay_within_the_bound_and_repeat_themselves(self, case: Case) -> None:
        judge(case, run(case, "cuda"))

    @pytest.mark.parametrize("rows", [1, 4, 16, 64, MOST_ROWS])
    @pytest.mark.parametrize(("outputs", "depth"), [(11008, 4096), (4096, 11008), (4096, 8807)])
    def test_full_size_layers_stay_within_the_bound(self, rows: int, outputs: int, depth: int) -> None:
        case = Case(rows=rows, outputs=outputs, depth=depth, outliers=1000)
        judge(case, run(case, "cuda"))

    @pytest.mark.parametrize("rows", [1, 16])
    def test_a_product_can_be_captured_in_a_cuda_graph(self, rows: int) -> None:
        case = Case(rows=rows, outputs=256, depth=1024, outliers=20, split=3 if rows > 1 else None)
        inputs, weight, bias, _ = make(case, "cuda")
        expected = multiply(inputs, weight, bias, plan_of(case))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = multiply(inputs, weight, bias, plan_of(case))
        output.zero_()
        graph.replay()
        torch.cuda.synchronize()
        assert torch.equal(output, expected)
