"""What compression does to a model: how far its predictions are from the uncompressed one's, on held-out data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from iwsltpack.calibration.streams import reading, writing
from iwsltpack.calibration.towers import targets_only
from iwsltpack.documents.artifact import Damage, Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from iwsltpack.calibration.towers import Batch
    from iwsltpack.system.progress import Reporter


def keep_predictions(model: Any, batches: Sequence[Batch], path: Path, reporter: Reporter) -> None:
    """Write down what a model predicts, for `damage_of` to compare with; what is there already stays.

    A file of log-probabilities in float32: tokens x vocabulary x 4 bytes.
    """
    if path.exists():
        return
    reporter.start("what the model predicts", len(batches))
    with writing(path) as add:
        for batch in batches:
            add(_log_chances(model, batch))
            reporter.advance()
    reporter.finish()


def damage_of(
    model: Any,
    batches: Sequence[Batch],
    path: Path,
    data: str,
    reporter: Reporter,
    vocabulary: Vocabulary | None = None,
) -> Damage:
    """Compare the predictions of a compressed model with those that `keep_predictions` wrote down.

    Parameters
    ----------
    model
        The compressed one.
    batches
        As they were for the other.
    path
        Of the predictions.
    data
        What the data set is called.
    reporter
        Is told of progress.
    vocabulary
        Of the tokens that were dropped: suppressed on both sides, as at generation.
    """
    kept = None if vocabulary is None else sorted({*range(vocabulary.tokens)} - {*vocabulary.ids()})
    reporter.start("measuring the damage", len(batches))
    losses = []
    for batch, expected in zip(batches, reading(path), strict=True):
        found = _log_chances(model, batch)
        if kept is not None:
            expected, found = (torch.log_softmax(each[:, kept], -1) for each in (expected, found))
        losses.append((expected.double().exp() * (expected.double() - found.double())).sum(-1))
        reporter.advance()
    reporter.finish()
    loss = torch.cat(losses)
    error = float(loss.std()) / math.sqrt(len(loss)) if len(loss) > 1 else 0.0
    # Equal predictions may differ by the last bit, to either side.
    figures = (float(f"{max(0.0, value):.6g}") for value in (float(loss.mean()), error))
    return Damage(kl=next(figures), kl_error=next(figures), tokens=len(loss), data=data)


@torch.no_grad()
def _log_chances(model: Any, batch: Batch) -> torch.Tensor:
    """Return the log-probabilities of all tokens at the targets, on the CPU; shape (targets, vocabulary)."""
    device = next(model.parameters()).device
    inputs = {
        name: value.to(device, model.dtype) if value.is_floating_point() else value.to(device)
        for name, value in batch.inputs.items()
    }
    with targets_only(model, batch.targets):
        logits = model(**inputs).logits
    return torch.log_softmax(logits.float().reshape(-1, logits.shape[-1]), -1).cpu()
