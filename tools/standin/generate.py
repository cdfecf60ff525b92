"""Generate the stand-in checkpoint, sharded as on the hub.

    python -m tools.standin.generate --scale full --output DIR     # 16.8 GB
    python -m tools.standin.generate --scale 1/16 --output DIR
    python -m tools.standin.generate --scale tiny --output DIR

Every linear layer is Gaussian with the sigma fitted to its bytes in the paper, rounded to bfloat16; a tensor's values
depend on its name and shape alone, so that two machines generate the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from iwsltpack.system import fileio
from tools.standin.fit import TABLE, round_to_bfloat16

BLOCK = 1 << 22
SHARDS = 5
MINIATURE = Path(__file__).parents[2] / "iwsltpack" / "demo" / "miniature"
PREFIX = "language_model.model"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The sizes that make a scale."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    vocabulary: int
    audio: int
    audio_layers: int
    audio_heads: int
    positions: int = 1500


SCALES = {
    "full": Scale(
        hidden=4096,
        intermediate=11008,
        layers=32,
        heads=32,
        vocabulary=156032,
        audio=1280,
        audio_layers=32,
        audio_heads=20,
    ),
    "1/16": Scale(
        hidden=1024,
        intermediate=2752,
        layers=32,
        heads=8,
        vocabulary=39008,
        audio=320,
        audio_layers=32,
        audio_heads=5,
    ),
    "tiny": Scale(
        hidden=64,
        intermediate=172,
        layers=2,
        heads=2,
        vocabulary=320,
        audio=32,
        audio_layers=2,
        audio_heads=2,
        positions=100,
    ),
}


def shapes(scale: Scale) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of every tensor, in the hub's names and order."""
    audio, hidden, wide = scale.audio, scale.hidden, scale.intermediate
    result: dict[str, tuple[int, ...]] = {
        "audio_tower.conv1.weight": (audio, 128, 3),
        "audio_tower.conv1.bias": (audio,),
        "audio_tower.conv2.weight": (audio, audio, 3),
        "audio_tower.conv2.bias": (audio,),
        "audio_tower.embed_positions.weight": (scale.positions, audio),
    }
    for index in range(scale.audio_layers):
        layer = f"audio_tower.layers.{index}"
        for name in ("k_proj", "v_proj", "q_proj", "out_proj"):
            result |= _linear(f"{layer}.self_attn.{name}", audio, audio, bias=name != "k_proj")
        result |= _norm(f"{layer}.self_attn_layer_norm", audio)
        result |= _linear(f"{layer}.fc1", 4 * audio, audio) | _linear(f"{layer}.fc2", audio, 4 * audio)
        result |= _norm(f"{layer}.final_layer_norm", audio)
    result |= _norm("audio_tower.layer_norm", audio) | _linear("multi_modal_projector.linear", hidden, audio)
    result[f"{PREFIX}.embed_tokens.weight"] = (scale.vocabulary, hidden)
    for index in range(scale.layers):
        layer = f"{PREFIX}.layers.{index}"
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            result |= _linear(f"{layer}.self_attn.{name}", hidden, hidden, bias=name != "o_proj")
        for name in ("gate_proj", "up_proj"):
            result |= _linear(f"{layer}.mlp.{name}", wide, hidden, bias=False)
        result |= _linear(f"{layer}.mlp.down_proj", hidden, wide, bias=False)
        result[f"{layer}.input_layernorm.weight"] = (hidden,)
        result[f"{layer}.post_attention_layernorm.weight"] = (hidden,)
    result[f"{PREFIX}.norm.weight"] = (hidden,)
    return result | _linear("language_model.lm_head", scale.vocabulary, hidden, bias=False)


def _linear(name: str, rows: int, columns: int, *, bias: bool = True) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns)} | ({f"{name}.bias": (rows,)} if bias else {})


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def sigma_of(name: str, table: dict[str, list[float]]) -> float:
    """Return the spread of a tensor's values: fitted for linear layers, 0.02 elsewhere."""
    layer = name.removesuffix(".weight")
    index = int(found.group(1)) if (found := re.search(r"\.layers\.(\d+)\.", layer)) else 0
    role = re.sub(r"\.layers\.\d+\.", ".layers.N.", layer)
    return table[role][index] if role in table and name.endswith(".weight") else 0.02


def blocks(name: str, shape: tuple[int, ...], sigma: float) -> Iterator[np.ndarray]:
    """Yield a tensor's values as bfloat16 bits, block by block; norm weights are spread around 1."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    random = np.random.default_rng(seed)
    centre = np.float32(1 if re.search(r"norm\.weight$", name) else 0)
    count = math.prod(shape)
    for start in range(0, count, BLOCK):
        values = random.standard_normal(min(BLOCK, count - start), dtype=np.float32)
        values *= np.float32(sigma)
        values += centre
        yield round_to_bfloat16(values)


def config(scale: Scale) -> dict[str, object]:
    """Return ``config.json``, with the hub's fields."""
    return {
        "architectures": ["Qwen2AudioForConditionalGeneration"],
        "audio_config": {
            "model_type": "qwen2_audio_encoder",
            "num_mel_bins": 128,
            "encoder_layers": scale.audio_layers,
            "encoder_attention_heads": scale.audio_heads,
            "encoder_ffn_dim": 4 * scale.audio,
            "d_model": scale.audio,
            "max_source_positions": scale.positions,
            "scale_embedding": False,
            "activation_function": "gelu",
        },
        "audio_token_index": min(151646, scale.vocabulary - 1),
        "ignore_index": -100,
        "model_type": "qwen2_audio",
        "text_config": {
            "model_type": "qwen2",
            "bos_token_id": min(151643, scale.vocabulary - 3),
            "eos_token_id": min(151645, scale.vocabulary - 2),
            "hidden_size": scale.hidden,
            "intermediate_size": scale.intermediate,
            "num_attention_heads": scale.heads,
            "num_hidden_layers": scale.layers,
            "num_key_value_heads": scale.heads,
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-05,
            "rope_theta": 10000,
            "use_mrope": False,
            "vocab_size": scale.vocabulary,
        },
        "dtype": "bfloat16",
    }


def _shards(tensors: dict[str, tuple[int, ...]], count: int) -> list[list[str]]:
    total = 2 * sum(math.prod(shape) for shape in tensors.values())
    shards: list[list[str]] = [[]]
    filled = 0
    for name, shape in tensors.items():
        if len(shards) < count and shards[-1] and filled >= total / count:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += 2 * math.prod(shape)
    return shards


def _header(names: list[str], tensors: dict[str, tuple[int, ...]]) -> tuple[bytes, dict[str, int]]:
    """Return a shard's header and where in the file each tensor begins."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    places: dict[str, int] = {}
    offset = 0
    for name in names:
        places[name], size = offset, 2 * math.prod(tensors[name])
        header[name] = {
            "dtype": "BF16",
            "shape": list(tensors[name]),
            "data_offsets": [offset, offset + size],
        }
        offset += size
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    raw = len(raw).to_bytes(8, "little") + raw
    return raw, {name: len(raw) + place for name, place in places.items()}


def _write_tensor(
    file: int, place: int, name: str, shape: tuple[int, ...], table: dict[str, list[float]]
) -> None:
    for block in blocks(name, shape, sigma_of(name, table)):
        place += os.pwrite(file, block.data, place)


def generate(output: Path, scale_name: str) -> None:
    """Write the checkpoint of one scale into `output`."""
    scale = SCALES[scale_name]
    tensors, table = shapes(scale), json.loads(TABLE.read_text(encoding="utf-8"))
    shards = _shards(tensors, SHARDS if scale_name == "full" else 2)
    files = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    with ExitStack() as stack, ThreadPoolExecutor(os.cpu_count()) as pool:
        written = []
        for file, names in zip(files, shards, strict=True):
            stream = stack.enter_context(fileio.atomic_open(output / file))
            header, places = _header(names, tensors)
            stream.write(header)
            stream.flush()
            # The largest first, so that no thread is left alone with one at the end.
            written += [(places[name], stream.fileno(), name) for name in names]
        for future in [
            pool.submit(_write_tensor, number, place, name, tensors[name], table)
            for place, number, name in sorted(written, key=lambda item: -math.prod(tensors[item[2]]))
        ]:
            future.result()
    total = 2 * sum(math.prod(shape) for shape in tensors.values())
    weight_map = {name: file for file, names in zip(files, shards, strict=True) for name in names}
    fileio.write_json(
        output / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map}
    )
    fileio.write_json(output / "config.json", config(scale))
    fileio.write_json(
        output / "generation_config.json", {"eos_token_id": [min(151645, scale.vocabulary - 2)]}
    )
    # The weights are random: any tokenizer and processor of the family will do, and a build wants both.
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json", "chat_template.jinja"):
        shutil.copyfile(MINIATURE / name, output / name)
    print(f"{scale_name}: {len(tensors)} tensors, {total:,} bytes in {len(files)} shards")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", choices=SCALES, default="tiny")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    generate(arguments.output, arguments.scale)
