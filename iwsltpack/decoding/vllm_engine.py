"""vLLM in place of transformers' loop (``decode --engine vllm``): what it must be able to do, and how it is asked.

vLLM runs in this process, so that a batch's requests are always scheduled alike and a killed run leaves nothing behind.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from iwsltpack.decoding.generation import Hypothesis, InputBuilder, Translator, greedy
from iwsltpack.documents.names import MODEL_DIR
from iwsltpack.documents.run import RunSettings
from iwsltpack.errors import IwsltpackError, MissingDependency, ResourceError, UsageError, how_to_install
from iwsltpack.runtime.configuration import architecture, first_line, generation_config
from iwsltpack.runtime.families import Family
from iwsltpack.runtime.vllm_loader import LOAD_FORMAT, register
from iwsltpack.system.fileio import read_toml
from iwsltpack.testsets.audio import Samples

UNKNOWN, ENVIRONMENT = read_toml(Path(__file__).with_suffix(".toml")).values()
"""Generation settings that vLLM does not know, and what its environment tells it; see there."""
LEAST_LENGTH = 2048
"""Tokens a request may have at least: vLLM lays its memory out for as much audio as the processor takes."""
INSTEAD = "leave --engine vllm out"


def check_engine(model_dir: Path, family: Family, device: torch.device) -> None:
    """Refuse what vLLM cannot decode, before anything is read.

    A `MissingDependency` says that vLLM is absent; a `UsageError`, that it would not do as transformers does.
    """
    if find_spec("vllm") is None:
        raise MissingDependency("vLLM is not installed", fix=f"{how_to_install('vllm')}; or {INSTEAD}")
    if family.told is not None:
        raise UsageError("vLLM decodes models that are asked in a conversation", where=model_dir, fix=INSTEAD)
    settings = generation_config(model_dir)
    if foreign := [name for name in UNKNOWN if getattr(settings, name, None) not in (None, 0, 1, [])]:
        raise UsageError(
            "vLLM does not know these generation settings",
            where=model_dir / "generation_config.json",
            got=", ".join(f"{name} = {getattr(settings, name)}" for name in foreign),
            fix=INSTEAD,
        )
    if device.type == "cuda" and device.index:
        raise UsageError(
            "vLLM takes the first CUDA device it sees", got=device, fix=f"CUDA_VISIBLE_DEVICES={device.index}"
        )


class VllmTranslator(Translator):
    """Greedy search with vLLM, which reads the artifact in a folder; nothing else is written.

    Parameters
    ----------
    folder
        The artifact.
    builder
        Of a run's inputs.
    settings
        Of every test set; they agree on the device and the dtype.

    Raises
    ------
    UsageError
        vLLM is built for another device, or does not know the model.
    ResourceError
        vLLM does not start with the model; it says why.
    """

    def __init__(self, folder: Path, builder: InputBuilder, settings: list[RunSettings]) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        import vllm
        from vllm.platforms import current_platform

        register()
        first, model_dir = settings[0], folder / MODEL_DIR
        config, cls = architecture(model_dir)
        name, known = cls.__name__, vllm.ModelRegistry.get_supported_archs()
        if current_platform.device_type != first.device:
            raise UsageError(
                "vLLM is built for another device", expected=current_platform.device_type, got=first.device
            )
        if name not in known:
            raise UsageError(f"vLLM {vllm.__version__} does not know the model", got=name, fix=INSTEAD)
        self.tokenizer, self.rate = builder.processor.tokenizer, builder.rate
        self.settings = greedy(generation_config(model_dir))
        end = self.settings.eos_token_id
        self.ends = frozenset([end] if isinstance(end, int) else end)
        length = builder.longest_input() + max(
            item.retry_truncated or item.max_new_tokens for item in settings
        )
        most = getattr(config.get_text_config(), "max_position_embeddings", None) or length
        try:
            self.model = vllm.LLM(
                str(folder),
                load_format=LOAD_FORMAT,
                dtype=first.dtype,
                max_model_len=min(max(LEAST_LENGTH, length), most),
                max_num_seqs=max(item.batch_size for item in settings),
                limit_mm_per_prompt={"audio": 1},
                enable_prefix_caching=False,
                enforce_eager=first.device == "cpu",
                seed=0,
            )
        except IwsltpackError:
            raise
        except Exception as error:
            raise ResourceError(
                f"vLLM {vllm.__version__} does not start with this model",
                where=folder,
                got=first_line(error),
                fix=INSTEAD,
            ) from error

    def generate(self, inputs: dict[str, Any], max_new_tokens: int) -> list[Hypothesis]:
        """Decode every recording of a prepared batch; at most `max_new_tokens` tokens each, the end included."""
        from vllm import SamplingParams

        audio: list[Samples] = inputs["audio"]
        requests = [
            {"prompt": inputs["conversation"], "multi_modal_data": {"audio": [(samples, self.rate)]}}
            for samples in audio
        ]
        search = SamplingParams(
            temperature=0,
            max_tokens=max_new_tokens,
            repetition_penalty=float(self.settings.repetition_penalty or 1),
            stop_token_ids=sorted(self.ends),
            detokenize=False,
        )
        try:
            found = self.model.generate(requests, search, use_tqdm=False)
        except Exception as error:
            raise ResourceError(
                "vLLM does not decode with this model", got=first_line(error), fix=INSTEAD
            ) from error
        return [self._hypothesis(list(request.outputs[0].token_ids), max_new_tokens) for request in found]
