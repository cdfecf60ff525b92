"""Checks of everything a participant hands in: every problem at once, each with place, rule and next step."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from iwsltpack.artifact.location import Place, is_address
from iwsltpack.documents.names import PAIRS, pair_in
from iwsltpack.documents.places import run_folders, thing_at, things_in
from iwsltpack.editions import Edition
from iwsltpack.errors import IwsltpackError, Problem
from iwsltpack.submission.validation.hypotheses import check_alignment, read_hypotheses
from iwsltpack.submission.validation_rules import RULES, ValidationRule, problem
from iwsltpack.system.progress import SILENT, Reporter
from iwsltpack.testsets.order import durations_of

__all__ = ["RULES", "Kind", "Options", "ValidationRule", "kind_of", "problem", "validate"]

Kind = Literal["hypotheses", "run", "runs", "artifact", "submission", "archive", "ledger", "folder"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a validator may be told beside the path.

    `lang` is the target language of hypothesis files, by default that in the file's name; `test_set` the folder of
    the test set that one belongs to, whose segments are counted and durations compared; `edition` has rules to apply
    in place of those a submission was packaged for.
    """

    lang: str | None = None
    test_set: Path | None = None
    edition: Edition | None = None


def kind_of(path: Path) -> Kind | None:
    """Tell by its contents what `path` is; None where it is nothing that can be validated."""
    if path.is_file():
        packed = path.suffix in (".zip", ".tar", ".gz", ".tgz") or zipfile.is_zipfile(path)
        return "archive" if packed else "hypotheses"
    if not path.is_dir():
        return None
    if (thing := thing_at(path)) is not None:
        return None if thing == "checkpoint" else thing
    if path.name == "submissions" or any(thing_at(child) == "submission" for child in path.iterdir()):
        return "ledger"
    inside = {thing for thing, _ in things_in(path) if thing != "checkpoint"}
    return "runs" if inside == {"run"} else "folder" if inside else None


def validate(
    where: Place, options: Options | None = None, progress: Reporter = SILENT
) -> tuple[Kind | None, list[Problem]]:
    """Find out what lies at `where` and return that with every problem found, errors and warnings alike.

    An address is that of an artifact; if it cannot be fetched, see `verify_artifact`. A test set in `options` that
    cannot be read is an `InputError`.
    """
    if is_address(where):
        from iwsltpack.artifact.integrity import verify_artifact

        return "artifact", verify_artifact(where, progress)
    path, options = Path(where), options or Options()
    kind = kind_of(path)
    if kind is None:
        what = "neither run, artifact, submission nor a folder of them" if path.exists() else "nothing there"
        return None, [problem("path.unknown", what, path=path)]
    return kind, _check(kind, path, options, progress)


def _check(kind: Kind, path: Path, options: Options, progress: Reporter) -> list[Problem]:
    # Imported here: each kind needs other parts, and the command must answer at once.
    if kind == "hypotheses":
        return _check_hypotheses(path, options)
    if kind in ("run", "runs"):
        from iwsltpack.submission.validation.runs import check_run

        return [found for folder in run_folders(path) for found in check_run(folder)]
    if kind == "folder":
        inside = {child: kind_of(child) for child in sorted(path.iterdir()) if child.is_dir()}
        return [p for child, kind in inside.items() if kind for p in _check(kind, child, options, progress)]
    if kind == "artifact":
        from iwsltpack.artifact.integrity import verify_artifact

        return verify_artifact(path, progress)
    from iwsltpack.submission.validation import submissions

    checks = {
        "submission": submissions.check_submission,
        "archive": submissions.check_archive,
        "ledger": submissions.check_ledger,
    }
    return checks[kind](path, options.edition)


def _check_hypotheses(path: Path, options: Options) -> list[Problem]:
    lang = options.lang or PAIRS.get(pair_in(path.name) or "")
    found = read_hypotheses(path, lang)
    problems = found.problems
    if lang is None:
        problems = [*problems, problem("hyp.language", "neither told nor in the file's name", path=path)]
    if options.test_set is not None:
        problems = problems + _against_test_set(path, found.lines, options.test_set)
    return problems


def _against_test_set(path: Path, lines: list[str], folder: Path) -> list[Problem]:
    from iwsltpack.testsets.discovery import test_set_of

    segments = test_set_of(path, folder).segments
    if len(lines) != len(segments):
        message = f"{len(lines)} lines, {len(segments)} segments in {folder.name}"
        return [problem("hyp.line-count", message, path=path)]
    try:
        return check_alignment(durations_of(segments), lines, path)
    except IwsltpackError as error:
        return [problem("alignment.skipped", f"durations are not known: {error.what}", path=path)]
