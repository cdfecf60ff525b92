"""Speech models that are no chat models, from build to submission: Whisper and SeamlessM4T v2, tiny and random."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from inference_fixtures import tone, write_tone
from typer.testing import CliRunner

from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.recipes import load_recipe
from iwsltpack.building.request import BuildRequest
from iwsltpack.cli.common import with_options
from iwsltpack.decoding.decode import decode
from iwsltpack.decoding.generation import InputBuilder, Translator
from iwsltpack.decoding.options import DecodeOptions, RunRequest
from iwsltpack.errors import UsageError
from iwsltpack.runtime.families import SEAMLESS, WHISPER, WHISPER_ENGLISH, family_of
from iwsltpack.runtime.model import load_model, load_processor
from iwsltpack.system.progress import SILENT


def main(arguments: list[str]) -> None:
    """Run a command in this process: a program of its own would import torch anew each time."""
    app = typer.Typer()
    app.command()(with_options(import_module(f"iwsltpack.cli.{arguments[0]}").command))
    done = CliRunner().invoke(app, arguments[1:])
    assert done.exit_code == 0, f"{done.output} {done.exception!r}"


LETTERS = [chr(code) for code in range(33, 127)] + ["Ġ", "▁", "Ċ"]


def whisper(folder: Path, languages: tuple[str, ...] = ("en", "de", "zh"), multilingual: bool = True) -> None:
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )

    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in languages)]
    special += ["<|translate|>", "<|transcribe|>", "<|startofprev|>", "<|notimestamps|>", "<|0.00|>"]
    vocabulary = {token: number for number, token in enumerate([*LETTERS, *special])}
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    WhisperProcessor(WhisperFeatureExtractor(feature_size=80), tokenizer).save_pretrained(folder)
    torch.manual_seed(4)
    ends = {"eos_token_id": vocabulary["<|endoftext|>"], "pad_token_id": vocabulary["<|endoftext|>"]}
    start = {"decoder_start_token_id": vocabulary["<|startoftranscript|>"]}
    config = WhisperConfig(
        vocab_size=len(vocabulary),
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_target_positions=64,
        init_std=0.3,
        bos_token_id=ends["eos_token_id"],
        **ends,
        **start,
    )
    model = WhisperForConditionalGeneration(config).half()
    known = {f"<|{code}|>": vocabulary[f"<|{code}|>"] for code in languages}
    tasks = {task: vocabulary[f"<|{task}|>"] for task in ("translate", "transcribe")}
    several = {"is_multilingual": True, "lang_to_id": known, "task_to_id": tasks}
    model.generation_config = GenerationConfig(
        no_timestamps_token_id=vocabulary["<|notimestamps|>"],
        prev_sot_token_id=vocabulary["<|startofprev|>"],
        max_length=64,
        **(several if multilingual else {"is_multilingual": False}),
        **ends,
        **start,
    )
    model.save_pretrained(folder)


def seamless(folder: Path) -> None:
    from transformers import (
        GenerationConfig,
        SeamlessM4TFeatureExtractor,
        SeamlessM4TProcessor,
        SeamlessM4TTokenizer,
        SeamlessM4Tv2Config,
        SeamlessM4Tv2ForSpeechToText,
    )

    special = ["<pad>", "<unk>", "<s>", "</s>", "__eng__", "__deu__", "__cmn__"]
    vocabulary = {token: number for number, token in enumerate([*special, *LETTERS])}
    languages = ["__eng__", "__deu__", "__cmn__"]
    tokenizer = SeamlessM4TTokenizer(
        vocab=vocabulary, merges=[], tgt_lang="deu", additional_special_tokens=languages
    )
    SeamlessM4TProcessor(SeamlessM4TFeatureExtractor(), tokenizer).save_pretrained(folder)
    torch.manual_seed(5)
    ids = {"bos_token_id": 2, "pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 3}
    config = SeamlessM4Tv2Config(
        vocab_size=len(vocabulary),
        hidden_size=32,
        encoder_layers=1,
        encoder_ffn_dim=48,
        encoder_attention_heads=2,
        decoder_layers=2,
        decoder_ffn_dim=48,
        decoder_attention_heads=2,
        speech_encoder_layers=1,
        speech_encoder_attention_heads=2,
        speech_encoder_intermediate_size=48,
        initializer_range=0.3,
        max_position_embeddings=64,
        layerdrop=0.0,
        speech_encoder_layerdrop=0.0,
        **ids,
    )
    model = SeamlessM4Tv2ForSpeechToText(config).half()
    codes = {code: vocabulary[f"__{code}__"] for code in ("eng", "deu", "cmn")}
    model.generation_config = GenerationConfig(text_decoder_lang_to_code_id=codes, max_length=64, **ids)
    model.save_pretrained(folder)


MAKERS: dict[str, Callable[[Path], None]] = {"whisper": whisper, "seamless": seamless}


@pytest.fixture(scope="module", params=MAKERS)
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    MAKERS[request.param](folder / "checkpoint")
    build = [
        "build",
        str(folder / "checkpoint"),
        "--output",
        str(folder / "artifact"),
        "--recipe",
        "global-q2",
    ]
    main([*build, "--base-model", f"tiny/{request.param}"])
    return folder / "artifact"


@pytest.fixture
def test_set(tmp_path: Path) -> Path:
    folder = tmp_path / "talks"
    folder.mkdir()
    for number in range(3):
        write_tone(folder / f"{number}.wav", 1.0 + number)
    return folder


def theirs(model: Any, processor: Any, samples: np.ndarray, pair: str, limit: int) -> str:
    """Decode by transformers' own `generate`, called as the models' pages call it."""
    heard = processor.feature_extractor(
        samples, sampling_rate=16_000, return_tensors="pt", return_attention_mask=True
    )
    if family_of(processor) is SEAMLESS:
        language = {"tgt_lang": {"en-de": "deu", "en-zh": "cmn"}[pair]}
    else:
        language = {"language": pair[3:], "task": "transcribe"}
    output = model.generate(**heard, **language, do_sample=False, num_beams=1, max_new_tokens=limit)
    return " ".join(processor.tokenizer.decode(output[0], skip_special_tokens=True).split())


@pytest.mark.parametrize("pair", ["en-de", "en-zh"])
def test_texts_are_those_of_generate_one_by_one_and_in_a_batch(artifact: Path, pair: str) -> None:
    model, processor = load_model(artifact, device="cpu"), load_processor(artifact)
    told = family_of(processor).told
    assert told is not None
    builder, translator = InputBuilder(processor, told[pair[3:]]), Translator(model, processor)
    clips = [tone(0.8 + 0.9 * number, 200.0 * (number + 1)) for number in range(3)]
    together = translator.generate(builder.prepare(clips), 16)
    expected = [theirs(model, processor, clip, pair, 16) for clip in clips]
    assert [hypothesis.text for hypothesis in together] == expected
    assert [translator.generate(builder.prepare([clip]), 16)[0] for clip in clips] == together
    assert all(0 < hypothesis.tokens <= 20 for hypothesis in together)
    assert any(expected), "random weights that write nothing show nothing"


def test_the_language_of_the_pair_is_told(artifact: Path, test_set: Path, tmp_path: Path) -> None:
    prompts = {}
    for pair in ("en-de", "en-zh"):
        options = DecodeOptions(pair=pair, device="cpu", max_new_tokens=12)
        decode(RunRequest(artifact=artifact, test_dir=test_set, output=tmp_path / pair, options=options))
        prompts[pair] = json.loads((tmp_path / pair / "run.json").read_text())["settings"]["prompt"]
    processor = load_processor(artifact)
    told = family_of(processor).told
    assert prompts == {"en-de": told["de"], "en-zh": told["zh"]}
    with pytest.raises(UsageError, match="not asked in a conversation"):
        InputBuilder(processor, "Translate this speech into German.")
    with pytest.raises(UsageError, match="not asked in a conversation"):
        InputBuilder(processor, told["de"], system_prompt="You are a translator.")


@pytest.mark.parametrize(("pair", "sets"), [("en-de", 6), ("en-zh", 5)])
def test_from_build_to_submission(
    artifact: Path, tmp_path: Path, pair: str, sets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(sets):
        write_tone(tmp_path / "test" / f"set{number}" / "a.wav", 0.6 + 0.2 * number)
    model = ["--artifact", str(artifact), "--pair", pair]
    main(["decode", "test", *model, "--output", "runs/a", "--device", "cpu", "--max-new-tokens", "12"])
    team = ["--team", "TINY", "--condition", "unconstrained", "--dataset", "none", "--contrastive"]
    main(["submit", "--run", "runs/a", *model, *team])
    (folder,) = (tmp_path / "submissions").iterdir()
    assert len(list(folder.glob(f"*.{pair}.txt"))) == sets
    main(["validate", str(folder)])


def test_a_calibration_is_refused_before_anything_is_read(artifact: Path, test_set: Path) -> None:
    from iwsltpack.calibration.data import CalibrationData, CalibrationRequest

    with pytest.raises(UsageError, match="not asked in a conversation cannot be calibrated"):
        CalibrationData(CalibrationRequest(data=test_set), artifact.parent / "checkpoint", SILENT)


@pytest.mark.parametrize("languages", [("en",), ("en", "de", "zh")])
def test_a_whisper_of_english_alone_is_told_nothing(tmp_path: Path, languages: tuple[str, ...]) -> None:
    whisper(tmp_path / "checkpoint", languages, multilingual=False)
    build_artifact(BuildRequest(tmp_path / "checkpoint", tmp_path / "artifact", load_recipe("fp16"), "zstd"))
    model, processor = load_model(tmp_path / "artifact", device="cpu"), load_processor(tmp_path / "artifact")
    assert family_of(processor) is WHISPER_ENGLISH is not WHISPER
    builder = InputBuilder(processor, "")
    assert Translator(model, processor).generate(builder.prepare([tone(1.0)]), 8)[0].tokens
