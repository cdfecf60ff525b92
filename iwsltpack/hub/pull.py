"""Fetch an artifact from the hub: its manifest first, then exactly the files it lists, each checked as it comes.

Everything lands in ``OUTPUT.partial/artifact``, a mirror like those of the cache; the manifest is added last, and the
folder renamed only when the whole was verified. A pull that was killed goes on: whatever lies there is kept if its
hash is right. One that was finished is verified again, and fetches nothing.
"""

from dataclasses import replace
from pathlib import Path

from iwsltpack.artifact.integrity import find_foreign, verify_artifact
from iwsltpack.building.partial import ARTIFACT, check_absent, lock_partial, partial_of, sweep
from iwsltpack.documents.artifact import ArtifactManifest, File
from iwsltpack.documents.document import Part
from iwsltpack.documents.manifest import MANIFEST_LIMIT, read_manifest
from iwsltpack.documents.names import MANIFEST_NAME, WEIGHTS_DIR
from iwsltpack.documents.places import refuse_inside
from iwsltpack.errors import ArtifactError, UsageError, ValidationFailed
from iwsltpack.hub.changes import find_faults
from iwsltpack.hub.client import RemoteFile, connected, locate, look
from iwsltpack.remote.address import HubAddress
from iwsltpack.remote.hub_errors import ask_hub
from iwsltpack.remote.mirror import mirror_into
from iwsltpack.system import fileio
from iwsltpack.system.progress import SILENT, Reporter

LOCK = "pull.lock"
"""In the partial folder: who is at work there."""


class Pulled(Part):
    """What a pull did.

    Attributes
    ----------
    repo, revision, commit
        Where from; the commit is what the revision meant when the pull began.
    output
        The folder.
    artifact_sha256
        Of the manifest: the artifact's identity.
    files_fetched, bytes_fetched
        What was downloaded, the manifest left out.
    files_kept
        What an earlier pull had left, and was right.
    """

    repo: str
    revision: str | None
    commit: str
    output: str
    artifact_sha256: str
    files_fetched: int
    bytes_fetched: int
    files_kept: int


def pull_artifact(
    name: str,
    output: Path | None = None,
    *,
    endpoint: str | None = None,
    progress: Reporter = SILENT,
) -> Pulled:
    """Bring an artifact from the hub, byte for byte.

    Parameters
    ----------
    name
        ``OWNER/NAME[@REVISION][/FOLDER]``, with or without ``hf://``; a slash in a revision is written ``%2F``.
    output
        Folder to create; default: the repository's name, here.
    endpoint
        URL of another hub than HF_ENDPOINT names.

    Raises
    ------
    UsageError
        `output` exists and is not this artifact, or lies in an artifact, run or submission; something else lies in the
        partial folder, or another pull is at work there.
    ArtifactError
        No artifact in the repository, or only a part of one.
    ValidationFailed
        Its manifest is no good, the repository does not hold what it lists, files come damaged every time, or those
        of an earlier pull are damaged by now.
    InputError, ResourceError
        See `hub_errors`; too little space on the disk. What was fetched is kept.
    """
    location = replace(locate(name), endpoint=endpoint)
    output = output or Path(location.name)
    if pulled := (output / MANIFEST_NAME).is_file():
        sweep(output, LOCK)
    else:
        check_absent(output)
    refuse_inside(output.parent)
    with connected(location.shown, endpoint=endpoint) as api:
        commit, files = ask_hub(
            lambda: look(api, location.repo, location.revision), location.shown, patient=False
        )
        listed = _listed_manifest(location, files)
        if pulled:
            manifest, wanted = _verified(output, listed, progress)
        else:
            manifest, wanted = _bring(replace(location, revision=commit), files, output, progress)
    return Pulled(
        repo=location.repo,
        revision=location.revision,
        commit=commit,
        output=str(output),
        artifact_sha256=manifest.sha256,
        files_fetched=len(wanted),
        bytes_fetched=sum(file.bytes for file in wanted),
        files_kept=len(manifest.files) - len(wanted),
    )


def _verified(output: Path, listed: RemoteFile, progress: Reporter) -> tuple[ArtifactManifest, list[File]]:
    """Return the manifest of what an earlier pull brought, if that is whole and what the hub lists; see `_bring`."""
    manifest = read_manifest(output)
    if not listed.is_manifest_of(output):
        raise UsageError(
            "the output exists, and is another artifact than the hub's",
            where=output,
            fix="choose another --output, or remove it",
        )
    if problems := verify_artifact(output, progress):
        raise ValidationFailed(
            "the artifact was pulled before, and is damaged by now",
            problems,
            where=output,
            fix="remove that folder, then run the same command again",
        )
    return manifest, []


def _listed_manifest(location: HubAddress, files: dict[str, RemoteFile]) -> RemoteFile:
    """Return the manifest as it is listed; refuse a repository that holds no artifact, before anything is fetched."""
    folder = f"{location.folder}/" if location.folder else ""
    where = f"{location.shown}/{MANIFEST_NAME}"
    if (known := files.get(f"{folder}{MANIFEST_NAME}")) is None:
        if any(path.startswith(f"{folder}{WEIGHTS_DIR}/") for path in files):
            raise ArtifactError(
                "the artifact is only half pushed",
                where=where,
                fix="let its owner run the same `iwsltpack push` again, then pull again",
            )
        raise ArtifactError(
            "no artifact in this repository",
            where=where,
            got=f"{len(files)} other files",
            fix="check the name and the revision",
        )
    if known.bytes > MANIFEST_LIMIT:
        raise ArtifactError(
            "the manifest is too large for one",
            where=where,
            expected=f"at most {MANIFEST_LIMIT} bytes",
            got=f"{known.bytes} bytes",
        )
    return known


def _bring(
    location: HubAddress, files: dict[str, RemoteFile], output: Path, progress: Reporter
) -> tuple[ArtifactManifest, list[File]]:
    """Fill the partial folder and rename it to `output`; return the manifest, and which files were not kept."""
    partial = partial_of(output)
    if partial.exists() and any(partial.iterdir()) and not (partial / LOCK).exists():
        raise UsageError(
            "something else than a pull lies where this one would work",
            where=partial,
            fix="choose another --output, or remove that folder",
        )
    with lock_partial(output, LOCK, "another pull is writing this artifact"):
        found = _fetch(location, files, partial / ARTIFACT, progress)
        (partial / ARTIFACT).rename(output)
        fileio.fsync(output.parent)
    return found


def _fetch(
    location: HubAddress, files: dict[str, RemoteFile], folder: Path, progress: Reporter
) -> tuple[ArtifactManifest, list[File]]:
    """Fill `folder` and verify it; see `_bring`."""
    mirror = mirror_into(location, folder)
    if problems := find_faults(mirror.manifest, files, location.folder):
        raise ValidationFailed(
            "the repository does not hold what its manifest lists",
            problems,
            where=location.shown,
            fix="let its owner push the artifact again",
        )
    for problem in find_foreign(folder, {file.path for file in mirror.manifest.files}):
        (folder / str(problem.path)).unlink()
    (folder / MANIFEST_NAME).unlink(missing_ok=True)
    mirror.drop_damaged(progress)
    wanted = mirror.missing()
    mirror.fetch_all(progress)
    mirror.keep_manifest()
    if problems := verify_artifact(folder, progress):
        raise ValidationFailed(
            "what was fetched is not whole", problems, where=folder, fix="run the same command again"
        )
    return mirror.manifest, wanted
