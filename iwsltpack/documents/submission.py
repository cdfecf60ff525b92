"""The record of a packaged submission: who, which model, decoded how, cleaned how, and every file's digest."""

from dataclasses import field
from pathlib import Path
from typing import Annotated

from iwsltpack.documents.artifact import Tool
from iwsltpack.documents.choices import Metric
from iwsltpack.documents.document import OPTIONAL, Document, Part
from iwsltpack.documents.kinds import Amount, Count, Keywords, PositiveCount, Sha256, Text, TrackPair, whole
from iwsltpack.documents.names import FORMAT_VERSION, PAIRS, SUBMISSION_FORMAT, SUBMISSION_NAME, TYPES
from iwsltpack.errors import InputError
from iwsltpack.system import fileio

PlainName = Annotated[str, whole("[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")]
"""What a folder, an archive and a file on any system may be called."""
Setting = str | float | bool | None


class SubmissionEdition(Part):
    """The edition packaged for; ``sha256`` is that of its rules."""

    name: Text
    sha256: Sha256
    rehearsal: bool


class SubmissionArtifact(Part):
    """The model: digest of its manifest, exact bytes of every file on disk, values, how it was compressed.

    ``state_dict_bytes`` are those of the decoded model's weights, which the organisers' script counts.
    """

    sha256: Sha256
    bytes: PositiveCount
    state_dict_bytes: PositiveCount | None = field(default=None, metadata=OPTIONAL)
    parameters: Count
    source_bytes: Count
    source_parameters: Count
    base_model: Text | None
    revision: Text | None
    architecture: Text
    license: Text | None
    recipe: Text
    coding: Text
    techniques: tuple[Text, ...]


class SubmissionCleaning(Part):
    """Whether the hypotheses were cleaned, with which rules in which order, as of which iwsltpack version."""

    applied: bool
    lang: Annotated[str, Keywords(enum=[*PAIRS.values()])]
    rules: tuple[Text, ...]
    version: Text


class SubmissionRun(Part):
    """The decoding run behind one hypothesis file; ``sha256`` is that of its run.json, seconds are wall clock.

    ``settings`` are the run's own, whatever settings its version knows.
    """

    sha256: Sha256
    tool_version: Text
    test_set_sha256: Sha256
    segments: Count
    audio_seconds: Amount
    settings: dict[str, Setting]
    seconds_per_segment: Amount
    real_time_factor: Amount
    device_name: str
    truncated: Count
    placeholders: Count


class SubmissionTestSet(Part):
    """One hypothesis file ready for upload, the raw one it was cleaned from, and what cleaning did."""

    name: PlainName
    file: PlainName
    sha256: Sha256
    bytes: Count
    lines: Count
    raw_sha256: Sha256
    lines_changed: Count
    repaired: dict[str, Count]
    reported: dict[str, Count]
    run: SubmissionRun


class Submission(Document):
    """A packaged submission.

    ``label`` tells contrastive submissions of one model name apart.
    """

    SCHEMA = "submission"

    format: str = SUBMISSION_FORMAT
    format_version: int = FORMAT_VERSION
    tool: Tool
    edition: SubmissionEdition
    model_name: PlainName
    team: Text
    pair: TrackPair
    condition: Text
    type: Annotated[str, Keywords(enum=[*TYPES])]
    size_bin: Text | None
    label: Annotated[str, whole("[a-z0-9][a-z0-9-]{0,30}")] | None
    artifact: SubmissionArtifact
    datasets: Annotated[tuple[Text, ...], Keywords(uniqueItems=True)]
    release_outputs: bool | None
    cleaning: SubmissionCleaning
    test_sets: Annotated[tuple[SubmissionTestSet, ...], Keywords(minItems=1, maxItems=100)]


class RecordedScore(Part):
    """One metric's score of one test set, with its signature; ``hypotheses_sha256`` is that of the file scored."""

    test_set: Text
    metric: Metric
    score: float
    signature: Text
    hypotheses_sha256: Sha256


class RecordedScores(Document):
    """Scores recorded beside a submission.

    ``scores.json`` is written when a package is scored, and is no part of it.
    """

    SCHEMA = "scores"

    format: str = "iwsltpack.scores"
    format_version: int = FORMAT_VERSION
    scores: tuple[RecordedScore, ...]


def read_submission(folder: Path) -> Submission:
    """Read and check ``submission.json`` of a package; if there is none, that is an `InputError`."""
    path = folder / SUBMISSION_NAME
    if not path.is_file():
        raise InputError("not a submission", where=folder, expected=f"a folder that holds {SUBMISSION_NAME}")
    return Submission.from_json(fileio.read_json(path), path=path)
