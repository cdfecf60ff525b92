"""The ledger: the folder of submissions, what it holds, and changes to it."""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from iwsltpack import editions
from iwsltpack.documents.names import SUBMISSION_NAME
from iwsltpack.documents.score import Score, digest, read_score
from iwsltpack.documents.submission import RecordedScore, RecordedScores, Submission, read_submission
from iwsltpack.editions import Edition
from iwsltpack.errors import InputError, IwsltpackError, Problem, UsageError, ValidationFailed, has_errors
from iwsltpack.submission import naming
from iwsltpack.submission.packaging import Package, finish
from iwsltpack.submission.transaction import commit, locked, write_folder
from iwsltpack.submission.validation.submissions import (
    check_submission,
    check_types,
    primary_key,
    read_package,
    submission_folders,
)
from iwsltpack.submission.validation_rules import problem
from iwsltpack.system import fileio

State = Literal["valid", "invalid", "unreadable"]
Outcome = Literal["written", "unchanged", "replaced"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One submission of the ledger; ``submission`` is None where its record cannot be read.

    `number` counts from 1 in an order that promotion does not change: size, artifact, hypotheses.
    """

    folder: str
    number: int | None = None
    state: State
    problems: tuple[Problem, ...]
    submission: Submission | None
    scores: tuple[RecordedScore, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return what a listing shows, as JSON; sizes in exact bytes."""
        item = self.submission
        own = ("model_name", "team", "pair", "condition", "type", "label")
        return {
            "name": self.folder,
            "number": self.number,
            "state": self.state,
            **{name: getattr(item, name, None) for name in own},
            "edition": item and item.edition.name,
            "bytes": item and item.artifact.bytes,
            "recipe": item and item.artifact.recipe,
            "artifact": item and item.artifact.sha256,
            "scores": [score.to_json() for score in self.scores],
            "problems": [found.to_json() for found in self.problems],
        }


def entries(root: Path) -> list[Entry]:
    """Return every submission below `root`, checked; an absent folder holds none."""
    if not root.is_dir():
        return []
    ranks = {folder: number for number, folder in enumerate(_by_number(root), 1)}
    return [_entry(folder, ranks.get(folder)) for folder in submission_folders(root)]


def _by_number(root: Path) -> list[Path]:
    """Return the readable submissions in the order of their numbers."""
    keys: dict[Path, tuple[Any, ...]] = {}
    for folder in submission_folders(root):
        with suppress(IwsltpackError):
            item = read_submission(folder)
            model = (item.artifact.bytes, item.artifact.sha256)
            texts = [text.sha256 for text in item.test_sets]
            keys[folder] = (*primary_key(item), *model, texts, item.cleaning.applied)
    return sorted(keys, key=lambda folder: (*keys[folder], folder.name))


def open_ledger(root: Path) -> tuple[list[Entry], list[Problem]]:
    """Finish an interrupted change if there is one; return the entries and what is wrong over all of them."""
    if root.is_dir():
        with locked(root):
            pass
    found = entries(root)
    return found, check_types([entry.submission for entry in found if entry.submission], root)


def _entry(folder: Path, number: int | None) -> Entry:
    problems = check_submission(folder)
    try:
        submission = read_submission(folder)
    except IwsltpackError:
        return Entry(folder=folder.name, state="unreadable", problems=tuple(problems), submission=None)
    digests, recorded = {item.sha256 for item in submission.test_sets}, _recorded(folder)
    scores = tuple(score for score in recorded if score.hypotheses_sha256 in digests)
    if stale := [f"{score.metric} of {score.test_set}" for score in recorded if score not in scores]:
        message = f"{len(stale)} left out: {', '.join(stale)}"
        problems.append(problem("ledger.stale-scores", message, path=folder / naming.SCORES))
    return Entry(
        folder=folder.name,
        number=number,
        state="invalid" if has_errors(problems) else "valid",
        problems=tuple(problems),
        submission=submission,
        scores=scores,
    )


def _recorded(folder: Path) -> tuple[RecordedScore, ...]:
    path = folder / naming.SCORES
    return RecordedScores.from_json(fileio.read_json(path), path=path).scores if path.is_file() else ()


def record_score(root: Path, path: Path) -> list[str]:
    """Record a score document with every submission whose hypotheses were scored; return their folders.

    Scores lie beside the package, so that recording one changes neither checksums nor archive. A score of the same
    test set and metric replaces the one before. A document of hypotheses that no submission holds is an `InputError`.
    """
    document = read_score(path)
    with locked(root):
        folders = [folder for folder in submission_folders(root) if _record(folder, document)]
    if not folders:
        raise InputError(
            "these scores belong to no submission here",
            where=path,
            expected="a score of the very lines in a package: iwsltpack score submissions/NAME/TESTSET.PAIR.txt …",
            got=f"hypotheses {document.hypotheses.name} ({document.hypotheses.lines} lines)",
        )
    return [folder.name for folder in folders]


def _record(folder: Path, document: Score) -> bool:
    submission = read_submission(folder)
    new = [
        RecordedScore(
            test_set=item.name,
            metric=result.metric,
            score=result.score,
            signature=result.signature.text,
            hypotheses_sha256=item.sha256,
        )
        for item in submission.test_sets
        for result in document.metrics
        if result.signature.hypotheses == digest(fileio.read_lines(folder / item.file))
    ]
    if not new:
        return False
    kept = {(score.test_set, score.metric): score for score in (*_recorded(folder), *new)}
    ordered = tuple(kept[pair] for pair in sorted(kept))
    fileio.write_json(folder / naming.SCORES, RecordedScores(scores=ordered).to_json())
    return True


def note_upload(root: Path, name: str) -> Path:
    """Note down that a submission, by name, label or number, was handed in as it is now; return its folder."""
    with locked(root):
        folder = _chosen(root, name, None)
        checksums = fileio.sha256_file(folder / naming.CHECKSUMS)
        fileio.write_json(folder / naming.UPLOADED, {"checksums": checksums})
    return folder


def check_addition(root: Path, submission: Submission) -> list[Problem]:
    """Return what speaks against adding a submission to those that are there."""
    if submission.type != "primary" or not root.is_dir():
        return []
    return [
        problem("submit.second-primary", f"{folder.name} is PRIMARY", path=folder)
        for folder in submission_folders(root)
        if folder.name != naming.folder_of(submission)
        and (other := read_submission(folder)).type == "primary"
        and primary_key(other) == primary_key(submission)
    ]


def add(root: Path, package: Package, *, replace_existing: bool = False) -> tuple[Path, Outcome]:
    """Write a package below `root`, wholly or not at all; return its folder and what happened.

    A second PRIMARY for the pair and condition is a `ValidationFailed`; another package of that name is a `UsageError`
    unless `replace_existing` is set.
    """
    with locked(root):
        target = root / package.folder
        if problems := check_addition(root, package.submission):
            raise ValidationFailed("the ledger does not admit this", problems, where=root)
        present, hostile = read_package(target) if target.is_dir() else ({}, [])
        if present == package.files and not hostile:
            return target, "unchanged"
        if target.exists() and not replace_existing:
            raise _occupied(target, package.submission)
        files, scores = package.files, target / naming.SCORES
        if scores.is_file():
            files = {**files, naming.SCORES: fileio.read_bytes(scores)}
        commit(root, {package.folder: write_folder(root, 0, files)})
        return target, "replaced" if present or hostile else "written"


def _occupied(target: Path, submission: Submission) -> IwsltpackError:
    other = None
    with suppress(IwsltpackError):
        other = read_submission(target).artifact.sha256
    if submission.type == "primary" and other != submission.artifact.sha256:
        message = f"{target.name} is PRIMARY, with another artifact"
        return ValidationFailed(
            "the ledger does not admit this",
            [problem("submit.second-primary", message, path=target)],
            where=target,
            fix="submit --contrastive, or add --replace to put this one in its place",
        )
    return UsageError(
        "another submission of this name is there",
        where=target,
        fix="add --label WORD to keep both (contrastive), or --replace to put this one in its place",
    )


def promote(root: Path, name: str, edition: Edition | None = None) -> dict[str, str]:
    """Make a submission the PRIMARY and the present PRIMARY contrastive; return old folder names -> new ones.

    It is named by folder, label or number; whatever is PRIMARY by that name already stays so. For that the demoted
    one never takes over the name of the promoted one.

    A model name says its type, so both folders get new names and their records, pages, checksums and archives are
    written anew, in one atomic step; hypotheses, audits and scores are carried over byte for byte. No such
    submission, or several by this label, are a `UsageError`; a damaged one is a `ValidationFailed`.
    """
    with locked(root):
        folder = _chosen(root, name, edition)
        chosen = read_submission(folder)
        if chosen.type == "primary":
            return {}
        others = [read_submission(other) for other in submission_folders(root) if other != folder]
        demoted = [
            item for item in others if item.type == "primary" and primary_key(item) == primary_key(chosen)
        ]
        taken = {naming.folder_of(item) for item in (chosen, *others) if item not in demoted}
        changed = [(chosen, _retyped(chosen, "primary", edition))]
        for item in demoted:
            new = _retyped(item, "contrastive", edition)
            changed.append((item, _with_free_label(new, taken)))
            taken.add(naming.folder_of(changed[-1][1]))
        install = {}
        for number, (old, new) in enumerate(changed):
            files = _repackaged(root / naming.folder_of(old), new, edition)
            install[naming.folder_of(new)] = write_folder(root, number, files)
        commit(root, install, tuple(naming.folder_of(old) for old, _ in changed))
        return {naming.folder_of(old): naming.folder_of(new) for old, new in changed}


def _chosen(root: Path, name: str, edition: Edition | None) -> Path:
    """Return the submission meant by a folder's name, also that of before its promotion, by a label or a number."""
    folders = {folder.name: folder for folder in submission_folders(root)}
    if name in folders:
        return folders[name]
    numbered = _by_number(root)
    records = {folder: read_submission(folder) for folder in numbered}
    found = [folder for folder, item in records.items() if item.label == name]
    if not found and name.isdigit():
        found = numbered[int(name) - 1 : int(name)] if int(name) else []
    if not found and "_" in name:
        found = [
            folder
            for folder, item in records.items()
            if item.type == "primary" and naming.folder_of(_retyped(item, "contrastive", edition)) == name
        ]
    if len(found) == 1:
        return found[0]
    raise UsageError(
        f"{'several submissions' if found else 'no submission'} {name!r}",
        where=root,
        expected="a name, label or number: " + (", ".join(f.name for f in found or numbered) or "none"),
    )


def _retyped(submission: Submission, type_: str, edition: Edition | None) -> Submission:
    rules = edition or editions.load(submission.edition.name)
    name = rules.model_name(
        submission.team, submission.pair, submission.condition, type_, submission.artifact.bytes
    )
    return replace(submission, type=type_, model_name=name)


def _with_free_label(submission: Submission, taken: set[str]) -> Submission:
    base = submission.label or submission.artifact.recipe.lower().replace("_", "-")
    labels = [submission.label, base, *(f"{base}-{number}" for number in range(2, 1000))]
    for label in labels:
        if label is not None and naming.LABEL.fullmatch(label) is None:
            continue
        renamed = replace(submission, label=label)
        if naming.folder_of(renamed) not in taken:
            return renamed
    raise UsageError("no free name for the demoted submission", where=naming.folder_of(submission))


def _repackaged(folder: Path, new: Submission, edition: Edition | None) -> dict[str, bytes]:
    if has_errors(found := check_submission(folder, edition)):
        raise ValidationFailed("a damaged submission cannot change its type", found, where=folder)
    files, _ = read_package(folder)
    rewritten = {SUBMISSION_NAME, naming.DESCRIPTION, naming.UPLOAD, naming.CHECKSUMS, f"{folder.name}.zip"}
    kept = {name: data for name, data in files.items() if name not in rewritten}
    made = finish(new, edition or editions.load(new.edition.name), kept)
    scores = folder / naming.SCORES
    return {**made, naming.SCORES: fileio.read_bytes(scores)} if scores.is_file() else made
