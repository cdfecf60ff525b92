"""What goes wrong on the way from a store, told alike whichever library spoke, and how long to go on trying.

The one retry policy of the package is here: `persist` and the figures it goes by. `pull`, `push`, `build` of a
checkpoint on the hub, and artifacts read in place all use it.
"""

import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Event, Thread
from typing import Literal, NamedTuple, TypeVar

from iwsltpack.errors import ArtifactError, InputError, IwsltpackError, ResourceError, UsageError
from iwsltpack.remote.address import without_secrets
from iwsltpack.system import fileio

Kind = Literal["missing", "denied", "unreachable", "offline", "transient", "silent", "damaged", "refused"]
T = TypeVar("T")

TRIES = {"transient": 5, "unreachable": 5, "silent": 2, "damaged": 3}
"""How often a request is made, by what went wrong last; once for everything else."""
FIRST_PAUSE_S = 0.5
"""Doubled after each try."""
PATIENCE_S = 330.0
"""Seconds that one request waits between its tries, all together.

The hub counts requests in windows of five minutes and says when the next begins.
"""
CONNECT_TIMEOUT_S = 8.0
READ_TIMEOUT_S = 20.0
"""Seconds without a byte, or with fewer than `SLOWEST` a second, before a transfer counts as broken."""
SLOWEST = 1000.0
"""Bytes a second. With less a person waits for days, and a store that means ill can make it so little."""
COMMIT_TIMEOUT_S = 120.0
"""The same of what a push asks: a commit of many files takes the hub a while."""
LONGEST_TEXT = 300
"""Characters of a server's own words that are repeated."""


class OfflineError(ResourceError):
    """What is needed would have to be fetched, and HF_HUB_OFFLINE forbids it."""


class FailureRow(NamedTuple):
    """What a person is told of one kind of trouble, and whether another try makes sense; see ``failures.toml``."""

    error: type[IwsltpackError]
    what: str
    fix: str | None = None
    kind: Kind = "refused"


def _read_rows() -> tuple[dict[str, str], dict[str, dict[str, FailureRow]]]:
    tables = fileio.read_toml(Path(__file__).with_name("failures.toml"))
    steps = tables.pop("steps")
    classes = {
        kind.__name__: kind for kind in (ArtifactError, InputError, OfflineError, ResourceError, UsageError)
    }
    for rows in tables.values():
        for name, row in rows.items():
            fix = row["fix"].format(**steps) if "fix" in row else None
            rows[name] = FailureRow(**row | {"error": classes[row["error"]], "fix": fix})
    return steps, tables


STEPS, ROWS = _read_rows()
"""What to do, where several rows say so; and the rows by table and name."""


class Failure(Exception):
    """One request that failed. It stays inside this room: `as_error` makes of it what a caller sees.

    Of its kinds, ``unreachable`` says that no server was spoken to, ``transient`` that another try is worth it,
    ``silent`` the same after a long wait for nothing, ``damaged`` that it came and is not what the manifest promised,
    ``refused`` anything else a server said. What was found, `got`, is for a person; passwords, signatures and tokens
    are taken out of it here. `retry_after` is how many seconds the server asks to be left alone, `row` what a person is
    told where more is known than the kind.
    """

    def __init__(
        self,
        kind: Kind,
        got: str,
        *,
        expected: str | None = None,
        retry_after: float | None = None,
        row: FailureRow | None = None,
    ) -> None:
        self.kind, self.expected, self.retry_after = kind, expected, retry_after
        self.row = row or ROWS["store"][kind]
        self.got = shortened(got)
        self.tried = 1
        super().__init__(self.got)


def shortened(text: str) -> str:
    """Return a foreign text as one line that may be printed: no token, no signature, no end without a beginning."""
    return without_secrets(" ".join(text.split()))[:LONGEST_TEXT]


def of_status(status: int, headers: Mapping[str, str] | None = None, reason: str = "") -> Failure:
    """Return what an HTTP status of 400 and above means."""
    return Failure(
        kind_of_status(status), f"HTTP {status} {reason}".strip(), retry_after=asked_pause(headers or {})
    )


def kind_of_status(status: int) -> Kind:
    """Return which kind of trouble an HTTP status of 400 and above stands for."""
    if status in (404, 410):
        return "missing"
    if status in (401, 403, 407, 451):
        return "denied"
    return "transient" if status in (408, 425, 429) or status >= 500 else "refused"


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


def receive(blocks: Iterable[bytes], into: Path, limit: int) -> None:
    """Write what comes to `into`; more than `limit` bytes are a `Failure`, and so is a trickle."""
    received, counted, since = 0, 0, time.monotonic()
    # What breaks on the network is no OSError here: the libraries' errors are of classes of their own.
    with fileio.disk_errors(into), into.open("wb") as stream:
        for block in blocks:
            received += len(block)
            if received > limit:
                raise Failure("damaged", f"more than {limit} bytes", expected=f"at most {limit} bytes")
            stream.write(block)
            if (seconds := time.monotonic() - since) > READ_TIMEOUT_S:
                if received - counted < SLOWEST * seconds:
                    raise Failure("silent", f"{received - counted} bytes in {seconds:.0f} s")
                counted, since = received, time.monotonic()


def answered(ask: Callable[[], T], leave: Callable[[T], object]) -> T:
    """Return what `ask` returns, if a store answers in time; if not, a `Failure` of kind ``silent`` is raised.

    Headers that come one by one end no library's wait, so `ask`, which connects, sends a request and reads the head of
    the answer, runs in a thread of its own. `leave` is called with an answer that comes when nobody waits any more.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            answer = ask()
        except BaseException as error:  # noqa: BLE001  # told where it is waited for
            if done.set_running_or_notify_cancel():
                done.set_exception(error)
            return
        if done.set_running_or_notify_cancel():
            done.set_result(answer)
        else:
            leave(answer)

    Thread(target=run, name="iwsltpack-ask", daemon=True).start()
    seconds = CONNECT_TIMEOUT_S + READ_TIMEOUT_S
    wait([done], seconds)
    if done.cancel():
        raise Failure("silent", f"no answer after {seconds:.0f} s")
    return done.result()


def persist(
    action: Callable[[], T],
    *,
    patient: bool,
    stop: Event | None = None,
    tell: Callable[[float], None] | None = None,
) -> T:
    """Run `action`, one request, until it succeeds, or its `Failure` is one with which there is no use in going on.

    Only if `patient` is a server waited for that cannot be reached. At the first contact it is not: then the address is
    wrong or the network is down, and the sooner that is said the better. Once `stop` is set there is no further try;
    `tell` is told the seconds of each pause before it begins.
    """
    tried, waited, halt = 0, 0.0, stop or Event()
    while True:
        tried += 1
        try:
            return action()
        except Failure as failure:
            failure.tried = tried
            tries = 1 if failure.kind == "unreachable" and not patient else TRIES.get(failure.kind, 1)
            pause = failure.retry_after or FIRST_PAUSE_S * 2 ** (tried - 1) * random.uniform(0.75, 1.25)  # noqa: S311
            waited += pause
            # A server that wants more time than there is gets none: its figure is told at once.
            if tried >= tries or waited > PATIENCE_S or halt.is_set():
                raise
            if tell is not None:
                tell(pause)
            if halt.wait(pause):
                raise


def as_error(failure: Failure, where: object, *, login: str | None = None) -> IwsltpackError:
    """Return the error a caller sees of a file at `where`, an address that may be printed.

    `login` says what to do where the store lets nobody in.
    """
    fix = failure.row.fix or login
    if failure.kind == "transient" and failure.retry_after:
        fix = f"wait {failure.retry_after:.0f} s, then {fix}"
    got = f"{failure.got}, {failure.tried} times" if failure.tried > 1 else failure.got
    return failure.row.error(
        failure.row.what, where=where, expected=failure.expected, got=got or None, fix=fix
    )
