"""Codes of a matrix that lie class by class: the order, what it costs, and artifacts of calibrated matrices."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY, bfloat16, write_checkpoint
from test_build import tree

from iwsltpack.artifact import reader
from iwsltpack.artifact.integrity import verify_artifact
from iwsltpack.artifact.reader import open_artifact
from iwsltpack.building import plan, shards
from iwsltpack.building.checkpoint import open_checkpoint
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.recipes import BUILT_IN, load_recipe
from iwsltpack.building.request import BuildRequest
from iwsltpack.cluster.shards import Shard
from iwsltpack.codecs import classes as module
from iwsltpack.codecs.classes import CLASSES, Classes, class_count
from iwsltpack.codecs.codes import signed
from iwsltpack.codecs.registry import CODINGS, coding_in
from iwsltpack.errors import ArtifactError, InputError, UsageError
from iwsltpack.quantizers.scales import QuantizedMatrix

RANDOM = np.random.default_rng(20261126)
UP, EMBED, NORM = "model.layers.0.mlp.up_proj.weight", "model.embed_tokens.weight", "model.norm.weight"
CONV = "model.conv.weight"
CODERS = [name for name in CODINGS if name != "paper"]


def matrix(rows: int, columns: int, largest: int = 100) -> QuantizedMatrix:
    """Return a matrix whose rows and columns differ in spread, with one outlier."""
    spread = np.exp(RANDOM.standard_normal(rows))[:, None] * np.exp(RANDOM.standard_normal(columns))
    codes = np.rint(RANDOM.standard_normal((rows, columns)) * spread).astype(np.int32)
    codes[rows // 2, columns // 3] = largest
    return QuantizedMatrix(
        codes=codes,
        row_scale=RANDOM.uniform(0.5, 2, rows).astype(np.float16),
        column_scale=RANDOM.uniform(0, 2, columns).astype(np.float16),
        delta=float(np.float32(0.0013)),
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 70), (70, 1), (37, 90), (64, 64)])
@pytest.mark.parametrize("chunk", [1, 1 << 15, 1 << 20])
def test_codes_lie_by_class_and_come_back(shape: tuple[int, int], chunk: int) -> None:
    codes = matrix(*shape).codes
    found = Classes.of_blocks([codes[:30], codes[30:]], shape, chunk)
    assert (found.rows.shape, found.columns.shape, found.count) == (shape[:1], shape[1:], class_count(chunk))
    for first in range(0, shape[0], 30):
        block = codes[first : first + 30]
        order = found.order(first, first + 30)
        laid = order.lay(block.reshape(-1))
        assert np.concatenate([rows for _, rows in order.unlay(laid)]).tobytes() == block.tobytes()
        # What docs/format.md says, entry by entry.
        rows, columns = found.rows[first : first + 30].tolist(), found.columns.tolist()
        by_class: dict[int, list[tuple[int, int, int, int]]] = {}
        for i, row in enumerate(sorted(range(len(rows)), key=lambda i: rows[i])):
            for j, column in enumerate(sorted(range(len(columns)), key=lambda j: columns[j])):
                number = min(max(rows[row] + columns[column], 0), found.count - 1)
                by_class.setdefault(number, []).append((rows[row], i, j, int(block[row, column])))
        assert order.sizes == [len(by_class.get(number, [])) for number in range(found.count)]
        wanted = [entry[3] for number in sorted(by_class) for entry in sorted(by_class[number])]
        assert laid.tolist() == wanted


@pytest.mark.parametrize(("number", "steps"), [(1, 4), (11008, 4), (777, 2)])
def test_a_level_begins_where_its_mean_does(number: int, steps: int) -> None:
    for level in (-32, -7, -1, 0, 3, 31):
        mean = module._means(steps)[level + 32]
        assert abs(float(mean) - np.exp((level + 0.5) / steps)) < 1e-12 * float(mean)
        bound = int(mean * number) + 1
        assert module._levels(np.array([bound]), number, steps) >= level + 1
        assert module._levels(np.array([bound - 1]), number, steps) <= level or number == 1
    assert module._levels(np.array([0]), number, steps) == -32


def test_classes_save_what_they_cost() -> None:
    """Close to the entropy given the class: in pcodec to 1 %; of one class alone, far from it."""
    made = matrix(1024, 1024, 3)
    found = Classes.of_blocks([made.codes], made.codes.shape, 1 << 20)
    order = found.order(0, 1024)
    laid, start, bound = order.lay(made.codes.reshape(-1)), 0, 0.0
    for size in order.sizes:
        counts = Counter(laid[start : start + size].tolist()).values()
        bound += sum(count * log2(size / count) for count in counts) / 8
        start += size
    sizes = {}
    for name in CODERS:
        chain = coding_in(2, name).rounded(None, wide=True)
        codes = chain.lay_codes(laid, lambda: laid, laid.size)
        sizes[name] = len(chain.pack(codes, order.sizes))
        assert sizes[name] < len(chain.pack(codes)), name
        assert (
            signed(chain.codes(chain.pack(codes, order.sizes), laid.size, laid.size)).tolist()
            == laid.tolist()
        )
    assert sizes["pcodec"] < 1.02 * bound


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tensors = {
        UP: bfloat16(RANDOM.standard_normal((96, 256)) * 0.02),
        "model.layers.1.mlp.up_proj.weight": bfloat16(RANDOM.standard_normal((96, 256)) * 0.02),
        EMBED: bfloat16(RANDOM.standard_normal((130, 40)) * 0.02),
        CONV: bfloat16(RANDOM.standard_normal((200, 10, 4)) * 0.02),
        NORM: bfloat16(np.ones(40)),
    }
    return write_checkpoint(tmp_path / "source", tensors)


@pytest.fixture
def matrices(tmp_path: Path) -> dict[str, QuantizedMatrix]:
    """Write matrices as a calibration does: one with codes of 32 bits, one of a kernel of three axes."""
    made = {UP: matrix(96, 256), EMBED: matrix(130, 40, 1 << 17), CONV: matrix(200, 40)}
    (tmp_path / "matrices").mkdir()
    for name, one in made.items():
        one.save(tmp_path / "matrices" / f"{name}.matrix")
        (tmp_path / "matrices" / f"{name}.json").write_text("{}")
    return made


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make chunks of some rows and classes of few codes, so that small matrices are treated as large ones."""
    monkeypatch.setattr(plan, "CHUNK_VALUES", 1 << 12)
    monkeypatch.setattr(module, "_COARSE", 1 << 10)
    monkeypatch.setattr(module, "_FINE", 1 << 12)


RECIPE = """
name = "mixed"
[[layers]]
pattern = "up_proj|embed_tokens"
quantizer = "calibrated"
[[layers]]
pattern = "layers.1.mlp"
step = 0.0031
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Any:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return load_recipe(str(tmp_path / "recipe.toml"))


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("coding", CODERS)
def test_an_artifact_holds_what_a_calibration_made(
    source: Path, matrices: dict[str, QuantizedMatrix], recipe: Any, coding: str, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    build_artifact(
        BuildRequest(source, output, recipe, coding, format_version=2, matrices=tmp_path / "matrices")
    )
    artifact = open_artifact(output)
    assert verify_artifact(output) == []
    for name, made in matrices.items():
        entry, wanted = artifact.entry(name), made.weights()
        assert (entry.quantizer, entry.step, entry.classes) == ("calibrated", made.delta, CLASSES)
        assert (entry.component, entry.dtype, entry.bits) == ("selected", "float16", None)
        assert entry.wide == (name == EMBED)
        assert len(entry.array.starts) > 1
        assert artifact.tensor(name).tobytes() == wanted.tobytes()
        assert next(artifact.tensors([name], workers=3))[1].tobytes() == wanted.tobytes()
        for start, stop in ((0, 1), (5, 90), (40, 41), (7, 7)):
            assert artifact.rows(name, start, stop).tobytes() == wanted[start:stop].tobytes()
            assert np.array_equal(
                artifact.codes(name, start, stop).reshape(-1, made.codes.shape[1]), made.codes[start:stop]
            )
        assert 0 < (entry.entropy_bits or 0) < entry.bytes * 8 / entry.parameters
    rounded = artifact.entry("model.layers.1.mlp.up_proj.weight")
    assert (rounded.quantizer, rounded.step, rounded.classes) == ("uniform", float(np.float32(0.0031)), None)
    values = open_artifact_values(source, rounded.name)
    multiples = np.rint(values / np.float32(0.0031)) * np.float32(0.0031).astype(np.float64)
    assert np.array_equal(artifact.tensor(rounded.name), multiples.astype(np.float32).astype(np.float16))


@pytest.mark.usefixtures("small_chunks", "matrices")
def test_no_more_chunks_are_put_in_order_at_once_than_have_a_turn(
    source: Path, recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_artifact(BuildRequest(source, tmp_path / "out", recipe, "pcodec", matrices=tmp_path / "matrices"))
    artifact, unlay, now, most = open_artifact(tmp_path / "out"), module.Order.unlay, 0, 0
    wanted = artifact.tensor(UP)

    def counted(order: module.Order, codes: np.ndarray) -> Any:
        nonlocal now, most
        now += 1
        most = max(most, now)
        time.sleep(0.05)
        yield from unlay(order, codes)
        now -= 1

    monkeypatch.setattr(module.Order, "unlay", counted)
    for turns in (1, 3):
        monkeypatch.setattr(reader, "_TURNS", threading.BoundedSemaphore(turns))
        most = 0
        assert np.array_equal(next(artifact.tensors([UP], workers=6))[1], wanted)
        assert most == turns


READER_ALONE = """
import sys, warnings
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "iwsltpack":
            raise ImportError("iwsltpack is not here")
sys.meta_path.insert(0, Blocker())
warnings.simplefilter("ignore")
"""


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("coding", CODERS)
def test_the_reader_on_the_formats_page_reads_it_without_this_package(
    source: Path, matrices: dict[str, QuantizedMatrix], recipe: Any, coding: str, tmp_path: Path
) -> None:
    build_artifact(
        BuildRequest(
            source, tmp_path / "out", recipe, coding, format_version=2, matrices=tmp_path / "matrices"
        )
    )
    page = (REPOSITORY / "docs" / "format.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 32
    code = code.replace("ARTIFACT/", f"{tmp_path}/out/") + "np.savez(sys.argv[1], **tensors)\n"
    done = [sys.executable, "-c", READER_ALONE + code, str(tmp_path / "read.npz")]
    subprocess.run(done, check=True, cwd=tmp_path)
    artifact = open_artifact(tmp_path / "out")
    with np.load(tmp_path / "read.npz") as read:
        assert sorted(read.files) == artifact.names()
        for name in artifact.names():
            wanted, got = artifact.tensor(name), read[name]
            got = got + np.float16(0) if artifact.entry(name).quantized else got
            assert (
                got.tobytes() == (wanted + np.float16(0) if got.dtype == np.float16 else wanted).tobytes()
            ), name


def open_artifact_values(source: Path, name: str) -> np.ndarray:
    from safetensors.torch import load_file

    return load_file(source / "model.safetensors")[name].double().numpy()


@pytest.mark.usefixtures("small_chunks")
def test_shards_and_a_build_that_goes_on_give_the_same_bytes(
    source: Path, matrices: dict[str, QuantizedMatrix], recipe: Any, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"format_version": 2, "matrices": tmp_path / "matrices"}
    build_artifact(BuildRequest(source, tmp_path / "whole", recipe, "pcodec", **options))
    for index in (2, 1):
        shards.build_shard(
            BuildRequest(source, tmp_path / "parts", recipe, "pcodec", **options),
            shard=Shard(index=index, count=2),
        )
    shards.merge_build(tmp_path / "parts")
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")
    build = tmp_path / "later"
    shards.build_shard(
        BuildRequest(source, build, recipe, "pcodec", **options), shard=Shard(index=1, count=2)
    )
    matrices[UP].save(tmp_path / "matrices" / f"{UP}.matrix")
    with pytest.raises(UsageError, match="an unfinished build of another source"):
        build_artifact(BuildRequest(source, build, recipe, "pcodec", **options))


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({}, {}, "the recipe wants a tensor as a calibration made it, and there is none"),
        ({UP: (96, 256)}, {}, f"{EMBED}: the recipe wants a tensor as a calibration made it"),
        ({UP: (96, 255), EMBED: (130, 40)}, {}, "of another shape than its tensor"),
        (
            {UP: (96, 256), EMBED: (130, 40), "x.weight": (3, 3)},
            {},
            "x.weight.matrix: a quantized matrix of a tensor",
        ),
        ({UP: (96, 256), EMBED: (130, 40)}, {"format_version": 1}, "--format-version 2"),
        ({UP: (96, 256), EMBED: (130, 40)}, {"coding_name": "paper"}, "the paper's chain stores multiples"),
    ],
)
def test_what_cannot_be_built_is_one_error_before_anything_is_written(
    source: Path, recipe: Any, tmp_path: Path, files: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    (tmp_path / "made").mkdir()
    for name, shape in files.items():
        matrix(*shape).save(tmp_path / "made" / f"{name}.matrix")
    known: dict[str, Any] = {"format_version": 2, "matrices": tmp_path / "made" if files else None, **options}
    with pytest.raises((UsageError, InputError), match=message):
        build_artifact(BuildRequest(source, tmp_path / "out", recipe, **known))
    assert not list(tmp_path.glob("out*"))
    with pytest.raises(InputError, match="no quantized matrix lies there"):
        build_artifact(BuildRequest(source, tmp_path / "out", recipe, format_version=2, matrices=source))


def test_a_rule_that_names_no_quantizer_is_for_linear_layers_alone(source: Path, tmp_path: Path) -> None:
    for text, selected in (("", False), ('quantizer = "rounding"', True)):
        (tmp_path / "r.toml").write_text(f'name = "r"\n[[layers]]\npattern = "."\nbits = 7\n{text}\n')
        output = tmp_path / f"out{selected}"
        build_artifact(BuildRequest(source, output, load_recipe(str(tmp_path / "r.toml"))))
        assert open_artifact(output).entry(EMBED).quantized == selected
        assert open_artifact(output).entry(UP).quantized


def test_matrices_and_pruning_or_another_librarys_recipe_do_not_mix(tiny: Path, tmp_path: Path) -> None:
    name = next(name for name in open_checkpoint(tiny).tensors if name.endswith("mlp.up_proj.weight"))
    (tmp_path / "made").mkdir()
    matrix(*open_checkpoint(tiny).tensors[name].shape).save(tmp_path / "made" / f"{name}.matrix")
    for recipe, message in (("prune20-q2", "prunes a tensor that was quantized"), ("bnb-int8", "--matrices")):
        with pytest.raises(UsageError, match=message):
            build_artifact(BuildRequest(tiny, tmp_path / "out", BUILT_IN[recipe], matrices=tmp_path / "made"))


@pytest.mark.usefixtures("small_chunks")
def test_damage_beside_the_codes_is_told(
    source: Path, matrices: dict[str, QuantizedMatrix], recipe: Any, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    build_artifact(
        BuildRequest(source, output, recipe, "zstd", format_version=2, matrices=tmp_path / "matrices")
    )
    folder = output / "weights.zarr" / UP
    for damaged, told in (
        ("zarr.json", f"the metadata of tensor {UP}"),
        ("scales/c/0", f"chunk 0 of the scales of tensor {UP}"),
        ("codes/c/1/0", f"chunk 1/0 of the codes of tensor {UP}"),
    ):
        copy = tmp_path / "copy"
        shutil.copytree(output, copy)
        path = copy / folder.relative_to(output) / damaged
        path.write_bytes(path.read_bytes()[:-1] + b"!")
        assert [problem.message for problem in verify_artifact(copy)] == [f"{told} is damaged"]
        with pytest.raises((ArtifactError, InputError)):
            open_artifact(copy).tensor(UP)
        path.unlink()
        with pytest.raises((ArtifactError, InputError)):
            open_artifact(copy).tensor(UP)
        shutil.rmtree(copy)
