"""Checks of a finished decoding run: its hypotheses are its own, whole, in order, and follow the audio."""

from pathlib import Path
from typing import Final

from iwsltpack.documents.names import PAIRS, RUN_NAME
from iwsltpack.documents.run import Run, read_run
from iwsltpack.errors import IwsltpackError, Problem
from iwsltpack.submission.validation.hypotheses import check_alignment, read_hypotheses
from iwsltpack.submission.validation_rules import as_problems, problem
from iwsltpack.system import fileio

LINES_NAMED: Final = 8
"""Lines listed by number in one problem; past that only how many."""


def load_run(folder: Path) -> tuple[Run | None, list[Problem]]:
    """Read ``run.json``; where it cannot be used, return None and why."""
    try:
        return read_run(folder), []
    except IwsltpackError as error:
        return None, as_problems(error, "run.unreadable", folder)


def check_run(folder: Path) -> list[Problem]:
    """Return every problem of a run's folder."""
    run, problems = load_run(folder)
    return problems if run is None else check_loaded_run(folder, run)


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
    count, segments, told = len(hypotheses.lines), run.test_set.segments, run.output.lines
    if not count == segments == told:
        other = f"{segments} segments of the test set" if count != segments else f"{told} lines in run.json"
        problems.append(problem("hyp.line-count", f"{count} lines, {other}", path=output))
    durations = [segment.duration for segment in run.segments]
    return problems + check_alignment(durations, hypotheses.lines, output)


def _check_record(path: Path, run: Run) -> list[Problem]:
    found, segments = [], run.segments
    if wrong := next((item for item in enumerate(segments) if item[0] != item[1].index), None):
        found.append(("run.order", f"entry {wrong[0]} has index {wrong[1].index}"))
    if len(segments) != run.test_set.segments:
        message = f"{len(segments)} segments recorded, {run.test_set.segments} in the test set"
        found.append(("hyp.line-count", message))
    for rule, finish in (("run.truncated", "length"), ("run.placeholders", "placeholder")):
        if lines := [segment.index + 1 for segment in segments if segment.finish == finish]:
            found.append((rule, f"{len(lines)} of {len(segments)} segments: lines {_listed(lines)}"))
    if lines := [segment.index + 1 for segment in segments if segment.signs]:
        found.append(("run.hallucinations", f"{len(lines)} segments: lines {_listed(lines)}"))
    return [problem(rule, message, path=path) for rule, message in found]


def _listed(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:LINES_NAMED]))
    return shown if len(lines) <= LINES_NAMED else f"{shown}, …"
