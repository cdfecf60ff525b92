"""What is known of every matrix, kept in files; and the codes that follow from it at any step."""

import math
import os
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from iwsltpack.building.chunk_packer import class_entropy
from iwsltpack.building.plan import rows_per_chunk
from iwsltpack.calibration.model_weights import Weights
from iwsltpack.calibration.moments import Gathered, SecondMoment
from iwsltpack.calibration.streams import reading, writing
from iwsltpack.errors import InputError, UsageError
from iwsltpack.quantizers.calibrated import (
    FLOOR,
    RATE_WEIGHT,
    Factor,
    check_sensitivity,
    factorize,
    quantize,
)
from iwsltpack.quantizers.scales import SUFFIX, QuantizedMatrix
from iwsltpack.system import fileio
from iwsltpack.system.progress import Reporter

OUTPUT_SHARE = 0.9
"""Of the step of a matrix that makes logits: the softmax's curvature says too little of what errors do there."""
OUTPUT_FLOOR = 0.03
"""Of such a matrix, instead of `FLOOR`: most rows are words the data lacks; how likely they were says enough."""
OUTPUT_RATE_WEIGHT = 0.0
"""Of such a matrix, instead of `RATE_WEIGHT`: rounding towards zero makes a word less likely where it is right."""
FEW = 1.0
"""Tokens for each input of a layer below which a warning is due."""
GAUSSIAN = 0.5 * math.log2(2 * math.pi * math.e)
"""Bits of a Gaussian's codes at a step of one deviation, if steps were fine."""
SAMPLE = 1 << 16
"""Weights of a matrix that are rounded to foretell the bits of all."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to calibrate.

    Attributes
    ----------
    damping
        None for `default_damping` of each layer.
    seed
        Of the labels drawn from the model's own distribution.

    UsageError: a damping that is negative or not finite.
    """

    damping: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.damping is not None and not (math.isfinite(self.damping) and self.damping >= 0):
            raise UsageError("the damping must be a number from 0 on", got=self.damping)


def default_damping(tokens: int, inputs: int, *, output: bool = False) -> float:
    """Return the damping for a layer of so many inputs that saw so many tokens.

    What is before words the data lacks is not in the output layer's (`output`) inputs: eight times as many count as
    few there, and where they are fewer than the layer's inputs, errors in all directions count alike, or nearly.
    """
    if output and tokens < inputs:
        return 1.0
    return 0.05 if tokens >= (16 if output else 2) * inputs else 0.2  # measured: docs/calibration.md


def coherence(gathered: Gathered, factor: Factor) -> float:
    """Return what errors of a linear layer really cost, over what they would if its tokens were independent.

    Rounding with feedback leaves errors ``Z L^-1`` with independent entries in Z. They cost what the gradient G of the
    weight, of one sequence, says: ``|G L^-T|^2``, which is estimated by random signs. Sensitivities and second moments
    alone say ``sum |g|^2`` times the inputs. An encoder's tokens push the loss the same way: 3 to 8 times as much on
    whisper-tiny.en; those of its decoder, with gradients of one sign and the other, 0.3 to 0.9 times. Less than once
    does not count: with steps that large, below two bits, queries cost 14 times as much as foretold.
    """
    if gathered.probes is None or factor.lower is None:
        return 1.0
    white = torch.linalg.solve_triangular(factor.lower, gathered.probes, upper=False)
    return max(1.0, float(white.double().square().mean() / gathered.gradients.sum()))


@dataclass(eq=False)
class Moments:
    """The moments of all matrices, on disk: what takes the time is to gather them, and every step rounds by the same.

    Attributes
    ----------
    folder
        Gets ``NAME.factor`` and ``NAME.sensitivity``, which tell all that rounding needs, and ``NAME.json``: what
        they were made from. Names are the checkpoint's.
    settings
        How to calibrate.
    weights
        Where the matrices are.
    names
        Of those that are to be rounded; of the output layer's, the first alone.
    outputs
        Names of the output layer's weight, one or more; it is rounded under the first and written under all.
    targets
        Tokens of the output in the data.
    reporter
        Is warned.
    """

    folder: Path
    settings: Settings
    weights: Weights
    names: Sequence[str]
    outputs: Sequence[str]
    targets: int
    reporter: Reporter
    _told: set[tuple[int, int]] = field(default_factory=set, init=False)

    def check(self, found: Container[str], layers: Iterable[str]) -> None:
        """Refuse layers that were not run."""
        for name in layers:
            if name not in found:
                raise InputError(
                    "the layer was not run in calibration",
                    where=name,
                    fix="leave it out of the recipe, or calibrate on data that uses it",
                )

    def keep(self, found: dict[str, Gathered], layers: Iterable[str], whole: Container[str]) -> None:
        """Store what was found of `layers`, and take it out of `found`; of those in `whole`, by their own gradients.

        InputError: a layer was never run, or what was found of it cannot be used.
        """
        self.check(found, layers)
        self.folder.mkdir(parents=True, exist_ok=True)
        shared: tuple[SecondMoment, str] | None = None
        for name in layers:
            gathered, (outputs, inputs) = found.pop(name), self.weights.shapes[name]
            tokens = gathered.moment.tokens
            if name in whole:
                # Of row times column over all; unused rows, such as those of positions beyond the data, count as others
                # do on average, and every row half as much as that.
                rows, damping = gathered.moment.total(), self._damping(tokens, 1)
                usual = rows[rows > 0].mean()
                sensitivity = (torch.where(rows > 0, rows, usual) + usual) / (2 * self.targets)
                self._save(name, factorize(gathered.gradients / gathered.gradients.sum(), damping, name))
            elif not isinstance(gathered.moment, SecondMoment):
                # A row matters as often as it is used, a column as its gradients say. Every row is taken as used once
                # more than it was, so that words the data lacks keep their meaning.
                if not tokens:
                    raise InputError("no row of the embedding was used in calibration", where=name)
                sensitivity = (gathered.moment.total() + 1) * (tokens / (tokens + outputs) / self.targets)
                damping = self._damping(tokens, 1)
                self._save(name, factorize(gathered.gradients / tokens, damping, name))
            else:
                self._warn(name, tokens, inputs)
                damping = self._damping(tokens, inputs, output=name in self.outputs)
                if shared is None or shared[0] is not gathered.moment:
                    shared = gathered.moment, name
                    self._save(name, factorize(gathered.moment.mean(), damping, name))
                else:
                    self._file(name).unlink(missing_ok=True)
                    os.link(self._file(shared[1]), self._file(name))
                sensitivity = gathered.gradients / self.targets * coherence(gathered, self.factor(name))
            check_sensitivity(sensitivity, name)
            with writing(self.folder / f"{name}.sensitivity") as add:
                add(sensitivity)
            facts = {"tokens": tokens, "damping": damping, "sensitivity": float(sensitivity.mean())}
            fileio.write_json(self.folder / f"{name}.json", facts)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.factor"

    def _damping(self, tokens: int, inputs: int, *, output: bool = False) -> float:
        given = self.settings.damping
        return default_damping(tokens, inputs, output=output) if given is None else given

    def _warn(self, name: str, tokens: int, inputs: int) -> None:
        if tokens < FEW * inputs and (tokens, inputs) not in self._told:
            self._told.add((tokens, inputs))
            self.reporter.say(
                f"{name}: {tokens} tokens for {inputs} inputs are few, and so for other layers of its kind; "
                "more calibration data would help"
            )

    def _save(self, name: str, factor: Factor) -> None:
        with writing(self._file(name)) as add:
            add(factor.diagonal)
            if factor.lower is not None:
                add(torch.cat([row[: number + 1] for number, row in enumerate(factor.lower)]))

    def factor(self, name: str) -> Factor:
        """Return what was stored of a matrix's inputs."""
        place = self.weights.device
        diagonal, *below = (tensor.to(place) for tensor in reading(self._file(name)))
        lower = None
        if below:
            lower = torch.zeros(len(diagonal), len(diagonal), device=place)
            for number, part in enumerate(torch.split(below[0], list(range(1, len(diagonal) + 1)))):
                lower[number, : number + 1] = part
        return Factor(diagonal, lower)

    def _quantized(
        self, name: str, step: float, rows: slice = slice(None), scratch: Path | None = None
    ) -> QuantizedMatrix:
        [sensitivity] = reading(self.folder / f"{name}.sensitivity")
        output = name in self.outputs
        return quantize(
            self.weights.matrix(name)[rows],
            self.factor(name),
            sensitivity.to(self.weights.device)[rows],
            step * (OUTPUT_SHARE if output else 1),
            floor=OUTPUT_FLOOR if output else FLOOR,
            rate_weight=OUTPUT_RATE_WEIGHT if output else RATE_WEIGHT,
            scratch=scratch,
            where=name,
        )

    def round(self, step: float, folder: Path) -> Path:
        """Round every matrix into `folder`, those that are not there yet; return it.

        It gets ``NAME.matrix``, a `QuantizedMatrix`, for each.

        UsageError: `step` is not a positive number, or too small for the weights. InputError: weights
        are not finite.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.reporter.start("rounding", len(self.names))
        for name in self.names:
            wanted = [
                folder / f"{each}{SUFFIX}" for each in (self.outputs if name in self.outputs else [name])
            ]
            if not all(path.exists() for path in wanted):
                matrix = self._quantized(name, step, scratch=folder)
                for path in wanted:
                    matrix.save(path)
            self.reporter.advance()
        self.reporter.finish()
        return folder

    def guess(self, bits: float) -> float:
        """Return the step at which codes would take so many bits a weight if weights were Gaussian and fine steps."""
        total = weights = 0.0
        for name in self.names:
            weight = self.weights.matrix(name)
            diagonal = next(reading(self._file(name)))
            [sensitivity] = reading(self.folder / f"{name}.sensitivity")
            deviation = torch.linalg.vector_norm(weight, dtype=torch.float32) / math.sqrt(weight.numel())
            scales = diagonal.log2().mean() + sensitivity.mean().log2() / 2 + deviation.cpu().log2()
            total, weights = total + weight.numel() * float(scales), weights + weight.numel()
        return float(2 ** (total / weights + GAUSSIAN - bits))

    def bits(self, step: float) -> float:
        """Foretell the bits a weight that codes take at a step, from a sample of every matrix's rows."""
        bits = weights = 0.0
        for name in self.names:
            shape = self.weights.shapes[name]
            rows = slice(None, None, max(1, shape.numel() // SAMPLE))
            share = shape.numel() * (len(self.outputs) if name in self.outputs else 1)
            chunk = rows_per_chunk(tuple(shape)) * shape[1]
            bits += share * class_entropy(self._quantized(name, step, rows).codes, chunk)
            weights += share
        return bits / weights
