"""Checks of a packaged submission, folder or archive, and of a folder of them."""

import json
import stat
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from iwsltpack import editions
from iwsltpack.documents.names import SUBMISSION_NAME
from iwsltpack.documents.submission import Submission, SubmissionTestSet
from iwsltpack.editions import Edition
from iwsltpack.errors import IwsltpackError, Problem
from iwsltpack.submission import naming
from iwsltpack.submission.archive import make_archive, parse_checksums, read_archive, unsafe_name
from iwsltpack.submission.description import field_lines, is_required
from iwsltpack.submission.edition_rules import check_base_model, check_datasets, check_test_sets
from iwsltpack.submission.privacy import check_private
from iwsltpack.submission.transaction import HIDDEN, is_unfinished
from iwsltpack.submission.validation.hypotheses import check_hypotheses
from iwsltpack.submission.validation_rules import as_problems, problem
from iwsltpack.system import fileio
from iwsltpack.version import __version__

MAX_FILE: Final = 256 << 20
MAX_FILES: Final = 1000
NO_SUBMISSIONS: Final = (".gitkeep", ".gitignore", "README.md")


def check_submission(folder: Path, edition: Edition | None = None) -> list[Problem]:
    """Return every problem of a submission's folder; `edition` overrides the one it was packaged for."""
    files, problems = read_package(folder)
    if problems:
        return problems
    archive_name = f"{folder.name}.zip"
    archive = files.pop(archive_name, None)
    submission, problems = _check_files(files, folder, edition)
    if submission is None:
        return problems
    if folder.name != (name := naming.folder_of(submission)):
        problems.append(
            problem("submission.folder-name", f"{folder.name!r} instead of {name!r}", path=folder)
        )
    path = folder / archive_name
    if archive is None:
        problems.append(problem("submission.missing-file", archive_name, path=path))
    elif archive != make_archive(folder.name, files):
        problems.append(problem("submission.archive", "not the bytes these files give", path=path))
    return problems


def check_archive(path: Path, edition: Edition | None = None) -> list[Problem]:
    """Return every problem of a submission's archive, read in memory: nothing is unpacked to disk."""
    try:
        entries = read_archive(path)
    except IwsltpackError as error:
        return as_problems(error, "submission.unreadable", path)
    tops = {name.split("/", 1)[0] for name in entries}
    if len(tops) != 1 or any("/" not in name for name in entries):
        return [problem("submission.archive", f"{len(tops)} folders at the top instead of one", path=path)]
    top = tops.pop()
    files = {name.removeprefix(f"{top}/"): data for name, data in entries.items()}
    submission, problems = _check_files(files, path, edition)
    if submission is not None and top != naming.folder_of(submission):
        problems.append(problem("submission.folder-name", f"{top!r} in the archive", path=path))
    return problems


def read_package(folder: Path) -> tuple[dict[str, bytes], list[Problem]]:
    """Return the bytes of a package's files by relative name, scores left out; or why they must not be read."""
    hostile: list[tuple[str, Path]] = []
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            found[path.relative_to(folder).as_posix()] = path
            if status.st_size > MAX_FILE:
                hostile.append((f"{status.st_size} bytes", path))
        elif not stat.S_ISDIR(status.st_mode):
            hostile.append(("a link or no plain file", path))
    if len(found) > MAX_FILES:
        hostile.append((f"{len(found)} files", folder))
    if hostile:
        return {}, [problem("submission.hostile", message, path=path) for message, path in hostile]
    beside = (naming.SCORES, naming.UPLOADED)
    return {name: fileio.read_bytes(path) for name, path in found.items() if name not in beside}, []


def _check_files(
    files: dict[str, bytes], where: Path, edition: Edition | None
) -> tuple[Submission | None, list[Problem]]:
    submission, problems = _record(files, where)
    problems += _check_sums(files, where)
    if submission is None:
        return None, problems
    for item in submission.test_sets:
        problems += _check_test_set(item, submission, files, where)
    problems += check_private(files, submission.team, where)
    return submission, problems + _check_edition(submission, files, where, edition)


def _record(files: dict[str, bytes], where: Path) -> tuple[Submission | None, list[Problem]]:
    path = where / SUBMISSION_NAME
    raw = files.get(SUBMISSION_NAME)
    if raw is None:
        return None, [problem("submission.unreadable", "there is none", path=path)]
    try:
        data: Any = json.loads(raw)
        submission = Submission.from_json(data, path=path)
    except ValueError as error:
        return None, [problem("submission.unreadable", f"not a JSON document: {error}", path=path)]
    except IwsltpackError as error:
        return None, as_problems(error, "submission.unreadable", path)
    if raw != fileio.canonical_json(data):
        message = "not in the form the tool writes: edited by hand"
        return submission, [problem("submission.checksum", message, path=path)]
    return submission, []


def _check_sums(files: dict[str, bytes], where: Path) -> list[Problem]:
    path = where / naming.CHECKSUMS
    if naming.CHECKSUMS not in files:
        return [problem("submission.missing-file", naming.CHECKSUMS, path=path)]
    try:
        listed = parse_checksums(files[naming.CHECKSUMS])
    except ValueError as error:
        return [problem("submission.checksum", str(error), path=path)]
    wrong = [("submission.missing-file", name, name) for name in listed if name not in files]
    for name, data in files.items():
        if name == naming.CHECKSUMS:
            continue
        if name not in listed:
            wrong.append(("submission.foreign-file", name, name))
        elif fileio.sha256_bytes(data) != listed[name]:
            wrong.append(("submission.checksum", "its SHA-256 differs", name))
    return [problem(rule, message, path=where / name) for rule, message, name in wrong]


def _check_test_set(
    item: SubmissionTestSet, submission: Submission, files: dict[str, bytes], where: Path
) -> list[Problem]:
    """Return what is wrong with the hypotheses of a test set, and with the raw ones they were made from."""
    if unsafe_name(item.file) is not None or "/" in item.file:
        message = f"test set {item.name}: the file {item.file!r}"
        return [problem("submission.hostile", message, path=where / SUBMISSION_NAME)]
    problems = []
    for name, digest, lacking, other in (
        (item.file, item.sha256, f"test set {item.name}", "the hypotheses in submission.json"),
        (
            f"{naming.RAW_FOLDER}/{item.file}",
            item.raw_sha256,
            "the raw hypotheses",
            "the raw hypotheses of the run",
        ),
    ):
        if name not in files:
            problems.append(problem("submission.missing-file", lacking, path=where / name))
        elif fileio.sha256_bytes(files[name]) != digest:
            problems.append(problem("submission.checksum", f"not {other}", path=where / name))
    if (data := files.get(item.file)) is None:
        return problems
    path, cleaning = where / item.file, submission.cleaning
    found = data.count(b"\n") + (not data.endswith(b"\n"))
    if found != item.lines or found != item.run.segments:
        message = f"{found} lines, {item.run.segments} segments, {item.lines} lines in submission.json"
        problems.append(problem("hyp.line-count", message, path=path))
    return problems + check_hypotheses(data, cleaning.lang, path, raw=not cleaning.applied)


def _check_edition(
    submission: Submission, files: dict[str, bytes], where: Path, edition: Edition | None
) -> list[Problem]:
    path = where / SUBMISSION_NAME
    if edition is None:
        try:
            edition = editions.load(submission.edition.name)
        except IwsltpackError:
            message = f"no edition {submission.edition.name!r} at hand: its rules were not checked"
            return [problem("submission.edition", message, path=path, fix="name its file: --edition FILE")]
    problems = _check_rules(submission, edition)
    if submission.edition.sha256 != edition.sha256:
        problems.insert(0, problem("submission.edition", f"packaged by other rules of {edition.name}"))
    problems = [replace(found, path=str(path)) for found in problems]
    text = files.get(naming.DESCRIPTION, b"").decode("utf-8", errors="replace")
    for field in edition.description_fields:
        lines = [line for line in field_lines(field, submission) if line and is_required(field, submission)]
        # Another version may word its values differently; the field itself must be there in any case.
        wanted = lines if submission.tool.version == __version__ else lines[:1]
        problems += [
            problem("submission.description", f"lacks: {line}", path=where / naming.DESCRIPTION)
            for line in wanted
            if line not in text
        ]
    return problems


def _check_rules(item: Submission, edition: Edition) -> list[Problem]:
    try:
        expected = edition.model_name(item.team, item.pair, item.condition, item.type, item.artifact.bytes)
    except IwsltpackError as error:
        # The edition lacks this pair, condition, type or size: it has no rules to apply.
        return [problem("submission.model-name", error.what)]
    problems = check_datasets(edition.condition(item.condition), item.datasets)
    problems += check_base_model(edition, item.artifact.base_model, item.artifact.architecture)
    names, digests = (
        [each.name for each in item.test_sets],
        [each.run.test_set_sha256 for each in item.test_sets],
    )
    problems += check_test_sets(edition, item.pair, names, digests)
    if item.model_name != expected:
        problems.append(problem("submission.model-name", f"{item.model_name!r} instead of {expected!r}"))
    return problems


def submission_folders(root: Path) -> list[Path]:
    """Return the folders among the submissions that hold one, by name; those under construction are none."""
    return [
        child
        for child in sorted(root.iterdir())
        if not child.name.startswith(HIDDEN) and child.is_dir() and (child / SUBMISSION_NAME).is_file()
    ]


def check_ledger(root: Path, edition: Edition | None = None) -> list[Problem]:
    """Return every problem of a folder of submissions, each submission's own included."""
    problems = []
    if is_unfinished(root):
        problems.append(problem("ledger.unfinished", "decided, not carried out to the end", path=root))
    submissions, folders = [], submission_folders(root)
    for child in sorted(root.iterdir()):
        if child in folders and not child.is_symlink():
            problems += check_submission(child, edition)
            files, hostile = read_package(child)
            if not hostile and (submission := _record(files, child)[0]) is not None:
                submissions.append(submission)
        elif not child.name.startswith(HIDDEN) and child.name not in NO_SUBMISSIONS:
            problems.append(problem("ledger.stray", "no submission", path=child))
    return problems + check_types(submissions, root)


def primary_key(submission: Submission) -> tuple[str, str, str, str]:
    """Return what exactly one PRIMARY is allowed for: edition, team, pair and condition."""
    return (submission.edition.name, submission.team, submission.pair, submission.condition)


def check_types(submissions: list[Submission], root: Path) -> list[Problem]:
    """Return what is wrong with the PRIMARY marks over all submissions."""
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for item in submissions:
        groups[primary_key(item)] += [naming.folder_of(item)] if item.type == "primary" else []
    problems = []
    for (edition, team, pair, condition), primaries in sorted(groups.items()):
        what = f"{edition}, team {team}, {pair}, {condition}"
        if len(primaries) > 1:
            problems.append(problem("ledger.two-primaries", f"{what}: {', '.join(primaries)}", path=root))
        if not primaries:
            problems.append(problem("ledger.no-primary", what, path=root))
    return problems
