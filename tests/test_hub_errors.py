"""One table says what huggingface_hub's exceptions mean, however deep they are wrapped."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import huggingface_hub.constants
import pytest
from hub_server import REPO, STRANGER, WRITER, HubServer
from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from iwsltpack.building.source import find_source
from iwsltpack.errors import InputError, IwsltpackError, ResourceError, UsageError
from iwsltpack.remote import hub_errors
from iwsltpack.remote.failure import shortened
from iwsltpack.remote.hub_errors import explain

pytest_plugins = ["hub_fixtures"]
CHECKPOINT = {"config.json": b"{}", "model.safetensors": b"\0" * 64, "README.md": b"# x\n"}


def transport(name: str, text: str) -> Exception:
    """Return an exception of the HTTP library that huggingface_hub uses, whichever that is."""
    import importlib

    library = importlib.import_module(HTTPError.__module__.partition(".")[0])
    error = getattr(library, name)(text)
    assert isinstance(error, HTTPError)
    return error


def chained(outer: Exception, *inner: Exception) -> Exception:
    """Return `outer`, caused by the first of `inner`, caused by the next."""
    error = outer
    for cause in inner:
        error.__cause__ = cause
        error = cause
    return outer


CASES = [
    (transport("ConnectError", "refused"), ResourceError, "cannot be reached", False),
    (transport("ConnectTimeout", "slow"), ResourceError, "cannot be reached", False),
    (transport("ReadTimeout", "slow"), ResourceError, "does not answer in time", True),
    (transport("ReadError", "reset"), ResourceError, "connection to the hub broke", True),
    (transport("RemoteProtocolError", "gone"), ResourceError, "connection to the hub broke", True),
    (ConnectionResetError("reset"), ResourceError, "connection to the hub broke", True),
    (TimeoutError("slow"), ResourceError, "does not answer in time", True),
    (
        RuntimeError("Data processing error: CAS service error : ReqwestMiddleware"),
        ResourceError,
        "connection to the hub broke",
        True,
    ),
    (OfflineModeIsEnabled("offline"), ResourceError, "HF_HUB_OFFLINE is set", False),
    (LocalEntryNotFoundError("no"), ResourceError, "cannot be reached", False),
    (
        chained(LocalEntryNotFoundError("no"), transport("ReadTimeout", "slow")),
        ResourceError,
        "does not answer in time",
        True,
    ),
    (
        chained(RuntimeError("Error while uploading"), transport("WriteError", "reset")),
        ResourceError,
        "connection to the hub broke",
        True,
    ),
    (json.JSONDecodeError("x", "<html>", 0), ResourceError, "does not speak as a hub does", False),
    (
        ValueError("LFS batch API returned errors:\nquota exceeded"),
        ResourceError,
        "storage on the hub",
        False,
    ),
    (ValueError("LFS batch API returned errors:\nno"), ResourceError, "answer that cannot be used", False),
]


@pytest.mark.parametrize(("error", "kind", "text", "transient"), CASES)
def test_each_exception_has_a_meaning(
    error: Exception, kind: type[IwsltpackError], text: str, transient: bool
) -> None:
    with pytest.raises(kind, match=text) as caught, hub_errors.hub_errors(REPO):
        raise error
    assert text in caught.value.what
    assert caught.value.where == REPO and caught.value.fix
    failure = explain(error)
    assert failure is not None and (failure.kind in ("transient", "silent")) is transient


@pytest.mark.parametrize("name", ["XetAuthenticationError", "XetObjectNotFoundError"])
def test_the_file_stores_own_exceptions_have_a_meaning(name: str) -> None:
    hf_xet = pytest.importorskip("hf_xet", reason="the hub's file store needs its own library")
    told = explain(getattr(hf_xet, name)("told"))
    assert told is not None and told.row.error is ResourceError and "file store" in told.row.what


def test_what_the_hub_has_no_part_in_stays_as_it_is() -> None:
    assert explain(KeyError("a bug")) is None
    assert explain(OSError(28, "No space left on device")) is None
    with pytest.raises(ZeroDivisionError), hub_errors.hub_errors(REPO):
        1 / 0  # noqa: B018


def test_every_exception_named_in_the_table_exists() -> None:
    """A renamed exception of the library would slip through unnoticed."""
    import builtins

    import huggingface_hub.errors as library

    known = {
        *vars(library),
        *vars(builtins),
        "JSONDecodeError",
        "XetAuthenticationError",
        "XetObjectNotFoundError",
    }
    assert set(hub_errors.BY_NAME) <= known


def test_foreign_text_loses_its_secrets() -> None:
    text = f"PUT https://me:pw@s3.example/x?X-Amz-Signature=abc failed for Bearer {WRITER}\n\n token {WRITER}"
    told = shortened(text)
    for secret in (WRITER, "abc", "pw@", "\n"):
        assert secret not in told
    assert told.startswith("PUT https://s3.example/x failed")


def test_a_login_that_is_no_token_is_not_shown(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from iwsltpack.hub.pull import pull_artifact

    monkeypatch.setenv("HF_TOKEN", "hf_secretsecret\x0bsecret")
    with pytest.raises(UsageError, match="the login is no token") as caught:
        pull_artifact(REPO, tmp_path / "out", endpoint=hub.endpoint)
    shown = str(caught.value) + repr(caught.value.__cause__)
    assert "secret" not in shown


@pytest.fixture
def checkpoint_hub(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """The hub, as `build` finds it: by HF_ENDPOINT."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(
        huggingface_hub.constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    )
    return hub


def test_build_fetches_a_checkpoint_and_then_needs_no_hub(checkpoint_hub: HubServer) -> None:
    commit = checkpoint_hub.publish(REPO, CHECKPOINT)
    folder = find_source(REPO)
    assert (folder / "model.safetensors").read_bytes() == CHECKPOINT["model.safetensors"]
    assert folder.name == commit.oid
    checkpoint_hub.fault("", kind="drop", times=None)
    assert find_source(REPO, commit.oid) == folder


@pytest.mark.parametrize(
    ("revision", "token", "published", "kind", "text"),
    [
        ("v9", WRITER, {}, InputError, "no such branch, tag or commit"),
        (None, STRANGER, {"private": True}, InputError, "no such repository, or it is private"),
        (None, None, {"gated": True}, InputError, "the repository is gated"),
        (None, "hf_expired1234567890", {}, UsageError, "does not accept this login"),
    ],
)
def test_build_tells_why_a_checkpoint_is_not_to_be_had(
    revision: str | None,
    token: str | None,
    published: dict[str, bool],
    kind: type[IwsltpackError],
    text: str,
    checkpoint_hub: HubServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoint_hub.publish(REPO, CHECKPOINT, **published)
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(kind, match=text) as caught:
        find_source(REPO, revision)
    assert caught.value.where == (f"{REPO}@{revision}" if revision else REPO)


def test_build_without_a_hub_says_so(checkpoint_hub: HubServer, hasty: None) -> None:
    checkpoint_hub.fault("", kind="drop", times=None)
    with pytest.raises(ResourceError, match="the connection to the hub broke"):
        find_source(REPO)


def test_pull_can_be_interrupted(hub: HubServer, tmp_path: Path) -> None:
    """Ctrl-C while a file hangs ends the command at once, and the threads with it."""
    import os
    import signal
    import subprocess
    import sys

    from hub_server import GOLDEN

    hub.publish(REPO, GOLDEN / "zstd")
    waiting, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        waiting.set()
        let_go.wait(30)

    hub.fault("^GET /get/", kind="call", action=hold)
    process = subprocess.Popen(
        [sys.executable, "-m", "iwsltpack", "pull", REPO],
        cwd=tmp_path,
        env=hub.environment(WRITER, tmp_path / "home"),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.wait(60)
    os.kill(process.pid, signal.SIGINT)
    let_go.set()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in said and "Traceback" not in said
    assert not (tmp_path / "model").exists()
