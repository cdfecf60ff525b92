"""Speed and memory of every way to hold the model, on one device in one run, JSON on stdout.

Where there is neither checkpoint nor network, the first command generates a full-size stand-in on the machine itself
and builds its artifact (17 GB + 9 GB of disk); the others measure. Each is meant to end within ten minutes:

    python -m benchmarks.decode_gpu --work DIR --prepare --recipe selected-q3
    python -m benchmarks.decode_gpu --work DIR --ways plain,load,int8 --json DIR/batch1.json
    python -m benchmarks.decode_gpu --work DIR --ways plain,paper,cache --loop-items 8 --json DIR/paper.json
    python -m benchmarks.decode_gpu --work DIR --ways stream --json DIR/stream.json
    python -m benchmarks.decode_gpu --work DIR --ways plain,load,int8 --cold --items 1 --loop-items 1
    python -m benchmarks.decode_gpu --work DIR --ways plain,load,int8 --static-cache --json DIR/static.json

`--checkpoint` and `--artifact` take a checkpoint and an artifact that are there already.

Compares, over the same segments: `plain` (transformers' own `from_pretrained` of the checkpoint, the paper's loop of
batch 1), `paper` (the paper's way: every rounded layer wrapped, Zstd-packed float16 decoded at its first use, inside
the timing), and this package's modes at batch 1 and batched. Each runs in a process of its own, so that peaks of
memory are its own. `stream` decodes seven billion weights for every token: it gets one item and `--stream-tokens`.
`--static-cache` lets transformers compile the token step, for every way alike: then the device is measured, and not
how fast the host starts its kernels. Runs on a CPU too, for proof at a small scale.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

RATE = 16_000
WAYS = ("plain", "paper", "load", "cache", "stream", "int8")
MINIATURE = Path(__file__).resolve().parents[1] / "iwsltpack" / "demo" / "miniature"
SELECTED = ("gate_proj", "up_proj", "down_proj")


def prepare(work: Path, scale: str, recipe: str) -> dict[str, Any]:
    """Generate the stand-in, give it a processor, build its artifact; return how long each took."""
    from iwsltpack.building.pipeline import build_artifact
    from iwsltpack.building.recipes import load_recipe
    from iwsltpack.building.request import BuildRequest
    from tools.standin.generate import generate

    seconds: dict[str, Any] = {}
    started = time.perf_counter()
    if not (work / "standin" / "config.json").exists():
        generate(work / "standin", scale)
        add_processor(work / "standin")
        seconds["generate_seconds"] = time.perf_counter() - started
    started = time.perf_counter()
    if not (work / "artifact").exists():
        build_artifact(BuildRequest(work / "standin", work / "artifact", load_recipe(recipe), "zstd"))
        seconds["build_seconds"] = time.perf_counter() - started
    return seconds


def add_processor(folder: Path) -> None:
    """Give the stand-in the miniature's small tokenizer, and a feature extractor that hears what the model does."""
    config, small = (json.loads((place / "config.json").read_text()) for place in (folder, MINIATURE))
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(MINIATURE / name, folder / name)
    if config["text_config"]["vocab_size"] < small["text_config"]["vocab_size"]:
        raise SystemExit("this scale has too few embeddings for the miniature's tokenizer")
    config["audio_token_index"] = small["audio_token_index"]
    config["text_config"] |= {key: small["text_config"][key] for key in ("bos_token_id", "eos_token_id")}
    processor = json.loads((MINIATURE / "processor_config.json").read_text())
    seconds = config["audio_config"]["max_source_positions"] // 50
    samples = seconds * RATE
    frames = {"chunk_length": seconds, "n_samples": samples, "nb_max_frames": samples // 160}
    processor["feature_extractor"] |= frames
    generation = {"eos_token_id": small["text_config"]["eos_token_id"], "pad_token_id": 0}
    for name, document in (
        ("config.json", config),
        ("processor_config.json", processor),
        ("generation_config.json", generation),
    ):
        (folder / name).write_text(json.dumps(document, indent=1) + "\n")


def forget(*folders: Path) -> None:
    """Push the folders' files out of the system's file cache."""
    os.sync()
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def make_audio(count: int, limit: float) -> list[np.ndarray[Any, Any]]:
    """Return noise of 2 s to 12 s (or what the model hears), float32 at 16 kHz."""
    rng = np.random.default_rng(0)
    lengths = rng.uniform(min(2.0, limit / 4), min(12.0, limit), count)
    return [rng.normal(0, 0.05, round(seconds * RATE)).astype(np.float32) for seconds in lengths]


class PaperLinear(torch.nn.Module):
    """The paper's wrapper: float32 -> Quantize -> float16 -> Zstd 3, decoded to the device at first use."""

    def __init__(self, linear: torch.nn.Linear, digits: int) -> None:
        super().__init__()
        from numcodecs import Quantize, Zstd

        self.codec, self.zstd = Quantize(digits=digits, dtype="f4", astype="f2"), Zstd(level=3)
        values = np.ascontiguousarray(linear.weight.detach().float().cpu().numpy())
        self.payload = self.zstd.encode(self.codec.encode(values))
        self.shape, self.bias, self.place = values.shape, linear.bias, linear.weight
        self.place = torch.nn.Parameter(linear.weight.new_empty(0), requires_grad=False)
        self.weight: torch.Tensor | None = None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Decode if this is the first use, then multiply."""
        if self.weight is None:
            raw = np.frombuffer(self.zstd.decode(self.payload), dtype="<f2").reshape(self.shape)
            self.weight = torch.from_numpy(raw.astype("<f4")).to(self.place.device, self.place.dtype)
        return torch.nn.functional.linear(inputs, self.weight, self.bias)


def wrap(model: torch.nn.Module, digits: int) -> None:
    """Put the paper's wrapper around the layers of its selection; no part of what is timed, so on all cores."""
    chosen = ("mlp", "feed_forward", *SELECTED)
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and any(word in name for word in chosen)
    ]

    def replace(item: tuple[str, torch.nn.Linear]) -> None:
        parent, _, leaf = item[0].rpartition(".")
        setattr(model.get_submodule(parent), leaf, PaperLinear(item[1], digits))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(replace, found))


def selected_bytes(model: torch.nn.Module) -> int:
    """Return what the selected layers hold on the device, everything that belongs to them counted."""
    total = 0
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in SELECTED:
            held = [*module.parameters(), *module.buffers(), getattr(module, "_cached", None)]
            if isinstance(module, PaperLinear):
                held.append(module.weight)
            total += sum(tensor.nbytes for tensor in held if tensor is not None)
    return total


def identical_weights(model: torch.nn.Module, artifact: Path) -> dict[str, Any]:
    """Compare what int8 layers hold with what the artifact decodes to, bit for bit."""
    from iwsltpack.artifact.reader import open_artifact
    from iwsltpack.runtime.compressed_linear import layer_role
    from iwsltpack.runtime.int8 import Int8Linear
    from iwsltpack.runtime.weights import LazyTensor

    source, equal, compared = open_artifact(artifact), 0, 0
    rounded = {entry.name.removesuffix(".weight"): entry for entry in source.manifest.tensors if entry.bits}
    for name, layer in model.named_modules():
        number = next((part for part in name.split(".") if part.isdecimal()), "1")
        if not isinstance(layer, Int8Linear) or int(number) % 8:
            continue  # Every eighth block will do.
        (entry,) = (
            entry
            for known, entry in rounded.items()
            if (layer_role(known), "audio" in known) == (layer_role(name), "audio" in name)
            and f".{number}." in known
        )
        decoded = LazyTensor(source, entry).to(layer.codes.device, layer.values.dtype)
        compared += 1
        equal += torch.equal(layer.weight, decoded)
    return {"int8_layers_compared": compared, "int8_layers_identical": equal}


def load(way: str, options: argparse.Namespace) -> tuple[Any, float]:
    """Return the model and the seconds from nothing to a model on the device."""
    from iwsltpack.runtime.model import load_model, resolve_device, resolve_dtype

    device = resolve_device(options.device)
    dtype = resolve_dtype(None, device)
    if way not in ("plain", "paper"):
        import zarr.codecs.numcodecs  # noqa: F401  (as transformers is imported before the other ways' clocks start)

        started = time.perf_counter()
        model = load_model(options.artifact, device=device, mode=way)  # type: ignore[arg-type]
        return model, time.perf_counter() - started
    import transformers

    config = transformers.AutoConfig.from_pretrained(options.checkpoint)
    cls = getattr(transformers, config.architectures[0])
    started = time.perf_counter()
    model = cls.from_pretrained(options.checkpoint, dtype=dtype, device_map={"": device})
    seconds = time.perf_counter() - started
    if way == "paper":
        wrap(model, options.digits)
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
    return model.eval(), seconds


def synchronise(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(way: str, options: argparse.Namespace) -> dict[str, Any]:
    """Load one way, take the time of the first token, of single items and of batches."""
    from iwsltpack.decoding.generation import InputBuilder, Translator
    from iwsltpack.decoding.options import default_prompt
    from iwsltpack.runtime.environment import device_name, peak_device_bytes, peak_host_bytes
    from iwsltpack.runtime.model import processor_from

    if options.cold:
        forget(options.checkpoint, options.artifact)
    model, load_seconds = load(way, options)
    processor = processor_from(options.checkpoint)
    builder = InputBuilder(processor, default_prompt("en-zh"))
    own = way not in ("plain", "paper") and not options.no_graphs
    translator = Translator(model, processor, graphs=own)
    if options.static_cache:
        translator.settings.cache_implementation = "static"
    audio = make_audio(options.items, builder.limit)
    tokens_each = options.stream_tokens if way == "stream" else options.tokens
    device = model.device
    loaded = peak_device_bytes(device)
    synchronise(device)
    started = time.perf_counter()
    translator.generate(builder.prepare(audio[:1]), 1)
    synchronise(device)
    first = time.perf_counter() - started
    clips = audio[: 1 if way == "stream" else options.loop_items]
    eager = {}
    if translator.graphs is not None:
        seconds, _, texts = one_by_one(
            builder, Translator(model, processor, graphs=False), clips, tokens_each
        )
        eager = {"eager_seconds_per_item_batch_1": seconds / len(clips), "eager_texts": texts}
    if options.static_cache:  # Compiling, and a graph for each shape, are no part of what is timed.
        one_by_one(builder, translator, clips, tokens_each)
    single, tokens, texts = one_by_one(builder, translator, clips, tokens_each)
    result = {
        "load_seconds": load_seconds,
        "first_token_seconds": first,
        "artifact_to_first_token_seconds": load_seconds + first,
        "seconds_per_item_batch_1": single / len(clips),
        "tokens_per_second_batch_1": tokens / single,
        "tokens_an_item": tokens / len(clips),
        "texts": texts,
        **eager,
        "selected_layers_bytes": selected_bytes(model),
        "peak_device_bytes_after_load": loaded,
        "token_graphs": translator.graphs is not None,
        "device_name": device_name(device),
    }
    if way not in ("paper", "stream"):
        result |= batched(builder, translator, audio, options)
    result |= {"peak_host_bytes": peak_host_bytes(), "peak_device_bytes": peak_device_bytes(device)}
    # Last: comparing decodes layers, which would show in the peaks.
    return {**result, **(identical_weights(model, options.artifact) if way == "int8" else {})}


def one_by_one(builder: Any, translator: Any, clips: list[Any], tokens: int) -> tuple[float, int, list[str]]:
    """Return seconds, tokens and a digest of each text, of the clips decoded one by one."""
    synchronise(translator.model.device)
    started = time.perf_counter()
    found = [translator.generate(builder.prepare([clip]), tokens)[0] for clip in clips]
    synchronise(translator.model.device)
    seconds = time.perf_counter() - started
    digests = [hashlib.sha256(hypothesis.text.encode()).hexdigest()[:8] for hypothesis in found]
    return seconds, sum(hypothesis.tokens for hypothesis in found), digests


def batched(builder: Any, translator: Any, audio: list[Any], options: argparse.Namespace) -> dict[str, Any]:
    """Take the time of all items in batches of like length, the features made ahead."""
    from iwsltpack.decoding.batches import work_ahead

    ordered = sorted(audio, key=len, reverse=True)
    batches = [ordered[start : start + options.batch] for start in range(0, len(ordered), options.batch)]
    started = time.perf_counter()
    for _, inputs in work_ahead(batches, builder.prepare):
        translator.generate(inputs, options.tokens)
    synchronise(translator.model.device)
    seconds = time.perf_counter() - started
    return {"items_per_second_batched": len(audio) / seconds, "batch": options.batch}


def compare(ways: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Return the figures the bars are about."""
    ratios: dict[str, float] = {}
    if "plain" in ways:
        base = ways["plain"]
        for way, figures in ways.items():
            ratios[f"{way}_selected_layers_bytes_against_plain"] = (
                figures["selected_layers_bytes"] / base["selected_layers_bytes"]
            )
            if way == "stream":  # its items are shorter
                continue
            ratios[f"{way}_seconds_per_item_against_plain"] = (
                figures["seconds_per_item_batch_1"] / base["seconds_per_item_batch_1"]
            )
            if "eager_seconds_per_item_batch_1" in figures:
                ratios[f"{way}_without_graphs_seconds_per_item_against_plain"] = (
                    figures["eager_seconds_per_item_batch_1"] / base["seconds_per_item_batch_1"]
                )
            ratios[f"{way}_same_texts_as_plain"] = sum(map(str.__eq__, figures["texts"], base["texts"]))
            ratios[f"{way}_first_token_against_plain"] = (
                figures["artifact_to_first_token_seconds"] / base["artifact_to_first_token_seconds"]
            )
    if "paper" in ways:
        for way in {"load", "cache", "int8"} & ways.keys():
            loop = 1 / ways["paper"]["seconds_per_item_batch_1"]
            ratios[f"batched_{way}_against_the_papers_loop"] = ways[way]["items_per_second_batched"] / loop
    return ratios


def main() -> None:
    """Run every way in a process of its own, print what they measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="folder of the stand-in and its artifact")
    parser.add_argument("--prepare", action="store_true", help="make both, measure nothing")
    parser.add_argument("--scale", default="full", help="of the stand-in")
    parser.add_argument("--recipe", default="selected-q3", help="of its artifact")
    parser.add_argument("--checkpoint", type=Path, help="safetensors checkpoint, as on the hub")
    parser.add_argument("--artifact", type=Path, help="built from that checkpoint")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cold", action="store_true", help="empty the file cache before each way")
    parser.add_argument("--static-cache", action="store_true", help="compiled token step, for every way")
    parser.add_argument(
        "--no-graphs", action="store_true", help="transformers' own loop for this package, too"
    )
    parser.add_argument("--stream-tokens", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the result there")
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--loop-items", type=int, default=16, help="items of the batch-1 loops")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--digits", type=int, default=3, help="of the paper's way")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--only", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        options.checkpoint = options.checkpoint or options.work / "standin"
        options.artifact = options.artifact or options.work / "artifact"
    if options.checkpoint is None or options.artifact is None:
        parser.error("--work, or --checkpoint and --artifact, are needed")
    if options.prepare:
        print(json.dumps(prepare(options.work, options.scale, options.recipe)))
        return
    if options.only:
        print(json.dumps(measure(options.only, options)))
        return
    ways: dict[str, dict[str, Any]] = {}
    for way in options.ways.split(","):
        if way not in WAYS:
            parser.error(f"unknown way {way!r}; known: {', '.join(WAYS)}")
        with tempfile.TemporaryFile("w+") as output:
            command = [sys.executable, "-m", "benchmarks.decode_gpu", *sys.argv[1:], "--only", way]
            subprocess.run(command, check=True, stdout=output)
            output.seek(0)
            ways[way] = json.loads(output.read().splitlines()[-1])
        print(f"{way}: {json.dumps(ways[way])}", file=sys.stderr, flush=True)
    text = json.dumps({"torch": torch.__version__, "ways": ways, "ratios": compare(ways)}, indent=1)
    if options.json:
        options.json.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
