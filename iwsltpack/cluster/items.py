"""Items run on workers: each once in the outcome, whatever dies, and the ones that kill are named."""

import itertools
import queue
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from iwsltpack.cluster import connection, versions, worker
from iwsltpack.errors import IwsltpackError, ResourceError
from iwsltpack.system.progress import SILENT, Reporter

if TYPE_CHECKING:
    from distributed import Client

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 1
"""Items handed to the cluster beyond one a thread, for each worker, so that none waits for the client.

More would hide a slow network, fewer balance the end better.
"""
HOPELESS = 10
"""Items that killed their workers, with none finished, after which it is not the items."""
WAKE_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Lost(Generic[Item]):
    """An item that killed its worker whenever it was tried, the last times with nothing else at work.

    `reason` says so in one clause for a person.
    """

    item: Item
    reason: str


def run_items(
    client: "Client",
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    key: Callable[[Item], str],
    done: Callable[[Item, Result], None],
    packages: tuple[str, ...] = (),
    progress: Reporter = SILENT,
) -> list[Lost[Item]]:
    """Run `function` on every item on the cluster's workers; hand each result to `done` as it comes.

    Plain tasks, a few more in flight than there are threads: memory here stays flat however many items there are.
    An item whose worker dies is run again on another, so `function` may run more than once for an item, even at
    the same time; `done` is called once. An item that was on too many workers that died, perhaps through
    another item's fault, is tried again with nothing else at work; only what kills its worker then is lost.

    Parameters
    ----------
    function
        Importable by the workers under its name, or a `functools.partial` of such; item and result travel.
    items
        Any number, in the order they are to be begun; drawn as they are needed. The lost ones are returned in it.
    key
        Name of an item, for people.
    done
        Called here, in the calling thread, in order of finishing; what it raises ends the run.
    packages
        As told to `connect`: workers that join later are held to the same versions.
    progress
        Shows the item that was last finished; stages and amounts are the caller's.

    Raises
    ------
    IwsltpackError
        What `function` raised, as it was raised on the worker. Everything else is cancelled.
    ResourceError
        No worker for too long; the scheduler is gone; workers die whatever they are given.
    """
    run = _Run(client, function, key, done, packages, progress)
    try:
        return run.all(iter(items))
    finally:
        run.cancel()


@dataclass(frozen=True)
class _Raised:
    """An error of ours on its way from a worker: dask turns what cannot be pickled, or is long, into another one."""

    kind: type[IwsltpackError]
    arguments: tuple[Any, ...]
    state: dict[str, Any]

    def rebuilt(self) -> IwsltpackError:
        error = self.kind.__new__(self.kind, *self.arguments)
        error.__dict__.update(self.state)
        return error


def _attempt(
    function: Callable[[Item], Result], expected: Mapping[str, str], item: Item
) -> tuple[Result | None, _Raised | None]:
    """Run on a worker; return the result, or the error of ours."""
    try:
        names = tuple(name for name in expected if name not in (versions.PYTHON, versions.OURS))
        versions.check(versions.installed(names), expected, worker.address())
        return function(item), None
    except IwsltpackError as error:
        return None, _Raised(type(error), error.args, dict(vars(error)))


@dataclass
class _Run(Generic[Item, Result]):
    """One call of `run_items`."""

    client: Any  # its annotations are incomplete
    function: Callable[[Item], Result]
    key: Callable[[Item], str]
    done: Callable[[Item, Result], None]
    packages: tuple[str, ...]
    progress: Reporter

    def __post_init__(self) -> None:
        self._expected = versions.installed((*versions.PACKAGES, *self.packages))
        self._token = uuid.uuid4().hex
        self._address = self.client.scheduler_info(n_workers=0)["address"]
        self._flying: dict[str, tuple[int, Item, Any]] = {}
        self._landed: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._finished = 0
        self._room, self._looked, self._last_worker = 1, 0.0, time.monotonic()

    def all(self, items: Iterator[Item]) -> list[Lost[Item]]:
        """Run every item; return the lost ones."""
        numbered = enumerate(items)
        suspects: list[tuple[int, Item, str]] = []
        lost: list[tuple[int, Lost[Item]]] = []
        more = True
        while more or self._flying or suspects:
            if more and (self._finished or len(suspects) < HOPELESS):
                more = self._fill(numbered)
            if self._flying:
                suspects += self._collect()
            elif suspects:
                number, item, _ = suspects.pop(0)
                self._submit(number, item)
                while self._flying:
                    lost += [(number, Lost(item=item, reason=reason)) for *_, reason in self._collect()]
                if len(lost) >= HOPELESS and not self._finished:
                    raise ResourceError(
                        "workers die whatever they are given",
                        got=f"{self.key(lost[0][1].item)}: {lost[0][1].reason}; and {len(lost) - 1} more",
                        fix="see the workers' logs; most often they are out of memory",
                    )
        return [entry for _, entry in sorted(lost, key=lambda pair: pair[0])]

    def cancel(self) -> None:
        """Take back what is still in flight; what a thread is at work on runs to its end unheard."""
        if self._flying and self.client.status == "running":
            self.client.cancel([future for *_, future in self._flying.values()], force=True)
        self._flying.clear()

    def _fill(self, numbered: Iterator[tuple[int, Item]]) -> bool:
        """Hand out items while there is room; tell whether there may be more."""
        self._look_around()
        for number, item in itertools.islice(numbered, max(0, self._room - len(self._flying))):
            self._submit(number, item)
        return len(self._flying) >= self._room

    def _submit(self, number: int, item: Item) -> None:
        name = f"iwsltpack-{self._token}-{number}-{uuid.uuid4().hex[:8]}"
        future = self.client.submit(_attempt, self.function, self._expected, item, key=name, pure=False)
        self._flying[name] = (number, item, future)
        future.add_done_callback(self._landed.put)

    def _look_around(self) -> None:
        """Learn, at most once a second, how many threads there are; complain when there have been none for long."""
        now = time.monotonic()
        if now - self._looked < WAKE_S:
            return
        self._looked = now
        if self.client.status != "running":
            raise self._scheduler_gone()
        found = self.client.scheduler_info(n_workers=0)
        if found["n_workers"]:
            self._last_worker = now
        elif now - self._last_worker > connection.PATIENCE_S:
            raise connection.no_workers(self._address)
        self._room = max(1, found["total_threads"] + AHEAD * found["n_workers"])

    def _collect(self) -> list[tuple[int, Item, str]]:
        """Wait for one item, a second at most; return it if its workers died, else give its result away."""
        from distributed import KilledWorker

        try:
            future = self._landed.get(timeout=WAKE_S)
        except queue.Empty:
            self._look_around()
            return []
        if future.key not in self._flying:
            return []
        number, item, _ = self._flying[future.key]
        if future.status == "error":
            return self._failed(number, item, future)
        if future.status == "cancelled":
            raise self._scheduler_gone()
        try:
            result, raised = future.result(timeout=WAKE_S if future.status == "finished" else 0)
        except TimeoutError:
            # The worker died with the result in its hands: the scheduler runs the item again.
            future.add_done_callback(self._landed.put)
            self._look_around()
            return []
        except KilledWorker:  # so it did, and those after it died, too, while the result was asked for
            return self._failed(number, item, future)
        del self._flying[future.key]
        future.release()
        if raised is not None:
            raise raised.rebuilt()
        self.done(item, result)
        self._finished += 1
        self.progress.note(self.key(item))
        return []

    def _failed(self, number: int, item: Item, future: Any) -> list[tuple[int, Item, str]]:
        from distributed import KilledWorker

        error = future.exception()
        del self._flying[future.key]
        future.release()
        if not isinstance(error, KilledWorker):
            raise error
        deaths = error.allowed_failures + 1
        self.progress.note(f"{self.key(item)}: {deaths} workers died with it")
        last = error.last_worker.address
        return [(number, item, f"killed its worker {deaths} times when tried alone, lastly {last}")]

    def _scheduler_gone(self) -> ResourceError:
        return ResourceError(
            "the dask scheduler is gone",
            where=self._address,
            fix="start the cluster and run the same command again; it goes on where it stopped",
        )
