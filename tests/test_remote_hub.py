"""Artifacts on the hub, read in place: of one commit, by the user's own login, and without a network if so told."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_store import HttpStore, isolate
from hub_server import READER, WRITER, HubServer

from iwsltpack.artifact.integrity import verify_artifact
from iwsltpack.artifact.location import local_copy, locate
from iwsltpack.artifact.reader import open_artifact
from iwsltpack.artifact.sizes import measure
from iwsltpack.documents.names import MANIFEST_NAME
from iwsltpack.errors import ArtifactError, InputError, ResourceError, UsageError
from iwsltpack.remote import failure

GOLDEN = Path(__file__).parent / "golden" / "v1"
LAYER = "block.mlp.up_proj.weight"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub that this process takes for the real one, logged in to as `READER`; large files on a second server."""
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("HF_TOKEN", READER)
    monkeypatch.delenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", raising=False)
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        server.publish("team/q3", GOLDEN / "zstd")
        yield server


def offline(monkeypatch: pytest.MonkeyPatch, *, on: bool = True) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", on)


def test_a_model_repository_reads_like_the_folder(hub: HubServer) -> None:
    remote, local = open_artifact("hf://team/q3"), open_artifact(GOLDEN / "zstd")
    assert [str(request) for request in hub.seen("/resolve/")] == [
        f"GET /team/q3/resolve/main/{MANIFEST_NAME}"
    ]
    assert measure("hf://team/q3") == measure(GOLDEN / "zstd")
    for name in local.names():
        assert remote.tensor(name).tobytes() == local.tensor(name).tobytes()
    assert verify_artifact("hf://team/q3") == []


def test_an_artifact_may_lie_in_a_folder_of_the_repository(hub: HubServer) -> None:
    hub.publish("team/many", GOLDEN)
    assert locate("hf://team/many/pcodec").manifest == locate(GOLDEN / "pcodec").manifest
    assert locate(f"hf://team/many@main/zstd/{MANIFEST_NAME}").manifest == locate(GOLDEN / "zstd").manifest
    with pytest.raises(ArtifactError, match="no artifact here"):
        locate("hf://team/many")


def test_a_revision_is_read_and_not_the_newest(hub: HubServer) -> None:
    old = hub.repositories["team/q3"].head().oid
    hub.repositories["team/q3"].tags["v1"] = old
    hub.publish("team/q3", GOLDEN / "pcodec")
    for revision in (old, "v1"):
        assert open_artifact(f"hf://team/q3@{revision}").manifest.coding == "zstd"
    assert open_artifact("hf://team/q3").manifest.coding == "pcodec"


def test_a_push_in_between_does_not_mix_two_artifacts(hub: HubServer) -> None:
    remote = open_artifact("hf://team/q3")
    commit = hub.repositories["team/q3"].head().oid
    hub.publish("team/q3", GOLDEN / "pcodec")
    hub.forget()
    assert remote.tensor(LAYER).tobytes() == open_artifact(GOLDEN / "zstd").tensor(LAYER).tobytes()
    asked = [request for request in hub.seen() if not request.storage]
    assert asked
    assert all(f"/resolve/{commit}/" in request.path for request in asked)


def test_the_login_reaches_the_hub_and_never_the_storage_nor_the_disk(hub: HubServer, tmp_path: Path) -> None:
    hub.publish("team/secret", GOLDEN / "zstd", private=True)
    local_copy("hf://team/secret")
    stored = [request for request in hub.seen() if request.storage]
    assert stored, "nothing came from the storage server"
    assert {request.authorization for request in stored} == {None}
    assert {r.authorization for r in hub.seen() if not r.storage} == {f"Bearer {READER}"}
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert READER.encode() not in path.read_bytes()


@pytest.mark.parametrize("token", [None, "hf_strangerCCCCCCCCCCCCCCCCCCCCCCCCC"])
def test_a_private_model_is_refused_with_what_to_do(
    hub: HubServer, token: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub.publish("team/secret", GOLDEN / "zstd", private=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.delenv("HF_TOKEN") if token is None else monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(InputError, match="no such repository, or it is private") as error:
        locate("hf://team/secret")
    assert "hf auth login" in str(error.value)
    assert "hf_stranger" not in str(error.value)


def test_a_gated_model_is_refused_with_what_to_do(hub: HubServer) -> None:
    hub.publish("team/gated", GOLDEN / "zstd", gated=True)
    with pytest.raises(InputError, match="the repository is gated") as error:
        locate("hf://team/gated")
    assert "ask for access" in str(error.value)


@pytest.mark.parametrize(
    ("address", "kind", "complaint"),
    [
        ("hf://team/none", InputError, "no such repository, or it is private"),
        ("hf://team/q3@v9", InputError, "no such branch, tag or commit"),
        ("hf://team/q3/sub", ArtifactError, "no artifact here"),
        ("hf://team/a--b", InputError, "not a hub id"),
    ],
)
def test_what_the_hub_does_not_have_is_one_clear_error(
    hub: HubServer, address: str, kind: type[Exception], complaint: str
) -> None:
    with pytest.raises(kind, match=complaint) as error:
        locate(address)
    assert address in str(error.value)


@pytest.mark.parametrize("path", ["/team/q3/resolve/.*", "/get/team/q3/.*"])
@pytest.mark.parametrize("trouble", ["status", "drop", "cut", "corrupt"])
def test_a_file_that_failed_is_asked_for_again(hub: HubServer, path: str, trouble: str) -> None:
    remote = open_artifact("hf://team/q3")
    # Of the hub's own files the metadata, small text, come from the hub itself, chunks from the storage server.
    file = f"{LAYER}/zarr.json" if "resolve" in path else f"{LAYER}/c/0/0"
    hub.fault(f"GET {path}{file}", trouble, status=503, after=10)  # type: ignore[arg-type]
    assert remote.tensor(LAYER).tobytes() == open_artifact(GOLDEN / "zstd").tensor(LAYER).tobytes()
    assert len(hub.seen(f"GET {path}{file}")) == 2


def test_a_signed_address_of_the_storage_is_in_no_message(hub: HubServer) -> None:
    remote = open_artifact("hf://team/q3")
    hub.fault("GET /get/", times=None, status=403)
    with pytest.raises(UsageError, match="this login may not do that") as error:
        remote.tensor(LAYER)
    hub.heal()
    hub.fault("GET /get/", "drop", times=None)
    with pytest.raises(ResourceError, match="the connection to the hub broke") as broken:
        remote.tensor(LAYER)
    for told in (error.value, broken.value):
        assert "Signature" not in f"{told}{told.to_json()}{told.__context__}{told.__cause__}"


def test_the_hub_asks_for_time_and_gets_it(hub: HubServer) -> None:
    hub.fault(
        "GET .*/resolve/",
        status=429,
        times=2,
        headers={"RateLimit": '"resolvers";r=1;t=300', "Retry-After": "0"},
    )
    assert locate("hf://team/q3").manifest.coding == "zstd"


def test_what_does_not_speak_as_the_hub_does_is_refused(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(GOLDEN / "zstd", tmp_path / "served" / "team" / "q3" / "resolve" / "main")
    with HttpStore(tmp_path / "served") as store:
        monkeypatch.setenv("HF_ENDPOINT", store.url)
        with pytest.raises(ResourceError, match="does not speak as a hub does") as error:
            locate("hf://team/q3")
    assert "names no commit" in str(error.value)


def test_no_network_is_told_at_once(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(failure, "FIRST_PAUSE_S", 60.0)
    with pytest.raises(ResourceError, match="the hub cannot be reached"):
        locate("hf://team/q3")


def test_offline_what_the_cache_holds_is_used_and_nothing_asked(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    online = open_artifact("hf://team/q3")
    online.tensor(LAYER)
    hub.forget()
    offline(monkeypatch)
    remote = open_artifact("hf://team/q3")
    assert remote.path == online.path
    assert remote.total_bytes == online.total_bytes
    assert remote.tensor(LAYER).tobytes() == online.tensor(LAYER).tobytes()
    with pytest.raises(ResourceError, match="not in the local cache, and the hub may not be asked") as error:
        remote.tensor("norm.weight")
    assert "HF_HUB_OFFLINE" in str(error.value)
    for unknown in ("hf://team/q3@v1", "hf://team/other"):
        with pytest.raises(ResourceError, match="not in the local cache"):
            open_artifact(unknown)
    assert hub.seen() == []


def test_offline_follows_what_the_address_led_to_last(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    locate("hf://team/q3")
    hub.publish("team/q3", GOLDEN / "pcodec")
    locate("hf://team/q3")
    offline(monkeypatch)
    assert locate("hf://team/q3").manifest.coding == "pcodec"


def test_offline_survives_a_damaged_note(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    locate("hf://team/q3")
    (note,) = (tmp_path / "cache" / "artifacts" / ".known").iterdir()
    note.write_text("../../../../etc")
    offline(monkeypatch)
    with pytest.raises(ResourceError, match="not in the local cache"):
        locate("hf://team/q3")


def test_the_login_of_a_process_is_used_through_environment_alone(hub: HubServer, tmp_path: Path) -> None:
    hub.publish("team/secret", GOLDEN / "zstd", private=True)
    told = subprocess.run(
        [sys.executable, "-m", "iwsltpack", "verify", "hf://team/secret"],
        env=hub.environment(WRITER, IWSLTPACK_CACHE=str(tmp_path / "other"), HF_DEBUG="0"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.stdout == "hf://team/secret: whole\n", told.stderr
    assert "hf_" not in told.stderr
