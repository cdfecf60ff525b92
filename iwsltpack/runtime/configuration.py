"""Configuration, class and generation settings of an artifact's model, from its files alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from iwsltpack.errors import ArtifactError
from iwsltpack.runtime.environment import refuse_environment


def architecture(model_dir: Path) -> tuple[Any, Any]:
    """Return configuration and class; only classes of transformers itself, never code from the artifact."""
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(
            model_dir, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # as above
        raise ArtifactError(
            "the configuration cannot be read", where=model_dir / "config.json", got=first_line(error)
        ) from error
    names = config.architectures or []
    try:
        cls = getattr(transformers, names[0], None) if len(names) == 1 else None
    except ImportError as error:
        refuse_environment(error)
        raise
    if not (isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel)):
        raise ArtifactError(
            "the architecture is not one of transformers'",
            where=model_dir / "config.json",
            expected=f"a model class of transformers {transformers.__version__}",
            got=", ".join(map(str, names)) or "none",
        )
    return config, cls


def generation_config(model_dir: Path) -> Any:
    """Read the generation settings, which this way of loading leaves at defaults without an end of sequence."""
    from transformers import GenerationConfig

    if not (model_dir / "generation_config.json").is_file():
        raise ArtifactError(
            "the artifact has no generation settings, so the end of an output is unknown",
            where=model_dir,
            expected="generation_config.json",
        )
    where = model_dir / "generation_config.json"
    try:
        config = GenerationConfig.from_pretrained(model_dir, local_files_only=True)
        penalty = 1.0 if config.repetition_penalty is None else float(config.repetition_penalty)
    except Exception as error:  # as above
        raise ArtifactError(
            "the generation settings cannot be read", where=where, got=first_line(error)
        ) from error
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    if not ends or not all(type(end) is int and end >= 0 for end in ends):
        raise ArtifactError(
            "the generation settings name no end of sequence",
            where=where,
            expected="eos_token_id, a token or a list of some",
            got=config.eos_token_id,
        )
    if not 0 < penalty < math.inf:
        raise ArtifactError(
            "the generation settings cannot be used",
            where=where,
            expected="a repetition_penalty above 0",
            got=penalty,
        )
    return config


def first_line(error: BaseException) -> str:
    """Return an error in one line of at most 300 characters."""
    text = str(error).strip()
    return " ".join(text.split())[:300] if text else type(error).__name__
