"""The `int8` mode: the artifact's codes on the device, the very weights of `load`, half the memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import write_checkpoint
from inference_fixtures import MINIATURE, Told, journal_lines, run_request, tone, write_tone

from iwsltpack.artifact.reader import Artifact, open_artifact
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.recipes import load_recipe
from iwsltpack.building.request import BuildRequest
from iwsltpack.codecs.paper import PaperChain
from iwsltpack.decoding.decode import decode
from iwsltpack.decoding.generation import InputBuilder, Translator
from iwsltpack.decoding.options import DecodeOptions
from iwsltpack.documents.recipe import LayerRule, Recipe
from iwsltpack.errors import ArtifactError, UsageError
from iwsltpack.quantizers.scales import QuantizedMatrix
from iwsltpack.runtime import int8
from iwsltpack.runtime.int8 import Int8Linear, held_as_int8, read_codes
from iwsltpack.runtime.model import load_model, processor_from

PROMPT = "Translate this English speech into Chinese."
CODINGS = ("zstd", "pcodec", "paper")
CPU = torch.device("cpu")
Built = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build an artifact of the miniature by recipe and coding, once each."""
    root = tmp_path_factory.mktemp("miniature")

    def build(recipe: str, coding: str = "zstd") -> Path:
        output = root / f"{recipe}-{coding}"
        if not output.exists():
            build_artifact(BuildRequest(MINIATURE, output, load_recipe(recipe), coding))
        return output

    return build


@pytest.fixture(scope="module")
def inputs() -> dict[str, torch.Tensor]:
    """Two recordings of unlike length: the second row is padded on the left."""
    return InputBuilder(processor_from(MINIATURE), PROMPT).prepare([tone(2.5, 300.0), tone(1.0)])


def layers(model: Any) -> dict[str, Int8Linear]:
    return {name: module for name, module in model.named_modules() if isinstance(module, Int8Linear)}


RANDOM = np.random.default_rng(8)


def drawn(rows: int, columns: int, sigma: float = 0.03) -> np.ndarray[Any, Any]:
    return RANDOM.normal(0, sigma, (rows, columns)).astype(np.float32)


def with_outliers() -> np.ndarray[Any, Any]:
    values = drawn(70, 203)
    values[[0, 0, 3, 41, 69, 69], [0, 202, 7, 100, 0, 202]] = [0.125, -0.1251, 2.0, -7.9, 31.0, 0.13]
    return values


TENSORS = {
    "plain": drawn(70, 203),
    "outliers": with_outliers(),
    "wide": np.where(np.arange(64 * 300).reshape(64, 300) == 777, np.float32(900.7), drawn(64, 300)),
    "zero rows": np.where(np.arange(48)[:, None] % 3 == 0, np.float32(0), drawn(48, 96)),
    "one row": drawn(1, 37),
    "one column": drawn(33, 1),
    "float16": drawn(40, 64).astype(np.float16),
    "edges": (np.arange(-127, 128, dtype=np.float32)[None, :] / 1024).repeat(3, axis=0),
}


def made(tmp_path: Path, coding: str, bits: int = 10) -> Artifact:
    tensors = {f"block.0.{name.replace(' ', '_')}.weight": value for name, value in TENSORS.items()}
    source = write_checkpoint(tmp_path / "source", tensors)
    recipe = Recipe(name="r", description="", techniques=(), layers=(LayerRule(pattern=".", bits=bits),))
    build_artifact(BuildRequest(source, tmp_path / f"artifact-{coding}-{bits}", recipe, coding))
    return open_artifact(tmp_path / f"artifact-{coding}-{bits}")


def loaded(artifact: Artifact, name: str) -> torch.Tensor:
    return torch.from_numpy(artifact.tensor(name))


@pytest.mark.parametrize("coding", CODINGS)
def test_codes_times_the_step_are_the_weights_bit_for_bit(tmp_path: Path, coding: str) -> None:
    for bits in (0, 4, 7, 10, 14):
        artifact = made(tmp_path, coding, bits)
        for name in artifact.names():
            rows = artifact.entry(name).shape[0]
            for start, stop in ((0, rows), (rows // 3, rows // 2 + 1), (rows, rows)):
                codes = artifact.codes(name, start, stop)
                assert codes.dtype in (np.int16, np.int32)
                values = (codes * 2.0**-bits).astype(np.float16)
                assert values.tobytes() == artifact.rows(name, start, stop).tobytes()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("coding", CODINGS)
def test_a_layers_weight_is_that_of_load_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coding: str, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(int8, "OUTLIER_SHARE", 0.5)
    artifact = made(tmp_path, coding)
    for name in artifact.names():
        codes = read_codes(artifact, artifact.entry(name), CPU, dtype)
        assert codes is not None
        layer = Int8Linear(codes, None)
        assert torch.equal(layer.weight, loaded(artifact, name).to(dtype)), name
        assert layer.weight.dtype is dtype
        assert layer.codes.abs().max() <= 127
        expected = {"outliers": 6, "wide": 1}.get(name.split(".")[2])
        assert expected is None or len(layer.values) >= expected
        if name.split(".")[2] == "edges":
            assert len(layer.values) == 0


class TestScales:
    """A calibrated layer: scales of its rows and columns, and outliers among its codes."""

    @pytest.fixture
    def artifact(self, tmp_path: Path) -> Artifact:
        name, (rows, columns) = "block.0.plain.weight", TENSORS["plain"].shape
        codes = np.rint(TENSORS["plain"] * 700).astype(np.int32)
        codes[[0, 0, 69], [0, 202, 7]] = [300, -2000, 128]
        column = RANDOM.uniform(0.3, 3, columns).astype(np.float16)
        column[[5, 7]] = 0
        (tmp_path / "matrices").mkdir()
        QuantizedMatrix(
            codes=codes,
            row_scale=RANDOM.uniform(0.3, 3, rows).astype(np.float16),
            column_scale=column,
            delta=float(np.float32(0.0011)),
        ).save(tmp_path / "matrices" / f"{name}.matrix")
        source = write_checkpoint(tmp_path / "source", {name: TENSORS["plain"]})
        recipe = Recipe(name="r", description="", techniques=())
        options: dict[str, Any] = {"format_version": 2, "matrices": tmp_path / "matrices"}
        build_artifact(BuildRequest(source, tmp_path / "artifact", recipe, "pcodec", **options))
        return open_artifact(tmp_path / "artifact")

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
    def test_its_weight_is_that_of_load_bit_for_bit(
        self, artifact: Artifact, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
    ) -> None:
        (name,), x = artifact.names(), torch.randn(3, 203)
        codes = read_codes(artifact, artifact.entry(name), CPU, dtype)
        assert codes is not None
        assert len(codes.values) == 3
        layer, wanted = Int8Linear(codes, None), loaded(artifact, name).to(dtype)
        assert torch.equal(layer.weight, wanted)
        assert torch.equal(layer(x.to(dtype)), torch.nn.functional.linear(x.to(dtype), wanted))
        assert torch.equal(
            layer.to(torch.bfloat16).to(torch.float32).weight[1:69], loaded(artifact, name)[1:69].float()
        )

    @pytest.mark.parametrize("bias", [None, torch.randn(70)])
    def test_the_kernel_gets_inputs_stretched_and_its_outputs_are(
        self, artifact: Artifact, monkeypatch: pytest.MonkeyPatch, bias: torch.Tensor | None
    ) -> None:
        class Kernel:
            @staticmethod
            def multiply(x: torch.Tensor, weight: Any, bias: torch.Tensor | None) -> torch.Tensor:
                codes, width, scale, starts, _, columns, values = weight[:7]
                dense = codes[:, :width].float() * scale
                rows = torch.repeat_interleave(torch.arange(len(codes)), starts.diff().long())
                dense[rows, columns.long()] = values
                return torch.nn.functional.linear(x, dense, bias)

        monkeypatch.setattr(int8, "kernel", Kernel)
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
        (name,), x = artifact.names(), torch.randn(2, 3, 203)
        codes = read_codes(artifact, artifact.entry(name), CPU, torch.float32)
        assert codes is not None
        layer = Int8Linear(codes, None if bias is None else torch.nn.Parameter(bias))
        expected = torch.nn.functional.linear(
            x.double(), loaded(artifact, name).double(), None if bias is None else bias.double()
        )
        torch.testing.assert_close(layer._multiply_codes(x).double(), expected, rtol=1e-3, atol=2e-3)


def test_outliers_are_sorted_and_every_row_knows_its_own(tmp_path: Path) -> None:
    artifact = made(tmp_path, "zstd")
    codes = read_codes(artifact, artifact.entry("block.0.outliers.weight"), CPU, torch.float16)
    assert codes is not None
    weight = loaded(artifact, "block.0.outliers.weight")
    outside = (weight.float() * 1024).abs() > 127
    found = torch.stack([codes.rows, codes.columns], dim=1)
    assert found.tolist() == outside.nonzero().tolist()
    assert len(found) >= 6
    for row in range(70):
        here = slice(int(codes.starts[row]), int(codes.starts[row + 1]))
        assert torch.equal(codes.values[here], weight[row][outside[row]])
    assert (codes.codes[codes.rows.long(), codes.columns.long()] == 0).all()


def test_a_layer_with_too_many_outliers_is_left_to_be_decoded(tmp_path: Path) -> None:
    artifact = made(tmp_path, "zstd", bits=14)
    assert read_codes(artifact, artifact.entry("block.0.plain.weight"), CPU, torch.float16) is None


@pytest.mark.parametrize("rows", [1, 3, 70])
@pytest.mark.parametrize("bias", [False, True])
def test_products_are_those_of_the_library_whether_in_one_block_or_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, bias: bool
) -> None:
    monkeypatch.setattr(int8, "OUTLIER_SHARE", 0.5)
    artifact = made(tmp_path, "zstd")
    for scratch in (1 << 24, 203 * 9, 1):
        monkeypatch.setattr(int8, "SCRATCH_VALUES", scratch)
        for name in artifact.names():
            codes = read_codes(artifact, artifact.entry(name), CPU, torch.float32)
            assert codes is not None
            shift = torch.nn.Parameter(torch.randn(len(codes.codes))) if bias else None
            layer = Int8Linear(codes, shift)
            x = torch.randn(2, rows, layer.in_features)
            with torch.inference_mode():
                y = layer(x)
            expected = torch.nn.functional.linear(
                x.double(), layer.weight.double(), None if shift is None else shift.double()
            )
            assert y.shape == (2, rows, layer.out_features)
            torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5)
            assert torch.equal(y, layer(x))
            assert layer(x[:0]).shape == (0, rows, layer.out_features)


def test_a_block_decodes_no_more_than_the_scratch_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "SCRATCH_VALUES", 203 * 9)
    artifact = made(tmp_path, "zstd")
    codes = read_codes(artifact, artifact.entry("block.0.outliers.weight"), CPU, torch.float32)
    assert codes is not None
    layer = Int8Linear(codes, None)
    decoded: list[int] = []
    plain = Int8Linear._decode

    def watched(self: Int8Linear, block: Any, scratch: Any) -> torch.Tensor:
        assert scratch is not None
        result = plain(self, block, scratch)
        decoded.append(result.numel())
        return result

    monkeypatch.setattr(Int8Linear, "_decode", watched)
    with torch.no_grad():
        layer(torch.zeros(5, 203))
    assert max(decoded) <= 203 * 9
    assert sum(decoded) == 70 * 203


def test_codes_travel_chunk_by_chunk_and_never_as_floats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iwsltpack.building.plan.CHUNK_VALUES", 203 * 16)
    monkeypatch.setattr(int8, "READ_VALUES", 203 * 16)
    artifact = made(tmp_path, "zstd")
    asked: list[tuple[int, int]] = []

    class Watched:
        def codes(self, name: str, start: int, stop: int) -> Any:
            asked.append((start, stop))
            return artifact.codes(name, start, stop)

        def quantizer(self, name: str) -> Any:
            return artifact.quantizer(name)

    entry = artifact.entry("block.0.outliers.weight")
    codes = read_codes(Watched(), entry, CPU, torch.float16)  # type: ignore[arg-type]
    assert codes is not None
    assert torch.equal(Int8Linear(codes, None).weight, loaded(artifact, entry.name))
    assert len(asked) > 3
    assert max(stop - start for start, stop in asked) * 203 <= 203 * 16
    assert [start for start, _ in asked] == [0, *[stop for _, stop in asked[:-1]]]
    assert asked[-1][1] == 70


@pytest.mark.parametrize(
    ("recipe", "coding"),
    [*(("selected-q2", coding) for coding in CODINGS), ("global-q2", "pcodec"), ("prune20-q2", "zstd")],
)
def test_a_models_weights_and_logits_are_those_of_load(
    miniature: Built, inputs: dict[str, torch.Tensor], recipe: str, coding: str
) -> None:
    plain = load_model(miniature(recipe, coding), device="cpu")
    model = load_model(miniature(recipe, coding), device="cpu", mode="int8")
    decoded = dict(plain.named_modules())
    held = layers(model)
    assert len(held) == (46 if recipe == "global-q2" else 12)
    for name, layer in held.items():
        assert torch.equal(layer.weight, decoded[name].weight), name
        assert layer.bias is None or torch.equal(layer.bias, decoded[name].bias)
    with torch.inference_mode():
        assert torch.equal(model(**inputs).logits, plain(**inputs).logits)


def test_greedy_outputs_of_a_padded_batch_are_those_of_load(
    miniature: Built, inputs: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = processor_from(MINIATURE)
    plain = Translator(load_model(miniature("global-q2"), device="cpu"), processor)
    expected = plain.generate(inputs, 12)
    assert (
        Translator(load_model(miniature("global-q2"), device="cpu", mode="int8"), processor).generate(
            inputs, 12
        )
        == expected
    )
    monkeypatch.setattr(int8, "SCRATCH_VALUES", 5000)
    cut = load_model(miniature("global-q2"), device="cpu", mode="int8")
    assert any(len(layer._blocks) > 2 for layer in layers(cut).values())
    assert Translator(cut, processor).generate(inputs, 12) == expected
    assert any(hypothesis.tokens > 3 for hypothesis in expected)


def test_the_selected_layers_take_half_the_memory_of_float16(miniature: Built) -> None:
    for recipe in ("selected-q2", "prune20-q2", "global-q2"):
        held = held_as_int8(load_model(miniature(recipe), device="cpu", mode="int8"))
        assert held.weights > 900_000
        assert held.weights <= held.bytes <= 0.52 * 2 * held.weights


def test_a_layer_at_the_bound_of_outliers_is_still_under_its_share_of_memory(tmp_path: Path) -> None:
    values = drawn(512, 1024, 0.02)
    places = np.random.default_rng(0).choice(values.size, values.size // 256, replace=False)
    values.reshape(-1)[places] = 1.5
    source = write_checkpoint(tmp_path / "source", {"block.0.full.weight": values})
    recipe = Recipe(name="r", description="", techniques=(), layers=(LayerRule(pattern=".", bits=10),))
    build_artifact(BuildRequest(source, tmp_path / "artifact", recipe, "zstd"))
    artifact = open_artifact(tmp_path / "artifact")
    codes = read_codes(artifact, artifact.entry("block.0.full.weight"), CPU, torch.float16)
    assert codes is not None
    layer = Int8Linear(codes, None)
    assert len(layer.values) == values.size // 256
    resident = sum(buffer.nbytes for buffer in layer.buffers())
    assert resident <= 0.524 * 2 * values.size
    assert torch.equal(layer.weight, loaded(artifact, "block.0.full.weight"))


def test_layers_that_do_not_fit_are_decoded_and_named(
    miniature: Built, inputs: dict[str, torch.Tensor]
) -> None:
    told: list[str] = []
    model = load_model(miniature("selected-q3"), device="cpu", mode="int8", reporter=Told(told))
    assert held_as_int8(model).layers == 0
    assert "0 layers held as codes" in told[0]
    assert "12 rounded layers decoded as in load" in told[1]
    assert "layers.0.mlp" in told[1]
    with torch.no_grad():
        assert torch.equal(
            model(**inputs).logits, load_model(miniature("selected-q3"), device="cpu")(**inputs).logits
        )


def test_a_lossless_layer_among_rounded_ones_is_decoded(
    tmp_path: Path, inputs: dict[str, torch.Tensor]
) -> None:
    rules = (LayerRule(pattern="mlp", bits=7), LayerRule(pattern=r"layers\.1\.mlp\.up_proj", bits=None))
    recipe = Recipe(name="mixed", description="", techniques=(), layers=rules)
    build_artifact(BuildRequest(MINIATURE, tmp_path / "mixed", recipe, "zstd"))
    told: list[str] = []
    model = load_model(tmp_path / "mixed", device="cpu", mode="int8", reporter=Told(told))
    assert len(layers(model)) == 11
    assert len(told) == 1
    with torch.no_grad():
        assert torch.equal(
            model(**inputs).logits, load_model(tmp_path / "mixed", device="cpu")(**inputs).logits
        )


def test_an_artifact_without_rounded_layers_is_refused_before_anything_is_written(
    miniature: Built, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="mode int8 needs an artifact with rounded layers") as caught:
        load_model(miniature("fp16"), device="cpu", mode="int8")
    assert "got: fp16" in str(caught.value)
    write_tone(tmp_path / "talks" / "1.wav", 0.5)
    with pytest.raises(UsageError, match="needs an artifact with rounded layers"):
        options = DecodeOptions(device="cpu", mode="int8")
        decode(run_request(tmp_path / "talks", miniature("fp16"), tmp_path / "run", options))
    assert not (tmp_path / "run").exists()


def test_a_tensor_that_is_not_rounded_has_no_codes(miniature: Built) -> None:
    artifact = open_artifact(miniature("fp16"))
    with pytest.raises(ArtifactError, match="the tensor is not rounded: it has no codes"):
        artifact.codes("language_model.lm_head.weight", 0, 1)


def test_rows_that_are_not_there_have_no_codes(miniature: Built) -> None:
    artifact = open_artifact(miniature("selected-q2"))
    with pytest.raises(ArtifactError, match="no such rows"):
        artifact.codes("language_model.model.layers.0.mlp.up_proj.weight", 0, 513)


def test_values_between_the_steps_are_refused(miniature: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = open_artifact(miniature("selected-q2", "paper"))
    name = "language_model.model.layers.0.mlp.up_proj.weight"
    plain = PaperChain.codes
    monkeypatch.setattr(PaperChain, "codes", lambda *chunk: plain(*chunk) + np.float16(0.001))
    with pytest.raises(
        ArtifactError, match=r"up_proj.weight/c/0/0: a chunk cannot be decoded\n.*no multiple"
    ):
        artifact.codes(name, 0, 4)
    monkeypatch.setattr(PaperChain, "codes", lambda *chunk: plain(*chunk) * np.float16(np.nan))
    with pytest.raises(ArtifactError, match=r"a value is no multiple of 2\^-7"):
        artifact.codes(name, 0, 4)


def test_a_damaged_chunk_is_reported_as_itself(miniature: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Artifact.codes

    def damaged(self: Artifact, name: str, start: int, stop: int) -> Any:
        if name.endswith("2.mlp.up_proj.weight"):
            raise ArtifactError("a chunk cannot be decoded", where=name)
        return plain(self, name, start, stop)

    monkeypatch.setattr(Artifact, "codes", damaged)
    with pytest.raises(ArtifactError, match=r"2.mlp.up_proj.weight: a chunk cannot be decoded"):
        load_model(miniature("selected-q2"), device="cpu", mode="int8")


def test_a_run_goes_on_as_int8_only_if_it_began_so(miniature: Built, tmp_path: Path) -> None:
    write_tone(tmp_path / "talks" / "1.wav", 0.5)
    for begun, other in (("int8", "stream"), ("cache", "int8")):
        output = tmp_path / begun
        options = DecodeOptions(device="cpu", mode=begun, max_new_tokens=3)  # type: ignore[arg-type]
        asked = run_request(tmp_path / "talks", miniature("selected-q2"), output, options)
        decode(asked)
        modes = [line["mode"] for line in journal_lines(output) if line.get("kind") == "session"]
        assert modes == [begun]
        with pytest.raises(UsageError, match="other inputs or settings") as caught:
            decode(replace(asked, options=replace(options, mode=other)))
        assert 'settings.mode = "load, cache or stream"' in str(caught.value)
        assert 'settings.mode = "int8"' in str(caught.value)


def test_decoding_tells_what_is_held_and_records_the_mode(miniature: Built, tmp_path: Path) -> None:
    write_tone(tmp_path / "talks" / "1.wav", 0.5)
    told: list[str] = []
    options = DecodeOptions(device="cpu", mode="int8", max_new_tokens=3)
    asked = run_request(tmp_path / "talks", miniature("selected-q2"), tmp_path / "run", options)
    (done,) = decode(asked, Told(told))
    assert any("int8: 12 layers held as codes" in text for text in told)
    assert json.loads((done.folder / "run.json").read_text())["settings"]["mode"] == "int8"


def test_a_layer_follows_its_model_to_another_dtype(miniature: Built) -> None:
    model = load_model(miniature("selected-q2"), device="cpu", mode="int8")
    layer = next(iter(layers(model).values()))
    before = layer.weight
    model.to(torch.bfloat16)
    assert layer.codes.dtype is torch.int8
    assert torch.equal(layer.weight, before.to(torch.bfloat16))
    assert layer(torch.zeros(1, layer.in_features, dtype=torch.bfloat16)).dtype is torch.bfloat16
    with pytest.raises(RuntimeError, match="dtype"):
        layer(torch.zeros(1, layer.in_features))
    with pytest.raises(RuntimeError, match="shapes"):
        layer(torch.zeros(1, layer.in_features + 1, dtype=torch.bfloat16))


def test_an_int8_model_is_not_written_as_if_it_were_whole(miniature: Built, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not serializable"):
        load_model(miniature("selected-q2"), device="cpu", mode="int8").save_pretrained(tmp_path / "saved")


def test_gradients_reach_the_input_though_the_scratch_is_reused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "SCRATCH_VALUES", 203 * 9)
    artifact = made(tmp_path, "zstd")
    codes = read_codes(artifact, artifact.entry("block.0.outliers.weight"), CPU, torch.float32)
    assert codes is not None
    layer = Int8Linear(codes, None)
    with torch.inference_mode():
        layer(torch.zeros(1, 203))
    x = torch.ones(1, 203, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad[0], layer.weight.sum(0), rtol=1e-5, atol=1e-5)


def test_the_forward_compiles_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = made(tmp_path, "zstd")
    for scratch in (1 << 24, 203 * 30):
        monkeypatch.setattr(int8, "SCRATCH_VALUES", scratch)
        codes = read_codes(artifact, artifact.entry("block.0.outliers.weight"), CPU, torch.float32)
        assert codes is not None
        layer = Int8Linear(codes, None)
        x = torch.randn(3, 203)
        with torch.no_grad():
            torch.testing.assert_close(torch.compile(layer, backend="aot_eager", fullgraph=True)(x), layer(x))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestOnGPU:
    def test_weights_are_those_of_load_and_outputs_agree(
        self, miniature: Built, inputs: dict[str, torch.Tensor]
    ) -> None:
        plain = load_model(miniature("global-q2"), device="cuda")
        model = load_model(miniature("global-q2"), device="cuda", mode="int8")
        decoded = dict(plain.named_modules())
        for name, layer in layers(model).items():
            assert torch.equal(layer.weight, decoded[name].weight), name
        placed = {
            name: value.cuda().to(torch.float16 if value.is_floating_point() else value.dtype)
            for name, value in inputs.items()
        }
        with torch.inference_mode():
            logits, expected = model(**placed).logits.float(), plain(**placed).logits.float()
            again = model(**placed).logits.float()
        assert torch.equal(logits, again)
        torch.testing.assert_close(logits, expected, rtol=0.02, atol=0.05)

    def test_few_rows_go_through_the_kernel_and_many_through_the_scratch(
        self, miniature: Built, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = load_model(miniature("selected-q2"), device="cuda", mode="int8")
        layer = next(iter(layers(model).values()))
        ways: list[str] = []
        for way in ("_multiply_codes", "_multiply_blocks"):
            plain = getattr(Int8Linear, way)

            def watched(
                self: Int8Linear, x: torch.Tensor, way: str = way, plain: Any = plain
            ) -> torch.Tensor:
                ways.append(way)
                return plain(self, x)

            monkeypatch.setattr(Int8Linear, way, watched)
        with torch.inference_mode():
            for rows in (1, 16, int8.kernel.MOST_ROWS, int8.kernel.MOST_ROWS + 1):
                layer(torch.randn(rows, layer.in_features, dtype=torch.float16, device="cuda"))
        assert ways == ["_multiply_codes"] * 3 + ["_multiply_blocks"]

    def test_the_forward_compiles_whole(self, miniature: Built) -> None:
        model = load_model(miniature("selected-q2"), device="cuda", mode="int8")
        layer = next(iter(layers(model).values()))
        x = torch.randn(1, layer.in_features, dtype=torch.float16, device="cuda")
        with torch.inference_mode():
            assert torch.equal(torch.compile(layer, fullgraph=True)(x), layer(x))
