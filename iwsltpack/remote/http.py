"""Files over HTTP: of a model repository on the hub, or below any URL. Both through the hub library's HTTP client."""

import importlib
import os
import re
import weakref
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import get_session, hf_hub_url
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

from iwsltpack.remote import failure
from iwsltpack.remote.address import HubAddress, UrlAddress
from iwsltpack.remote.failure import Failure
from iwsltpack.remote.hub_errors import BY_NAME, hub_failures
from iwsltpack.version import __version__

PLAIN = {"Accept-Encoding": "identity"}
"""Files come as they are: what unpacks itself on the way could become as large as it likes."""
COMMIT_HEADER = "X-Repo-Commit"
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubFiles:
    """Files below a place in a repository, through huggingface_hub's own session and login.

    The first answer tells the commit that the revision stands for; every later file is of that commit, so that a
    push in between cannot mix two artifacts.
    """

    login = failure.STEPS["login"]

    def __init__(self, location: HubAddress) -> None:
        self._location = location
        self._commit: str | None = None

    def fetch(self, relative: str, into: Path, limit: int) -> None:
        """Write one file of at most `limit` bytes to `into`; raises `Failure`."""
        try:
            with hub_failures():
                self._fetch(relative, into, limit)
        except Failure as wrong:
            if wrong.kind in ("missing", "offline"):
                # Here it is known that a file of an artifact was asked for, and that a cache may hold it.
                raise Failure(wrong.kind, wrong.got or "HF_HUB_OFFLINE is set") from None
            raise

    def _fetch(self, relative: str, into: Path, limit: int) -> None:
        place = self._location
        url = hf_hub_url(
            place.repo,
            f"{place.folder}/{relative}" if place.folder else relative,
            revision=self._commit or place.revision or "main",
            endpoint=place.endpoint or os.environ.get("HF_ENDPOINT"),
        )
        headers = build_hf_headers(library_name="iwsltpack", library_version=__version__)
        with _asked(get_session(), url, headers) as answer:
            hf_raise_for_status(answer)
            if self._commit is None:
                # A redirect to where the bytes lie no longer names the commit, the hub's own answer did.
                told = [
                    a.headers[COMMIT_HEADER] for a in (*answer.history, answer) if COMMIT_HEADER in a.headers
                ]
                if not told or not _COMMIT.fullmatch(told[0]):
                    raise Failure(
                        "refused", "an answer that names no commit", row=BY_NAME["FileMetadataError"]
                    )
                self._commit = told[0]
            _receive(answer, into, limit)


class WebFiles:
    """Files of a web server. One client, made anew in a forked process, which may not share connections."""

    login = "give user and password in the address, in ~/.netrc, or an address that is signed"

    def __init__(self, location: UrlAddress) -> None:
        self._location = location
        self._made: tuple[int, Any] = (0, None)

    def fetch(self, relative: str, into: Path, limit: int) -> None:
        """Write one file of at most `limit` bytes to `into`; raises `Failure`."""
        if self._made[0] != os.getpid():
            self._made = (os.getpid(), self._connect())
        try:
            with hub_failures(), _asked(self._made[1], self._location.url(relative), {}) as answer:
                if answer.status_code >= 400:
                    raise failure.of_status(answer.status_code, answer.headers, answer.reason_phrase)
                _receive(answer, into, limit)
        except Failure as wrong:
            # The same troubles as the hub's, in the words of any store.
            raise Failure(
                wrong.kind, wrong.got, expected=wrong.expected, retry_after=wrong.retry_after
            ) from None

    def _connect(self) -> Any:
        # httpx or httpx2, whichever this version of huggingface_hub is built on.
        library: Any = importlib.import_module(HfHubHTTPError.__bases__[0].__module__.partition(".")[0])
        # Proxies and ~/.netrc, as every other program of this machine uses them.
        netrc = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
        ours = netrc.is_file() and "@" not in self._location.base
        client = library.Client(auth=library.NetRCAuth(str(netrc)) if ours else None, follow_redirects=True)
        weakref.finalize(self, client.close)
        return client


@contextmanager
def _asked(client: Any, url: str, headers: Mapping[str, str]) -> Iterator[Any]:
    silence = failure.READ_TIMEOUT_S
    timeout = (failure.CONNECT_TIMEOUT_S, silence, silence, silence)
    asked = client.stream("GET", url, headers={**headers, **PLAIN}, timeout=timeout, follow_redirects=True)
    answer = failure.answered(asked.__enter__, lambda _: asked.__exit__(None, None, None))
    with ExitStack() as stack:
        stack.push(asked)
        yield answer


def _receive(answer: Any, into: Path, limit: int) -> None:
    if (encoding := answer.headers.get("Content-Encoding", "identity")) != "identity":
        raise Failure("refused", f"an answer packed as {encoding}", expected="the file as it is")
    failure.receive(answer.iter_raw(), into, limit)
