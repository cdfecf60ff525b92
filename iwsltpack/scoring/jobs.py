"""Which hypotheses are scored against which references, where folders hold several test sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from iwsltpack.documents.places import run_folders
from iwsltpack.documents.run import read_run
from iwsltpack.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ScoringJob:
    """Hypotheses (a file, or a run's folder), the file of their references, and what they are compared with."""

    hypotheses: Path
    reference: Path
    baseline: Path | None


def scoring_jobs(hypotheses: Path, reference: Path, baseline: Path | None = None) -> list[ScoringJob]:
    """Return what is to be scored: the file, or every run in a folder, each with its own test set's texts.

    `reference` is a file for all of them, or a folder with a file or folder named after each test set; `baseline` is
    the same as `hypotheses`, of another system. A test set with no references or no baseline, or with more than one,
    is an `InputError`.
    """
    if not hypotheses.is_dir():
        reference = _reference(reference, hypotheses.name.split(".")[0])
        return [ScoringJob(hypotheses=hypotheses, reference=reference, baseline=baseline)]
    jobs = []
    for folder in run_folders(hypotheses):
        name = read_run(folder).test_set.name
        other = None
        if baseline is not None:
            runs = run_folders(baseline) if baseline.is_dir() else [baseline]
            same = runs if len(runs) == 1 else [run for run in runs if read_run(run).test_set.name == name]
            other = _only(same, baseline, f"one run of {name}")
        jobs.append(ScoringJob(hypotheses=folder, reference=_reference(reference, name), baseline=other))
    return jobs


def _reference(reference: Path, name: str) -> Path:
    """Return the references of a test set: ``NAME.*``, or what a folder ``NAME`` holds in one CSV, XML or text file."""
    if not reference.is_dir():
        return reference
    found = [path for path in sorted(reference.iterdir()) if f"{path.name}.".startswith(f"{name}.")]
    if len(found) == 1 and found[0].is_dir():
        found = [path for path in sorted(found[0].iterdir()) if path.suffix in (".csv", ".xml", ".txt")]
    return _only(found, reference, f"one file of references for {name}: {name}.*, or in a folder {name}")


def _only(found: list[Path], where: Path, expected: str) -> Path:
    if len(found) != 1:
        got = ", ".join(path.name for path in found) or "none"
        raise InputError("not one for this test set", where=where, expected=expected, got=got)
    return found[0]
