"""The process mweralign runs in: its C++ part ends the whole process on some inputs, so it gets one of its own.

Standard input: a JSON list of ``[references, hypothesis]``, each a list of tokens. Standard output: for each, how many
hypothesis tokens fall to each reference.
"""

import importlib
import json
import sys


def segment_sizes(references: list[list[str]], hypothesis: list[str]) -> list[int]:
    """Return how many tokens of the hypothesis belong to each reference."""
    align_texts = importlib.import_module("mweralign").align_texts
    aligned: str = align_texts("\n".join(" ".join(tokens) for tokens in references), " ".join(hypothesis))
    return [len(line.split()) for line in aligned.split("\n")[: len(references)]]


if __name__ == "__main__":
    print(json.dumps([segment_sizes(*pair) for pair in json.load(sys.stdin)]))  # noqa: T201
