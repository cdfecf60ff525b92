"""Every registered coding gives back what it was given, to this package and to plain zarr; a new one needs one line."""

from __future__ import annotations

import math
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from conftest import bfloat16, write_checkpoint

from iwsltpack.artifact import zarr_metadata
from iwsltpack.artifact.integrity import verify_artifact
from iwsltpack.artifact.reader import open_artifact
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.recipes import BUILT_IN
from iwsltpack.building.request import BuildRequest
from iwsltpack.codecs.chain import Chain, Coding
from iwsltpack.codecs.codes import BIAS16, MAX16, MIN16, TooWide, split_bytes
from iwsltpack.codecs.dtypes import BY_NAME, DType
from iwsltpack.codecs.paper import Paper
from iwsltpack.codecs.registry import CODINGS, coding_in
from iwsltpack.codecs.shuffle_zstd import ShuffleZstd
from iwsltpack.documents.layout import ArrayLayout
from iwsltpack.documents.names import ARTIFACT_VERSIONS
from iwsltpack.errors import ArtifactError, UsageError
from iwsltpack.quantizers.rounding import Rounding, fold_zeros
from iwsltpack.system.registry import Registry

RANDOM = np.random.default_rng(20261126)
ODD = np.array(
    [np.nan, -np.nan, -0.0, 0.0, np.inf, -np.inf, 1e-41, -1e-41, 6e-8, 3.4e38, 1.0], dtype=np.float32
)
PAYLOADS = np.array([0x7FC00001, 0xFFC12345, 0x7F800001], dtype=np.uint32).view(np.float32)
BITS = 7
CODES = {
    "one": np.array([-3]),
    "zeros": np.zeros(64, np.int64),
    "short": np.rint(RANDOM.standard_normal(1001) * 20).astype(np.int64).clip(-128, 127),
    "outliers": np.r_[np.rint(RANDOM.standard_normal(500) * 2).astype(np.int64), 2047, -2048],
    "ends": np.array([MIN16, MAX16, 0, -1]) // 32 * 32,  # multiples of 32 there: float16 has 11 bits
}
"""Codes whose values at 2^-BITS float16 holds, as the values of any rounding."""


def blocks(dtype: DType) -> dict[str, np.ndarray]:
    """Return values of one type, in its carrier, that once went wrong somewhere or well might."""
    bits = RANDOM.integers(0, 256, 1001 * dtype.carrier.itemsize, dtype=np.uint8)
    anything = (bits & 1).view(bool) if dtype.name == "bool" else bits.view(dtype.carrier)
    made = {
        "scalar": anything[:1].reshape(()),
        "anything": anything,
        "zeros": np.zeros((6, 5), dtype.carrier),
        "matrix": anything[:999].reshape(27, 37),
        "columns": anything[:999].reshape(27, 37)[:, ::2],
    }
    if dtype.name == "bfloat16":
        made |= {"odd": bfloat16(ODD)[1], "payloads": (PAYLOADS.view(np.uint32) >> 16).astype(np.uint16)}
    elif dtype.carrier.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):
            made |= {"odd": ODD.astype(dtype.carrier), "payloads": PAYLOADS.astype(dtype.carrier)}
    return made


def forms(codes: np.ndarray) -> list[np.ndarray]:
    """Return codes in every form that holds them."""
    biased = (codes + BIAS16).astype(np.uint16)
    return [split_bytes(biased), biased, codes.astype(np.int32)]


def weights(codes: np.ndarray) -> np.ndarray:
    out = np.empty(codes.shape[-1], np.float16)
    Rounding(BITS).weights(codes, 0, out)
    return out


EVERY = [coding_in(version, name) for version in ARTIFACT_VERSIONS for name in CODINGS]


@pytest.mark.parametrize("coding", EVERY, ids=lambda coding: f"{coding.name}-{coding.format_version}")
class TestEveryCoding:
    @pytest.mark.parametrize("dtype", BY_NAME.values(), ids=list(BY_NAME))
    @pytest.mark.parametrize("missing", [0, 1, 40])
    def test_values_come_back_bit_by_bit(self, coding: Coding, dtype: DType, missing: int) -> None:
        chain = coding.lossless(dtype)
        for name, block in blocks(dtype).items():
            count, wanted = block.size + missing, block.tobytes()
            raw = chain.pack(chain.lay(block, count))
            assert raw == chain.pack(chain.lay(block, count)), name
            whole = chain.decode(raw, count)
            assert (whole.dtype, whole.size) == (chain.packed, count), name
            assert whole.itemsize == dtype.carrier.itemsize, name
            assert whole[: block.size].tobytes() == wanted, name
            assert not whole[block.size :].any(), name
            out = np.empty(block.size, dtype.carrier)
            chain.decode_into(raw, count, out)
            assert out.tobytes() == wanted, name
            out = np.empty(block.size // 2, dtype.carrier)
            chain.decode_into(raw, count, out)
            assert out.tobytes() == wanted[: out.nbytes], name

    @pytest.mark.parametrize("wide", [False, True])
    @pytest.mark.parametrize("missing", [0, 3])
    @pytest.mark.parametrize("name", CODES)
    def test_codes_come_back_in_some_form(self, coding: Coding, wide: bool, missing: int, name: str) -> None:
        chain, codes = coding.rounded(BITS, wide=wide), CODES[name]
        values, count = (codes * 2.0**-BITS).astype(np.float16), codes.size + missing
        packed = set()
        for form in forms(codes):
            try:
                laid = chain.lay_codes(form, lambda: values, count)
            except TooWide:
                assert form.dtype == np.int32
                assert not wide
                continue
            raw = chain.pack(laid)
            packed.add(raw)
            assert chain.unpack(raw, count).tobytes() == laid.tobytes()
            found = chain.codes(raw, count, codes.size)
            assert weights(found).tobytes() == values.tobytes()
            assert Rounding(BITS).integers(found).tolist() == codes.tolist()
        assert len(packed) == 1

    def test_a_code_of_more_than_16_bits_is_kept_or_refused(self, coding: Coding) -> None:
        codes = np.array([1 << 20, -(1 << 20), 5], np.int32)
        values = (codes * 2.0**-14).astype(np.float16)
        for wide in (False, True):
            chain = coding.rounded(14, wide=wide)
            try:
                raw = chain.pack(chain.lay_codes(codes, lambda: values, 3))
            except TooWide:
                assert not wide
                continue
            out = np.empty(3, np.float16)
            Rounding(14).weights(chain.codes(raw, 3, 3), 0, out)
            assert out.tobytes() == values.tobytes()

    @pytest.mark.parametrize("wide", [False, True])
    def test_a_chunk_that_is_not_what_it_should_be_is_refused(self, coding: Coding, wide: bool) -> None:
        codes = CODES["short"].astype(np.int32)
        for chain, values in (
            (coding.lossless(BY_NAME["bfloat16"]), codes.astype(np.uint16)),
            (coding.lossless(BY_NAME["uint8"]), codes.astype(np.uint8)),
            (coding.rounded(BITS, wide=True), None),
        ):
            count = codes.size
            half = (codes * 2.0**-BITS).astype(np.float16)
            laid = chain.lay_codes(codes, lambda: half, count) if values is None else chain.lay(values, count)  # noqa: B023
            raw = chain.pack(laid)
            for data, number in (
                (raw, count + 1),
                (raw, count - 1),
                (raw[: len(raw) // 2], count),
                (b"", count),
            ):
                with pytest.raises((ValueError, RuntimeError)):
                    chain.decode(data, number)
                with pytest.raises((ValueError, RuntimeError)):
                    chain.decode_into(data, number, np.empty(number, chain.packed))
                with pytest.raises((ValueError, RuntimeError)):
                    chain.codes(data, number, number)

    @pytest.mark.parametrize("name", [*BY_NAME, "narrow", "wide"])
    def test_plain_zarr_reads_what_it_packs(self, coding: Coding, name: str, tmp_path: Path) -> None:
        import zarr

        codes = CODES["outliers"][:500].reshape(50, 10)
        values, array = (codes * 2.0**-BITS).astype(np.float16), ArrayLayout("x", (50, 10), 20)
        stored = blocks(BY_NAME[name])["anything"][:500].reshape(50, 10) if name in BY_NAME else codes
        chain = (
            coding.lossless(BY_NAME[name]) if name in BY_NAME else coding.rounded(BITS, wide=name == "wide")
        )
        (tmp_path / array.metadata).parent.mkdir(parents=True)
        (tmp_path / array.metadata).write_bytes(zarr_metadata.array_metadata(array, chain, {}))
        count = math.prod(array.chunk)
        for start in array.starts:
            some = slice(start, start + 20)
            path = tmp_path / array.path(start)
            path.parent.mkdir(parents=True, exist_ok=True)
            form = (stored[some].reshape(-1) + BIAS16).astype(np.uint16) if name not in BY_NAME else None
            laid = (
                chain.lay(stored[some], count)
                if form is None
                else chain.lay_codes(form, lambda some=some: values[some], count)  # type: ignore[misc]
            )
            path.write_bytes(chain.pack(laid))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=zarr_metadata.REMINDER)
            got = np.asarray(zarr.open_array(tmp_path / "weights.zarr" / "x", mode="r")[...])
        if chain.marks == {"rotated_bits": 1}:  # as docs/format.md tells plain readers
            got = got >> 1 | got << 8 * got.itemsize - 1
        if name in BY_NAME:
            assert got.tobytes() == stored.tobytes()
            return
        scaling = chain.scaling(2.0**-BITS)
        weights = got * scaling["scale_factor"] + scaling["add_offset"] if scaling else got
        assert fold_zeros(weights.astype(np.float16)).tobytes() == fold_zeros(values).tobytes()

    def test_it_can_be_sent_to_another_process(self, coding: Coding) -> None:
        there = pickle.loads(pickle.dumps(coding))
        assert there == coding
        assert there.rounded(BITS, wide=False) == coding.rounded(BITS, wide=False)
        assert (there.name, there.summary) == (coding.name, coding.summary)


@dataclass(frozen=True)
class Plain(Coding):
    """A coding of another project: whatever it is given as float32 or raw bytes, with nothing done to it."""

    name: ClassVar[str] = "plain"
    summary: ClassVar[str] = "as it is"

    def lossless(self, dtype: DType) -> Chain:
        return Paper().lossless(dtype)

    def rounded(self, bits: int, /, *, wide: bool) -> Chain:
        return Paper().lossless(BY_NAME["float16"])


def test_a_coding_needs_its_class_and_one_line_of_registration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = {
        "model.layers.0.mlp.up_proj.weight": bfloat16(RANDOM.standard_normal((40, 24)) * 0.02),
        "model.norm.weight": bfloat16(RANDOM.standard_normal(24)),
    }
    source = write_checkpoint(tmp_path / "source", tensors)
    monkeypatch.setitem(CODINGS, "plain", Plain())
    for name in ("plain", "zstd"):
        build_artifact(BuildRequest(source, tmp_path / name, BUILT_IN["selected-q2"], name))
    mine, other = open_artifact(tmp_path / "plain"), open_artifact(tmp_path / "zstd")
    for name in tensors:
        assert mine.tensor(name).tobytes() == other.tensor(name).tobytes()
    assert mine.codes(next(iter(tensors)), 3, 9).tolist() == other.codes(next(iter(tensors)), 3, 9).tolist()
    assert verify_artifact(mine.path) == []
    monkeypatch.delitem(CODINGS, "plain")
    with pytest.raises(
        ArtifactError, match=r"does not know\n  expected: paper, zstd, pcodec\n  got: plain\n"
    ):
        open_artifact(mine.path)
    assert [found.rule for found in verify_artifact(mine.path)] == ["artifact.manifest"]


def test_a_registry_refuses_doubles_and_names_the_known() -> None:
    with pytest.raises(ValueError, match="two codings of one name among paper, zstd, paper"):
        Registry("coding", Paper(), ShuffleZstd(), Paper())
    with pytest.raises(UsageError, match="unknown coding 'gzip'\n  expected: paper, zstd"):
        Registry("coding", Paper(), ShuffleZstd())["gzip"]
