"""The model of a checkpoint folder, before any compression."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from iwsltpack.errors import ArtifactError
from iwsltpack.runtime.configuration import architecture, generation_config
from iwsltpack.runtime.model import make_model, resolve_device


def load_checkpoint(folder: Path, *, device: str | torch.device = "auto") -> Any:
    """Load the model of a checkpoint folder, with its weights as they are; a class of transformers itself.

    The type is one whose range holds gradients: float32 on the CPU, bfloat16 elsewhere. A configuration that names no
    class of transformers', and tensors that are not those of its architecture, are an `ArtifactError`; a model that
    does not fit the device's memory is a `ResourceError`.
    """
    place = resolve_device(device)
    config, cls = architecture(folder)
    kind = torch.float32 if place.type == "cpu" else torch.bfloat16
    options = {"config": config, "dtype": kind, "local_files_only": True, "use_safetensors": True}
    model, info = make_model(cls, folder, place, "calibrate on the CPU", partial(_why, folder), **options)
    if missing := sorted(map(str, info["missing_keys"])):
        raise ArtifactError("the checkpoint lacks tensors", where=folder, got=", ".join(missing[:5]))
    model.generation_config = generation_config(folder)
    return model.eval()


def _why(folder: Path, error: Exception) -> ArtifactError:
    return ArtifactError("the model cannot be loaded", where=folder, got=str(error)[:300])
