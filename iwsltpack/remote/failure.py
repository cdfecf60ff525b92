"""What goes wrong on the way from a store, told alike whichever library spoke, and how long to go on trying."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Event
from typing import TYPE_CHECKING, Literal, TypeVar

from iwsltpack.errors import ArtifactError, InputError, IwsltpackError, ResourceError
from iwsltpack.remote.location import without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Kind = Literal["missing", "denied", "unreachable", "offline", "transient", "damaged", "refused"]
T = TypeVar("T")

TRIES = {"transient": 5, "unreachable": 5, "damaged": 3}
"""How often a file is asked for, by what went wrong last; once for everything else."""
FIRST_PAUSE_S = 0.5
"""Doubled after each try."""
LONGEST_PAUSE_S = 330.0
"""The hub counts requests in windows of five minutes and says when the next begins."""
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
"""Seconds without a byte before a transfer counts as broken."""


class Failure(Exception):
    """One request that failed. It stays inside this room: `as_error` makes of it what a caller sees.

    Parameters
    ----------
    kind
        ``unreachable``: no server was spoken to. ``transient``: worth another try. ``damaged``: it came, and is
        not what the manifest promised. ``refused``: anything else a server said.
    got
        What was found, for a person; passwords, signatures and tokens are taken out of it here.
    expected
        What was needed.
    retry_after
        Seconds the server asks to be left alone.
    """

    def __init__(
        self, kind: Kind, got: str, *, expected: str | None = None, retry_after: float | None = None
    ) -> None:
        self.kind, self.expected, self.retry_after = kind, expected, retry_after
        self.got = without_secrets(" ".join(got.split()))[:300]
        super().__init__(self.got)


class OfflineError(ResourceError):
    """What is needed would have to be fetched, and HF_HUB_OFFLINE forbids it."""


def of_status(status: int, headers: Mapping[str, str] | None = None, reason: str = "") -> Failure:
    """Return what an HTTP status of 400 and above means."""
    if status in (404, 410):
        kind: Kind = "missing"
    elif status in (401, 403, 407, 451):
        kind = "denied"
    elif status in (408, 425, 429) or status >= 500:
        kind = "transient"
    else:
        kind = "refused"
    return Failure(kind, f"HTTP {status} {reason}".strip(), retry_after=asked_pause(headers or {}))


def asked_pause(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait that a server tells, by the header of the standard or by that of the hub."""
    lower = {key.lower(): value for key, value in headers.items()}
    if window := re.search(r"\br=0\s*;\s*t=(\d{1,6})\b", lower.get("ratelimit", "")):
        return float(window[1]) + 1.0
    told = lower.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,6}", told):
        return float(told)
    try:
        return max((parsedate_to_datetime(told) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return None


def persist(action: Callable[[], T], *, patient: bool, stop: Event | None = None) -> T:
    """Run `action` until it succeeds, or fails in a way, or as often, that there is no use in going on.

    Parameters
    ----------
    action
        One request; raises `Failure`.
    patient
        Whether to wait for a server that cannot be reached. Not at the first contact: then the address is wrong or
        the network is down, and the sooner that is said the better.
    stop
        Once set, there is no further try.
    """
    tried, halt = 0, stop or Event()
    while True:
        tried += 1
        try:
            return action()
        except Failure as failure:
            tries = 1 if failure.kind == "unreachable" and not patient else TRIES.get(failure.kind, 1)
            if tried >= tries or halt.is_set():
                raise
            pause = failure.retry_after or FIRST_PAUSE_S * 2 ** (tried - 1) * random.uniform(0.75, 1.25)  # noqa: S311
            if halt.wait(min(pause, LONGEST_PAUSE_S)):
                raise


def as_error(failure: Failure, where: str, *, login: str, manifest: bool = False) -> IwsltpackError:
    """Return the error a caller sees.

    Parameters
    ----------
    failure
        What went wrong in the end.
    where
        Address of the file, as it may be printed.
    login
        What to do where the store lets nobody in.
    manifest
        Whether it was the artifact's manifest that was asked for.
    """
    if failure.kind == "missing" and manifest:
        return ArtifactError("no artifact here", where=where, got=failure.got, fix="check the address")
    kind, what, fix = _TOLD[failure.kind]
    tries = TRIES.get(failure.kind, 1)
    got = f"{failure.got}, {tries} times" if tries > 1 and failure.kind != "unreachable" else failure.got
    return kind(what, where=where, expected=failure.expected, got=got, fix=fix or login)


_TOLD: dict[Kind, tuple[type[IwsltpackError], str, str | None]] = {
    "missing": (
        ArtifactError,
        "a file of the artifact is missing at its source",
        "publish the artifact again",
    ),
    "denied": (InputError, "not allowed to read this", None),
    "unreachable": (ResourceError, "the store cannot be reached", "check the address and the network"),
    "offline": (
        OfflineError,
        "not in the local cache, and the hub may not be asked",
        "unset HF_HUB_OFFLINE once, with a network, to fetch it",
    ),
    "damaged": (
        ArtifactError,
        "a file of the artifact is damaged, at its source or on its way",
        "publish the artifact again",
    ),
    "transient": (
        ResourceError,
        "the store keeps failing",
        "run the same command again later: what was fetched is kept",
    ),
    "refused": (ResourceError, "the store refuses the request", "check the address"),
}
"""Of each kind: the class of the error, what is wrong, and what to do, where that does not depend on the store."""
