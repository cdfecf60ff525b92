"""What this machine is: its devices, the memory taken, and packages that are absent or do not fit each other."""

import importlib
import platform
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from iwsltpack.errors import MissingDependency, how_to_install

REFIT = "install both from the same place, or remove torchvision where the model needs none"


def refuse_environment(error: Exception) -> None:
    """Return where `error` is the artifact's; raise `MissingDependency` where it is this machine's packages'."""
    told = " ".join(str(error).split())[:300]
    fault = torchvision_fault()
    if fault:
        raise MissingDependency(
            "torchvision does not fit the torch that is installed",
            expected=f"one built for torch {torch.__version__}",
            got=fault,
            fix=REFIT,
        ) from error
    if isinstance(error, ImportError) or (fault is None and "torchvision" in told):
        raise MissingDependency(
            "the model needs a package that is not here",
            got=told,
            fix=f"for Gemma 4, {how_to_install('gemma')}",
        ) from error


def torchvision_fault() -> str | None:
    """Return why the torchvision that is here does not load, "" where it does; None where there is none.

    transformers sees that a package is there, not that it works: one built for another torch does not load.
    """
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError:
        return None
    except (ImportError, RuntimeError, OSError) as broken:
        return " ".join(str(broken).split())[:300]
    return ""


def machine() -> dict[str, Any]:
    """Return what only torch can tell: its version, the CUDA devices with their bytes, whether torchvision loads."""
    places = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    return {
        "torch": torch.__version__,
        "devices": [
            {"name": torch.cuda.get_device_name(place), "bytes": torch.cuda.mem_get_info(place)[1]}
            for place in places
        ],
        "torchvision": torchvision_fault(),
        "refit": REFIT,
    }


def device_name(device: torch.device) -> str:
    """Return the device's model name; never the machine's own."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine() or "CPU"


def peak_host_bytes() -> int:
    """Return the most memory this process has held resident, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def peak_device_bytes(device: torch.device) -> int | None:
    """Return the most bytes torch has allocated on a CUDA device since it started, or None elsewhere."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
