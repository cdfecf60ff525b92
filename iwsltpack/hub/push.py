"""Send an artifact to the hub: only what it lacks, in an order that never lets a part pass for the whole.

Contents of large files go first; the repository does not show them yet, and they need not be sent again after an
interruption. Then come the commits, the manifest in the last one, together with the removal of an older artifact's
files; where there are several, the first takes the older manifest away. So the branch holds the old artifact, or none,
or the new one. What is left to do is told by the hub's own listing alone: no state is kept on this side.
"""

import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token
from huggingface_hub.errors import GatedRepoError, LocalTokenNotFoundError, RepositoryNotFoundError
from huggingface_hub.hf_api import ModelInfo

from iwsltpack.artifact.integrity import verify_artifact
from iwsltpack.artifact.sizes import measure
from iwsltpack.documents.artifact import ArtifactManifest, File
from iwsltpack.documents.choices import CardPolicy
from iwsltpack.documents.document import Part
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.documents.names import MANIFEST_NAME
from iwsltpack.errors import UsageError, ValidationFailed
from iwsltpack.hub.card import CARD_NAME, is_generated, write_card
from iwsltpack.hub.changes import Changes, commit_groups, compare, find_differences, group
from iwsltpack.hub.client import MAIN, RemoteFile, connected, first_answer, listing, locate, look
from iwsltpack.remote.hub_errors import ask_hub
from iwsltpack.system.progress import SILENT, Reporter

CardOutcome = Literal["created", "updated", "unchanged", "kept"]

UPLOAD_FILES = 32
UPLOAD_BYTES = 128 << 20
"""Files and bytes handed over at a time, between two looks at the progress bar."""
UPLOAD_THREADS = 8
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Pushed(Part):
    """What a push did.

    Attributes
    ----------
    repo, branch, private
        Where to, and whether only members see it.
    commit, url
        The commit that holds the whole artifact, and its page.
    artifact_sha256
        Of the manifest: the artifact's identity.
    files_sent, bytes_sent
        Files of the artifact, manifest included, that the hub had not listed, and their size.
    files_kept
        Files it had listed already.
    removed
        Paths of an older artifact's files that are gone.
    card
        ``created``, ``updated`` (it was as generated), ``unchanged``, or ``kept`` because people edited it.
    """

    repo: str
    branch: str
    private: bool
    commit: str
    url: str
    artifact_sha256: str
    files_sent: int
    bytes_sent: int
    files_kept: int
    removed: tuple[str, ...]
    card: CardOutcome


def push_artifact(
    artifact: Path,
    repo: str,
    *,
    branch: str | None = None,
    private: bool = False,
    message: str | None = None,
    card: CardPolicy = "auto",
    endpoint: str | None = None,
    progress: Reporter = SILENT,
) -> Pushed:
    """Verify an artifact, then make a branch of a model repository hold it.

    Run again after any interruption, it goes on; run again after success, it sends nothing.

    Parameters
    ----------
    artifact
        Folder of the artifact.
    repo
        ``OWNER/NAME``; created if it does not exist.
    branch
        Branch to push to, created if it does not exist; default: the main branch.
    private
        Whether a repository that is created is for members only. An existing one must be as told.
    message
        Of the commits.
    card
        ``auto`` writes README.md where there is none and renews its own; ``overwrite`` also replaces what people wrote.
    endpoint
        URL of another hub than HF_ENDPOINT names.

    Raises
    ------
    ArtifactError, ValidationFailed
        No artifact, or a damaged one; nothing was sent.
    UsageError
        Not logged in or not allowed to write; a tag or commit instead of a branch; the repository is public or belongs
        to something else; someone else pushed meanwhile.
    InputError, ResourceError
        See `hub_errors`. What was sent stays on the hub, and is not sent again.
    """
    location = locate(repo)
    if location.folder or location.revision:
        raise UsageError("a push goes to OWNER/NAME", where=repo, fix="name a branch with --revision")
    if branch is not None and _COMMIT.fullmatch(branch):
        raise UsageError(
            "a commit cannot be pushed to", where=branch, expected="a branch", fix="name a branch"
        )
    manifest = read_manifest(artifact)
    with connected(location.repo, endpoint=endpoint) as api:
        info = ask_hub(lambda: _find(api, location.repo, private), location.repo, patient=False)
        if problems := verify_artifact(artifact, progress):
            raise ValidationFailed("the artifact is damaged: nothing was sent", problems, where=artifact)
        if info is None:
            api.create_repo(location.repo, private=private or None, exist_ok=True)
            info = first_answer(api, location.repo)
        _ensure_branch(api, location.repo, branch or MAIN)
        message = message or f"iwsltpack artifact {manifest.sha256[:12]}"
        push = _Push(api, artifact, manifest, location.repo, branch or MAIN, message, progress)
        return push.run(card, is_private=bool(info.private))


@dataclass
class _Push:
    """One push on its way; `operations` outlives a lost connection, so that nothing is uploaded twice."""

    api: HfApi
    artifact: Path
    manifest: ArtifactManifest
    repo: str
    branch: str
    message: str
    progress: Reporter
    operations: dict[str, CommitOperationAdd] = field(default_factory=dict)

    def run(self, policy: CardPolicy, *, is_private: bool) -> Pushed:
        head, remote = ask_hub(lambda: look(self.api, self.repo, self.branch), self.repo)
        first = compare(self.artifact, self.manifest, remote)
        self._upload(first.send)
        outcome, card = self._card(policy, head, remote)
        commit = head
        if not first.nothing or card is not None:
            commit = self._commit_all(card)
            self._check(commit)
        sealed = (self.artifact / MANIFEST_NAME).stat().st_size
        return Pushed(
            repo=self.repo,
            branch=self.branch,
            private=is_private,
            commit=commit,
            url=f"{self.api.endpoint}/{self.repo}/commit/{commit}",
            artifact_sha256=self.manifest.sha256,
            files_sent=len(first.send) + first.manifest,
            bytes_sent=sum(file.bytes for file in first.send) + sealed * first.manifest,
            files_kept=len(first.keep) + (not first.manifest),
            removed=first.remove,
            card=outcome,
        )

    def _upload(self, files: tuple[File, ...]) -> None:
        """Send the contents of large files; the hub says which are large, and which it has."""
        self.progress.start("uploading", sum(file.bytes for file in files), "bytes")
        for batch in group(files, UPLOAD_FILES, UPLOAD_BYTES, lambda file: file.bytes) if files else ():
            self.progress.note(batch[0].path)
            self.api.preupload_lfs_files(
                self.repo,
                additions=[self._operation(file) for file in batch],
                revision=self.branch,
                num_threads=UPLOAD_THREADS,
                free_memory=False,
            )
            self.progress.advance(sum(file.bytes for file in batch))
        self.progress.finish()

    def _operation(self, file: File) -> CommitOperationAdd:
        if file.path not in self.operations:
            # Hashed by the library as it is read: a file that changes under way is found by the check at the end.
            self.operations[file.path] = CommitOperationAdd(file.path, self.artifact / file.path)
        return self.operations[file.path]

    def _card(
        self, policy: CardPolicy, head: str, remote: dict[str, RemoteFile]
    ) -> tuple[CardOutcome, bytes | None]:
        """Decide about README.md; None: leave it."""
        card = write_card(self.manifest, measure(self.artifact), self.repo).encode()
        if CARD_NAME not in remote:
            return "created", card
        with tempfile.TemporaryDirectory() as folder:
            path = self.api.hf_hub_download(self.repo, CARD_NAME, revision=head, local_dir=folder)
            there = Path(path).read_bytes()
        if there == card:
            return "unchanged", None
        if policy == "overwrite" or is_generated(there):
            return "updated", card
        return "kept", None

    def _commit_all(self, card: bytes | None) -> str:
        """Commit what is missing; after a lost answer the hub is asked anew what it has."""

        def once() -> str:
            head, remote = look(self.api, self.repo, self.branch)
            return self._commits(head, compare(self.artifact, self.manifest, remote), card)

        note = self.progress.note
        return ask_hub(once, self.repo, tell=lambda pause: note(f"the hub is busy: on in {pause:.0f} s"))

    def _commits(self, head: str, changes: Changes, card: bytes | None) -> str:
        if changes.nothing and card is None:
            return head
        groups = commit_groups(changes.send)
        self.progress.start("committing", len(groups))
        for number, files in enumerate(groups, 1):
            operations: list[Any] = [self._operation(file) for file in files]
            if number == 1 and len(groups) > 1 and changes.replaces:
                operations.append(CommitOperationDelete(MANIFEST_NAME))
            if number == len(groups):
                operations += [CommitOperationDelete(path) for path in changes.remove]
                operations += [CommitOperationAdd(CARD_NAME, card)] if card is not None else []
                # A fresh operation: what the hub held under this name may be gone since the first commit.
                if changes.manifest or len(groups) > 1:
                    operations.append(CommitOperationAdd(MANIFEST_NAME, self.artifact / MANIFEST_NAME))
            head = self.api.create_commit(
                self.repo,
                operations,
                commit_message=self.message + (f" ({number}/{len(groups)})" if len(groups) > 1 else ""),
                revision=self.branch,
                parent_commit=head,
                num_threads=UPLOAD_THREADS,
            ).oid
            self.progress.advance()
        self.progress.finish()
        return head

    def _check(self, commit: str) -> None:
        """Compare what the hub lists at the commit with the artifact, file by file."""
        problems = find_differences(self.artifact, self.manifest, listing(self.api, self.repo, commit))
        if problems:
            raise ValidationFailed(
                "the hub does not hold what was pushed",
                problems,
                where=f"{self.repo}@{commit}",
                fix="see whether the repository's .gitignore or .gitattributes is in the way, then push again",
            )


def _find(api: HfApi, repo: str, private: bool) -> ModelInfo | None:
    """Ask for login and repository before anything long is begun; None: it does not exist, or not for this login."""
    if get_token() is None:
        raise LocalTokenNotFoundError
    try:
        info = first_answer(api, repo)
    except GatedRepoError:
        raise
    except RepositoryNotFoundError:
        return None
    if private and not info.private:
        raise UsageError(
            "the repository is public, and --private was asked for: nothing was sent",
            where=repo,
            fix="change its visibility in its settings on the hub, or leave out --private",
        )
    return info


def _ensure_branch(api: HfApi, repo: str, branch: str) -> None:
    if branch == MAIN or branch.startswith("refs/"):
        return
    refs = api.list_repo_refs(repo)
    if branch in {tag.name for tag in refs.tags}:
        raise UsageError(
            "a tag cannot be pushed to", where=f"{repo}@{branch}", expected="a branch", fix="name a branch"
        )
    if branch not in {known.name for known in refs.branches}:
        api.create_branch(repo, branch=branch, exist_ok=True)
