"""What the machine is and how much memory the process has taken."""

from __future__ import annotations

import platform
import resource
import sys
from pathlib import Path

import torch


def device_name(device: torch.device) -> str:
    """Return the device's model name; never the machine's own."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine() or "CPU"


def peak_host_bytes() -> int:
    """Return the most memory this process has held resident, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_device_bytes(device: torch.device) -> int | None:
    """Return the most bytes torch has allocated on a CUDA device since it started, or None elsewhere."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
