"""The fast ways of packing and reading a chunk give what the plain ways give, bit for bit."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest
from conftest import bfloat16, write_checkpoint
from hypothesis import given
from hypothesis import strategies as st
from numcodecs import Shuffle, Zstd

from iwsltpack.artifact.reader import AHEAD_BYTES, open_artifact
from iwsltpack.building import chunk_packer
from iwsltpack.building.chunk_packer import COUNT_BLOCK, ChunkPacker, CodeCounts, entropy
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.recipes import BUILT_IN
from iwsltpack.building.request import BuildRequest
from iwsltpack.codecs.codes import BIAS16, SHORT, SPLIT_BLOCK, split_bytes
from iwsltpack.codecs.dtypes import by_name
from iwsltpack.codecs.frames import BLOCK_BYTES, pack_frame, unpack_frame, without_checksum
from iwsltpack.codecs.registry import CODINGS, coding_in
from iwsltpack.errors import ArtifactError
from iwsltpack.quantizers.rounding import TABLE_BLOCK, Rounding, values_of_codes32

RANDOM = np.random.default_rng(11)
EVERY_PATTERN = np.arange(1 << 16, dtype=np.uint16)


@pytest.mark.parametrize("bits", [0, 4, 7, 8, 10, 14])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_short_codes_are_those_of_the_table_or_none(dtype: str, bits: int) -> None:
    rounder, found, short = Rounding(bits, dtype), 0, np.zeros(2, np.uint8)
    for magnitude in range(0, 1 << 15, 7):
        block = np.array([magnitude, magnitude | 0x8000], np.uint16)
        block = block.view(np.float16) if dtype == "float16" else block
        if not rounder.short_codes(block, short):
            continue
        found += 1
        codes = np.rint(rounder.values(block).astype(np.float64) * 2**bits).astype(np.int64) + BIAS16
        assert (codes >> 8 == 0x80).all()
        assert (codes & 0xFF).tolist() == short.tolist()
    assert 0 < found < 4682  # neither everything, such as infinity, nor nothing
    assert not rounder.short_codes(np.array([0x7F80], np.uint16), short[:1])
    assert not Rounding(bits, "float32").short_codes(np.zeros(2, np.float32), short)


@pytest.mark.parametrize("bits", [7, 10])
@pytest.mark.parametrize("size", [0, 1, 2, 255, TABLE_BLOCK - 1, TABLE_BLOCK + 2, 2 * TABLE_BLOCK + 5])
@pytest.mark.parametrize("spread", [20, 400])
def test_planes_give_the_weights_of_their_codes(bits: int, size: int, spread: float) -> None:
    codes = (np.rint(RANDOM.standard_normal(size) * spread) + BIAS16).astype(np.uint16)
    if size > TABLE_BLOCK:
        codes[:TABLE_BLOCK] = BIAS16 + 127  # one block of short codes, others of long ones
    out = np.empty(size, np.float16)
    Rounding(bits).weights(np.stack([codes & 0xFF, codes >> 8]).astype(np.uint8), 0, out)
    assert out.tobytes() == values_of_codes32(codes.astype(np.int32) - BIAS16, bits).tobytes()


def test_the_pair_table_knows_every_pair() -> None:
    low, out = EVERY_PATTERN.view(np.uint8), np.empty(2 << 16, np.float16)
    planes = np.stack([low, np.full(low.size, 0x80, np.uint8)])
    Rounding(7).weights(planes, 0, out)
    assert np.array_equal(out, (low.astype(np.float32) - 128) / 128)
    Rounding(7).weights(planes[:, :-1], 0, out[:-1])  # an odd number: one by one
    assert np.array_equal(out, (low.astype(np.float32) - 128) / 128)


@pytest.mark.parametrize("name", CODINGS)
@pytest.mark.parametrize("bits", [None, 7, 10])
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("rows", [6, 4])
def test_weights_decoded_in_place_are_those_of_the_plain_way(
    name: str, bits: int | None, wide: bool, rows: int
) -> None:
    packing, count, size = CODINGS[name], 6 * 35, rows * 35
    if bits is None:
        chain = packing.lossless(by_name("bfloat16", "x"))
        values = RANDOM.integers(0, 1 << 16, size).astype(np.uint16)
        raw, wanted, out = chain.pack(chain.lay(values, count)), values, np.empty(size, np.uint16)
    else:
        chain, quantizer = packing.rounded(bits, wide=wide), Rounding(bits)
        codes = np.rint(RANDOM.standard_normal(size) * 90).astype(np.int32)
        wanted, out = values_of_codes32(codes, bits), np.empty(size, np.float16)
        given = codes if wide else (codes + BIAS16).astype(np.uint16)
        raw = chain.pack(chain.lay_codes(given, lambda: wanted, count))

    def read(count: int) -> None:
        if bits is None:
            chain.decode_into(raw, count, out)
        else:
            quantizer.weights(chain.codes(raw, count, size), 0, out)

    read(count)
    assert out.tobytes() == wanted.tobytes()
    with pytest.raises((ValueError, RuntimeError)):
        read(count + 1)
    assert chain.pack(chain.lay(chain.decode(raw, count), count)) == raw


@given(st.binary(min_size=1, max_size=4000), st.sampled_from([1, 3]), st.booleans())
def test_frames_are_zstandards(data: bytes, level: int, checksum: bool) -> None:
    raw = np.frombuffer(data, np.uint8)
    frame = pack_frame(raw, level=level, checksum=checksum)
    assert bytes(Zstd().decode(frame)) == data
    assert unpack_frame(frame, len(data)).tobytes() == data
    assert frame == pack_frame(raw, level=level, checksum=checksum)
    assert bool(frame[4] & 4) == checksum
    shorter = without_checksum(memoryview(bytearray(frame)))
    assert len(frame) - len(shorter) == (4 if checksum else 0)
    assert unpack_frame(shorter, len(data)).tobytes() == data
    assert not shorter[4] & 4
    for size in (len(data) + 1, len(data) - 1):
        with pytest.raises(ValueError, match="bytes instead of"):
            unpack_frame(frame, size)


def test_level_3_is_zstandards_own_and_level_1_smaller_than_its_own() -> None:
    codes = np.rint(RANDOM.standard_normal(1 << 18) * 1.6).astype(np.int8).view(np.uint8)
    assert pack_frame(codes, level=3, checksum=False) == bytes(Zstd(level=3).encode(codes))
    assert len(pack_frame(codes, level=1, checksum=True)) < 0.98 * len(Zstd(level=1).encode(codes))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_a_block_ends_where_a_plane_of_floats_does_since_version_2(dtype: str) -> None:
    kind = by_name(dtype, "x").carrier
    drawn = (RANDOM.standard_normal(4 * BLOCK_BYTES) * 0.02).astype(np.float32)
    values = bfloat16(drawn)[1] if dtype == "bfloat16" else drawn.astype(kind)
    for version, count, cut in [
        (2, 3 * BLOCK_BYTES // 2, True),
        (2, 2 * BLOCK_BYTES, False),
        (1, 150_000, False),
    ]:
        chain = coding_in(version, "zstd").lossless(by_name(dtype, "x"))
        laid = chain.lay(values[:count], count)
        frame, plain = chain.pack(laid), pack_frame(laid, level=1, checksum=True)
        assert bytes(Zstd().decode(frame)) == laid.tobytes()
        # A plane that differs from the next one shares no code with it: half a block of each would.
        assert len(frame) < 0.995 * len(plain) if cut else frame == plain


@pytest.mark.parametrize("form", ["int32", "uint16", "uint8"])
def test_threads_that_count_codes_of_one_tensor_take_turns(form: str) -> None:
    counts, codes = CodeCounts(), np.array([[7, 7, 9], [SHORT] * 3], np.uint8)
    wide = {"int32": codes[0].astype(np.int32), "uint16": codes[0].astype(np.uint16), "uint8": codes}[form]
    with ThreadPoolExecutor(1) as pool:
        with chunk_packer._TABLES:
            adding = pool.submit(counts.add, wide)
            assert not wait([adding], timeout=0.1).done
            assert not counts.merged().size
        adding.result(timeout=20)
    assert sorted(counts.merged()) == [1, 2]


@pytest.mark.parametrize("size", [3, SPLIT_BLOCK, SPLIT_BLOCK + 7])
@pytest.mark.parametrize("version", [1, 2])
def test_the_shuffle_is_numcodecs_own(size: int, version: int) -> None:
    chain = coding_in(version, "zstd").lossless(by_name("bfloat16", "x"))
    values = RANDOM.integers(0, 1 << 16, size).astype(np.uint16)
    plain = Zstd().decode(chain.pack(chain.lay(values, size)))
    stored = values if version == 1 else values << 1 | values >> 15
    assert bytes(plain) == bytes(Shuffle(2).encode(stored))


@pytest.mark.parametrize("size", [1, 2, 4097, COUNT_BLOCK + 3])
@pytest.mark.parametrize("spread", [3, 300])
def test_codes_are_counted_however_they_come(size: int, spread: float) -> None:
    k = np.rint(RANDOM.standard_normal(size) * spread).astype(np.int32)
    shares = np.array(list(Counter(k.tolist()).values())) / size
    wanted = round(float(abs(np.sum(shares * np.log2(shares)))), 6)
    ways = [CodeCounts() for _ in range(3)]
    ways[0].add((k + BIAS16).astype(np.uint16))
    ways[1].add(k)
    ways[2].add((k[: size // 2] + BIAS16).astype(np.uint16))
    ways[2].add(k[size // 2 :])
    if spread == 3:
        ways.append(CodeCounts())
        ways[3].add(split_bytes((k + BIAS16).astype(np.uint16)))
    assert {entropy([counts]) for counts in ways} == {wanted}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("largest", [0.1, 3.0])
def test_a_chunk_of_short_codes_is_packed_as_any_other(dtype: str, largest: float) -> None:
    single = (RANDOM.standard_normal((8, 64)) * 0.05).astype(np.float32)
    single[3, 5] = largest
    block = {"bfloat16": bfloat16(single)[1], "float16": single.astype(np.float16), "float32": single}[dtype]
    chain, rounding = CODINGS["zstd"].rounded(7, wide=False), Rounding(7, dtype)
    packer = ChunkPacker(chain, block.size, rounding)
    packed = packer.pack(block, 0)
    codes = np.rint(rounding.values(block).astype(np.float64) * 128).astype(np.int32)
    assert packed.data == chain.pack(chain.lay((codes + BIAS16).astype(np.uint16), block.size))
    counts = CodeCounts()
    counts.add(codes)
    assert entropy(packer.counts.values()) == entropy([counts])
    assert packed.matches(memoryview(packed.data))


def test_tensors_come_in_the_order_asked_for(built_tiny: Path) -> None:
    artifact = open_artifact(built_tiny)
    names = artifact.names()[::-1] + artifact.names()[:3]
    found = list(artifact.tensors(names, workers=3))
    assert [name for name, _ in found] == names
    for name, values in found:
        assert values.tobytes() == artifact.tensor(name).tobytes(), name
    assert list(artifact.tensors([])) == []


def test_tensors_are_read_only_so_far_ahead(built_tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from iwsltpack.artifact import reader

    assert AHEAD_BYTES >= 1 << 20
    monkeypatch.setattr(reader, "AHEAD_BYTES", 1)
    artifact, asked = open_artifact(built_tiny), []

    def names() -> object:
        for name in artifact.names():
            asked.append(name)
            yield name

    run = artifact.tensors(names())  # type: ignore[arg-type]
    next(run)
    assert len(asked) == 1
    run.close()
    assert len(asked) == 1


def test_a_damaged_chunk_ends_the_row_of_tensors(built_tiny: Path, tmp_path: Path) -> None:
    import shutil

    victim = tmp_path / "art"
    shutil.copytree(built_tiny, victim)
    artifact = open_artifact(victim)
    name = artifact.names()[4]
    chunk = next(path for path in (victim / "weights.zarr" / name).rglob("c/**/*") if path.is_file())
    raw = bytearray(chunk.read_bytes())
    raw[len(raw) // 2 :] = bytes(len(raw) - len(raw) // 2)
    chunk.write_bytes(raw)
    seen = []
    with pytest.raises(ArtifactError, match="a chunk of a tensor is damaged"):
        for found, _ in artifact.tensors(artifact.names()):
            seen.append(found)
    assert seen == artifact.names()[:4]


@pytest.fixture(scope="module")
def built_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("packing")
    tensors = {
        f"language_model.model.layers.{layer}.mlp.{role}_proj.weight": bfloat16(
            RANDOM.standard_normal((40, 24)) * 0.02
        )
        for layer in range(3)
        for role in ("gate", "up", "down")
    }
    tensors["language_model.model.norm.weight"] = bfloat16(RANDOM.standard_normal(24))
    source = write_checkpoint(root / "source", tensors)
    build_artifact(BuildRequest(source, root / "out", BUILT_IN["selected-q2"], "zstd"))
    return root / "out"
