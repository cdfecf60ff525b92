"""What rounding the output layer alone costs, by floor, damping and rate weight, on words calibration saw and did not.

    python -m benchmarks.frontier_vocabulary --models DIR --only whisper-tiny.en --amount 59 --bits 1.9 --json FILE

Hidden states are the uncompressed model's, so that nothing but the output layer errs. Moments are taken from `amount`
clips or texts that are for calibration, and the divergence from others of those: what `benchmarks.frontier` judges on
is not touched. Each row is brought to the same bits. DIR is what `benchmarks.frontier --prepare` filled.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.frontier_models import HALF, PACKAGES, Subject, Whisper, subject
from iwsltpack.building.chunk_packer import class_entropy
from iwsltpack.calibration.towers import Batch
from iwsltpack.quantizers.calibrated import factorize, quantize
from iwsltpack.system import fileio

TEXTS = 48
"""Of SmolLM2: those not calibrated on are judged."""
CHUNK = 1 << 22
WAYS = (
    {"floor": 0.1, "damping": 0.05, "rate_weight": 0.15},
    *({"floor": 0.1, "damping": 0.05, "rate_weight": weight} for weight in (0.05, 0.0)),
    *({"floor": floor, "damping": 0.05, "rate_weight": 0.0} for floor in (0.06, 0.03)),
    *({"floor": 0.03, "damping": damping, "rate_weight": 0.0} for damping in (0.1, 0.2, 0.35)),
)


class Seen(NamedTuple):
    """States in front of the output layer, (tokens, inputs), and the words that followed."""

    states: torch.Tensor
    words: torch.Tensor


@torch.no_grad()
def look(model: Any, batches: list[Batch]) -> Seen:
    """Return what the output layer is given at the targets."""
    states, words = [], []
    for batch in batches:
        ids = batch.inputs.get("decoder_input_ids", batch.inputs.get("input_ids"))
        states.append(model.model(**batch.inputs, use_cache=False).last_hidden_state[batch.targets])
        words.append(ids.roll(-1, 1)[batch.targets])
    return Seen(torch.cat(states), torch.cat(words))


def split(found: Subject, amount: int) -> tuple[list[Batch], list[Batch]]:
    """Return what moments are taken from, and what is judged."""
    if isinstance(found, Whisper):
        every, used = found.calibration(HALF), set(torch.linspace(0, HALF - 1, amount).int().tolist())
        return [every[index] for index in sorted(used)], [
            batch for index, batch in enumerate(every) if index not in used
        ]
    every = found.calibration(TEXTS)
    return every[:amount], every[amount:]


def measure(weight: torch.Tensor, data: Seen, judged: Seen, bits: float) -> list[dict[str, float]]:
    """Return a row for each of `WAYS`."""
    chances = torch.softmax(data.states @ weight.T, -1).double()
    sensitivity = (chances * (1 - chances)).mean(0)
    states = data.states.double()
    moment = states.T @ states / len(states)
    known = (judged.states @ weight.T).log_softmax(-1)
    new = ~torch.isin(judged.words, data.words)
    rows = []
    for way in WAYS:
        factor = factorize(moment, way["damping"])
        options = {name: value for name, value in way.items() if name != "damping"}
        step, got = 1e-4, math.inf
        while abs(got - bits) > 0.005:
            step *= 2 ** (got - bits) if math.isfinite(got) else 1
            matrix = quantize(weight, factor, sensitivity, step, **options)
            got = class_entropy(matrix.codes, CHUNK)
        errors = known.exp() * (
            known - (judged.states @ torch.from_numpy(matrix.weights()).float().T).log_softmax(-1)
        )
        kl = errors.sum(-1)
        rows.append(
            {
                **way,
                "bits": got,
                "kl": float(kl.mean()),
                "kl_error": float(kl.std() / math.sqrt(len(kl))),
                "kl_seen": float(kl[~new].mean()),
                "kl_new": float(kl[new].mean()),
            }
        )
        print("  ".join(f"{name} {value:.4g}" for name, value in rows[-1].items()), flush=True)
    return rows


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, required=True, help="Folder of the models.")
    parser.add_argument("--only", choices=PACKAGES, required=True)
    parser.add_argument("--amount", type=int, required=True, help="Clips or texts to calibrate on.")
    parser.add_argument("--bits", type=float, required=True, help="A weight of the output layer.")
    parser.add_argument("--json", type=Path, required=True, help="Where the figures go.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = subject(options.only, options.models)
    model = found.load()
    weight = model.get_output_embeddings().weight.detach()
    data, judged = (look(model, part) for part in split(found, options.amount))
    facts = {
        "tokens_an_input": len(data.states) / weight.shape[1],
        "judged_tokens": len(judged.states),
        "new_words": float((~torch.isin(judged.words, data.words)).double().mean()),
    }
    print(facts, flush=True)
    fileio.write_json(options.json, {**facts, "rows": measure(weight, data, judged, options.bits)})


if __name__ == "__main__":
    main()
