"""Audio in, hypotheses out: the conversation, the padding, greedy search, and how each output ended."""

import copy
import json
import math
import threading
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Self

import numpy as np
import torch

from iwsltpack.decoding.chat_template import render
from iwsltpack.documents.run import Finish, RunSettings
from iwsltpack.errors import ArtifactError, InputError, UsageError
from iwsltpack.runtime.families import family_of
from iwsltpack.runtime.model import audio_limit, sampling_rate
from iwsltpack.runtime.token_graphs import TokenGraphs, suits
from iwsltpack.testsets.audio import Samples

SHOWN = 500
"""Characters of a conversation that an error repeats."""
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
"""Settings of sampling; under greedy search they do nothing but raise warnings."""

_one_at_a_time = threading.Lock()
"""A tokenizer that pads for two threads at once ends in an error of its Rust part."""


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """One output, folded to one line; `tokens` counts the end of sequence; `finish` tells whether it was reached."""

    text: str
    tokens: int
    finish: Finish


def fold(text: str) -> str:
    r"""Return `text` as one line: every kind of line break, with the space around it, becomes one space.

    >>> fold("Guten Tag.\n\n  Danke.\n")
    'Guten Tag. Danke.'
    """
    return " ".join(part.strip() for part in text.splitlines() if part.strip())


class InputBuilder:
    """Turns audio into model inputs; needs the processor alone, so it works ahead in a thread of its own.

    Parameters
    ----------
    processor
        Of the artifact.
    prompt
        What is asked about the audio.
    system_prompt
        None for the chat template's own.
    chat_template
        Jinja source; None for the processor's own. Rendered in transformers' sandbox, under the limits of
        `decoding.chat_template`.
    """

    def __init__(
        self, processor: Any, prompt: str, system_prompt: str | None = None, chat_template: str | None = None
    ) -> None:
        self.processor = processor
        self.family = family_of(processor)
        self.rate = sampling_rate(processor)
        self.limit = audio_limit(processor)
        self.most = round(self.limit * self.rate)
        # Set again here: a tokenizer saved with right padding would change greedy outputs of whole batches.
        processor.tokenizer.padding_side = "left"
        if getattr(processor.feature_extractor, "dither", 0.0):
            # Noise drawn anew at every call: the same audio would not give the same text twice.
            processor.feature_extractor.dither = 0.0
        self.plain = False
        """Whether an engine makes the inputs itself."""
        self.conversation, self.options = "", {}
        if self.family.told is None:
            self.conversation = self._render(prompt, system_prompt, chat_template)
        else:
            self.options = told_options(prompt, system_prompt or chat_template)

    @classmethod
    def of_settings(cls, processor: Any, settings: RunSettings) -> Self:
        """Return the builder for a run with these settings."""
        builder = cls(processor, settings.prompt, settings.system_prompt, settings.chat_template)
        builder.plain = settings.engine == "vllm"
        return builder

    def _render(self, prompt: str, system_prompt: str | None, chat_template: str | None) -> str:
        messages: list[dict[str, Any]] = []
        if system_prompt is not None:
            messages.append({"role": "system", "content": system_prompt})
        content = [{"type": "audio"}, {"type": "text", "text": prompt}]
        messages.append({"role": "user", "content": content[::-1] if self.family.text_first else content})
        text = self._text_of(messages, chat_template)
        marker = getattr(self.processor, "audio_token", None)
        if marker and text.count(marker) != 1:
            raise UsageError(
                "the conversation does not hold exactly one audio",
                expected=f"one {marker} in the rendered template",
                got=text[:SHOWN],
                fix="leave the model's special tokens out of the prompt",
            )
        return text

    def _text_of(self, messages: list[dict[str, Any]], chat_template: str | None) -> str:
        from transformers import ProcessorMixin

        if type(self.processor).apply_chat_template is ProcessorMixin.apply_chat_template:
            known = getattr(self.processor, "chat_template", None)
            template = chat_template or (known.get("default") if isinstance(known, dict) else known)
            if not isinstance(template, str):
                raise ArtifactError("the artifact has no chat template", fix="give one: --chat-template FILE")
            variables = {**self.processor.tokenizer.special_tokens_map, **self.family.template}
            return render(template, json.dumps(messages), json.dumps(variables, default=str))
        try:  # a conversation put together by a library, not by a template of the artifact's
            return str(
                self.processor.apply_chat_template(
                    messages,
                    chat_template=chat_template,
                    add_generation_prompt=True,
                    tokenize=False,
                    **self.family.template,
                )
            )
        except Exception as error:
            raise ArtifactError(
                "the chat template does not take this conversation", got=str(error)
            ) from error

    def longest_input(self) -> int:
        """Return the tokens of the longest piece of audio and what is asked about it."""
        found = self.processor(
            text=self.conversation, audio=[np.zeros(self.most, np.float32)], sampling_rate=self.rate
        )
        return len(found["input_ids"][0])

    def prepare(self, audio: list[Samples]) -> dict[str, Any]:
        """Return the inputs for a batch of recordings at the model's rate, on the CPU: texts padded on the left.

        Where `plain`, they are the conversation and the audio.

        Raises
        ------
        InputError
            A recording is longer than the model hears: the feature extractor would cut it in silence.
        """
        for samples in audio:
            if samples.ndim != 1 or samples.dtype != "float32" or samples.size > self.most:
                raise InputError(
                    "not a piece of audio the model hears whole",
                    expected=f"float32, shape (n,), n <= {self.most}",
                    got=f"{samples.dtype}, shape {samples.shape}",
                )
        if self.plain:
            return {"audio": audio, "conversation": self.conversation}
        if self.family.told is not None:
            heard = self.processor.feature_extractor(
                audio, sampling_rate=self.rate, return_tensors="pt", return_attention_mask=True
            )
            return {**heard, **self.options}
        with _one_at_a_time:
            inputs = self.processor(
                text=[self.conversation] * len(audio),
                audio=audio,
                sampling_rate=self.rate,
                return_tensors="pt",
                padding=True,
            )
        prepared = {name: value for name, value in inputs.items() if isinstance(value, torch.Tensor)}
        ids, mask = prepared["input_ids"], prepared["attention_mask"]
        # A repetition penalty counts padding as text. A padding token that every prompt holds anyway changes nothing,
        # so that a padded row is searched exactly as it would be alone.
        first = ids[torch.arange(len(ids)), mask.argmax(dim=1)]
        prepared["input_ids"] = torch.where(mask.bool(), ids, first[:, None])
        return prepared


def told_options(prompt: str, conversation: str | None) -> dict[str, str]:
    """Return the options of `generate` that a prompt ``name=value,name=value`` states; see `families.Family.told`."""
    pairs = [part.partition("=") for part in prompt.split(",") if prompt]
    if conversation or not all(name.strip() and value.strip() for name, _, value in pairs):
        raise UsageError(
            "this model is not asked in a conversation",
            expected="no system prompt or chat template, and for a prompt options of generate: tgt_lang=deu",
            got=repr(conversation or prompt)[:SHOWN],
            fix="leave the prompt out: the pair's language is told",
        )
    return {name.strip(): value.strip() for name, _, value in pairs}


class Translator:
    """Greedy search with a loaded model.

    Parameters
    ----------
    model
        As `load_model` returns it.
    processor
        As `load_processor` returns it.
    graphs
        Whether token steps are recorded as CUDA graphs, where the model and its device can have them.
    """

    def __init__(self, model: Any, processor: Any, *, graphs: bool = True) -> None:
        self.model, self.tokenizer = model, processor.tokenizer
        self.settings = greedy(model.generation_config)
        self.graphs = TokenGraphs(model) if graphs and suits(model) else None
        end = self.settings.eos_token_id
        self.ends = frozenset([end] if isinstance(end, int) else end)

    def generate(self, inputs: dict[str, Any], max_new_tokens: int) -> list[Hypothesis]:
        """Decode every row of a prepared batch; at most `max_new_tokens` tokens each, the end included."""
        device, dtype = self.model.device, self.model.dtype
        placed = {
            name: value.to(device, dtype if value.is_floating_point() else None, non_blocking=True)
            if isinstance(value, torch.Tensor)
            else value
            for name, value in inputs.items()
        }
        settings = copy.deepcopy(self.settings)
        settings.max_new_tokens = max_new_tokens
        if self.graphs is not None:
            settings.cache_implementation = None  # An artifact's own choice; the graphs bring theirs.
            rows, prompt = inputs["input_ids"].shape
            placed["past_key_values"] = self.graphs.cache(rows, prompt + max_new_tokens)
        try:
            with torch.no_grad():
                output = self.model.generate(**placed, generation_config=settings)
        except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            raise ArtifactError(
                "the model does not generate with the artifact's settings",
                got=f"{type(error).__name__}: {error}",
            ) from error
        if "input_ids" in inputs:
            output = output[:, inputs["input_ids"].shape[1] :]
        elif output.shape[1] and (output[:, 0] == self.settings.decoder_start_token_id).all():
            output = output[:, 1:]  # Of some models it is the end of sequence, too.
        return [self._hypothesis(row, max_new_tokens) for row in output.tolist()]

    def _hypothesis(self, row: list[int], limit: int) -> Hypothesis:
        """Cut a row after its end of sequence; one of `limit` tokens without an end stopped there.

        Whisper's `generate` takes the end off the longest row of a batch.
        """
        kept = list(takewhile(lambda token: token not in self.ends, row))
        ended = len(kept) < max(len(row), limit)
        text = self.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Hypothesis(text=fold(text), tokens=len(kept) + ended, finish="stop" if ended else "length")


def greedy(config: Any) -> Any:
    """Return generation settings for greedy search that keep the artifact's ends, padding and penalties."""
    settings = copy.deepcopy(config)
    settings.do_sample, settings.num_beams = False, 1
    for name in SAMPLING:
        if hasattr(settings, name):
            setattr(settings, name, None)
    settings.max_length = None
    # It would cut an output as if it had ended; for None the model's own would be taken.
    if settings.max_time is not None:
        settings.max_time = math.inf
    settings.return_dict_in_generate = False
    if settings.pad_token_id is None:
        end = settings.eos_token_id
        settings.pad_token_id = end if isinstance(end, int) else end[0]
    return settings
