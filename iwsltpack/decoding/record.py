"""Writes, from a complete journal, first the hypotheses and then the record of the run."""

from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path

import torch

from iwsltpack.artifact.reader import Artifact
from iwsltpack.decoding.generation import greedy
from iwsltpack.decoding.hallucination import count_signs, find_signs
from iwsltpack.decoding.journal import Decoded, Journal
from iwsltpack.decoding.options import DEFAULT_MAX_NEW_TOKENS, DecodeOptions
from iwsltpack.documents.artifact import Tool
from iwsltpack.documents.decoding_plan import DecodingPlan
from iwsltpack.documents.names import JOURNAL_NAME, PAIRS, RUN_NAME
from iwsltpack.documents.run import (
    Finish,
    Run,
    RunArtifact,
    RunOutput,
    RunSegment,
    RunSession,
    RunSettings,
    RunSummary,
    read_run,
)
from iwsltpack.errors import InputError, UsageError
from iwsltpack.runtime.configuration import generation_config
from iwsltpack.runtime.environment import device_name, peak_host_bytes
from iwsltpack.runtime.model import resolve_dtype
from iwsltpack.system import fileio
from iwsltpack.version import __version__

LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "soundfile", "soxr")
JOINT = {"zh": "", "de": " "}
"""What stands between the outputs of a segment's pieces: Chinese is written without spaces."""


@dataclass(frozen=True, kw_only=True)
class DecodedSet:
    """What was decoded of a test set, in the folder of its run.

    `run` is its record, None where a shard has decoded its share alone. `pieces` are the outputs in the journal, `left`
    the batches that the run as a whole still lacks.
    """

    folder: Path
    run: Run | None
    journal: Path
    pieces: int
    left: int = 0


def libraries(settings: RunSettings | None = None) -> dict[str, str]:
    """Return the versions of the libraries that shape the text, of the engine too where one is set."""
    found = {name: version(name) for name in LIBRARIES}
    if settings is not None and settings.engine is not None:
        import vllm

        found["vllm"] = vllm.__version__
    return found


def describe_artifact(source: Artifact) -> RunArtifact:
    """Return what a run records of its artifact."""
    manifest = source.manifest
    return RunArtifact(
        sha256=manifest.sha256,
        base_model=manifest.base_model.id,
        revision=manifest.base_model.revision,
        recipe=manifest.recipe.name,
        coding=manifest.coding,
        bytes=source.total_bytes,
    )


def build_settings(options: DecodeOptions, device: torch.device, model_dir: Path) -> RunSettings:
    """Return the settings in force, the artifact's penalties among them."""
    generation = greedy(generation_config(model_dir))
    told = vars(options)
    settings = {field.name: told[field.name] for field in fields(RunSettings) if field.name in told} | {
        "prompt": options.prompt or "",
        "max_new_tokens": options.max_new_tokens or DEFAULT_MAX_NEW_TOKENS,
        "num_beams": generation.num_beams,
        "repetition_penalty": float(generation.repetition_penalty or 1.0),
        "no_repeat_ngram_size": int(generation.no_repeat_ngram_size or 0),
        "batch_seconds": float(options.batch_seconds),
        "engine": None if options.engine == "transformers" else options.engine,
        "device": "cuda" if device.type == "cuda" else "cpu",
        "dtype": str(resolve_dtype(options.dtype, device)).removeprefix("torch."),
    }
    return RunSettings(**settings)


def finish_run(folder: Path, plan: DecodingPlan, journal: Journal) -> Run:
    """Write the hypotheses, then ``run.json``, from a journal that holds every piece; or find both written already."""
    text_name = f"{plan.test_set.name}.{plan.pair}.txt"
    lines, segments = _assemble(plan, journal)
    data = "".join(f"{line}\n" for line in lines).encode()
    digest = fileio.sha256_bytes(data)
    if (folder / RUN_NAME).is_file():
        finished, text = read_run(folder), folder / text_name
        same = finished.output.sha256 == digest and finished.summary.sessions == len(journal.sessions)
        # Its hypotheses may have been edited, or be gone.
        if same and text.is_file() and fileio.sha256_file(text) == digest:
            return finished
    run = Run(
        tool=Tool(
            version=__version__, libraries=journal.sessions[-1].libraries if journal.sessions else libraries()
        ),
        pair=plan.pair,
        artifact=plan.artifact,
        test_set=plan.test_set,
        settings=plan.settings,
        output=RunOutput(path=text_name, sha256=digest, lines=len(lines)),
        segments=segments,
        summary=_summarise(plan, segments, journal),
        sessions=_sessions(journal),
    )
    document = run.to_json()
    fileio.write_lines(folder / text_name, lines)
    fileio.write_json(folder / RUN_NAME, document)
    return run


def refuse_lost_journal(folder: Path) -> None:
    """Refuse to write over a finished run that cannot be made again from its journal."""
    if (folder / RUN_NAME).exists() and not (folder / JOURNAL_NAME).exists():
        raise UsageError(
            "the output folder holds a finished run without its journal",
            where=folder,
            fix="give another --output, or remove the folder to decode again",
        )


def _assemble(plan: DecodingPlan, journal: Journal) -> tuple[list[str], tuple[RunSegment, ...]]:
    """Join the pieces of every segment; one line and one entry a segment, in the test set's order."""
    language = PAIRS[plan.pair]
    lines, segments = [], []
    for index, segment in enumerate(plan.segments):
        keys = [(index, part) for part in range(len(segment.pieces))]
        if missing := [key for key in keys if key not in journal.decoded]:
            raise InputError("the journal lacks a piece", where=journal.path, got=missing[0])
        results = [journal.decoded[key] for key in keys]
        finish = _finish(results)
        line = JOINT[language].join(result.text for result in results if result.text)
        line = plan.settings.placeholder if finish == "placeholder" else line
        lines.append(line)
        segments.append(
            RunSegment(
                index=index,
                id=segment.id,
                audio=segment.audio,
                offset=segment.offset,
                duration=segment.duration,
                tokens=sum(result.tokens for result in results),
                finish=finish,
                seconds=sum(result.seconds for result in results),
                pieces=len(results),
                signs=find_signs(line, language, segment.duration, segment.source)
                if finish != "placeholder"
                else (),
            )
        )
    return lines, tuple(segments)


def _finish(results: list[Decoded]) -> Finish:
    """Tell how a segment ended; one without pieces has unusable audio."""
    ends = {result.finish for result in results}
    if not ends or "placeholder" in ends:
        return "placeholder"
    return "length" if "length" in ends else "stop"


def _sessions(journal: Journal) -> tuple[RunSession, ...]:
    """Return every load of the model with what was decoded by it; the libraries are told by the run's `Tool`."""
    sessions = []
    for index, session in enumerate(journal.sessions):
        told = {name: value for name, value in vars(session).items() if name != "libraries"}
        seconds = [journal.decoded[key].seconds for key, owner in journal.owners.items() if owner == index]
        pieces = {"pieces": len(seconds), "seconds": sum(seconds, 0.0)}
        sessions.append(RunSession(**told | pieces | {"worker": session.worker or None}))
    return tuple(sessions)


def _summarise(plan: DecodingPlan, segments: tuple[RunSegment, ...], journal: Journal) -> RunSummary:
    seconds = sum(segment.seconds for segment in segments)
    tokens = sum(segment.tokens for segment in segments)
    placeholders = sum(segment.finish == "placeholder" for segment in segments)
    decoded = len(segments) - placeholders
    audio_seconds = plan.test_set.audio_seconds
    sessions = journal.sessions
    on_device = [session.peak_device_bytes for session in sessions if session.peak_device_bytes is not None]
    names = sorted({session.device_name for session in sessions})
    return RunSummary(
        load_seconds=sessions[-1].load_seconds if sessions else 0.0,
        decode_seconds=seconds,
        seconds_per_segment=seconds / decoded if decoded else 0.0,
        tokens_per_second=tokens / seconds if seconds else 0.0,
        real_time_factor=seconds / audio_seconds if audio_seconds else 0.0,
        truncated=sum(segment.finish == "length" for segment in segments),
        placeholders=placeholders,
        segmented=sum(len(segment.pieces) > 1 for segment in plan.segments),
        signs=count_signs([segment.signs for segment in segments]),
        # Journals of before peaks were kept know none.
        peak_host_bytes=max((session.peak_host_bytes for session in sessions), default=0)
        or peak_host_bytes(),
        peak_device_bytes=max(on_device, default=None),
        device_name=", ".join(names) or device_name(torch.device("cpu")),
        sessions=len(sessions),
    )
