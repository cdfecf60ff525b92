"""Cut a document's output to the lines of its references, as the track does before it scores.

The alignment of least word errors is mweralign's (the successor of mwerSegmenter). Its C++ part, under GPL-3, ends
the process on some inputs: it runs in a process of its own, gets no input known to harm it, and only tells where to
cut. Text is never taken from its output, so nothing of a hypothesis can be lost or changed.
"""

import importlib.util
import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import regex

from iwsltpack.errors import InputError, MissingDependency, ResourceError, how_it_ended, how_to_install

SECONDS = 1800.0
MAX_CELLS = 20_000_000_000
"""Hypothesis tokens times reference tokens of one document; past it the alignment takes hours."""
MAX_TOKEN = 200
"""Characters of a token handed over; longer ones are runs that no reference holds."""
APART = "tell the documents apart: references as XML, or a CSV manifest with a column document"


def aligner_version() -> str:
    """Return the aligner's name and version, as it stands in signatures, or raise `MissingDependency`."""
    if importlib.util.find_spec("mweralign") is None:
        raise MissingDependency(
            "resegmentation needs mweralign",
            fix=f"{how_to_install('resegment')} (its C++ part is under GPL-3, which is why it is an extra)",
        )
    return f"mweralign-{metadata.version('mweralign')}"


def tokenize(text: str) -> list[regex.Match[str]]:
    """Return the places where a segment may begin and end: every word, CJK character and punctuation mark.

    >>> [token.group() for token in tokenize("我们用BERT，yes.")]
    ['我', '们', '用', 'BERT', '，', 'yes', '.']
    """
    cjk, other = r"\p{Han}\p{Hiragana}\p{Katakana}", r"\p{L}\p{M}\p{N}"
    pattern = rf"[{cjk}]|[{other}]+?(?=[{cjk}]|[^{other}]|$)|\S"
    return list(regex.finditer(pattern, text))


def resegment(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    documents: Sequence[str] | None = None,
    hypothesis_documents: Sequence[str] | None = None,
    spaces: bool = True,
) -> list[str]:
    """Cut hypotheses anew so that there is one for every reference; empty where nothing falls to it.

    Together they are the words that came in, in their order, however the output was cut: sentences, pieces, one line a
    document. Lines are joined with a space where `spaces` is true (not for Chinese). `documents` are those of the
    references, equal names in a row; None is a single document. `hypothesis_documents` need not have the same names,
    but the same order; None: where there are as many lines as documents they are one each, otherwise all are aligned
    as one. A document too long to align, and different numbers of documents, are an `InputError`; a failing aligner is
    a `ResourceError`.
    """
    aligner_version()
    glue = " " if spaces else ""
    cut = [
        _Document(glue.join(line.strip() for line in lines if line.strip()), wanted)
        for lines, wanted in _pair_documents(hypotheses, references, documents, hypothesis_documents)
    ]
    asked = [document for document in cut if document.tokens and len(document.filled) > 1]
    if asked:
        answers = _ask([[list(document.filled.values()), _words(document.tokens)] for document in asked])
        for document, answer in zip(asked, answers, strict=True):
            document.settle(answer)
    return [line for document in cut for line in document.lines()]


def _pair_documents(
    hypotheses: Sequence[str],
    references: Sequence[str],
    documents: Sequence[str] | None,
    hypothesis_documents: Sequence[str] | None,
) -> list[tuple[list[str], list[str]]]:
    wanted = _group(references, documents)
    if hypothesis_documents is not None and documents is not None:
        given = _group(hypotheses, hypothesis_documents)
        if len(given) != len(wanted):
            raise InputError(
                "the output and the references are of different numbers of documents",
                expected=len(wanted),
                got=len(given),
                fix="decode every recording of the test set, or give the references of these alone",
            )
        return list(zip(given, wanted, strict=True))
    if len(hypotheses) == len(wanted):
        return list(zip([[line] for line in hypotheses], wanted, strict=True))
    return [(list(hypotheses), list(references))]


def _group(lines: Sequence[str], names: Sequence[str] | None) -> list[list[str]]:
    if names is None:
        return [list(lines)]
    return [
        [line for line, _ in run]
        for _, run in itertools.groupby(zip(lines, names, strict=True), key=lambda pair: pair[1])
    ]


class _Document:
    """Output of one document, and how many of its tokens fall to each of its references: all to the first, at first."""

    def __init__(self, text: str, references: list[str]) -> None:
        self.text, self.tokens = text, tokenize(text)
        # An empty reference would end the aligner's process: it gets an empty segment without being asked.
        words = (_words(tokenize(line)) for line in references)
        self.filled = {place: line for place, line in enumerate(words) if line}
        cells = len(self.tokens) * sum(map(len, self.filled.values()))
        if cells > MAX_CELLS:
            raise InputError(
                "a document is too long to align in one piece",
                expected=f"at most {MAX_CELLS:,} pairs of words",
                got=f"{cells:,}",
                fix=APART,
            )
        if self.tokens and not self.filled:
            what = "a document of output has no reference to align with"
            raise InputError(what, expected="a reference that is not empty")
        self._sizes = [0] * len(references)
        if self.filled:
            self._sizes[min(self.filled)] = len(self.tokens)

    def settle(self, sizes: list[int]) -> None:
        """Take the aligner's answer: the number of tokens that fall to each filled reference."""
        if len(sizes) != len(self.filled) or sum(sizes) != len(self.tokens):
            raise ResourceError(
                "mweralign lost part of a document",
                expected=f"{len(self.tokens)} words in {len(self.filled)} segments",
                got=f"{sum(sizes)} in {len(sizes)}",
                fix="report this, with the file",
            )
        for place, size in zip(self.filled, sizes, strict=True):
            self._sizes[place] = size

    def lines(self) -> list[str]:
        """Return the text cut, one line for each reference."""
        ends = list(itertools.accumulate(self._sizes))
        parts = [self.tokens[end - size : end] for end, size in zip(ends, self._sizes, strict=True)]
        return [self.text[part[0].start() : part[-1].end()] if part else "" for part in parts]


def _ask(tasks: list[list[object]]) -> list[list[int]]:
    script = Path(__file__).with_name("resegment_worker.py")
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-X", "utf8", str(script)],
            input=json.dumps(tasks),
            capture_output=True,
            encoding="utf-8",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ResourceError(f"mweralign was stopped after {SECONDS:.0f} s", fix=APART) from error
    if done.returncode != 0:
        raise ResourceError(
            "mweralign failed on these lines",
            got=": ".join([how_it_ended(done.returncode), *done.stderr.strip().splitlines()[-1:]]),
            fix="look for odd characters in the output",
        )
    answers: list[list[int]] = json.loads(done.stdout)
    return answers


def _words(tokens: list[regex.Match[str]]) -> list[str]:
    """Return tokens each as one word to the aligner, with none of its marks."""

    def shown(character: str) -> str:
        return character if character.isprintable() and character not in "#▁|" else "_"

    return ["".join(map(shown, token.group()))[:MAX_TOKEN] for token in tokens]
