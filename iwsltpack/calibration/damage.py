"""What compression does to a model: how far its predictions are from the uncompressed one's."""

import math
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from iwsltpack.calibration.block_rounding import Settings
from iwsltpack.calibration.model_weights import Weights
from iwsltpack.calibration.streams import reading, writing
from iwsltpack.calibration.towers import Batch
from iwsltpack.calibration.walk import Walk
from iwsltpack.documents.artifact import Damage, Vocabulary
from iwsltpack.system.progress import Reporter


def predict(
    weights: Weights,
    batches: Sequence[Batch],
    folder: Path,
    reporter: Reporter,
    without: Sequence[int] = (),
) -> Iterator[torch.Tensor]:
    """Walk a model and return the log-probabilities at every batch's targets: (targets, vocabulary), float32, CPU.

    The folder of the work is begun anew, and gone at the end. Rows of the embedding for tokens `without` are taken for
    zeros.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if not batches:
        return
    walk = Walk(weights, batches, folder, Settings(), lambda _: False, reporter)
    table = weights.model.get_input_embeddings()
    kept = torch.ones(len(table.weight), dtype=weights.dtype, device=weights.device)
    kept[list(without)] = 0
    handle = table.register_forward_hook(lambda _, args, found: found * kept[args[0]][..., None])
    try:
        walk.forward("what the model predicts")
    finally:
        handle.remove()
    for logits in walk.logits():
        yield torch.log_softmax(logits.float(), -1).cpu()
    shutil.rmtree(folder)


def keep_predictions(weights: Weights, batches: Sequence[Batch], path: Path, reporter: Reporter) -> None:
    """Write down what a model predicts, for `damage_of` to compare with; what is there already stays.

    A file of log-probabilities in float32: tokens x vocabulary x 4 bytes.
    """
    if path.exists():
        return
    with writing(path) as add:
        for found in predict(weights, batches, path.with_suffix(".walk"), reporter):
            add(found)


def damage_of(
    weights: Weights,
    batches: Sequence[Batch],
    path: Path,
    data: str,
    reporter: Reporter,
    vocabulary: Vocabulary | None = None,
) -> Damage:
    """Compare the predictions of a compressed model with those that `keep_predictions` wrote down for the same batches.

    `data` is what the data set is called. Tokens that the `vocabulary` drops are suppressed on both sides, as at
    generation.
    """
    kept = None if vocabulary is None else _kept(vocabulary)
    found = predict(weights, batches, path.with_suffix(".walk"), reporter)
    loss = torch.cat([_divergence(*each, kept) for each in zip(reading(path), found, strict=True)])
    error = float(loss.std()) / math.sqrt(len(loss)) if len(loss) > 1 else 0.0
    # Equal predictions may differ by the last bit, to either side.
    figures = (float(f"{max(0.0, value):.6g}") for value in (float(loss.mean()), error))
    return Damage(kl=next(figures), kl_error=next(figures), tokens=len(loss), data=data)


def _kept(vocabulary: Vocabulary) -> list[int]:
    return sorted({*range(vocabulary.tokens)} - {*vocabulary.ids()})


def _divergence(expected: torch.Tensor, found: torch.Tensor, kept: list[int] | None) -> torch.Tensor:
    """Return that of each row of log-probabilities, all tokens but the `kept` ones suppressed."""
    if kept is not None:
        expected, found = (torch.log_softmax(each[:, kept], -1) for each in (expected, found))
    return (expected.double().exp() * (expected.double() - found.double())).sum(-1)


@dataclass(frozen=True, kw_only=True)
class Dropping:
    """What the data and the uncompressed model make of the tokens that a recipe drops.

    Attributes
    ----------
    used, tokens
        Dropped tokens in prompts and answers, and all tokens there.
    share
        Probability that the model gives to dropped tokens, mean over the answers.
    kl
        Divergence of the model without their rows from the model with them, nats a token of the answers. They are
        suppressed on both sides, as at generation: what a model says where a dropped token was likely is in `share`.
    """

    used: int
    tokens: int
    share: float
    kl: float

    def __str__(self) -> str:
        """Return it as a sentence."""
        return (
            f"dropped tokens: {self.used} of the data's {self.tokens}; the model gives them "
            f"{100 * self.share:.2g} % of its probability; without their rows it is {self.kl:.2g} nats a token away"
        )


def measure_dropping(
    weights: Weights, batches: Sequence[Batch], vocabulary: Vocabulary, folder: Path, reporter: Reporter
) -> Dropping:
    """Run a model on data with and without the rows of dropped tokens, in a new folder; see `Dropping`."""
    ids, kept = vocabulary.ids(), _kept(vocabulary)
    given = [
        torch.cat([value.reshape(-1) for name, value in batch.inputs.items() if name.endswith("input_ids")])
        for batch in batches
    ]
    hits = [int(torch.isin(tokens, torch.tensor(ids)).sum()) for tokens in given]
    touched = [batch for batch, hit in zip(batches, hits, strict=True) if hit]  # the others predict the same
    changed = predict(weights, touched, folder / "without", reporter, ids)
    answers, share, loss = 0, 0.0, 0.0
    for hit, found in zip(hits, predict(weights, batches, folder / "with", reporter), strict=True):
        answers, share = answers + len(found), share + float(found[:, list(ids)].exp().sum())
        if hit:
            loss += float(_divergence(found, next(changed), kept).sum())
    answers = max(answers, 1)
    return Dropping(used=sum(hits), tokens=sum(map(len, given)), share=share / answers, kl=loss / answers)
