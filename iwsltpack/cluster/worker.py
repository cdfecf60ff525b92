"""What runs on a worker: where it is, what it keeps between items."""

import gc
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T")
_kept: dict[str, tuple[str, Any]] = {}
_lock = threading.Lock()


def address() -> str:
    """Return the address of the worker this item runs on; ``this process`` outside of one."""
    from distributed import get_worker

    try:
        return str(get_worker().address)
    except ValueError:
        return "this process"


def keep(slot: str, key: str, make: Callable[[], T]) -> T:
    """Return what `make` returns, made once in this process for as long as `key` stays the same.

    For what is heavy to load and serves many items, such as a model: call it from the function that is given
    to `run_items`. Threads of one worker wait for one another. A slot, such as ``model``, holds one thing: another key,
    a hash of all that decides what `make` makes, drops the former before the new one is made. What `make` raises is
    raised here and nothing is kept.
    """
    with _lock:
        if slot in _kept and _kept[slot][0] == key:
            made: T = _kept[slot][1]
            return made
        _kept.pop(slot, None)
        made = make()
        _kept[slot] = (key, made)
        return made


def release(client: "Client", slot: str) -> None:
    """Drop what every worker keeps in `slot`: a long-lived cluster gets its memory back."""
    client.run(_drop, slot, on_error="ignore")


def _drop(slot: str) -> None:
    if _kept.pop(slot, None) is not None:
        gc.collect()
