"""Commands and library calls do with an address what they do with a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import warm
from http_store import HttpStore, isolate
from hub_server import READER, HubServer
from inference_fixtures import MINIATURE, run_request, write_tone
from submission_fixtures import LINES, artifact_fixture, request, run_fixture  # noqa: F401
from typer.testing import CliRunner

import iwsltpack
from iwsltpack.cli import decode as decode_command
from iwsltpack.cli.common import with_options
from iwsltpack.decoding.decode import decode
from iwsltpack.decoding.options import DecodeOptions
from iwsltpack.documents.names import MANIFEST_NAME
from iwsltpack.documents.run import read_run
from iwsltpack.errors import ArtifactError, InputError, ResourceError

GOLDEN = Path(__file__).parent / "golden" / "v1"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return isolate(monkeypatch, tmp_path)


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature, packed."""
    from iwsltpack.building.pipeline import build_artifact
    from iwsltpack.building.recipes import load_recipe
    from iwsltpack.building.request import BuildRequest

    folder = tmp_path_factory.mktemp("artifact") / "q3"
    build_artifact(BuildRequest(MINIATURE, folder, load_recipe("selected-q3"), "zstd"))
    return folder


@pytest.fixture
def store(translator: Path) -> Iterator[HttpStore]:
    with HttpStore(translator.parent) as server:
        yield server


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for number in (1, 2, 3):
        write_tone(tmp_path / "talks" / f"{number}.wav", 0.4, 300.0 * number)
    return tmp_path / "talks"


def run_command(
    *arguments: object, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "iwsltpack", *arguments]
    return warm.run(command, cwd=cwd, env={**os.environ, **environment})


@pytest.mark.parametrize("mode", ["load", "stream"])
def test_decoding_from_a_slow_server_gives_the_bytes_of_decoding_from_the_folder(
    translator: Path, store: HttpStore, clips: Path, tmp_path: Path, mode: Any
) -> None:
    store.fail("", times=None, delay=0.02)
    options = DecodeOptions(device="cpu", mode=mode, max_new_tokens=5)
    (near,) = decode(run_request(clips, translator, tmp_path / "near", options))
    (far,) = decode(run_request(clips, f"{store.url}/q3", tmp_path / "far", options))
    name = near.run.output.path
    assert (tmp_path / "far" / name).read_bytes() == (tmp_path / "near" / name).read_bytes()
    assert (tmp_path / "near" / name).stat().st_size > 3
    assert far.run.artifact == near.run.artifact
    counts = store.counts()
    assert set(counts.values()) == {1}
    assert f"q3/{MANIFEST_NAME}" in counts


def test_decode_as_it_is_typed(
    store: HttpStore, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    typed = (str(clips), "--artifact", f"{store.url}/q3/", "--device", "cpu", "--max-new-tokens", "2")
    done = typed_decode(*typed)
    assert done.exit_code == 0, done.exception
    assert done.stdout == "runs/q3/talks.en-zh.txt\n"
    assert read_run(tmp_path / "runs" / "q3").artifact.recipe == "selected-q3"
    assert store.url not in (tmp_path / "runs" / "q3" / "run.json").read_text()
    store.forget()
    assert typed_decode(*typed, "-o", "again").exit_code == 0
    assert store.requests == [f"q3/{MANIFEST_NAME}"]


def typed_decode(*arguments: str) -> Any:
    app = typer.Typer()
    app.command()(with_options(decode_command.command))
    return CliRunner().invoke(app, arguments)


def test_an_address_may_stand_in_the_settings(store: HttpStore, tmp_path: Path) -> None:
    (tmp_path / "iwsltpack.toml").write_text(f'artifact = "{store.url}/q3"\n')
    done = run_command("inspect", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["recipe"]["name"] == "selected-q3", done.stderr


def test_a_damaged_chunk_stops_decoding_and_leaves_nothing_that_looks_whole(
    store: HttpStore, clips: Path, tmp_path: Path
) -> None:
    store.fail("down_proj.weight/c/0/0", times=None, flip=5)
    with pytest.raises(ArtifactError, match="damaged, at its source or on its way"):
        options = DecodeOptions(device="cpu", max_new_tokens=2)
        decode(run_request(clips, f"{store.url}/q3", tmp_path / "out", options))
    assert not (tmp_path / "out" / "run.json").exists()


def test_a_model_is_loaded_by_its_hub_id_and_a_processor_without_weights(
    translator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", READER)
    with HubServer() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        commit = hub.publish("team/mini", translator)
        processor = iwsltpack.load_processor("team/mini")
        assert processor.feature_extractor.sampling_rate == 16_000
        assert not hub.seen("weights.zarr")
        far = iwsltpack.load_model(f"team/mini@{commit.oid}", device="cpu").state_dict()
        near = iwsltpack.load_model(translator, device="cpu").state_dict()
        assert far.keys() == near.keys()
        assert all(far[name].equal(near[name]) for name in near)
        with pytest.raises(InputError, match="no such repository, or it is private") as error:
            iwsltpack.load_processor("team/none")
        assert "a folder team/none, and there is none here" in str(error.value)
        (tmp_path / "team" / "mini").mkdir(parents=True)
        hub.forget()
        with pytest.raises(Exception, match="not an artifact"):
            iwsltpack.load_processor("team/mini")
        assert hub.seen() == []


def test_export_fetches_everything_and_writes_the_same_checkpoint(tmp_path: Path) -> None:
    from iwsltpack.artifact.export import export_checkpoint

    with HttpStore(GOLDEN) as store:
        export_checkpoint(f"{store.url}/zstd", tmp_path / "far")
    export_checkpoint(GOLDEN / "zstd", tmp_path / "near")
    near, far = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("near", "far"))
    assert far == near


def test_validate_takes_addresses_among_paths() -> None:
    with HttpStore(GOLDEN) as store:
        told = run_command("validate", f"{store.url}/paper", GOLDEN / "zstd", "--json")
        assert told.returncode == 0, told.stderr
        assert [(item["path"], item["kind"], item["problems"]) for item in json.loads(told.stdout)] == [
            (f"{store.url}/paper", "artifact", []),
            (str(GOLDEN / "zstd"), "artifact", []),
        ]


def test_validate_names_what_is_damaged_at_its_source() -> None:
    from iwsltpack.submission.validation import validate

    with HttpStore(GOLDEN) as store:
        store.fail("norm.weight/c/0", times=None, flip=0)
        kind, (problem,) = validate(f"{store.url}/zstd")
    assert (kind, problem.severity) == ("artifact", "error")
    assert (problem.rule, problem.path) == ("artifact.source", "weights.zarr/norm.weight/c/0")


def test_a_report_reads_manifests_alone(run: Path, artifact: Path, tmp_path: Path) -> None:
    from iwsltpack.report.systems import gather

    with HttpStore(artifact.parent) as store:
        far = gather([run, f"{store.url}/{artifact.name}"])
        assert store.requests == [f"{artifact.name}/{MANIFEST_NAME}"]
        near = gather([run, artifact])
        assert [(s.title, s.sizes, s.components) for s in far] == [
            (s.title, s.sizes, s.components) for s in near
        ]
        alone = run_command("report", f"{store.url}/{artifact.name}", "-o", tmp_path / "report", "--json")
        assert alone.returncode == 0, alone.stderr
        assert store.url not in alone.stdout


def test_a_submission_of_a_remote_artifact_is_that_of_the_folder(
    run: Path, artifact: Path, tmp_path: Path
) -> None:
    from iwsltpack.submission.packaging import prepare

    near = prepare(request(artifact, run))
    with HttpStore(artifact.parent) as store:
        far = prepare(request(f"{store.url}/{artifact.name}", run))  # type: ignore[arg-type]
        assert far.files == near.files
        done = run_command(
            "submit", "--primary", "--team", "APG", "--edition", "demo", "--run", run, "--artifact",
            f"{store.url}/{artifact.name}", "--runnable", cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (package,) = (tmp_path / "runnable").glob("*/artifact")
        copied = {p.relative_to(package): p.read_bytes() for p in package.rglob("*") if p.is_file()}
        assert copied == {p.relative_to(artifact): p.read_bytes() for p in artifact.rglob("*") if p.is_file()}
        for path in (tmp_path / "submissions").rglob("*"):
            assert not path.is_file() or store.url.encode() not in path.read_bytes()


def test_submit_without_a_network_says_so_and_writes_nothing(
    run: Path, artifact: Path, tmp_path: Path
) -> None:
    from iwsltpack.submission.packaging import prepare

    with pytest.raises(ResourceError, match="the store cannot be reached"):
        prepare(request("http://127.0.0.1:9/q3", run))  # type: ignore[arg-type]


PLAIN = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "iwsltpack":
            raise ImportError("iwsltpack is not here")
sys.meta_path.insert(0, Blocker())
import warnings; warnings.simplefilter("ignore")
import zarr
array = zarr.open_array(sys.argv[1] + "/weights.zarr/block.mlp.up_proj.weight", mode="r")
values = array[...] * array.attrs["scale_factor"] + array.attrs["add_offset"]
group = zarr.open_group(sys.argv[1] + "/weights.zarr", mode="r")
assert (group["block.mlp.up_proj.weight"][...] == array[...]).all()
sys.stdout.buffer.write(values.astype("float16").tobytes())
"""


@pytest.mark.parametrize("scheme", ["http", "hf"])
def test_plain_zarr_reads_a_published_artifact_without_this_package(scheme: str, tmp_path: Path) -> None:
    with HttpStore(GOLDEN) as store, HubServer() as hub:
        hub.publish("team/q3", GOLDEN / "zstd")
        address = f"{store.url}/zstd" if scheme == "http" else "hf://team/q3"
        done = subprocess.run(
            [sys.executable, "-c", PLAIN, address],
            capture_output=True,
            check=False,
            cwd=tmp_path,
            env=hub.environment(home=tmp_path / "home"),
        )
        assert done.returncode == 0, done.stderr.decode()
    with np.load(GOLDEN / "expected.npz") as expected:
        assert done.stdout == expected["block.mlp.up_proj.weight"].tobytes()


def test_progress_tells_the_bytes(built: Callable[..., Path]) -> None:
    from iwsltpack.artifact.location import local_copy

    class Sink:
        def __init__(self) -> None:
            self.stages: list[tuple[str, float, str]] = []
            self.done = 0.0

        def start(self, description: str, total: float, unit: str = "items") -> None:
            self.stages.append((description, total, unit))

        def advance(self, amount: float = 1) -> None:
            self.done += amount

        def note(self, text: str) -> None: ...

        def finish(self) -> None: ...

    folder, sink = built("selected-q3", "zstd"), Sink()
    with HttpStore(folder) as store:
        local_copy(store.url, sink)  # type: ignore[arg-type]
    total = sum(
        path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST_NAME
    )
    assert sink.stages == [("fetching", total, "bytes")]
    assert sink.done == total
