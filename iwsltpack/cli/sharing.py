"""``--shard`` and ``--dask``, wherever work can be shared out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from iwsltpack.cluster.shards import Shard

ShardOption = Annotated[
    str | None,
    typer.Option(
        metavar="I/N", help="Do only the I-th of N shares, for arrays of jobs; join: iwsltpack merge."
    ),
]
DaskOption = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Work on a cluster: local (a worker for each core or GPU), local:N, tcp://HOST:PORT, "
        "or a scheduler file.",
    ),
]


def read_sharing(shard: str | None, dask: str | None) -> Shard | None:
    """Return the shard asked for; refuse options that exclude each other, and addresses that cannot be, before
    anything is read."""
    from iwsltpack.cluster.connection import check_address
    from iwsltpack.cluster.shards import Shard, check_sharing

    share = None if shard is None else Shard.parse(shard)
    check_sharing(share, dask)
    if dask is not None:
        check_address(dask)
    return share
