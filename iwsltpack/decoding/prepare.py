"""Makes test sets ready to be decoded: finds, examines and plans them, and finds all that is wrong with the input."""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from iwsltpack.artifact.reader import Artifact
from iwsltpack.decoding.batch_plan import Batch, batches_of, binding, make_plan
from iwsltpack.decoding.generation import InputBuilder
from iwsltpack.decoding.journal import Key
from iwsltpack.decoding.options import DecodeOptions, RunRequest
from iwsltpack.decoding.record import build_settings, describe_artifact, refuse_lost_journal
from iwsltpack.documents.decoding_plan import DecodingPlan
from iwsltpack.documents.places import refuse_above_runs, refuse_inside
from iwsltpack.errors import InputError, UsageError, ValidationFailed
from iwsltpack.runtime.families import family_of
from iwsltpack.runtime.model import audio_limit, check_mode, processor_from
from iwsltpack.system.progress import Reporter
from iwsltpack.testsets.audio import ExaminedFile
from iwsltpack.testsets.discovery import find_test_sets
from iwsltpack.testsets.survey import Survey, segment_problem, survey


@dataclass(frozen=True, kw_only=True)
class RunJob:
    """One test set to decode: examined, planned, with the folder of its run and what its journals are bound to."""

    survey: Survey
    plan: DecodingPlan
    batches: list[Batch]
    folder: Path
    binding: dict[str, Any]
    input_builder: InputBuilder

    @property
    def name(self) -> str:
        """Name of the test set."""
        return self.plan.test_set.name

    def pending(self, settled: Container[Key], among: Iterable[Batch] | None = None) -> list[Batch]:
        """Return the batches that hold a piece not settled yet; they are decoded whole again."""
        batches = self.batches if among is None else among
        return [batch for batch in batches if any((p.segment, p.part) not in settled for p in batch)]

    def files_of(self, batch: Batch) -> list[ExaminedFile]:
        """Return the recordings of a batch, one a piece, as they were when they were examined."""
        segments = self.survey.test_set.segments
        return [self.survey.files[segments[piece.segment].path] for piece in batch]

    def check(self, decoded: Iterable[Key], where: Path) -> None:
        """Refuse a journal that holds what the plan does not know."""
        planned = {(piece.segment, piece.part) for batch in self.batches for piece in batch}
        if not planned.issuperset(decoded):
            raise InputError("the journal holds pieces the test set does not have", where=where)


def prepare_jobs(
    request: RunRequest, source: Artifact, device: torch.device, reporter: Reporter
) -> list[RunJob]:
    """Find, examine and plan every test set of a request, in the order they are found; nothing is written.

    `device` is what the model will run on, here or elsewhere. Unusable test sets or audio are a `ValidationFailed` that
    names every problem.
    """
    options = request.options
    check_mode(source, options.mode)
    test_sets = find_test_sets(
        request.test_dir, kind=options.kind, name=options.name, segmentation=options.segments
    )
    several, output = len(test_sets) > 1, request.output
    folders = {item.name: output / item.name if several else output for item in test_sets}
    for folder in folders.values():
        refuse_inside(folder, "run")
        refuse_above_runs(folder)
        refuse_lost_journal(folder)
        if any(
            segment.path.resolve().parent == folder.resolve()
            for item in test_sets
            for segment in item.segments
        ):
            raise UsageError(
                "the output is a folder of recordings", where=folder, fix="give --output another"
            )
    processor = processor_from(source.model_dir)
    family = family_of(processor)
    if options.engine == "vllm":
        from iwsltpack.decoding.vllm_engine import check_engine

        check_engine(source.model_dir, family, device)
    apart = request.options_of([item.name for item in test_sets], family)
    limit = audio_limit(processor)
    surveys = [survey(test_set, limit, reporter) for test_set in test_sets]
    apply_policy(surveys, options, limit, reporter)
    artifact, jobs = describe_artifact(source), []
    for found in surveys:
        name = found.test_set.name
        settings = build_settings(apart[name], device, source.model_dir)
        plan = make_plan(found, artifact, settings, options.pair)
        jobs.append(
            RunJob(
                survey=found,
                plan=plan,
                batches=batches_of(plan),
                folder=folders[name],
                binding=binding(plan),
                input_builder=InputBuilder.of_settings(processor, settings),
            )
        )
    return jobs


def apply_policy(surveys: list[Survey], options: DecodeOptions, limit: float, reporter: Reporter) -> None:
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
        reporter.say(str(problem))
    if errors:
        reporter.say(f"{len(errors)} segments get the placeholder {options.placeholder!r}")
    for item in surveys:
        if item.long and options.long == "error":
            raise ValidationFailed(
                f"{len(item.long)} segments are longer than the {limit:g} s the model hears",
                [
                    segment_problem(
                        item.test_set.segments[index],
                        index,
                        "audio.long",
                        f"{item.durations[index]:.2f} s, the model hears {limit:g} s",
                    )
                    for index in item.long
                ],
                where=item.test_set.name,
                fix="cut them at silences and join the outputs: --long segment",
            )
        if item.long:
            reporter.say(
                f"{item.test_set.name}: {len(item.long)} segments over {limit:g} s are cut at silences, one line each"
            )
