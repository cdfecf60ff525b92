"""Configuration, class and generation settings of an artifact's model, from its files alone.

Figures that no model has are refused before a library loops, allocates or counts by them.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from iwsltpack.artifact.side_files import CONFIG, GENERATION_CONFIG, SIZE_LIMIT, parse
from iwsltpack.errors import ArtifactError, InputError
from iwsltpack.runtime.environment import refuse_environment
from iwsltpack.system import fileio

LARGEST = 2**63
"""Integers of tensors and of the libraries' C parts are smaller."""
_PARTS = re.compile(r"(?!max_)\w*(layers?|blocks|experts|depth)")
"""Keys whose number is that of modules to be made, each of at least one tensor."""
_TOKEN = re.compile(r"\w*token_(id|index)")
_TOKENS = re.compile(r"(begin_)?suppress_tokens|\w*words_ids")
"""What generation looks up; in config.json they are defaults of a model's kind, which nobody reads."""
MOST_LABELS = 1_000_000
"""Of a classifier; transformers makes a name for each of `num_labels` when it reads them."""


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


def is_multilingual(model_dir: Path) -> bool:
    """Tell whether the generation settings leave a model more languages than one; most do not say."""
    path = model_dir / "generation_config.json"
    return not path.is_file() or fileio.read_json(path).get("is_multilingual") is not False


def first_line(error: BaseException) -> str:
    """Return an error in one line of at most 300 characters."""
    text = str(error).strip()
    return " ".join(text.split())[:300] if text else type(error).__name__


def check_figures(model_dir: Path, tensors: int) -> None:
    """Refuse a model that cannot be made, or cannot be made of this many tensors, with an `ArtifactError`.

    That is a number of layers that is negative or larger than `tensors`; a token outside the vocabulary; a number that
    no library can hold; a file that is not usable JSON.
    """
    found = [(name, *figure) for name in (CONFIG, GENERATION_CONFIG) for figure in _read(model_dir / name)]
    vocabulary: float = max((value for _, key, value in found if key == "vocab_size"), default=LARGEST)
    least: float
    most: float
    for name, key, value in found:
        if _PARTS.fullmatch(key):
            least, most = 0, tensors
        elif _TOKEN.fullmatch(key) or (name == GENERATION_CONFIG and _TOKENS.fullmatch(key)):
            least, most = -1, vocabulary - 1
        elif key == "vocab_size":
            least, most = 1, LARGEST - 1
        elif key == "num_labels":
            least, most = 0, MOST_LABELS
        else:
            least, most = -LARGEST, LARGEST - 1
        if not least <= value <= most:
            raise ArtifactError(
                "the configuration is not that of this model",
                where=model_dir / name,
                expected=f"{key} from {least} to {most}",
                got=value,
                fix="build the artifact again from a checkpoint that matches its config.json",
            )


def _read(path: Path) -> list[tuple[str, float]]:
    if not path.is_file():
        return []
    try:
        return list(_figures("", parse(fileio.read_bytes(path, limit=SIZE_LIMIT), path)))
    except InputError as error:
        raise ArtifactError(
            "the configuration cannot be read", where=error.where, expected=error.expected, got=error.got
        ) from error


def _figures(key: str, value: Any) -> Iterator[tuple[str, float]]:
    """Yield every number with the key it stands under, or the list it stands in."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _figures(name, item)
    elif isinstance(value, list):
        for item in value:
            yield from _figures(key, item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, value
