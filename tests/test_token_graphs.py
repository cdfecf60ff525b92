"""Token steps recorded as graphs: the same hypotheses, one recording a size, eager steps where none can be made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from inference_fixtures import MINIATURE, CheckpointSource, miniature, tone

from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.recipes import load_recipe
from iwsltpack.building.request import BuildRequest
from iwsltpack.decoding.generation import InputBuilder, Translator
from iwsltpack.runtime import token_graphs
from iwsltpack.runtime.model import load_from, load_model

PROMPT = "Translate the speech into Chinese:"
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def clips() -> list[np.ndarray]:
    return [tone(0.4 + 0.3 * number, number) for number in range(3)]


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps recorded on the CPU, which runs a step anew where a device replays it; counts the replays of each."""
    replays: list[int] = []

    def record(step: Callable[[], None]) -> Callable[[], None]:
        number = len(replays)
        replays.append(0)

        def replay() -> None:
            replays[number] += 1
            step()

        return replay

    monkeypatch.setattr(token_graphs, "record", record)
    monkeypatch.setattr("iwsltpack.decoding.generation.suits", lambda _: True)
    return replays


def graphed(processor: Any) -> Translator:
    model: Any = load_from(CheckpointSource(MINIATURE), device="cpu")
    model._valid_auto_compile_criteria = lambda *_: (
        True
    )  # transformers asks for a step of ours on devices alone
    return Translator(model, processor)


def test_hypotheses_are_those_without_graphs(clips: list[np.ndarray], recordings: list[int]) -> None:
    model, processor = miniature()
    builder, plain = InputBuilder(processor, PROMPT), Translator(model, processor, graphs=False)
    translator = graphed(processor)
    batches = [builder.prepare(clips), builder.prepare(clips[:1]), builder.prepare(clips[1:2])]
    for inputs in batches:
        assert translator.generate(inputs, 12) == plain.generate(inputs, 12)
    # Three sequences are one size, one sequence another, which the last batch shares: its every token is a replay.
    assert recordings == [10, 21]


def test_a_longer_batch_is_another_size(clips: list[np.ndarray], recordings: list[int]) -> None:
    _, processor = miniature()
    translator, inputs = graphed(processor), InputBuilder(processor, PROMPT).prepare(clips)
    prompt = inputs["input_ids"].shape[1]
    assert translator.graphs is not None
    first = translator.graphs.cache(3, prompt + 12)
    assert translator.graphs.cache(3, token_graphs.GRID) is first
    assert translator.graphs.cache(3, token_graphs.GRID + 1) is not first
    assert recordings == []


def test_a_step_that_cannot_be_recorded_is_said_and_runs_eagerly(
    clips: list[np.ndarray], recordings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(token_graphs, "record", refuse)
    model, processor = miniature()
    inputs = InputBuilder(processor, PROMPT).prepare(clips)
    translator = graphed(processor)
    with pytest.warns(UserWarning, match="decoding goes on without CUDA graphs"):
        found = translator.generate(inputs, 12)
    assert found == Translator(model, processor, graphs=False).generate(inputs, 12)
    assert translator.generate(inputs, 12) == found  # and is not tried again


def test_what_is_not_wholly_on_a_device_is_not_recorded() -> None:
    model, processor = miniature()
    assert not token_graphs.suits(model)
    assert Translator(model, processor).graphs is None


@pytest.mark.gpu
@CUDA
@pytest.mark.parametrize("mode", ["load", "int8"])
def test_on_cuda_recorded_steps_give_the_same_tokens(
    clips: list[np.ndarray], mode: Any, tmp_path: Path
) -> None:
    build_artifact(BuildRequest(MINIATURE, tmp_path / "artifact", load_recipe("global-q2"), "zstd"))
    _, processor = miniature()
    builder = InputBuilder(processor, PROMPT)
    model: Any = load_model(tmp_path / "artifact", device="cuda", dtype="float32", mode=mode)
    translator, plain = Translator(model, processor), Translator(model, processor, graphs=False)
    assert translator.graphs is not None
    for batch in (clips, clips[:1], clips[1:2]):
        inputs = builder.prepare(batch)
        expected = plain.generate(inputs, 24)
        assert translator.generate(inputs, 24) == expected
        assert translator.graphs._recorded is not None


@pytest.mark.gpu
@CUDA
def test_on_cuda_every_other_mode_stays_eager() -> None:
    _, processor = miniature()
    model: Any = load_from(CheckpointSource(MINIATURE), device="cuda", mode="stream")
    assert Translator(model, processor).graphs is None
