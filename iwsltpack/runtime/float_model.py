"""The model of a checkpoint folder, before any compression."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from iwsltpack.errors import ArtifactError, ResourceError
from iwsltpack.runtime.configuration import architecture, generation_config
from iwsltpack.runtime.model import resolve_device
from iwsltpack.system.quiet import quiet_transformers


def load_checkpoint(folder: Path, *, device: str | torch.device = "auto") -> Any:
    """Load the model of a checkpoint folder, with its weights as they are; a class of transformers itself.

    The type is one whose range holds gradients: float32 on the CPU, bfloat16 elsewhere. A configuration that names no
    class of transformers', and tensors that are not those of its architecture, are an `ArtifactError`; a model that
    does not fit the device's memory is a `ResourceError`.
    """
    place = resolve_device(device)
    config, cls = architecture(folder)
    kind = torch.float32 if place.type == "cpu" else torch.bfloat16
    try:
        with quiet_transformers():
            model, info = cls.from_pretrained(
                folder,
                config=config,
                dtype=kind,
                device_map={"": place},
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            "the model does not fit the device's memory", where=place, fix="calibrate on the CPU"
        ) from error
    except Exception as error:  # a configuration can make a model's own code fail in any way
        raise ArtifactError("the model cannot be loaded", where=folder, got=str(error)[:300]) from error
    if missing := sorted(map(str, info["missing_keys"])):
        raise ArtifactError("the checkpoint lacks tensors", where=folder, got=", ".join(missing[:5]))
    model.generation_config = generation_config(folder)
    return model.eval()
