"""What every recipe does to the miniature: chrF, exact share and loss on the held-out voices, and bytes.

    python -m tools.miniature.recipes --output docs/miniature.md

Each recipe is built, loaded and scored through iwsltpack itself; the rows below the built-in ones round coarser than
any recipe, to show where the miniature gives way.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import iwsltpack
from iwsltpack.artifact.sizes import measure
from iwsltpack.building import mlp_layers
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.recipes import BUILT_IN
from iwsltpack.building.request import BuildRequest
from iwsltpack.documents.recipe import LayerRule, Recipe
from iwsltpack.system import fileio
from tools.miniature import speech, voices
from tools.miniature.evaluate import Pair, score_pairs, spoken_pairs

MODEL = Path("iwsltpack/demo/miniature")
NOISE_DB = 10.0
COARSE = tuple(
    Recipe(
        name=f"{name} to 2^-{bits}",
        description="coarser than any built-in recipe",
        techniques=("rounding",),
        layers=(LayerRule(pattern=pattern, bits=bits),),
    )
    for name, pattern in (("MLP", mlp_layers.pattern()), ("all linear", "."))
    for bits in (5, 4, 3)
)


def score_recipe(recipe: Recipe, quiet: Sequence[Pair], noisy: Sequence[Pair]) -> dict[str, Any]:
    """Build one recipe, load the artifact, score it on both sets."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "artifact"
        build_artifact(BuildRequest(MODEL, output, recipe))
        sizes = measure(output)
        model, processor = iwsltpack.load_model(output, device="cpu"), iwsltpack.load_processor(output)
        result = score_pairs(model, processor, quiet)
        other = score_pairs(model, processor, noisy, with_loss=False)
    return {
        "recipe": recipe.name,
        "bytes": sizes.total_bytes,
        "parameters": sizes.parameters,
        "chrf": result["chrf"],
        "exact": result["exact"],
        "loss": result["loss"],
        "chrf_noisy": other["chrf"],
        "signature": result["signature"],
        "signature_noisy": other["signature"],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| recipe (`zstd` coding) | bytes on disk | chrF | exact % | loss, nats/token | chrF, 10 dB noise |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['recipe']} | {row['bytes']:,} | {row['chrf']:.2f} | {row['exact']:.1f} | {row['loss']:.5f} "
        f"| {row['chrf_noisy']:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def page(rows: list[dict[str, Any]]) -> str:
    """Return the whole page: what was measured, the table, the signature."""
    signature = rows[0]["signature"]
    libraries = ", ".join(f"{name} {version}" for name, version in signature["versions"].items())
    return f"""# The miniature, recipe by recipe

The miniature is a demonstration model of a closed set of 56 sentences. These figures say what rounding does to *it*; they
are no forecast for a 7B model.

{table(rows)}

Measured by `python -m tools.miniature.recipes --output docs/miniature.md`: {signature["clips"]} clips (56 sentences in
{len(voices.TEST_VOICES)} espeak-ng voices that took no part in training or in choosing the checkpoint: {", ".join(voices.TEST_VOICES)};
{voices.NORMAL_SPEED} words a minute), greedy, {signature["decoding"]["max_new_tokens"]} new tokens at most, float32 on the CPU, each artifact built, loaded
and decoded through iwsltpack. Loss is teacher-forced on the references, closing token included. The last column is the
same clips in white noise at 10 dB.

- clips: SHA-256 `{signature["data_sha256"]}`; espeak-ng {speech.espeak_version()}
- chrF: `{signature["chrf"]}`
- {libraries}; iwsltpack {iwsltpack.__version__}

`selected-*`, `prune20-*` and the subsets touch the language model's MLP projections only, `global-*` every linear layer.
"""


def main() -> None:
    """Score every recipe and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=speech.default_cache())
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    quiet = spoken_pairs(voices.TEST_VOICES, arguments.cache)
    noisy = spoken_pairs(voices.TEST_VOICES, arguments.cache, noise_db=NOISE_DB)
    rows = []
    for recipe in (*(recipe for recipe in BUILT_IN.values() if recipe.engine == "codec"), *COARSE):
        rows.append(score_recipe(recipe, quiet, noisy))
        print(
            json.dumps({key: value for key, value in rows[-1].items() if "signature" not in key}), flush=True
        )
    fileio.write_bytes(arguments.output, page(rows).encode())


if __name__ == "__main__":
    main()
