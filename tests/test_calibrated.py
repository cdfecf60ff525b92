"""The calibrated quantizer on cases whose answer is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iwsltpack.errors import InputError, IwsltpackError, UsageError
from iwsltpack.quantizers.calibrated import FLOOR, Factor, factorize, quantize
from iwsltpack.quantizers.columns import round_columns, rounder
from iwsltpack.quantizers.scales import QuantizedMatrix


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def correlated(columns: int, seed: int = 1) -> torch.Tensor:
    """Return a second moment with strong correlations and a wide range of scales."""
    inputs = normal(4 * columns, columns, seed=seed) @ normal(columns, columns, seed=seed + 1)
    inputs *= torch.logspace(-1, 1, columns)
    return inputs.T @ inputs / len(inputs)


def damage(weight: torch.Tensor, found: QuantizedMatrix, moment: torch.Tensor) -> float:
    error = weight.double() - torch.from_numpy(found.weights()).double()
    return float(((error @ moment.double()) * error).sum())


def steps(found: QuantizedMatrix) -> np.ndarray:
    """Return the step of every entry."""
    return found.row_scale.astype(float)[:, None] * found.column_scale.astype(float) * found.delta


def test_independent_inputs_and_equal_outputs_give_plain_rounding() -> None:
    weight = normal(70, 150)
    found = quantize(weight, factorize(torch.eye(150), 0.0), torch.ones(70), 0.25, rate_weight=0, refit=False)
    assert found.delta == 0.25
    assert (found.row_scale == 1).all()
    assert (found.column_scale == 1).all()
    assert np.array_equal(found.codes, torch.round(weight / 0.25).numpy())


def test_a_diagonal_moment_is_the_same_given_whole_or_as_its_diagonal() -> None:
    weight, diagonal = normal(30, 40), torch.linspace(0.1, 5, 40)
    ways = [
        quantize(weight, factorize(moment, 0.05), torch.linspace(1, 2, 30), 0.2)
        for moment in (diagonal, diagonal.diag())
    ]
    assert np.array_equal(ways[0].codes, ways[1].codes)
    assert np.array_equal(ways[0].row_scale, ways[1].row_scale)


def test_every_entry_may_add_the_same_damage() -> None:
    moment, sensitivity = correlated(48), torch.logspace(-2, 2, 20)
    factor = factorize(moment, 0.05)
    found = quantize(normal(20, 48), factor, sensitivity, 0.1, refit=False)
    floored = sensitivity * (1 - FLOOR) + sensitivity.mean() * FLOOR
    share = floored.sqrt()[:, None].double().numpy() * factor.diagonal.numpy() * steps(found)
    assert share == pytest.approx(np.full((20, 48), 0.1), rel=2e-3)  # scales are float16


@settings(max_examples=20, deadline=None)  # shared machines are slow at times
@given(st.integers(0, 50))
def test_feedback_beats_rounding_with_the_same_steps(seed: int) -> None:
    weight, moment = normal(40, 96, seed=seed), correlated(96, seed=seed + 7)
    found = quantize(weight, factorize(moment, 0.001), torch.ones(40), 2.0, rate_weight=0, refit=False)
    plain = QuantizedMatrix(
        codes=np.round(weight.numpy() / steps(found)).astype(np.int32),
        row_scale=found.row_scale,
        column_scale=found.column_scale,
        delta=found.delta,
    )
    assert damage(weight, found, moment) < 0.5 * damage(weight, plain, moment)


def test_the_damage_is_what_the_step_promises() -> None:
    weight, moment = normal(256, 200, seed=3), correlated(200, seed=4)
    factor = factorize(moment, 0.0)
    found = quantize(weight, factor, torch.ones(256), 0.3, rate_weight=0, refit=False)
    assert damage(weight, found, moment) == pytest.approx(weight.numel() * 0.3**2 / 12, rel=0.05)


def brute_force(weight: torch.Tensor, factor: Factor, found: QuantizedMatrix) -> np.ndarray:
    """Round column by column from the last, with float64 throughout."""
    assert factor.lower is not None
    lower, scales = factor.lower.double().numpy(), steps(found)
    values = weight.double().numpy()
    codes, errors = np.zeros_like(values), np.zeros_like(values)
    for c in reversed(range(values.shape[1])):
        target = values[:, c] + errors[:, c + 1 :] @ lower[c + 1 :, c] / lower[c, c]
        codes[:, c] = np.round(target / scales[:, c])
        errors[:, c] = values[:, c] - codes[:, c] * scales[:, c]
    return codes


def test_blocks_of_columns_change_nothing() -> None:
    weight, factor = normal(20, 200, seed=5), factorize(correlated(200, seed=6), 0.05)
    found = quantize(weight, factor, torch.linspace(1, 9, 20), 1.0, rate_weight=0, refit=False)
    assert (found.codes != brute_force(weight, factor, found)).mean() < 1e-3  # float32 against float64


def test_the_refit_is_the_best_factor_of_each_row() -> None:
    weight, moment = normal(30, 64, seed=8), correlated(64, seed=9)
    factor = factorize(moment, 0.02)
    assert factor.lower is not None
    damped = (factor.lower.double() @ factor.lower.double().T).numpy()
    plain, fitted = (
        quantize(weight, factor, torch.ones(30), 6.0, rate_weight=0.15, refit=refit)
        for refit in (False, True)
    )
    assert np.array_equal(plain.codes, fitted.codes)
    kept = plain.codes * steps(plain)
    best = ((kept @ damped) * weight.numpy()).sum(1) / ((kept @ damped) * kept).sum(1)
    assert fitted.row_scale / plain.row_scale.astype(float) == pytest.approx(best, rel=2e-3)
    assert damage(weight, fitted, moment) < damage(weight, plain, moment)


def test_a_row_of_zeros_keeps_its_scale() -> None:
    weight = normal(3, 16)
    weight[1] *= 1e-6
    found = quantize(weight, factorize(torch.eye(16), 0.05), torch.ones(3), 0.5)
    assert not found.codes[1].any()
    assert found.row_scale[1] == 1


def test_more_rate_weight_never_makes_a_code_larger() -> None:
    weight, factor = normal(60, 80, seed=11), factorize(torch.linspace(1, 2, 80), 0.0)
    sizes = [
        np.abs(quantize(weight, factor, torch.ones(60), 1.0, rate_weight=weigh, refit=False).codes)
        for weigh in (0.0, 0.05, 0.15, 0.5, 2.0)
    ]
    for smaller, larger in zip(sizes[1:], sizes[:-1], strict=True):
        assert (smaller <= larger).all()
        assert (larger - smaller).max() <= 1
    assert sizes[2].sum() < sizes[0].sum()


def test_the_same_input_gives_the_same_codes_and_large_codes_are_kept() -> None:
    weight, factor = normal(10, 20), factorize(correlated(20), 0.05)
    weight[3, 4] = 900.0
    first, second = (quantize(weight, factor, torch.ones(10), 0.01) for _ in range(2))
    assert first.codes.dtype == np.int32
    assert np.array_equal(first.codes, second.codes)
    assert np.array_equal(first.row_scale, second.row_scale)
    assert first.weights()[3, 4] == pytest.approx(900, rel=2e-3)


def test_rows_beyond_one_block_are_rounded_like_the_first() -> None:
    weight = normal(5000, 8, seed=12)
    factor = factorize(correlated(8), 0.05)
    whole = quantize(weight, factor, torch.ones(5000), 0.5, rate_weight=0)
    alone = quantize(weight[4096:], factor, torch.ones(904), 0.5, rate_weight=0)
    assert np.array_equal(whole.codes[4096:], alone.codes)


@pytest.mark.parametrize("outlier", [0.5, 30_000.0])
def test_codes_in_a_scratch_file_are_those_in_memory_and_nothing_is_left(
    outlier: float, tmp_path: Path
) -> None:
    weight = normal(5000, 8, seed=12)
    weight[4500, 3] = outlier  # in the second block: 16 bits held the codes of the first
    factor = factorize(torch.eye(8), 0.0)
    ways = [quantize(weight, factor, torch.ones(5000), 0.5, scratch=scratch) for scratch in (None, tmp_path)]
    assert all(found.codes.dtype == (np.int32 if outlier > 1000 else np.int16) for found in ways)
    assert isinstance(ways[1].codes, np.memmap)
    for number, found in enumerate(ways):
        found.save(tmp_path / f"{number}")
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


BROKEN = {
    "a NaN input": (lambda: factorize(torch.tensor([[1.0, np.nan], [np.nan, 1.0]]), 0.1, "x"), InputError),
    "no input": (lambda: factorize(torch.zeros(4, 4), 0.05, "x"), InputError),
    "inputs of one direction": (lambda: factorize(torch.ones(9, 9), 0.0, "x"), InputError),
    "a negative damping": (lambda: factorize(torch.eye(2), -0.1, "x"), UsageError),
    "a NaN damping": (lambda: factorize(torch.eye(2), float("nan"), "x"), UsageError),
    "a zero step": (lambda: rounded(step=0.0), UsageError),
    "a negative step": (lambda: rounded(step=-1.0), UsageError),
    "an infinite step": (lambda: rounded(step=float("inf")), UsageError),
    "a tiny step": (lambda: rounded(step=1e-9), UsageError),
    "a NaN weight": (lambda: rounded(weight=torch.full((3, 4), np.nan)), InputError),
    "outputs that do not matter": (lambda: rounded(sensitivity=torch.zeros(3)), InputError),
    "a NaN gradient": (lambda: rounded(sensitivity=torch.tensor([1.0, np.nan, 1.0])), InputError),
}


def rounded(
    weight: torch.Tensor | None = None, sensitivity: torch.Tensor | None = None, step: float = 0.5
) -> QuantizedMatrix:
    return quantize(
        normal(3, 4) if weight is None else weight,
        factorize(torch.eye(4), 0.0),
        torch.ones(3) if sensitivity is None else sensitivity,
        step,
        where="x",
    )


@pytest.mark.parametrize("case", BROKEN)
def test_broken_input_gets_one_clear_error(case: str) -> None:
    attempt, kind = BROKEN[case]
    with pytest.raises(IwsltpackError) as caught:
        attempt()
    assert type(caught.value) is kind
    assert caught.value.where == "x"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("feedback", [True, False])
def test_columns_rounded_by_a_recorded_graph_are_those_rounded_one_by_one(feedback: bool) -> None:
    device = torch.device("cuda")
    for seed in range(3):  # the graph is recorded once, and given other numbers
        values, fed = (normal(64, 300, seed=10 * seed + part).to(device) * 3 for part in (1, 2))
        lower = torch.linalg.cholesky(correlated(64, seed).double()).float().to(device)
        back = (fed, lower) if feedback else None
        given = values, back, lower.diagonal().contiguous(), torch.linspace(0.5, 2, 64).to(device), 0.15
        one_by_one = round_columns(*given)
        for part, expected in zip(rounder(device)(*given), one_by_one, strict=True):
            assert torch.equal(part, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_the_codes_are_those_of_the_cpu_but_for_ties() -> None:
    weight, moment = normal(500, 200), correlated(200)
    found = []
    for device in ("cpu", "cuda"):
        factor = factorize(moment.to(device), 0.05)
        found.append(quantize(weight.to(device), factor, torch.linspace(1, 3, 500).to(device), 0.3))
    cpu, cuda = found
    assert (cpu.codes == cuda.codes).mean() > 0.995
    assert damage(weight, cuda, moment) == pytest.approx(damage(weight, cpu, moment), rel=0.01)
