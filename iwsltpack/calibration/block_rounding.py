"""From what was gathered of a matrix to its codes, in a file of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from iwsltpack.calibration.moments import Gathered, Uses
from iwsltpack.errors import InputError, UsageError
from iwsltpack.quantizers.calibrated import RATE_WEIGHT, Factor, factorize, quantize
from iwsltpack.system import fileio

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from iwsltpack.system.progress import Reporter

OUTPUT_SHARE = 0.7
"""Of the step of a matrix that makes logits: the softmax's curvature says too little of what errors do there."""
FEW = 1.0
"""Tokens for each input of a layer below which a warning is due."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to calibrate.

    Attributes
    ----------
    steps
        One or more global steps; see `quantizers.calibrated.quantize`. All are rounded to from the same moments: what
        takes the time is to gather these.
    damping
        None for `default_damping` of each layer.
    rate_weight, refit
        See `quantizers.calibrated.quantize`.
    output_share
        See `OUTPUT_SHARE`.
    seed
        Of the labels drawn from the model's own distribution.
    """

    steps: tuple[float, ...]
    damping: float | None = None
    rate_weight: float = RATE_WEIGHT
    refit: bool = True
    output_share: float = OUTPUT_SHARE
    seed: int = 0


def check_settings(settings: Settings) -> None:
    """Refuse what cannot be calibrated with, before any work.

    Raises
    ------
    UsageError
        No step, a step that is not a positive number, or another number that makes no sense.
    """
    if not settings.steps or any(not (math.isfinite(step) and step > 0) for step in settings.steps):
        raise UsageError("the step must be a positive number", got=settings.steps)
    if settings.damping is not None and not (math.isfinite(settings.damping) and settings.damping >= 0):
        raise UsageError("the damping must be a number from 0 on", got=settings.damping)
    if not (math.isfinite(settings.rate_weight) and settings.rate_weight >= 0):
        raise UsageError("the rate weight must be a number from 0 on", got=settings.rate_weight)
    if not (math.isfinite(settings.output_share) and settings.output_share > 0):
        raise UsageError("the output layer's share of the step must be positive", got=settings.output_share)


def default_damping(tokens: int, inputs: int) -> float:
    """Return the damping for a layer of so many inputs that saw so many tokens."""
    return 0.05 if tokens >= inputs else 0.2


class Rounder:
    """Rounds matrices and writes them.

    Parameters
    ----------
    folders
        One for each of the steps: gets ``NAME.matrix``, a `QuantizedMatrix`, and ``NAME.json``: what it was made from.
        Names are the checkpoint's.
    settings
        How to calibrate.
    targets
        Tokens of the output in the data.
    outputs
        Names of the output layer's weight, one or more; it is rounded under the first and written under all.
    reporter
        Is warned.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        settings: Settings,
        targets: int,
        outputs: Sequence[str],
        reporter: Reporter,
    ) -> None:
        self.folders, self.settings, self.targets = folders, settings, targets
        self.outputs, self.reporter = outputs, reporter
        self._told: set[tuple[int, int]] = set()

    def check(self, found: Container[str], layers: Iterable[str]) -> None:
        """Refuse layers that were not run."""
        for name in layers:
            if name not in found:
                raise InputError(
                    "the layer was not run in calibration",
                    where=name,
                    fix="leave it out of the recipe, or calibrate on data that uses it",
                )

    def round(self, found: dict[str, Gathered], layers: Mapping[str, nn.Module]) -> None:
        """Round the weights of `layers`, each by what was found of it; what is done is taken out of `found`.

        Raises
        ------
        InputError
            A layer was never run, or what was found of it cannot be used.
        """
        self.check(found, layers)
        factor: tuple[int, Factor] | None = None
        for name, layer in layers.items():
            gathered = found.pop(name)
            weight: Any = layer.weight.detach()  # type: ignore[operator]
            if isinstance(gathered.moment, Uses):
                self._round_embedding(name, weight, gathered.moment, gathered.gradients)
                continue
            tokens, inputs = gathered.moment.tokens, weight.shape[1]
            damping = self._damping(name, tokens, inputs)
            if factor is None or factor[0] != id(gathered.moment):
                factor = id(gathered.moment), factorize(gathered.moment.mean(), damping, name)
            self._write(name, weight, factor[1], gathered.gradients / self.targets, tokens, damping)

    def _damping(self, name: str, tokens: int, inputs: int) -> float:
        if tokens < FEW * inputs and (tokens, inputs) not in self._told:
            self._told.add((tokens, inputs))
            self.reporter.say(
                f"{name}: {tokens} tokens for {inputs} inputs are few, and so for other layers of its kind; "
                "more calibration data would help"
            )
        return default_damping(tokens, inputs) if self.settings.damping is None else self.settings.damping

    def _round_embedding(self, name: str, weight: torch.Tensor, uses: Uses, gradients: torch.Tensor) -> None:
        """Round an embedding: a row matters as often as it is used, a column as its gradients say; nothing is fed back.

        Every row is taken as used once more than it was, so that words the data lacks keep their meaning.
        """
        if not uses.tokens:
            raise InputError("no row of the embedding was used in calibration", where=name)
        rows = len(weight)
        share = (uses.total() + 1) * (uses.tokens / (uses.tokens + rows) / self.targets)
        damping = default_damping(uses.tokens, 1) if self.settings.damping is None else self.settings.damping
        self._write(
            name, weight, factorize(gradients / uses.tokens, damping, name), share, uses.tokens, damping
        )

    def _write(
        self,
        name: str,
        weight: torch.Tensor,
        factor: Factor,
        sensitivity: torch.Tensor,
        tokens: int,
        damping: float,
    ) -> None:
        settings = self.settings
        facts = {"tokens": tokens, "damping": damping, "sensitivity": float(sensitivity.mean())}
        output = name in self.outputs
        for step, folder in zip(settings.steps, self.folders, strict=True):
            folder.mkdir(parents=True, exist_ok=True)
            matrix = quantize(
                weight,
                factor,
                sensitivity,
                step * (settings.output_share if output else 1),
                rate_weight=settings.rate_weight,
                refit=settings.refit,
                scratch=folder,
                where=name,
            )
            for written in self.outputs if output else [name]:
                fileio.write_json(folder / f"{written}.json", facts)
                matrix.save(folder / f"{written}.matrix")
