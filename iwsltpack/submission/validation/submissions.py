"""Checks of a packaged submission, folder or archive, and of a folder of them."""

from __future__ import annotations

import json
import stat
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from iwsltpack import editions
from iwsltpack.documents.names import SUBMISSION_NAME
from iwsltpack.documents.submission import Submission
from iwsltpack.errors import IwsltpackError, Problem, ValidationFailed
from iwsltpack.submission import naming
from iwsltpack.submission.archive import make_archive, parse_checksums, read_archive, unsafe_name
from iwsltpack.submission.description import field_lines, is_required
from iwsltpack.submission.edition_rules import check_base_model, check_datasets, check_test_sets
from iwsltpack.submission.privacy import find_private
from iwsltpack.submission.transaction import HIDDEN, is_unfinished
from iwsltpack.submission.validation.hypotheses import check_hypotheses
from iwsltpack.submission.validation_rules import problem
from iwsltpack.system import fileio
from iwsltpack.version import __version__

if TYPE_CHECKING:
    from iwsltpack.editions import Edition

MAX_FILE: Final = 256 << 20
MAX_FILES: Final = 1000
TEXTS: Final = (SUBMISSION_NAME, naming.DESCRIPTION, naming.UPLOAD)
KEEP_OUT: Final = (naming.SCORES,)


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
    if folder.name != naming.folder_of(submission):
        message = f"{folder.name!r} instead of {naming.folder_of(submission)!r}"
        problems.append(problem("submission.folder-name", message, path=folder))
    if archive is None:
        problems.append(problem("submission.missing-file", archive_name, path=folder / archive_name))
    elif archive != make_archive(folder.name, files):
        problems.append(
            problem("submission.archive", "not the bytes these files give", path=folder / archive_name)
        )
    return problems


def check_archive(path: Path, edition: Edition | None = None) -> list[Problem]:
    """Return every problem of a submission's archive, read in memory: nothing is unpacked to disk."""
    try:
        entries = read_archive(path)
    except ValidationFailed as error:
        return error.problems
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
    problems: list[Problem] = []
    found: list[tuple[str, Path]] = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode) or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            problems.append(problem("submission.hostile", "a link or no plain file", path=path))
        elif stat.S_ISREG(mode):
            found.append((name, path))
            if path.lstat().st_size > MAX_FILE:
                problems.append(problem("submission.hostile", f"{path.lstat().st_size} bytes", path=path))
    if len(found) > MAX_FILES:
        problems.append(problem("submission.hostile", f"{len(found)} files", path=folder))
    if problems:
        return {}, problems
    return {name: fileio.read_bytes(path) for name, path in found if name not in KEEP_OUT}, []


def _check_files(
    files: dict[str, bytes], where: Path, edition: Edition | None
) -> tuple[Submission | None, list[Problem]]:
    submission, problems = _record(files, where)
    problems += _check_sums(files, where)
    if submission is None:
        return None, problems
    for item in submission.test_sets:
        problems += _check_test_set(
            item.name, item.file, item.sha256, item.lines, item.run.segments, files, where
        )
        if (data := files.get(item.file)) is not None:
            problems += check_hypotheses(
                data, submission.cleaning.lang, where / item.file, raw=not submission.cleaning.applied
            )
        problems += _check_raw(item.file, item.raw_sha256, files, where)
    for name in TEXTS:
        text = files.get(name, b"").decode("utf-8", errors="replace")
        problems += [
            problem("submission.private", f"{wording!r}", path=where / name, line=line)
            for line, wording in find_private(text, allowed=submission.team)
        ]
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
    except ValidationFailed as error:
        return None, error.problems
    except IwsltpackError as error:
        return None, [problem("submission.unreadable", error.what, path=error.where)]
    if raw != fileio.canonical_json(data):
        return submission, [
            problem("submission.checksum", "not in the form the tool writes: edited by hand", path=path)
        ]
    return submission, []


def _check_sums(files: dict[str, bytes], where: Path) -> list[Problem]:
    path = where / naming.CHECKSUMS
    raw = files.get(naming.CHECKSUMS)
    if raw is None:
        return [problem("submission.missing-file", naming.CHECKSUMS, path=path)]
    try:
        listed = parse_checksums(raw)
    except ValueError as error:
        return [problem("submission.checksum", str(error), path=path)]
    problems = [
        problem("submission.missing-file", name, path=where / name) for name in listed if name not in files
    ]
    for name, data in files.items():
        if name == naming.CHECKSUMS:
            continue
        if name not in listed:
            problems.append(problem("submission.foreign-file", name, path=where / name))
        elif fileio.sha256_bytes(data) != listed[name]:
            problems.append(problem("submission.checksum", "its SHA-256 differs", path=where / name))
    return problems


def _check_test_set(
    name: str, file: str, digest: str, lines: int, segments: int, files: dict[str, bytes], where: Path
) -> list[Problem]:
    if unsafe_name(file) is not None or "/" in file:
        return [
            problem("submission.hostile", f"test set {name}: the file {file!r}", path=where / SUBMISSION_NAME)
        ]
    data = files.get(file)
    if data is None:
        return [problem("submission.missing-file", f"test set {name}", path=where / file)]
    problems = []
    if fileio.sha256_bytes(data) != digest:
        problems.append(
            problem("submission.checksum", "not the hypotheses in submission.json", path=where / file)
        )
    found = data.count(b"\n") + (not data.endswith(b"\n"))
    if found != lines or found != segments:
        message = f"{found} lines, {segments} segments, {lines} lines in submission.json"
        problems.append(problem("hyp.line-count", message, path=where / file))
    return problems


def _check_raw(file: str, digest: str, files: dict[str, bytes], where: Path) -> list[Problem]:
    name = f"{naming.RAW_FOLDER}/{file}"
    data = files.get(name)
    if data is None:
        return [problem("submission.missing-file", "the raw hypotheses", path=where / name)]
    if fileio.sha256_bytes(data) != digest:
        return [problem("submission.checksum", "not the raw hypotheses of the run", path=where / name)]
    return []


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
    problems = []
    if submission.edition.sha256 != edition.sha256:
        problems.append(
            problem("submission.edition", f"packaged by other rules of {edition.name}", path=path)
        )
    problems += _check_rules(submission, edition, path)
    return problems + _check_description(submission, edition, files, where)


def _check_rules(submission: Submission, edition: Edition, path: Path) -> list[Problem]:
    try:
        expected = edition.model_name(
            submission.team, submission.pair, submission.condition, submission.type, submission.artifact.bytes
        )
    except IwsltpackError as error:
        # The edition lacks this pair, condition, type or size: it has no rules to apply.
        return [problem("submission.model-name", error.what, path=path)]
    problems = check_datasets(edition.condition(submission.condition), submission.datasets)
    problems += check_base_model(edition, submission.artifact)
    problems += check_test_sets(edition, submission.pair, [item.name for item in submission.test_sets])
    if submission.model_name != expected:
        message = f"{submission.model_name!r} instead of {expected!r}"
        problems.append(problem("submission.model-name", message))
    return [replace(found, path=str(path)) for found in problems]


def _check_description(
    submission: Submission, edition: Edition, files: dict[str, bytes], where: Path
) -> list[Problem]:
    path = where / naming.DESCRIPTION
    text = files.get(naming.DESCRIPTION, b"").decode("utf-8", errors="replace")
    missing = []
    for field in edition.description_fields:
        if not is_required(field, submission):
            continue
        lines = [line for line in field_lines(field, submission) if line]
        # Another version may word its values differently; the field itself must be there in any case.
        wanted = lines if submission.tool.version == __version__ else lines[:1]
        missing += [line for line in wanted if line not in text]
    return [problem("submission.description", f"lacks: {line}", path=path) for line in missing]


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
    submissions = []
    for child in sorted(root.iterdir()):
        if child.name.startswith(HIDDEN) or child.name in (".gitkeep", ".gitignore", "README.md"):
            continue
        if child.is_symlink() or not child.is_dir() or not (child / SUBMISSION_NAME).is_file():
            problems.append(problem("ledger.stray", "no submission", path=child))
            continue
        problems += check_submission(child, edition)
        files, hostile = read_package(child)
        if not hostile and (submission := _record(files, child)[0]) is not None:
            submissions.append(submission)
    return problems + check_types(submissions, root)


def check_types(submissions: list[Submission], root: Path) -> list[Problem]:
    """Return what is wrong with the PRIMARY marks over all submissions."""
    groups: dict[tuple[str, str, str, str], list[Submission]] = defaultdict(list)
    for item in submissions:
        groups[(item.edition.name, item.team, item.pair, item.condition)].append(item)
    problems = []
    for (edition, team, pair, condition), items in sorted(groups.items()):
        primaries = [naming.folder_of(item) for item in items if item.type == "primary"]
        what = f"{edition}, team {team}, {pair}, {condition}"
        if len(primaries) > 1:
            problems.append(problem("ledger.two-primaries", f"{what}: {', '.join(primaries)}", path=root))
        if not primaries:
            problems.append(problem("ledger.no-primary", what, path=root))
    return problems
