"""What is to be decoded of one test set: the plan that the shards of a decoding run share.

It holds what the hypotheses and ``run.json`` are made of beside the journals, so that they can be put together where
neither the recordings nor the artifact are at hand.
"""

from iwsltpack.documents.document import Document, Part
from iwsltpack.documents.kinds import Amount, Pair, PositiveAmount, RelativePath, Text
from iwsltpack.documents.names import FORMAT_VERSION, PLAN_FORMAT
from iwsltpack.documents.run import RunArtifact, RunSettings, RunTestSet


class PlanPiece(Part):
    """A stretch the model hears at once; seconds in the file."""

    offset: Amount
    duration: PositiveAmount


class PlanSegment(Part):
    """One output line.

    ``audio`` is a path relative to the test set; ``offset`` and ``duration`` are seconds in it, the duration 0.0 where
    the audio is unusable; ``source`` is what is said, where the test set tells; ``pieces`` is what the model
    hears of it, nothing where the audio is unusable.
    """

    id: Text
    audio: RelativePath
    offset: Amount
    duration: Amount
    source: str | None
    pieces: tuple[PlanPiece, ...]


class DecodingPlan(Document):
    """What the shards of an iwsltpack decoding run share.

    ``shards/plan.json`` holds the artifact, test set and settings of a run, and its segments in output order.
    """

    SCHEMA = "decoding-plan"

    format: str = PLAN_FORMAT
    format_version: int = FORMAT_VERSION
    pair: Pair
    artifact: RunArtifact
    test_set: RunTestSet
    settings: RunSettings
    segments: tuple[PlanSegment, ...]
