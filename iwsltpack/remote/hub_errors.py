"""What huggingface_hub's exceptions mean to a person: one table, ``failures.toml``, whoever asks the hub.

The library wraps one exception in another, and its texts hold signed addresses; so a chain of causes is searched for
the first that is known here, and nothing of a text is repeated before `without_secrets` went over it.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from iwsltpack.errors import IwsltpackError
from iwsltpack.remote.failure import ROWS, Failure, FailureRow, as_error, asked_pause, kind_of_status, persist

T = TypeVar("T")
BY_NAME = ROWS["exception"]
HUB = ROWS["hub"]

_XET = re.compile(r"\b(?:CAS|xet|reqwest|data processing error)\b", re.IGNORECASE)
"""In the texts of what hf_xet raises: plain RuntimeErrors, told from others by nothing else."""
_STORAGE = re.compile(r"storage|quota|usage limit|limit reached", re.IGNORECASE)


@contextmanager
def hub_errors(where: object) -> Iterator[None]:
    """Turn what huggingface_hub raises inside the block into one clear error about `where`, a repository.

    An `InputError` says that there is no such repository, revision or file, or a gated or disabled one, or that it is
    no hub id; a `UsageError`, that the login is missing, not accepted or lacks the right, or that someone else wrote
    meanwhile; a `ResourceError` is about the network, offline mode, limits, or trouble on the hub's side.
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
    """Return what the hub answers, asked again as long as that makes sense; see `persist` and `hub_errors`."""
    with hub_errors(where):
        return persist(hub_failures()(action), patient=patient, tell=tell)


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
        row = ROWS["status"]["507"] if _STORAGE.search(str(error)) else HUB["refused"]
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
        return ROWS["status"]["507"]
    other = HUB["down"] if kind_of_status(status) == "transient" else HUB["refused"]
    return ROWS["status"].get(str(status), other)


def _by_transport(error: BaseException) -> FailureRow | None:
    """Judge the HTTP library's exceptions by name: it was httpx once, is httpx2 now, and is not ours to import."""
    names = set(_names(error))
    if type(error) is RuntimeError and _XET.search(str(error)):
        return HUB["broken"]
    if names & {"TimeoutError", "ConnectionError"}:
        return HUB["silent"] if "TimeoutError" in names else HUB["broken"]
    if "LocalProtocolError" in names and "header" in str(error):
        return BY_NAME["UnicodeEncodeError"]
    if names & {"ConnectError", "ConnectTimeout", "ProxyError", "UnsupportedProtocol", "InvalidURL"}:
        return HUB["unreachable"]
    if "RequestError" not in names:
        if "LocalEntryNotFoundError" in names and error.__cause__ is None and error.__context__ is None:
            return HUB["unreachable"]
        return None
    return HUB["silent"] if "TimeoutException" in names else HUB["broken"]


def _words(error: BaseException) -> str:
    return str(getattr(error, "server_message", None) or "")


def _text(error: BaseException, status: int | None) -> str:
    """Say what was found: the hub's own words, or else the kind of exception; never its text as it stands."""
    if status is not None:
        return f"HTTP {status} {_words(error)}".strip()
    if "HFValidationError" in _names(error):
        return str(error).partition("\n")[0]
    return "" if _by_name(error) is not None else f"{type(error).__name__}: {error}"
