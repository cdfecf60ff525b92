"""What huggingface_hub's exceptions mean to a person: one table, whoever asks the hub.

The library wraps one exception in another, and its texts hold signed addresses; so a chain of causes is searched for
the first that is known here, and nothing of a text is repeated before `without_secrets` went over it.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from iwsltpack.errors import InputError, IwsltpackError, ResourceError, UsageError
from iwsltpack.remote.failure import (
    AGAIN,
    Failure,
    FailureRow,
    OfflineError,
    as_error,
    asked_pause,
    kind_of_status,
    persist,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
LOGIN = "log in with `hf auth login`, or set HF_TOKEN"

NO_HUB = FailureRow(
    ResourceError,
    "what answers does not speak as a hub does",
    "check HF_ENDPOINT, the proxy and the firewall",
)
_NO_TOKEN = FailureRow(UsageError, "the login is no token: it holds characters that tokens have not", LOGIN)

BY_NAME: dict[str, FailureRow] = {
    "OfflineModeIsEnabled": FailureRow(
        OfflineError,
        "the hub may not be asked: HF_HUB_OFFLINE is set",
        "unset HF_HUB_OFFLINE, with a network",
        "offline",
    ),
    "UnicodeEncodeError": _NO_TOKEN,
    "LocalTokenNotFoundError": FailureRow(UsageError, "not logged in to the hub", LOGIN),
    "HFValidationError": FailureRow(InputError, "not a hub id", "write OWNER/NAME"),
    "GatedRepoError": FailureRow(
        InputError,
        "the repository is gated: its owner lets in whom they choose",
        f"ask for access on its page, then {LOGIN}",
    ),
    "DisabledRepoError": FailureRow(
        InputError, "the hub has disabled the repository", "see its page on the hub"
    ),
    "RepositoryNotFoundError": FailureRow(
        InputError,
        "the hub has no such repository, or it is private and not yours to see",
        "check the name, and log in as someone who may see it: `hf auth login`, or HF_TOKEN",
    ),
    "RevisionNotFoundError": FailureRow(
        InputError,
        "the repository has no such branch, tag or commit",
        "see the branches and tags on its page",
    ),
    "EntryNotFoundError": FailureRow(
        InputError, "the repository has no such file", "check the name and the revision", "missing"
    ),
    "FileMetadataError": NO_HUB,
    "JSONDecodeError": NO_HUB,
    "XetAuthenticationError": FailureRow(
        ResourceError, "the hub's file store refused the login it had given", AGAIN
    ),
    "XetObjectNotFoundError": FailureRow(
        ResourceError,
        "the hub's file store does not find a file that the hub lists",
        "run the same command again later; HF_HUB_DISABLE_XET=1 takes another way",
    ),
}
"""By the name of an exception or of a class it derives from, the most special first.

By name, because the library has no such module as all of them could be imported from without loading much else.
"""

BY_STATUS: dict[int, FailureRow] = {
    400: FailureRow(InputError, "the hub refused the request", "see its answer above"),
    401: FailureRow(UsageError, "the hub does not accept this login", f"{LOGIN}; a token may have expired"),
    402: FailureRow(
        ResourceError, "the hub wants to be paid for this", "see the account's storage and plan on the hub"
    ),
    403: FailureRow(
        UsageError,
        "this login may not do that",
        "use a token with the right to do it, of a member of the organisation: `hf auth login`",
    ),
    404: FailureRow(InputError, "the hub has no such thing", "check the name and the revision", "missing"),
    409: FailureRow(UsageError, "it stands on the hub already, or someone else is writing there", AGAIN),
    412: FailureRow(UsageError, "someone else has written to the repository meanwhile", AGAIN),
    413: FailureRow(
        ResourceError, "the hub finds the upload too large", "see the limits of the account on the hub"
    ),
    416: FailureRow(ResourceError, "a file is shorter than the hub says", AGAIN),
    429: FailureRow(ResourceError, "too many requests: the hub asks to wait", AGAIN, "transient"),
    507: FailureRow(
        ResourceError,
        "the storage on the hub is full",
        "delete what is no longer needed there, or see the account's plan; then run the same command again",
    ),
}

_XET = re.compile(r"\b(?:CAS|xet|reqwest|data processing error)\b", re.IGNORECASE)
"""In the texts of what hf_xet raises: plain RuntimeErrors, told from others by nothing else."""
_STORAGE = re.compile(r"storage|quota|usage limit|limit reached", re.IGNORECASE)
_DOWN = FailureRow(ResourceError, "the hub has trouble of its own", AGAIN, "transient")
_UNREACHABLE = FailureRow(
    ResourceError,
    "the hub cannot be reached",
    "check the network and HF_ENDPOINT, then run the same command again",
    "unreachable",
)
_TIMEOUT = FailureRow(
    ResourceError,
    "the hub does not answer in time",
    "check the network, then run the same command again",
    "silent",
)
_BROKEN = FailureRow(ResourceError, "the connection to the hub broke", AGAIN, "transient")
_REFUSED = FailureRow(ResourceError, "the hub gave an answer that cannot be used", AGAIN)


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
        with hub_failures():
            yield
    except Failure as failure:
        # The library's own text may quote the login: a traceback of ours does not carry it on.
        raise as_error(failure, where) from None


@contextmanager
def hub_failures() -> Iterator[None]:
    """Turn what huggingface_hub raises inside the block into the `Failure` that `persist` knows."""
    try:
        yield
    except (IwsltpackError, Failure):
        raise
    except Exception as error:
        if (failure := explain(error)) is None:
            raise
        raise failure from None


def ask_hub(
    action: Callable[[], T],
    where: object,
    *,
    patient: bool = True,
    tell: Callable[[float], None] | None = None,
) -> T:
    """Return what the hub answers, asked again as long as that makes sense; see `persist`.

    Raises
    ------
    InputError, UsageError, ResourceError
        See `hub_errors`.
    """

    def once() -> T:
        with hub_failures():
            return action()

    with hub_errors(where):
        return persist(once, patient=patient, tell=tell)


def explain(error: BaseException) -> Failure | None:
    """Return what an exception of huggingface_hub means, or None where the hub has no part in it."""
    for cause in _causes(error):
        response = getattr(cause, "response", None)
        status = getattr(response, "status_code", None)
        row = _by_name(cause) or (_by_transport(cause) if status is None else _by_status(cause, status))
        if row is not None:
            pause = asked_pause(getattr(response, "headers", {}))
            return Failure(row.kind, _text(cause, status), row=row, retry_after=pause)
    if isinstance(error, ValueError) and "LFS batch" in str(error):
        row = BY_STATUS[507] if _STORAGE.search(str(error)) else _REFUSED
        return Failure(row.kind, str(error), row=row)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _names(error: BaseException) -> list[str]:
    return [base.__name__ for base in type(error).__mro__]


def _by_name(error: BaseException) -> FailureRow | None:
    # "Not found locally" says only that the hub was not reached: why is in its cause.
    if "LocalEntryNotFoundError" in (names := _names(error)):
        return None
    return next((BY_NAME[name] for name in names if name in BY_NAME), None)


def _by_status(error: BaseException, status: int) -> FailureRow:
    if status in (402, 403, 413) and _STORAGE.search(_words(error)):
        return BY_STATUS[507]
    if row := BY_STATUS.get(status):
        return row
    return _DOWN if kind_of_status(status) == "transient" else _REFUSED


def _by_transport(error: BaseException) -> FailureRow | None:
    """Judge the HTTP library's exceptions by name: it was httpx once, is httpx2 now, and is not ours to import."""
    names = set(_names(error))
    if type(error) is RuntimeError and _XET.search(str(error)):
        return _BROKEN
    if names & {"TimeoutError", "ConnectionError"}:
        return _TIMEOUT if "TimeoutError" in names else _BROKEN
    if "LocalProtocolError" in names and "header" in str(error):
        return _NO_TOKEN
    if names & {"ConnectError", "ConnectTimeout", "ProxyError", "UnsupportedProtocol", "InvalidURL"}:
        return _UNREACHABLE
    if "RequestError" not in names:
        if "LocalEntryNotFoundError" in names and error.__cause__ is None and error.__context__ is None:
            return _UNREACHABLE
        return None
    return _TIMEOUT if "TimeoutException" in names else _BROKEN


def _words(error: BaseException) -> str:
    return str(getattr(error, "server_message", None) or "")


def _text(error: BaseException, status: int | None) -> str:
    """Say what was found: the hub's own words, or else the kind of exception; never its text as it stands."""
    if status is not None:
        return f"HTTP {status} {_words(error)}".strip()
    if "HFValidationError" in _names(error):
        return str(error).partition("\n")[0]
    return "" if _by_name(error) is not None else f"{type(error).__name__}: {error}"
