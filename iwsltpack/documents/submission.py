"""The record of a packaged submission: who, which model, decoded how, cleaned how, and every file's digest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from iwsltpack.documents.artifact import Tool
from iwsltpack.documents.document import Document, Part
from iwsltpack.documents.names import FORMAT_VERSION, SUBMISSION_FORMAT, SUBMISSION_NAME
from iwsltpack.errors import InputError
from iwsltpack.system import fileio

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class SubmissionEdition(Part):
    """The edition packaged for; ``sha256`` is that of its rules."""

    name: str
    sha256: str
    rehearsal: bool


@dataclass(frozen=True, kw_only=True)
class SubmissionArtifact(Part):
    """The model: digest of its manifest, exact bytes of every file on disk, values, how it was compressed."""

    sha256: str
    bytes: int
    parameters: int
    source_bytes: int
    source_parameters: int
    base_model: str | None
    revision: str | None
    architecture: str
    license: str | None
    recipe: str
    coding: str
    techniques: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SubmissionCleaning(Part):
    """Whether the hypotheses were cleaned, with which rules in which order, as of which iwsltpack version."""

    applied: bool
    lang: str
    rules: tuple[str, ...]
    version: str


@dataclass(frozen=True, kw_only=True)
class SubmissionRun(Part):
    """The decoding run behind one hypothesis file; ``sha256`` is that of its run.json, seconds are wall clock.

    ``settings`` are the run's own, whatever settings its version knows.
    """

    sha256: str
    tool_version: str
    test_set_sha256: str
    segments: int
    audio_seconds: float
    settings: dict[str, Any]
    seconds_per_segment: float
    real_time_factor: float
    device_name: str
    truncated: int
    placeholders: int


@dataclass(frozen=True, kw_only=True)
class SubmissionTestSet(Part):
    """One hypothesis file ready for upload, the raw one it was cleaned from, and what cleaning did."""

    name: str
    file: str
    sha256: str
    bytes: int
    lines: int
    raw_sha256: str
    lines_changed: int
    repaired: dict[str, int]
    reported: dict[str, int]
    run: SubmissionRun


@dataclass(frozen=True, kw_only=True)
class Submission(Document):
    """``submission.json``. ``label`` tells contrastive submissions of one model name apart."""

    SCHEMA: ClassVar[str] = "submission"

    format: str = SUBMISSION_FORMAT
    format_version: int = FORMAT_VERSION
    tool: Tool
    edition: SubmissionEdition
    model_name: str
    team: str
    pair: str
    condition: str
    type: str
    size_bin: str | None
    label: str | None
    artifact: SubmissionArtifact
    datasets: tuple[str, ...]
    release_outputs: bool | None
    cleaning: SubmissionCleaning
    test_sets: tuple[SubmissionTestSet, ...]


@dataclass(frozen=True, kw_only=True)
class RecordedScore(Part):
    """One metric's score of one test set, with its signature; ``hypotheses_sha256`` is that of the file scored."""

    test_set: str
    metric: str
    score: float
    signature: str
    hypotheses_sha256: str


@dataclass(frozen=True, kw_only=True)
class RecordedScores(Document):
    """``scores.json``: written beside a package when it is scored, no part of it."""

    SCHEMA: ClassVar[str] = "scores"

    format: str = "iwsltpack.scores"
    format_version: int = FORMAT_VERSION
    scores: tuple[RecordedScore, ...]


def read_submission(folder: Path) -> Submission:
    """Read and check ``submission.json`` of a package.

    Raises
    ------
    InputError
        Not a submission.
    ValidationFailed
        It does not fit the schema.
    """
    path = folder / SUBMISSION_NAME
    if not path.is_file():
        raise InputError("not a submission", where=folder, expected=f"a folder that holds {SUBMISSION_NAME}")
    data: Any = fileio.read_json(path)
    return Submission.from_json(data, path=path)
