"""Work shared out to threads: the first error ends the rest."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Executor, wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def for_each(
    pool: Executor | None,
    work: Callable[[T], R],
    items: Iterable[T],
    stop: threading.Event | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> list[R]:
    """Return what `work` makes of every item, in their order; without a pool this thread calls it.

    This thread calls `meanwhile` once all is handed out. The first error sets `stop`, and is raised once nothing that
    was handed out is at work any more.
    """
    if pool is None:
        meanwhile()
        return [work(item) for item in items]
    futures = [pool.submit(work, item) for item in items]
    try:
        meanwhile()
        finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
        # In order: of several errors, that of the item handed out first.
        return [future.result() for future in futures if future in finished]
    except BaseException:
        if stop is not None:
            stop.set()
        wait([future for future in futures if not future.cancel()])
        raise
