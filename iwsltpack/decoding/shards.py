"""One run decoded by processes that never speak to each other, as in an array of jobs: shares, folders, the plan.

In the run's folder, ``shards/plan.json`` holds what all shards share, and ``shards/I-of-N/journal.jsonl`` what shard I
has decoded. A share depends on the plan and on N alone.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from iwsltpack.cluster.shards import Shard, deal
from iwsltpack.decoding.batch_plan import Batch, binding
from iwsltpack.decoding.journal import check_same
from iwsltpack.documents.decoding_plan import DecodingPlan
from iwsltpack.documents.names import JOURNAL_NAME, PLAN_NAME, SHARDS_DIR
from iwsltpack.system import fileio


def shard_journal(folder: Path, shard: Shard) -> Path:
    """Return the path of a shard's journal in a run's folder."""
    return folder / SHARDS_DIR / f"{shard.index}-of-{shard.count}" / JOURNAL_NAME


def shard_journals(folder: Path) -> list[tuple[Shard, Path]]:
    """Return every shard whose journal is there, in order, with its path."""
    number = "[1-9][0-9]{0,5}"
    return sorted(
        (Shard(index=int(name[1]), count=int(name[2])), path)
        for path in (folder / SHARDS_DIR).glob(f"*-of-*/{JOURNAL_NAME}")
        if (name := re.fullmatch(f"({number})-of-({number})", path.parent.name))
    )


def shares(batches: list[Batch], count: int, digest: str) -> list[list[Batch]]:
    """Deal batches to `count` shards so that each hears about as many seconds; every share in the plan's order.

    `digest`, the plan's, says which shard is dealt first: a run of many small test sets would else give all its first
    batches to the first shard.
    """
    milliseconds = {
        f"{place:09}": round(1000 * sum(piece.duration for piece in batch))
        for place, batch in enumerate(batches)
    }
    dealt = deal(milliseconds, count)
    first = int(digest[:15], 16) % count
    return [
        [batches[place] for place in sorted(map(int, dealt[(index - first) % count]))]
        for index in range(count)
    ]


def keep_plan(folder: Path, plan: DecodingPlan, bound: dict[str, Any]) -> None:
    """Write the plan for `merge`, or find it there already; another one is a `UsageError` that names the difference."""
    path = folder / SHARDS_DIR / PLAN_NAME
    fileio.create_bytes(path, fileio.canonical_json(plan.to_json()))
    check_same(binding(DecodingPlan.read(path)), bound, folder)
