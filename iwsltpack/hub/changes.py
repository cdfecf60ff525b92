"""What differs between an artifact and a repository, and in which commits that is made up for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from iwsltpack.artifact.side_files import SIDE_FILES
from iwsltpack.documents.artifact import ArtifactManifest, File
from iwsltpack.documents.layout import GROUP_METADATA
from iwsltpack.documents.names import MANIFEST_NAME, MODEL_DIR, WEIGHTS_DIR
from iwsltpack.errors import Problem, UsageError
from iwsltpack.hub.client import RemoteFile

COMMIT_FILES = 250
"""Files in a commit: the hub takes a few hundred with ease, and gives a commit a minute."""
COMMIT_TEXT_BYTES = 32 << 20
"""Bytes in a commit of files that may travel inside it: small text is not stored apart, but sent along."""


@dataclass(frozen=True)
class Changes:
    """What has to happen to a repository; `send` and `keep` leave the manifest out.

    The hub lacks the files to `send`, or holds others of their names; those to `remove` are an older artifact's, in the
    order of their paths. `manifest` tells whether the manifest has to be sent, `replaces` whether there is one now.
    """

    send: tuple[File, ...]
    keep: tuple[File, ...]
    remove: tuple[str, ...]
    manifest: bool
    replaces: bool

    @property
    def nothing(self) -> bool:
        """Tell whether the repository is as it should be."""
        return not (self.send or self.remove or self.manifest)


def compare(artifact: Path, manifest: ArtifactManifest, remote: Mapping[str, RemoteFile]) -> Changes:
    """Compare an artifact on disk with what a repository holds.

    One that is no artifact's, and holds other files where the artifact's would go, is a `UsageError`.
    """
    send: list[File] = []
    keep: list[File] = []
    for file in sorted(manifest.files, key=lambda file: (file.path != GROUP_METADATA, file.path)):
        known = remote.get(file.path)
        same = known is not None and known.holds(file, artifact / file.path)
        (keep if same else send).append(file)
    _check_ours(remote, [file.path for file in send])
    listed = {file.path for file in manifest.files}
    known = remote.get(MANIFEST_NAME)
    return Changes(
        send=tuple(send),
        keep=tuple(keep),
        remove=tuple(sorted(path for path in remote if path not in listed and _is_artifacts(path))),
        manifest=known is None or not known.is_manifest_of(artifact),
        replaces=known is not None,
    )


def commit_groups(files: tuple[File, ...]) -> list[list[File]]:
    """Cut files into commits, in their order; the last one is that of the manifest, and may be empty."""
    return group(
        files, COMMIT_FILES, COMMIT_TEXT_BYTES, lambda file: 0 if _is_chunk(file.path) else file.bytes
    )


def group(files: tuple[File, ...], most: int, limit: int, weight: Callable[[File], int]) -> list[list[File]]:
    """Cut files, in their order, into groups of at most `most` that weigh at most `limit`; no files are one group."""
    groups: list[list[File]] = [[]]
    total = 0
    for file in files:
        total += weight(file)
        if len(groups[-1]) >= most or (groups[-1] and total > limit):
            groups.append([])
            total = weight(file)
        groups[-1].append(file)
    return groups


def find_differences(
    artifact: Path, manifest: ArtifactManifest, remote: Mapping[str, RemoteFile]
) -> list[Problem]:
    """Return where a repository is not what was to be pushed; small files are compared by their Git name."""
    changes = compare(artifact, manifest, remote)
    wrong = [file.path for file in changes.send] + ([MANIFEST_NAME] if changes.manifest else [])
    return [_problem(path, "missing" if path not in remote else "altered") for path in wrong] + [
        _problem(path, "left over") for path in changes.remove
    ]


def find_faults(manifest: ArtifactManifest, remote: Mapping[str, RemoteFile], folder: str) -> list[Problem]:
    """Return which files of a manifest a folder of a repository does not hold, as far as its listing tells."""
    problems = []
    for file in manifest.files:
        known = remote.get(f"{folder}/{file.path}" if folder else file.path)
        if known is None:
            problems.append(_problem(file.path, "missing"))
        elif not known.holds(file):
            problems.append(_problem(file.path, f"other than the manifest says ({known.bytes} bytes)"))
    return problems


def _problem(path: str, what: str) -> Problem:
    return Problem(rule=f"hub.{what.split(' ', 1)[0]}-file", message=what, path=path)


def _is_chunk(path: str) -> bool:
    parts = path.split("/")
    return parts[0] == WEIGHTS_DIR and len(parts) > 2 and parts[2] == "c"


def _is_artifacts(path: str) -> bool:
    """Tell whether a path is one that artifacts use: people's own files in a repository are not touched."""
    top, _, rest = path.partition("/")
    return top == WEIGHTS_DIR or (top == MODEL_DIR and rest in SIDE_FILES)


def _check_ours(remote: Mapping[str, RemoteFile], wanted: list[str]) -> None:
    # The group's metadata goes into the very first commit: it tells a push that was cut short from a stranger's files.
    if MANIFEST_NAME in remote or GROUP_METADATA in remote:
        return
    if taken := sorted(set(wanted) & set(remote)):
        raise UsageError(
            "the repository holds other files where the artifact's would go",
            where=taken[0],
            expected="an empty repository, or one of an artifact",
            got=f"{len(taken)} such files",
            fix="push to another OWNER/NAME",
        )
