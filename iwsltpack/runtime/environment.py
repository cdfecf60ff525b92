"""Where an artifact cannot be used, it may be this machine: packages that are absent, or do not fit each other."""

from __future__ import annotations

import importlib
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
