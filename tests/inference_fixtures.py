"""What the decoding tests share: an artifact stand-in over a safetensors checkpoint, tones, small test sets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from safetensors import safe_open

from iwsltpack.decoding.options import DecodeOptions, RunRequest
from iwsltpack.documents.artifact import ArtifactManifest, BaseModel, File, Tensor, Tool
from iwsltpack.documents.recipe import Recipe
from iwsltpack.system.progress import Reporter

MINIATURE = Path(__file__).resolve().parents[1] / "iwsltpack" / "demo" / "miniature"
RATE = 16_000
NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64"}


@dataclass
class CheckpointSource:
    """The interface of an opened artifact over a plain checkpoint folder: every tensor lossless."""

    path: Path
    chunk_rows: int = 64
    lock: Any = field(default_factory=threading.Lock, repr=False)
    """An opened artifact cannot be copied either."""

    total_bytes: int = 1

    @property
    def model_dir(self) -> Path:
        return self.path

    @cached_property
    def _files(self) -> dict[str, Path]:
        files: dict[str, Path] = {}
        for file in sorted(self.path.glob("*.safetensors")):
            with safe_open(file, framework="np") as handle:
                files |= dict.fromkeys(handle.keys(), file)
        return files

    @cached_property
    def manifest(self) -> ArtifactManifest:
        entries = tuple(self._entry(name) for name in sorted(self._files))
        return ArtifactManifest(
            tool=Tool(version="0", libraries={}),
            base_model=BaseModel(architecture="x", bytes=1, parameters=1, sha256="0" * 64),
            recipe=Recipe(name="fp16", description="", techniques=()),
            coding="zstd",
            tensors=entries,
            files=(File(path="x", bytes=1, sha256="0" * 64),),
        ).sealed()

    def _entry(self, name: str) -> Tensor:
        with safe_open(self._files[name], framework="np") as handle:
            piece = handle.get_slice(name)
            shape, dtype = tuple(piece.get_shape()), NAMES[piece.get_dtype()]
        linear = len(shape) == 2 and "embed" not in name
        return Tensor(
            name=name,
            shape=shape,
            dtype=dtype,
            source_shape=shape,
            source_dtype=dtype,
            component="linear" if linear else "other",
            linear=linear,
            chunk_rows=self.chunk_rows,
        )

    def names(self) -> list[str]:
        return sorted(self._files)

    def quantizer(self, name: str) -> None:
        """None: nothing is rounded."""

    def expect(self, names: Iterable[str]) -> None:
        """Everything is here already."""

    def tensor(self, name: str) -> np.ndarray[Any, Any]:
        import torch

        with safe_open(self._files[name], framework="pt") as handle:
            value = handle.get_tensor(name)
        return (
            value.view(torch.int16).numpy().view(np.uint16)
            if value.dtype is torch.bfloat16
            else value.numpy()
        )

    def rows(self, name: str, start: int, stop: int) -> np.ndarray[Any, Any]:
        return self.tensor(name)[start:stop]


def tone(
    seconds: float, frequency: float = 440.0, rate: int = RATE, level: float = 0.3
) -> np.ndarray[Any, Any]:
    """A sine, float32, shape (n,)."""
    time = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def write_tone(path: Path, seconds: float, frequency: float = 440.0, rate: int = RATE) -> Path:
    """Write a tone in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(seconds, frequency, rate), rate)
    return path


@cache
def miniature() -> tuple[Any, Any]:
    """The miniature on the CPU and its processor, loaded once for all tests; nobody may change them."""
    from iwsltpack.runtime.model import load_from, processor_from

    return load_from(CheckpointSource(MINIATURE), device="cpu"), processor_from(MINIATURE)


def run_request(
    test_dir: Path, artifact: Path | str, output: Path, options: DecodeOptions, **more: Any
) -> RunRequest:
    """What `decode` is asked for."""
    return RunRequest(test_dir=test_dir, artifact=artifact, output=output, options=options, **more)


class Told(Reporter):
    """Appends every remark to a list."""

    def __init__(self, told: list[str]) -> None:
        self.say = told.append  # type: ignore[method-assign]


def of_another_artifact(source: CheckpointSource) -> CheckpointSource:
    """The same tensors under a manifest with another digest."""
    other = CheckpointSource(source.path)
    other.manifest = replace(source.manifest, sha256="f" * 64)
    return other


def journal_lines(folder: Path) -> list[dict[str, Any]]:
    """Every record of a run's journal."""
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
