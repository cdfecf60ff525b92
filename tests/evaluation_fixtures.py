"""What the scoring and report tests share: runs written as decoding writes them, and systems of graded quality."""

from __future__ import annotations

import dataclasses
import random
import typing
from pathlib import Path
from typing import Any

from iwsltpack.documents.artifact import Tool
from iwsltpack.documents.run import (
    Run,
    RunArtifact,
    RunOutput,
    RunSegment,
    RunSettings,
    RunSummary,
    RunTestSet,
)
from iwsltpack.system import fileio

REFERENCES = [
    "大家好，我是来自宾夕法尼亚州立大学的研究生。",
    "今天我要介绍我们的研究成果。",
    "我们提出了一种新的方法。",
    "它在三个数据集上都取得了最好的结果。",
    "谢谢大家的聆听。",
]
SOURCES = [
    "Hello, I am a graduate student at Penn State.",
    "Today I am going to present our work.",
    "We propose a new method.",
    "It gives the best results on three datasets.",
    "Thank you for listening.",
]
PREFIX = "这段英语的中文翻译是："


def spoil(lines: list[str], share: float, seed: int) -> list[str]:
    """Drop and swap characters: the more, the worse a system."""
    random_ = random.Random(seed)
    spoilt = []
    for line in lines:
        kept = [c for c in line if random_.random() > share / 2]
        for place in range(len(kept) - 1):
            if random_.random() < share / 2:
                kept[place], kept[place + 1] = kept[place + 1], kept[place]
        spoilt.append("".join(kept))
    return spoilt


def filled(cls: type, /, **given: Any) -> Any:
    """Build a part of a run: fields that scoring does not look at get the plainest value of their type."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if field.name not in given and field.default is dataclasses.MISSING:
            given[field.name] = plain(hints[field.name])
    return cls(**given)


def plain(kind: Any) -> Any:
    """The plainest value of a type."""
    if typing.get_origin(kind) is typing.Literal:
        return typing.get_args(kind)[0]
    if type(None) in typing.get_args(kind):
        return None
    origin = typing.get_origin(kind) or kind
    return {str: "", int: 1, float: 1.0, bool: False, tuple: (), dict: {}}[origin]


def write_run(
    folder: Path,
    lines: list[str],
    *,
    recipe: str = "selected-q3",
    coding: str = "zstd",
    artifact: str | None = None,
    size: int = 1_000_000,
    test_set: str = "tst",
    pair: str = "en-zh",
    ids: list[str] | None = None,
    audio: list[str] | None = None,
    cut: frozenset[int] = frozenset(),
    seconds: float = 0.5,
) -> Path:
    """Write a finished run of the given hypotheses."""
    name = f"{test_set}.{pair}.txt"
    fileio.write_lines(folder / name, lines)
    segments = tuple(
        filled(
            RunSegment,
            index=index,
            id=ids[index] if ids else f"sent_{index + 1}",
            audio=audio[index] if audio else f"sent_{index + 1}.wav",
            offset=0.0,
            duration=3.5,
            tokens=len(line),
            finish="length" if index in cut else "stop",
            seconds=seconds,
            pieces=1,
            signs=("long",) if index in cut else (),
        )
        for index, line in enumerate(lines)
    )
    run = Run(
        tool=Tool(version="0", libraries={}),
        pair=pair,
        artifact=filled(
            RunArtifact,
            sha256=artifact or fileio.sha256_bytes(f"{recipe}/{coding}".encode()),
            base_model=None,
            revision=None,
            recipe=recipe,
            coding=coding,
            bytes=size,
        ),
        test_set=filled(
            RunTestSet,
            name=test_set,
            kind="folder",
            sha256="0" * 64,
            segments=len(lines),
            audio_seconds=3.5 * len(lines),
        ),
        settings=filled(
            RunSettings, max_new_tokens=64, num_beams=1, mode="load", device="cpu", dtype="float32"
        ),
        output=RunOutput(path=name, sha256=fileio.sha256_file(folder / name), lines=len(lines)),
        segments=segments,
        summary=filled(RunSummary, seconds_per_segment=seconds, truncated=len(cut), device_name="cpu"),
    )
    fileio.write_json(folder / "run.json", run.to_json())
    return folder
