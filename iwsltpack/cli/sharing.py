"""``--shard`` and ``--dask``, wherever work can be shared out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iwsltpack.errors import UsageError

if TYPE_CHECKING:
    from iwsltpack.cluster.shards import Shard


def check_sharing(shard: str | None, dask: str | None) -> Shard | None:
    """Return the shard asked for; refuse options that exclude each other, and addresses that cannot be, before
    anything is read."""
    from iwsltpack.cluster.connection import check_address
    from iwsltpack.cluster.shards import Shard

    if shard is not None and dask is not None:
        raise UsageError(
            "--shard and --dask do not go together",
            fix="--dask where a scheduler can be run, --shard for arrays of jobs that know nothing of each other",
        )
    if dask is not None:
        check_address(dask)
    return None if shard is None else Shard.parse(shard)
