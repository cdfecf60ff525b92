"""What comes from the hub is the artifact, byte for byte, or an error; never something between."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hub_server import GOLDEN, REPO, STRANGER, HubServer, contents

from iwsltpack.artifact.integrity import verify_artifact
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.documents.names import MANIFEST_NAME
from iwsltpack.errors import (
    ArtifactError,
    InputError,
    IwsltpackError,
    ResourceError,
    UsageError,
    ValidationFailed,
)
from iwsltpack.hub.pull import Pulled, pull_artifact
from iwsltpack.hub.push import push_artifact
from iwsltpack.system import fileio

pytest_plugins = ["hub_fixtures"]
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

CHUNK = "weights.zarr/block.mlp.up_proj.weight/c/0/0"
ZSTD = contents(GOLDEN / "zstd")


def pull(hub: HubServer, output: Path, name: str = REPO, **settings: object) -> Pulled:
    return pull_artifact(name, output, endpoint=hub.endpoint, **settings)  # type: ignore[arg-type]


def fetched(hub: HubServer) -> set[str]:
    """Return the paths of a repository that were asked for."""
    return {request.path.split("/", 5)[5] for request in hub.seen("/team/model/resolve/")}


@pytest.mark.parametrize("name", [REPO, f"hf://{REPO}", f"{REPO}@main", f"hf://{REPO}@main"])
def test_every_byte_comes_back(hub: HubServer, tmp_path: Path, name: str) -> None:
    commit = hub.publish(REPO, ZSTD)
    done = pull(hub, tmp_path / "out", name)
    assert contents(tmp_path / "out") == ZSTD
    assert verify_artifact(tmp_path / "out") == []
    assert done.commit == commit.oid
    assert (done.files_fetched, done.files_kept) == (len(ZSTD) - 1, 0)
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == ["out"]


def test_push_and_pull_together_change_nothing(hub: HubServer, tmp_path: Path, built) -> None:
    artifact = built("prune20-q2", "pcodec")
    push_artifact(artifact, REPO, private=True, endpoint=hub.endpoint)
    pull(hub, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(artifact)


def test_only_files_of_the_manifest_are_fetched(hub: HubServer, tmp_path: Path) -> None:
    others = {
        "README.md": b"# card\n",
        "evil.py": b"import os\n",
        "weights.zarr/other/c/0": b"\0" * 99,
        "model/x.bin": b"\0",
    }
    hub.publish(REPO, {**ZSTD, **others})
    pull(hub, tmp_path / "out")
    assert contents(tmp_path / "out") == ZSTD
    assert fetched(hub) == set(ZSTD)


def test_the_revision_is_looked_up_once(hub: HubServer, tmp_path: Path) -> None:
    """A push in the middle of a pull does not mix two artifacts."""
    first = hub.publish(REPO, ZSTD)
    hub.fault("/tree/", kind="call", action=lambda: hub.publish(REPO, contents(GOLDEN / "pcodec")))
    done = pull(hub, tmp_path / "out")
    assert done.commit == first.oid != hub.repositories[REPO].branches["main"]
    assert contents(tmp_path / "out") == ZSTD


@pytest.mark.parametrize("by", ["branch", "tag", "commit", "slash"])
def test_any_kind_of_revision_can_be_named(hub: HubServer, tmp_path: Path, by: str) -> None:
    wanted = hub.publish(REPO, ZSTD, branch="old/er")
    hub.publish(REPO, contents(GOLDEN / "paper"))
    hub.repositories[REPO].branches["old"] = wanted.oid
    hub.repositories[REPO].tags["v1"] = wanted.oid
    name = {"branch": "old", "tag": "v1", "commit": wanted.oid, "slash": "old%2Fer"}[by]
    pull(hub, tmp_path / "out", f"{REPO}@{name}")
    assert contents(tmp_path / "out") == ZSTD


def test_an_artifact_in_a_folder_of_the_repository_can_be_named(hub: HubServer, tmp_path: Path) -> None:
    hub.publish(REPO, {f"artifacts/q3/{path}": data for path, data in ZSTD.items()})
    pull(hub, tmp_path / "out", f"hf://{REPO}@main/artifacts/q3")
    assert contents(tmp_path / "out") == ZSTD


def test_an_existing_output_is_refused(hub: HubServer, tmp_path: Path) -> None:
    hub.publish(REPO, ZSTD)
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match="the output exists"):
        pull(hub, tmp_path / "out")
    assert hub.requests == []


def test_a_second_pull_verifies_what_the_first_brought(hub: HubServer, tmp_path: Path) -> None:
    hub.publish(REPO, ZSTD)
    first = pull(hub, tmp_path / "out")
    hub.requests.clear()
    second = pull(hub, tmp_path / "out")
    assert fetched(hub) == set()
    assert second == replace(first, files_fetched=0, bytes_fetched=0, files_kept=first.files_fetched)
    (tmp_path / "out" / CHUNK).write_bytes(b"other weights")
    with pytest.raises(ValidationFailed, match="damaged by now") as raised:
        pull(hub, tmp_path / "out")
    assert CHUNK in str(raised.value)


def test_another_artifact_in_the_output_stays(
    hub: HubServer, tmp_path: Path, built: Callable[..., Path]
) -> None:
    hub.publish(REPO, ZSTD)
    before = contents(shutil.copytree(built("selected-q2", "zstd"), tmp_path / "out"))
    with pytest.raises(UsageError, match="another artifact than the hub's"):
        pull(hub, tmp_path / "out")
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("there", ["notes.txt", "build.lock", "pull.lock"])
def test_beside_a_pulled_artifact_only_what_a_killed_pull_left_goes(
    hub: HubServer, tmp_path: Path, there: str
) -> None:
    hub.publish(REPO, ZSTD)
    pull(hub, tmp_path / "out")
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / there).touch()
    assert pull(hub, tmp_path / "out").files_fetched == 0
    assert (tmp_path / "out.partial" / there).exists() == (there != "pull.lock")
    assert contents(tmp_path / "out") == ZSTD


@pytest.mark.parametrize(
    "kind", ["folder of notes", "file", "dangling link", "within an artifact", "below a file"]
)
def test_a_pull_into_something_else_is_one_error_and_nothing_is_lost(
    hub: HubServer, tmp_path: Path, kind: str
) -> None:
    hub.publish(REPO, ZSTD)
    output = tmp_path / "out"
    if kind == "folder of notes":
        output.mkdir()
        (output / "notes.txt").write_text("mine\n")
    elif kind == "file":
        output.write_text("mine\n")
    elif kind == "dangling link":
        output.symlink_to(tmp_path / "none")
    elif kind == "within an artifact":
        pull(hub, tmp_path / "other")
        output = tmp_path / "other" / "model" / "out"
    else:
        (tmp_path / "file").write_text("mine\n")
        output = tmp_path / "file" / "out"
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    with pytest.raises(IwsltpackError) as raised:
        pull(hub, output)
    assert str(output if kind != "within an artifact" else output.parent) in str(raised.value)
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_a_half_finished_build_is_not_pulled_into(hub: HubServer, tmp_path: Path) -> None:
    hub.publish(REPO, ZSTD)
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "build.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match="something else than a pull lies where"):
        pull(hub, tmp_path / "out")
    assert contents(tmp_path / "out.partial") == {"build.jsonl": b"{}\n"}


def test_a_half_pushed_repository_is_no_artifact(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iwsltpack.hub.changes.COMMIT_FILES", 3)
    hub.fault("/commit/", kind="status", status=403, skip=2)
    with pytest.raises(UsageError):
        push_artifact(GOLDEN / "zstd", REPO, endpoint=hub.endpoint)
    assert any(path.startswith("weights.zarr/") for path in hub.files(REPO))
    with pytest.raises(ArtifactError, match="the artifact is only half pushed"):
        pull(hub, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_repository_without_an_artifact_is_told(hub: HubServer, tmp_path: Path) -> None:
    hub.publish(REPO, {"model.safetensors": b"\0", "config.json": b"{}"})
    with pytest.raises(ArtifactError, match="no artifact in this repository"):
        pull(hub, tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({CHUNK: None}, "missing"),
        ({CHUNK: ZSTD[CHUNK][:-1]}, "other than the manifest says"),
        ({CHUNK: ZSTD[CHUNK][:-1] + bytes([ZSTD[CHUNK][-1] ^ 1])}, "other than the manifest says"),
        ({"model/config.json": b"{}"}, "other than the manifest says"),
    ],
)
def test_a_repository_that_lacks_what_its_manifest_lists_costs_no_download(
    hub: HubServer, tmp_path: Path, change: dict[str, bytes | None], text: str
) -> None:
    files = {**ZSTD, **change}
    hub.publish(REPO, {path: data for path, data in files.items() if data is not None})
    with pytest.raises(ValidationFailed, match="does not hold what its manifest lists") as caught:
        pull(hub, tmp_path / "out")
    assert [problem.path for problem in caught.value.problems] == list(change)
    assert text in caught.value.problems[0].message
    assert fetched(hub) == {MANIFEST_NAME}


def hostile(path: str) -> bytes:
    """Return a manifest, sealed as it must be, that lists one more file."""
    document = read_manifest(GOLDEN / "zstd").to_json()
    document["files"].append({"path": path, "bytes": 4, "sha256": fileio.sha256_bytes(b"evil")})
    document["sha256"] = fileio.sha256_bytes(fileio.canonical_json({**document, "sha256": ""}))
    return fileio.canonical_json(document)


@pytest.mark.parametrize(
    "path",
    [
        "../evil",
        "model/../../evil",
        "/tmp/evil",
        "model//evil",
        "model\\..\\..\\evil",
        "model/\nevil",
        ".",
        "weights.zarr/evil",
        "MODEL/CONFIG.JSON",
        MANIFEST_NAME,
    ],
)
def test_paths_of_a_hostile_manifest_are_refused_before_a_file_is_written(
    hub: HubServer, tmp_path: Path, path: str
) -> None:
    hub.publish(REPO, {**ZSTD, MANIFEST_NAME: hostile(path), "evil": b"evil"})
    with pytest.raises(IwsltpackError) as caught:
        pull(hub, tmp_path / "box" / "out")
    assert isinstance(caught.value, ValidationFailed)
    assert fetched(hub) == {MANIFEST_NAME}
    assert not (tmp_path / "evil").exists() and not (tmp_path / "box" / "out").exists()


def test_a_manifest_of_absurd_size_is_not_fetched(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iwsltpack.hub.pull.MANIFEST_LIMIT", 100)
    hub.publish(REPO, ZSTD)
    with pytest.raises(ArtifactError, match="the manifest is too large for one"):
        pull(hub, tmp_path / "out")
    assert fetched(hub) == set()


def test_an_altered_manifest_is_refused(hub: HubServer, tmp_path: Path) -> None:
    hub.publish(REPO, {**ZSTD, MANIFEST_NAME: ZSTD[MANIFEST_NAME].replace(b'"golden"', b'"silver"')})
    with pytest.raises(ArtifactError, match="the manifest was altered"):
        pull(hub, tmp_path / "out")


def test_a_disk_too_small_is_told_before_the_download(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.publish(REPO, ZSTD)
    usage = __import__("shutil").disk_usage(tmp_path)
    monkeypatch.setattr("iwsltpack.remote.mirror.shutil.disk_usage", lambda path: usage._replace(free=3816))
    with pytest.raises(ResourceError, match="no space left for the artifact") as caught:
        pull(hub, tmp_path / "out")
    assert (caught.value.expected, caught.value.got) == ("3,817 bytes free", "3,816 bytes")


def test_a_file_damaged_once_on_its_way_is_fetched_again(hub: HubServer, tmp_path: Path, hasty: None) -> None:
    hub.publish(REPO, ZSTD)
    hub.fault(r"^GET /get/.*/up_proj\.weight/c|^GET /get/.*up_proj.weight/c/", kind="corrupt")
    pull(hub, tmp_path / "out")
    assert contents(tmp_path / "out") == ZSTD
    assert len(hub.seen(r"^GET /get/.*up_proj.weight/c/")) == 2


def test_a_file_always_damaged_is_named(hub: HubServer, tmp_path: Path, hasty: None) -> None:
    hub.publish(REPO, ZSTD)
    hub.fault(r"^GET /get/.*up_proj.weight/c/", kind="corrupt", times=None)
    with pytest.raises(ValidationFailed, match="the artifact is damaged at its source") as caught:
        pull(hub, tmp_path / "out")
    assert CHUNK in str(caught.value) and "3 times" in str(caught.value)
    assert not (tmp_path / "out").exists()
    hub.heal()
    assert pull(hub, tmp_path / "out").files_kept > 0
    assert contents(tmp_path / "out") == ZSTD


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 503},
        {"kind": "status", "status": 429, "headers": {"Retry-After": "0"}},
        {"kind": "drop"},
        {"kind": "cut", "after": 7},
        {"kind": "lose"},
    ],
)
def test_trouble_that_passes_is_lived_through(
    hub: HubServer, tmp_path: Path, hasty: None, fault: dict[str, object]
) -> None:
    hub.publish(REPO, ZSTD)
    hub.fault("/resolve/|^GET /get/", times=3, **fault)  # type: ignore[arg-type]
    pull(hub, tmp_path / "out")
    assert contents(tmp_path / "out") == ZSTD


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        ({"status": 403}, UsageError, "this login may not do that"),
        ({"status": 500}, ResourceError, "the hub has trouble of its own"),
        ({"status": 429}, ResourceError, "too many requests: the hub asks to wait"),
        ({"status": 404, "code": "RepoNotFound"}, InputError, "no such repository, or it is private"),
        ({"status": 404, "code": "RevisionNotFound"}, InputError, "no such branch, tag or commit"),
        ({"status": 403, "code": "GatedRepo"}, InputError, "the repository is gated"),
        ({"status": 403, "message": "Access to this resource is disabled."}, InputError, "disabled the rep"),
        ({"status": 404, "code": "EntryNotFound"}, ArtifactError, "no artifact here"),
    ],
)
def test_every_refusal_is_one_clear_error(
    fault: dict[str, object], kind: type[Exception], text: str, hub: HubServer, tmp_path: Path, hasty: None
) -> None:
    hub.publish(REPO, ZSTD)
    hub.fault("/resolve/", kind="status", times=None, **fault)
    with pytest.raises(kind) as caught:
        pull(hub, tmp_path / "out")
    assert text in str(caught.value) and "to do:" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_what_answers_but_is_no_hub_is_told(hub: HubServer, tmp_path: Path) -> None:
    with pytest.raises((InputError, ResourceError), match=r"such thing|does not speak as a hub does"):
        pull_artifact(REPO, tmp_path / "out", endpoint=hub.storage)


def test_a_private_repository_needs_a_login(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.publish(REPO, ZSTD, private=True)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match="no such repository, or it is private"):
        pull(hub, tmp_path / "out")
    monkeypatch.setenv("HF_TOKEN", STRANGER)
    with pytest.raises(InputError, match="no such repository, or it is private"):
        pull(hub, tmp_path / "out")


def test_a_public_repository_needs_none(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.publish(REPO, ZSTD)
    monkeypatch.delenv("HF_TOKEN")
    pull(hub, tmp_path / "out")
    assert {request.authorization for request in hub.requests} == {None}


def test_a_gated_repository_is_told_apart(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.publish(REPO, ZSTD, gated=True)
    monkeypatch.setenv("HF_TOKEN", STRANGER)
    with pytest.raises(InputError, match="the repository is gated"):
        pull(hub, tmp_path / "out")


def test_what_was_fetched_is_kept_and_looked_at_again(hub: HubServer, tmp_path: Path) -> None:
    hub.publish(REPO, ZSTD)
    there = tmp_path / "out.partial" / "artifact"
    there.mkdir(parents=True)
    (tmp_path / "out.partial" / "pull.lock").touch()
    for path, data in {
        CHUNK: ZSTD[CHUNK],
        "model/config.json": ZSTD["model/config.json"][:-2] + b"X\n",
        "model/foreign.json": b"{}",
        MANIFEST_NAME: b"old",
    }.items():
        (there / path).parent.mkdir(parents=True, exist_ok=True)
        (there / path).write_bytes(data)
    (there / "weights.zarr" / "zarr.json").symlink_to(GOLDEN / "zstd" / "weights.zarr" / "zarr.json")
    done = pull(hub, tmp_path / "out")
    assert done.files_kept == 1 and CHUNK not in fetched(hub)
    assert contents(tmp_path / "out") == ZSTD
    assert not (tmp_path / "out" / "weights.zarr" / "zarr.json").is_symlink()
    assert not (tmp_path / "out.partial").exists()


def test_two_pulls_into_one_output_do_not_meet(hub: HubServer, tmp_path: Path) -> None:
    hub.publish(REPO, ZSTD)
    busy, go = threading.Event(), threading.Event()

    def hold() -> None:
        busy.set()
        go.wait(20)

    hub.fault("^GET /get/", kind="call", action=hold)
    errors: list[IwsltpackError] = []

    def first() -> None:
        try:
            pull(hub, tmp_path / "out")
        except IwsltpackError as error:
            errors.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    assert busy.wait(20)
    with pytest.raises(UsageError, match="another pull is writing this artifact"):
        pull(hub, tmp_path / "out")
    go.set()
    thread.join(30)
    assert errors == []
    assert contents(tmp_path / "out") == ZSTD


def test_command_says_what_it_did(iwsltpack, hub: HubServer, tmp_path: Path) -> None:
    commit = hub.publish(REPO, ZSTD)
    done = iwsltpack("pull", REPO)
    assert (done.returncode, done.stdout) == (0, "model\n"), done.stderr
    assert f"10 files fetched (3,817 bytes), 0 kept from before; verified: {REPO}@{commit.oid}" in done.stderr
    told = json.loads(iwsltpack("-q", "pull", REPO, "--output", "again", "--json").stdout)
    assert told == {
        "repo": REPO,
        "revision": None,
        "commit": commit.oid,
        "output": "again",
        "artifact_sha256": read_manifest(GOLDEN / "zstd").sha256,
        "files_fetched": 10,
        "bytes_fetched": 3817,
        "files_kept": 0,
    }
    for name in ("model", "again"):
        assert contents(tmp_path / "work" / name) == ZSTD


def test_a_wrong_hash_in_the_manifest_is_never_accepted(hub: HubServer, tmp_path: Path, hasty: None) -> None:
    """A text file of the right size: only its content tells, since the hub lists no SHA-256 of it."""
    manifest = read_manifest(GOLDEN / "zstd")
    files = tuple(
        replace(file, sha256="0" * 64) if file.path == "model/config.json" else file
        for file in manifest.files
    )
    forged = replace(manifest, files=files).sealed()
    hub.publish(REPO, {**ZSTD, MANIFEST_NAME: fileio.canonical_json(forged.to_json())})
    with pytest.raises(ValidationFailed, match="the artifact is damaged at its source") as caught:
        pull(hub, tmp_path / "out")
    assert [problem.path for problem in caught.value.problems] == ["model/config.json"]
    assert not (tmp_path / "out").exists()
