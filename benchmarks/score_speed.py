"""chrF and BLEU of many lines, and of one endless one, beside sacrebleu's own calls for the same numbers.

    python -m benchmarks.score_speed [--lines 100000] [--megabytes 10] [--json F]

A whole score and one for each segment, which is what `iwsltpack score` writes. Seconds of one process, one run; the
command ends with an error where a number differs from sacrebleu's.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from pathlib import Path

import sacrebleu
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from iwsltpack.scoring.sacrebleu_metrics import TOKENIZERS, score_surface
from iwsltpack.system import fileio


def by_sacrebleu(
    metric: str, hypotheses: list[str], references: list[str], language: str
) -> tuple[float, list[float]]:
    """Return the same as `score_surface`, by sacrebleu's public calls alone."""
    if metric == "chrf":
        whole = single = CHRF()
    else:
        tokenizer = TOKENIZERS.get(language, "13a")
        whole, single = BLEU(tokenize=tokenizer), BLEU(tokenize=tokenizer, effective_order=True)
    return (
        float(whole.corpus_score(hypotheses, [references]).score),
        [
            float(single.sentence_score(one, [other]).score)
            for one, other in zip(hypotheses, references, strict=True)
        ],
    )


def cases(lines: int, megabytes: float) -> dict[str, tuple[list[str], list[str], str]]:
    """Return hypotheses, references and language of each case, by its name."""
    written = [
        f"Zeile {number} von vielen, die {number * 7919 % 4001} Dinge sagt, und mehr."
        for number in range(lines)
    ]
    size = int(megabytes * 1e6)
    return {
        f"{lines:,} lines, de": ([line.replace("mehr", "viel mehr") for line in written], written, "de"),
        f"one line of {megabytes:g} MB, de": (["la " * (size // 3)], ["wir sagen la"], "de"),
        f"one line of {megabytes:g} MB, zh": (["我们。" * (size // 9)], ["我们 la"], "zh"),
    }


def main() -> None:
    """Parse the command line, time both sides, compare their numbers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--megabytes", type=float, default=10)
    parser.add_argument("--json", type=Path, help="Where the figures go.")
    options = parser.parse_args()
    rows, differing = [], 0
    print("| case | metric | ours, s | sacrebleu, s | times |\n|---|---|---:|---:|---:|")
    for name, (hypotheses, references, language) in cases(options.lines, options.megabytes).items():
        for metric in ("chrf", "bleu"):
            taken, found = [], []
            for side in (score_surface, by_sacrebleu):
                began = time.perf_counter()
                found.append(side(metric, hypotheses, references, language))
                taken.append(time.perf_counter() - began)
            differing += found[0] != found[1]
            rows.append({"case": name, "metric": metric, "seconds": taken[0], "sacrebleu_seconds": taken[1]})
            print(
                f"| {name} | {metric} | {taken[0]:.2f} | {taken[1]:.2f} | {taken[1] / taken[0]:.1f} |",
                flush=True,
            )
    if options.json:
        signature = {"sacrebleu": sacrebleu.__version__, "python": platform.python_version()}
        fileio.write_json(options.json, {"signature": signature, "rows": rows, "differing": differing})
    if differing:
        sys.exit(f"{differing} of {len(rows)} differ from sacrebleu's numbers")


if __name__ == "__main__":
    main()
