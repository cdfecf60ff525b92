"""Artifacts in programs written for transformers: `from_pretrained`, scripts, the size of a state dict."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import soundfile
import torch
import warm
from hub_server import READER, HubServer
from inference_fixtures import MINIATURE, RATE, tone

from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.recipes import load_recipe
from iwsltpack.building.request import BuildRequest
from iwsltpack.documents.choices import Mode
from iwsltpack.errors import UsageError
from iwsltpack.runtime.model import load_model, load_processor

SCRIPT = """
import sys
import soundfile
from transformers import AutoModelForMultimodalLM, AutoProcessor

name, audio = sys.argv[1:]
processor = AutoProcessor.from_pretrained(name)
model = AutoModelForMultimodalLM.from_pretrained(name, dtype="float32", device_map="cpu", attn_implementation="eager")
prompt = "Translate this English speech into Chinese."
conversation = [{"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": prompt}]}]
text = processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
samples, rate = soundfile.read(audio, dtype="float32")
inputs = processor(text=text, audio=[samples], sampling_rate=rate, return_tensors="pt", padding=True)
output = model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=12)
print(processor.batch_decode(output[:, inputs["input_ids"].shape[1]:], skip_special_tokens=True)[0])
"""


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    root = tmp_path_factory.mktemp("hf")

    def build(version: int) -> Path:
        path = root / f"v{version}"
        if not path.exists():
            build_artifact(
                BuildRequest(MINIATURE, path, load_recipe("global-q2"), "zstd", format_version=version)
            )
        return path

    return build


@pytest.fixture(scope="module")
def inputs() -> dict[str, torch.Tensor]:
    from iwsltpack.decoding.generation import InputBuilder
    from iwsltpack.runtime.model import processor_from

    return InputBuilder(processor_from(MINIATURE), "Translate this.").prepare([tone(1.0)])


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("mode", get_args(Mode))
def test_a_model_is_the_one_that_load_model_makes(
    artifact: Callable[[int], Path], inputs: dict[str, torch.Tensor], version: int, mode: Any
) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoProcessor

    import iwsltpack.hf  # noqa: F401

    path = artifact(version)
    model = AutoModelForSeq2SeqLM.from_pretrained(path, dtype="float32", quantization_config={"mode": mode})
    assert type(model).__name__ == "Qwen2AudioForConditionalGeneration"
    with torch.inference_mode():
        found, expected = (m(**inputs).logits for m in (model, load_model(path, device="cpu", mode=mode)))
    assert torch.equal(found, expected)
    theirs, ours = AutoProcessor.from_pretrained(path), load_processor(path)
    assert type(theirs) is type(ours)
    assert theirs.tokenizer.get_vocab() == ours.tokenizer.get_vocab()


def saved_bytes(model: Any) -> int:
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.tell()


@pytest.mark.parametrize("mode", ["cache", "stream"])
def test_a_state_dict_weighs_what_the_artifact_weighs(artifact: Callable[[int], Path], mode: Any) -> None:
    from iwsltpack.artifact.reader import open_artifact

    path = artifact(2)
    weights = sum(f.bytes for f in open_artifact(path).manifest.files if f.path.startswith("weights"))
    model = load_model(path, device="cpu", mode=mode)
    assert 0.97 * weights < saved_bytes(model) <= 1.03 * weights
    with pytest.raises((ValueError, UsageError)):
        model.save_pretrained(path.parent / "never")


def test_codes_are_in_the_state_dict_of_int8(artifact: Callable[[int], Path]) -> None:
    from iwsltpack.runtime.int8 import held_as_int8

    model = load_model(artifact(2), device="cpu", mode="int8")
    codes = sum(value.nbytes for name, value in model.state_dict().items() if name.endswith(".codes"))
    assert codes == held_as_int8(model).weights


@pytest.mark.parametrize("mode", ["load", "int8"])
def test_a_script_runs_unchanged(artifact: Callable[[int], Path], tmp_path: Path, mode: str) -> None:
    from iwsltpack.decoding.generation import InputBuilder, Translator

    script, audio = tmp_path / "baseline.py", tmp_path / "a.wav"
    script.write_text(SCRIPT)
    soundfile.write(audio, tone(1.5), RATE, subtype="FLOAT")
    command = [
        sys.executable,
        "-m",
        "iwsltpack.hf",
        "--mode",
        mode,
        str(script),
        str(artifact(2)),
        str(audio),
    ]
    done = warm.run(command)
    assert done.returncode == 0, done.stderr
    processor = load_processor(artifact(2))
    prompt = "Translate this English speech into Chinese."
    translator = Translator(load_model(artifact(2), device="cpu"), processor)
    (expected,) = translator.generate(InputBuilder(processor, prompt).prepare([tone(1.5)]), 12)
    assert done.stdout.strip() == expected.text
    assert expected.text


def test_what_means_nothing_to_an_artifact_is_refused(artifact: Callable[[int], Path]) -> None:
    from transformers import AutoModelForSeq2SeqLM, Qwen2AudioForConditionalGeneration, WhisperModel

    import iwsltpack.hf  # noqa: F401

    path = artifact(2)
    for options, named in (
        ({"max_memory": {0: "1GB"}}, "max_memory"),
        ({"quantization_config": {"load_in_4bit": True}}, "load_in_4bit"),
        ({"device_map": {"": "cpu", "lm_head": "cuda:0"}}, "one device"),
    ):
        with pytest.raises(UsageError, match=named):
            AutoModelForSeq2SeqLM.from_pretrained(path, **options)
    with pytest.raises(UsageError, match="another class"):
        WhisperModel.from_pretrained(path)
    plain = Qwen2AudioForConditionalGeneration.from_pretrained(MINIATURE)
    assert isinstance(plain, Qwen2AudioForConditionalGeneration)  # checkpoints are read as ever


OF_A_HUB = """
import sys
import torch
import iwsltpack.hf
from transformers import AutoModelForSeq2SeqLM, AutoProcessor

inputs = torch.load(sys.argv[1])
found = {}
for name, revision in (("team/q2", "v1"), ("team/q2", None), ("team/plain", None)):
    options = {} if revision is None else {"revision": revision}
    processor = AutoProcessor.from_pretrained(name, **options)
    model = AutoModelForSeq2SeqLM.from_pretrained(name, dtype="float32", **options)
    with torch.inference_mode():
        found[name, revision] = processor.tokenizer.get_vocab(), model(**inputs).logits
torch.save(found, sys.argv[2])
"""


def test_a_model_is_named_by_its_hub_id(
    artifact: Callable[[int], Path], inputs: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """Of an artifact by a revision or by none, and of a checkpoint, which is read as ever."""
    from transformers import Qwen2AudioForConditionalGeneration

    torch.save(inputs, tmp_path / "inputs")
    with HubServer() as hub:
        hub.publish("team/q2", artifact(2))
        hub.repositories["team/q2"].tags["v1"] = hub.repositories["team/q2"].head().oid
        fp16 = tmp_path / "fp16"
        build_artifact(BuildRequest(MINIATURE, fp16, load_recipe("fp16"), "zstd"))
        hub.publish("team/q2", fp16, private=True)
        hub.publish("team/plain", MINIATURE)
        done = subprocess.run(
            [sys.executable, "-c", OF_A_HUB, str(tmp_path / "inputs"), str(tmp_path / "found")],
            env=hub.environment(READER, tmp_path / "home", HOME=str(tmp_path)),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    found = torch.load(tmp_path / "found")
    plain = Qwen2AudioForConditionalGeneration.from_pretrained(MINIATURE, dtype=torch.float32)
    models = [load_model(artifact(2), device="cpu"), load_model(fp16, device="cpu"), plain]
    for (vocabulary, logits), model in zip(found.values(), models, strict=True):
        with torch.inference_mode():
            assert torch.equal(logits, model(**inputs).logits)
        assert vocabulary == load_processor(artifact(2)).tokenizer.get_vocab()
    assert not torch.equal(found["team/q2", "v1"][1], found["team/q2", None][1])
