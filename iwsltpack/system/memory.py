"""What the machine's memory allows, and how the C library deals with it."""

import ctypes
import sys
from functools import cache
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Numbers of glibc's options, from its malloc.h."""
KEPT = 1 << 30
LARGEST_FROM_HEAP = 32 << 20
"""The largest blocks glibc itself ever moves from the kernel to its heap."""


def available() -> int | None:
    """Return the bytes that new programs can take without swapping; None if the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if found is None else int(found) << 10


@cache
def c_library() -> ctypes.CDLL | None:
    """Return the C library this process runs on; None where it has none to ask."""
    return ctypes.CDLL(None) if sys.platform.startswith("linux") else None


@cache
def keep_freed_blocks() -> None:
    """Let this process keep the blocks it frees, up to 1 GiB, instead of handing each back to the kernel.

    Chunks are packed and unpacked in blocks of some 8 MB, thousands of times over. glibc gives such blocks back when
    they are freed, and the kernel then clears every page of the next one: two thirds of a build's system time
    (docs/measurements.md). Threads take them from one heap: glibc would give the ends of their own heaps back all the
    same. Elsewhere than on glibc nothing is done.
    """
    mallopt = getattr(c_library(), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGEST_FROM_HEAP)
        mallopt(_M_TRIM_THRESHOLD, KEPT)
        mallopt(_M_ARENA_MAX, 1)
