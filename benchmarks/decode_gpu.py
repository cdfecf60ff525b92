"""Speed and memory of every way to hold the model, on one device in one run: one command, JSON on stdout.

    python benchmarks/decode_gpu.py --checkpoint standin/ --artifact artifacts/q3 --device cuda

Compares, over the same segments: `plain` (transformers' own `from_pretrained` of the checkpoint, the paper's loop of
batch 1), `paper` (the paper's way: every rounded layer wrapped, Zstd-packed float16 decoded at its first use, inside
the timing), and this package's modes at batch 1 and batched. Each runs in a process of its own, so that peaks of
memory are its own. Runs on a CPU too, for proof at a small scale.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

RATE = 16_000
WAYS = ("plain", "paper", "load", "cache", "stream")


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
    """Put the paper's wrapper around the layers of its selection."""
    chosen = ("mlp", "feed_forward", "up_proj", "down_proj", "gate_proj")
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and any(word in name for word in chosen):
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, PaperLinear(module, digits))


def load(way: str, options: argparse.Namespace) -> tuple[Any, float]:
    """Return the model and the seconds from nothing to a model on the device."""
    from iwsltpack.inference.model import load_model, resolve_device, resolve_dtype

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
    from iwsltpack.inference.device import device_name, peak_device_bytes, peak_host_bytes
    from iwsltpack.inference.generation import Listener, Translator
    from iwsltpack.inference.model import processor_from
    from iwsltpack.inference.options import default_prompt

    model, load_seconds = load(way, options)
    processor = processor_from(options.checkpoint)
    listener, translator = Listener(processor, default_prompt("en-zh")), Translator(model, processor)
    audio = make_audio(options.items, listener.limit)
    device = model.device
    synchronise(device)
    started = time.perf_counter()
    translator.generate(listener.prepare(audio[:1]), 1)
    synchronise(device)
    first = time.perf_counter() - started
    loop = audio[: options.loop_items]
    started = time.perf_counter()
    tokens = sum(translator.generate(listener.prepare([clip]), options.tokens)[0].tokens for clip in loop)
    synchronise(device)
    single = time.perf_counter() - started
    result = {
        "load_seconds": load_seconds,
        "first_token_seconds": first,
        "artifact_to_first_token_seconds": load_seconds + first,
        "seconds_per_item_batch_1": single / len(loop),
        "tokens_per_second_batch_1": tokens / single,
        "device_name": device_name(device),
    }
    if way != "paper":
        result |= batched(listener, translator, audio, options)
    return {**result, "peak_host_bytes": peak_host_bytes(), "peak_device_bytes": peak_device_bytes(device)}


def batched(listener: Any, translator: Any, audio: list[Any], options: argparse.Namespace) -> dict[str, Any]:
    """Take the time of all items in batches of like length, the features made ahead."""
    from iwsltpack.inference.batching import work_ahead

    ordered = sorted(audio, key=len, reverse=True)
    batches = [ordered[start : start + options.batch] for start in range(0, len(ordered), options.batch)]
    started = time.perf_counter()
    for _, inputs in work_ahead(batches, listener.prepare):
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
            ratios[f"{way}_seconds_per_item_against_plain"] = (
                figures["seconds_per_item_batch_1"] / base["seconds_per_item_batch_1"]
            )
            ratios[f"{way}_first_token_against_plain"] = (
                figures["artifact_to_first_token_seconds"] / base["artifact_to_first_token_seconds"]
            )
    if "paper" in ways and "load" in ways:
        loop = 1 / ways["paper"]["seconds_per_item_batch_1"]
        ratios["batched_load_against_the_papers_loop"] = ways["load"]["items_per_second_batched"] / loop
    return ratios


def main() -> None:
    """Run every way in a process of its own, print what they measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkpoint", type=Path, required=True, help="safetensors checkpoint, as on the hub"
    )
    parser.add_argument("--artifact", type=Path, required=True, help="built from that checkpoint")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--loop-items", type=int, default=16, help="items of the batch-1 loops")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--digits", type=int, default=3, help="of the paper's way")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--only", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.only, options)))
        return
    ways: dict[str, dict[str, Any]] = {}
    for way in options.ways.split(","):
        if way not in WAYS:
            parser.error(f"unknown way {way!r}; known: {', '.join(WAYS)}")
        with tempfile.TemporaryFile("w+") as output:
            subprocess.run([sys.executable, *sys.argv, "--only", way], check=True, stdout=output)
            output.seek(0)
            ways[way] = json.loads(output.read().splitlines()[-1])
        print(f"{way}: {json.dumps(ways[way])}", file=sys.stderr, flush=True)
    print(json.dumps({"torch": torch.__version__, "ways": ways, "ratios": compare(ways)}, indent=1))


if __name__ == "__main__":
    main()
