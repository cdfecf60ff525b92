"""`verify` catches every flipped byte; a reader refuses what the manifest does not promise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest

from iwsltpack.artifact.integrity import verify_artifact
from iwsltpack.artifact.reader import open_artifact
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.documents.names import MANIFEST_NAME
from iwsltpack.errors import ArtifactError, ValidationFailed
from iwsltpack.system import fileio

GOLDEN = Path(__file__).parent / "golden" / "v1"
LAYER = "language_model.model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def copy(built: Callable[[str, str], Path], tmp_path: Path) -> Path:
    shutil.copytree(built("selected-q3", "zstd"), tmp_path / "art")
    return tmp_path / "art"


def reseal(artifact: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Forge a manifest: change it and give it a matching digest."""
    path = artifact / MANIFEST_NAME
    data = json.loads(path.read_bytes())
    change(data)
    data["sha256"] = fileio.sha256_bytes(fileio.canonical_json({**data, "sha256": ""}))
    path.write_bytes(fileio.canonical_json(data))


def test_a_whole_artifact_has_no_problem(built: Callable[[str, str], Path]) -> None:
    for coding in ("paper", "zstd", "pcodec"):
        assert verify_artifact(built("selected-q3", coding)) == []


def test_every_single_byte_flip_is_caught(copy: Path) -> None:
    random = np.random.default_rng(3)
    files = [path for path in sorted(copy.rglob("*")) if path.is_file()]
    for path in files:
        original = path.read_bytes()
        places = {0, len(original) - 1, *random.integers(0, len(original), 1).tolist()}
        if path.name == MANIFEST_NAME:
            places |= set(random.integers(0, len(original), 30).tolist())
        for place in places:
            damaged = bytearray(original)
            damaged[place] ^= 1 << int(random.integers(8))
            path.write_bytes(bytes(damaged))
            if path.name == MANIFEST_NAME:
                assert verify_artifact(copy), f"{path.name} byte {place}"
            else:
                found = _check_one(copy, path)
                assert found, f"{path.relative_to(copy)} byte {place}"
        path.write_bytes(original)
    assert verify_artifact(copy) == []


def _check_one(artifact: Path, path: Path) -> bool:
    """Check one file as `verify_artifact` does; hashing the whole artifact for each flip would take minutes."""
    from iwsltpack.artifact.integrity import _check

    entry = next(f for f in read_manifest(artifact).files if f.path == path.relative_to(artifact).as_posix())
    return _check(artifact, entry) is not None


def test_the_damaged_tensor_and_chunk_are_named(copy: Path) -> None:
    chunk = copy / "weights.zarr" / LAYER / "c" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"!")
    (problem,) = verify_artifact(copy)
    assert problem.rule == "artifact.checksum"
    assert problem.message == f"chunk 0/0 of tensor {LAYER} is damaged"


def test_missing_cut_foreign_and_linked_files_are_told_apart(copy: Path) -> None:
    layer = copy / "weights.zarr" / LAYER
    (layer / "c" / "0" / "0").unlink()
    (layer / "zarr.json").write_bytes(b"{}")
    (copy / "notes.txt").write_text("mine")
    (copy / "model" / "config.json").rename(copy / "elsewhere")
    (copy / "model" / "config.json").symlink_to(copy / "elsewhere")
    found = {(problem.rule, problem.path) for problem in verify_artifact(copy)}
    assert found == {
        ("artifact.missing-file", f"weights.zarr/{LAYER}/c/0/0"),
        ("artifact.size", f"weights.zarr/{LAYER}/zarr.json"),
        ("artifact.foreign-file", "notes.txt"),
        ("artifact.foreign-file", "elsewhere"),
        ("artifact.link", "model/config.json"),
    }


def test_a_missing_chunk_is_not_read_as_zeros(copy: Path) -> None:
    (copy / "weights.zarr" / LAYER / "c" / "0" / "0").unlink()
    with pytest.raises(ArtifactError, match="a chunk of a tensor is missing or cut"):
        open_artifact(copy).tensor(LAYER)


def test_a_damaged_chunk_does_not_decode(copy: Path) -> None:
    chunk = copy / "weights.zarr" / LAYER / "c" / "0" / "0"
    raw = bytearray(chunk.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    chunk.write_bytes(bytes(raw))
    with pytest.raises(ArtifactError, match="a chunk of a tensor is damaged") as error:
        open_artifact(copy).tensor(LAYER)
    assert error.value.where == str(chunk)
    assert error.value.fix == f"iwsltpack verify {copy}"


@pytest.mark.parametrize("coding", ["paper", "zstd", "pcodec"])
def test_no_flipped_bit_is_read_as_other_weights(
    built: Callable[[str, str], Path], tmp_path: Path, coding: str
) -> None:
    """400 bits, by every way a chunk is read: tensors, several at once, rows, codes."""
    shutil.copytree(built("selected-q3", coding), tmp_path / "art")
    artifact, draw = open_artifact(tmp_path / "art"), np.random.default_rng(5)
    ways: list[Callable[[str], np.ndarray]] = [
        artifact.tensor,
        lambda name: dict(artifact.tensors([name]))[name],
        lambda name: artifact.rows(name, 0, 1),
        lambda name: artifact.codes(name, 0, 1),
    ]
    sound = [way(LAYER) for way in ways]
    chunk = tmp_path / "art" / "weights.zarr" / LAYER / "c" / "0" / "0"
    original, refused = chunk.read_bytes(), 0
    for turn, bit in enumerate(draw.choice(len(original) * 8, 400, replace=False).tolist()):
        damaged = bytearray(original)
        damaged[bit // 8] ^= 1 << bit % 8
        chunk.write_bytes(damaged)
        way, right = ways[turn % 4], sound[turn % 4]
        try:
            # A bit that a frame leaves unused may be either.
            assert np.array_equal(way(LAYER), right), f"bit {bit}"
        except ArtifactError as error:
            assert error.where == str(chunk)
            refused += 1
    assert refused > 395


@pytest.mark.parametrize("name", ["paper", "pcodec", "zstd"])
def test_a_chunk_without_a_checksum_of_its_own_is_held_against_the_manifest(
    tmp_path: Path, name: str
) -> None:
    """Every chunk of the golden artifacts, one bit flipped: those stored as they are decode to anything."""
    shutil.copytree(GOLDEN / name, tmp_path / "art")
    artifact = open_artifact(tmp_path / "art")
    for tensor in artifact.names():
        chunk = next(
            path
            for path in (artifact.path / "weights.zarr" / tensor).rglob("*")
            if "c" in path.parts and path.is_file()
        )
        raw = bytearray(chunk.read_bytes())
        raw[-1] ^= 1
        chunk.write_bytes(raw)
        with pytest.raises(
            ArtifactError, match=r"a chunk (of a tensor is damaged|cannot be decoded)"
        ) as error:
            artifact.tensor(tensor)
        assert error.value.where == str(chunk)


@pytest.mark.parametrize("coding", ["paper", "zstd", "pcodec"])
def test_a_chunk_is_held_against_its_crc_and_without_one_against_its_sha256(
    built: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch, coding: str
) -> None:
    """Of this format's version every chunk has a CRC-32C; of the first, none has."""
    artifact = open_artifact(built("selected-q3", coding))
    chunks = [file for file in artifact.manifest.files if "/c/" in file.path]
    for file in chunks:
        raw = (artifact.path / file.path).read_bytes()
        assert file.crc32c == f"{google_crc32c.value(raw):08x}"
    hashed: list[int] = []
    sha256 = fileio.sha256_bytes
    monkeypatch.setattr(fileio, "sha256_bytes", lambda data: (hashed.append(len(data)), sha256(data))[1])
    _ = list(artifact.tensors(artifact.names()))
    assert hashed == []
    old = open_artifact(GOLDEN / coding)
    assert old.manifest.format_version == 1
    assert {file.crc32c for file in old.manifest.files} == {None}
    _ = list(old.tensors(old.names()))
    assert hashed


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("coding", ["paper", "zstd", "pcodec"])
def test_no_chunk_stands_in_anothers_place(
    built: Callable[[str, str], Path], tmp_path: Path, coding: str, sealed: bool
) -> None:
    """Two chunks of one shape and size change places; each is whole, and its frame's own checksum fits."""
    copy = shutil.copytree(built("selected-q3", coding), tmp_path / "art")
    if not sealed:
        reseal(copy, lambda manifest: [file.pop("crc32c", None) for file in manifest["files"]])
    artifact, seen = open_artifact(copy), {}
    for tensor in artifact.manifest.tensors:
        chunk = artifact.path / "weights.zarr" / tensor.name / "c" / "0"
        if tensor.array.starts == range(1) and chunk.is_file():
            seen.setdefault((tensor.shape, chunk.stat().st_size), []).append((tensor.name, chunk))
    (name, one), (other, two), *_ = next(
        same for same in seen.values() if len({chunk.read_bytes() for _, chunk in same[:2]}) > 1
    )
    spare = one.rename(tmp_path / "spare")
    two.rename(one), spare.rename(two)
    for changed in (name, other):
        with pytest.raises(ArtifactError, match="a chunk of a tensor is damaged"):
            artifact.tensor(changed)


def test_a_damaged_file_beside_the_weights_is_not_used(copy: Path) -> None:
    path = copy / "model" / "config.json"
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    with pytest.raises(ArtifactError, match="a file is damaged") as error:
        _ = open_artifact(copy).model_dir
    assert error.value.where == str(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["codecs"][1]["configuration"].update(elementsize=4), "the array's codecs differ"),
        (
            lambda m: m["chunk_grid"]["configuration"].update(chunk_shape=[10**6, 10**6]),
            "the array's chunks differ",
        ),
        (lambda m: m.update(shape=[172, 65]), "the array's shape differ"),
        (lambda m: m.update(data_type="int16"), "the array's type differ"),
    ],
)
def test_an_array_that_is_not_what_the_manifest_promises_is_refused(
    copy: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    path = copy / "weights.zarr" / LAYER / "zarr.json"
    metadata = json.loads(path.read_bytes())
    change(metadata)
    path.write_text(json.dumps(metadata))
    with pytest.raises(ArtifactError, match=message):
        open_artifact(copy).tensor(LAYER)


def test_an_altered_manifest_is_refused(copy: Path) -> None:
    path = copy / MANIFEST_NAME
    path.write_bytes(path.read_bytes().replace(b'"coding": "zstd"', b'"coding": "paper"'))
    with pytest.raises(ArtifactError, match="the manifest was altered"):
        read_manifest(copy)
    path.write_bytes(path.read_bytes() + b" ")
    assert [problem.rule for problem in verify_artifact(copy)] == ["artifact.manifest"]


def test_an_unknown_version_is_refused(copy: Path) -> None:
    reseal(copy, lambda manifest: manifest.update(format_version=3))
    with pytest.raises(
        ArtifactError, match=r"a format version this program does not know(.|\n)*install a newer"
    ):
        read_manifest(copy)


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "model/../../x", "a\\b", "./x"])
def test_a_manifest_that_points_outside_is_refused(copy: Path, path: str) -> None:
    reseal(copy, lambda manifest: manifest["files"][0].update(path=path))
    with pytest.raises(ValidationFailed, match="does not fit the artifact schema"):
        read_manifest(copy)


def test_every_problem_of_a_manifest_is_told_at_once(copy: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["coding"] = "no name!"
        manifest["tensors"][0]["bytes"] = -1
        del manifest["base_model"]["architecture"]

    reseal(copy, change)
    with pytest.raises(ValidationFailed) as caught:
        read_manifest(copy)
    assert len(caught.value.problems) == 3


def test_no_artifact_and_a_stranger_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such artifact"):
        read_manifest(tmp_path / "none")
    with pytest.raises(
        ArtifactError, match=r"not an artifact\n  expected: a folder that holds iwsltpack\.json"
    ):
        read_manifest(tmp_path)
    (tmp_path / MANIFEST_NAME).write_text("{}")
    with pytest.raises(ArtifactError, match="not an artifact manifest"):
        read_manifest(tmp_path)


def test_unknown_tensors_and_rows_are_refused(built: Callable[[str, str], Path]) -> None:
    artifact = open_artifact(built("selected-q3", "zstd"))
    with pytest.raises(ArtifactError, match="no such tensor in the artifact"):
        artifact.tensor("nope")
    with pytest.raises(ArtifactError, match="no such rows"):
        artifact.rows(LAYER, 5, 10**6)
    assert np.array_equal(artifact.rows(LAYER, 3, 9), artifact.tensor(LAYER)[3:9])
