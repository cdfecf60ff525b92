"""Gemma 4 12B (`gemma4_unified`), the 2027 edition's baseline: what it needs, how it is asked, what it hears."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import json
import os
import string
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conftest import REPOSITORY
from inference_fixtures import (
    MINIATURE,
    RATE,
    CheckpointSource,
    Told,
    miniature,
    run_request,
    write_tone,
)
from submission_fixtures import request

from iwsltpack import editions
from iwsltpack.decoding.decode import decode
from iwsltpack.decoding.generation import InputBuilder, Translator
from iwsltpack.decoding.options import DecodeOptions
from iwsltpack.errors import MissingDependency, ValidationFailed
from iwsltpack.runtime.families import FAMILIES, GEMMA4, family_of
from iwsltpack.runtime.model import audio_limit, load_from, processor_from

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|turn>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'audio' %}<|audio|>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<turn|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|turn>model\n"
    "{% if not enable_thinking | default(true) %}<|channel>thought\n<channel|>{% endif %}{% endif %}"
)
"""What matters of the model's own: parts in their order, and an empty thought where thinking is off."""
SPECIAL = {
    "image_token": "<|image|>",
    "boi_token": "<|image>",
    "eoi_token": "<image|>",
    "audio_token": "<|audio|>",
    "boa_token": "<|audio>",
    "eoa_token": "<audio|>",
}
OPERATORS = (
    *("nms", "qnms", "deform_conv2d", "_deform_conv2d_backward"),
    *(
        f"{start}{kind}{end}"
        for kind in ("roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool")
        for start, end in (("", ""), ("_", "_backward"))
    ),
)
"""Of torchvision's compiled part, on images."""


def load_torchvision() -> torch.library.Library | None:
    """Load torchvision; one built for a torch with CUDA beside a torch without, with operators nobody here calls."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        for name in OPERATORS:
            library.define(f"{name}(Tensor x) -> Tensor")
        importlib.import_module("torchvision")
        return library
    return None


HERE = importlib.util.find_spec("torchvision") is not None
LIBRARY = load_torchvision() if HERE else None
needs_torchvision = pytest.mark.skipif(
    not HERE,
    reason="Gemma 4's processor needs torchvision; the registry's, beside a torch for CPUs, breaks transformers",
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Gemma 4 without an audio encoder, as its checkpoint lies on the hub."""
    from transformers import Gemma4UnifiedConfig, Gemma4UnifiedForConditionalGeneration, GenerationConfig
    from transformers import GemmaTokenizer as Tokenizer

    folder = tmp_path_factory.mktemp("gemma4")
    letters = string.ascii_letters + string.digits + string.punctuation + "▁\n"
    basic = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>")
    more = ("<|turn>", "<turn|>", "<|channel>", "<channel|>", "<|video|>", *SPECIAL.values())
    vocabulary = {token: number for number, token in enumerate((*basic, *letters, *more))}
    tokenizer = Tokenizer(
        vocab=vocabulary, merges=[], additional_special_tokens=list(more), extra_special_tokens=SPECIAL
    )
    tokenizer.save_pretrained(folder)
    ids = {name: vocabulary[token] for name, token in SPECIAL.items()}
    text = {"vocab_size": len(vocabulary), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3}
    text |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "global_head_dim": 16}
    text |= {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "sliding_window": 16}
    text |= {"layer_types": ["sliding_attention", "sliding_attention", "full_attention"]}
    torch.manual_seed(8)
    model = Gemma4UnifiedForConditionalGeneration(
        Gemma4UnifiedConfig(
            text_config=text,
            audio_config={},
            vision_config={"mm_embed_dim": 32, "mm_posemb_size": 16},
            boi_token_id=ids["boi_token"],
            eoi_token_id=ids["eoi_token"],
            image_token_id=ids["image_token"],
            video_token_id=vocabulary["<|video|>"],
            boa_token_id=ids["boa_token"],
            eoa_token_index=ids["eoa_token"],
            audio_token_id=ids["audio_token"],
        )
    )
    with torch.no_grad():  # at its initial scale the audio would not change a word
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(12)
    model.generation_config = GenerationConfig(eos_token_id=1, pad_token_id=0, bos_token_id=2)
    model.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    parts = {
        "feature_extractor": {"feature_extractor_type": "Gemma4UnifiedAudioFeatureExtractor"},
        "image_processor": {"image_processor_type": "Gemma4UnifiedImageProcessor"},
        "video_processor": {"video_processor_type": "Gemma4UnifiedVideoProcessor"},
    }
    document = {"processor_class": "Gemma4UnifiedProcessor", **parts}
    (folder / "processor_config.json").write_text(json.dumps(document))
    return folder


@pytest.mark.skipif(HERE, reason="torchvision is here")
def test_a_missing_torchvision_is_told_before_anything_is_decoded(checkpoint: Path, tmp_path: Path) -> None:
    write_tone(tmp_path / "talk" / "a.wav", 1.0)
    request = run_request(tmp_path / "talk", "x", tmp_path / "run", DecodeOptions(device="cpu"))
    with pytest.raises(
        MissingDependency, match=r"a package that is not here\n.*torchvision(.|\n)*pip install '\.\[gemma\]'"
    ):
        decode(request, source=CheckpointSource(checkpoint))
    assert not (tmp_path / "run").exists()


def test_a_torchvision_for_another_torch_is_told(tmp_path: Path) -> None:
    """It breaks transformers for every model, whether it sees images or not."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    (tmp_path / "torchvision-0.1.dist-info").mkdir()
    (tmp_path / "torchvision-0.1.dist-info" / "METADATA").write_text("Name: torchvision\nVersion: 0.1\n")
    program = (
        "import sys\nfrom pathlib import Path\nfrom iwsltpack.errors import MissingDependency\n"
        "from iwsltpack.runtime.model import processor_from\n"
        "try:\n    processor_from(Path(sys.argv[1]))\nexcept MissingDependency as error:\n    print(error)\n"
    )
    paths = os.pathsep.join((str(tmp_path), str(REPOSITORY)))
    done = subprocess.run(
        [sys.executable, "-c", program, str(MINIATURE)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "torchvision does not fit the torch that is installed" in done.stdout
    assert f"expected: one built for torch {torch.__version__}" in done.stdout
    assert "got: operator torchvision::nms does not exist" in done.stdout


def of_the_family(processor: Any, name: str = "Gemma4UnifiedProcessor") -> Any:
    """The same processor under the class's name that the family is known by."""
    other = copy.copy(processor)
    other.__class__ = type(name, (type(processor),), {})
    return other


def test_the_family_is_asked_text_first_without_thinking_and_hears_18_seconds() -> None:
    processor = miniature()[1]
    template = (
        "{% for m in messages %}{% for p in m.content %}{{ p.text if p.type == 'text' else '<|AUDIO|>' }}"
        "{% endfor %}{% endfor %}{{ enable_thinking | default('unset') }}"
    )
    said = {
        name: InputBuilder(asked, "Say.", chat_template=template).conversation
        for name, asked in (("gemma", of_the_family(processor)), ("other", processor))
    }
    assert said == {"gemma": "Say.<|AUDIO|>False", "other": "<|AUDIO|>Say.unset"}
    gemmas = [name for name, family in FAMILIES.items() if family is GEMMA4]
    assert {audio_limit(of_the_family(processor, name)) for name in gemmas} == {18.0}
    assert family_of(processor).hears_seconds is None


def test_the_familys_prompt_and_limit_are_the_organisers(checkpoint: Path) -> None:
    wanted = editions.load("iwslt2027").decoding("en-de")
    own = DecodeOptions(pair="en-de").resolved(GEMMA4)
    assert (own.prompt, own.max_new_tokens) == (wanted.prompt, 256)
    assert own.prompt == (
        "Translate the following speech into German. Output only the translation, with no explanation or newlines."
    )
    named = DecodeOptions(pair="en-de", edition="iwslt2026", prompt="Say.").resolved(GEMMA4)
    assert (named.prompt, named.max_new_tokens) == ("Say.", 64)


def speech(seconds: float, seed: int) -> np.ndarray[Any, Any]:
    """Noise in bursts with a silence of 0.4 s after every 2 s."""
    noise = 0.3 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    time = np.arange(noise.size) / RATE
    return np.where(time % 2.4 < 2.0, noise, 0.0).clip(-1, 1).astype(np.float32)


@needs_torchvision
def test_the_processor_puts_the_audio_after_the_text(checkpoint: Path) -> None:
    builder = InputBuilder(processor_from(checkpoint), "Translate this.")
    assert builder.conversation == (
        "<bos><|turn>user\nTranslate this.<|audio|><turn|>\n<|turn>model\n<|channel>thought\n<channel|>"
    )
    heard = builder.prepare([speech(1.0, 1), speech(2.0, 2)])
    assert [int(row.sum()) for row in heard["input_features_mask"]] == [25, 50]  # 40 ms each
    ids = builder.processor.audio_token_id
    assert [int((row == ids).sum()) for row in heard["input_ids"]] == [25, 50]


@needs_torchvision
def test_a_batch_equals_one_by_one(checkpoint: Path) -> None:
    processor = processor_from(checkpoint)
    builder = InputBuilder(processor, "Translate this.")
    translator = Translator(load_from(CheckpointSource(checkpoint), device="cpu"), processor)
    audio = [speech(seconds, seed) for seed, seconds in enumerate((1.0, 3.3, 0.5, 2.1))]
    together = translator.generate(builder.prepare(audio), 12)
    alone = [translator.generate(builder.prepare([one]), 12)[0] for one in audio]
    assert together == alone
    assert len({item.text for item in alone}) > 1  # it hears


@needs_torchvision
def test_from_checkpoint_to_submission(checkpoint: Path, tmp_path: Path) -> None:
    from iwsltpack.building.pipeline import build_artifact
    from iwsltpack.building.recipes import BUILT_IN
    from iwsltpack.building.request import BuildRequest
    from iwsltpack.submission.packaging import prepare

    manifest = build_artifact(BuildRequest(checkpoint, tmp_path / "q3", BUILT_IN["selected-q3"], "zstd"))
    assert sum(tensor.bits is not None for tensor in manifest.tensors) == 9  # three MLPs
    lengths = {"talk": (1.5, 25.0), "a": (1.0,), "b": (0.8,), "c": (1.2,), "d": (0.5,)}
    for name, seconds in lengths.items():
        (tmp_path / "sets" / name).mkdir(parents=True)
        for number, length in enumerate(seconds):
            path = tmp_path / "sets" / name / f"part_{number}.wav"
            soundfile.write(path, speech(length, number), RATE)
    told: list[str] = []
    options = DecodeOptions(device="cpu", max_new_tokens=6)
    done = decode(run_request(tmp_path / "sets", tmp_path / "q3", tmp_path / "run", options), Told(told))
    assert "talk: 1 segments over 18 s are cut at silences, one line each" in told
    run = next(item.run for item in done if item.folder.name == "talk")
    assert run is not None
    assert [segment.pieces for segment in run.segments] == [1, 2]
    assert run.settings.prompt == editions.load("iwslt2027").decoding("en-zh").prompt
    with pytest.raises(ValidationFailed, match="longer than the 18 s the model hears"):
        other = DecodeOptions(device="cpu", long="error")
        decode(run_request(tmp_path / "sets", tmp_path / "q3", tmp_path / "refused", other))
    package = prepare(request(tmp_path / "q3", *(item.folder for item in done), edition="iwslt2027"))
    assert manifest.base_model.architecture == "Gemma4UnifiedForConditionalGeneration"
    assert "submit.base-model-unusual" not in {problem.rule for problem in package.warnings}
