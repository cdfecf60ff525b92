"""The record of one decoding run: one test set, one artifact, one set of settings."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from iwsltpack.documents.artifact import Tool
from iwsltpack.documents.choices import BadAudio, Engine, LongAudio, Mode, TestSetKind
from iwsltpack.documents.document import OPTIONAL, Document, Part
from iwsltpack.documents.kinds import (
    Amount,
    Count,
    FileName,
    Keywords,
    Pair,
    PositiveAmount,
    PositiveCount,
    RelativePath,
    Sha256,
    Text,
)
from iwsltpack.documents.names import FORMAT_VERSION, RUN_FORMAT, RUN_NAME
from iwsltpack.errors import InputError
from iwsltpack.system import fileio

Finish = Literal["stop", "length", "placeholder"]


class RunArtifact(Part):
    """The artifact decoded with: manifest digest, identity and exact size on disk."""

    sha256: Sha256
    base_model: str | None
    revision: str | None
    recipe: str
    coding: str
    bytes: Count


class RunTestSet(Part):
    """The test set decoded.

    ``sha256`` covers, in output order, every segment's id, offset, duration and its audio file's bytes.
    """

    name: FileName
    kind: TestSetKind
    sha256: Sha256
    segments: Count
    audio_seconds: Amount


class RunSettings(Part):
    """Everything that can change the text.

    Attributes
    ----------
    prompt, system_prompt
        What the model is asked; None is the chat template's own system prompt.
    chat_template
        Jinja source used in place of the artifact's own, or None.
    max_new_tokens
        Tokens an output may have, its end included.
    retry_truncated
        The larger limit tried on outputs that reached `max_new_tokens`, or None.
    num_beams
        1 is greedy search.
    repetition_penalty, no_repeat_ngram_size
        As the artifact's generation settings have them; 1.0 and 0 are none.
    batch_size, batch_seconds
        Most pieces, and most seconds of audio padding included, that are decoded together.
    device, dtype, mode
        How the model was held; `device` is its type. The modes compute with the same weights.
    long
        What was done with segments longer than the model hears.
    on_bad_audio, placeholder
        What was done with audio that cannot be used, and the line written for it.
    engine
        What generated; None is transformers.
    """

    prompt: str
    system_prompt: str | None
    chat_template: str | None
    max_new_tokens: PositiveCount
    retry_truncated: PositiveCount | None
    num_beams: PositiveCount
    repetition_penalty: PositiveAmount
    no_repeat_ngram_size: Count
    batch_size: PositiveCount
    batch_seconds: PositiveAmount
    device: Annotated[str, Keywords(enum=["cpu", "cuda"])]
    dtype: Annotated[str, Keywords(enum=["float32", "float16", "bfloat16"])]
    mode: Mode
    long: LongAudio
    on_bad_audio: BadAudio
    placeholder: str
    engine: Engine | None = field(default=None, metadata=OPTIONAL)

    @property
    def keeps_placeholders(self) -> bool:
        """Whether pieces that were given up stay so, or are to be decoded again."""
        return self.on_bad_audio == "placeholder"


class RunSegment(Part):
    """One output line.

    ``index`` counts from 0 and is the line; ``offset`` and ``duration`` are seconds in ``audio`` (path relative
    to the test set); ``pieces`` is how many parts an over-long segment was cut into; ``signs`` are hallucination
    signs by name; ``seconds`` is generation time, shared out over the batch.
    """

    index: Count
    id: Text
    audio: RelativePath
    offset: Amount
    duration: Amount
    tokens: Count
    finish: Finish
    seconds: Amount
    pieces: Count
    signs: tuple[str, ...]


class RunOutput(Part):
    """The raw hypotheses: file name in the run's folder, its SHA-256, its line count."""

    path: FileName
    sha256: Sha256
    lines: Count


class RunSession(Part):
    """One load of the model, by one process, and what was decoded with it.

    Attributes
    ----------
    worker
        Which of several processes: ``2/4`` is a shard, ``dask-2`` a worker; None where one process decodes alone.
    device_name, mode, load_seconds
        The device's model, how the weights were held, and how long it took until they were.
    pieces, seconds
        What it decoded, and in how long.
    peak_host_bytes, peak_device_bytes
        Most memory, as far as it was journaled: resident, and allocated by torch on a CUDA device (None elsewhere).
    """

    worker: str | None
    device_name: str
    mode: Mode
    load_seconds: Amount
    pieces: Count
    seconds: Amount
    peak_host_bytes: Count
    peak_device_bytes: Count | None


class RunSummary(Part):
    """Figures of the whole run, over all its sessions.

    Attributes
    ----------
    load_seconds
        From the artifact to a model ready on the device, in the last session that loaded it.
    decode_seconds
        Seconds of decoding: waiting for audio, generation, journal. Where several processes shared the work, their
        seconds are added up, so that the figures below stay those of one device.
    seconds_per_segment
        `decode_seconds` over the decoded segments: the paper's sec/item.
    tokens_per_second
        Generated tokens over `decode_seconds`.
    real_time_factor
        `decode_seconds` over the seconds of audio; below 1 is faster than real time.
    truncated
        Segments that reached the token limit, also when retried.
    placeholders
        Segments whose audio could not be used.
    segmented
        Segments cut into pieces because the model does not hear them whole.
    signs
        Segments that show each hallucination sign.
    peak_host_bytes, peak_device_bytes
        Most memory of any session: resident, and allocated by torch on a CUDA device (None elsewhere).
    device_name
        The device's model; several, joined by commas, where sessions ran on different ones.
    sessions
        Times the model was loaded for this run.
    """

    load_seconds: Amount
    decode_seconds: Amount
    seconds_per_segment: Amount
    tokens_per_second: Amount
    real_time_factor: Amount
    truncated: Count
    placeholders: Count
    segmented: Count
    signs: dict[str, Count]
    peak_host_bytes: Count
    peak_device_bytes: Count | None
    device_name: str
    sessions: Count


class Run(Document):
    """Record of an iwsltpack decoding run.

    ``run.json`` is written last, so that its presence means the run is whole. Records of before ``sessions`` was
    kept have none.
    """

    SCHEMA = "run"

    format: str = RUN_FORMAT
    format_version: int = FORMAT_VERSION
    tool: Tool
    pair: Pair
    artifact: RunArtifact
    test_set: RunTestSet
    settings: RunSettings
    output: RunOutput
    segments: tuple[RunSegment, ...]
    summary: RunSummary
    sessions: tuple[RunSession, ...] = field(default=(), metadata=OPTIONAL)


def read_run(folder: Path) -> Run:
    """Read and check ``run.json`` of a run's folder; if there is none, that is an `InputError`."""
    path = folder / RUN_NAME
    if not path.is_file():
        raise InputError(
            "not a finished run",
            where=folder,
            expected=f"a folder that holds {RUN_NAME}",
            fix="run the same `iwsltpack decode` again: it goes on where it stopped",
        )
    return Run.from_json(fileio.read_json(path), path=path)
