"""Artifacts in programs written for transformers: after this import, every `from_pretrained` there reads them, too.

>>> import iwsltpack.hf                                                                 # doctest: +SKIP
>>> model = AutoModelForMultimodalLM.from_pretrained("artifacts/q3", dtype="float16")   # doctest: +SKIP
>>> processor = AutoProcessor.from_pretrained("artifacts/q3")                           # doctest: +SKIP

An artifact is named by its folder, an address, or its hub id. A script that cannot be edited is run by
``python -m iwsltpack.hf SCRIPT ARGS…``. How the model is held is said by ``quantization_config={"mode": "stream"}``,
or by ``--mode`` in front of the script.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
import transformers

from iwsltpack.artifact.reader import Artifact, open_if_artifact
from iwsltpack.documents.choices import Mode
from iwsltpack.errors import UsageError
from iwsltpack.runtime.model import load_from

default_mode: Mode = "load"
"""How a model is held whose `from_pretrained` does not say."""

READERS: tuple[Any, ...] = (
    transformers.AutoConfig,
    transformers.AutoFeatureExtractor,
    transformers.AutoProcessor,
    transformers.AutoTokenizer,
    transformers.AutoModel.__mro__[1],
    transformers.PreTrainedConfig,
    transformers.GenerationConfig,
    transformers.FeatureExtractionMixin,
    transformers.PreTrainedTokenizerBase,
    transformers.ProcessorMixin,
    transformers.PreTrainedModel,
)
"""Every class by which transformers reads a part of a model by its name."""
PASSED_ON = frozenset({"attn_implementation", "config", "output_loading_info"})
MEANINGLESS = frozenset(
    {
        "adapter_kwargs",
        "cache_dir",
        "code_revision",
        "force_download",
        "local_files_only",
        "low_cpu_mem_usage",
        "proxies",
        "revision",
        "subfolder",
        "token",
        "trust_remote_code",
        "use_safetensors",
        "weights_only",
    }
)
"""Options about fetching and reading checkpoint files, of which an artifact has none; no code of it is ever run."""

_opened: dict[str, Artifact] = {}
"""Opened artifacts by their folder of configuration files, where transformers' own reading is sent."""


def _artifact(name: Any, options: dict[str, Any]) -> Artifact | None:
    """Return the artifact that is meant, opened, or None for whatever else transformers reads."""
    known = ("cache_dir", "revision", "token", "local_files_only")
    return _opened.get(str(name)) or open_if_artifact(
        name, **{key: options[key] for key in known if key in options}
    )


def _model(cls: Any, source: Artifact, options: dict[str, Any]) -> Any:
    """Load an artifact's model as `cls`; what is asked for besides and means nothing to an artifact is refused."""
    chosen = options.pop("quantization_config", None) or {}
    chosen = dict(chosen) if isinstance(chosen, dict) else vars(chosen)
    mode = chosen.pop("mode", default_mode)
    place, dtype = _place(options.pop("device_map", None)), options.pop("torch_dtype", None)
    dtype = options.pop("dtype", dtype)
    passed = {name: options.pop(name) for name in PASSED_ON & options.keys()}
    foreign = [f"quantization_config.{name}" for name in chosen.keys() - {"quant_method"}]
    foreign += [name for name in options.keys() - MEANINGLESS if not name.startswith("_")]
    if foreign:
        raise UsageError(
            "an artifact is not loaded with these options of from_pretrained",
            expected="dtype, device_map, attn_implementation, quantization_config={'mode': …}",
            got=", ".join(sorted(foreign)),
            fix="leave them out: an artifact is quantized already",
        )
    wants_info = passed.pop("output_loading_info", False)
    model = load_from(source, device=place, mode=mode, dtype=dtype, model_class=cls, options=passed)
    return (model, {}) if wants_info else model


def _place(device_map: Any) -> str | torch.device:
    """Return the one device a `device_map` names; without one transformers loads onto the CPU."""
    if isinstance(device_map, dict) and len(set(map(str, device_map.values()))) == 1:
        device_map = next(iter(device_map.values()))
    if device_map is None:
        return "cpu"
    if isinstance(device_map, int):
        return f"cuda:{device_map}"
    if isinstance(device_map, dict) or device_map in ("balanced", "balanced_low_0", "sequential"):
        raise UsageError(
            "an artifact is loaded onto one device",
            expected="device_map='auto' or one device",
            got=device_map,
        )
    return device_map  # type: ignore[no-any-return]


def _reading_artifacts(plain: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(plain)
    def from_pretrained(cls: Any, name: Any = None, *args: Any, **options: Any) -> Any:
        name = options.pop("pretrained_model_name_or_path", name)
        source = _artifact(name, options)
        if source is None:
            return plain(cls, name, *args, **options)
        if issubclass(cls, transformers.PreTrainedModel):
            return _model(cls, source, options)
        folder = str(source.model_dir)
        _opened[folder] = source
        return plain(cls, folder, *args, **options)

    return from_pretrained


for reader in READERS:
    reader.from_pretrained = classmethod(_reading_artifacts(vars(reader)["from_pretrained"].__func__))
