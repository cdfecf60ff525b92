"""Every coding gives back the same weights, and the losslessly stored bits, from a real Zarr store."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import bfloat16
from numcodecs import Quantize

from iwsltpack.artifact.reader import open_artifact
from iwsltpack.artifact.zarr_metadata import REMINDER
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.recipes import load_recipe
from iwsltpack.building.request import BuildRequest
from iwsltpack.codecs.registry import CODINGS
from iwsltpack.documents.choices import DEFAULT_VERSION
from iwsltpack.documents.recipe import LayerRule, Recipe
from iwsltpack.errors import UsageError
from iwsltpack.quantizers.rounding import fold_zeros

NAMES = (*CODINGS, *(f"{name}-1" for name in CODINGS))
RANDOM = np.random.default_rng(7)
ODD = np.array([np.nan, -0.0, 0.0, np.inf, -np.inf, 1e-41, -1e-41, 3.4e38], dtype=np.float32)
LOSSLESS = {
    "scalar": np.float32(-0.0).reshape(()),
    "scalar_int": np.int64(-3).reshape(()),
    "empty": np.zeros((0, 4), dtype=np.float32),
    "empty_inside": np.zeros((3, 0), dtype=np.float16),
    "odd_values": ODD,
    "nan_payload": np.array([0x7FC00001, 0xFFC12345], dtype=np.uint32).view(np.float32),
    "counts": np.array([[2**62, -(2**62)], [0, 1]], dtype=np.int64),
    "mask": np.array([True, False, True]),
    "bytes": np.arange(5, dtype=np.uint8),
    "double": np.array([1e300, -0.0]),
    "zeros": np.zeros((6, 5), dtype=np.float16),
    "half": RANDOM.standard_normal((7, 3)).astype(np.float16),
    "cube": RANDOM.standard_normal((5, 3, 2)).astype(np.float32),
}
WEIGHTS = {
    "layer.half.weight": (RANDOM.standard_normal((33, 17)) * 0.02).astype(np.float16),
    "layer.single.weight": (RANDOM.standard_normal((19, 40)) * 0.5).astype(np.float32),
    "layer.outlier.weight": np.array([[0.01, -0.01, 300.0], [-300.0, 0.0, -1e-9]], dtype=np.float32),
    "layer.far.weight": np.array([[31.9, -32.1], [31.874, -32.0]], dtype=np.float32),
}
ROUND = Recipe(
    name="round", description="", techniques=("x",), layers=(LayerRule(pattern="^layer", bits=10),)
)


def zarr_array(artifact: Path, name: str) -> np.ndarray:
    """Read what an array holds as any zarr user would: values or codes, not weights."""
    import zarr

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=REMINDER)
        return np.asarray(zarr.open_array(artifact / "weights.zarr" / name, mode="r")[...])


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from conftest import write_checkpoint

    root = tmp_path_factory.mktemp("chains")
    brain = {"layer.brain.weight": bfloat16(RANDOM.standard_normal((30, 11)) * 0.1), "brain": bfloat16(ODD)}
    source = write_checkpoint(root / "source", {**LOSSLESS, **WEIGHTS, **brain})
    for name in NAMES:
        coding, _, version = name.partition("-")
        build_artifact(
            BuildRequest(source, root / name, ROUND, coding, format_version=int(version or DEFAULT_VERSION))
        )
    return {"source": source, **{name: root / name for name in NAMES}}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tensor", LOSSLESS)
def test_unselected_tensors_come_back_bit_by_bit(artifacts: dict[str, Path], name: str, tensor: str) -> None:
    got = open_artifact(artifacts[name]).tensor(tensor)
    assert got.dtype == LOSSLESS[tensor].dtype
    assert got.shape == LOSSLESS[tensor].shape
    assert got.tobytes() == LOSSLESS[tensor].tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_travels_as_its_bits(artifacts: dict[str, Path], name: str) -> None:
    artifact = open_artifact(artifacts[name])
    assert artifact.entry("brain").dtype == "bfloat16"
    assert artifact.tensor("brain").tolist() == bfloat16(ODD)[1].tolist()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tensor", WEIGHTS)
def test_rounded_weights_are_those_of_quantize(artifacts: dict[str, Path], name: str, tensor: str) -> None:
    single = WEIGHTS[tensor].astype(np.float32)
    wanted = np.asarray(Quantize(digits=3, dtype="f4", astype="f2").encode(single)).reshape(single.shape)
    got = open_artifact(artifacts[name]).tensor(tensor)
    assert got.dtype == np.float16
    assert np.array_equal(got.view(np.uint16), fold_zeros(wanted.astype(np.float16)).view(np.uint16))


def test_codings_agree_on_every_bit(artifacts: dict[str, Path]) -> None:
    opened = [open_artifact(artifacts[name]) for name in NAMES]
    for tensor in opened[0].names():
        assert len({artifact.tensor(tensor).tobytes() for artifact in opened}) == 1, tensor


@pytest.mark.parametrize("name", ["zstd", "pcodec"])
def test_outliers_widen_the_codes_of_their_tensor_only(artifacts: dict[str, Path], name: str) -> None:
    artifact = open_artifact(artifacts[name])
    assert artifact.entry("layer.outlier.weight").wide
    assert zarr_array(artifacts[name], "layer.outlier.weight").dtype.itemsize == 4
    assert not artifact.entry("layer.half.weight").wide


def test_paper_coding_holds_what_numcodecs_makes_signed_zeros_included(artifacts: dict[str, Path]) -> None:
    single = WEIGHTS["layer.half.weight"].astype(np.float32)
    wanted = np.asarray(Quantize(digits=3, dtype="f4", astype="f2").encode(single)).reshape(single.shape)
    stored = zarr_array(artifacts["paper"], "layer.half.weight")
    assert np.signbit(stored[stored == 0]).any()
    assert np.array_equal(stored.view(np.uint32), wanted.astype(np.float32).view(np.uint32))


READ_BACK = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "iwsltpack":
            raise ImportError("iwsltpack is not here")
sys.meta_path.insert(0, Blocker())
import warnings; warnings.simplefilter("ignore")
import numpy as np, zarr
group = zarr.open_group(sys.argv[1] + "/weights.zarr", mode="r")
out = {}
for name, array in group.arrays():
    values, attributes = array[...], dict(array.attrs)
    if "scale_factor" in attributes:
        values = values * attributes["scale_factor"] + attributes["add_offset"]
    if "rotated_bits" in attributes:
        values = values >> 1 | values << 8 * values.itemsize - 1
    out[name] = np.asarray(values, dtype=np.float16) if name.startswith("layer.") else values
np.savez(sys.argv[2], **out)
try:
    import iwsltpack
except ImportError:
    print("read without iwsltpack")
"""


@pytest.mark.parametrize("name", NAMES)
def test_plain_zarr_reads_every_array_without_this_package(
    artifacts: dict[str, Path], name: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ_BACK, str(artifacts[name]), str(tmp_path / "out.npz")],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout == "read without iwsltpack\n"
    artifact = open_artifact(artifacts[name])
    with np.load(tmp_path / "out.npz") as plain:
        assert sorted(plain.files) == artifact.names()
        for tensor in artifact.names():
            wanted, got = artifact.tensor(tensor), plain[tensor]
            got = fold_zeros(got) if tensor.startswith("layer.") else got
            assert got.tobytes() == wanted.tobytes(), tensor


@pytest.mark.parametrize("name", ["zstd", "pcodec"])
def test_xarray_turns_the_codes_into_weights_by_itself(artifacts: dict[str, Path], name: str) -> None:
    xarray = pytest.importorskip("xarray")
    with pytest.warns(
        Warning, match=r"Numcodecs codecs are not in|Failed to open Zarr store with consolidated"
    ):
        dataset = xarray.open_zarr(artifacts[name] / "weights.zarr", consolidated=False, chunks=None)
        for tensor in WEIGHTS:
            got = dataset[tensor].values
            assert np.array_equal(got, open_artifact(artifacts[name]).tensor(tensor).astype(got.dtype)), (
                tensor
            )


def test_unknown_coding_lists_the_known() -> None:
    with pytest.raises(UsageError, match="unknown coding 'gzip'\n  expected: paper, zstd, pcodec"):
        CODINGS["gzip"]


def test_integer_codings_take_fewer_bytes_than_the_paper(built: Callable[[str, str], Path]) -> None:
    sizes = [
        sum(
            t.bytes
            for t in open_artifact(built("selected-q3", name)).manifest.tensors
            if t.component == "selected"
        )
        for name in ("paper", "zstd", "pcodec")
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[2] < 0.8 * sizes[0]


@pytest.mark.parametrize(
    "recipe", ["fp16", "selected-q3", "selected-q2", "global-q2", "prune20-q2", "gate-q3"]
)
def test_recipes_give_the_same_model_in_every_coding(built: Callable[[str, str], Path], recipe: str) -> None:
    opened = [open_artifact(built(recipe, name)) for name in NAMES]
    assert load_recipe(recipe) == opened[0].manifest.recipe
    for tensor in opened[0].names():
        assert len({next(artifact.tensors([tensor], workers=2))[1].tobytes() for artifact in opened}) == 1, (
            tensor
        )
