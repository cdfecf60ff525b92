"""From a complete journal to the hypotheses and the record of the run, written in that order."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from iwsltpack import __version__, fileio
from iwsltpack.errors import InputError
from iwsltpack.format.artifact import Tool
from iwsltpack.format.names import RUN_NAME
from iwsltpack.format.run import (
    Finish,
    Run,
    RunArtifact,
    RunOutput,
    RunSegment,
    RunSettings,
    RunSummary,
    RunTestSet,
    read_run,
)
from iwsltpack.inference.device import device_name, peak_device_bytes, peak_host_bytes
from iwsltpack.inference.generation import greedy
from iwsltpack.inference.model import generation_config
from iwsltpack.inference.options import DEFAULT_MAX_NEW_TOKENS
from iwsltpack.inference.signs import count_signs, find_signs

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from iwsltpack.data.survey import Survey
    from iwsltpack.format.artifact import ArtifactManifest
    from iwsltpack.inference.journal import Decoded, Journal
    from iwsltpack.inference.options import DecodeOptions

LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "soundfile", "soxr")
JOINT = {"zh": "", "de": " "}
"""What stands between the outputs of a segment's pieces: Chinese is written without spaces."""


def libraries() -> dict[str, str]:
    """Return the versions of the libraries that shape the text."""
    return {name: version(name) for name in LIBRARIES}


def describe_artifact(manifest: ArtifactManifest, total_bytes: int) -> RunArtifact:
    """Return what a run records of its artifact."""
    return RunArtifact(
        sha256=manifest.sha256,
        base_model=manifest.base_model.id,
        revision=manifest.base_model.revision,
        recipe=manifest.recipe.name,
        coding=manifest.coding,
        bytes=total_bytes,
    )


def build_settings(
    options: DecodeOptions, device: torch.device, dtype: torch.dtype, model_dir: Path
) -> RunSettings:
    """Return the settings in force, the artifact's penalties among them."""
    generation = greedy(generation_config(model_dir))
    return RunSettings(
        prompt=options.prompt or "",
        system_prompt=options.system_prompt,
        chat_template=options.chat_template,
        max_new_tokens=options.max_new_tokens or DEFAULT_MAX_NEW_TOKENS,
        retry_truncated=options.retry_truncated,
        num_beams=generation.num_beams,
        repetition_penalty=float(generation.repetition_penalty or 1.0),
        no_repeat_ngram_size=int(generation.no_repeat_ngram_size or 0),
        batch_size=options.batch_size,
        batch_seconds=float(options.batch_seconds),
        device="cuda" if device.type == "cuda" else "cpu",
        dtype=str(dtype).removeprefix("torch."),
        mode=options.mode,
        long=options.long,
        on_bad_audio=options.on_bad_audio,
        placeholder=options.placeholder,
    )


def finish_run(
    folder: Path,
    survey: Survey,
    journal: Journal,
    artifact: RunArtifact,
    settings: RunSettings,
    options: DecodeOptions,
    device: torch.device,
) -> Run:
    """Write the hypotheses, then ``run.json``, from a journal that holds every piece; or find both written already."""
    text_name = f"{survey.test_set.name}.{options.pair}.txt"
    lines, segments = _assemble(survey, journal, options)
    data = "".join(f"{line}\n" for line in lines).encode()
    digest = fileio.sha256_bytes(data)
    finished = read_finished(folder)
    if (
        finished is not None
        and finished.output.sha256 == digest
        and finished.summary.sessions == len(journal.sessions)
    ):
        return finished
    run = Run(
        tool=Tool(
            version=__version__, libraries=journal.sessions[-1].libraries if journal.sessions else libraries()
        ),
        pair=options.pair,
        artifact=artifact,
        test_set=RunTestSet(
            name=survey.test_set.name,
            kind=survey.test_set.kind,
            sha256=survey.sha256,
            segments=len(lines),
            audio_seconds=survey.audio_seconds,
        ),
        settings=settings,
        output=RunOutput(path=text_name, sha256=digest, lines=len(lines)),
        segments=segments,
        summary=_summarise(survey, segments, journal, device),
    )
    document = run.to_json()
    fileio.write_lines(folder / text_name, lines)
    fileio.write_json(folder / RUN_NAME, document)
    return run


def read_finished(folder: Path) -> Run | None:
    """Return the run recorded in `folder` if its hypotheses are still the ones it recorded, else None."""
    if not (folder / RUN_NAME).is_file():
        return None
    run = read_run(folder)
    text = folder / run.output.path
    return run if text.is_file() and fileio.sha256_file(text) == run.output.sha256 else None


def _assemble(
    survey: Survey, journal: Journal, options: DecodeOptions
) -> tuple[list[str], tuple[RunSegment, ...]]:
    """Join the pieces of every segment; one line and one entry a segment, in the test set's order."""
    pieces: dict[int, list[Decoded]] = {}
    for piece in survey.pieces:
        result = journal.decoded.get((piece.segment, piece.part))
        if result is None:
            raise InputError("the journal lacks a piece", where=journal.path, got=(piece.segment, piece.part))
        pieces.setdefault(piece.segment, []).append(result)
    lines, segments = [], []
    for segment, duration in zip(survey.test_set.segments, survey.durations, strict=True):
        results = pieces.get(segment.index, [])
        usable = segment.index not in survey.unusable
        line = JOINT[options.language].join(result.text for result in results if result.text)
        line = line if usable else options.placeholder
        lines.append(line)
        segments.append(
            RunSegment(
                index=segment.index,
                id=segment.id,
                audio=segment.audio,
                offset=segment.offset,
                duration=duration,
                tokens=sum(result.tokens for result in results),
                finish=_finish(results, usable),
                seconds=sum(result.seconds for result in results),
                pieces=len(results),
                signs=find_signs(line, options.language, duration, segment.source) if usable else (),
            )
        )
    return lines, tuple(segments)


def _finish(results: list[Decoded], usable: bool) -> Finish:
    if not usable:
        return "placeholder"
    return "length" if any(result.finish == "length" for result in results) else "stop"


def _summarise(
    survey: Survey, segments: tuple[RunSegment, ...], journal: Journal, device: torch.device
) -> RunSummary:
    seconds = sum(segment.seconds for segment in segments)
    tokens = sum(segment.tokens for segment in segments)
    decoded = len(segments) - len(survey.unusable)
    last = journal.sessions[-1] if journal.sessions else None
    return RunSummary(
        load_seconds=last.load_seconds if last else 0.0,
        decode_seconds=seconds,
        seconds_per_segment=seconds / decoded if decoded else 0.0,
        tokens_per_second=tokens / seconds if seconds else 0.0,
        real_time_factor=seconds / survey.audio_seconds if survey.audio_seconds else 0.0,
        truncated=sum(segment.finish == "length" for segment in segments),
        placeholders=len(survey.unusable),
        segmented=len(survey.long),
        signs=count_signs([segment.signs for segment in segments]),
        peak_host_bytes=peak_host_bytes(),
        peak_device_bytes=peak_device_bytes(device),
        device_name=last.device_name if last else device_name(device),
        sessions=len(journal.sessions),
    )
