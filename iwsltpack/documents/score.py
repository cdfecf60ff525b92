"""``score.json``: the scores of one set of hypotheses, each with the signature that makes it comparable."""

from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated

from iwsltpack.documents.artifact import Tool
from iwsltpack.documents.choices import Metric
from iwsltpack.documents.document import OPTIONAL, Document, Part
from iwsltpack.documents.kinds import Amount, Count, Keywords, Sha256, Share, whole
from iwsltpack.documents.names import FORMAT_VERSION, SCORE_FORMAT
from iwsltpack.errors import InputError
from iwsltpack.system import fileio

TITLES: dict[str, str] = {"comet": "COMET", "chrf": "chrF", "bleu": "BLEU"}
DIGITS: dict[str, int] = {"comet": 4, "chrf": 2, "bleu": 2}
"""Decimals a score is shown with; documents hold it whole."""


def digest(lines: Sequence[str]) -> str:
    """Return what lines of text are known by: SHA-256 of them, each ended by a line feed, as 64 hexadecimal digits.

    >>> digest(["a"]) == fileio.sha256_bytes(b"a\\n")
    True
    """
    return fileio.sha256_bytes("".join(f"{line}\n" for line in lines).encode())


class ScoredText(Part):
    """Lines that went into a score: the file's name, how many, and the `digest` of the lines."""

    name: Annotated[str, whole(r"[^/\\]*")]
    lines: Count
    sha256: Sha256


class MetricCheckpoint(Part):
    """A learned metric's weights: hub id or folder name, hub commit where known, SHA-256 of ``model.ckpt``."""

    name: Annotated[str, whole(r"[^/\\]+(/[^/\\]+)?")]
    revision: str | None
    sha256: Sha256


class Signature(Part):
    """Everything a score depends on.

    Attributes
    ----------
    metric
        As its authors call it, e.g. ``chrF2``.
    settings
        ``key:value`` pairs joined by ``|``, the metric's version among them: for chrF and BLEU sacrebleu's own
        signature to the letter.
    checkpoint
        The model that scores, for COMET.
    cleaned
        What was done to the hypotheses before scoring: version of iwsltpack whose rules cleaned them, ``server`` where
        they were prepared as the evaluation server does, both joined by ``+``; None for raw ones.
    resegmented
        Program and version that aligned the hypotheses to the references; None where lines matched already.
    hypotheses, references, sources
        SHA-256 of the lines scored (before the server's preparation and resegmentation).
    """

    metric: str
    settings: str
    checkpoint: MetricCheckpoint | None
    cleaned: str | None
    resegmented: str | None
    hypotheses: Sha256
    references: Sha256
    sources: Sha256 | None

    @property
    def text(self) -> str:
        """One line for people and tables; hashes are shortened to eight digits."""
        return "|".join((self.comparable, f"clean:{self.cleaned or 'no'}", f"hyp:{self.hypotheses[:8]}"))

    @property
    def comparable(self) -> str:
        """What two scores must share for their difference to mean anything: all but the hypotheses."""
        parts = [self.metric, self.settings]
        if self.checkpoint:
            revision = f"@{self.checkpoint.revision[:8]}" if self.checkpoint.revision else ""
            parts.append(f"ckpt:{self.checkpoint.name}{revision}:{self.checkpoint.sha256[:8]}")
        parts += [f"reseg:{self.resegmented or 'no'}", f"ref:{self.references[:8]}"]
        return "|".join([*parts, f"src:{self.sources[:8]}"] if self.sources else parts)


class Comparison(Part):
    """A paired test of the hypotheses against a baseline's.

    Attributes
    ----------
    baseline
        The other hypotheses.
    score, difference
        Of the baseline, and the system's above it.
    p_bootstrap, p_randomization
        p-values of paired bootstrap resampling and of paired approximate randomisation.
    bootstrap_samples, randomization_trials, seed
        What they were drawn with.
    interval
        Half the width of the 95 % confidence interval of the system's own score, by bootstrap.
    """

    baseline: ScoredText
    score: float
    difference: float
    p_bootstrap: Share
    p_randomization: Share
    bootstrap_samples: Count
    randomization_trials: Count
    seed: Annotated[int, Keywords(minimum=0)]
    interval: Amount


class MetricResult(Part):
    """One metric: the system's score, every segment's, and the signature.

    COMET is around 0 to 1, chrF and BLEU are 0 to 100. ``segments`` follows the lines of the references.
    """

    metric: Metric
    score: float
    segments: tuple[float, ...]
    signature: Signature
    comparison: Comparison | None = None


class ScoredRun(Part):
    """The decoding run the hypotheses come from; ``output_sha256`` is that of the raw hypotheses it wrote."""

    artifact_sha256: Sha256
    artifact_bytes: Count
    recipe: str
    coding: str
    mode: str
    test_set: str
    seconds_per_segment: Amount
    output_sha256: Sha256 | None = field(default=None, metadata=OPTIONAL)


class Score(Document):
    """Scores of one set of hypotheses, with their signatures.

    ``resegmented`` holds the hypotheses as they were scored, where they were recut.
    """

    SCHEMA = "score"

    format: str = SCORE_FORMAT
    format_version: int = FORMAT_VERSION
    tool: Tool
    language: Annotated[str, whole("[a-z]{2,3}")]
    hypotheses: ScoredText
    references: ScoredText
    sources: ScoredText | None
    run: ScoredRun | None
    cleaned: bool
    resegmented: tuple[str, ...] | None
    metrics: Annotated[tuple[MetricResult, ...], Keywords(minItems=1)]

    def metric(self, name: str) -> MetricResult | None:
        """Return the result of one metric, or None where it was not asked for."""
        return next((result for result in self.metrics if result.metric == name), None)


def read_score(path: Path) -> Score:
    """Read and check a score document; one with segments missing is an `InputError`. See `Document.read`."""
    score = Score.read(path)
    for result in score.metrics:
        if len(result.segments) != score.references.lines:
            raise InputError(
                f"{TITLES[result.metric]} does not have a score for every segment",
                where=path,
                expected=score.references.lines,
                got=len(result.segments),
            )
    return score
