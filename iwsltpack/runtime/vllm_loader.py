"""vLLM reads artifacts itself, with no checkpoint on disk: a load format of ours, which vLLM finds by an entry point.

vLLM calls `register` in each of its processes (group ``vllm.general_plugins``). From then on an artifact may stand
wherever vLLM takes a model: ``vllm serve artifacts/q3``, ``LLM("artifacts/q3")``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iwsltpack.errors import ArtifactError

if TYPE_CHECKING:
    import torch

    from iwsltpack.artifact.reader import Artifact

LOAD_FORMAT = "iwsltpack"


def register() -> None:
    """Teach vLLM, in this process, the load format; may be called again."""
    from vllm.engine.arg_utils import EngineArgs
    from vllm.model_executor.model_loader import register_model_loader
    from vllm.model_executor.model_loader.base_loader import BaseModelLoader

    plain = EngineArgs.create_engine_config
    if hasattr(plain, "__wrapped__"):
        return

    @register_model_loader(LOAD_FORMAT)
    class ArtifactLoader(BaseModelLoader):  # type: ignore[misc]
        """Decodes an artifact into vLLM's model; the model's folder is that of the artifact's configuration."""

        def download_model(self, model_config: Any) -> None:
            """Do nothing: `name_folder` fetched what was elsewhere."""

        def load_weights(self, model: Any, model_config: Any) -> None:
            """Give every tensor to the model."""
            load_weights(model, Path(model_config.model).parent)

    @wraps(plain)
    def create_engine_config(args: Any, *rest: Any, **options: Any) -> Any:
        name_folder(args)
        return plain(args, *rest, **options)

    EngineArgs.create_engine_config = create_engine_config


def name_folder(args: Any) -> None:
    """Let vLLM's arguments whose model is an artifact name the folder of its configuration, and this load format.

    What lies elsewhere is fetched into the cache first. As in an export, rounded weights are computed with in float16
    where nothing is said: bfloat16 would round them again.
    """
    from iwsltpack.artifact.location import hub_address, local_copy
    from iwsltpack.artifact.reader import open_artifact, open_if_artifact
    from iwsltpack.documents.names import MANIFEST_NAME

    fetching = {"revision": args.revision} if getattr(args, "revision", None) else {}
    source = open_if_artifact(args.model, **fetching)
    if source is None and args.load_format != LOAD_FORMAT:
        return
    if source is None:  # the folder of the configuration was named, or nothing of ours
        source = open_artifact(Path(args.model).parent)
    elif not (Path(args.model) / MANIFEST_NAME).is_file():
        suffix = f"@{fetching['revision']}" if fetching else ""
        source = open_artifact(local_copy(hub_address(f"{args.model}{suffix}")))
    if args.served_model_name is None:
        args.served_model_name = args.model
    args.model, args.load_format = str(source.model_dir.resolve()), LOAD_FORMAT
    if args.dtype == "auto" and any(tensor.quantized for tensor in source.manifest.tensors):
        args.dtype = "float16"


def load_weights(model: Any, folder: Path) -> None:
    """Give a model of vLLM every tensor of an artifact, decoded; tokens it suppresses get no chance in the outputs.

    A model that the artifact leaves a part of unset, and a damaged artifact, are an `ArtifactError`.
    """
    from iwsltpack.artifact.reader import open_artifact
    from iwsltpack.runtime.configuration import generation_config
    from iwsltpack.runtime.weights import decoded_tensors

    source: Artifact = open_artifact(folder)
    loaded = model.load_weights(decoded_tensors(source))
    missing = {name for name, _ in model.named_parameters()} - (loaded or set())
    if loaded is not None and missing:
        raise ArtifactError(
            "the artifact lacks tensors that vLLM's model has",
            where=folder,
            got=", ".join(sorted(missing)[:5]),
            fix="decode with transformers; a newer vLLM may know the model",
        )
    if tokens := generation_config(source.model_dir).suppress_tokens:
        model.compute_logits = without_tokens(model.compute_logits, tokens)


def without_tokens(
    compute_logits: Callable[..., torch.Tensor | None], tokens: list[int]
) -> Callable[..., torch.Tensor | None]:
    """Return the function with logits of minus infinity for tokens: vLLM leaves `suppress_tokens` unread."""

    @wraps(compute_logits)
    def suppressed(*states: Any, **options: Any) -> torch.Tensor | None:
        logits = compute_logits(*states, **options)
        if logits is not None:  # of several ranks one has them
            logits[..., tokens] = -float("inf")
        return logits

    return suppressed
