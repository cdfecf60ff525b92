"""The files beside the weights: configuration, tokenizer and processor, without anything that runs or leaks."""

import codecs
import os
import re
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

from iwsltpack.errors import InputError
from iwsltpack.system import fileio

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json")
"""A tokenizer needs one of them."""
AUDIO_SETTINGS = ("preprocessor_config.json", "processor_config.json", "feature_extractor_config.json")
"""One of them says how audio becomes features."""
SIDE_FILES = (
    CONFIG,
    GENERATION_CONFIG,
    *AUDIO_SETTINGS,
    *VOCABULARIES,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template.json",
    "chat_template.jinja",
    "video_preprocessor_config.json",
)
"""What `save_pretrained` writes beside the weights. Python files of a checkpoint are never taken along."""
SIZE_LIMIT = 256 << 20
"""Bytes of a side file at most; the largest tokenizers take 40 MB."""
NESTING_LIMIT = 100
"""Levels of a JSON file; programs that read it call themselves once a level, and some stop at 128."""
_POINTER = b"version https://git-lfs.github.com/spec/"
_LOCAL_KEYS = ("_name_or_path", "name_or_path", "tokenizer_file", "cache_dir")
"""Keys that can hold a path of the machine a checkpoint was saved on."""


def collect(folder: Path, *, quantized: bool = False) -> dict[str, bytes]:
    """Return name -> bytes of the side files of a checkpoint, ready to be packed.

    An `InputError` says that there is no ``config.json``, or files of a processor and no vocabulary; that a JSON file
    is malformed; that something is no regular file, or was not fetched by Git LFS; that another program has quantized
    the weights, unless `quantized` says that this is wanted.
    """
    if not os.path.lexists(folder / CONFIG):
        raise InputError("the checkpoint has no configuration", where=folder, expected=CONFIG)
    files = {name: _read(folder / name) for name in SIDE_FILES if os.path.lexists(folder / name)}
    if not quantized:
        _refuse_quantized(parse(files[CONFIG]), folder / CONFIG)
    if set(files) - {CONFIG, GENERATION_CONFIG} and not set(VOCABULARIES) & set(files):
        raise InputError(
            "the checkpoint has no tokenizer",
            where=folder,
            expected=f"one of {', '.join(VOCABULARIES)}",
            got=", ".join(files),
            fix="fetch the checkpoint anew, with all its files",
        )
    return files


def _refuse_quantized(config: dict[str, Any], where: Path) -> None:
    """Refuse the codes of GPTQ, AWQ, bitsandbytes and their like, which no recipe can take for weights."""
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    found = next(filter(None, (part.get("quantization_config") for part in parts)), None)
    if found is not None:
        raise InputError(
            "the checkpoint is quantized already",
            where=f"{where}: quantization_config",
            expected="the weights themselves, in float16, bfloat16 or float32",
            got=found.get("quant_method", found) if isinstance(found, dict) else found,
            fix="build from the model that it was made of",
        )


def refuse_pointer(path: Path) -> None:
    """Refuse a file of a repository that Git cloned without its large files."""
    with path.open("rb") as stream:
        if stream.read(len(_POINTER)) != _POINTER:
            return
    raise InputError("a pointer of Git LFS lies in place of the file", where=path, fix="git lfs pull")


def hears(config: bytes) -> bool:
    """Tell whether a model takes in audio: its configuration speaks of it."""
    return any(re.search("audio|speech|mel_bins", key) for key in parse(config))


def missing(side: Container[str]) -> list[str]:
    """Return what a model cannot decode speech without, for what a checkpoint's folder lacks."""
    kinds = {"tokenizer": VOCABULARIES, "feature extractor (preprocessor_config.json)": AUDIO_SETTINGS}
    return [what for what, names in kinds.items() if not any(name in side for name in names)]


def architecture(config: bytes, where: object) -> str:
    """Return the transformers class a configuration names."""
    names = parse(config, where).get("architectures")
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise InputError(
            "the configuration names no architecture",
            where=where,
            expected='"architectures": ["…ForConditionalGeneration"], one class of transformers',
            got=names,
            fix="add it to the checkpoint's config.json",
        )
    return names[0]


def with_intermediate_size(config: bytes, size: int) -> bytes:
    """Return the configuration of the model after pruning to `size` intermediate units."""
    document = parse(config)
    text = document.get("text_config")
    (text if isinstance(text, dict) else document)["intermediate_size"] = size
    return fileio.canonical_json(document)


def with_dtype(config: bytes, dtype: str) -> bytes:
    """Return the configuration with its dtype, and that of its parts, set."""
    document = parse(config)
    for part in (document, *(part for part in document.values() if isinstance(part, dict))):
        for key in ("dtype", "torch_dtype"):
            if key in part or (part is document and key == "dtype" and "torch_dtype" not in part):
                part[key] = dtype
    return fileio.canonical_json(document)


def with_suppressed(generation_config: bytes, tokens: Iterable[int]) -> bytes:
    """Return generation settings under which no output holds any of `tokens`."""
    document = parse(generation_config, GENERATION_CONFIG)
    document["suppress_tokens"] = sorted({*(document.get("suppress_tokens") or ()), *tokens})
    return fileio.canonical_json(document)


def origin(folder: Path) -> tuple[str | None, str | None]:
    """Tell hub id and revision of a checkpoint folder, as far as folder or configuration know them."""
    parts = folder.resolve().parts
    if len(parts) >= 3 and parts[-2] == "snapshots" and parts[-3].startswith("models--"):
        return parts[-3].removeprefix("models--").replace("--", "/"), parts[-1]
    name = parse(fileio.read_bytes(folder / CONFIG), folder / CONFIG).get("_name_or_path")
    if isinstance(name, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).exists():
        return name, None
    return None, None


def license_of(folder: Path) -> str | None:
    """Return the licence the checkpoint's model card declares, if there is one."""
    import yaml

    card = folder / "README.md"
    if not card.is_file():
        return None
    front = re.match(r"---\n(.*?)\n---\n", fileio.read_bytes(card).decode("utf-8", "replace"), re.DOTALL)
    try:
        data = yaml.safe_load(front.group(1)) if front else None
    except yaml.YAMLError:
        return None
    value = data.get("license") if isinstance(data, dict) else None
    return value if isinstance(value, str) else None


def parse(raw: bytes, where: object = CONFIG) -> dict[str, Any]:
    """Parse a configuration; anything but a JSON object is an `InputError`."""
    document = fileio.parse_json(raw, where)
    if not isinstance(document, dict):
        raise InputError("a configuration file is not an object", where=where, got=type(document).__name__)
    level: list[Any] = [document]
    for _ in range(NESTING_LIMIT):
        level = [
            item
            for part in level
            if isinstance(part, dict | list)
            for item in (part.values() if isinstance(part, dict) else part)
        ]
    if level:
        raise InputError(
            "not usable JSON", where=where, expected=f"at most {NESTING_LIMIT} levels", got="more, nested"
        )
    return document


def _read(path: Path) -> bytes:
    # Whoever reads these files later knows UTF-8, and no mark before it.
    raw = fileio.read_bytes(path, limit=SIZE_LIMIT).removeprefix(codecs.BOM_UTF8)
    refuse_pointer(path)
    if path.suffix in (".jinja", ".txt") and "\0" in fileio.read_text(path):
        raise InputError("not a text", where=path, got="NUL characters")
    if path.suffix != ".json":
        return raw
    document = parse(raw, path)
    if not path.name.endswith("config.json"):
        return raw
    cleaned = _without_local_keys(document)
    try:
        canonical = fileio.canonical_json(cleaned)
    except ValueError as error:
        expected = "finite numbers and whole characters"
        raise InputError("not valid JSON", where=path, expected=expected, got=str(error)) from error
    return raw if cleaned == document else canonical


def _without_local_keys(value: Any) -> Any:
    """Drop them from the parts of a composed model's configuration as well."""
    if isinstance(value, dict):
        return {key: _without_local_keys(item) for key, item in value.items() if key not in _LOCAL_KEYS}
    return [_without_local_keys(item) for item in value] if isinstance(value, list) else value
