"""Published results as data: the rows of somebody's table, to stand beside one's own."""

from typing import Annotated

from iwsltpack.documents.choices import Measure, Metric
from iwsltpack.documents.document import Document, Part
from iwsltpack.documents.kinds import Amount, Keywords, PositiveCount, Text, whole
from iwsltpack.documents.names import FORMAT_VERSION, RESULTS_FORMAT


class PublishedScore(Part):
    """A score, and in one line what is known of how it was computed."""

    score: float
    signature: str


class SystemSize(Part):
    """Bytes by one measure; ``exact`` is false where only a rounded figure was published."""

    bytes: PositiveCount
    exact: bool = True


class ResultRow(Part):
    """One system on one test set.

    Attributes
    ----------
    name, setting
        Method and its setting, as published.
    baseline
        Whether differences and ratios are taken against this row.
    scores
        By metric: ``comet``, ``chrf``, ``bleu``.
    seconds_per_item
        Mean inference time of a segment, seconds.
    sizes
        By measure: ``whole`` is every file of the artifact, ``linear`` the linear layers alone.
    note
        What a reader must know before comparing.
    """

    name: Text
    setting: str
    pair: Annotated[str, whole("[a-z]{2,3}-[a-z]{2,3}")]
    test_set: str
    baseline: bool
    scores: Annotated[dict[Metric, PublishedScore], Keywords(minProperties=1)]
    seconds_per_item: Amount | None
    sizes: dict[Measure, SystemSize]
    note: str | None


class Results(Document):
    """Published results: rows of a table of systems, sizes and scores."""

    SCHEMA = "results"

    format: str = RESULTS_FORMAT
    format_version: int = FORMAT_VERSION
    name: Annotated[str, whole(r"[\w.-]+")]
    title: str
    citation: str
    url: str | None
    rows: Annotated[tuple[ResultRow, ...], Keywords(minItems=1)]
