"""chrF and BLEU: sacrebleu's own, with its own signature, segment by segment as well."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iwsltpack.errors import MissingDependency, how_to_install

Ints = NDArray[np.int64]
TOKENIZERS = {"zh": "zh", "ja": "char", "ko": "char"}
"""BLEU's tokenizer by target language; sacrebleu's ``13a`` for all others. 13a reads a Chinese sentence as one
word. Japanese and Korean are counted by characters: their dictionaries are packages of their own."""
MAX_ORDER = {"chrf": 6, "bleu": 4}
BLOCK = 200_000
"""Symbols counted at once, what fits a processor's cache; a longer segment is counted by itself."""


def make_metric(metric: str, language: str, references: Sequence[str], *, sentence: bool = False) -> Any:
    """Return sacrebleu's object for ``chrf`` or ``bleu`` of a language (two letters), with the references taken in.

    With `sentence`, for scores of single segments, BLEU stops at the longest n-gram a segment has, as sacrebleu's own
    command does. Without sacrebleu it is a `MissingDependency`.
    """
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    except ImportError as error:
        raise MissingDependency("chrF and BLEU need sacrebleu", fix=how_to_install("score")) from error
    if metric == "chrf":
        return CHRF(references=[list(references)])
    tokenizer = TOKENIZERS.get(language, "13a")
    return BLEU(tokenize=tokenizer, effective_order=sentence, references=[list(references)])


def describe(metric: str, language: str) -> tuple[str, str]:
    """Return the metric's name and settings as they will be in the signature, without scoring anything."""
    made = make_metric(metric, language, ["x"])
    name = made.corpus_score(["x"], None).name
    return str(name), str(made.get_signature().format())


def score_surface(
    metric: str, hypotheses: Sequence[str], references: Sequence[str], language: str
) -> tuple[float, list[float]]:
    """Score all segments together and one by one with ``chrf`` or ``bleu``, 0 to 100, in a language of two letters.

    They are the very numbers of ``sacrebleu REF -i HYP -m chrf bleu -tok zh``. The caller has seen to it that there are
    as many hypotheses as references.
    """
    # sacrebleu counts n-grams one by one and twice over; from the counts on, the numbers are its own.
    whole = make_metric(metric, language, ["x"])
    single = make_metric(metric, language, ["x"], sentence=True)
    # A word's number is given when it is first asked for.
    numbers: dict[str, int] = defaultdict(itertools.count().__next__)
    symbols = _characters if metric == "chrf" else partial(_words, _fast_tokenizer(whole), numbers)
    counts = count_shared(symbols(hypotheses), symbols(references), MAX_ORDER[metric])
    if metric == "chrf":
        counts[:, :, 0] *= counts[:, :, 1] > 0  # as sacrebleu has it: no reference, no hypothesis
        statistics = counts.reshape(len(counts), -1)
    else:
        statistics = np.concatenate(
            [counts[:, :1, :2].reshape(-1, 2), counts[:, :, 2], counts[:, :, 0]], axis=1
        )
    scores = [float(single._compute_score_from_stats(line).score) for line in statistics.tolist()]
    return float(whole._compute_score_from_stats(statistics.sum(axis=0).tolist()).score), scores


def _characters(lines: Sequence[str]) -> list[Ints]:
    return [np.frombuffer("".join(line.split()).encode("utf-32-le"), np.uint32) for line in lines]


def _words(tokenize: Callable[[str], list[str]], known: dict[str, int], lines: Sequence[str]) -> list[Ints]:
    return [np.array([known[word] for word in tokenize(line)], np.int64) for line in lines]


def _fast_tokenizer(metric: Any) -> Callable[[str], list[str]]:
    """Return BLEU's tokenizer, quicker where sacrebleu sets characters apart one by one.

    They all get a space on both sides at once, which leaves a tenth of the work on 10 MB. The other steps are its own.
    """
    tokenizer = metric.tokenizer
    if not hasattr(tokenizer, "_post_tokenizer"):
        return lambda line: str(metric._preprocess_segment(line)).split()
    (marks, _), *steps = tokenizer._post_tokenizer._re
    chinese = getattr(tokenizer, "_is_chinese_char", None)
    seen: set[str] = set()
    spaced: dict[int, str] = {}

    def post(text: str) -> str:
        for character in set(text) - seen:
            seen.add(character)
            if character != " " and (marks.fullmatch(character) or (chinese and chinese(character))):
                spaced[ord(character)] = f" {character} "
        text = text.translate(spaced)
        for pattern, replacement in steps:
            text = pattern.sub(replacement, text)
        return text

    if chinese is not None:
        return lambda line: post(line.strip()).split()
    tokenizer._post_tokenizer = post
    return lambda line: str(metric._preprocess_segment(line)).split()


def count_shared(hypotheses: Sequence[Ints], references: Sequence[Ints], order: int) -> Ints:
    """Count the n-grams of each pair of segments, up to the length `order`.

    Segments are symbols, any numbers from 0, shape (length,). The counts are int64, shape (segments, order, 3): n-grams
    of the hypothesis, of the reference, and shared ones, each of which counts as often as it stands on both sides.
    """
    sizes = [len(one) + len(other) for one, other in zip(hypotheses, references, strict=True)]
    blocks, start = [np.zeros((0, order, 3), np.int64)], 0
    while start < len(sizes):
        stop, held = start + 1, sizes[start]
        while stop < len(sizes) and held + sizes[stop] <= BLOCK:
            held += sizes[stop]
            stop += 1
        blocks.append(_count_block(hypotheses[start:stop], references[start:stop], order))
        start = stop
    return np.concatenate(blocks)


def _count_block(hypotheses: Sequence[Ints], references: Sequence[Ints], order: int) -> Ints:
    lengths = np.array([len(line) for line in (*hypotheses, *references)])
    segments = len(hypotheses)
    sides, owners = np.divmod(np.repeat(np.arange(2 * segments), lengths), segments)
    symbols, radix = _ranked(np.concatenate([*hypotheses, *references]).astype(np.int64))
    shared = np.zeros((segments, order), np.int64)
    grams, top = symbols, radix
    for size in range(1, order + 1):
        if size > 1:
            if top * radix * segments * 2 >= 2**63:
                ranks = np.unique(grams, return_inverse=True)[1]
                grams, top = ranks, len(grams)
            grams = grams[:-1] * radix + symbols[size - 1 :]
            top *= radix
        last = len(grams)
        inside = (owners[:last] == owners[size - 1 :]) & (sides[:last] == sides[size - 1 :])
        keys = np.sort(_promising(((owners[:last] * top + grams) * 2 + sides[:last])[inside]))
        # Equal n-grams lie together now, the hypothesis' before the reference's.
        starts = np.flatnonzero(np.diff(keys, prepend=-1))
        counts, values = np.diff(starts, append=len(keys)), keys[starts]
        (pairs,) = np.nonzero(values[:-1] ^ 1 == values[1:])
        both = np.minimum(counts[pairs], counts[pairs + 1])
        shared[:, size - 1] = np.bincount(values[pairs] // 2 // top, weights=both, minlength=segments)
    totals = np.maximum(0, lengths.reshape(2, segments, 1) - np.arange(order))
    return np.stack([*totals, shared], axis=2)


def _promising(keys: Ints) -> Ints:
    """Leave out what the other side lacks, where one side is so much longer that this costs less than sorting it."""
    few = min(keys[keys % 2 == 0], keys[keys % 2 == 1], key=len)
    if len(keys) <= 8 * len(few) or not len(few):
        return keys if len(few) else few
    wanted = np.sort(few) ^ 1
    found = wanted[np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)] == keys
    return np.concatenate([few, keys[found]])


def _ranked(symbols: Ints) -> tuple[Ints, int]:
    """Return the symbols numbered without gaps, and how many different ones there are."""
    present = np.zeros(int(symbols.max(initial=0)) + 1, np.bool_)
    present[symbols] = True
    numbers = np.cumsum(present) - 1
    return numbers[symbols], max(1, int(numbers[-1]) + 1)
