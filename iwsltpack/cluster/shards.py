"""Work cut into shards for processes that never speak to each other, as in an array of jobs."""

import heapq
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from iwsltpack.errors import UsageError

MOST_SHARDS = 100_000


@dataclass(frozen=True, order=True)
class Shard:
    """One of `count` shards; `index` is counted from 1."""

    count: int
    index: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count <= MOST_SHARDS:
            raise UsageError(
                f"there is no shard {self}", expected=f"I/N with 1 <= I <= N <= {MOST_SHARDS}, say 2/4"
            )

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``I/N``; anything else is a `UsageError`."""
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
        if found is None:
            raise UsageError(f"not a shard: {text!r}", expected="I/N, counted from 1, say 2/4")
        return cls(index=int(found[1]), count=int(found[2]))


def check_sharing(shard: Shard | None, cluster: str | None) -> None:
    """Refuse to work as one of several shards and on a cluster at once."""
    if shard is not None and cluster is not None:
        raise UsageError(
            "--shard and --dask do not go together",
            fix="--dask where a scheduler can be run, --shard for arrays of jobs that know nothing of each other",
        )


def read_sharing(shard: str | None, cluster: str | None) -> Shard | None:
    """Return the shard asked for; refuse options that exclude each other, and addresses that cannot be."""
    from iwsltpack.cluster.connection import check_address

    share = None if shard is None else Shard.parse(shard)
    check_sharing(share, cluster)
    if cluster is not None:
        check_address(cluster)
    return share


def deal(sizes: Mapping[str, int], count: int) -> list[list[str]]:
    """Deal names to `count` shards so that all weigh about as much; the same for the same sizes, in any order.

    The largest first, always to the lightest shard: at most 4/3 of the best (Graham 1969).

    >>> deal({"a": 5, "b": 4, "c": 3, "d": 2}, 2)
    [['a', 'd'], ['b', 'c']]
    """
    loads = [(0, shard) for shard in range(count)]
    dealt: list[list[str]] = [[] for _ in range(count)]
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        load, shard = heapq.heappop(loads)
        dealt[shard].append(name)
        heapq.heappush(loads, (load + sizes[name], shard))
    return dealt
