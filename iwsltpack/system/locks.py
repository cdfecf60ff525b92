"""Advisory locks on files and folders (`flock`): a lock goes with the process that holds it, however that ends.

A file system may have no locks (Lustre mounted without ``flock``, some NFS). Nothing here depends on one to keep files
whole, so work goes on without: one warning a process says that it is then up to the user to keep two commands apart.
"""

import errno
import fcntl
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from iwsltpack.errors import UsageError
from iwsltpack.system.fileio import disk_errors

POLL_S = 0.05
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY, errno.EBADF)
"""FUSE may say that the call is none of its; NFS, which locks by ranges, that a folder is not open to write."""
_log = logging.getLogger(__name__)
_warned = threading.Event()


def take(
    descriptor: int,
    path: Path,
    *,
    shared: bool = False,
    patience: float = 0.0,
    waiting: Callable[[], None] = lambda: None,
) -> bool:
    """Lock an open file or folder, called `path` in messages, until its descriptor is closed.

    Two descriptors that were opened apart exclude each other, within one process, too; with `shared`, others may hold
    a shared lock meanwhile. Whoever holds the lock is waited for `patience` seconds, while `waiting` is called again
    and again. False is returned if somebody else still holds it then; True if it is held, or if the file system has no
    locks. If the operating system refuses for another reason, that is a `ResourceError`.
    """
    until = time.monotonic() + patience
    with disk_errors(path):
        # Never a blocking call: such a wait could be neither told nor bounded.
        while not _taken(descriptor, path, fcntl.LOCK_NB | (fcntl.LOCK_SH if shared else fcntl.LOCK_EX)):
            if time.monotonic() >= until:
                return False
            waiting()
            time.sleep(POLL_S)
    return True


def _taken(descriptor: int, path: Path, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        if not _warned.is_set():
            _warned.set()
            _log.warning(
                "the file system of %s has no locks (%s): going on without; let no two commands write to one folder",
                path,
                error.strerror,
            )
    return True


@contextmanager
def held(path: Path, busy: str | None = None, **how: Any) -> Iterator[bool]:
    """Hold a lock file, made where there is none, for the length of the block; give what `take` returns.

    The file stays. If somebody else holds the lock, `busy` is the sentence of a `UsageError`; without one the block
    runs all the same. For `how` see `take`.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("ab")
    with stream:
        taken = take(stream.fileno(), path, **how)
        if busy is not None and not taken:
            raise UsageError(busy, where=path.parent, fix="wait for it, or stop it")
        yield taken
