"""A web server for tests: a folder over plain HTTP with ranges, that counts what it sends and fails when told to."""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import pytest

BLOCK = 1 << 16


def isolate(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Give this process and its children an empty cache below `folder`, no proxies, and no pauses between tries."""
    from iwsltpack.remote import failure

    monkeypatch.setenv("IWSLTPACK_CACHE", str(folder / "cache"))
    monkeypatch.setattr(failure, "FIRST_PAUSE_S", 0.01)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return folder / "cache" / "artifacts"


@dataclass
class Trouble:
    """What goes wrong with requests for paths that fit `pattern`; `times` of them, None for all.

    `status` answers with an error; `cut` closes the connection after so many bytes; `flip` inverts the byte at that
    place; `shorten` leaves off so many bytes of an answer that is otherwise right; `pad` adds as many; `delay` waits
    so many seconds first; `reset` breaks the connection off without an answer; `raw` is the answer as it stands, and
    `pieces` what is sent after it, one every tenth of a second, `again` over and over, every `pause` seconds, as long
    as the other side listens; in the end the connection is held open for `hold` seconds.
    """

    pattern: str
    times: int | None = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    flip: int | None = None
    shorten: int = 0
    pad: int = 0
    delay: float = 0.0
    reset: bool = False
    reason: str | None = None
    raw: bytes | None = None
    again: bytes = b""
    pause: float = 0.0
    pieces: list[bytes] = field(default_factory=list)
    hold: float = 0.0


class HttpStore:
    """Serve `root`; use it in a ``with`` block.

    Attributes
    ----------
    url
        Of the root, without a slash at the end.
    sent
        Bytes of bodies sent so far.
    requests
        Paths asked for, in order, without the slash they begin with.
    """

    def __init__(self, root: Path, *, password: str | None = None, query: str = "") -> None:
        self.root, self.password, self.query = root, password, query
        self.sent = 0
        self.requests: list[str] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self._troubles: list[Trouble] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.store = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving, on connections kept open as well; a second time does nothing."""
        self.fail("", times=None, reset=True)
        self._server.shutdown()
        self._server.server_close()

    def fail(self, pattern: str, times: int | None = 1, **settings: Any) -> None:
        """Make requests fail; see `Trouble`."""
        with self.lock:
            self._troubles.append(Trouble(pattern, times, **settings))

    def heal(self) -> None:
        """Make nothing fail any more."""
        with self.lock:
            self._troubles.clear()

    def forget(self) -> None:
        """Count from nought again."""
        with self.lock:
            self.sent, self.most_at_once = 0, 0
            self.requests.clear()

    def counts(self) -> Counter[str]:
        """How often each path was asked for."""
        with self.lock:
            return Counter(self.requests)

    def trouble(self, path: str) -> Trouble:
        with self.lock:
            for one in reversed(self._troubles):
                if re.search(one.pattern, path) and one.times != 0:
                    one.times = None if one.times is None else one.times - 1
                    return one
        return Trouble("")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    store: HttpStore

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30

    def log_message(self, *_: Any) -> None:
        """Requests are recorded by `HttpStore.requests`."""

    def do_GET(self) -> None:
        store, parts = self.server.store, urlsplit(self.path)
        path = unquote(parts.path).lstrip("/")
        with store.lock:
            store.requests.append(path)
            store.at_once += 1
            store.most_at_once = max(store.most_at_once, store.at_once)
        try:
            self._answer(path, parts.query, store.trouble(path))
        finally:
            with store.lock:
                store.at_once -= 1

    def _answer(self, path: str, query: str, trouble: Trouble) -> None:
        store = self.server.store
        if trouble.delay:
            time.sleep(trouble.delay)
        if trouble.reset:
            # Linger of nought seconds: the kernel sends a reset in place of an orderly end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        file = (store.root / path).resolve()
        if trouble.raw is not None:
            self._drone(trouble)
        elif trouble.status is not None:
            self._refuse(trouble.status, trouble.headers, trouble.reason)
        elif query != store.query or not self._let_in():
            self._refuse(403)
        elif not file.is_relative_to(store.root.resolve()) or not file.is_file():
            self._refuse(404)
        else:
            self._send(file.read_bytes(), trouble)

    def _let_in(self) -> bool:
        return self.server.store.password is None or (
            self.headers.get("Authorization", "") == self.server.store.password
        )

    def _drone(self, trouble: Trouble) -> None:
        self.close_connection = True
        self.wfile.write(trouble.raw or b"")
        for piece in trouble.pieces:
            self.wfile.write(piece)
            time.sleep(0.1)
        until = time.monotonic() + self.timeout
        while trouble.again and time.monotonic() < until:
            self.wfile.write(trouble.again)
            self.wfile.flush()
            time.sleep(trouble.pause)
        time.sleep(trouble.hold)

    def _refuse(self, status: int, headers: dict[str, str] | None = None, reason: str | None = None) -> None:
        self.send_response(status, reason)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, data: bytes, trouble: Trouble) -> None:
        if trouble.flip is not None:
            place = trouble.flip % len(data)
            data = data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]
        data = data[: len(data) - trouble.shorten] + b"\0" * trouble.pad
        status, start, stop = 200, 0, len(data)
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)|bytes=-(\d+)", self.headers.get("Range", "")):
            status = 206
            start = len(data) - int(found[3]) if found[3] else int(found[1])
            stop = min(int(found[2]) + 1, len(data)) if found[2] else len(data)
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        until = stop if trouble.cut is None else min(start + trouble.cut, stop)
        for place in range(start, until, BLOCK):
            block = data[place : min(place + BLOCK, until)]
            with self.server.store.lock:
                self.server.store.sent += len(block)
            self.wfile.write(block)
        if until < stop:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

    def do_HEAD(self) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        file = self.server.store.root / path
        with self.server.store.lock:
            self.server.store.requests.append(path)
        self.send_response(200 if file.is_file() else 404)
        self.send_header("Content-Length", str(file.stat().st_size if file.is_file() else 0))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
