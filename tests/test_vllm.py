"""vLLM reads artifacts: what it is given, what it must not say, and `decode --engine vllm`.

Where vLLM is absent, stand-ins for its few names that are used show what it would be told; the rest is skipped.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from inference_fixtures import MINIATURE, CheckpointSource, run_request, write_tone

from iwsltpack.artifact.reader import open_artifact
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.recipes import load_recipe
from iwsltpack.building.request import BuildRequest
from iwsltpack.decoding import vllm_engine
from iwsltpack.decoding.decode import decode
from iwsltpack.decoding.generation import Hypothesis, InputBuilder
from iwsltpack.decoding.options import DecodeOptions, RunRequest
from iwsltpack.documents.run import read_run
from iwsltpack.errors import ArtifactError, IwsltpackError, MissingDependency, ResourceError, UsageError
from iwsltpack.runtime import vllm_loader
from iwsltpack.runtime.families import AUDIO_FIRST, WHISPER
from iwsltpack.runtime.model import load_model, load_processor
from iwsltpack.runtime.vllm_loader import LOAD_FORMAT, load_weights, name_folder
from iwsltpack.runtime.weights import DTYPES, decoded_tensors

GOLDEN = REPOSITORY / "tests" / "golden"
CPU = torch.device("cpu")
SUPPRESSED = [7, 11]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature rounded, with tokens that no output may hold."""
    root = tmp_path_factory.mktemp("vllm")
    shutil.copytree(MINIATURE, root / "source")
    settings = root / "source" / "generation_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"suppress_tokens": SUPPRESSED}))
    build_artifact(BuildRequest(root / "source", root / "artifact", load_recipe("selected-q3"), "zstd"))
    return root / "artifact"


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    for number, seconds in enumerate((0.4, 1.2, 0.8, 0.6, 1.0)):
        write_tone(tmp_path / "talks" / f"{number}.wav", seconds)
    return tmp_path / "talks"


class Model:
    """In place of a model of vLLM."""

    def __init__(self, *more: str) -> None:
        self.loaded: dict[str, torch.Tensor] = {}
        self.more = more

    def load_weights(self, weights: Any) -> set[str]:
        self.loaded = dict(weights)
        return set(self.loaded)

    def named_parameters(self) -> list[tuple[str, None]]:
        return [(name, None) for name in (*self.loaded, *self.more)]

    def compute_logits(self, states: torch.Tensor) -> torch.Tensor | None:
        return None if states is None else torch.zeros(len(states), 20)


@pytest.mark.parametrize("name", ["v1/paper", "v1/zstd", "v1/pcodec", "v2/zstd", "v2/pcodec"])
def test_vllm_is_given_every_tensor_of_every_kind_of_artifact(name: str) -> None:
    """Of both formats, lossless, rounded and calibrated, in the bits that `tests/golden` holds."""
    source, expected = open_artifact(GOLDEN / name), np.load((GOLDEN / name).parent / "expected.npz")
    given = dict(decoded_tensors(source))
    assert set(given) == set(source.names())
    for tensor, value in given.items():
        bits = source.tensor(tensor)
        assert value.dtype is DTYPES[source.entry(tensor).dtype]
        assert value.reshape(-1).view(torch.uint8).numpy().tobytes() == bits.tobytes()
        assert tuple(value.shape) == bits.shape
    assert len(expected.files) > 1


def test_what_vllm_is_given_is_what_load_model_holds(artifact: Path) -> None:
    from transformers import Qwen2AudioForConditionalGeneration

    model = Model()
    load_weights(model, artifact)
    held = load_model(artifact, device="cpu")
    plain = Qwen2AudioForConditionalGeneration.from_pretrained(
        None, config=held.config, state_dict=model.loaded, dtype=torch.float32
    )
    expected = held.state_dict()
    assert expected.keys() == plain.state_dict().keys()
    assert all(torch.equal(value, expected[name]) for name, value in plain.state_dict().items())


def test_a_damaged_chunk_never_reaches_vllm(artifact: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(artifact, broken)
    chunk = max((path for path in broken.rglob("c/*/*")), key=lambda path: path.stat().st_size)
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"damaged|cannot be decoded"):
        load_weights(Model(), broken)


def test_a_model_with_a_part_that_the_artifact_lacks_is_refused(artifact: Path) -> None:
    with pytest.raises(ArtifactError, match=r"(?s)lacks tensors.*lm_head\.bias"):
        load_weights(Model("lm_head.bias"), artifact)


def test_tokens_that_no_output_may_hold_get_no_chance(artifact: Path) -> None:
    model = Model()
    load_weights(model, artifact)
    logits = model.compute_logits(torch.zeros(3, 4))
    assert logits is not None
    assert (logits[:, SUPPRESSED] == -torch.inf).all()
    assert logits.isfinite().sum() == 3 * (20 - len(SUPPRESSED))
    assert model.compute_logits(None) is None  # type: ignore[arg-type]


def arguments(model: object, **more: Any) -> SimpleNamespace:
    told = {"load_format": "auto", "dtype": "auto", "revision": None, "served_model_name": None}
    return SimpleNamespace(model=str(model), **{**told, **more})


def test_an_artifact_stands_where_a_model_does(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(artifact.parent)
    args = arguments("artifact")
    name_folder(args)
    assert vars(args) == {
        "model": str(artifact / "model"),
        "load_format": LOAD_FORMAT,
        "dtype": "float16",  # as an export says: bfloat16 would round again
        "revision": None,
        "served_model_name": "artifact",
    }
    told = arguments(artifact, dtype="float32", served_model_name="mine")
    name_folder(told)
    assert (told.dtype, told.served_model_name) == ("float32", "mine")
    again = arguments(artifact / "model", load_format=LOAD_FORMAT)
    name_folder(again)
    assert again.model == str(artifact / "model")


def test_what_is_no_artifact_is_left_alone_or_refused(tmp_path: Path) -> None:
    args = arguments(MINIATURE)
    before = dict(vars(args))
    name_folder(args)
    assert vars(args) == before
    with pytest.raises(IwsltpackError, match="not an artifact"):
        name_folder(arguments(MINIATURE, load_format=LOAD_FORMAT))


def test_vllm_finds_the_loader_by_its_entry_point() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, name = project["entry-points"]["vllm.general_plugins"]["iwsltpack"].split(":")
    assert getattr(importlib.import_module(module), name) is vllm_loader.register
    assert "vllm" in project["optional-dependencies"]


# The engine, with stand-ins for vLLM


class Engine:
    """In place of `vllm.LLM`: writes one token, the last but one of its vocabulary, for each tenth of a second."""

    told: dict[str, Any]
    fail: Exception | None = None
    requests: list[dict[str, Any]]

    def __init__(self, model: str, **options: Any) -> None:
        type(self).told = {"model": model, **options}
        type(self).requests = []
        if self.fail is not None:
            raise self.fail

    def generate(self, requests: Any, search: Any, use_tqdm: bool) -> list[Any]:
        type(self).requests += requests
        found = []
        for request in requests:
            ((samples, rate),) = request["multi_modal_data"]["audio"]
            ids = [*[300] * round(10 * len(samples) / rate), *search.stop_token_ids][: search.max_tokens]
            found.append(SimpleNamespace(outputs=[SimpleNamespace(token_ids=tuple(ids))]))
        return found


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> type[Engine]:
    """A package of vLLM's names."""

    class Arguments:
        def create_engine_config(self, *rest: Any) -> Any:
            return self

    registered: dict[str, type] = {}
    root = ModuleType("vllm")
    root.__version__, root.LLM, root.SamplingParams = "0.0", Engine, SimpleNamespace  # type: ignore[attr-defined]
    known = ["Qwen2AudioForConditionalGeneration"]
    root.ModelRegistry = SimpleNamespace(get_supported_archs=lambda: known)  # type: ignore[attr-defined]
    root.registered, root.known, root.Arguments = registered, known, Arguments  # type: ignore[attr-defined]
    modules = {
        "vllm": root,
        "vllm.platforms": SimpleNamespace(current_platform=SimpleNamespace(device_type="cpu")),
        "vllm.engine.arg_utils": SimpleNamespace(EngineArgs=Arguments),
        "vllm.model_executor.model_loader": SimpleNamespace(
            register_model_loader=lambda name: lambda cls: registered.setdefault(name, cls)
        ),
        "vllm.model_executor.model_loader.base_loader": SimpleNamespace(BaseModelLoader=object),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)  # type: ignore[arg-type]
    for name in ("vllm.engine", "vllm.model_executor"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    for name in vllm_engine.ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(vllm_engine, "find_spec", lambda name: object())
    monkeypatch.setattr(Engine, "fail", None)
    return Engine


def run(talks: Path, artifact: Path, output: Path, **options: Any) -> Any:
    settings = DecodeOptions(**{"device": "cpu", "batch_size": 2, "engine": "vllm", **options})
    (done,) = decode(run_request(talks, artifact, output, settings))
    return done


def test_the_loader_is_registered_once(vllm: type[Engine], artifact: Path) -> None:
    root: Any = sys.modules["vllm"]
    vllm_loader.register()
    wrapped = root.Arguments.create_engine_config
    vllm_loader.register()
    assert root.Arguments.create_engine_config is wrapped
    loader, model = root.registered[LOAD_FORMAT](), Model()
    loader.download_model(None)
    loader.load_weights(model, SimpleNamespace(model=str(artifact / "model")))
    assert set(model.loaded) == set(open_artifact(artifact).names())
    args = root.Arguments()
    vars(args).update(vars(arguments(artifact)))
    assert wrapped(args).load_format == LOAD_FORMAT


def test_a_run_of_vllm_says_so_and_is_asked_as_transformers_is(
    vllm: type[Engine], artifact: Path, talks: Path, tmp_path: Path
) -> None:
    done = run(talks, artifact, tmp_path / "out", max_new_tokens=9)
    token = load_processor(artifact).tokenizer.decode([300])
    text = (done.folder / "talks.en-zh.txt").read_text(encoding="utf-8").splitlines()
    assert text == [(token * count).strip() for count in (4, 9, 8, 6, 9)]
    record = read_run(done.folder)
    assert (record.settings.engine, record.tool.libraries["vllm"]) == ("vllm", "0.0")
    assert [segment.finish for segment in record.segments] == ["stop", "length", "stop", "stop", "length"]
    builder = InputBuilder(load_processor(artifact), record.settings.prompt)
    assert {request["prompt"] for request in vllm.requests} == {builder.conversation}
    assert (vllm.told["model"], vllm.told["load_format"]) == (str(artifact), LOAD_FORMAT)
    assert (vllm.told["dtype"], vllm.told["max_num_seqs"]) == ("float32", 2)
    assert vllm.told["max_model_len"] == 2048  # what the model has places for


def test_a_run_of_one_engine_is_not_gone_on_with_by_the_other(
    vllm: type[Engine], artifact: Path, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(talks, artifact, tmp_path / "whole")
    plain, calls = Engine.generate, []

    def interrupted(self: Any, *args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return plain(self, *args, **options)

    monkeypatch.setattr(Engine, "generate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(talks, artifact, tmp_path / "out")
    with pytest.raises(UsageError, match=r"settings\.engine = "):
        run(talks, artifact, tmp_path / "out", engine="transformers")
    done = run(talks, artifact, tmp_path / "out")
    text = "talks.en-zh.txt"
    assert (done.folder / text).read_bytes() == (whole.folder / text).read_bytes()
    assert read_run(done.folder).summary.sessions == 2
    assert len(calls) == 4


def test_runs_of_transformers_are_recorded_as_they_were(
    talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Journals of before there were engines go on."""
    from iwsltpack.decoding import decode as decode_module

    said = [Hypothesis(text="x", tokens=1, finish="stop")]
    bird = SimpleNamespace(generate=lambda inputs, limit: said * len(inputs["input_ids"]), model=None)
    monkeypatch.setattr(decode_module, "load_from", lambda *a, **k: None)
    monkeypatch.setattr(decode_module, "Translator", lambda *a: bird)
    options = DecodeOptions(device="cpu")
    (done,) = decode(
        run_request(talks, MINIATURE, tmp_path / "out", options), source=CheckpointSource(MINIATURE)
    )
    binding = json.loads((done.folder / "journal.jsonl").read_text().splitlines()[0])["binding"]
    assert "engine" not in binding["settings"]
    assert "engine" not in json.loads((done.folder / "run.json").read_text())["settings"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device_type": "cuda"}, "built for another device"),
        ({"known": []}, "does not know the model"),
        (
            {"fail": ValueError("no room\nfor the cache")},
            "(?s)does not start with this model.*no room for the cache",
        ),
        ({"fail": ArtifactError("a chunk of a tensor is damaged")}, "is damaged"),
    ],
)
def test_what_vllm_cannot_do_is_one_clear_error(
    vllm: type[Engine],
    artifact: Path,
    talks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    message: str,
) -> None:
    if "known" in change:
        monkeypatch.setattr(sys.modules["vllm"], "ModelRegistry", SimpleNamespace(get_supported_archs=list))
    if "device_type" in change:
        monkeypatch.setattr(
            sys.modules["vllm.platforms"], "current_platform", SimpleNamespace(device_type="cuda")
        )
    monkeypatch.setattr(Engine, "fail", change.get("fail"))
    with pytest.raises(IwsltpackError, match=message):
        run(talks, artifact, tmp_path / "out")
    assert not (tmp_path / "out" / "run.json").exists()


def test_audio_that_vllm_refuses_is_one_clear_error(
    vllm: type[Engine], artifact: Path, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **options: Any) -> Any:
        raise ValueError("expected 3000 frames")

    monkeypatch.setattr(Engine, "generate", refuse)
    with pytest.raises(ResourceError, match="expected 3000 frames"):
        run(talks, artifact, tmp_path / "out")


def test_without_vllm_the_run_stops_before_anything_is_read(
    artifact: Path, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_engine, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"(?s)vLLM is not installed.*\[vllm\]"):
        run(talks, artifact, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_go_together_with_vllm_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_engine, "find_spec", lambda name: object())
    with pytest.raises(UsageError, match="--mode load"):
        DecodeOptions(engine="vllm", mode="stream")
    with pytest.raises(UsageError, match="dask cluster"):
        RunRequest(
            test_dir=tmp_path,
            artifact="a",
            output=tmp_path,
            options=DecodeOptions(engine="vllm"),
            cluster="x",
        )
    with pytest.raises(UsageError, match="asked in a conversation"):
        vllm_engine.check_engine(MINIATURE, WHISPER, CPU)
    with pytest.raises(UsageError, match="CUDA_VISIBLE_DEVICES=1"):
        vllm_engine.check_engine(MINIATURE, AUDIO_FIRST, torch.device("cuda", 1))
    vllm_engine.check_engine(MINIATURE, AUDIO_FIRST, CPU)
    settings = json.loads((MINIATURE / "generation_config.json").read_text())
    for name, value in (("no_repeat_ngram_size", 3), ("begin_suppress_tokens", [220])):
        (tmp_path / "generation_config.json").write_text(json.dumps(settings | {name: value}))
        with pytest.raises(UsageError, match=f"(?s)does not know these generation settings.*{name}"):
            vllm_engine.check_engine(tmp_path, AUDIO_FIRST, CPU)
