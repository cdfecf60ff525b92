"""Which pieces are decoded together. The plan depends on the test set alone, never on what was done already, so a
resumed run searches exactly the batches of an unbroken one and writes the same bytes on any device."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from iwsltpack.system.fileio import canonical_json, sha256_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from iwsltpack.testsets.survey import Piece

Batch = tuple["Piece", ...]
T = TypeVar("T")
R = TypeVar("R")
AHEAD = 2
"""Batches prepared while the model works on another."""


def plan_batches(pieces: Iterable[Piece], batch_size: int, batch_seconds: float) -> list[Batch]:
    """Group pieces of like length, the longest first: what will not fit the device shows at once.

    Parameters
    ----------
    pieces
        In any order.
    batch_size
        Pieces in a batch at most.
    batch_seconds
        Seconds of audio in a batch at most, padding included; a single piece may exceed it.
    """
    batches: list[Batch] = []
    current: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: (-piece.duration, piece.segment, piece.part)):
        longest = current[0].duration if current else piece.duration
        if current and (len(current) >= batch_size or (len(current) + 1) * longest > batch_seconds):
            batches.append(tuple(current))
            current = []
        current.append(piece)
    return [*batches, tuple(current)] if current else batches


def plan_digest(batches: Iterable[Batch]) -> str:
    """Return the SHA-256 of a plan: every piece's place and the batch it is in."""
    rows = [
        [[piece.segment, piece.part, piece.offset, piece.duration] for piece in batch] for batch in batches
    ]
    return sha256_bytes(canonical_json(rows, indent=None))


def work_ahead(items: Iterable[T], prepare: Callable[[T], R]) -> Iterator[tuple[T, R]]:
    """Yield each item with what `prepare` makes of it, preparing the next ones in a thread meanwhile."""
    pending: deque[tuple[T, Future[R]]] = deque()
    source = iter(items)
    pool = ThreadPoolExecutor(1, thread_name_prefix="prepare")
    try:
        while True:
            while len(pending) <= AHEAD and (item := next(source, None)) is not None:
                pending.append((item, pool.submit(prepare, item)))
            if not pending:
                return
            item, future = pending.popleft()
            yield item, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
