"""Finished runs and artifacts to package, made without decoding anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from iwsltpack import editions
from iwsltpack.documents.artifact import Tool
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.documents.names import RUN_NAME
from iwsltpack.documents.run import (
    Run,
    RunArtifact,
    RunOutput,
    RunSegment,
    RunSettings,
    RunSummary,
    RunTestSet,
    read_run,
)
from iwsltpack.editions import Edition
from iwsltpack.submission.packaging import Request
from iwsltpack.system import fileio

LINES = (
    "大家好，今天我要介绍我们的研究成果。",
    "这段英语的中文翻译是：'我们提出了一种新的方法。'",
    "The translation is: '结果比基线好得多。'",
    "我们在三个数据集上进行了实验。",
    "谢谢大家。",
)
CLEANED = (
    "大家好，今天我要介绍我们的研究成果。",
    "我们提出了一种新的方法。",
    "结果比基线好得多。",
    "我们在三个数据集上进行了实验。",
    "谢谢大家。",
)
DIGEST = "ab" * 32


def settings(**changes: Any) -> RunSettings:
    values: dict[str, Any] = {
        "prompt": "Translate this English speech into Chinese.",
        "system_prompt": None,
        "chat_template": None,
        "max_new_tokens": 64,
        "retry_truncated": None,
        "num_beams": 1,
        "repetition_penalty": 1.0,
        "no_repeat_ngram_size": 0,
        "batch_size": 1,
        "batch_seconds": 240.0,
        "device": "cpu",
        "dtype": "float32",
        "mode": "load",
        "long": "segment",
        "on_bad_audio": "error",
        "placeholder": "[unreadable audio]",
    }
    return RunSettings(**(values | changes))


def segment(index: int, **changes: Any) -> RunSegment:
    values: dict[str, Any] = {
        "index": index,
        "id": f"sent_{index + 1}",
        "audio": f"sent_{index + 1}.wav",
        "offset": 0.0,
        "duration": 3.0 + index,
        "tokens": 9,
        "finish": "stop",
        "seconds": 0.4,
        "pieces": 1,
        "signs": (),
    }
    return RunSegment(**(values | changes))


def summary(**changes: Any) -> RunSummary:
    values: dict[str, Any] = {
        "load_seconds": 1.0,
        "decode_seconds": 2.0,
        "seconds_per_segment": 0.4,
        "tokens_per_second": 20.0,
        "real_time_factor": 0.1,
        "truncated": 0,
        "placeholders": 0,
        "segmented": 0,
        "signs": {},
        "peak_host_bytes": 1,
        "peak_device_bytes": None,
        "device_name": "CPU",
        "sessions": 1,
    }
    known = set(RunSummary.__dataclass_fields__)
    return RunSummary(**({key: value for key, value in values.items() if key in known} | changes))


def write_run(
    folder: Path,
    artifact: Path,
    *,
    name: str = "demo",
    pair: str = "en-zh",
    lines: tuple[str, ...] = LINES,
    segments: tuple[RunSegment, ...] | None = None,
    **changes: Any,
) -> Path:
    """Write a finished run of `artifact` whose raw hypotheses are `lines`."""
    from iwsltpack.artifact.sizes import measure

    manifest = read_manifest(artifact)
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / f"{name}.{pair}.txt"
    output.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    run = Run(
        tool=Tool(version="0.1.0", libraries={}),
        pair=pair,
        artifact=RunArtifact(
            sha256=manifest.sha256,
            base_model=manifest.base_model.id,
            revision=None,
            recipe=manifest.recipe.name,
            coding=manifest.coding,
            bytes=measure(artifact).total_bytes,
        ),
        test_set=RunTestSet(
            name=name,
            kind="folder",
            sha256=fileio.sha256_bytes(name.encode()),
            segments=len(lines),
            audio_seconds=20.0,
        ),
        settings=settings(),
        output=RunOutput(path=output.name, sha256=fileio.sha256_file(output), lines=len(lines)),
        segments=segments or tuple(segment(index) for index in range(len(lines))),
        summary=summary(),
    )
    fileio.write_json(folder / RUN_NAME, replace(run, **changes).to_json())
    return folder


def rewrite_run(folder: Path, **changes: Any) -> None:
    """Change fields of a finished run's record."""
    fileio.write_json(folder / RUN_NAME, replace(read_run(folder), **changes).to_json())


def request(artifact: Path, *runs: Path, edition: str | Edition = "demo", **changes: Any) -> Request:
    """Ask for the demo edition's primary submission of `runs`, or what `changes` say."""
    values: dict[str, Any] = {
        "edition": editions.load(edition) if isinstance(edition, str) else edition,
        "team": "APG",
        "pair": "en-zh",
        "condition": "constrained",
        "type": "primary",
        "runs": runs,
        "artifact": artifact,
    }
    return Request(**(values | changes))


def rules(problems: list[Any]) -> set[str]:
    """Return the rules named by the errors among `problems`."""
    return {problem.rule for problem in problems if problem.severity == "error"}


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture(name="artifact")
def artifact_fixture(built: Any) -> Path:
    """Give an artifact of the tiny stand-in; read-only."""
    path: Path = built("selected-q2", "zstd")
    return path


@pytest.fixture(name="run")
def run_fixture(artifact: Path, tmp_path: Path) -> Path:
    """Give a finished run of the demo's test set."""
    return write_run(tmp_path / "runs" / "demo", artifact)
