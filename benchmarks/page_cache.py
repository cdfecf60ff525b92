"""The page cache, emptied between the sides of a benchmark."""

from __future__ import annotations

from pathlib import Path


def drop_caches() -> bool:
    """Empty the system's file caches; False where that is not allowed."""
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True
