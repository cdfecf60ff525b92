"""Paired tests against a baseline: bootstrap resampling and approximate randomisation.

chrF and BLEU are tested by sacrebleu's own implementation; COMET, a mean over segments, by the same two procedures
on its segment scores, with the same definition of the p-value. A result holds the p-values of both tests, half the
width of the system's 95 % confidence interval, and the seed, under the names that a score document's comparison has.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iwsltpack.errors import UsageError
from iwsltpack.scoring.sacrebleu_metrics import make_metric

SEED_VARIABLE = "SACREBLEU_SEED"
DEFAULT_SEED = 12345
BOOTSTRAP_SAMPLES = 1000
RANDOMIZATION_TRIALS = 10_000
BLOCK_VALUES = 4_000_000
"""Random choices drawn at once: bounds the memory of a test on many segments."""


def seed() -> int:
    """Return the seed of every draw: sacrebleu's variable where it is set."""
    told = os.environ.get(SEED_VARIABLE, str(DEFAULT_SEED))
    if not told.isdecimal():
        raise UsageError(
            "a test without a seed cannot be repeated", where=SEED_VARIABLE, expected="a number", got=told
        )
    return int(told)


def compare_surface(
    metric: str, system: Sequence[str], baseline: Sequence[str], references: Sequence[str], language: str
) -> dict[str, Any]:
    """Test chrF or BLEU of `system` against `baseline`, segment by segment the same references."""
    from sacrebleu.significance import PairedTest

    named: list[tuple[str, Sequence[str]]] = [("baseline", list(baseline)), ("system", list(system))]

    def run(kind: str, samples: int) -> Any:
        metrics = {metric: make_metric(metric, language, references)}
        _, results = PairedTest(named, metrics, None, test_type=kind, n_samples=samples)()
        (name,) = (key for key in results if key != "System")
        return results[name][1]

    drawn = seed()
    bootstrap = run("bs", BOOTSTRAP_SAMPLES)
    randomised = run("ar", RANDOMIZATION_TRIALS)
    # sacrebleu counts only draws beyond the observed difference, which makes two equal systems differ at p = 0.0001.
    equal = list(system) == list(baseline)
    return {
        "p_bootstrap": 1.0 if equal else float(bootstrap.p_value),
        "p_randomization": 1.0 if equal else float(randomised.p_value),
        "interval": float(bootstrap.ci),
        "seed": drawn,
    }


def compare_means(system: Sequence[float], baseline: Sequence[float]) -> dict[str, Any]:
    """Test the mean of segment scores of `system` against that of `baseline`: the same segments in the same order.

    The p-value is sacrebleu's, (draws beyond the observed difference + 1) / (draws + 1).
    """
    ours, theirs = np.asarray(system, np.float64), np.asarray(baseline, np.float64)
    if ours.shape != theirs.shape or ours.ndim != 1 or not ours.size:
        raise UsageError(
            "a paired test needs scores of the same segments", expected=ours.size, got=theirs.size
        )
    differences = ours - theirs
    observed = abs(float(differences.mean()))
    drawn = seed()
    size = differences.size

    def resampled(generator: np.random.Generator, rows: int) -> NDArray[np.float64]:
        chosen = generator.integers(size, size=(rows, size))
        return np.stack([differences[chosen].mean(axis=1), ours[chosen].mean(axis=1)])

    def swapped(generator: np.random.Generator, rows: int) -> NDArray[np.float64]:
        """Return the mean difference after swapping the systems on a random half of the segments."""
        swap = generator.integers(2, size=(rows, size), dtype=np.int8)
        return (1 - 2 * swap) @ differences / size

    sampled, sampled_ours = _draw(BOOTSTRAP_SAMPLES, size, drawn, resampled)
    centred = np.abs(sampled) - np.abs(sampled).mean()
    flipped = np.abs(_draw(RANDOMIZATION_TRIALS, size, drawn, swapped))
    ordered = np.sort(sampled_ours)
    cut = ordered.size // 40
    return {
        "p_bootstrap": _p_value(centred, observed),
        "p_randomization": _p_value(flipped, observed),
        "interval": float(ordered[ordered.size - cut - 1] - ordered[cut]) / 2,
        "seed": drawn,
    }


def _draw(
    draws: int,
    segments: int,
    seed: int,
    statistics: Callable[[np.random.Generator, int], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Return the statistics of so many draws, shape (..., draws), worked out block by block."""
    generator, block = np.random.default_rng(seed), max(1, BLOCK_VALUES // segments)
    blocks = [statistics(generator, min(block, draws - start)) for start in range(0, draws, block)]
    return np.concatenate(blocks, axis=-1)


def _p_value(statistics: NDArray[np.float64], observed: float) -> float:
    # Two equal systems differ by nothing, and nothing is not beyond nothing: rounding must not say otherwise.
    beyond = int((statistics > observed - 1e-12).sum()) if observed else statistics.size
    return (beyond + 1) / (statistics.size + 1)
