"""What huggingface_hub's exceptions mean to a person: one table, whoever asks the hub.

The library wraps one exception in another, and its texts hold signed addresses; so a chain of causes is searched for
the first that is known here, and nothing of a text is repeated before `without_secrets` went over it.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from iwsltpack.errors import InputError, IwsltpackError, ResourceError, UsageError
from iwsltpack.remote.failure import asked_pause
from iwsltpack.remote.location import without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGIN = "log in with `hf auth login`, or set HF_TOKEN"
AGAIN = "run the same command again: it goes on where it stopped"
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
"""Answers after which the same request may well succeed."""
LONGEST_TEXT = 300
"""Characters of a server's own words that are repeated."""

Row = tuple[type[IwsltpackError], str, str]
"""Class of the error, what is wrong, what to do."""

_NO_TOKEN: Row = (UsageError, "the login is no token: it holds characters that tokens have not", LOGIN)

BY_NAME: dict[str, Row] = {
    "OfflineModeIsEnabled": (
        ResourceError,
        "the hub may not be asked: HF_HUB_OFFLINE is set",
        "unset HF_HUB_OFFLINE, with a network",
    ),
    "UnicodeEncodeError": _NO_TOKEN,
    "LocalTokenNotFoundError": (UsageError, "not logged in to the hub", LOGIN),
    "HFValidationError": (InputError, "not a hub id", "write OWNER/NAME"),
    "GatedRepoError": (
        InputError,
        "the repository is gated: its owner lets in whom they choose",
        f"ask for access on its page, then {LOGIN}",
    ),
    "DisabledRepoError": (InputError, "the hub has disabled the repository", "see its page on the hub"),
    "RepositoryNotFoundError": (
        InputError,
        "the hub has no such repository, or it is private and not yours to see",
        "check the name, and log in as someone who may see it: `hf auth login`, or HF_TOKEN",
    ),
    "RevisionNotFoundError": (
        InputError,
        "the repository has no such branch, tag or commit",
        "see the branches and tags on its page",
    ),
    "EntryNotFoundError": (InputError, "the repository has no such file", "check the name and the revision"),
    "FileMetadataError": (
        ResourceError,
        "what answers does not speak as a hub does",
        "check HF_ENDPOINT, the proxy and the firewall",
    ),
    "JSONDecodeError": (
        ResourceError,
        "what answers does not speak as a hub does",
        "check HF_ENDPOINT, the proxy and the firewall",
    ),
    "XetAuthenticationError": (ResourceError, "the hub's file store refused the login it had given", AGAIN),
    "XetObjectNotFoundError": (
        ResourceError,
        "the hub's file store does not find a file that the hub lists",
        "run the same command again later; HF_HUB_DISABLE_XET=1 takes another way",
    ),
}
"""By the name of an exception or of a class it derives from, the most special first.

By name, because the library has no such module as all of them could be imported from without loading much else.
"""

BY_STATUS: dict[int, Row] = {
    400: (InputError, "the hub refused the request", "see its answer above"),
    401: (UsageError, "the hub does not accept this login", f"{LOGIN}; a token may have expired"),
    402: (
        ResourceError,
        "the hub wants to be paid for this",
        "see the account's storage and plan on the hub",
    ),
    403: (
        UsageError,
        "this login may not do that",
        "use a token with the right to write, of a member of the organisation: `hf auth login`",
    ),
    404: (InputError, "the hub has no such thing", "check the name and the revision"),
    409: (UsageError, "it stands on the hub already, or someone else is writing there", AGAIN),
    412: (UsageError, "someone else has written to the repository meanwhile", AGAIN),
    413: (ResourceError, "the hub finds the upload too large", "see the limits of the account on the hub"),
    416: (ResourceError, "a file is shorter than the hub says", AGAIN),
    429: (ResourceError, "too many requests: the hub asks to wait", AGAIN),
    507: (ResourceError, "the storage on the hub is full", "free space there, or see the account's plan"),
}

_XET = re.compile(r"\b(?:CAS|xet|reqwest|data processing error)\b", re.IGNORECASE)
"""In the texts of what hf_xet raises: plain RuntimeErrors, told from others by nothing else."""
_STORAGE = re.compile(r"storage|quota|usage limit|limit reached", re.IGNORECASE)
_FULL: Row = (
    ResourceError,
    "the storage on the hub is full",
    "delete what is no longer needed there, or see the account's plan; then run the same command again",
)
_DOWN: Row = (ResourceError, "the hub has trouble of its own", AGAIN)
_UNREACHABLE: Row = (
    ResourceError,
    "the hub cannot be reached",
    "check the network, then run the same command again",
)
_TIMEOUT: Row = (
    ResourceError,
    "the hub does not answer in time",
    "check the network, then run the same command again",
)
_BROKEN: Row = (ResourceError, "the connection to the hub broke", AGAIN)
_REFUSED: Row = (ResourceError, "the hub gave an answer that cannot be used", AGAIN)


@contextmanager
def hub_errors(where: object) -> Iterator[None]:
    """Turn what huggingface_hub raises inside the block into one clear error about `where`, a repository.

    Raises
    ------
    InputError
        No such repository, revision or file, or a gated or disabled one; not a hub id.
    UsageError
        Not logged in, a login that is not accepted or lacks the right; written to by someone else meanwhile.
    ResourceError
        No network, offline mode, limits of requests or storage, trouble on the hub's side.
    """
    try:
        yield
    except IwsltpackError:
        raise
    except Exception as error:
        told = explain(error, where)
        if told is None:
            raise
        # The library's own text may quote the login: a traceback of ours does not carry it on.
        raise told from None


def explain(error: BaseException, where: object) -> IwsltpackError | None:
    """Return our error for what huggingface_hub raised, or None where the hub has no part in it."""
    for cause in _causes(error):
        status = status_of(cause)
        row = _by_name(cause) or (_by_status(cause, status) if status is not None else _by_transport(cause))
        if row is not None:
            kind, what, fix = row
            wait = wait_s(cause)
            if status == 429 and wait:
                fix = f"wait {wait:.0f} s, then {fix}"
            return kind(what, where=where, got=_text(cause, status), fix=fix)
    if isinstance(error, ValueError) and "LFS batch" in str(error):
        row = _FULL if _STORAGE.search(str(error)) else _REFUSED
        return row[0](row[1], where=where, got=shortened(str(error)), fix=row[2])
    return None


def is_transient(error: BaseException) -> bool:
    """Tell whether the same request may succeed if it is made again soon.

    A hub that cannot be reached at all does not count: then the sooner that is said the better.
    """
    for cause in _causes(error):
        if (status := status_of(cause)) is not None:
            return status in TRANSIENT
        if _by_name(cause) is not None:
            return False
        if (row := _by_transport(cause)) is not None:
            return row not in (_UNREACHABLE, _NO_TOKEN)
    return False


def wait_s(error: BaseException) -> float | None:
    """Return the seconds the hub asks to be left alone, where it does."""
    for cause in _causes(error):
        headers = getattr(getattr(cause, "response", None), "headers", None)
        if headers is not None:
            return asked_pause(headers)
    return None


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of an exception that carries an answer."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def shortened(text: str) -> str:
    """Return a foreign text as one line that may be printed: no token, no signature, no end without a beginning."""
    return without_secrets(" ".join(text.split()))[:LONGEST_TEXT]


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _by_name(error: BaseException) -> Row | None:
    # "Not found locally" says only that the hub was not reached: why is in its cause.
    names = [base.__name__ for base in type(error).__mro__]
    if "LocalEntryNotFoundError" in names:
        return None
    return next((BY_NAME[name] for name in names if name in BY_NAME), None)


def _by_status(error: BaseException, status: int) -> Row:
    if status in (402, 403, 413) and _STORAGE.search(_words(error)):
        return _FULL
    if row := BY_STATUS.get(status):
        return row
    return _DOWN if status >= 500 else _REFUSED


def _by_transport(error: BaseException) -> Row | None:
    """Judge the HTTP library's exceptions by name: it was httpx once, is httpx2 now, and is not ours to import."""
    names = {base.__name__ for base in type(error).__mro__}
    if type(error) is RuntimeError and _XET.search(str(error)):
        return _BROKEN
    if names & {"TimeoutError", "ConnectionError"}:
        return _TIMEOUT if "TimeoutError" in names else _BROKEN
    if "LocalProtocolError" in names and "header" in str(error):
        return _NO_TOKEN
    if "RequestError" not in names:
        if "LocalEntryNotFoundError" in names and error.__cause__ is None and error.__context__ is None:
            return _UNREACHABLE
        return None
    if names & {"ConnectError", "ConnectTimeout", "ProxyError", "UnsupportedProtocol"}:
        return _UNREACHABLE
    return _TIMEOUT if "TimeoutException" in names else _BROKEN


def _words(error: BaseException) -> str:
    return str(getattr(error, "server_message", None) or "")


def _text(error: BaseException, status: int | None) -> str | None:
    """Say what was found: the hub's own words, or else the kind of exception; never its text as it stands."""
    words: Any = _words(error)
    if status is not None:
        return shortened(f"HTTP {status} {words}".strip())
    if "HFValidationError" in {base.__name__ for base in type(error).__mro__}:
        return shortened(str(error).splitlines()[0]) if str(error) else None
    if _by_name(error) is not None or _by_transport(error) is None:
        return None
    return shortened(f"{type(error).__name__}: {error}")
