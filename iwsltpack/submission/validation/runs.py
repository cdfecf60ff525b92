"""Checks of a finished decoding run: its hypotheses are its own, whole, in order, and follow the audio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from iwsltpack.documents.names import PAIRS, RUN_NAME
from iwsltpack.documents.run import Run, read_run
from iwsltpack.errors import IwsltpackError, Problem, ValidationFailed
from iwsltpack.submission.validation.alignment import check_alignment
from iwsltpack.submission.validation.hypotheses import read_hypotheses
from iwsltpack.submission.validation_rules import problem
from iwsltpack.system import fileio

if TYPE_CHECKING:
    from pathlib import Path

LINES_NAMED: Final = 8
"""Lines listed by number in one problem; past that only how many."""


def load_run(folder: Path) -> tuple[Run | None, list[Problem]]:
    """Read ``run.json``; where it cannot be used, return None and why."""
    try:
        return read_run(folder), []
    except ValidationFailed as error:
        return None, error.problems
    except IwsltpackError as error:
        return None, [problem("run.unreadable", error.what, path=error.where or str(folder), fix=error.fix)]


def check_run(folder: Path) -> list[Problem]:
    """Return every problem of a run's folder."""
    run, problems = load_run(folder)
    if run is None:
        return problems
    return problems + check_loaded_run(folder, run)


def check_loaded_run(folder: Path, run: Run) -> list[Problem]:
    """Return every problem of a run whose ``run.json`` was read."""
    problems = _check_record(folder / RUN_NAME, run)
    output = folder / run.output.path
    if output.parent != folder or output.is_symlink() or not output.is_file():
        return [*problems, problem("run.output-missing", run.output.path, path=output)]
    if fileio.sha256_file(output) != run.output.sha256:
        message = "its SHA-256 is not the one in run.json: it was edited or replaced after decoding"
        problems.append(problem("run.output-changed", message, path=output))
    hypotheses = read_hypotheses(output, PAIRS.get(run.pair), raw=True)
    problems += hypotheses.problems
    for name, expected in (
        ("segments of the test set", run.test_set.segments),
        ("lines in run.json", run.output.lines),
    ):
        if len(hypotheses.lines) != expected:
            message = f"{len(hypotheses.lines)} lines, {expected} {name}"
            problems.append(problem("hyp.line-count", message, path=output))
            break
    durations = [segment.duration for segment in run.segments]
    return problems + check_alignment(durations, hypotheses.lines, output)


def _check_record(path: Path, run: Run) -> list[Problem]:
    problems = []
    indices = [segment.index for segment in run.segments]
    if indices != list(range(len(indices))):
        wrong = next(place for place, index in enumerate(indices) if place != index)
        message = f"entry {wrong} has index {indices[wrong]}"
        problems.append(problem("run.order", message, path=path))
    if len(indices) != run.test_set.segments:
        message = f"{len(indices)} segments recorded, {run.test_set.segments} in the test set"
        problems.append(problem("hyp.line-count", message, path=path))
    for rule, kept in (("run.truncated", "length"), ("run.placeholders", "placeholder")):
        lines = [segment.index + 1 for segment in run.segments if segment.finish == kept]
        if lines:
            problems.append(
                problem(rule, f"{len(lines)} of {len(indices)} segments: lines {_listed(lines)}", path=path)
            )
    signs = [segment.index + 1 for segment in run.segments if segment.signs]
    if signs:
        problems.append(
            problem("run.hallucinations", f"{len(signs)} segments: lines {_listed(signs)}", path=path)
        )
    return problems


def _listed(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:LINES_NAMED]))
    return shown if len(lines) <= LINES_NAMED else f"{shown}, …"
