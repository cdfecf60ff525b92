"""Tensors packed by the workers of a cluster; here they are only put in their places and noted down."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from iwsltpack.building.partial import Digests, SourceFile, digests
from iwsltpack.building.plan import TensorPlan
from iwsltpack.building.staging import Bundle, Staged, bundled, check_source, pack_bundle
from iwsltpack.cluster import worker
from iwsltpack.cluster.connection import connect
from iwsltpack.cluster.items import run_items
from iwsltpack.cluster.shared import check_shared
from iwsltpack.codecs.chain import Coding
from iwsltpack.errors import IwsltpackError, ResourceError, listed
from iwsltpack.system.progress import Reporter


def pack_on_cluster(
    address: str,
    partial_folder: Path,
    plans: list[TensorPlan],
    coding: Coding,
    source: tuple[SourceFile, ...],
    take: Callable[[Staged], None],
    progress: Reporter,
) -> None:
    """Pack tensors on a cluster whose workers all see the partial folder; for `address` see `connect`.

    `take` is called here for every bundle once it is packed and checked; then `progress` is advanced by its bytes.

    InputError: a worker does not see the partial folder or the checkpoint, or sees another; or as `write_tensor`.
    Errors of a worker name it. ResourceError: a tensor killed every worker it was given, and everything else is
    packed; or see `run_items`.
    """
    partial_folder = partial_folder.resolve()
    plans = [plan.with_whole_paths() for plan in plans]
    bundles = bundled(plans)
    progress.note("reading the checkpoint whole, for workers that have copies")
    known = digests(set().union(*(bundle.paths for bundle in bundles)))

    def done(bundle: Bundle, staged: Staged) -> None:
        take(staged)
        progress.advance(bundle.nbytes)

    work = partial(_pack, str(partial_folder), coding, source, known)
    with connect(address) as client:
        check_shared(client, partial_folder)
        lost = run_items(client, work, bundles, key=str, done=done, progress=progress)
    if lost:
        names = [name for entry in lost for name in entry.item.names]
        raise ResourceError(
            f"{len(names)} of {len(plans)} tensors could not be packed: whatever worker takes them dies",
            where=listed(names),
            got=lost[0].reason,
            fix="see the workers' memory and logs, then run the same command again: all others are packed",
        )


def _pack(
    partial_folder: str,
    coding: Coding,
    source: tuple[SourceFile, ...],
    known: Digests,
    bundle: Bundle,
) -> Staged:
    """Run on a worker."""
    try:
        check_source(bundle, source, known)
        return pack_bundle(bundle, Path(partial_folder), coding)
    except IwsltpackError as error:
        error.where = f"{error.where or bundle} (on worker {worker.address()})"
        raise
