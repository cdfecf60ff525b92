"""A client of a cluster: one on this machine, made for the occasion, or one that is running already."""

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iwsltpack.cluster import versions
from iwsltpack.errors import InputError, MissingDependency, ResourceError, UsageError, how_to_install
from iwsltpack.system import fileio
from iwsltpack.system.quiet import SILENT, quiet_loggers

if TYPE_CHECKING:
    from distributed import Client

LOCAL = "local"
FORMS = "local, local:N, HOST:PORT, tcp://HOST:PORT or a scheduler file (*.json)"
"""What an address may be."""
CONNECT_S = 5.0
"""Seconds within which a scheduler must answer."""
PATIENCE_S = 60.0
"""Seconds to wait for a worker where there is none."""


@contextmanager
def connect(
    address: str,
    *,
    gpus: bool = False,
    packages: Sequence[str] = (),
    threads: int = 1,
) -> "Iterator[Client]":
    """Give a client of the cluster at `address`; a local cluster is started for the block and ends with it.

    Parameters
    ----------
    address
        ``local``: a worker process for each core, or with `gpus` one for each visible GPU, which alone it sees;
        ``local:N``: N worker processes (with `gpus`, dealt over the visible GPUs in turn); ``HOST:PORT``,
        ``tcp://HOST:PORT``, ``tls://…`` or a scheduler file ``*.json``: a cluster that is running.
    gpus
        Whether the work wants a GPU. Without one, workers are made as if it did not.
    packages
        Packages, beside those that every artifact depends on, whose versions must be the same everywhere.
    threads
        Items that a worker of a local cluster works on at the same time.

    Raises
    ------
    MissingDependency
        dask.distributed is not installed.
    UsageError
        No address; or a worker has another Python, or another version of a package that decides the bytes.
    InputError
        The scheduler file is missing or malformed.
    ResourceError
        No scheduler answers, no worker is there in time, or a local cluster cannot be started.
    """
    check_address(address)
    is_local = address.partition(":")[0] == LOCAL
    with _quiet(), ExitStack() as stack:
        target: Any
        if is_local:
            from iwsltpack.cluster.local import local_cluster

            target = stack.enter_context(local_cluster(_local_count(address), gpus=gpus, threads=threads))
        else:
            target = _scheduler_address(address)
        client = stack.enter_context(_client(target, address))
        try:
            client.wait_for_workers(1, timeout=PATIENCE_S)
        except TimeoutError as error:
            raise no_workers(address) from error
        if not is_local:
            versions.check_workers(client, packages)
        yield client


def check_address(address: str) -> None:
    """Refuse what cannot be an address, and say so early if the extra is missing; see `connect`."""
    try:
        import distributed  # noqa: F401 - asked for before any work is done
    except ImportError as error:
        raise MissingDependency(
            "working on several machines needs dask.distributed",
            where=address,
            fix=how_to_install("dask"),
        ) from error
    if address.partition(":")[0] == LOCAL:
        _local_count(address)
    elif not re.fullmatch(r"[a-z]+://[!-~]+|.+\.json|[\w.-]+:\d+|\[[0-9A-Fa-f:]+\]:\d+", address):
        raise UsageError("not the address of a cluster", where=address, expected=FORMS)


def _local_count(address: str) -> int | None:
    """Return N of ``local:N``, None for ``local``."""
    if address == LOCAL:
        return None
    count = address.partition(":")[2]
    if not count.isdecimal() or int(count) < 1:
        raise UsageError("not a number of local workers", where=address, expected="local:N, N from 1")
    return int(count)


def _scheduler_address(address: str) -> str:
    if not address.endswith(".json"):
        return address if "://" in address else f"tcp://{address}"
    path = Path(address)
    if not path.is_file():
        fix = "start the scheduler first: dask scheduler --scheduler-file FILE"
        raise InputError("no such scheduler file", where=path, fix=fix)
    document = fileio.read_json(path, limit=1 << 20)
    found = document.get("address") if isinstance(document, dict) else None
    if not isinstance(found, str):
        raise InputError("not a dask scheduler file", where=path, expected='"address": "tcp://…"')
    return found


@contextmanager
def _client(target: Any, address: str) -> "Iterator[Client]":
    """Open a client; how the connection ends, in particular that it broke, is no news to anyone."""
    import distributed

    opened: Any = distributed.Client  # its annotations are incomplete
    try:
        with warnings.catch_warnings():
            # It compares more packages than matter; ours are compared by `versions`, and refused.
            warnings.filterwarnings("ignore", message=r"(?s).*Mismatched versions found")
            client: Any = opened(target, timeout=CONNECT_S, set_as_default=False, direct_to_workers=False)
    except (OSError, ValueError, RuntimeError, ImportError, MemoryError) as error:
        # The last: what is no scheduler may answer with any number, which is then taken for a length.
        raise ResourceError(
            f"no dask scheduler answers within {CONNECT_S:.0f} seconds",
            where=address,
            got=str(error).splitlines()[0] if str(error) else type(error).__name__,
            fix="start one (dask scheduler), see that the address is right and no firewall lies between",
        ) from error
    try:
        yield client
    finally:
        with suppress(Exception):
            client.close(timeout=CONNECT_S)


def no_workers(address: str) -> ResourceError:
    """Return the error for a cluster without workers."""
    return ResourceError(
        f"the cluster has had no worker for {PATIENCE_S:.0f} seconds",
        where=address,
        fix="start workers (dask worker SCHEDULER --nthreads 1), see their log, then run the same command again",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep distributed's own log off stderr: what matters of it comes back as an error or a named lost item."""
    import distributed  # noqa: F401 - makes its loggers

    known = logging.root.manager.loggerDict
    names = {name for name in known if name.partition(".")[0] in ("distributed", "tornado")}
    with quiet_loggers("distributed", *names - {"distributed"}, level=SILENT):
        yield
