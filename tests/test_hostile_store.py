"""Stores that misbehave: each way ends in time, with one clear error and nothing left behind."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from http_store import HttpStore, isolate

from iwsltpack.artifact.location import locate
from iwsltpack.artifact.reader import open_artifact
from iwsltpack.documents.names import MANIFEST_NAME
from iwsltpack.errors import ArtifactError, IwsltpackError, ResourceError
from iwsltpack.remote import failure

GOLDEN = Path(__file__).parent / "golden" / "v1"
LAYER = "block.mlp.up_proj.weight"
CHUNK = f"weights.zarr/{LAYER}/c/0/0"
SILENCE_S = 0.4
HEAD = b"HTTP/1.1 200 OK\r\n"
LENGTH = HEAD + b"Content-Length: %d\r\n\r\n" % (GOLDEN / "zstd" / CHUNK).stat().st_size
FAILING, DAMAGED = "the store keeps failing", "a file of the artifact is damaged, at its source or on its way"
REFUSED, NOBODY = "the store refuses the request", "the store cannot be reached"
BOMB = gzip.compress(bytes(50 << 20))

WAYS: dict[str, tuple[dict[str, Any], str, str]] = {
    "sends for ever": ({"raw": HEAD + b"\r\n", "again": b"x" * 65536}, DAMAGED, "more than"),
    "chunks without end": (
        {"raw": HEAD + b"Transfer-Encoding: chunked\r\n\r\n", "again": b"1000\r\n" + b"x" * 4096 + b"\r\n"},
        DAMAGED,
        "more than",
    ),
    "a byte now and then": ({"raw": LENGTH, "again": b"x", "pause": 0.1}, FAILING, "bytes in"),
    "a chunk of a byte now and then": (
        {"raw": HEAD + b"Transfer-Encoding: chunked\r\n\r\n", "again": b"1\r\nx\r\n", "pause": 0.1},
        FAILING,
        "bytes in",
    ),
    "a header now and then": ({"raw": HEAD, "again": b"X-More: 1\r\n", "pause": 0.1}, FAILING, "no answer"),
    "continues for ever": (
        {"raw": b"", "again": b"HTTP/1.1 100 Continue\r\n\r\n", "pause": 0.1},
        FAILING,
        "no answer",
    ),
    "silent at once": ({"delay": 3.0}, FAILING, "Timeout"),
    "silent half way": ({"raw": LENGTH + b"x", "again": b"", "pause": 0.0, "hold": 3.0}, FAILING, "Timeout"),
    "headers without end": ({"raw": HEAD, "again": b"X-More: " + b"1" * 4096 + b"\r\n"}, FAILING, "Error"),
    "one huge header": ({"raw": HEAD + b"X-More: ", "again": b"1" * 65536}, FAILING, "Error"),
    "a gzip bomb": (
        {"raw": HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB},
        REFUSED,
        "an answer packed as gzip",
    ),
    "429 for ever": ({"status": 429}, FAILING, "HTTP 429"),
    "429 for a day": ({"status": 429, "headers": {"Retry-After": "86400"}}, FAILING, "wait 86400 s"),
    "503 for ever": ({"status": 503, "headers": {"Retry-After": "0"}}, FAILING, "HTTP 503"),
    "another length": ({"raw": HEAD + b"Content-Length: 5\r\n\r\nabcde"}, DAMAGED, "5 bytes"),
    "truncated": ({"raw": LENGTH + b"abc"}, FAILING, "Error"),
    "closed half way through a chunk": (
        {"raw": HEAD + b"Transfer-Encoding: chunked\r\n\r\n1000\r\nabc"},
        FAILING,
        "Error",
    ),
    "lengths that differ": (
        {"raw": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"},
        FAILING,
        "Error",
    ),
    "another range": (
        {
            "raw": b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 5-9/100\r\n"
            b"Content-Length: 5\r\n\r\nabcde"
        },
        DAMAGED,
        "5 bytes",
    ),
    "a page": (
        {"raw": HEAD + b"Content-Type: text/html\r\nContent-Length: 22\r\n\r\n<html>Log in!</html>\r\n"},
        DAMAGED,
        "22 bytes",
    ),
    "no HTTP": ({"raw": b"SSH-2.0-OpenSSH_9.6\r\n"}, FAILING, "Error"),
    "nothing at all": ({"raw": b""}, FAILING, "Error"),
    "redirects in a circle": (
        {"status": 302, "headers": {"Location": f"/zstd/{CHUNK}"}},
        FAILING,
        "TooManyRedirects",
    ),
    "redirects to a file": (
        {"status": 302, "headers": {"Location": "file:///etc/passwd"}},
        NOBODY,
        "UnsupportedProtocol",
    ),
    "redirects to nobody": ({"status": 302, "headers": {"Location": "http://127.0.0.1:9/x"}}, NOBODY, ""),
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As at any time, but that waiting is short."""
    monkeypatch.setattr(failure, "READ_TIMEOUT_S", SILENCE_S)
    monkeypatch.setattr(failure, "CONNECT_TIMEOUT_S", 2.0)
    return isolate(monkeypatch, tmp_path)


@pytest.fixture
def store(cache: Path) -> Iterator[HttpStore]:
    with HttpStore(GOLDEN) as server:
        yield server


@pytest.mark.parametrize("way", WAYS)
def test_a_store_that_misbehaves_ends_in_one_clear_error(store: HttpStore, cache: Path, way: str) -> None:
    trouble, what, named = WAYS[way]
    remote = open_artifact(f"{store.url}/zstd")
    store.fail(CHUNK, times=None, **trouble)
    started = time.monotonic()
    with pytest.raises(IwsltpackError) as error:
        remote.tensor(LAYER)
    # Two waits of 2.4 s, or five tries: as it stands less than a minute, here as much less as it waits less.
    assert time.monotonic() - started < 15
    assert error.value.what == what
    assert isinstance(error.value, ArtifactError if what == DAMAGED else ResourceError)
    assert error.value.where == f"{store.url}/zstd/{CHUNK}"
    assert named in str(error.value)
    assert list((cache / ".incoming").iterdir()) == []
    assert not (remote.path / CHUNK).exists()
    store.heal()
    assert remote.tensor(LAYER).shape == (24, 10)


def test_no_way_takes_longer_than_what_is_said() -> None:
    """Every limit as it stands: the waits of what is silent, and the pauses between five tries."""
    silent = failure.TRIES["silent"] * (failure.CONNECT_TIMEOUT_S + failure.READ_TIMEOUT_S)
    nobody = failure.TRIES["unreachable"] * failure.CONNECT_TIMEOUT_S
    pauses = sum(failure.FIRST_PAUSE_S * 2**tried * 1.25 for tried in range(failure.TRIES["unreachable"] - 1))
    assert silent + failure.FIRST_PAUSE_S * 1.25 < 60
    assert nobody + pauses < 60


@pytest.mark.parametrize(
    "way", ["sends for ever", "a byte now and then", "a header now and then", "a gzip bomb"]
)
def test_so_does_a_manifest(store: HttpStore, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from iwsltpack.remote import mirror

    monkeypatch.setattr(mirror, "MANIFEST_LIMIT", 1 << 20)
    trouble, what, _ = WAYS[way]
    store.fail(MANIFEST_NAME, times=None, **trouble)
    with pytest.raises(IwsltpackError) as error:
        locate(f"{store.url}/zstd")
    assert error.value.what == what


def test_a_server_of_another_protocol_than_the_address_says(store: HttpStore) -> None:
    with pytest.raises(ResourceError, match=NOBODY) as error:
        locate(f"{store.url.replace('http://', 'https://')}/zstd")
    assert "SSL" in str(error.value)


def test_an_honest_store_that_is_slow_is_waited_for(
    store: HttpStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slower than any other, and faster than the least: what counts is the rate, not the time."""
    monkeypatch.setattr(failure, "SLOWEST", 20.0)
    data = (GOLDEN / "zstd" / CHUNK).read_bytes()
    remote = open_artifact(f"{store.url}/zstd")
    store.fail(CHUNK, times=None, raw=LENGTH, pieces=[data[at : at + 10] for at in range(0, len(data), 10)])
    assert remote.tensor(LAYER).shape == (24, 10)


def test_what_comes_when_nobody_waits_for_it_is_left(cache: Path) -> None:
    left: list[int] = []

    def late() -> int:
        time.sleep(3.0)
        return 7

    with pytest.raises(failure.Failure, match="no answer after 2 s"):
        failure.answered(late, left.append)
    until = time.monotonic() + 10
    while not left and time.monotonic() < until:
        time.sleep(0.01)
    assert left == [7]
