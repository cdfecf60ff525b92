"""The columns of a block, rounded one by one; on a CUDA device by a recorded graph of all that this starts there.

Some forty kernels a column take the device less time than the host needs to start one of them.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch

LEAST_VARIANCE = 1e-4
"""Of a column's codes, for its rate model."""

Made = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Feedback = tuple[torch.Tensor, torch.Tensor] | None
Numbers = Sequence[float] | torch.Tensor


def round_columns(
    values: torch.Tensor, feedback: Feedback, diagonal: Numbers, steps: Numbers, rate_weight: float
) -> Made:
    """Round columns from the last to the first, and feed the error of each back into those before it.

    Parameters
    ----------
    values
        Of the weights, transposed: shape (columns, rows), float32, in units of each row's step.
    feedback
        What columns behind these push into each, of the same shape; and the Cholesky factor's rows and columns of
        these, float32. None where nothing is fed back.
    diagonal, steps
        Of the whole factor, and of the columns' scales: one number a column.
    rate_weight
        See `iwsltpack.quantizers.calibrated`.

    Returns
    -------
    tuple
        Codes, what each differs from the value by, and what it differs from its target by times the diagonal; all
        float32, of the shape of `values`.
    """
    codes, errors, left = (torch.empty_like(values) for _ in range(3))
    for c in range(len(values) - 1, -1, -1):
        target = values[c]
        if feedback is not None:
            pushed, lower = feedback[0][c], feedback[1]
            if c + 1 < len(values):
                pushed = pushed + errors[c + 1 :].T.mv(lower[c + 1 :, c])
            target = target + pushed / diagonal[c]
        codes[c] = _nearest(target / steps[c], rate_weight)
        errors[c] = values[c] - codes[c] * steps[c]
        left[c] = (target - codes[c] * steps[c]) * diagonal[c]
    return codes, errors, left


def rounder(device: torch.device) -> Callable[..., Made]:
    """Return `round_columns`; on a CUDA device what does the same into tensors that its next call overwrites."""
    return _replay if device.type == "cuda" else round_columns


def _replay(
    values: torch.Tensor, feedback: Feedback, diagonal: torch.Tensor, steps: torch.Tensor, rate_weight: float
) -> Made:
    recorded = _recorded(tuple(values.shape), feedback is not None, values.device, rate_weight)
    for place, tensor in zip(recorded.places, (values, diagonal, steps, *(feedback or ())), strict=True):
        place.copy_(tensor)
    recorded.graph.replay()
    return recorded.made


class _ColumnGraph:
    """A graph, the tensors it reads, and those it writes."""

    def __init__(
        self, shape: tuple[int, int], feedback: bool, device: torch.device, rate_weight: float
    ) -> None:
        values, fed = (torch.ones(shape, device=device) for _ in range(2))
        diagonal, steps = (torch.ones(shape[0], device=device) for _ in range(2))
        back = (fed, torch.ones(shape[0], shape[0], device=device)) if feedback else None
        self.places = [values, diagonal, steps, *(back or ())]
        aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with torch.cuda.device(device):
            # Libraries take their workspaces in a first run, outside of any graph.
            with torch.cuda.stream(aside):
                round_columns(values, back, diagonal, steps, rate_weight)
            torch.cuda.synchronize()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.made = round_columns(values, back, diagonal, steps, rate_weight)


_recorded = lru_cache(maxsize=16)(_ColumnGraph)


def _nearest(target: torch.Tensor, rate_weight: float) -> torch.Tensor:
    """Round targets, in steps, to codes; one step nearer to zero where the bits saved are worth the damage.

    Bits are those of a Gaussian with the column's variance, or of a Laplacian where that says less.
    """
    codes = torch.round(target)
    if rate_weight <= 0:
        return codes
    variance = target.square().mean().clamp(min=LEAST_VARIANCE)
    size = codes.abs()
    gaussian = (2 * size - 1) * (0.5 / math.log(2) / variance)
    bits = torch.minimum(gaussian, (2 / variance).sqrt() / math.log(2))
    smaller = (1 + 2 * (target.abs() - size) < rate_weight * bits) & (size > 0)
    return torch.where(smaller, codes - codes.sign(), codes)
