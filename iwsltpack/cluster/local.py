"""A cluster on this machine: one process a worker, on the loopback interface, gone without a trace."""

import asyncio
import itertools
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from iwsltpack.errors import ResourceError
from iwsltpack.system.fileio import read_toml
from iwsltpack.system.quiet import SILENT

LOOPBACK = "127.0.0.1"
DEATHS_ALLOWED = 1
"""Deaths of its worker after which an item is not handed on; it is then tried alone (see `items.run_items`)."""
DEVICES_VARIABLE = "CUDA_VISIBLE_DEVICES"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
QUIET = {
    "DASK_LOGGING": str(
        dict.fromkeys(("distributed", "distributed.client", "tornado.application"), "critical")
    )
}
"""From a worker's first line on; its own option for that begins late and ends early."""
BACK_S = 10.0
"""Seconds to wait, before the cluster ends, for workers that have just died to be back."""
BACK_LOOK_S = 0.02
SPAWN_ENVIRONMENT = "distributed.nanny.pre-spawn-environ"


@contextmanager
def local_cluster(count: int | None = None, *, gpus: bool = False, threads: int = 1) -> Iterator[Any]:
    """Start worker processes and give their `distributed.SpecCluster`; one that cannot start is a `ResourceError`.

    There are `count` workers, by default one for each visible GPU if each is to see one (`gpus`) and there is one, else
    one for each core. A worker works on `threads` items at the same time.
    """
    import dask

    devices = visible_gpus() if gpus else []
    count = count or len(devices) or cores()
    with (
        _environment_kept(),
        tempfile.TemporaryDirectory(prefix="iwsltpack-workers-", ignore_cleanup_errors=True) as scratch,
        dask.config.set(_settings(count, scratch)),
    ):
        try:
            with _deaf_children():
                cluster = _start(count, devices, scratch, threads)
        except (OSError, RuntimeError, TimeoutError) as error:
            raise ResourceError(
                f"{count} local workers could not be started", got=str(error) or type(error).__name__
            ) from error
        with cluster:
            # Without a dashboard it would serve nothing, and still hold a port.
            cluster.scheduler.http_server.stop()
            try:
                yield cluster
            finally:
                with suppress(TimeoutError):
                    cluster.sync(_all_back, cluster, callback_timeout=BACK_S)


def cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """Return the GPUs this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    import torch

    number = torch.cuda.device_count()
    told = [name.strip() for name in os.environ.get(DEVICES_VARIABLE, "").split(",") if name.strip()]
    return (told or [str(index) for index in range(number)])[:number]


def _start(count: int, devices: list[str], scratch: str, threads: int) -> Any:
    from distributed import Nanny, Scheduler, SpecCluster

    worker = {
        "nthreads": threads,
        "host": LOOPBACK,
        "local_directory": scratch,
        "dashboard": False,
        # No spilling, no pausing: an item's memory is its own, and a model is meant to fill it.
        "memory_limit": 0,
        "silence_logs": SILENT,
    }
    seen = [{DEVICES_VARIABLE: device} for device in devices] or [{}]
    return SpecCluster(  # type: ignore[no-untyped-call]
        name="iwsltpack",
        scheduler={
            "cls": Scheduler,
            "options": {"host": LOOPBACK, "dashboard": False, "dashboard_address": f"{LOOPBACK}:0"},
        },
        workers={
            index: {"cls": Nanny, "options": {**worker, "env": device}}
            for index, device in zip(range(count), itertools.cycle(seen), strict=False)
        },
        silence_logs=SILENT,
    )


async def _all_back(cluster: Any) -> None:
    """Wait until no worker is being started again: one that is told to end halfway through prints a traceback.

    The scheduler is asked, not the nannies: one whose worker died right after it had started takes the word of
    the dead worker for that of the next.
    """
    from distributed.core import Status

    def up() -> set[int]:
        known = cluster.scheduler.workers.values()
        return {worker.pid for worker in known if worker.status == Status.running}

    def awaited() -> set[int | None]:
        return {nanny.pid for nanny in cluster.workers.values() if nanny.status == Status.running}

    while not awaited() <= up():
        await asyncio.sleep(BACK_LOOK_S)


def _settings(count: int, scratch: str) -> dict[str, Any]:
    import dask
    import distributed  # noqa: F401 - brings the defaults of its settings

    threads = dict.fromkeys(THREAD_VARIABLES, max(1, cores() // count))
    return {
        **read_toml(Path(__file__).with_suffix(".toml")),
        "temporary-directory": scratch,
        "distributed.scheduler.allowed-failures": DEATHS_ALLOWED,
        SPAWN_ENVIRONMENT: {**dask.config.get(SPAWN_ENVIRONMENT), **threads, **QUIET},
    }


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Put back the variables that distributed sets here so that its children inherit them."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Let workers not hear Ctrl-C, which a terminal sends to all: the client hears it, and ends them in order.

    The thread that starts them, now and whenever one has died, begins in this block and inherits its signal mask.
    """
    # It would be started in between, and lift the mask.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
