"""An artifact may come from anyone: whatever it claims is one clear error, without hang, crash or full memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY

from iwsltpack.artifact.export import export_checkpoint
from iwsltpack.artifact.integrity import verify_artifact
from iwsltpack.artifact.reader import open_artifact
from iwsltpack.codecs.dtypes import BY_NAME
from iwsltpack.codecs.frames import content_size
from iwsltpack.documents import schema
from iwsltpack.documents.kinds import ITEM_BYTES
from iwsltpack.documents.manifest import MANIFEST_LIMIT, read_manifest
from iwsltpack.documents.names import MANIFEST_NAME
from iwsltpack.errors import ArtifactError, InputError, ValidationFailed
from iwsltpack.system import fileio

GOLDEN = REPOSITORY / "tests" / "golden" / "v1"
LAYER = "block.mlp.up_proj.weight"
CHUNK = f"weights.zarr/{LAYER}/c/0/0"
Json = dict[str, Any]


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    shutil.copytree(GOLDEN / "zstd", tmp_path / "art")
    return tmp_path / "art"


def reseal(artifact: Path, change: Callable[[Json], object]) -> None:
    """Change the manifest and give it a matching digest, as a forger would."""
    path = artifact / MANIFEST_NAME
    data = json.loads(path.read_bytes())
    change(data)
    data["sha256"] = fileio.sha256_bytes(fileio.canonical_json({**data, "sha256": ""}))
    path.write_bytes(fileio.canonical_json(data))


def forge(artifact: Path, path: str, raw: bytes) -> None:
    """Replace a file, and its size and checksum in the manifest."""
    (artifact / path).write_bytes(raw)

    def change(manifest: Json) -> None:
        (file,) = (file for file in manifest["files"] if file["path"] == path)
        for entry in manifest["tensors"]:
            if path.startswith(f"weights.zarr/{entry['name']}/"):
                entry["bytes"] += len(raw) - file["bytes"]
        file.update(bytes=len(raw), sha256=fileio.sha256_bytes(raw))

    reseal(artifact, change)


def tensor(manifest: Json, name: str = LAYER) -> Json:
    found: Json = next(entry for entry in manifest["tensors"] if entry["name"] == name)
    return found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: tensor(m).update(chunk_rows=0), "chunk_rows 0 does not fit"),
        (lambda m: tensor(m).update(chunk_rows=25), "chunk_rows 25 does not fit"),
        (lambda m: tensor(m, "steps").update(chunk_rows=1), "a scalar with 1 chunk_rows"),
        (lambda m: tensor(m).update(shape=[10**9, 10**9], chunk_rows=10**9), "chunks of 10{18} values"),
        (
            lambda m: tensor(m).update(shape=[10**15, 10], chunk_rows=1),
            "its 10{14}1 files are not those listed",
        ),
        (lambda m: tensor(m).update(bits=99), "99 is greater than the maximum of 14"),
        (lambda m: tensor(m).update(shape=[2**60]), "greater than the maximum"),
        (lambda m: tensor(m).update(dtype="complex1024"), "'complex1024' is not one of"),
        (lambda m: tensor(m).update(source_dtype="x"), "'x' is not one of"),
        (lambda m: tensor(m).update(dtype="float32"), "rounded, yet of type float32"),
        (lambda m: tensor(m, "steps").update(bits=7), "do not agree on whether it is rounded"),
        (lambda m: tensor(m).update(component="other"), "do not agree on whether it is rounded"),
        (lambda m: tensor(m, "norm.weight").update(wide=True), "wide, yet not rounded"),
        (lambda m: tensor(m).update(bytes=1), "its bytes are not the sum"),
        (lambda m: tensor(m).update(name=LAYER + "\n"), "does not match"),
        (lambda m: tensor(m).update(name="zarr.json"), "does not match"),
        (lambda m: m["tensors"].append(tensor(m)), "stands there 2 times"),
        (lambda m: m["tensors"].append({**tensor(m), "name": LAYER.upper()}), "stands there 2 times"),
        (lambda m: m["files"].append(m["files"][0]), "stands there 2 times"),
        (lambda m: m["files"][0].update(path="model//config.json"), "does not match"),
        (lambda m: m["files"][0].update(path=MANIFEST_NAME), "belongs to no tensor"),
        (lambda m: m["files"][0].update(path="weights.zarr/other/zarr.json"), "belongs to no tensor"),
        (lambda m: m.update(files=[f for f in m["files"] if LAYER not in f["path"]]), "are not those listed"),
    ],
)
def test_numbers_that_cannot_be_true_are_refused_before_they_are_used(
    victim: Path, change: Callable[[Json], object], message: str
) -> None:
    reseal(victim, change)
    with pytest.raises(
        ValidationFailed,
        match=message.replace("10{18}", "1" + "0" * 18).replace("10{14}1", "1" + "0" * 14 + "1"),
    ):
        read_manifest(victim)
    assert verify_artifact(victim)


def test_a_whole_number_may_be_written_with_a_point(victim: Path) -> None:
    reseal(victim, lambda m: tensor(m).update(shape=[24.0, 10.0]))
    assert open_artifact(victim).tensor(LAYER).shape == (24, 10)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"[" * 200_000, "not usable JSON"),
        (b'{"format": ' + b"9" * 10_000 + b"}", "not usable JSON"),
        (b"[]", "not an artifact manifest"),
        (b"", "not valid JSON"),
        (b"\xff\xff", "not UTF-8"),
    ],
)
def test_a_manifest_that_is_no_document_is_told(victim: Path, raw: bytes, message: str) -> None:
    (victim / MANIFEST_NAME).write_bytes(raw)
    with pytest.raises((ArtifactError, InputError), match=message):
        read_manifest(victim)
    assert [problem.rule for problem in verify_artifact(victim)] == ["artifact.manifest"]


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        (b'"entropy_bits": null', b'"entropy_bits": NaN', ValidationFailed, "does not fit"),
        (b'"AnyModel"', b'"\\ud800"', ArtifactError, "the manifest was altered"),
    ],
)
def test_what_canonical_json_cannot_hold_is_refused(
    victim: Path, old: bytes, new: bytes, error: type[Exception], message: str
) -> None:
    path = victim / MANIFEST_NAME
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(error, match=message):
        read_manifest(victim)


def test_an_enormous_manifest_is_not_read(victim: Path) -> None:
    os.truncate(victim / MANIFEST_NAME, MANIFEST_LIMIT + 1)
    with pytest.raises(InputError, match="the file is too large for what it is"):
        read_manifest(victim)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: {**m, "chunk_key_encoding": {"name": "v2"}}, "the array's chunk names differ"),
        (lambda m: {**m, "node_type": "group"}, "the array's node_type differ"),
        (lambda m: {**m, "codecs": "x"}, "the array's codecs differ"),
        (lambda m: {**m, "storage_transformers": [{"name": "x"}]}, "the array's storage_transformers differ"),
        (lambda m: [m], "the array's zarr_format differ"),
        (lambda m: None, "the array's zarr_format differ"),
    ],
)
def test_array_metadata_that_would_read_otherwise_are_refused(
    victim: Path, change: Callable[[Json], Any], message: str
) -> None:
    path = f"weights.zarr/{LAYER}/zarr.json"
    forge(victim, path, json.dumps(change(json.loads((victim / path).read_bytes()))).encode())
    with pytest.raises(ArtifactError, match=message):
        open_artifact(victim).tensor(LAYER)


def zstd_bomb(declared: int | None, blocks: int) -> bytes:
    """A frame of `blocks` times 128 KiB of zeros, four bytes each, that says it unpacks to `declared`."""
    block = ((128 << 10) << 3 | 2).to_bytes(3, "little") + b"\0"
    last = ((128 << 10) << 3 | 3).to_bytes(3, "little") + b"\0"
    head = b"\0\x58" if declared is None else b"\xe0" + declared.to_bytes(8, "little")
    return b"\x28\xb5\x2f\xfd" + head + block * (blocks - 1) + last


def pcodec_bomb(values: int) -> bytes:
    from pcodec import ChunkConfig, standalone

    one = standalone.simple_compress(np.zeros(1 << 18, dtype=np.int16), ChunkConfig())
    chunk = one[one.index(b"\x08\xff\xff\x03") : -1]
    return one[:-1] + chunk * (values // (1 << 18)) + one[-1:]


BOMBS = {
    "zstd-honest": ("zstd", lambda: zstd_bomb(30_000 * (128 << 10), 30_000)),
    "zstd-lying": ("zstd", lambda: zstd_bomb(480, 30_000)),
    "zstd-silent": ("zstd", lambda: zstd_bomb(None, 30_000)),
    "zstd-claim": ("zstd", lambda: zstd_bomb(1 << 60, 2)),
    "zstd-in-paper": ("paper", lambda: zstd_bomb(30_000 * (128 << 10), 30_000)),
    "pcodec": ("pcodec", lambda: pcodec_bomb(1 << 31)),
}

READ_UNDER_A_LIMIT = """
import resource, sys
from pathlib import Path
from iwsltpack.artifact.reader import open_artifact
from iwsltpack.errors import ArtifactError
artifact = open_artifact(Path(sys.argv[1]))
artifact.tensor("norm.weight")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resource.setrlimit(resource.RLIMIT_DATA, (3 << 30, 3 << 30))
try:
    artifact.tensor(sys.argv[2])
except ArtifactError as error:
    print(error.what, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


@pytest.mark.parametrize("name", BOMBS)
def test_a_decompression_bomb_is_refused_without_unpacking_it(tmp_path: Path, name: str) -> None:
    coding, make = BOMBS[name]
    artifact = tmp_path / "art"
    shutil.copytree(GOLDEN / coding, artifact)
    forge(artifact, CHUNK, make())
    assert verify_artifact(artifact) == []
    done = subprocess.run(
        [sys.executable, "-c", READ_UNDER_A_LIMIT, str(artifact), LAYER],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    what, _, mebibytes = done.stdout.strip().rpartition(" ")
    assert what == "a chunk cannot be decoded"
    assert int(mebibytes) < 64


@pytest.mark.parametrize("count", [239, 241, 0])
@pytest.mark.parametrize("coding", ["paper", "zstd", "pcodec"])
def test_a_chunk_of_another_length_is_refused(tmp_path: Path, coding: str, count: int) -> None:
    from numcodecs import PCodec, Zstd

    artifact = tmp_path / "art"
    shutil.copytree(GOLDEN / coding, artifact)
    codes = np.zeros(count, dtype=np.int16)
    forge(artifact, CHUNK, bytes(PCodec().encode(codes) if coding == "pcodec" else Zstd().encode(codes)))
    with pytest.raises(ArtifactError, match="a chunk cannot be decoded"):
        open_artifact(artifact).tensor(LAYER)


def test_the_size_a_frame_declares_is_read_as_zstandard_writes_it() -> None:
    from numcodecs import Zstd

    for size in (0, 1, 255, 256, 300, 65_791, 65_792, 1 << 20):
        assert content_size(bytes(Zstd(level=1, checksum=size % 2 == 0).encode(bytes(size)))) == size
    assert content_size(b"") is content_size(b"hello world") is None


@pytest.mark.parametrize("path", [f"weights.zarr/{LAYER}/zarr.json", CHUNK, "model/config.json"])
def test_a_pipe_in_place_of_a_file_does_not_block(victim: Path, tmp_path: Path, path: str) -> None:
    (victim / path).unlink()
    os.mkfifo(victim / path)
    assert [problem.path for problem in verify_artifact(victim)] == [path]
    with pytest.raises((ArtifactError, InputError), match=r"missing or cut|not a regular file"):
        export_checkpoint(victim, tmp_path / "hf")
    assert not list(tmp_path.glob("*hf*"))


def test_a_foreign_pipe_and_a_linked_folder_are_named(victim: Path, tmp_path: Path) -> None:
    os.mkfifo(victim / "pipe")
    (victim / "model").rename(tmp_path / "elsewhere")
    (victim / "model").symlink_to(tmp_path / "elsewhere")
    assert [(p.rule, p.path) for p in verify_artifact(victim)] == [
        ("artifact.link", "model"),
        ("artifact.foreign-file", "pipe"),
    ]


def test_an_unreadable_file_is_a_problem_not_a_crash(victim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(fileio, "sha256_file", refuse)
    problems = verify_artifact(victim)
    assert {problem.rule for problem in problems} == {"artifact.unreadable"}
    assert "cannot be read: Permission denied" in problems[0].message


def test_foreign_and_altered_side_files_are_not_exported(victim: Path, tmp_path: Path) -> None:
    (victim / "model" / "modeling_evil.py").write_text("raise SystemExit")
    export_checkpoint(victim, tmp_path / "hf")
    assert sorted(path.name for path in (tmp_path / "hf").iterdir()) == ["config.json", "model.safetensors"]
    config = (victim / "model" / "config.json").read_bytes()
    (victim / "model" / "config.json").write_bytes(config.replace(b"AnyModel", b"MyModels"))
    with pytest.raises(ArtifactError, match="a file is damaged"):
        export_checkpoint(victim, tmp_path / "hf2")
    assert not list(tmp_path.glob("*hf2*"))


def test_schema_and_code_know_the_same_types() -> None:
    assert schema.load_schema("artifact")["$defs"]["dtype"]["enum"] == list(BY_NAME)
    assert {name: dtype.carrier.itemsize for name, dtype in BY_NAME.items()} == ITEM_BYTES
