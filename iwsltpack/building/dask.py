"""Tensors packed by the workers of a cluster; here they are only put in their places and noted down."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from iwsltpack.building.partial import STAGING
from iwsltpack.building.staging import Bundle, Staged, adopt, bundled, check_source, pack_bundle
from iwsltpack.cluster import worker
from iwsltpack.cluster.connection import connect
from iwsltpack.cluster.items import run_items
from iwsltpack.cluster.shared import check_shared
from iwsltpack.errors import IwsltpackError, ResourceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from iwsltpack.building.partial import SourceFile, Written
    from iwsltpack.building.plan import TensorPlan
    from iwsltpack.codecs.chain import Coding
    from iwsltpack.system.progress import Reporter

NAMED = 5
"""Lost tensors named in an error."""


@dataclass(frozen=True)
class _Order:
    """What every worker is told."""

    workshop: str
    coding: Coding
    source: tuple[SourceFile, ...]


def pack_on_cluster(
    address: str,
    workshop: Path,
    plans: list[TensorPlan],
    coding: Coding,
    source: tuple[SourceFile, ...],
    note: Callable[[Written], None],
    progress: Reporter,
) -> None:
    """Pack tensors on a cluster.

    Parameters
    ----------
    address
        See `connect`.
    workshop
        In a folder that all workers see.
    plans
        Of the tensors to pack.
    coding, source
        How, and from what.
    note
        Called here for every tensor once it is packed, checked and in its place.
    progress
        Advanced by source bytes.

    Raises
    ------
    InputError
        A worker does not see the workshop or the checkpoint, or sees another; or as `write_tensor`. Errors of a
        worker name it.
    ResourceError
        A tensor killed every worker it was given; everything else is packed. Or see `run_items`.
    """
    workshop = workshop.resolve()
    plans = [plan.with_whole_paths() for plan in plans]
    order = _Order(str(workshop), coding, source)

    def take(bundle: Bundle, staged: Staged) -> None:
        adopt(staged, workshop)
        for written in staged.written:
            note(written)
        progress.advance(bundle.nbytes)

    (workshop / STAGING).mkdir(exist_ok=True)
    with connect(address) as client:
        check_shared(client, workshop)
        lost = run_items(client, partial(_pack, order), bundled(plans), key=str, done=take, progress=progress)
    if lost:
        names = [name for entry in lost for name in entry.item.names]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        raise ResourceError(
            f"{len(names)} of {len(plans)} tensors could not be packed: whatever worker takes them dies",
            where=", ".join(names[:NAMED]) + more,
            got=lost[0].reason,
            fix="see the workers' memory and logs, then run the same command again: all others are packed",
        )


def _pack(order: _Order, bundle: Bundle) -> Staged:
    """Run on a worker."""
    try:
        check_source(bundle, order.source)
        return pack_bundle(bundle, Path(order.workshop), order.coding)
    except IwsltpackError as error:
        error.where = f"{error.where or bundle} (on worker {worker.address()})"
        raise
