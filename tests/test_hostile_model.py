"""Files beside the weights, with right checksums, that no model has: one clear error each, in time and in bounds."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import MINIATURE
from inference_fixtures import CheckpointSource

from iwsltpack.decoding import chat_template
from iwsltpack.decoding.generation import InputBuilder, Translator
from iwsltpack.errors import ArtifactError
from iwsltpack.runtime.configuration import generation_config
from iwsltpack.runtime.model import load_from, processor_from

Json = dict[str, Any]
AUDIO = "<|audio_bos|><|AUDIO|><|audio_eos|>"


def altered(tmp_path: Path, name: str, change: Callable[[Json], object] | bytes) -> CheckpointSource:
    folder = Path(shutil.copytree(MINIATURE, tmp_path / "model"))
    if isinstance(change, bytes):
        (folder / name).write_bytes(change)
    else:
        document = json.loads((folder / name).read_text())
        change(document)
        (folder / name).write_text(json.dumps(document))
    return CheckpointSource(folder)


MODELS: dict[str, tuple[Callable[[Json], object] | bytes, str]] = {
    "a thousand million layers": (
        lambda c: c["text_config"].update(num_hidden_layers=10**9),
        "num_hidden_layers from 0 to",
    ),
    "layers with an exponent": (
        lambda c: c["text_config"].update(num_hidden_layers=1e9),
        "num_hidden_layers from 0 to",
    ),
    "less than no layers": (
        lambda c: c["text_config"].update(num_hidden_layers=-1),
        "num_hidden_layers from 0 to",
    ),
    "two layers": (
        lambda c: c["text_config"].update(num_hidden_layers=2, layer_types=["full_attention"] * 2),
        "not those of its architecture",
    ),
    "layers of the encoder": (
        lambda c: c["audio_config"].update(encoder_layers=10**7),
        "encoder_layers from 0 to",
    ),
    "no heads": (lambda c: c["text_config"].update(num_attention_heads=0), "configuration|cannot be loaded"),
    "size in words": (lambda c: c["text_config"].update(hidden_size="x"), "configuration|cannot be loaded"),
    "audio token": (lambda c: c.update(audio_token_index=10**30), "audio_token_index from -1 to"),
    "audio token outside": (lambda c: c.update(audio_token_index=10**6), "audio_token_index from -1 to"),
    "no vocabulary": (
        lambda c: c["text_config"].update(vocab_size=0),
        "vocab_size from 1 to|token_\\w+ from -1 to",
    ),
    "labels": (lambda c: c.update(num_labels=10**9), "num_labels from 0 to"),
    "number": (lambda c: c.update(something=[1, 10**30]), "something from"),
    "nested": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "the configuration cannot be read"),
    "nested a little": (b'{"a":' * 900 + b"1" + b"}" * 900, "the configuration cannot be read"),
    "list": (b"[]", "the configuration cannot be read"),
}


@pytest.mark.parametrize("case", MODELS)
def test_a_configuration_no_model_has_is_one_clear_error(tmp_path: Path, case: str) -> None:
    change, message = MODELS[case]
    started = time.monotonic()
    with pytest.raises(ArtifactError, match=message) as error:
        load_from(altered(tmp_path, "config.json", change), device="cpu")
    assert str(tmp_path / "model") in str(error.value)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.update(eos_token_id=[]), "name no end of sequence"),
        (lambda g: g.update(eos_token_id=[638, "x"]), "name no end of sequence"),
        (lambda g: g.update(eos_token_id=-5), "name no end of sequence"),
        (lambda g: g.update(eos_token_id=True), "name no end of sequence"),
        (lambda g: g.update(repetition_penalty="much"), "cannot be read"),
        (lambda g: g.update(repetition_penalty=0.0), "cannot be used|cannot be read"),
        (b"[" * 100_000, "cannot be read"),
    ],
)
def test_generation_settings_without_sense_are_one_clear_error(
    tmp_path: Path, change: Callable[[Json], object] | bytes, message: str
) -> None:
    source = altered(tmp_path, "generation_config.json", change)
    with pytest.raises(ArtifactError, match=message):
        generation_config(source.model_dir)


@pytest.mark.parametrize(
    ("name", "value"),
    [("eos_token_id", [638, 10**6]), ("suppress_tokens", [-1, 10**9]), ("bad_words_ids", [[1], [10**9]])],
)
def test_a_token_outside_the_vocabulary_would_never_come(tmp_path: Path, name: str, value: object) -> None:
    source = altered(tmp_path, "generation_config.json", lambda g: g.update({name: value}))
    with pytest.raises(ArtifactError, match=f"{name} from -1 to"):
        load_from(source, device="cpu")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("tokenizer_config.json", b'{"a":' * 900 + b"1" + b"}" * 900),
        ("tokenizer.json", b'{"model": 7}'),
        ("processor_config.json", lambda p: p["feature_extractor"].update(sampling_rate=0)),
        ("processor_config.json", lambda p: p["feature_extractor"].update(sampling_rate="x")),
        ("processor_config.json", lambda p: p["feature_extractor"].update(chunk_length=10**9)),
    ],
)
def test_a_processor_without_sense_is_one_clear_error(
    tmp_path: Path, name: str, change: Callable[[Json], object] | bytes
) -> None:
    with pytest.raises(ArtifactError, match="processor"):
        processor_from(altered(tmp_path, name, change).model_dir)


TEMPLATES = {
    "loops": (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "no end after 1 s of computing",
    ),
    "counts": ("{{ 10 ** (10 ** 10) }}", "no end after 1 s of computing"),
    "a huge string": ("{{ 'x' * 20000000000 }}", "MemoryError|more memory"),
    "a huge list": ("{{ ([0] * 20000000000) | length }}", "MemoryError|more memory"),
    "a huge field": ("{{ '%20000000000d' % 1 }}", "MemoryError|more memory"),
    "a long text": (AUDIO + "{{ 'x' * 2000000 }}", "2,000,035 characters"),
    "recursion": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError"),
    "nesting": ("{% if 1 %}" * 5000 + "{% endif %}" * 5000, "Error"),
    "its own words": ("{{ raise_exception('no audio\x1b') }}", "TemplateError: no audio"),
}


@pytest.mark.parametrize("case", TEMPLATES)
def test_a_template_has_little_time_and_room(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    template, message = TEMPLATES[case]
    monkeypatch.setattr(chat_template, "CPU_SECONDS", 1)
    processor = processor_from(MINIATURE)
    processor.chat_template = template
    with pytest.raises(ArtifactError, match=message) as error:
        InputBuilder(processor, "Translate.")
    assert error.value.what == "the chat template does not take this conversation"
    assert "\x1b" not in str(error.value)


def test_a_template_that_never_starts_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "START_SECONDS", 0.01)
    with pytest.raises(ArtifactError, match=r"no end after 0\.01 s"):
        chat_template.render("a", "[]", "{}")


def test_the_text_is_what_transformers_makes_of_it() -> None:
    processor = processor_from(MINIATURE)
    for system in (None, "Be brief."):
        messages: list[Json] = [] if system is None else [{"role": "system", "content": system}]
        content = [{"type": "audio"}, {"type": "text", "text": "Übersetze „dies“ \u2028 bitte."}]
        messages.append({"role": "user", "content": content})
        expected = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        assert InputBuilder(processor, content[1]["text"], system).conversation == expected
    processor.chat_template = {"default": AUDIO + "{{ eos_token }}{{ messages | length }}", "other": "x"}
    assert InputBuilder(processor, "p").conversation == f"{AUDIO}{processor.tokenizer.eos_token}1"
    processor.chat_template = None
    with pytest.raises(ArtifactError, match="no chat template"):
        InputBuilder(processor, "p")


def test_settings_that_fail_in_generation_are_one_clear_error() -> None:
    processor = processor_from(MINIATURE)
    model = load_from(CheckpointSource(MINIATURE), device="cpu")
    import numpy as np

    inputs = InputBuilder(processor, "p").prepare([np.zeros(16000, np.float32)])
    settings = model.generation_config
    settings.num_return_sequences, settings.max_time, settings.return_dict_in_generate = 1, 0.0, True
    (output,) = Translator(model, processor).generate(inputs, 4)
    assert (output.tokens, output.finish) == (4, "length"), "cut by the number of tokens alone"
    settings.num_return_sequences = 10**9
    with pytest.raises(ArtifactError, match="does not generate with the artifact's settings"):
        Translator(model, processor).generate(inputs, 2)
