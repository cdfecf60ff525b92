"""A Hugging Face hub for tests: its HTTP protocol, spoken by a local server that can be told to break.

It answers the calls that huggingface_hub makes for creating a repository, asking about it, listing it, uploading
and committing, and downloading: https://huggingface.co/docs/hub/api and the client's own source tell what they
are. Large files (binary ones, and any from `lfs_threshold` bytes on) go through Git LFS to and from a second
server of another origin, as on the real hub; a hub without Xet is what it looks like, so a client needs
``HF_HUB_DISABLE_XET=1`` (the client tries no other way once hf_xet is installed).

    with HubServer() as hub:
        hub.publish("team/model", folder)                     # a repository with a commit, no client needed
        subprocess.run(..., env=hub.environment(WRITER))      # HF_ENDPOINT, HF_TOKEN, no Xet, no home
        HfApi(endpoint=hub.endpoint, token=WRITER)            # or within this process
        hub.fault("GET .*/resolve/", kind="status", status=503, times=2)
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

WRITER = "hf_writerAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
READER = "hf_readerBBBBBBBBBBBBBBBBBBBBBBBBBBBB"
STRANGER = "hf_strangerCCCCCCCCCCCCCCCCCCCCCCCCC"
"""Tokens of three accounts: writes for `team`, reads what `team` has, and is no member at all."""

PAGE = 100
"""Entries of a tree listing in one answer (1,000 on the real hub): small, so that tests turn pages."""
BLOCK = 1 << 16
GOLDEN = Path(__file__).resolve().parent / "golden" / "v1"
REPO = "team/model"
"""What tests push, and where to."""
GITATTRIBUTES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"


def contents(folder: Path) -> dict[str, bytes]:
    """Return path -> bytes of everything in a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def without_furniture(files: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out what a repository has beside the artifact."""
    return {path: data for path, data in files.items() if path not in ("README.md", ".gitattributes")}


@dataclass(frozen=True)
class Account:
    """Who a token belongs to, and the namespaces it may read and write."""

    name: str
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()


ACCOUNTS = {
    WRITER: Account("writer", frozenset({"team", "writer"}), frozenset({"team", "writer"})),
    READER: Account("reader", frozenset({"team", "reader"})),
    STRANGER: Account("stranger", frozenset({"stranger"}), frozenset({"stranger"})),
}


class Content:
    """Bytes of one file version, in memory or in a file of the disk, and their names in Git and Git LFS."""

    def __init__(self, source: bytes | Path, *, lfs: bool) -> None:
        self.source, self.lfs = source, lfs
        self.size = len(source) if isinstance(source, bytes) else source.stat().st_size

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        if isinstance(self.source, bytes):
            return self.source[start:stop]
        with self.source.open("rb") as stream:
            stream.seek(start)
            return stream.read(-1 if stop is None else stop - start)

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.read()).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @cached_property
    def oid(self) -> str:
        data = self.pointer if self.lfs else self.read()
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid

    def entry(self, path: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "oid": self.oid, "size": self.size, "path": path}
        if self.lfs:
            entry["lfs"] = {"oid": self.sha256, "size": self.size, "pointerSize": len(self.pointer)}
        return entry


@dataclass(frozen=True)
class Commit:
    """A state of all files, and what came before it."""

    oid: str
    parent: str | None
    title: str
    files: dict[str, Content]
    description: str = ""


@dataclass
class Repository:
    """Commits, the names that point at them, and the large objects uploaded so far, committed or not."""

    name: str
    private: bool = False
    gated: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    objects: dict[str, Content] = field(default_factory=dict)
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return self.name.partition("/")[0]

    def find(self, revision: str) -> Commit | None:
        revision = revision.removeprefix("refs/heads/")
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        return self.commits.get(oid)

    def head(self, branch: str = "main") -> Commit:
        return self.commits[self.branches[branch]]

    def commit(self, branch: str, files: dict[str, Content], title: str, description: str = "") -> Commit:
        parent = self.branches.get(branch)
        text = json.dumps([parent, len(self.commits), title, [[p, files[p].oid] for p in sorted(files)]])
        made = Commit(hashlib.sha1(text.encode()).hexdigest(), parent, title, files, description)
        self.commits[made.oid] = made
        self.branches[branch] = made.oid
        return made


@dataclass(frozen=True)
class Request:
    """One request as the server saw it; `received` and `sent` count body bytes."""

    method: str
    path: str
    status: int | None
    authorization: str | None
    received: int
    sent: int
    storage: bool
    """Whether it went to the storage server, which must never see a token."""

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


Kind = Literal["status", "drop", "lose", "cut", "corrupt", "stall", "call"]


@dataclass
class Fault:
    """What goes wrong with the requests whose ``METHOD /path`` fits `pattern`.

    `status` answers with an error; `drop` closes the connection instead of acting; `lose` acts, then closes without
    an answer; `cut` closes after `after` bytes of the request's or else the answer's body; `corrupt` flips the bit
    of one byte of the answer; `stall` waits `seconds`, then goes on; `call` calls `action`, then goes on. `skip`
    requests pass first, `times` are hit.
    """

    pattern: str
    kind: Kind
    skip: int = 0
    times: int | None = 1
    status: int = 500
    message: str = "told to fail"
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    after: int = 0
    seconds: float = 0.0
    action: Callable[[], object] | None = None

    def strikes(self, request: str) -> bool:
        if not re.search(self.pattern, request):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


class Broken(Exception):
    """The connection is to be closed here and now."""


class Refused(Exception):
    """An HTTP error to answer with."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class HubServer:
    """The hub, started by ``with``: `endpoint` is what HF_ENDPOINT must say.

    Parameters
    ----------
    lfs_threshold
        Bytes from which on even text goes through LFS.
    multipart_bytes
        Size of a part where larger objects must come in several; None: one request an object.
    max_operations
        Operations a commit may have; more is refused with status 413.
    """

    def __init__(
        self,
        *,
        lfs_threshold: int = 10 << 20,
        multipart_bytes: int | None = None,
        max_operations: int = 1000,
    ) -> None:
        self.lfs_threshold, self.multipart_bytes = lfs_threshold, multipart_bytes
        self.max_operations = max_operations
        self.repositories: dict[str, Repository] = {}
        self.requests: list[Request] = []
        self.failures: list[BaseException] = []
        self.lock = threading.RLock()
        self.answering = 0
        self.answered = threading.Condition(self.lock)
        self._faults: list[Fault] = []
        self._budget: int | None = None
        self._servers = [_serve(self, storage=False), _serve(self, storage=True)]
        self.endpoint, self.storage = (
            f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers
        )

    def __enter__(self) -> Self:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        if self.failures:
            raise self.failures[0]

    # What a test sets up.

    def publish(
        self,
        name: str,
        source: Path | Mapping[str, bytes],
        *,
        branch: str = "main",
        private: bool = False,
        gated: bool = False,
        title: str = "published",
    ) -> Commit:
        """Make `source`, a folder read in place or a table of bytes, the only content of a branch."""
        with self.lock:
            repository = self.repositories.setdefault(name, Repository(name))
            repository.private, repository.gated = private, gated
            files: dict[str, Content] = {}
            for path, data in _contents(source):
                size = len(data) if isinstance(data, bytes) else data.stat().st_size
                sample = Content(data, lfs=False).read(0, 512)
                files[path] = Content(data, lfs=self.is_large(sample, size))
            return repository.commit(branch, files, title)

    def environment(
        self, token: str | None = WRITER, home: Path | None = None, **more: str
    ) -> dict[str, str]:
        """Return an environment for a subprocess that knows this hub and no other, nor this user's login."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        told = {"HF_ENDPOINT": self.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        told["HF_HOME"] = str(home) if home else "/nonexistent-hf-home"
        if token is not None:
            told["HF_TOKEN"] = token
        return {**kept, **told, **more}

    def fault(self, pattern: str, kind: Kind = "status", **settings: Any) -> Fault:
        """Let requests that fit `pattern` fail; see `Fault`."""
        made = Fault(pattern, kind, **settings)
        with self.lock:
            self._faults.append(made)
        return made

    def break_after(self, body_bytes: int) -> None:
        """Let the network go down for good, in mid-byte, once so many bytes of bodies went either way."""
        with self.lock:
            self._budget = body_bytes

    def heal(self) -> None:
        """Take back every fault."""
        with self.lock:
            self._faults.clear()
            self._budget = None

    # What a test asks afterwards.

    def forget(self) -> None:
        """Empty the record of requests."""
        with self.answered:
            self._settle()
            self.requests.clear()

    def seen(self, pattern: str = "") -> list[Request]:
        """Return the recorded requests whose ``METHOD /path`` fits."""
        with self.answered:
            self._settle()
            return [request for request in self.requests if re.search(pattern, str(request))]

    def _settle(self) -> None:
        """Wait for requests whose answer is with the client already, but not yet in the record."""
        self.answered.wait_for(lambda: self.answering == 0, timeout=2)

    def bytes_received(self, pattern: str = "") -> int:
        """Return the bytes of request bodies that fit."""
        return sum(request.received for request in self.seen(pattern))

    def bytes_sent(self, pattern: str = "") -> int:
        """Return the bytes of answer bodies that fit."""
        return sum(request.sent for request in self.seen(pattern))

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """Return path -> bytes of everything in a repository at a revision."""
        with self.lock:
            commit = self.repositories[name].find(revision)
            if commit is None:
                raise KeyError(revision)
            return {path: content.read() for path, content in sorted(commit.files.items())}

    # What the handlers use.

    def is_large(self, sample: bytes, size: int) -> bool:
        if size == 0:
            return False
        if size >= self.lfs_threshold or b"\0" in sample:
            return True
        try:
            sample.decode()
        except UnicodeDecodeError as error:
            return error.start < len(sample) - 3 or size < 512  # a character cut at the sample's end is text
        return False

    def spend(self, amount: int) -> int:
        """Return how many of `amount` bytes still pass before the network goes down."""
        with self.lock:
            if self._budget is None:
                return amount
            allowed = min(amount, self._budget)
            self._budget -= allowed
            return allowed

    @property
    def is_down(self) -> bool:
        with self.lock:
            return self._budget == 0

    def strike(self, request: str) -> Fault | None:
        with self.lock:
            return next((fault for fault in self._faults if fault.strikes(request)), None)


def _contents(source: Path | Mapping[str, bytes]) -> Iterable[tuple[str, bytes | Path]]:
    if isinstance(source, Path):
        found = sorted(path for path in source.rglob("*") if path.is_file())
        return [(path.relative_to(source).as_posix(), path) for path in found]
    return list(source.items())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    hub: HubServer
    is_storage: bool

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if error is not None and not isinstance(error, ConnectionError | TimeoutError):
            self.hub.failures.append(error)


def _serve(hub: HubServer, *, storage: bool) -> _Server:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.hub, server.is_storage = hub, storage
    return server


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 60

    def log_message(self, *_: Any) -> None:
        """Requests are recorded by `HubServer.requests`."""

    def do_GET(self) -> None:
        hub = self.server.hub
        with hub.answered:
            hub.answering += 1
        self.received = self.sent = 0
        self.status: int | None = None
        self.body = b""
        self.struck = hub.strike(f"{self.command} {self.path}")
        try:
            self._receive()
            self._act()
        except Broken:
            self._hang_up()
        finally:
            made = Request(
                method=self.command,
                path=self.path,
                status=self.status,
                authorization=self.headers.get("Authorization"),
                received=self.received,
                sent=self.sent,
                storage=self.server.is_storage,
            )
            with hub.answered:
                hub.requests.append(made)
                hub.answering -= 1
                hub.answered.notify_all()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def _hang_up(self) -> None:
        """Reset the connection, so that the other side notices at once."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _receive(self) -> None:
        cut = self.struck.after if self.struck and self.struck.kind == "cut" and self._has_body() else None
        chunks = []
        for chunk in self._blocks():
            passed = self.server.hub.spend(len(chunk))
            self.received += passed
            chunks.append(chunk)
            if passed < len(chunk) or (cut is not None and self.received >= cut):
                raise Broken
        self.body = b"".join(chunks)

    def _has_body(self) -> bool:
        return int(self.headers.get("Content-Length") or 0) > 0 or "Transfer-Encoding" in self.headers

    def _blocks(self) -> Iterable[bytes]:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            block = self.rfile.read(min(left, BLOCK))
            if not block:
                raise Broken
            left -= len(block)
            yield block

    def _act(self) -> None:
        fault = self.struck
        if self.server.hub.is_down or (fault and fault.kind == "drop"):
            raise Broken
        if fault and fault.kind == "stall":
            time.sleep(fault.seconds)
        if fault and fault.kind == "call" and fault.action:
            fault.action()
        if fault and fault.kind == "status":
            self.answer_error(Refused(fault.status, fault.message, fault.code), fault.headers)
            return
        try:
            route, arguments = self._route()
            with self.server.hub.lock:
                answer = route(self, *arguments)
        except Refused as refused:
            answer = partial(self.answer_error, refused)
        if fault and fault.kind == "lose":
            raise Broken
        answer()

    def _route(self) -> tuple[Callable[..., Callable[[], None]], list[str]]:
        path = urlsplit(self.path).path
        for method, pattern, route in STORAGE_ROUTES if self.server.is_storage else ROUTES:
            match = re.fullmatch(pattern, path)
            if match and (self.command == method or (self.command == "HEAD" and method == "GET")):
                return route, [unquote(group) if group else "" for group in match.groups()]
        raise Refused(404, f"no such page: {self.command} {path}")

    # Answers.

    def answer(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """Send an answer whole, or as much of it as the faults let pass."""
        fault, length = self.struck, len(body)
        if fault and fault.kind == "corrupt" and body:
            body = body[: length // 2] + bytes([body[length // 2] ^ 1]) + body[length // 2 + 1 :]
        cut = fault.after if fault and fault.kind == "cut" and not self._has_body() else None
        self.status = status
        self.send_response(status)
        told = {"Content-Length": str(length), **(headers or {})}
        for name, value in told.items():
            self.send_header(name, value)
        if self.command == "HEAD":
            self.end_headers()
            return
        head = b"".join(self._headers_buffer) + b"\r\n"  # type: ignore[attr-defined]
        self._headers_buffer = []
        passed = self.server.hub.spend(length if cut is None else min(cut, length))
        self.sent = passed
        self.wfile.write(head + body[:passed])
        if passed < length:
            self.wfile.flush()
            raise Broken

    def answer_json(self, document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        told = {"Content-Type": "application/json", **(headers or {})}
        self.answer(status, json.dumps(document).encode(), told)

    def answer_error(self, refused: Refused, headers: Mapping[str, str] | None = None) -> None:
        told = {"X-Error-Message": refused.message, **(headers or {})}
        if refused.code:
            told["X-Error-Code"] = refused.code
        self.answer_json({"error": refused.message}, refused.status, told)

    def answer_range(self, content: Content, headers: Mapping[str, str]) -> None:
        told = {"Accept-Ranges": "bytes", "ETag": f'"{content.etag}"', **headers}
        asked = self.headers.get("Range")
        if asked is None:
            if self.command == "HEAD":
                self.answer(200, b"", {"Content-Length": str(content.size), **told})
            else:
                self.answer(200, content.read(), told)
            return
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", asked)
        if not match or match.groups() == ("", ""):
            raise Refused(400, "bad range")
        first, last = match.groups()
        start = int(first) if first else max(content.size - int(last), 0)
        stop = min(int(last) + 1, content.size) if first and last else content.size
        if start >= content.size or start >= stop:
            self.answer(416, b"", {"Content-Range": f"bytes */{content.size}", **told})
            return
        told["Content-Range"] = f"bytes {start}-{stop - 1}/{content.size}"
        self.answer(206, content.read(start, stop), told)

    # Who asks, and for what.

    def account(self) -> Account | None:
        told = self.headers.get("Authorization")
        if told is None:
            return None
        account = ACCOUNTS.get(told.removeprefix("Bearer "))
        if account is None:
            raise Refused(401, "Invalid credentials in Authorization header")
        return account

    def readable(self, name: str) -> Repository:
        account = self.account()
        repository = self.server.hub.repositories.get(name)
        allowed = repository is not None and (
            not repository.private or (account is not None and repository.namespace in account.reads)
        )
        if repository is None or not allowed:
            if account is None:
                raise Refused(401, "Invalid username or password.", "RepoNotFound")
            raise Refused(404, "Repository not found", "RepoNotFound")
        return repository

    def writable(self, name: str) -> Repository:
        repository, account = self.readable(name), self.account()
        if account is None:
            raise Refused(401, "Invalid username or password.")
        if repository.namespace not in account.writes:
            raise Refused(
                403,
                "Authorization error: you don't have the rights to write to this repository",
            )
        return repository

    def state(self, repository: Repository, revision: str) -> Commit:
        commit = repository.find(revision or "main")
        if commit is None:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def query(self, name: str, default: str = "") -> str:
        return parse_qs(urlsplit(self.path).query).get(name, [default])[0]

    def json(self) -> Any:
        return json.loads(self.body)


Answer = Callable[[], None]


def _whoami(handler: _Handler) -> Answer:
    account = handler.account()
    if account is None:
        raise Refused(401, "Invalid username or password.")
    role = "write" if account.writes else "read"
    organisations = [{"name": name} for name in sorted(account.reads - {account.name})]
    document = {"type": "user", "name": account.name, "orgs": organisations}
    document["auth"] = {"type": "access_token", "accessToken": {"displayName": "test", "role": role}}
    return lambda: handler.answer_json(document)


def _create(handler: _Handler) -> Answer:
    hub, account, asked = handler.server.hub, handler.account(), handler.json()
    if account is None:
        raise Refused(401, "Invalid username or password.")
    namespace = asked.get("organization") or account.name
    name = f"{namespace}/{asked['name']}"
    if namespace not in account.writes:
        raise Refused(403, f'You don\'t have the rights to create a model under the namespace "{namespace}".')
    url = f"{hub.endpoint}/{name}"
    if name in hub.repositories:
        told = {"error": "You already created this model repo", "url": url, "name": name}
        return lambda: handler.answer_json(told, 409, {"X-Error-Message": told["error"]})
    repository = Repository(name, private=asked.get("visibility") == "private" or bool(asked.get("private")))
    repository.commit("main", {".gitattributes": Content(GITATTRIBUTES, lfs=False)}, "initial commit")
    hub.repositories[name] = repository
    return lambda: handler.answer_json({"url": url, "name": name, "id": name})


def _validate_yaml(handler: _Handler) -> Answer:
    import yaml

    match = re.match(r"^---\r?\n(.*?)\r?\n---\r?\n", handler.json()["content"], re.DOTALL)
    try:
        found = yaml.safe_load(match.group(1)) if match else None
    except yaml.YAMLError as error:
        found = error
    if found is None:
        warned = [{"message": "empty or missing yaml metadata in repo card"}]
        return lambda: handler.answer_json({"warnings": warned})
    if not isinstance(found, dict):
        errors = [{"message": f"Invalid metadata in README.md: {found}"}]
        return lambda: handler.answer_json({"errors": errors, "warnings": []}, 400)
    return lambda: handler.answer_json({"errors": [], "warnings": []})


def _info(handler: _Handler, name: str, revision: str = "") -> Answer:
    repository = handler.readable(name)
    commit = handler.state(repository, revision)
    siblings: list[dict[str, Any]] = []
    for path, content in sorted(commit.files.items()):
        sibling: dict[str, Any] = {"rfilename": path}
        if handler.query("blobs"):
            sibling |= {"size": content.size, "blobId": content.oid}
            if content.lfs:
                sibling["lfs"] = {
                    "sha256": content.sha256,
                    "size": content.size,
                    "pointerSize": len(content.pointer),
                }
        siblings.append(sibling)
    document = {
        "_id": "0" * 24,
        "id": name,
        "modelId": name,
        "sha": commit.oid,
        "private": repository.private,
        "gated": "manual" if repository.gated else False,
        "disabled": False,
        "siblings": siblings,
        "tags": [],
    }
    return lambda: handler.answer_json(document)


def _tree(handler: _Handler, name: str, revision: str, folder: str = "") -> Answer:
    commit = handler.state(handler.readable(name), revision)
    prefix = f"{folder}/" if folder else ""
    recursive = handler.query("recursive").lower() in ("1", "true")
    entries: dict[str, dict[str, Any]] = {}
    for path, content in sorted(commit.files.items()):
        if not path.startswith(prefix):
            continue
        parts = path[len(prefix) :].split("/")
        for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
            above = prefix + "/".join(parts[:depth])
            tree = hashlib.sha1(f"{commit.oid} {above}".encode()).hexdigest()
            entries.setdefault(above, {"type": "directory", "oid": tree, "size": 0, "path": above})
        if recursive or len(parts) == 1:
            entries[path] = content.entry(path)
    if folder and not entries:
        raise Refused(404, f"{folder} does not exist on {revision!r}", "EntryNotFound")
    start = int(handler.query("cursor", "0"))
    page = list(entries.values())[start : start + PAGE]
    headers = {}
    if start + PAGE < len(entries):
        here = urlsplit(handler.path)
        told = f"recursive={recursive}&cursor={start + PAGE}"
        headers["Link"] = f'<{handler.server.hub.endpoint}{here.path}?{told}>; rel="next"'
    return lambda: handler.answer_json(page, headers=headers)


def _paths_info(handler: _Handler, name: str, revision: str) -> Answer:
    commit = handler.state(handler.readable(name), revision)
    asked = parse_qs(handler.body.decode()).get("paths", [])
    found = []
    for path in asked:
        if path in commit.files:
            found.append(commit.files[path].entry(path))
        elif any(known.startswith(f"{path}/") for known in commit.files):
            found.append({"type": "directory", "oid": "0" * 40, "size": 0, "path": path})
    return lambda: handler.answer_json(found)


def _refs(handler: _Handler, name: str) -> Answer:
    repository = handler.readable(name)
    document: dict[str, Any] = {"converts": [], "pullRequests": []}
    for key, kind, names in (
        ("branches", "heads", repository.branches),
        ("tags", "tags", repository.tags),
    ):
        document[key] = [
            {"name": ref, "ref": f"refs/{kind}/{ref}", "targetCommit": oid} for ref, oid in names.items()
        ]
    return lambda: handler.answer_json(document)


def _branch(handler: _Handler, name: str, branch: str) -> Answer:
    repository = handler.writable(name)
    start = handler.state(repository, (handler.json() if handler.body else {}).get("startingPoint", "main"))
    if branch in repository.branches:
        raise Refused(409, f"Reference already exists: refs/heads/{branch}")
    if branch.startswith("refs/"):
        raise Refused(400, f"Invalid reference for a branch: {branch}")
    repository.branches[branch] = start.oid
    return lambda: handler.answer_json({"success": True})


def _tag(handler: _Handler, name: str, revision: str) -> Answer:
    repository = handler.writable(name)
    commit, tag = handler.state(repository, revision), handler.json()["tag"]
    if tag in repository.tags:
        raise Refused(409, f"Tag reference exists already: {tag}")
    repository.tags[tag] = commit.oid
    return lambda: handler.answer_json({"success": True})


def _auth_check(handler: _Handler, name: str, write: str = "") -> Answer:
    repository = handler.writable(name) if write else handler.readable(name)
    _check_gate(handler, repository)
    return lambda: handler.answer_json({})


def _preupload(handler: _Handler, name: str, revision: str) -> Answer:
    hub, repository = handler.server.hub, handler.writable(name)
    commit = handler.state(repository, revision)
    told = []
    for asked in handler.json()["files"]:
        large = hub.is_large(base64.b64decode(asked["sample"]), asked["size"])
        known = commit.files.get(asked["path"])
        file = {"path": asked["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
        if known is not None:
            file["oid"] = known.etag
        told.append(file)
    return lambda: handler.answer_json({"files": told})


def _commit(handler: _Handler, name: str, branch: str) -> Answer:
    hub, repository = handler.server.hub, handler.writable(name)
    if branch not in repository.branches:
        raise Refused(404, f"Invalid rev id: {branch}", "RevisionNotFound")
    lines = [json.loads(line) for line in handler.body.splitlines() if line]
    if len(lines) - 1 > hub.max_operations:
        raise Refused(413, "Payload Too Large: too many operations in one commit")
    head, files = repository.head(branch), dict(repository.head(branch).files)
    header = lines[0]["value"]
    if header.get("parentCommit") not in (None, head.oid):
        raise Refused(412, "A commit has happened since. Please refresh and try again.")
    for line in lines[1:]:
        _apply(repository, files, line["key"], line["value"])
    made = repository.commit(branch, files, header["summary"], header.get("description", ""))
    url = f"{hub.endpoint}/{name}/commit/{made.oid}"
    document = {"success": True, "commitOid": made.oid, "commitUrl": url, "hookOutput": ""}
    return lambda: handler.answer_json(document)


def _apply(repository: Repository, files: dict[str, Content], key: str, value: dict[str, Any]) -> None:
    path = value["path"]
    if path.startswith("/") or ".." in path.split("/"):
        raise Refused(400, f"Invalid path: {path}")
    if key == "file":
        files[path] = Content(base64.b64decode(value["content"]), lfs=False)
    elif key == "lfsFile":
        if value["oid"] not in repository.objects:
            raise Refused(400, f"LFS pointer pointed to a file that does not exist: {path}")
        files[path] = repository.objects[value["oid"]]
    elif key == "deletedFile":
        if path not in files:
            raise Refused(404, "A file with this name doesn't exist", "EntryNotFound")
        del files[path]
    elif key == "deletedFolder":
        for known in [known for known in files if known.startswith(f"{path.rstrip('/')}/")]:
            del files[known]
    else:
        raise Refused(400, f"unknown operation {key}")


def _batch(handler: _Handler, name: str) -> Answer:
    hub, repository = handler.server.hub, handler.writable(name)
    objects = []
    for asked in handler.json()["objects"]:
        oid, size = asked["oid"], asked["size"]
        told: dict[str, Any] = {"oid": oid, "size": size}
        if oid not in repository.objects:
            told["actions"] = _upload_actions(hub, name, oid, size)
        objects.append(told)
    transfer = "multipart" if any("chunk_size" in str(told) for told in objects) else "basic"
    return lambda: handler.answer_json({"transfer": transfer, "objects": objects})


def _upload_actions(hub: HubServer, name: str, oid: str, size: int) -> dict[str, Any]:
    verify = {"href": f"{hub.endpoint}/{name}.git/info/lfs/objects/verify"}
    key = f"{hub.storage}/put/{name}/{oid}"
    if hub.multipart_bytes is None or size <= hub.multipart_bytes:
        return {"upload": {"href": f"{key}?X-Amz-Signature=secret"}, "verify": verify}
    count = -(-size // hub.multipart_bytes)
    header = {str(n): f"{key}/{n}?X-Amz-Signature=secret" for n in range(1, count + 1)}
    header["chunk_size"] = str(hub.multipart_bytes)
    done = f"{hub.endpoint}/{name}.git/info/lfs/objects/complete"
    return {"upload": {"href": done, "header": header}, "verify": verify}


def _store(repository: Repository, oid: str, data: bytes) -> None:
    if hashlib.sha256(data).hexdigest() != oid:
        raise Refused(400, "The SHA-256 of the upload does not match its name")
    repository.objects[oid] = Content(data, lfs=True)


def _put(handler: _Handler, name: str, oid: str, part: str = "") -> Answer:
    repository = handler.server.hub.repositories[name]
    if part:
        repository.parts[oid, int(part)] = handler.body
        return lambda: handler.answer(200, b"", {"ETag": f'"{oid[:8]}-{part}"'})
    _store(repository, oid, handler.body)
    return lambda: handler.answer(200)


def _complete(handler: _Handler, name: str) -> Answer:
    repository, asked = handler.server.hub.repositories[name], handler.json()
    oid = asked["oid"]
    parts = [repository.parts.pop((oid, part["partNumber"])) for part in asked["parts"]]
    _store(repository, oid, b"".join(parts))
    return lambda: handler.answer_json({"success": True})


def _verify(handler: _Handler, name: str) -> Answer:
    repository, asked = handler.writable(name), handler.json()
    stored = repository.objects.get(asked["oid"])
    if stored is None or stored.size != asked["size"]:
        raise Refused(404, "the object is not there, or of another size")
    return lambda: handler.answer_json({})


def _check_gate(handler: _Handler, repository: Repository) -> None:
    account = handler.account()
    if repository.gated and (account is None or repository.namespace not in account.writes):
        message = f"Access to model {repository.name} is restricted."
        raise Refused(401 if account is None else 403, message, "GatedRepo")


def _resolve(handler: _Handler, name: str, revision: str, path: str) -> Answer:
    hub, repository = handler.server.hub, handler.readable(name)
    _check_gate(handler, repository)
    commit = handler.state(repository, revision)
    content = commit.files.get(path)
    told = {"X-Repo-Commit": commit.oid}
    if content is None:
        refused = Refused(404, "Entry not found", "EntryNotFound")
        return lambda: handler.answer_error(refused, told)
    if not content.lfs:
        return lambda: handler.answer_range(content, told)
    told |= {"X-Linked-ETag": f'"{content.sha256}"', "X-Linked-Size": str(content.size)}
    told["Location"] = f"{hub.storage}/get/{quote(name)}/{commit.oid}/{quote(path)}?X-Amz-Signature=secret"
    return lambda: handler.answer(HTTPStatus.FOUND, b"", told)


def _get(handler: _Handler, name: str, commit: str, path: str) -> Answer:
    content = handler.server.hub.repositories[name].commits[commit].files[path]
    return lambda: handler.answer_range(content, {})


_NAME = r"([\w.-]+/[\w.-]+?)"
ROUTES: list[tuple[str, str, Callable[..., Answer]]] = [
    ("GET", r"/api/whoami-v2", _whoami),
    ("POST", r"/api/repos/create", _create),
    ("POST", r"/api/validate-yaml", _validate_yaml),
    ("GET", rf"/api/models/{_NAME}", _info),
    ("GET", rf"/api/models/{_NAME}/revision/([^/]+)", _info),
    ("GET", rf"/api/models/{_NAME}/tree/([^/]+)(?:/(.+))?", _tree),
    ("POST", rf"/api/models/{_NAME}/paths-info/([^/]+)", _paths_info),
    ("GET", rf"/api/models/{_NAME}/refs", _refs),
    ("POST", rf"/api/models/{_NAME}/branch/([^/]+)", _branch),
    ("POST", rf"/api/models/{_NAME}/tag/([^/]+)", _tag),
    ("GET", rf"/api/models/{_NAME}/auth-check(?:/(write))?", _auth_check),
    ("POST", rf"/api/models/{_NAME}/preupload/([^/]+)", _preupload),
    ("POST", rf"/api/models/{_NAME}/commit/([^/]+)", _commit),
    ("POST", rf"/{_NAME}\.git/info/lfs/objects/batch", _batch),
    ("POST", rf"/{_NAME}\.git/info/lfs/objects/complete", _complete),
    ("POST", rf"/{_NAME}\.git/info/lfs/objects/verify", _verify),
    ("GET", rf"/{_NAME}/resolve/([^/]+)/(.+)", _resolve),
]
STORAGE_ROUTES: list[tuple[str, str, Callable[..., Answer]]] = [
    ("PUT", rf"/put/{_NAME}/([0-9a-f]{{64}})(?:/(\d+))?", _put),
    ("GET", rf"/get/{_NAME}/([0-9a-f]{{40}})/(.+)", _get),
]
