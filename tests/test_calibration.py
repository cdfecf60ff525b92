"""The walk block by block against whole passes, on several architectures; killed, resumed, and with broken input."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import calibration_fixtures as small
import pytest
import torch
import warm
from calibration_fixtures import Plain
from conftest import EXHAUSTIVE

from iwsltpack.building.checkpoint import open_checkpoint
from iwsltpack.calibration import walk
from iwsltpack.calibration.block_rounding import (
    OUTPUT_FLOOR,
    OUTPUT_RATE_WEIGHT,
    OUTPUT_SHARE,
    Settings,
    coherence,
    default_damping,
)
from iwsltpack.calibration.model_weights import Weights
from iwsltpack.calibration.moments import Collector, Gathered, SecondMoment, Uses, checkpoint_names
from iwsltpack.calibration.towers import Batch
from iwsltpack.calibration.walk import gather
from iwsltpack.errors import InputError, IwsltpackError, UsageError
from iwsltpack.quantizers.calibrated import factorize, quantize
from iwsltpack.quantizers.scales import QuantizedMatrix
from iwsltpack.system.progress import Reporter, Unit

MODELS: dict[str, tuple[Callable[[], Any], Callable[[], list[Batch]]]] = {
    "llama": (small.llama, small.text),
    "llama, tied": (lambda: small.llama(tied=True), small.text),
    "whisper": (small.whisper, small.speech),
    "seamless": (small.seamless, small.spoken_for_seamless),
    "gemma 4": (small.gemma, small.text),
}
STEP = 0.05
SETTINGS = Settings(damping=0.05)


def linear(name: str) -> bool:
    return "embed" not in name


def calibrate(
    model: Any, batches: list[Batch], folder: Path, settings: Settings = SETTINGS, **options: Any
) -> Path:
    """Gather and round; return the folder of the matrices."""
    return gather(Weights.of_model(model), batches, folder, settings, **options).round(
        STEP, folder / "matrices"
    )


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def known(plain: Plain, key: str, gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the second moment and the sensitivities that whole passes give of a linear layer."""
    moment = plain.moments[key] / max(1, plain.tokens[key])
    gathered = Gathered(Uses(moment), gradients, plain.probes[key])
    return moment, gradients / plain.targets * coherence(gathered, factorize(moment, 0.05))


def test_few_tokens_are_damped_more_and_of_the_output_layer_eight_times_as_many_count_as_few() -> None:
    assert [default_damping(tokens, 10) for tokens in (19, 20, 79)] == [0.2, 0.05, 0.05]
    assert [default_damping(tokens, 10, output=True) for tokens in (9, 10, 159, 160)] == [1.0, 0.2, 0.2, 0.05]


def test_the_rule_knows_the_output_layer_and_an_option_goes_before_it(tmp_path: Path) -> None:
    model = small.llama(layers=1)
    for damping, expected in ((None, {0.05, 0.2}), (0.1, {0.1})):
        folder, settings = tmp_path / str(damping), Settings(damping=damping)
        gather(Weights.of_model(model), small.text(8), folder, settings, selected=linear)
        facts = {
            path.name.removesuffix(".json"): json.loads(path.read_text())
            for path in (folder / "moments").glob("*.json")
        }
        assert {fact["damping"] for fact in facts.values()} == expected
        if damping is None:  # 128 tokens for 32 inputs
            damped_more = {name for name, fact in facts.items() if fact["damping"] == 0.2}
            assert damped_more == {"lm_head.weight"}, {k: v["tokens"] for k, v in facts.items()}


@pytest.mark.parametrize("kind", MODELS)
def test_what_is_gathered_block_by_block_is_what_whole_passes_gather(kind: str, tmp_path: Path) -> None:
    model, batches = MODELS[kind][0](), MODELS[kind][1]()
    plain = Plain(model, batches)
    found = calibrate(model, batches, tmp_path / "work", SETTINGS, selected=lambda _: True)
    head = model.get_output_embeddings()
    layers = {name: part for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
    checked, whole, looked_up = 0, list[str](), list[str]()
    for path in (tmp_path / "work" / "moments").glob("*.json"):
        name = path.name.removesuffix(".json")
        facts = json.loads(path.read_text())
        output = model.get_parameter(name) is head.weight
        key = next(f"{n}.weight" for n, part in layers.items() if part is head) if output else name
        weight, step = model.get_parameter(name).detach(), STEP * (OUTPUT_SHARE if output else 1)
        if key in plain.moments:
            gradients = plain.curvature if output else plain.gradients[key]
            moment, sensitivity = known(plain, key, gradients)
        elif type(
            part := model.get_submodule(name.removesuffix(".weight"))
        ).forward is torch.nn.Embedding.forward or (hasattr(part, "embed_scale")):
            looked_up.append(name)
            continue
        else:
            # What is neither a linear layer nor looked up goes by the gradients of its own entries.
            rows, columns = plain.entries[name].sum(1), plain.entries[name].sum(0)
            usual = rows[rows > 0].mean()
            moment = columns / columns.sum()
            sensitivity = (torch.where(rows > 0, rows, usual) + usual) / 2 / plain.targets
            whole.append(name)
        assert facts["sensitivity"] == pytest.approx(float(sensitivity.mean()), rel=1e-3)
        ways = {"floor": OUTPUT_FLOOR, "rate_weight": OUTPUT_RATE_WEIGHT} if output else {}
        expected = quantize(weight.flatten(1), factorize(moment, 0.05), sensitivity, step, **ways)
        matrix = QuantizedMatrix.load(found / f"{name}.matrix")
        assert (matrix.codes != expected.codes).mean() < 0.02, (
            name
        )  # inputs that two layers share are one union
        assert matrix.delta == pytest.approx(expected.delta, rel=2e-2)
        checked += 1
    assert checked >= 7 * 3 or kind != "llama"
    assert 0 < len(looked_up) <= 4 or "tied" in kind or kind.startswith("gemma")
    assert ("model.encoder.conv1.weight" in whole) == (kind == "whisper")
    assert ("model.decoder.embed_positions.weight" in whole) == (kind == "whisper")
    assert bool([name for name in whole if "depthwise" in name]) == (kind == "seamless")
    names = {path.name.removesuffix(".matrix") for path in found.glob("*.matrix")}
    assert {f"{name}.weight" for name, layer in layers.items() if layer is not head} <= names


def test_random_signs_tell_what_errors_of_a_layer_cost() -> None:
    """Against the gradients themselves, and for tokens that agree: as many times as there are tokens."""
    plain, largest = Plain(small.whisper(), small.speech(9)), 0.0
    for name, gradients in plain.weight_gradients.items():
        factor = factorize(plain.moments[name] / plain.tokens[name], 0.05)
        assert factor.lower is not None
        white = [torch.linalg.solve_triangular(factor.lower, one.T, upper=False) for one in gradients]
        total = float(sum(each.double().square().sum() for each in white))
        exact = total / (factor.lower.shape[0] * float(plain.gradients[name].sum()))
        found = coherence(Gathered(Uses(torch.zeros(1)), plain.gradients[name], plain.probes[name]), factor)
        assert found == pytest.approx(max(1.0, exact), rel=0.3), name
        largest = max(largest, exact)
    assert largest > 1.5
    tokens = torch.eye(4).repeat(6, 1)
    same = torch.nn.Linear(4, 3, bias=False)
    collector = Collector({"weight": same}, ())
    for _ in range(50):
        collector.next_batch()
        same(tokens).sum().backward()
    collector.close()
    found = collector.found["weight"]
    assert isinstance(found.moment, SecondMoment)
    # Six tokens of each kind agree, and the four kinds are independent inputs.
    assert coherence(found, factorize(found.moment.mean(), 0.0)) == pytest.approx(6, rel=0.2)


def test_the_model_and_its_forward_are_left_as_they_were(tmp_path: Path) -> None:
    model, batches = small.llama(), small.text(2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        logits = model(**batches[0].inputs).logits
    calibrate(model, batches, tmp_path / "work", SETTINGS, selected=linear)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    with torch.no_grad():
        assert torch.equal(model(**batches[0].inputs).logits, logits)


def test_twice_the_same_bytes_and_a_second_call_does_nothing_more(tmp_path: Path) -> None:
    model, batches = small.whisper(), small.speech()
    found = [files(calibrate(model, batches, tmp_path / name, SETTINGS, selected=linear)) for name in "aba"]
    assert found[0] == found[1] == found[2]


def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    moments = 20 if EXHAUSTIVE else 5
    script = Path(__file__).with_name("killed_calibration.py")
    done = warm.run([sys.executable, script, tmp_path, moments])
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["events"] > 100
    assert told["files"] > 60
    assert [[killed, same] for _, killed, same in told["outcome"]] == [[True, True]] * moments, told[
        "outcome"
    ]


def test_a_shared_matrix_is_written_under_each_of_its_names(tmp_path: Path) -> None:
    model = small.llama(tied=True, layers=1)
    found = calibrate(model, small.text(2), tmp_path / "work", SETTINGS, selected=lambda _: True)
    same = [found / f"{name}.weight.matrix" for name in ("model.embed_tokens", "lm_head")]
    assert same[0].read_bytes() == same[1].read_bytes()


def test_qwen2_audio_is_walked_from_the_loss_to_the_ear(tiny: Path, tmp_path: Path) -> None:
    from transformers import Qwen2AudioForConditionalGeneration

    model = Qwen2AudioForConditionalGeneration.from_pretrained(tiny, dtype=torch.float32).eval()
    batch = heard(model)
    plain = Plain(model, [batch])
    found = calibrate(model, [batch], tmp_path / "work", SETTINGS, selected=lambda _: True)
    told = (tmp_path / "work" / "moments").glob("*.json")
    facts = {path.name.removesuffix(".json"): json.loads(path.read_text()) for path in told}
    names = checkpoint_names(model)
    linear = {name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
    assert {names[f"{name}.weight"] for name in linear} <= facts.keys()
    assert any("audio_tower" in name for name in facts)
    # Its positions are added without their module being run.
    assert {f"audio_tower.{name}.weight" for name in ("conv1", "conv2", "embed_positions")} <= facts.keys()
    for name, stored in names.items():
        if name in plain.gradients and "lm_head" not in name:
            _, sensitivity = known(plain, name, plain.gradients[name])
            assert facts[stored]["sensitivity"] == pytest.approx(float(sensitivity.mean()), rel=1e-3)
    # The files go by the names of the checkpoint, which are not those of the modules.
    checkpoint = open_checkpoint(tiny).tensors
    assert facts.keys() <= checkpoint.keys()
    assert not facts.keys() <= names.keys()
    for name in facts:
        rows, *columns = checkpoint[name].shape
        assert QuantizedMatrix.load(found / f"{name}.matrix").codes.shape == (rows, math.prod(columns))
    # The audio is shorter than what the model hears: the rest is padding, and is not counted.
    frames = [fact["tokens"] for name, fact in facts.items() if "audio_tower" in name]
    assert max(frames) == 50


def heard(model: Any) -> Batch:
    """Return a second of audio, padded to the two that this model hears, and a text around it."""
    tokens = 25
    config = model.config
    mel = config.audio_config.num_mel_bins
    ids = torch.tensor([[5, 6, *[config.audio_token_id] * tokens, 7, 8, 9, 10]])
    targets = torch.zeros_like(ids, dtype=torch.bool)
    targets[:, -4:-1] = True
    features = torch.randn(1, mel, 200, generator=small.generator(9))
    mask = (torch.arange(200) < 100).long()[None]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    inputs |= {"input_features": features, "feature_attention_mask": mask}
    return Batch(inputs, targets)


def broken_batch(**changes: Any) -> list[Batch]:
    [batch] = small.text(1)
    return [Batch(changes.get("inputs", batch.inputs), changes.get("targets", batch.targets))]


def poisoned() -> Any:
    model = small.llama()
    with torch.no_grad():
        model.model.embed_tokens.weight[7] = float("nan")
    return model


def with_unused_layer() -> Any:
    model = small.llama()
    model.model.layers[1].extra = torch.nn.Linear(8, 8)
    return model


def with_unused_kernel() -> Any:
    model = small.llama()
    model.extra = torch.nn.Conv1d(8, 8, 3)
    return model


def with_unused_kernel_in_a_block() -> Any:
    model = small.llama()
    model.model.layers[1].extra = torch.nn.Conv1d(8, 8, 3)
    return model


def with_unused_tower() -> Any:
    model = small.llama()
    model.adapters = torch.nn.ModuleList(torch.nn.Sequential(torch.nn.Linear(8, 8)) for _ in range(2))
    return model


SEVENS = [Batch({"input_ids": torch.full((1, 9), 7)}, torch.ones(1, 9, dtype=torch.bool))]
BROKEN: dict[str, tuple[Callable[[], Any], list[Batch], Settings, type[IwsltpackError], str]] = {
    "no data": (small.llama, [], SETTINGS, InputError, "nothing to calibrate on"),
    "no targets": (
        small.llama,
        broken_batch(targets=torch.zeros(1, 20, dtype=torch.bool)),
        SETTINGS,
        InputError,
        "nothing to calibrate on",
    ),
    "NaN activations": (poisoned, SEVENS, SETTINGS, InputError, "not finite"),
    "a layer that is not run": (with_unused_layer, small.text(1), SETTINGS, InputError, "was not run"),
    "a tower that is not run": (with_unused_tower, small.text(1), SETTINGS, InputError, "was not run"),
    "a kernel that is not run": (with_unused_kernel, small.text(1), SETTINGS, InputError, "was not run"),
    "one in a block": (with_unused_kernel_in_a_block, small.text(1), SETTINGS, InputError, "was not run"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_calibrated_gets_one_clear_error(case: str, tmp_path: Path) -> None:
    make, batches, settings, kind, words = BROKEN[case]
    model = make()
    with pytest.raises(IwsltpackError, match=words) as caught:
        calibrate(model, batches, tmp_path / "work", settings, selected=lambda _: True)
    assert type(caught.value) is kind
    assert not list((tmp_path / "work").rglob("*.tmp"))
    assert not list((tmp_path / "work").rglob("*.matrix"))
    assert not any("forward" in vars(part) for part in model.modules())


@pytest.mark.parametrize("damping", [-1.0, float("nan"), float("inf")])
def test_a_damping_that_makes_no_sense_is_refused(damping: float) -> None:
    with pytest.raises(UsageError, match="the damping must be"):
        Settings(damping=damping)


def test_other_data_settings_or_model_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    model, batches = small.llama(layers=1), small.text(2)
    calibrate(model, batches, tmp_path / "work", SETTINGS, selected=linear, identity="a")
    others = [
        (batches[:1], SETTINGS, "a"),
        (batches, Settings(damping=0.06), "a"),
        (batches, SETTINGS, "b"),
    ]
    for data, settings, identity in others:
        with pytest.raises(InputError, match="another calibration was begun here"):
            calibrate(model, data, tmp_path / "work", settings, selected=linear, identity=identity)


def test_work_begun_by_another_method_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batches = small.llama(layers=1), small.text(2)
    calibrate(model, batches, tmp_path / "work", SETTINGS, selected=linear)
    monkeypatch.setattr(walk, "METHOD", walk.METHOD + 1)
    with pytest.raises(InputError, match="another calibration was begun here"):
        calibrate(model, batches, tmp_path / "work", SETTINGS, selected=linear)


def test_few_tokens_are_warned_of_with_the_numbers(tmp_path: Path) -> None:
    said: list[str] = []

    class Listener(Reporter):
        def say(self, text: str) -> None:
            said.append(text)

    calibrate(
        small.llama(layers=1),
        small.text(1),
        tmp_path / "work",
        SETTINGS,
        selected=linear,
        reporter=Listener(),
    )
    assert "model.layers.0.mlp.down_proj.weight: 16 tokens for 48 inputs are few" in "\n".join(said)


def test_progress_tells_stages_and_blocks(tmp_path: Path) -> None:
    seen: list[tuple[str, float]] = []

    class Recorder(Reporter):
        def start(self, description: str, total: float, unit: Unit = "items") -> None:
            seen.append((description, total))

        def advance(self, amount: float = 1) -> None:
            seen.append(("", amount))

    calibrate(
        small.whisper(), small.speech(), tmp_path / "work", SETTINGS, selected=linear, reporter=Recorder()
    )
    stages = [index for index, (name, _) in enumerate(seen) if name]
    for start, end in zip(stages, [*stages[1:], len(seen)], strict=True):
        assert sum(amount for _, amount in seen[start + 1 : end]) == seen[start][1]
