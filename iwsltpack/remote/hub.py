"""Files of a model repository on the hub, all of one commit, through huggingface_hub's own session and login."""

from __future__ import annotations

import importlib
import os
import re
from typing import TYPE_CHECKING, Any

from iwsltpack.errors import UsageError
from iwsltpack.remote import failure
from iwsltpack.remote.failure import Failure
from iwsltpack.system import fileio
from iwsltpack.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from iwsltpack.remote.location import HubLocation

BLOCK = 1 << 20
COMMIT_HEADER = "X-Repo-Commit"
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubFiles:
    """Files below a place in a repository.

    The first answer tells the commit that the revision stands for; every later file is of that commit, so that a
    push in between cannot mix two artifacts.
    """

    login = "log in: hf auth login; for a gated model, ask for access on its page"

    def __init__(self, location: HubLocation) -> None:
        self._location = location
        self._commit: str | None = None

    def fetch(self, relative: str, into: Path, limit: int) -> None:
        """Write one file of at most `limit` bytes to `into`; raises `Failure`."""
        from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

        try:
            self._fetch(relative, into, limit)
        except HFValidationError as error:
            text = str(error).splitlines()[0]
            raise UsageError("not a model of the hub", where=self._location.shown, got=text) from None
        except OfflineModeIsEnabled:
            raise Failure("offline", "HF_HUB_OFFLINE is set") from None
        except (_http_errors().HTTPError, _http_errors().InvalidURL) as error:
            raise _transport_failure(error) from None

    def _fetch(self, relative: str, into: Path, limit: int) -> None:
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        place = self._location
        url = hf_hub_url(
            place.repo,
            f"{place.folder}/{relative}" if place.folder else relative,
            revision=self._commit or place.revision or "main",
            endpoint=os.environ.get("HF_ENDPOINT"),
        )
        headers = build_hf_headers(library_name="iwsltpack", library_version=__version__)
        timeout = (
            failure.CONNECT_TIMEOUT_S,
            failure.READ_TIMEOUT_S,
            failure.READ_TIMEOUT_S,
            failure.READ_TIMEOUT_S,
        )
        with get_session().stream(
            "GET", url, headers=headers, timeout=timeout, follow_redirects=True
        ) as answer:
            if answer.status_code >= 400:
                raise _status_failure(answer)
            if self._commit is None:
                self._commit = _commit_told([*answer.history, answer])
            _receive(answer.iter_bytes(BLOCK), into, limit)


def _commit_told(answers: list[Any]) -> str:
    """Return the commit the hub names; a redirect to where the bytes lie no longer does, the hub's own answer did."""
    told = next((a.headers[COMMIT_HEADER] for a in answers if COMMIT_HEADER in a.headers), "")
    if not _COMMIT.fullmatch(told):
        raise Failure(
            "refused", "an answer that names no commit: not the hub's own (a proxy, or a wrong HF_ENDPOINT?)"
        )
    return str(told)


def _receive(blocks: Iterable[bytes], into: Path, limit: int) -> None:
    received = 0
    with fileio.disk_errors(into):
        stream = into.open("wb")
    with stream:
        for block in blocks:
            received += len(block)
            if received > limit:
                raise Failure("damaged", f"more than {limit} bytes", expected=f"at most {limit} bytes")
            with fileio.disk_errors(into):
                stream.write(block)


def _status_failure(answer: Any) -> Failure:
    """Return what a refusal means; the hub says 401 of models that do not exist as well as of private ones."""
    code = answer.headers.get("X-Error-Code", "")
    if code == "RevisionNotFound":
        return Failure("missing", "the model has no such revision")
    if code == "GatedRepo":
        return Failure("denied", "a gated model")
    if code == "RepoNotFound" or answer.status_code == 401:
        return Failure("denied", "no such model, or a private one")
    return failure.of_status(answer.status_code, answer.headers)


def _transport_failure(error: Exception) -> Failure:
    httpx = _http_errors()
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
        return Failure("unreachable", text)
    if isinstance(error, httpx.TimeoutException | httpx.NetworkError | httpx.RemoteProtocolError):
        return Failure("transient", text)
    return Failure("refused", text)


def _http_errors() -> Any:
    """Return the hub's HTTP library, which has the same errors as httpx or httpx2, by huggingface_hub's version."""
    from huggingface_hub.errors import HfHubHTTPError

    return importlib.import_module(HfHubHTTPError.__bases__[0].__module__.partition(".")[0])
