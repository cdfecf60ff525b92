"""The frontier benchmark on a small model: what it counts, what it goes on from, and its own GPTQ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import calibration_fixtures as small
import numpy as np
import pytest
import torch

from benchmarks import frontier, frontier_methods, frontier_models
from iwsltpack.calibration.towers import Batch

DAMAGES = (1e-4, 1e-2, 1.0)
GPTQ = "GPTQ 4-bit g128"


class Tiny(frontier_models.Subject):
    def calibration(self, amount: int) -> list[Batch]:
        return small.text(amount)

    def held_out(self) -> list[Batch]:
        return small.text(9)[6:]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    small.llama(tied=True).half().save_pretrained(folder)
    return folder


def rows(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, wanted: set[str], known: list[Any] | None = None
) -> list[frontier.Row]:
    monkeypatch.setattr(frontier, "subject", lambda name, models: Tiny(models / name, models))
    monkeypatch.setitem(frontier.DAMAGES, "tiny", DAMAGES)
    return list(frontier.measure("tiny", checkpoint.parent, wanted, known or [], clips=0, amount=4))


def test_rows_say_what_was_done_and_a_second_run_measures_only_the_rest(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = rows(checkpoint, monkeypatch, {frontier.OURS, frontier.PLAIN})
    assert [row.way for row in first] == [
        *(f"calibrated, damage {damage:g}" for damage in DAMAGES),
        "float16",
    ]
    ours, plain = first[:3], first[3]
    parameters = sum(parameter.numel() for parameter in small.llama(tied=True).parameters())
    assert plain.bytes == 2 * parameters
    assert plain.kl == pytest.approx(0, abs=1e-6)
    assert plain.agreement == 1
    assert ours[0].kl < ours[1].kl < ours[2].kl
    assert ours[0].bytes > ours[1].bytes > ours[2].bytes
    assert ours[0].bits_per_weight > ours[1].bits_per_weight > ours[2].bits_per_weight
    frontier.write(tmp_path / "rows.json", first)
    known = frontier.read(tmp_path / "rows.json")
    assert [frontier.dataclasses.asdict(row) for row in known] == [
        {**frontier.dataclasses.asdict(row), "wer_interval": None} for row in first
    ]
    [more] = rows(checkpoint, monkeypatch, {frontier.OURS, frontier.PLAIN, GPTQ}, known)
    assert more.way == GPTQ
    assert more.code == "this benchmark"
    assert rows(checkpoint, monkeypatch, {frontier.OURS, GPTQ}, [*known, more]) == []
    shown = frontier.table([*known, more])
    same = frontier.at_damage(ours, more.kl)
    assert same is not None
    assert f"{same / more.bytes:.3f}x" in shown
    frontier.draw([*known, more], tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_bytes_at_equal_damage_lie_between_two_rates_or_nowhere() -> None:
    def row(size: int, kl: float) -> Any:
        return frontier.Row(
            model="m", way="calibrated", code="", bytes=size, bits_per_weight=1, kl=kl, kl_error=0, agreement=1,
            seconds=0, threads=1, amount=1, judged_tokens=1, data="",
        )  # fmt: skip

    two = [row(100, 0.1), row(200, 0.001)]
    assert frontier.at_damage(two, 0.01) == pytest.approx(150)
    assert frontier.at_damage(two, 0.2) is None
    assert frontier.at_damage(two, 0.0001) is None


def test_word_errors_have_an_interval_around_their_rate() -> None:
    counts = np.array([[1, 10], [0, 10], [3, 10], [0, 20]] * 20)
    rate, (low, high) = frontier.bootstrapped(counts)
    assert rate == pytest.approx(4 / 50)
    assert low < rate < high
    assert frontier.bootstrapped(np.array([[1, 4]] * 9)) == (0.25, (0.25, 0.25))


def test_gptq_beats_rounding_to_its_own_grid_and_counts_its_bytes(checkpoint: Path) -> None:
    model = Tiny(checkpoint, checkpoint.parent).load()
    moments = frontier_methods.second_moments(model, small.text(8))
    name = "model.layers.1.mlp.down_proj.weight"
    weight, moment = model.get_parameter(name).detach(), moments[name]
    assert moments["model.embed_tokens.weight"] is moments["lm_head.weight"]

    def damage(found: torch.Tensor) -> float:
        error = (weight - found).double()
        return float(((error @ moment.double()) * error).sum())

    found, size = frontier_methods._gptq(3, moments)(name, weight)
    plain, _ = frontier_methods._gptq(3, {name: torch.eye(48)})(name, weight)
    assert size == (weight.numel() * 3 + len(weight) * (16 + 3)) / 8
    assert all(len(set(row.tolist())) <= 8 for row in found)
    assert damage(found) < 0.8 * damage(plain)
