"""A model on its device, from the artifact alone: no network, no code from the artifact, nothing left at random.

>>> import iwsltpack                                             # doctest: +SKIP
>>> model = iwsltpack.load_model("artifacts/q3", device="cuda")  # doctest: +SKIP
>>> processor = iwsltpack.load_processor("artifacts/q3")         # doctest: +SKIP
"""

import inspect
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import torch

from iwsltpack.artifact.reader import Artifact, open_by_name
from iwsltpack.documents.choices import Mode
from iwsltpack.errors import ArtifactError, IwsltpackError, MissingDependency, ResourceError, UsageError
from iwsltpack.runtime.configuration import (
    architecture,
    check_figures,
    first_line,
    generation_config,
    is_multilingual,
)
from iwsltpack.runtime.environment import refuse_environment
from iwsltpack.runtime.families import family_of
from iwsltpack.runtime.weights import LazyStateDict, packed_state
from iwsltpack.system.progress import SILENT, Reporter
from iwsltpack.system.quiet import quiet_transformers

DEFAULT_LIMIT_SECONDS = 30.0
"""What audio models of this family hear where their processor does not say."""
HIGHEST_RATE, LONGEST_SECONDS = 768_000, 3600.0
"""No recording has more samples a second; no model hears as much at once."""


def load_model(
    path: Path | str,
    *,
    device: str | torch.device = "auto",
    mode: Mode = "load",
    dtype: torch.dtype | str | None = None,
    reporter: Reporter = SILENT,
) -> Any:
    """Load the model of an artifact for inference.

    Parameters
    ----------
    path
        The artifact: its folder, an ``hf://``, ``s3://`` or ``https://`` address, or the hub id ``OWNER/NAME`` of a
        model that no folder here is named like. What lies elsewhere is fetched when it is needed, and kept in a cache.
    device
        ``auto`` takes a CUDA device where there is one.
    mode
        ``load`` decodes everything onto the device, tensor by tensor; ``cache`` decodes a linear layer at its first
        use; ``stream`` at every use, for devices smaller than the model; ``int8`` holds rounded layers as 8-bit codes,
        half the memory of float16, and multiplies these. All compute with the same weights.
    dtype
        Of the floats; by default float16 on CUDA, float32 on CPU. Rounded weights are multiples of 2^-b, which
        float16 holds exactly; bfloat16, with 8 significant bits, would round them again.
    reporter
        Where remarks go, such as layers that `int8` had to decode.

    Returns
    -------
    transformers.PreTrainedModel
        In evaluation mode, with the artifact's generation settings.

    Raises
    ------
    ArtifactError
        Not an artifact, or one whose tensors are not exactly those the architecture needs.
    MissingDependency
        CUDA is asked for and absent.
    ResourceError
        The model does not fit the device's memory, or cannot be fetched.
    UsageError
        ``int8`` is asked for and no layer of the artifact is rounded.
    """
    return load_from(open_by_name(path), device=device, mode=mode, dtype=dtype, reporter=reporter)


def load_processor(path: Path | str) -> Any:
    """Load the processor (tokenizer, feature extractor, chat template) of an artifact; see `load_model`.

    Of a remote artifact only the processor's files are fetched, no weights.
    """
    return processor_from(open_by_name(path).model_dir)


def load_from(
    source: Artifact,
    *,
    device: str | torch.device = "auto",
    mode: Mode = "load",
    dtype: torch.dtype | str | None = None,
    reporter: Reporter = SILENT,
    model_class: Any = None,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> Any:
    """Load the model of an opened artifact; see `load_model`.

    `model_class` is what a caller takes it to be, `options` are more of `from_pretrained`: `config` (of the artifact,
    with changes of the caller's) and `attn_implementation`.
    """
    streamed = check_mode(source, mode)
    place = resolve_device(device)
    kind = resolve_dtype(dtype, place)
    check_figures(source.model_dir, len(source.manifest.tensors))
    config, cls = architecture(source.model_dir)
    if model_class not in (None, cls):
        raise UsageError(
            "the artifact holds a model of another class",
            where=source.model_dir,
            expected=cls.__name__,
            got=model_class.__name__,
        )
    extra: dict[str, Any] = {"config": config, **options}
    if mode != "load":
        from iwsltpack.runtime.compressed_linear import StreamingConfig, refuse_unfilled

        extra["quantization_config"] = StreamingConfig(source, streamed, mode, kind, place)
    weights = LazyStateDict(source, kind, streamed)
    source.expect(weights)
    fix = "use a larger device, or --device cpu"
    if mode != "stream":
        fix = "use --mode stream (begun as int8: with another --output)"
    extra |= {"state_dict": weights, "dtype": kind}
    model, info = make_model(cls, place, fix, source.model_dir, **extra)
    _refuse_incomplete(info, source)
    if mode != "load":
        refuse_unfilled(model, source.model_dir)
    if mode in ("cache", "stream"):
        model.state_dict = partial(packed_state, source)
    if mode == "int8":
        _tell_int8(model, extra["quantization_config"].decoded, place, reporter)
    model.generation_config = generation_config(source.model_dir)
    return model.eval()


def load_checkpoint(folder: Path, tensors: Mapping[str, torch.Tensor] | None = None) -> Any:
    """Load the model of a checkpoint folder, before any compression; a class of transformers itself.

    Its tensors are `tensors`, if they are given. The type is one whose range holds gradients: float32 on the CPU,
    bfloat16 elsewhere. A configuration that names no class of transformers', and tensors that are not those of its
    architecture, are an `ArtifactError`; a model that does not fit the device's memory is a `ResourceError`.
    """
    place = resolve_device("auto")
    config, cls = architecture(folder)
    kind = torch.float32 if place.type == "cpu" else torch.bfloat16
    options: dict[str, Any] = {"config": config, "dtype": kind, "local_files_only": True}
    options["use_safetensors"] = True
    if tensors is not None:
        options["state_dict"] = tensors
    model, info = make_model(cls, place, "calibrate on the CPU", folder, **options)
    if missing := sorted(map(str, info["missing_keys"])):
        raise ArtifactError("the checkpoint lacks tensors", where=folder, got=", ".join(missing[:5]))
    model.generation_config = generation_config(folder)
    return model.eval()


def check_mode(source: Artifact, mode: Mode) -> frozenset[str]:
    """Return the tensors that `mode` does not decode when loading; needs nothing but the manifest.

    An unknown mode, and ``int8`` for an artifact without rounded layers, are a `UsageError`.
    """
    if mode not in get_args(Mode):
        raise UsageError(f"unknown mode {mode!r}", expected=", ".join(get_args(Mode)))
    if mode == "load":
        return frozenset()
    from iwsltpack.runtime.compressed_linear import rounded, streamable

    if mode != "int8":
        return streamable(source.manifest)
    if names := rounded(source.manifest):
        return names
    raise UsageError(
        "mode int8 needs an artifact with rounded layers, and this one has none",
        expected="a recipe that rounds linear layers of the numbered blocks, such as selected-q3",
        got=source.manifest.recipe.name,
        fix="use --mode load",
    )


def _tell_int8(model: Any, decoded: list[str], place: torch.device, reporter: Reporter) -> None:
    """Say what is held as codes and what is not, and where the fast way to multiply them is missing."""
    from iwsltpack.runtime.int8 import OUTLIER_SHARE, has_kernel, held_as_int8

    held = held_as_int8(model)
    reporter.say(
        f"int8: {held.layers} layers held as codes in {held.bytes / 2**30:.2f} GiB "
        f"(float16: {2 * held.weights / 2**30:.2f}), {held.outliers} codes outside int8 apart"
    )
    if decoded:
        named = ", ".join(decoded[:3]) + (" …" if len(decoded) > 3 else "")
        reporter.say(
            f"int8: {len(decoded)} rounded layers decoded as in load, over {OUTLIER_SHARE:.2%} of their codes "
            f"are outside int8: {named}"
        )
    if place.type == "cuda" and not has_kernel():
        reporter.say("int8: Triton is not installed: the codes are decoded for each product, which is slower")


def make_model(
    cls: Any, place: torch.device, fix: str, folder: Path, **options: Any
) -> tuple[Any, dict[str, Any]]:
    """Let transformers make a model on a device; return it and what transformers says about its tensors.

    They lie in `folder`, or are given as ``state_dict``; a lazy one knows why one of these could not be decoded, which
    transformers does not tell. A model that does not fit the device's memory is a `ResourceError`, which says to `fix`;
    a package that is not here a `MissingDependency`; anything else the error that was the cause, or an `ArtifactError`.
    """
    weights = options.get("state_dict")
    source = None if weights is not None else folder
    try:
        with quiet_transformers():
            made = cls.from_pretrained(source, device_map={"": place}, output_loading_info=True, **options)
    except Exception as error:  # a configuration can make a model's own code fail in any way
        cause = (weights.failure if isinstance(weights, LazyStateDict) else None) or error
        if isinstance(cause, torch.OutOfMemoryError):
            free, total = torch.cuda.mem_get_info(place) if place.type == "cuda" else (0, 0)
            raise ResourceError(
                "the model does not fit the device's memory",
                where=place,
                got=f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free",
                fix=fix,
            ) from error
        if isinstance(cause, ImportError):
            refuse_environment(cause)
        if isinstance(cause, IwsltpackError):
            raise cause from error
        got = f"{type(cause).__name__}: {first_line(cause)}"
        raise ArtifactError("the model cannot be loaded", where=folder, got=got) from error
    model, info = made
    return model, info


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device meant by ``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"unknown device {device!r}", expected="auto, cpu, cuda or cuda:N") from error
    if place.type == "cuda":
        if not torch.cuda.is_available():
            raise MissingDependency(
                "no CUDA device can be used",
                got=f"torch {torch.__version__}",
                fix="use --device cpu, or install a CUDA build of torch",
            )
        if str(place) == "cuda":
            return torch.device("cuda", torch.cuda.current_device())
        if place.index >= torch.cuda.device_count():
            raise UsageError(f"no device {device}", expected=f"an index below {torch.cuda.device_count()}")
    return place


def resolve_dtype(dtype: torch.dtype | str | None, device: torch.device) -> torch.dtype:
    """Return the dtype meant, by default the one that suits `device`."""
    if dtype is None or dtype == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    known = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    kind = known.get(str(dtype).removeprefix("torch."))
    if kind is None:
        raise UsageError(f"unknown dtype {dtype!r}", expected=f"auto, {', '.join(known)}")
    return kind


def processor_from(model_dir: Path) -> Any:
    """Load the processor whose files lie in `model_dir`.

    Files that are missing or make no processor that takes audio are an `ArtifactError`; a package that is not here, or
    does not work with the others, is a `MissingDependency`.
    """
    try:
        from transformers import AutoProcessor

        processor = AutoProcessor.from_pretrained(  # type: ignore[no-untyped-call]
            model_dir, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # files that hold anything can make a library fail in any way
        refuse_environment(error)
        raise ArtifactError(
            "the processor cannot be built from the artifact's files", where=model_dir, got=first_line(error)
        ) from error
    if getattr(processor, "feature_extractor", None) is None or getattr(processor, "tokenizer", None) is None:
        raise ArtifactError(
            "the artifact's processor does not take audio",
            where=model_dir,
            expected="a tokenizer and a feature extractor",
            got=type(processor).__name__,
        )
    rate = getattr(processor.feature_extractor, "sampling_rate", None)
    if type(rate) is not int or not 0 < rate <= HIGHEST_RATE or audio_limit(processor) > LONGEST_SECONDS:
        raise ArtifactError(
            "the artifact's processor hears no audio there is",
            where=model_dir,
            expected=f"a sampling_rate of at most {HIGHEST_RATE} Hz, pieces of at most {LONGEST_SECONDS:g} s",
            got=f"{rate} Hz",
        )
    _refuse_deaf_tokenizer(processor.tokenizer, model_dir)
    # An English Whisper's own tokenizer knows the languages' tokens, too.
    processor.english_only = not is_multilingual(model_dir)
    return processor


def _refuse_deaf_tokenizer(tokenizer: Any, model_dir: Path) -> None:
    """Refuse a tokenizer without its vocabulary: transformers builds one of nothing but special tokens in silence."""
    text = "Translate this speech."
    back = tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"])
    if "".join(back.split()) != "".join(text.split()):
        raise ArtifactError(
            "the processor cannot be built from the artifact's files: its tokenizer has no vocabulary",
            where=model_dir,
            expected=f"{text!r} from its tokens",
            got=repr(back),
            fix="build the artifact again from a complete checkpoint",
        )


def audio_limit(processor: Any) -> float:
    """Return how many seconds of audio the model hears at most: the rest is cut off in silence, or not understood."""
    if (known := family_of(processor).hears_seconds) is not None:
        return known
    extractor = processor.feature_extractor
    samples = getattr(extractor, "n_samples", None)
    if samples is None:
        parameter = inspect.signature(type(extractor).__call__).parameters.get("max_length")
        samples = parameter.default if parameter is not None else None
    if isinstance(samples, int) and samples > 0:
        return samples / sampling_rate(processor)
    return DEFAULT_LIMIT_SECONDS


def sampling_rate(processor: Any) -> int:
    """Return the rate in Hz the model expects."""
    return int(processor.feature_extractor.sampling_rate)


def _refuse_incomplete(info: dict[str, Any], source: Artifact) -> None:
    """Refuse a model that is not made of exactly the artifact's tensors: missing ones would be random weights."""
    wrong = {
        what: sorted(map(str, names)) for what, names in info.items() if names and what != "skipped_pp_keys"
    }
    if not wrong:
        return
    found = "; ".join(
        f"{what.replace('_', ' ')}: {', '.join(names[:5])}" + (" …" if len(names) > 5 else "")
        for what, names in wrong.items()
    )
    raise ArtifactError(
        "the artifact's tensors are not those of its architecture",
        where=source.model_dir,
        expected="every tensor of the architecture, and no other",
        got=found,
        fix="build the artifact again from a checkpoint that matches its config.json",
    )
