"""What a model loses with the tokens that a recipe drops, on the data it is calibrated on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iwsltpack.calibration.towers import Batch
    from iwsltpack.documents.artifact import Vocabulary


@dataclass(frozen=True, kw_only=True)
class Dropping:
    """What the data and the uncompressed model make of the tokens that go.

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


@torch.no_grad()
def measure_dropping(model: Any, batches: Sequence[Batch], vocabulary: Vocabulary) -> Dropping:
    """Run a model on data with and without the rows of dropped tokens; see `Dropping`."""
    table = model.get_input_embeddings().weight
    ids = torch.tensor(vocabulary.ids(), device=table.device)
    kept = torch.ones(len(table), dtype=torch.bool, device=table.device)
    kept[ids] = False
    used = tokens = answers = 0
    share = loss = 0.0
    for batch in batches:
        inputs = {name: value.to(table.device) for name, value in batch.inputs.items()}
        given = torch.cat([value.reshape(-1) for name, value in inputs.items() if name.endswith("input_ids")])
        hits = int(torch.isin(given, ids).sum())
        logits = model(**inputs).logits[batch.targets].float()
        used, tokens, answers = used + hits, tokens + len(given), answers + len(logits)
        share += float(torch.softmax(logits, -1)[:, ids].sum())
        if hits:  # else every other logit is what it was
            rows = table[ids].clone()
            table[ids] = 0
            found = model(**inputs).logits[batch.targets].float()
            table[ids] = rows
            before, after = (torch.log_softmax(each[:, kept], -1) for each in (logits, found))
            loss += float((before.exp() * (before - after)).sum())
    answers = max(answers, 1)
    return Dropping(used=used, tokens=tokens, share=share / answers, kl=loss / answers)
