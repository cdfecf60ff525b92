"""Where an artifact cannot be used, it may be this machine: packages that are absent, or do not fit each other."""

from __future__ import annotations

import importlib

import torch

from iwsltpack.errors import MissingDependency


def refuse_environment(error: Exception) -> None:
    """Return where `error` is the artifact's; raise `MissingDependency` where it is this machine's packages'."""
    told = " ".join(str(error).split())[:300]
    try:
        # transformers sees that a package is there, not that it works: one built for another torch does not load.
        importlib.import_module("torchvision")
        absent = False
    except ModuleNotFoundError:
        absent = True
    except (ImportError, RuntimeError, OSError) as broken:
        raise MissingDependency(
            "torchvision does not fit the torch that is installed",
            expected=f"one built for torch {torch.__version__}",
            got=" ".join(str(broken).split())[:300],
            fix="install both from the same place, or remove torchvision where the model needs none",
        ) from error
    if isinstance(error, ImportError) or (absent and "torchvision" in told):
        raise MissingDependency(
            "the model needs a package that is not here",
            got=told,
            fix='for Gemma 4: pip install "iwsltpack[gemma]"',
        ) from error
