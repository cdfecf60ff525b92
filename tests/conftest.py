"""Fixtures shared by all tests: checkpoints to build from, artifacts to read, the miniature."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

# Tests run beside each other, and their models are small: threads of one would only be in the others' way.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

# On CI the same examples every time: a change is judged by what it changed. Everywhere else new ones are tried.
# A machine that has other things to do is no error.
settings.register_profile(
    "ours",
    derandomize=bool(os.environ.get("CI")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ours")

EXHAUSTIVE = bool(os.environ.get("IWSLTPACK_EXHAUSTIVE"))
"""Every moment to be killed at, every program started anew: `make test-all`."""

# A shell starts what runs in its background with interrupts ignored, which the programs under test would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

MINIATURE = REPOSITORY / "iwsltpack" / "demo" / "miniature"
TESTSET = REPOSITORY / "iwsltpack" / "demo" / "testset"
THIRD_PARTY = REPOSITORY.parent / "shared" / "data" / "apg"

CODES = {"float32": "F32", "float16": "F16", "int64": "I64", "bool": "BOOL", "uint8": "U8", "float64": "F64"}


TAKEN = os.environ.get("IWSLTPACK_TAKEN")
"""A folder shared with the other half of `make test`: which files of tests have been taken by one of the two."""
LONGEST = (
    *(
        "demo",
        "size",
        "readme_commands",
        "workplace",
        "calibrated_build",
        "decode_dask",
        "build_dask",
        "cluster",
    ),
    *(
        "comet_real",
        "runnable",
        "encoder_decoders",
        "locks",
        "calibration",
        "night_before",
        "hf",
        "int8_mode",
    ),
    *(
        "hub_interrupted",
        "model",
        "int8_kernel",
        "vocabulary",
        "decode_shards",
        "benchmarks",
        "gemma4",
        "cli",
    ),
    *(
        "estimate",
        "chains",
        "mlp_layers",
        "journal",
        "hostile_store",
        "build_shards",
        "calibrated_weights",
        "remote_http",
    ),
)
"""Begun first, so that both halves end at the same time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if TAKEN:
        rank = {f"test_{name}.py": number for number, name in enumerate(LONGEST)}
        items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@cache
def is_ours(name: str) -> bool:
    """Take a file of tests, if the other half has not."""
    try:
        (Path(str(TAKEN)) / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Pass over what the other half runs."""
    return None if not TAKEN or is_ours(item.path.name) else True


def write_checkpoint(folder: Path, tensors: dict[str, Any], config: dict[str, Any] | None = None) -> Path:
    """Write a single-file checkpoint; a value may be an array, or a pair of "BF16" and its uint16 bits."""
    folder.mkdir(parents=True, exist_ok=True)
    header, data = {}, b""
    for name, value in tensors.items():
        code, array = value if isinstance(value, tuple) else (CODES[value.dtype.name], value)
        raw = array.tobytes()
        header[name] = {
            "dtype": code,
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    encoded = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(encoded).to_bytes(8, "little") + encoded + data)
    (folder / "config.json").write_text(
        json.dumps(config or {"architectures": ["AnyModel"], "model_type": "any"})
    )
    return folder


def bfloat16(values: Any) -> tuple[str, np.ndarray]:
    """Return values truncated to bfloat16, ready for `write_checkpoint`."""
    return "BF16", (np.asarray(values, dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Callable[..., Path]:
    """Write a checkpoint of the given tensors into a fresh folder."""

    def make(tensors: dict[str, Any], config: dict[str, Any] | None = None) -> Path:
        return write_checkpoint(tmp_path / "source", tensors, config)

    return make


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generate the tiny stand-in: Qwen2-Audio's architecture and names, two shards, bfloat16."""
    from tools.standin.generate import generate

    folder = tmp_path_factory.mktemp("standin") / "tiny"
    generate(folder, "tiny")
    return folder


@pytest.fixture(scope="session")
def built(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Build (once each) the tiny stand-in by recipe and coding ("zstd-1": in format 1); treat it as read-only."""
    from iwsltpack.building.pipeline import build_artifact
    from iwsltpack.building.recipes import load_recipe
    from iwsltpack.building.request import BuildRequest
    from iwsltpack.documents.choices import DEFAULT_VERSION

    root = tmp_path_factory.mktemp("artifacts")

    def build(recipe: str, coding: str = "zstd") -> Path:
        output = root / f"{recipe}-{coding}"
        if not output.exists():
            name, _, version = coding.partition("-")
            build_artifact(
                BuildRequest(
                    tiny, output, load_recipe(recipe), name, format_version=int(version or DEFAULT_VERSION)
                )
            )
        return output

    return build
