"""Building: deterministic, resumable, refusing what cannot be packed, leaving nothing half-written."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import warm
from conftest import bfloat16, write_checkpoint

from iwsltpack.artifact.integrity import verify_artifact
from iwsltpack.artifact.reader import open_artifact
from iwsltpack.building import plan, staging
from iwsltpack.building.checkpoint import SourceTensor, open_checkpoint
from iwsltpack.building.partial import JOURNAL, BuildJournal, finished
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.recipes import BUILT_IN
from iwsltpack.building.request import BuildRequest
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.documents.recipe import LayerRule, Recipe
from iwsltpack.errors import ArtifactError, InputError, ResourceError, UsageError
from iwsltpack.system import direct_io
from iwsltpack.system.progress import Reporter

ALL = Recipe(name="all", description="", techniques=("x",), layers=(LayerRule(pattern=".", bits=10),))
Make = Callable[..., Path]


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class Advances(Reporter):
    """Remembers every step it was told of."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def advance(self, amount: float = 1) -> None:
        self.seen.append(amount)


def run(code: str, *arguments: object, **options: Any) -> Any:
    command = [sys.executable, "-c", code, *arguments]
    return warm.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


BUILD = """
import sys
from pathlib import Path
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.request import BuildRequest
from iwsltpack.building.recipes import BUILT_IN
from iwsltpack.building import staging
staging.BUNDLE_BYTES = 0  # every tensor by itself, as those of a large model
build_artifact(BuildRequest(Path(sys.argv[1]), Path(sys.argv[2]), BUILT_IN[sys.argv[3]], sys.argv[4], workers=1))
"""


@pytest.mark.parametrize("coding", ["paper", "zstd", "pcodec"])
def test_two_builds_give_identical_bytes(
    tiny: Path, built: Callable[[str, str], Path], tmp_path: Path, coding: str
) -> None:
    build_artifact(BuildRequest(tiny, tmp_path / "again", BUILT_IN["selected-q3"], coding, workers=3))
    assert tree(tmp_path / "again") == tree(built("selected-q3", coding))


def test_a_format_version_is_what_was_asked_for(checkpoint: Make, tmp_path: Path) -> None:
    values = bfloat16(np.random.default_rng(3).standard_normal((300, 700)) * 0.02)
    source, sizes = checkpoint({"embed_tokens.weight": values}), []
    for version in (1, 2):
        output = tmp_path / str(version)
        command = ["build", source, "--recipe=fp16", f"--format-version={version}", "--output", output]
        warm.run([sys.executable, "-m", "iwsltpack", *command], check=True)
        manifest = open_artifact(output).manifest
        assert manifest.format_version == version
        group = json.loads((output / "weights.zarr" / "zarr.json").read_text())
        assert group["attributes"]["format_version"] == version
        array = json.loads((output / "weights.zarr" / "embed_tokens.weight" / "zarr.json").read_text())
        assert array["attributes"].get("rotated_bits", 0) == version - 1
        assert open_artifact(output).tensor("embed_tokens.weight").tobytes() == values[1].tobytes()
        sizes.append(manifest.tensors[0].bytes)
    assert sizes[1] < 0.995 * sizes[0]
    with pytest.raises(UsageError, match="unknown format version\n  expected: 1 or 2\n  got: 3"):
        build_artifact(BuildRequest(source, tmp_path / "3", BUILT_IN["fp16"], format_version=3))


def test_a_killed_build_goes_on_and_ends_in_the_same_bytes(
    tiny: Path, built: Callable[[str, str], Path], tmp_path: Path
) -> None:
    output, partial = tmp_path / "out", tmp_path / "out.partial"
    random = np.random.default_rng(int(time.time()))
    kills = 0
    for _ in range(4):
        process = run(BUILD, tiny, output, "selected-q2", "zstd")
        while process.poll() is None and not (partial / JOURNAL).exists():
            time.sleep(0.005)
        time.sleep(float(random.uniform(0, 0.15)))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        if not output.exists():
            with pytest.raises(ArtifactError, match="only half built"):
                read_manifest(output)
    assert kills >= 1
    if not output.exists():
        build_artifact(BuildRequest(tiny, output, BUILT_IN["selected-q2"], "zstd"))
    assert tree(output) == tree(built("selected-q2", "zstd"))
    assert not partial.exists()


def test_resuming_keeps_finished_tensors_and_mends_damaged_ones(
    tiny: Path, built: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "BUNDLE_BYTES", 0)
    real, written = staging.write_tensor, []

    def failing(*arguments: Any) -> Any:
        if len(written) == 5:
            raise ResourceError("no space left to write")
        written.append(arguments[1].source.name)
        return real(*arguments)

    monkeypatch.setattr(staging, "write_tensor", failing)
    with pytest.raises(ResourceError, match="no space left"):
        build_artifact(BuildRequest(tiny, tmp_path / "out", BUILT_IN["selected-q3"], "zstd", workers=1))
    chunk = next((tmp_path / "out.partial" / "artifact" / "weights.zarr" / written[0] / "c").rglob("0"))
    chunk = chunk if chunk.is_file() else chunk / "0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    again: list[str] = []
    monkeypatch.setattr(staging, "write_tensor", lambda *a: (again.append(a[1].source.name), real(*a))[1])
    build_artifact(BuildRequest(tiny, tmp_path / "out", BUILT_IN["selected-q3"], "zstd", workers=1))
    assert written[0] in again
    assert not set(written[1:]) & set(again)
    assert tree(tmp_path / "out") == tree(built("selected-q3", "zstd"))


def test_a_torn_journal_line_is_passed_over(
    tiny: Path, built: Callable[[str, str], Path], tmp_path: Path
) -> None:
    process = run(BUILD, tiny, tmp_path / "out", "selected-q3", "zstd")
    journal = tmp_path / "out.partial" / JOURNAL
    while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < 4):
        time.sleep(0.002)
    process.kill()
    process.communicate()
    if (tmp_path / "out").exists():
        pytest.skip("the build was over before it could be killed")
    with journal.open("ab") as stream:
        stream.write(b'{"tensor": {"name": "langu')
    build_artifact(BuildRequest(tiny, tmp_path / "out", BUILT_IN["selected-q3"], "zstd"))
    assert tree(tmp_path / "out") == tree(built("selected-q3", "zstd"))


def test_leftovers_of_another_build_are_not_mixed_in(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def stop(*_: Any) -> Any:
        raise ResourceError("stopped")

    monkeypatch.setattr(staging, "write_tensor", stop)
    with pytest.raises(ResourceError):
        build_artifact(BuildRequest(tiny, tmp_path / "out", BUILT_IN["selected-q3"], "zstd"))
    with pytest.raises(UsageError, match="an unfinished build of another source, recipe, coding or version"):
        build_artifact(BuildRequest(tiny, tmp_path / "out", BUILT_IN["selected-q2"], "zstd"))


def test_two_builders_of_one_artifact_do_not_meet(tiny: Path, tmp_path: Path) -> None:
    from iwsltpack.building.partial import LOCK
    from iwsltpack.system.locks import held

    (tmp_path / "out.partial").mkdir()
    with (
        held(tmp_path / "out.partial" / LOCK, "held"),
        pytest.raises(UsageError, match="another build is writing"),
    ):
        build_artifact(BuildRequest(tiny, tmp_path / "out", BUILT_IN["selected-q3"], "zstd"))


def test_an_existing_output_is_left_alone(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match="the output exists"):
        build_artifact(BuildRequest(tiny, tmp_path / "out", BUILT_IN["fp16"], "zstd"))
    assert (tmp_path / "out" / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_an_unusable_weight_is_named_with_its_index(checkpoint: Make, tmp_path: Path, value: float) -> None:
    weight = np.zeros((9, 5), dtype=np.float32)
    weight[6, 2] = value
    source = checkpoint({"block.mlp.weight": weight})
    with pytest.raises(InputError, match=r"block\.mlp\.weight\[6, 2\]: a selected weight is"):
        build_artifact(BuildRequest(source, tmp_path / "out", ALL, "zstd"))
    assert not (tmp_path / "out").exists()


def test_nan_is_kept_where_nothing_is_rounded(checkpoint: Make, tmp_path: Path) -> None:
    source = checkpoint({"a.weight": np.full((2, 2), np.nan, dtype=np.float32)})
    assert (
        build_artifact(BuildRequest(source, tmp_path / "out", BUILT_IN["fp16"], "zstd")).tensors[0].bits
        is None
    )


def test_a_full_disk_is_one_sentence_and_no_artifact(tiny: Path, tmp_path: Path) -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n" + BUILD
    process = run(limited, tiny, tmp_path / "out", "selected-q3", "paper")
    _, error = process.communicate()
    assert process.returncode != 0
    assert "ResourceError" in error
    assert "no space left to write" in error
    assert not (tmp_path / "out").exists()


def is_selected(path: Path) -> bool:
    return re.search(r"language_model.*\.mlp\..*_proj\.weight/c/", path.as_posix()) is not None


@pytest.mark.parametrize(
    ("coding", "place"),
    [
        ("paper", 0.5),
        ("zstd", 0.5),
        ("pcodec", 0.5),
        pytest.param("zstd", 1.0, id="zstd, in the checksum that plain readers look at"),
    ],
)
@pytest.mark.parametrize("selected", [True, False])
def test_a_flipped_bit_between_write_and_check_is_caught(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coding: str, place: float, selected: bool
) -> None:
    from iwsltpack.building import tensor_writer

    flipped: list[Path] = []

    def read(path: Path, offset: int, length: int, *, past_cache: bool) -> memoryview:
        raw = bytearray(direct_io.read(path, offset, length, past_cache=past_cache))
        if is_selected(path) == selected:
            raw[int(place * (len(raw) - 1))] ^= 1
            flipped.append(path)
        return memoryview(raw)

    monkeypatch.setattr(tensor_writer, "direct_io", SimpleNamespace(read=read, write=direct_io.write))
    with pytest.raises(ArtifactError, match="a chunk read back is not what was written") as caught:
        build_artifact(BuildRequest(tiny, tmp_path / "out", BUILT_IN["selected-q3"], coding, workers=1))
    assert caught.value.where == str(flipped[0])


@pytest.mark.parametrize("coding", ["paper", "zstd", "pcodec"])
@pytest.mark.parametrize("selected", [True, False])
def test_a_sound_chunk_of_other_weights_is_caught(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coding: str, selected: bool
) -> None:
    from dataclasses import replace

    from iwsltpack.building.chunk_packer import ChunkPacker, PackedChunk

    pack = ChunkPacker.pack

    def pack_other(packer: ChunkPacker, block: np.ndarray, first: int) -> PackedChunk:
        wanted = pack(packer, block, first)
        if (packer.quantizer is not None) != selected:
            return wanted
        other = block.copy()
        patterns = other.reshape(-1).view(np.uint16)
        patterns[np.argmax(patterns & 0x7FFF)] ^= 0x8000  # the sign of the largest
        return replace(wanted, data=pack(packer, other, first).data)

    monkeypatch.setattr(ChunkPacker, "pack", pack_other)
    with pytest.raises(ArtifactError, match="a chunk read back is not what was written") as caught:
        build_artifact(BuildRequest(tiny, tmp_path / "out", BUILT_IN["selected-q3"], coding, workers=1))
    assert is_selected(Path(str(caught.value.where))) == selected


def test_a_pattern_that_matches_nothing_is_an_error(tiny: Path, tmp_path: Path) -> None:
    recipe = Recipe(
        name="typo", description="", techniques=("x",), layers=(LayerRule(pattern="mpl", bits=7),)
    )
    with pytest.raises(UsageError, match="mpl: a pattern of recipe 'typo' matches no linear layer"):
        build_artifact(BuildRequest(tiny, tmp_path / "out", recipe, "zstd"))
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_shard_is_told(tiny: Path, tmp_path: Path) -> None:
    for path in tiny.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    shard = sorted(tmp_path.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"00002.*truncated or has bytes left over"):
        open_checkpoint(tmp_path)
    shard.unlink()
    with pytest.raises(InputError, match="a shard named by the index is missing"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not a safetensors file"),
        (b"\xff" * 40, "not a safetensors file"),
        ((4).to_bytes(8, "little") + b"nope", "the safetensors header is not JSON"),
        ((2).to_bytes(8, "little") + b"[]", "the safetensors header is not an object"),
    ],
)
def test_a_malformed_checkpoint_file_is_told(tmp_path: Path, raw: bytes, message: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(raw)
    with pytest.raises(InputError, match=message):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": "1", "data_offsets": [0, 4]},
        {"dtype": "F32", "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0]},
    ],
)
def test_a_header_that_contradicts_itself_is_told(tmp_path: Path, entry: dict[str, Any]) -> None:
    import json

    header = json.dumps({"a": entry}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 8)
    with pytest.raises(InputError, match=r"the safetensors (header|file)"):
        open_checkpoint(tmp_path)


def test_a_folder_without_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such checkpoint folder"):
        open_checkpoint(tmp_path / "nothing")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(InputError, match=r"no safetensors checkpoint here(.|\n)*pytorch_model\.bin"):
        open_checkpoint(tmp_path)
    write_checkpoint(tmp_path / "bare", {"a": np.zeros(2)})
    (tmp_path / "bare" / "config.json").unlink()
    with pytest.raises(InputError, match="the checkpoint has no configuration"):
        build_artifact(BuildRequest(tmp_path / "bare", tmp_path / "out", BUILT_IN["fp16"], "zstd"))


def test_tied_weights_named_by_an_old_index_are_accepted(tmp_path: Path) -> None:
    import json

    write_checkpoint(tmp_path, {"embed.weight": bfloat16(np.ones((4, 2)))})
    raw = (tmp_path / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length]) | {
        "__metadata__": {"format": "pt", "head.weight": "embed.weight"}
    }
    encoded = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(
        len(encoded).to_bytes(8, "little") + encoded + raw[8 + length :]
    )
    names = dict.fromkeys(["embed.weight", "head.weight"], "model.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    assert list(open_checkpoint(tmp_path).tensors) == ["embed.weight"]


def test_nothing_of_this_machine_enters_an_artifact(tmp_path: Path) -> None:
    config = {"architectures": ["AnyModel"], "_name_or_path": str(tmp_path / "secret"), "model_type": "any"}
    source = write_checkpoint(tmp_path / "source", {"a.weight": bfloat16(np.ones((4, 2)))}, config)
    (source / "modeling_any.py").write_text("raise SystemExit")
    build_artifact(BuildRequest(source, tmp_path / "out", BUILT_IN["fp16"], "zstd"))
    assert not list((tmp_path / "out").rglob("*.py"))
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            for private in (str(tmp_path), os.uname().nodename, "secret"):
                assert private.encode() not in path.read_bytes(), (path, private)
    assert verify_artifact(tmp_path / "out") == []


def test_a_build_killed_while_it_is_published_has_nothing_to_do_again(
    tiny: Path, built: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    output = tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        real = Path.rename

        def killed(path: Path, target: Any) -> Any:
            if Path(target) == output:
                raise KeyboardInterrupt
            return real(path, target)

        patch.setattr(Path, "rename", killed)
        build_artifact(BuildRequest(tiny, output, BUILT_IN["selected-q3"], "zstd"))
    monkeypatch.setattr(staging, "write_tensor", lambda *_: pytest.fail("a tensor was packed again"))
    build_artifact(BuildRequest(tiny, output, BUILT_IN["selected-q3"], "zstd"))
    assert tree(output) == tree(built("selected-q3", "zstd"))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("again", ["build", "shard", "merge"])
def test_what_a_build_left_that_was_killed_as_it_swept_goes(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    from iwsltpack.building import partial, shards
    from iwsltpack.cluster.shards import Shard
    from iwsltpack.system import locks

    request = BuildRequest(tiny, tmp_path / "out", BUILT_IN["fp16"], "zstd")
    real = shutil.rmtree

    def killed(path: Path, **options: Any) -> None:
        if Path(path).name == "out.partial":
            raise KeyboardInterrupt
        real(path, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(partial, "shutil", SimpleNamespace(rmtree=killed))
        build_artifact(request)
    commands = {
        "build": lambda: build_artifact(request),
        "shard": lambda: shards.build_shard(request, shard=Shard.parse("1/2")),
        "merge": lambda: shards.merge_build(request.output),
    }
    with locks.held(tmp_path / "out.partial" / partial.LOCK, "held"):
        commands[again]()
    assert (tmp_path / "out.partial").is_dir(), "somebody was at work there"
    commands[again]()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_builder_that_comes_late_leaves_the_finished_artifact_alone(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iwsltpack.building import pipeline

    real = pipeline.plan_tensors

    def finished_meanwhile(*arguments: Any) -> Any:
        (tmp_path / "out").mkdir()
        return real(*arguments)

    monkeypatch.setattr(pipeline, "plan_tensors", finished_meanwhile)
    with pytest.raises(UsageError, match="the output exists"):
        build_artifact(BuildRequest(tiny, tmp_path / "out", BUILT_IN["fp16"], "zstd"))
    assert not list((tmp_path / "out").iterdir())


def test_a_source_that_changes_while_it_is_packed_is_told(
    checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    source, real = checkpoint({"a.weight": np.ones((4, 2), dtype=np.float32)}), staging.write_tensor

    def touching(*arguments: Any) -> Any:
        os.utime(source / "model.safetensors", ns=(1, 1))
        return real(*arguments)

    monkeypatch.setattr(staging, "write_tensor", touching)
    with pytest.raises(InputError, match="the checkpoint changed while it was being packed"):
        build_artifact(BuildRequest(source, tmp_path / "out", BUILT_IN["fp16"], "zstd"))
    assert not (tmp_path / "out").exists()


def test_the_chunks_of_one_tensor_are_packed_side_by_side(
    checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "CHUNK_VALUES", 8)
    both, real = threading.Barrier(2, timeout=20), SourceTensor.rows
    monkeypatch.setattr(SourceTensor, "rows", lambda *a: (both.wait(), real(*a))[1])
    source = checkpoint({"a.weight": np.arange(16, dtype=np.float32).reshape(4, 4)})
    manifest = build_artifact(BuildRequest(source, tmp_path / "out", BUILT_IN["fp16"], "zstd", workers=2))
    assert len([file for file in manifest.files if "/c/" in file.path]) == 2


@pytest.mark.parametrize("workers", [1, 8])
def test_a_code_too_wide_in_a_late_chunk_widens_the_tensor_whole(
    checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(plan, "CHUNK_VALUES", 4096)
    weights = np.random.default_rng(0).normal(0, 0.1, (512, 64)).astype(np.float32)
    weights[400, 3] = 60  # times 2^10 is no 16-bit code
    source = checkpoint({"a.weight": weights})
    output, progress = tmp_path / "out", Advances()
    manifest = build_artifact(BuildRequest(source, output, ALL, "zstd", workers=workers), progress=progress)
    [tensor] = manifest.tensors
    codes = np.rint(weights.astype(np.float64) * 1024)
    _, counts = np.unique(codes, return_counts=True)
    shares = counts / counts.sum()
    assert tensor.wide
    assert tensor.entropy_bits == pytest.approx(-(shares * np.log2(shares)).sum(), abs=1e-5)
    assert sum(progress.seen) == weights.nbytes
    assert verify_artifact(output) == []
    held = open_artifact(output).tensor("a.weight")
    assert np.array_equal(held, (codes / 1024).astype(np.float16))


def test_a_stopped_build_does_not_finish_its_tensors_first(tiny: Path, tmp_path: Path) -> None:
    from threading import Event

    from iwsltpack.building.plan import plan_tensors
    from iwsltpack.building.tensor_writer import Stopped, write_tensor
    from iwsltpack.codecs.registry import CODINGS
    from iwsltpack.system.progress import SILENT

    stop = Event()
    stop.set()
    first = plan_tensors(open_checkpoint(tiny), BUILT_IN["fp16"])[0]
    with pytest.raises(Stopped):
        write_tensor(tmp_path, first, CODINGS["zstd"], SILENT, stop)


def test_a_journal_line_torn_by_a_full_disk_costs_one_tensor(tmp_path: Path) -> None:
    from iwsltpack.building.partial import BuildJournal

    journal = BuildJournal(tmp_path / JOURNAL)
    journal.append({"build": "x"})
    with (tmp_path / JOURNAL).open("ab") as stream:
        stream.write(b'{"tensor": {"na')
    journal.append({"tensor": 1})
    journal.append({"tensor": 2})
    assert journal.records() == [{"build": "x"}, {"tensor": 2}]


def test_a_sound_record_of_another_form_is_passed_over(tmp_path: Path) -> None:
    tensor = {"name": "a", "shape": [2], "source_dtype": "float32", "dtype": "float16", "component": "other"}
    journal = BuildJournal(tmp_path / JOURNAL)
    for strange in ({"chunk_rows": "x"}, {"chunk_rows": 2, "bytes": "x"}, {"shape": 7}, {"shape": ["x"]}):
        journal.append({"tensor": tensor | strange, "files": [], "source": ""})
    for record in (
        {"tensor": []},
        {"tensor": 5},
        {"tensor": None},
        {"tensor": tensor, "files": 5},
        {"files": []},
    ):
        journal.append(record)
    assert finished(tmp_path, ["a"], {"a": 8}) == {}


def test_a_tensor_whose_journal_record_was_edited_is_packed_again_and_said_so(
    tiny: Path,
    built: Callable[[str, str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from iwsltpack.building import pipeline

    def stop(*_: Any) -> Any:
        raise ResourceError("stopped")

    real, again = staging.write_tensor, []
    with monkeypatch.context() as patch:
        patch.setattr(pipeline.publishing, "seal", stop)
        with pytest.raises(ResourceError, match="stopped"):
            build_artifact(BuildRequest(tiny, tmp_path / "out", BUILT_IN["selected-q3"], "zstd"))
    journal = tmp_path / "out.partial" / JOURNAL
    first, second, third, *others = journal.read_bytes().splitlines(keepends=True)
    wrong = json.loads(first)
    wrong["tensor"]["source_dtype"] = "float64"
    old = {key: value for key, value in json.loads(second).items() if key != "sha256"}
    unreadable = third.replace(b'"files"', b'"\\ud800":1e999,"files"')
    journal.write_bytes(
        b"".join([*(json.dumps(line).encode() + b"\n" for line in (wrong, old)), unreadable, *others])
    )
    monkeypatch.setattr(staging, "write_tensor", lambda *a: (again.append(a[1].source.name), real(*a))[1])
    build_artifact(BuildRequest(tiny, tmp_path / "out", BUILT_IN["selected-q3"], "zstd"))
    assert sorted(again) == sorted(json.loads(line)["tensor"]["name"] for line in (first, second, third))
    assert f"{journal}: 3 records are damaged or have no checksum" in caplog.text
    assert tree(tmp_path / "out") == tree(built("selected-q3", "zstd"))


def test_group_metadata_lost_in_a_power_cut_do_not_stop_the_next_build(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from iwsltpack.building import publishing

    with monkeypatch.context() as patch, pytest.raises(ResourceError):
        patch.setattr(publishing, "seal", lambda *_: (_ for _ in ()).throw(ResourceError("stopped")))
        build_artifact(BuildRequest(tiny, tmp_path / "out", BUILT_IN["fp16"], "zstd"))
    (tmp_path / "out.partial" / "artifact" / "weights.zarr" / "zarr.json").write_bytes(b"")
    build_artifact(BuildRequest(tiny, tmp_path / "out", BUILT_IN["fp16"], "zstd"))
    assert verify_artifact(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["../evil"], "a tensor's name cannot be that of a folder"),
        (["a/b"], "a tensor's name cannot be that of a folder"),
        (["zarr.json"], "a tensor's name cannot be that of a folder"),
        (["x" * 251], "a tensor's name cannot be that of a folder"),
        (["a.weight", "A.weight"], "differ in upper and lower case alone"),
        ([], "the checkpoint holds no tensor"),
    ],
)
def test_names_no_artifact_can_hold_are_refused_before_anything_is_written(
    checkpoint: Make, tmp_path: Path, names: list[str], message: str
) -> None:
    source = checkpoint({name: np.zeros(2, dtype=np.float32) for name in names})
    with pytest.raises(InputError, match=message):
        build_artifact(BuildRequest(source, tmp_path / "out", BUILT_IN["fp16"], "zstd"))
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(("parent", "name"), [("file", "file/out"), ("out.partial", "out")])
def test_a_file_where_a_folder_is_needed_is_one_sentence(
    tiny: Path, tmp_path: Path, parent: str, name: str
) -> None:
    (tmp_path / parent).touch()
    with pytest.raises(
        ResourceError, match=r"the operating system refused(.|\n)*(Not a directory|File exists)"
    ):
        build_artifact(BuildRequest(tiny, tmp_path / name, BUILT_IN["fp16"], "zstd"))


def test_a_dangling_link_counts_as_an_output_that_exists(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="the output exists"):
        build_artifact(BuildRequest(tiny, tmp_path / "out", BUILT_IN["fp16"], "zstd"))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"[]", "a configuration file is not an object"),
        (b"[" * 100_000, "not usable JSON"),
        (b'{"model_type": "\xff"}', "not UTF-8"),
        (b'{"architectures": ["A"], "name_or_path": "x", "y": NaN}', "expected: finite numbers"),
        (b'{"model_type": "any"}', "the configuration names no architecture"),
    ],
)
def test_a_configuration_that_is_none_is_told(
    checkpoint: Make, tmp_path: Path, raw: bytes, message: str
) -> None:
    source = checkpoint({"a": np.zeros(2)})
    (source / "config.json").write_bytes(raw)
    with pytest.raises(InputError, match=message):
        build_artifact(BuildRequest(source, tmp_path / "out", BUILT_IN["fp16"], "zstd"))


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 100_000,
        b'{"a": ' + b"9" * 9000 + b"}",
        b'{"\\ud800": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "a": 1}',
    ],
)
def test_a_hostile_header_is_one_sentence(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(InputError, match="the safetensors header is not JSON"):
        open_checkpoint(tmp_path)


def test_paths_in_the_parts_of_a_configuration_stay_behind(checkpoint: Make, tmp_path: Path) -> None:
    config = {"architectures": ["A"], "text_config": {"_name_or_path": "/home/someone/model", "size": 3}}
    build_artifact(
        BuildRequest(checkpoint({"a": np.zeros(2)}, config), tmp_path / "out", BUILT_IN["fp16"], "zstd")
    )
    written = (tmp_path / "out" / "model" / "config.json").read_text()
    assert "someone" not in written
    assert '"size": 3' in written


def test_a_linear_layer_without_rows_can_be_selected(checkpoint: Make, tmp_path: Path) -> None:
    from iwsltpack.artifact.reader import open_artifact
    from iwsltpack.artifact.sizes import measure

    build_artifact(
        BuildRequest(checkpoint({"a.weight": np.zeros((0, 4), np.float32)}), tmp_path / "out", ALL, "zstd")
    )
    assert open_artifact(tmp_path / "out").tensor("a.weight").shape == (0, 4)
    assert measure(tmp_path / "out").parameters == 0


def test_where_there_are_no_locks_a_second_build_stops_the_first(
    tiny: Path, built: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    request = BuildRequest(tiny, tmp_path / "out", BUILT_IN["selected-q3"], "zstd", workers=1)
    real, inside = staging.write_tensor, []

    def overtaken(*arguments: Any) -> Any:
        if not inside:
            inside.append(True)
            build_artifact(request)
        return real(*arguments)

    monkeypatch.setattr(staging, "write_tensor", overtaken)
    with pytest.raises(UsageError, match="another build of this output took over"):
        build_artifact(request)
    assert tree(tmp_path / "out") == tree(built("selected-q3", "zstd"))
