"""A push sends what the hub lacks and nothing else, and a part of an artifact never passes for one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hub_server import (
    GOLDEN,
    READER,
    REPO,
    STRANGER,
    WRITER,
    HubServer,
    contents,
    without_furniture,
)

from iwsltpack.documents.manifest import read_manifest
from iwsltpack.documents.names import MANIFEST_NAME
from iwsltpack.errors import ArtifactError, InputError, ResourceError, UsageError, ValidationFailed
from iwsltpack.hub.card import is_generated
from iwsltpack.hub.pull import pull_artifact
from iwsltpack.hub.push import Pushed, push_artifact
from iwsltpack.system import fileio

pytest_plugins = ["hub_fixtures"]
# huggingface_hub hands files to its HTTP library in a way that library is about to drop.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

CHUNK = "weights.zarr/block.mlp.up_proj.weight/c/0/0"
SENDING = r"^PUT |/commit/|/preupload/|objects/batch"


def push(hub: HubServer, artifact: Path, repo: str = REPO, **settings: object) -> Pushed:
    return push_artifact(artifact, repo, endpoint=hub.endpoint, **settings)  # type: ignore[arg-type]


def commits(hub: HubServer, branch: str = "main") -> list[str]:
    """Return the titles of a branch's commits, the first one first."""
    repository, titles = hub.repositories[REPO], []
    oid: str | None = repository.branches[branch]
    while oid is not None:
        titles.append(repository.commits[oid].title)
        oid = repository.commits[oid].parent
    return titles[::-1]


def states(hub: HubServer) -> list[dict[str, bytes]]:
    """Return the files of every commit of the main branch, the first one first."""
    repository, found = hub.repositories[REPO], []
    oid: str | None = repository.branches["main"]
    while oid is not None:
        commit = repository.commits[oid]
        found.append({path: content.read() for path, content in commit.files.items()})
        oid = commit.parent
    return found[::-1]


@pytest.mark.parametrize("coding", ["paper", "zstd", "pcodec"])
def test_the_hub_holds_every_byte_and_a_card(hub: HubServer, coding: str) -> None:
    done = push(hub, GOLDEN / coding)
    files = hub.files(REPO)
    assert without_furniture(files) == contents(GOLDEN / coding)
    assert is_generated(files["README.md"]) and done.card == "created"
    assert done.commit == hub.repositories[REPO].branches["main"]
    assert done.url == f"{hub.endpoint}/{REPO}/commit/{done.commit}"
    assert (done.files_sent, done.files_kept) == (len(contents(GOLDEN / coding)), 0)
    assert done.bytes_sent == sum(map(len, contents(GOLDEN / coding).values()))


def test_large_files_go_in_several_parts_where_the_hub_wants_it(golden: Path, hub: HubServer) -> None:
    hub.multipart_bytes = 100
    push(hub, golden)
    assert without_furniture(hub.files(REPO)) == contents(golden)
    assert len(hub.seen(r"^PUT .*/\d+\?")) > 2


def test_a_second_push_sends_nothing(hub: HubServer, golden: Path) -> None:
    first = push(hub, golden)
    hub.forget()
    second = push(hub, golden)
    assert hub.seen(SENDING) == [] and hub.bytes_received() == 0
    assert (second.files_sent, second.bytes_sent, second.commit) == (0, 0, first.commit)
    assert second.card == "unchanged"


def test_only_files_that_differ_are_sent(hub: HubServer, built) -> None:
    """Two recipes that round different layers share most of their files."""
    one, two = built("selected-q3", "zstd"), built("selected-q2", "zstd")
    push(hub, one)
    hub.forget()
    done = push(hub, two)
    differing = {path for path, data in contents(two).items() if contents(one).get(path) != data}
    assert 0 < done.files_sent == len(differing) < len(contents(two)) / 2
    large = hub.seen(r"^PUT ")
    assert sum(request.received for request in large) < done.bytes_sent
    chunks = [path for path in differing if "/c/" in path]
    assert len(large) == len(chunks)
    assert without_furniture(hub.files(REPO)) == contents(two)


def test_contents_uploaded_before_an_interruption_are_not_sent_again(hub: HubServer, golden: Path) -> None:
    hub.fault("/commit/", kind="status", status=403, message="not now")
    with pytest.raises(UsageError):
        push(hub, golden)
    sent = len(hub.seen(r"^PUT "))
    assert sent > 1
    hub.forget()
    push(hub, golden)
    assert hub.seen(r"^PUT ") == []
    assert without_furniture(hub.files(REPO)) == contents(golden)


def test_the_manifest_comes_with_the_last_commit(
    hub: HubServer, golden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iwsltpack.hub.changes.COMMIT_FILES", 3)
    push(hub, golden)
    assert commits(hub)[1:] == [f"iwsltpack artifact 891048cb07b0 ({n}/4)" for n in (1, 2, 3, 4)]
    assert [MANIFEST_NAME in state for state in states(hub)] == [False, False, False, False, True]
    assert ["weights.zarr/zarr.json" in state for state in states(hub)] == [False, True, True, True, True]


def test_a_push_over_an_older_artifact_is_never_a_mixture_with_a_manifest(
    hub: HubServer, built, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = built("selected-q3", "zstd"), built("prune20-q2", "pcodec")
    push(hub, old)
    before = len(states(hub))
    monkeypatch.setattr("iwsltpack.hub.changes.COMMIT_FILES", 50)
    push(hub, new)
    between, last = states(hub)[before:-1], states(hub)[-1]
    assert len(between) > 1
    assert [MANIFEST_NAME in state for state in between] == [False] * len(between)
    assert without_furniture(last) == contents(new)


def test_one_commit_replaces_a_small_artifact_whole(hub: HubServer, golden: Path) -> None:
    push(hub, GOLDEN / "paper")
    before = len(states(hub))
    push(hub, golden)
    assert len(states(hub)) == before + 1
    assert without_furniture(hub.files(REPO)) == contents(golden)


def test_files_of_an_older_artifact_go_and_those_of_people_stay(hub: HubServer, golden: Path) -> None:
    mine = {"LICENSE": b"mine\n", "figures/pareto.png": b"\x89PNG\0", "model/NOTES.md": b"mine too\n"}
    stale = {
        "weights.zarr/gone.weight/zarr.json": b"{}",
        "weights.zarr/gone.weight/c/0": b"\0\1",
        "model/vocab.json": b"{}",
    }
    hub.publish(REPO, {**contents(GOLDEN / "paper"), **stale, **mine})
    done = push(hub, golden)
    assert done.removed == tuple(sorted(stale))
    assert without_furniture(hub.files(REPO)) == {**contents(golden), **mine}


def test_a_repository_of_something_else_is_left_alone(hub: HubServer, golden: Path) -> None:
    theirs = {"model/config.json": b'{"model_type": "theirs"}', "model.safetensors": b"\0" * 9}
    hub.publish(REPO, theirs)
    with pytest.raises(UsageError, match="holds other files where the artifact's would go") as caught:
        push(hub, golden)
    assert caught.value.where == "model/config.json"
    assert hub.files(REPO) == theirs


def test_a_card_people_edited_is_kept_until_told_otherwise(hub: HubServer, golden: Path) -> None:
    push(hub, golden)
    edited = hub.files(REPO)["README.md"].replace(b"# model", b"# Our model")
    hub.publish(REPO, {**hub.files(REPO), "README.md": edited})
    assert push(hub, GOLDEN / "pcodec").card == "kept"
    assert hub.files(REPO)["README.md"] == edited
    assert push(hub, GOLDEN / "pcodec", card="overwrite").card == "updated"
    assert is_generated(hub.files(REPO)["README.md"])


def test_a_card_nobody_edited_follows_the_artifact(hub: HubServer, golden: Path) -> None:
    push(hub, golden)
    done = push(hub, GOLDEN / "pcodec")
    assert done.card == "updated"
    assert read_manifest(GOLDEN / "pcodec").sha256.encode() in hub.files(REPO)["README.md"]


def test_a_branch_is_made_and_main_stays(hub: HubServer, golden: Path) -> None:
    push(hub, GOLDEN / "paper")
    main = hub.files(REPO)
    done = push(hub, golden, branch="q3/try")
    assert done.branch == "q3/try"
    assert hub.files(REPO) == main
    assert without_furniture(hub.files(REPO, "q3/try")) == contents(golden)


def test_a_private_repository_is_made_private(hub: HubServer, golden: Path) -> None:
    assert push(hub, golden, private=True).private
    assert hub.repositories[REPO].private


def test_private_is_refused_for_a_public_repository(hub: HubServer, golden: Path) -> None:
    hub.publish(REPO, {"README.md": b"# public\n"})
    with pytest.raises(UsageError, match="the repository is public, and --private was asked for"):
        push(hub, golden, private=True)
    assert hub.files(REPO) == {"README.md": b"# public\n"}


def test_a_damaged_artifact_is_not_sent(hub: HubServer, golden: Path) -> None:
    data = (golden / CHUNK).read_bytes()
    (golden / CHUNK).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ValidationFailed, match="damaged: nothing was sent") as caught:
        push(hub, golden)
    assert [problem.path for problem in caught.value.problems] == [CHUNK]
    assert REPO not in hub.repositories


def test_a_file_that_changes_under_way_is_found_in_the_end(hub: HubServer, golden: Path) -> None:
    def damage() -> None:
        data = (golden / CHUNK).read_bytes()
        (golden / CHUNK).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    hub.fault("/preupload/", kind="call", action=damage)
    with pytest.raises(ValidationFailed, match="the hub does not hold what was pushed") as caught:
        push(hub, golden)
    assert [(problem.path, problem.message) for problem in caught.value.problems] == [(CHUNK, "altered")]


def test_a_lost_answer_to_a_commit_is_no_second_commit(hub: HubServer, golden: Path, hasty: None) -> None:
    hub.fault("/commit/", kind="lose")
    push(hub, golden)
    assert len(commits(hub)) == 2
    assert without_furniture(hub.files(REPO)) == contents(golden)


def test_a_busy_hub_is_waited_for(hub: HubServer, golden: Path, hasty: None) -> None:
    hub.fault("/commit/", kind="status", status=429, times=2)
    hub.fault("^PUT ", kind="status", status=503, times=2)
    push(hub, golden)
    assert without_furniture(hub.files(REPO)) == contents(golden)


def test_another_push_in_between_is_told(hub: HubServer, golden: Path) -> None:
    def interfere() -> None:
        hub.publish(REPO, {**hub.files(REPO), "other.txt": b"other\n"})

    hub.fault("/commit/", kind="call", action=interfere)
    with pytest.raises(UsageError, match="someone else has written to the repository meanwhile"):
        push(hub, golden)
    push(hub, golden)
    assert without_furniture(hub.files(REPO)) == {**contents(golden), "other.txt": b"other\n"}


FULL = {"status": 403, "message": "Private repository storage limit reached"}
REFUSALS = [
    (None, {}, UsageError, "not logged in to the hub"),
    ("hf_expired1234567890", {}, UsageError, "the hub does not accept this login"),
    ("hf_\N{SNOWMAN}", {}, UsageError, "the login is no token"),
    (READER, {}, UsageError, "this login may not do that"),
    (STRANGER, {}, UsageError, "this login may not do that"),
    (WRITER, FULL, ResourceError, "the storage on the hub is full"),
    (WRITER, {"status": 402}, ResourceError, "the hub wants to be paid for this"),
    (WRITER, {"status": 409}, UsageError, "stands on the hub already, or someone else"),
    (WRITER, {"status": 413}, ResourceError, "the hub finds the upload too large"),
    (WRITER, {"status": 429, "headers": {"Retry-After": "900"}}, ResourceError, "wait 900 s, then run the"),
    (WRITER, {"status": 500}, ResourceError, "the hub has trouble of its own"),
    (WRITER, {"status": 503}, ResourceError, "the hub has trouble of its own"),
    (WRITER, {"status": 400}, InputError, "the hub refused the request"),
    (WRITER, {"status": 507}, ResourceError, "the storage on the hub is full"),
]


@pytest.mark.parametrize(("token", "fault", "kind", "text"), REFUSALS)
def test_every_refusal_is_one_clear_error(
    token: str | None,
    fault: dict[str, object],
    kind: type[Exception],
    text: str,
    hub: HubServer,
    golden: Path,
    hasty: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    if fault:
        hub.fault("/commit/", kind="status", times=None, **fault)
    with pytest.raises(kind) as caught:
        push(hub, golden)
    assert text in str(caught.value)
    assert "to do:" in str(caught.value)
    for secret in (token, "X-Amz-Signature", "Bearer"):
        assert secret is None or secret not in str(caught.value)


@pytest.mark.parametrize(
    ("repo", "branch", "kind", "text"),
    [
        ("no-owner", None, UsageError, "no OWNER/NAME"),
        ("team/model@v1", None, UsageError, "name a branch with --revision"),
        ("s3://bucket/prefix", None, UsageError, "not a repository on the hub"),
        ("team/--model", None, InputError, "not a hub id"),
        ("team/model", "a" * 40, UsageError, "a commit cannot be pushed to"),
        ("team/model", "v1", UsageError, "a tag cannot be pushed to"),
    ],
)
def test_a_name_that_cannot_be_pushed_to_is_refused(
    repo: str, branch: str | None, kind: type[Exception], text: str, hub: HubServer, golden: Path
) -> None:
    commit = hub.publish(REPO, {"README.md": b"# here\n"})
    hub.repositories[REPO].tags["v1"] = commit.oid
    with pytest.raises(kind) as caught:
        push(hub, golden, repo, branch=branch)
    assert text in str(caught.value)
    assert hub.seen(SENDING) == []


def test_no_artifact_is_told_before_the_hub_is_asked(hub: HubServer, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such artifact"):
        push(hub, tmp_path / "nothing")
    assert hub.requests == []


def test_the_storage_server_never_sees_a_token(hub: HubServer, golden: Path, tmp_path: Path) -> None:
    push(hub, golden, private=True)
    pull_artifact(REPO, tmp_path / "out", endpoint=hub.endpoint)
    stored = [request for request in hub.requests if request.storage]
    assert {request.method for request in stored} == {"PUT", "GET"}
    assert {request.authorization for request in stored} == {None}
    assert {r.authorization for r in hub.requests if not r.storage} == {f"Bearer {WRITER}"}


def test_command_prints_the_commit_and_json(iwsltpack, hub: HubServer, golden: Path) -> None:
    done = iwsltpack("push", golden, REPO, "--private", "--message", "first try")
    assert (done.returncode, done.stdout.strip()) == (
        0,
        f"{hub.endpoint}/{REPO}/commit/{hub.repositories[REPO].branches['main']}",
    ), done.stderr
    assert "11 files sent (7,318 bytes), 0 there already" in " ".join(done.stderr.split())
    assert commits(hub)[-1] == "first try"
    again = iwsltpack("-q", "push", golden, REPO, "--json")
    assert again.stderr == ""
    told = json.loads(again.stdout)
    assert told["artifact_sha256"] == read_manifest(golden).sha256
    assert (told["files_sent"], told["files_kept"], told["card"], told["private"]) == (
        0,
        11,
        "unchanged",
        True,
    )


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "the hub cannot be reached"),
        ({"HF_ENDPOINT": "http://no-such-host.invalid"}, "the hub cannot be reached"),
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
    ],
)
@pytest.mark.parametrize("command", ["push", "pull"])
def test_without_a_network_one_sentence_comes_at_once(
    command: str, environment: dict[str, str], text: str, iwsltpack, golden: Path, tmp_path: Path
) -> None:
    import time

    arguments = [golden, REPO] if command == "push" else [REPO]
    started = time.monotonic()
    done = iwsltpack(command, *arguments, **environment)
    assert time.monotonic() - started < 15  # no retries: they would take 23 s
    assert done.returncode == 7 and text in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert not list((tmp_path / "work").iterdir())


def test_no_token_in_anything_printed_or_written(
    iwsltpack, hub: HubServer, golden: Path, tmp_path: Path
) -> None:
    hub.fault(
        "^PUT ", kind="status", status=403, message=f"denied for Bearer {WRITER} at http://x/?sig=s3cr3t"
    )
    printed = []
    for arguments, token in (
        (("push", golden, REPO), WRITER),
        (("push", golden, REPO), WRITER),
        (("push", golden, REPO), "hf_expired1234567890"),
        (("pull", REPO), WRITER),
    ):
        done = iwsltpack(*arguments, token=token)
        printed.append(done.stdout + done.stderr)
    assert "the storage" in printed[0] or "may not do that" in printed[0]
    assert "HTTP 403 denied for" in printed[0]
    written = b"".join(contents(tmp_path).values()) + b"".join(hub.files(REPO).values())
    for text in (*printed, written.decode("latin-1")):
        for secret in (WRITER, "hf_expired1234567890", "Bearer", "s3cr3t", "Amz-Signature"):
            assert secret not in text
    assert contents(tmp_path / "work" / "model") == contents(golden)


def test_a_manifest_by_hand_is_still_compared_by_its_bytes(
    hub: HubServer, golden: Path, tmp_path: Path
) -> None:
    """Same size, other content, small enough for Git itself: only its Git name tells."""
    other = Path(shutil.copytree(golden, tmp_path / "other"))
    manifest = read_manifest(other)
    text = fileio.canonical_json(manifest.to_json()).replace(b'"golden"', b'"silver"')
    changed = type(manifest).from_json(json.loads(text), path=other).sealed()
    (other / MANIFEST_NAME).write_bytes(fileio.canonical_json(changed.to_json()))
    assert (other / MANIFEST_NAME).stat().st_size == (golden / MANIFEST_NAME).stat().st_size
    push(hub, golden)
    done = push(hub, other)
    assert (done.files_sent, done.card) == (1, "updated")
    assert without_furniture(hub.files(REPO)) == contents(other)
