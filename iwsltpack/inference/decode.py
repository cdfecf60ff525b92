"""Decode test sets with an artifact: examine, plan, translate, journal, write.

Everything that can be wrong with the input is found before the model is loaded. The model is loaded once, for the
test sets that have something left to decode.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iwsltpack.data.discovery import find_test_sets
from iwsltpack.data.survey import Survey, survey
from iwsltpack.errors import InputError, Problem, UsageError, ValidationFailed
from iwsltpack.fileio import canonical_json, sha256_bytes
from iwsltpack.format.names import JOURNAL_NAME, RUN_NAME
from iwsltpack.inference.batching import Batch, plan_batches, plan_digest
from iwsltpack.inference.device import device_name
from iwsltpack.inference.generation import Listener, Translator
from iwsltpack.inference.journal import Journal, Session
from iwsltpack.inference.model import audio_limit, load_from, processor_from, resolve_device, resolve_dtype
from iwsltpack.inference.options import DecodeOptions
from iwsltpack.inference.record import build_settings, describe_artifact, finish_run, libraries
from iwsltpack.inference.translate import translate_batches
from iwsltpack.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from iwsltpack.format.run import Run, RunArtifact, RunSettings
    from iwsltpack.inference.weights import TensorSource
    from iwsltpack.progress import Progress


@dataclass(frozen=True, kw_only=True)
class DecodedSet:
    """A finished run and the folder it lies in."""

    folder: Path
    run: Run


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One test set to decode, examined and planned, with its settings, its journal open."""

    survey: Survey
    batches: list[Batch]
    folder: Path
    options: DecodeOptions
    settings: RunSettings
    listener: Listener
    journal: Journal

    @property
    def pending(self) -> list[Batch]:
        """Batches of which a piece is not decoded yet; they are searched whole again."""
        done = self.journal.decoded
        return [
            batch for batch in self.batches if any((piece.segment, piece.part) not in done for piece in batch)
        ]


def decode(
    test_dir: Path,
    artifact: Path,
    output: Path,
    options: DecodeOptions | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
    per_set: dict[str, dict[str, Any]] | None = None,
) -> list[DecodedSet]:
    """Decode every test set at `test_dir`; see `decode_with`.

    Parameters
    ----------
    test_dir
        A test set, or a folder of several.
    artifact
        The model's artifact.
    output
        Folder for the run; with several test sets, for one subfolder each.
    options
        Settings; defaults to the track's.
    progress, tell
        Where progress and remarks go; both may stay silent.
    per_set
        Settings that single test sets are decoded with, by name; see `options.read_per_set`.
    """
    from iwsltpack.artifact.reader import open_artifact
    from iwsltpack.artifact.sizes import measure

    source = open_artifact(artifact)
    described = describe_artifact(source.manifest, measure(artifact).total_bytes)
    return decode_with(
        source, described, test_dir, output, options or DecodeOptions(), progress or Silent(), tell, per_set
    )


def decode_with(
    source: TensorSource,
    described: RunArtifact,
    test_dir: Path,
    output: Path,
    options: DecodeOptions,
    progress: Progress,
    tell: Callable[[str], None] | None = None,
    per_set: dict[str, dict[str, Any]] | None = None,
) -> list[DecodedSet]:
    """Decode every test set at `test_dir` with an opened artifact, going on where an earlier run stopped.

    Returns
    -------
    list of DecodedSet
        One a test set, in the order they were found.

    Raises
    ------
    ValidationFailed
        Unusable test sets or audio, every problem named.
    InputError, UsageError, ArtifactError, ResourceError, MissingDependency
        See the functions called; nothing that could be mistaken for a result is left behind.
    """
    say = tell or (lambda _: None)
    options = options.resolved()
    processor = processor_from(source.model_dir)
    limit = audio_limit(processor)
    test_sets = find_test_sets(test_dir, kind=options.kind, name=options.name)
    apart = _options_per_set(options, per_set or {}, [item.name for item in test_sets])
    surveys = [survey(test_set, limit, progress) for test_set in test_sets]
    _apply_policy(surveys, options, limit, say)
    with ExitStack() as stack:
        jobs = [
            _open_job(
                found,
                output / found.test_set.name if len(surveys) > 1 else output,
                described,
                apart[found.test_set.name],
                source,
                processor,
                stack,
            )
            for found in surveys
        ]
        _translate(jobs, source, options, progress, say)
        device = resolve_device(options.device)
        return [
            DecodedSet(
                folder=job.folder,
                run=finish_run(
                    job.folder, job.survey, job.journal, described, job.settings, job.options, device
                ),
            )
            for job in jobs
        ]


def _options_per_set(
    options: DecodeOptions, per_set: dict[str, dict[str, Any]], names: list[str]
) -> dict[str, DecodeOptions]:
    """Return the options of every test set; settings for one that is not there are refused."""
    if unknown := sorted(per_set.keys() - set(names)):
        raise UsageError(
            f"settings for a test set that is not there: {unknown[0]!r}", expected=", ".join(names)
        )
    return {name: options.changed(per_set.get(name, {})) for name in names}


def _apply_policy(
    surveys: list[Survey], options: DecodeOptions, limit: float, say: Callable[[str], None]
) -> None:
    """Act on what is wrong with the audio as the options say, before anything is loaded or written."""
    found = [problem for item in surveys for problem in (*item.test_set.notices, *item.problems)]
    errors = [problem for problem in found if problem.severity == "error"]
    if errors and options.on_bad_audio == "error":
        raise ValidationFailed(
            f"{len(errors)} of {sum(len(item.durations) for item in surveys)} segments have audio that cannot be used",
            errors,
            fix="mend the files, or write a placeholder on their lines: --on-bad-audio placeholder",
        )
    for problem in found:
        say(str(problem))
    if errors:
        say(f"{len(errors)} segments get the placeholder {options.placeholder!r}")
    for item in surveys:
        if item.long and options.long == "error":
            raise ValidationFailed(
                f"{len(item.long)} segments are longer than the {limit:g} s the model hears",
                [_too_long(item, index, limit) for index in item.long],
                where=item.test_set.name,
                fix="cut them at silences and join the outputs: --long segment",
            )
        if item.long:
            say(
                f"{item.test_set.name}: {len(item.long)} segments over {limit:g} s are cut at silences, one line each"
            )


def _too_long(item: Survey, index: int, limit: float) -> Problem:
    segment = item.test_set.segments[index]
    return Problem(
        rule="audio.long",
        message=f"segment {segment.id}: {item.durations[index]:.2f} s, the model hears {limit:g} s",
        path=segment.audio,
        line=index + 1,
    )


def _open_job(
    found: Survey,
    folder: Path,
    described: RunArtifact,
    options: DecodeOptions,
    source: TensorSource,
    processor: Any,
    stack: ExitStack,
) -> _Job:
    device = resolve_device(options.device)
    settings = build_settings(options, device, resolve_dtype(options.dtype, device), source.model_dir)
    listener = Listener(processor, settings.prompt, settings.system_prompt, settings.chat_template)
    batches = plan_batches(found.pieces, options.batch_size, options.batch_seconds)
    if (folder / RUN_NAME).exists() and not (folder / JOURNAL_NAME).exists():
        raise UsageError(
            "the output folder holds a finished run without its journal",
            where=folder,
            fix="give another --output, or remove the folder to decode again",
        )
    binding = _binding(found, batches, described, settings, options)
    journal = stack.enter_context(Journal(folder / JOURNAL_NAME, binding))
    planned = {(piece.segment, piece.part) for batch in batches for piece in batch}
    if not journal.decoded.keys() <= planned:
        raise InputError("the journal holds pieces the test set does not have", where=journal.path)
    return _Job(
        survey=found,
        batches=batches,
        folder=folder,
        options=options,
        settings=settings,
        listener=listener,
        journal=journal,
    )


def _binding(
    found: Survey, batches: list[Batch], described: RunArtifact, settings: RunSettings, options: DecodeOptions
) -> dict[str, Any]:
    """Return what a journal is bound to. The mode is left out: all modes compute with the same weights, so a run that
    did not fit the device may go on as `stream`."""
    bound = {key: value for key, value in settings.to_json().items() if key != "mode"}
    return {
        "pair": options.pair,
        "artifact": described.sha256,
        "test_set": {
            "name": found.test_set.name,
            "sha256": found.sha256,
            "segments": len(found.durations),
            "unusable": sha256_bytes(canonical_json(sorted(found.unusable))) if found.unusable else None,
        },
        "plan": plan_digest(batches),
        "settings": bound,
    }


def _translate(
    jobs: list[_Job],
    source: TensorSource,
    options: DecodeOptions,
    progress: Progress,
    say: Callable[[str], None],
) -> None:
    """Load the model and decode what is left; nothing is loaded where nothing is left."""
    left = [job for job in jobs if job.pending]
    for job in jobs:
        if job.journal.dropped:
            say(
                f"{job.folder.name}: {job.journal.dropped} bytes of an unfinished batch were dropped from the journal"
            )
        if job.journal.decoded:
            share = f"{len(job.journal.decoded)} of {len(job.survey.pieces)} pieces"
            say(f"{job.survey.test_set.name}: {share} were decoded before; going on")
    if not left:
        return
    device = resolve_device(options.device)
    progress.start("loading the model", 1)
    started = time.perf_counter()
    model = load_from(source, device=device, mode=options.mode, dtype=left[0].settings.dtype)
    load_seconds = time.perf_counter() - started
    progress.finish()
    translator = Translator(model, left[0].listener.processor)
    session = Session(
        device_name=device_name(device), mode=options.mode, load_seconds=load_seconds, libraries=libraries()
    )
    for job in left:
        job.journal.begin_session(session)
        translate_batches(
            job.survey, job.pending, job.journal, job.listener, translator, job.settings, progress, say
        )
