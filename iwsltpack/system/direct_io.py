"""Files too large for the page cache, read and written past it.

A build reads a checkpoint once and a decoder reads an artifact once. Where that would not fit the memory that is
free, sending it through the page cache only pushes out everything else, and costs the kernel a copy and a fresh page
for every page of the file (docs/measurements.md has the figures). What is cached already is still taken from the
cache; where the file system knows no direct access, ordinary reads and writes do the same.
"""

import ctypes
import errno
import mmap
import os
from pathlib import Path

import numpy as np

from iwsltpack.system import memory

ALIGNMENT = 4096
"""Memory, offsets and lengths of direct access are multiples of it on every disk in use."""
_DIRECT = getattr(os, "O_DIRECT", 0)
_UNSUPPORTED = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)


def exceeds_cache(nbytes: int) -> bool:
    """Tell whether `nbytes` of file and memory are more than half of what this machine has free."""
    available = memory.available()
    return available is not None and nbytes > available // 2


def read(path: Path, offset: int, length: int, *, past_cache: bool) -> memoryview:
    """Read `length` bytes from `offset`; fewer where the file ends before.

    The memory is writable and nobody else's. It begins at a multiple of 8 where `offset` does.
    """
    how = _DIRECT if past_cache and not is_cached(path, offset, length) else 0
    try:
        return _read(path, offset, length, how)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return _read(path, offset, length, 0)


def write(path: Path, data: bytes, *, past_cache: bool) -> None:
    """Write a file anew; not synced, not atomic."""
    if not (past_cache and _DIRECT):
        path.write_bytes(data)
        return
    whole = aligned(-(-len(data) // ALIGNMENT) * ALIGNMENT)
    # By numpy, which lets other threads run meanwhile.
    np.frombuffer(whole, np.uint8)[: len(data)] = np.frombuffer(data, np.uint8)
    whole[len(data) :] = bytes(len(whole) - len(data))
    done = 0
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _DIRECT, 0o644)
        try:
            while done < len(whole):
                done += os.write(descriptor, whole[done:])
            os.ftruncate(descriptor, len(data))
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        path.write_bytes(data)


def is_cached(path: Path, offset: int, length: int) -> bool:
    """Tell whether all of a span is in the page cache; False where that cannot be known.

    Asked of the kernel, because a read that shall not wait (``RWF_NOWAIT``) starts to fill the cache.
    """
    mincore = getattr(memory.c_library(), "mincore", None)
    start = offset - offset % mmap.ALLOCATIONGRANULARITY
    with path.open("rb") as stream:
        stop = min(offset + length, os.fstat(stream.fileno()).st_size)
        if mincore is None or stop <= offset:
            return False
        with mmap.mmap(stream.fileno(), stop - start, prot=mmap.PROT_READ, offset=start) as pages:
            resident = np.zeros(-(-len(pages) // mmap.PAGESIZE), dtype=np.uint8)
            span = np.frombuffer(pages, dtype=np.uint8)
            failed = mincore(
                ctypes.c_void_p(span.ctypes.data),
                ctypes.c_size_t(len(pages)),
                ctypes.c_void_p(resident.ctypes.data),
            )
            del span  # the map cannot be closed while it is looked at
    return not failed and bool((resident & 1).all())


def _read(path: Path, offset: int, length: int, how: int) -> memoryview:
    before = offset % ALIGNMENT
    whole = aligned(-(-(before + length) // ALIGNMENT) * ALIGNMENT)
    wanted = whole if how else whole[: before + length]
    done = 0
    descriptor = os.open(path, os.O_RDONLY | how)
    try:
        while done < before + length:
            start = offset - before + done
            got = os.preadv(descriptor, [wanted[done:]], start)
            done += got
            # A direct read that stops between blocks has met the end of the file; another would be refused.
            if got == 0 or (how and done % ALIGNMENT):
                break
    finally:
        os.close(descriptor)
    return whole[before : max(before, min(done, before + length))]


def aligned(size: int) -> memoryview:
    """Return fresh memory that begins at a multiple of `ALIGNMENT`."""
    room = np.empty(size + ALIGNMENT, dtype=np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room.data[start : start + size]
