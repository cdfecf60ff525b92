"""Rounding that knows what a layer is fed and how much its outputs matter: the lossy step of calibrated recipes.

A linear layer ``y = W x`` sees inputs with the second moment ``H = E[x xT]``, and its output r matters to the loss as
``f_r = E[g_r^2]`` says, g being the gradient. An error ``E = W - What`` then costs about ``1/2 sum_r f_r (E H ET)_rr``.
With ``H = L LT`` (Cholesky) that is a sum of squares, one for every entry, if columns are rounded from the last to the
first and each one's error is fed back into those still to come:

- the step of entry (r, c) is ``delta * rho_r * alpha_c`` with ``alpha_c ~ 1 / L_cc`` and ``rho_r ~ 1 / sqrt(f_r)``, so
  that every entry adds the same damage;
- ``delta`` follows from one global step for all layers of a model, which trades bytes for damage between them.

The method is GPTQ's feedback (Frantar et al. 2022) with WaterSIC's column spacing and a spacing of the rows by Fisher
information. Codes are unbounded integers, meant for an entropy coder.

The same inputs give the same codes on one machine with one number of threads. Another machine, or another number of
threads, may add up products in another order, and a weight that lies halfway between two codes may then fall to either.
"""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from iwsltpack.errors import InputError, UsageError
from iwsltpack.quantizers.columns import rounder
from iwsltpack.quantizers.scales import QuantizedMatrix

FLOOR = 0.1
"""Part of the mean that is added to every row's sensitivity: a row that calibration hardly saw is not given up."""
RATE_WEIGHT = 0.05
"""Damage, in squared steps, that one saved bit may cost (rate-distortion optimisation); 0 rounds to the nearest."""
BLOCK_COLUMNS = 64
"""Columns rounded one by one between two matrix products."""
BLOCK_ROWS = 4096
"""Rows rounded at a time: it bounds the memory. Rows do not depend on each other, but each block of them has a rate
model of its own, so this number is part of the method."""
REFIT_LIMITS = (0.5, 2.0)
"""A row's factor never leaves these: outside them the fit follows noise."""
LARGEST = 1 << 24
"""Code that float32 holds exactly."""


@dataclass(frozen=True)
class Factor:
    """The Cholesky factor of a layer's damped second moment.

    Its diagonal, float64, shape (in,); and what is below and on it, float32, shape (in, in), or None if the moment is
    diagonal: nothing is fed back then.
    """

    diagonal: torch.Tensor
    lower: torch.Tensor | None

    @property
    def scale(self) -> float:
        """Geometric mean of the diagonal."""
        return math.exp(float(self.diagonal.log().mean()))


def factorize(moment: torch.Tensor, damping: float, where: str = "") -> Factor:
    """Damp and factor the second moment of a layer, which `where` names in errors.

    Parameters
    ----------
    moment
        ``E[x xT]``, any float type, shape (in, in); or its diagonal, shape (in,), where inputs do not overlap, as
        those of an embedding.
    damping
        Share of the mean of the diagonal that is added to it. Too little trusts noise (see `docs/calibration.md`).

    InputError: the inputs were not finite, or all zero. UsageError: `damping` is negative or not finite.
    """
    if not (math.isfinite(damping) and damping >= 0):
        raise UsageError("the damping must be a number from 0 on", where=where or None, got=damping)
    work = moment.to(torch.float64, copy=True)
    diagonal = work if work.ndim == 1 else work.diagonal()
    if not bool(torch.isfinite(work).all()):
        raise InputError(
            "the layer's inputs hold NaN or infinity",
            where=where or None,
            fix="see that the checkpoint works: decode a few segments with it uncompressed",
        )
    mean = float(diagonal.mean())
    if mean <= 0:
        raise InputError(
            "the layer got no input but zeros in calibration",
            where=where or None,
            fix="leave it out of the recipe, or calibrate on data that uses it",
        )
    diagonal += damping * mean
    if work.ndim == 1:
        # A column that is never used keeps a finite step even without damping.
        return Factor(work.clamp(min=mean * 1e-8).sqrt(), None)
    lower, failed = torch.linalg.cholesky_ex(work)
    if int(failed):
        raise InputError(
            "the layer's inputs do not span its columns, and the damping does not make up for it",
            where=where or None,
            got=f"damping {damping:g}",
            fix="calibrate on more data, or with a larger damping",
        )
    return Factor(lower.diagonal().clone(), lower.to(torch.float32))


def quantize(
    weight: torch.Tensor,
    factor: Factor,
    sensitivity: torch.Tensor,
    step: float,
    *,
    floor: float = FLOOR,
    rate_weight: float = RATE_WEIGHT,
    refit: bool = True,
    scratch: Path | None = None,
    where: str = "",
) -> QuantizedMatrix:
    """Round the weight matrix of a layer, which `where` names in errors, a block of rows at a time.

    Parameters
    ----------
    weight
        Shape (out, in), any float type.
    factor
        Of the layer's inputs.
    sensitivity
        ``E[g_r^2]`` of every output, shape (out,).
    step
        The global step: the square root of 24 times the damage, in nats a token, expected of each weight.
    floor, rate_weight
        See `FLOOR` and `RATE_WEIGHT`.
    refit
        Fit one factor a row afterwards, by least squares under the second moment.
    scratch
        Folder for a nameless file that holds the codes instead of memory: those of a vocabulary are gigabytes.

    InputError: weights or sensitivities are not finite, or no output matters. UsageError: no step.
    """
    if not (math.isfinite(step) and step > 0):
        raise UsageError("the step must be a positive number", where=where or None, got=step)
    sensitivity = sensitivity.to(torch.float64)
    mean = check_sensitivity(sensitivity, where)
    delta = float(np.float32(step / (math.sqrt(mean) * factor.scale)))
    columns = _half(factor.scale / factor.diagonal, where)
    rows = _half((mean / (sensitivity * (1 - floor) + mean * floor)).sqrt(), where)
    codes = _array(weight.shape, np.int16, scratch)
    for start in range(0, weight.shape[0], BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        if not bool(torch.isfinite(weight[block]).all()):
            raise InputError("the layer's weights hold NaN or infinity", where=where or None)
        steps = rows[block].float() * delta
        found, gain = _round(
            weight[block].float() / steps[:, None], factor, columns.float(), rate_weight, refit
        )
        if _largest(found, where) > np.iinfo(codes.dtype).max:
            narrow, codes = codes, _array(weight.shape, np.int32, scratch)
            codes[:start] = narrow[:start]
        codes[block] = found.cpu().numpy()
        if refit:
            rows[block] = _half(rows[block].double() * gain, where)
    return QuantizedMatrix(
        codes=codes, row_scale=rows.cpu().numpy(), column_scale=columns.cpu().numpy(), delta=delta
    )


def check_sensitivity(sensitivity: torch.Tensor, where: str = "") -> float:
    """Return the mean of a layer's sensitivities; refuse one that no step can follow from."""
    mean = float(sensitivity.mean())
    if not math.isfinite(mean) or mean <= 0:
        raise InputError(
            "no output of the layer matters to the loss, or the gradients are not finite",
            where=where or None,
            expected="a positive mean of squared gradients",
            got=mean,
            fix="leave the layer out of the recipe, or calibrate on data that uses it",
        )
    return mean


def _array(shape: Sequence[int], kind: type, scratch: Path | None) -> NDArray[np.integer]:
    """Return a new array in memory, or in a file that is gone when the array is."""
    if scratch is None:
        return np.empty(shape, kind)
    with tempfile.TemporaryFile(dir=scratch) as stream:
        return np.memmap(stream, kind, "w+", shape=tuple(shape))


def _largest(codes: torch.Tensor, where: str) -> int:
    """Return the largest magnitude among codes; refuse those that float32 does not hold exactly."""
    largest = int(codes.abs().max()) if codes.numel() else 0
    if largest > LARGEST:
        raise UsageError(
            "the step is too small for the weights",
            where=where or None,
            expected=f"codes up to {LARGEST}",
            got=largest,
        )
    return largest


def _half(scales: torch.Tensor, where: str) -> torch.Tensor:
    """Return scales as the float16 that is stored: the loop works with these, so that nothing is rounded later."""
    halves = scales.to(torch.float16)
    if not bool(((halves > 0) & torch.isfinite(halves)).all()):
        raise InputError(
            "the spacing of the steps leaves the range of float16",
            where=where or None,
            got=f"{float(scales.min()):g} to {float(scales.max()):g}",
            fix="use a larger damping",
        )
    return halves


def _round(
    scaled: torch.Tensor, factor: Factor, columns: torch.Tensor, rate_weight: float, refit: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Round some rows, given in units of their steps; return codes (rows, in) and what to multiply each row by.

    All works on the transposed block, where a column is contiguous.
    """
    values = scaled.T.contiguous()
    count = len(values)
    errors, codes = torch.empty_like(values), torch.empty_like(values)
    over = torch.zeros(values.shape[1], dtype=torch.float64, device=values.device)
    under = torch.zeros_like(over)
    run = rounder(values.device)
    # On the CPU, numbers are quicker than tensors of one.
    as_given = torch.Tensor.tolist if values.device.type == "cpu" else torch.Tensor.float
    diagonal, steps = as_given(factor.diagonal), as_given(columns)
    for end in range(count, 0, -BLOCK_COLUMNS):
        start = max(0, end - BLOCK_COLUMNS)
        block = slice(start, end)
        fed = _product(factor.lower, errors, end, block)
        feedback = None if factor.lower is None else (fed, factor.lower[block, block])
        made = run(values[block], feedback, diagonal[block], steps[block], rate_weight)
        codes[block], errors[block], left = made
        if refit:
            seen = _product(factor.lower, values, start, block)
            if seen is None:
                seen = values[block] * factor.diagonal[block, None].float()
            kept = (seen - left).double()
            over += (kept * seen).sum(0)
            under += kept.square().sum(0)
    gain = torch.where(under > 0, over / under.clamp(min=1e-300), torch.ones_like(under))
    return codes.T.to(torch.int32), gain.clamp(*REFIT_LIMITS)


def _product(lower: torch.Tensor | None, rows: torch.Tensor, first: int, block: slice) -> torch.Tensor | None:
    """Return ``L[first:, block]T @ rows[first:]``; None where the factor is diagonal."""
    return None if lower is None else lower[first:, block].T @ rows[first:]
