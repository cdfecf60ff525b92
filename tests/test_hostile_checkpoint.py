"""A checkpoint that is two, half, somebody's adapter or a trap is refused at build by its name."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MINIATURE, write_checkpoint

from iwsltpack.artifact.side_files import collect
from iwsltpack.building.checkpoint import open_checkpoint
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.recipes import BUILT_IN
from iwsltpack.building.request import BuildRequest
from iwsltpack.errors import InputError, ResourceError

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 7"
SINGLE = "model.safetensors"
SHARD = "model-00001-of-00002.safetensors"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MINIATURE, tmp_path / "source"))


def weights(folder: Path, name: str, tensors: dict[str, Any]) -> None:
    """Put a safetensors file of another name into a checkpoint."""
    other = write_checkpoint(folder.parent / "other", tensors)
    (other / SINGLE).replace(folder / name)


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def notes(folder: Path, value: Any) -> None:
    """Give the first shard's header other notes, everything else as it was."""
    raw = (folder / SHARD).read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.dumps({**json.loads(raw[8 : 8 + length]), "__metadata__": value}).encode()
    (folder / SHARD).write_bytes(len(header).to_bytes(8, "little") + header + raw[8 + length :])


def quantized(folder: Path, method: str, part: str | None) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (config if part is None else config[part])["quantization_config"] = {"quant_method": method, "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "nowhere")


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


HOSTILE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "single and index": (
        lambda at: weights(at, SINGLE, {"a": np.zeros(2)}),
        "two checkpoints in one folder",
        SINGLE,
    ),
    "stray shard": (
        lambda at: weights(at, "model-00001-of-00003.safetensors", {"a": np.zeros(2)}),
        "two checkpoints in one folder",
        "model-00001-of-00003.safetensors",
    ),
    "lost shard": (
        lambda at: [
            (at / name).unlink()
            for name in ("model.safetensors.index.json", "model-00002-of-00002.safetensors")
        ],
        "a shard is missing",
        "model-00001-of-00002.safetensors",
    ),
    "adapter weights": (
        lambda at: weights(at, "adapter_model.safetensors", {"a": np.zeros(2)}),
        "an adapter (LoRA) is not merged",
        "adapter_model.safetensors",
    ),
    "adapter settings": (
        lambda at: (at / "adapter_config.json").write_text("{}"),
        "an adapter (LoRA) is not merged",
        "adapter_config.json",
    ),
    "tokenizer pipe": (lambda at: fifo(at / "tokenizer.json"), "not a regular file", "tokenizer.json"),
    "tokenizer link": (lambda at: dangle(at / "tokenizer.json"), "cannot read the file", "tokenizer.json"),
    "tokenizer folder": (
        lambda at: as_folder(at / "tokenizer.json"),
        "not a regular file",
        "tokenizer.json",
    ),
    "tokenizer missing": (
        lambda at: (at / "tokenizer.json").unlink(),
        "the checkpoint has no tokenizer",
        "tokenizer.json",
    ),
    "tokenizer pointer": (
        lambda at: (at / "tokenizer.json").write_bytes(POINTER),
        "a pointer of Git LFS",
        "git lfs pull",
    ),
    "tokenizer cut": (
        lambda at: (at / "tokenizer.json").write_bytes(b'{"model": '),
        "not valid JSON",
        "tokenizer.json",
    ),
    "shard pointer": (lambda at: (at / SHARD).write_bytes(POINTER), "a pointer of Git LFS", "git lfs pull"),
    "shard pipe": (lambda at: fifo(at / SHARD), "a shard named by the index is missing", SHARD),
    "index pipe": (
        lambda at: fifo(at / f"{SINGLE}.index.json"),
        "not a regular file",
        f"{SINGLE}.index.json",
    ),
    "notes null": (
        lambda at: notes(at, None),
        "the safetensors header has a malformed entry",
        "__metadata__",
    ),
    "notes number": (
        lambda at: notes(at, {"format": 1}),
        "the safetensors header has a malformed entry",
        "__metadata__",
    ),
    "nested 900 deep": (
        lambda at: (at / "tokenizer_config.json").write_bytes(nested(900)),
        "not usable JSON",
        "tokenizer_config.json",
    ),
    "nested 101 deep": (
        lambda at: (at / "generation_config.json").write_bytes(nested(101)),
        "not usable JSON",
        "generation_config.json",
    ),
    "index pointer": (
        lambda at: (at / f"{SINGLE}.index.json").write_bytes(POINTER),
        "a pointer of Git LFS",
        "git lfs pull",
    ),
    "shard page": (
        lambda at: (at / SHARD).write_bytes(b"<html>404</html>"),
        "not a safetensors file",
        "16 bytes in all, which begin with b'<html>404</html>'",
    ),
    **{
        f"{name} in UTF-16": (
            lambda at, name=name: (at / name).write_text((at / name).read_text("utf-8"), "utf-16"),
            "not UTF-8",
            name,
        )
        for name in ("tokenizer.json", "config.json", "chat_template.jinja")
    },
    "template of zeros": (
        lambda at: (at / "chat_template.jinja").write_bytes(bytes(100)),
        "not a text",
        "chat_template.jinja",
    ),
    **{
        f"configuration with {value}": (
            lambda at, value=value: (at / "config.json").write_text(f'{{"x": {value}}}'),
            "not valid JSON",
            "config.json",
        )
        for value in ("NaN", "-Infinity", '"\\ud800"')
    },
    **{
        f"quantized by {method} in {part or 'config'}": (
            lambda at, method=method, part=part: quantized(at, method, part),
            "the checkpoint is quantized already",
            f"got: {method}",
        )
        for method, part in (("gptq", None), ("awq", None), ("bitsandbytes", "text_config"))
    },
    "configuration pipe": (lambda at: fifo(at / "config.json"), "not a regular file", "config.json"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_checkpoint_is_refused_by_its_name(source: Path, tmp_path: Path, case: str) -> None:
    spoil, what, named = HOSTILE[case]
    spoil(source)
    with pytest.raises(InputError) as error:
        build_artifact(BuildRequest(source, tmp_path / "out", BUILT_IN["selected-q3"], "zstd"))
    assert error.value.what.startswith(what)
    assert named in str(error.value)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.partial").exists()


def test_what_stands_beside_a_checkpoint_in_good_faith_is_let_pass(source: Path) -> None:
    """Of the hub: the same weights laid out for another program; and settings nested as deep as any are."""
    weights(source, "consolidated.safetensors", {"a": np.zeros(2)})
    (source / "generation_config.json").write_bytes(nested(99))
    config = json.loads((source / "config.json").read_text("utf-8"))
    (source / "config.json").write_text(json.dumps(config | {"quantization_config": None}))
    assert "config.json" in collect(source)
    assert len(open_checkpoint(source).files) == 2


def test_a_pipe_in_place_of_the_only_file_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / SINGLE)
    with pytest.raises(InputError, match="not a file"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "q_proj.lora_A.weight",
            "q_proj.lora_B.default.weight",
            "q_proj.base_layer.weight",
            "lora_embedding_A",
        ),
        *("up.ia3_l.default", "up.oft_r", "up.hada_w1_a", "up.lokr_w2"),
    ],
)
def test_tensors_of_an_adapter_are_refused(tmp_path: Path, name: str) -> None:
    write_checkpoint(tmp_path, {"q_proj.weight": np.zeros((2, 2)), name: np.zeros((2, 2))})
    with pytest.raises(InputError, match="an adapter") as error:
        open_checkpoint(tmp_path)
    assert error.value.got == name
    write_checkpoint(tmp_path, {"explora_A.weight": np.zeros((2, 2))})
    assert len(open_checkpoint(tmp_path).tensors) == 1


def test_a_build_resumed_over_other_weights_is_no_mixture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same size and time stamp: what was packed of the old ones is packed again."""
    from iwsltpack.building import staging

    names = [f"layers.{number}.weight" for number in range(8)]
    source = write_checkpoint(tmp_path / "source", {name: np.ones((4, 4), np.float32) for name in names})
    monkeypatch.setattr(staging, "BUNDLE_BYTES", 0)
    real, written = staging.write_tensor, []

    def failing(*arguments: Any) -> Any:
        if len(written) == 5:
            raise ResourceError("no space left to write")
        written.append(arguments[1].source.name)
        return real(*arguments)

    monkeypatch.setattr(staging, "write_tensor", failing)
    with pytest.raises(ResourceError, match="no space left"):
        build_artifact(BuildRequest(source, tmp_path / "out", BUILT_IN["fp16"], "zstd", workers=1))
    monkeypatch.setattr(staging, "write_tensor", real)
    before = (source / SINGLE).stat()
    write_checkpoint(source, {name: np.full((4, 4), 2, np.float32) for name in names})
    os.utime(source / SINGLE, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = (source / SINGLE).stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    resumed = build_artifact(BuildRequest(source, tmp_path / "out", BUILT_IN["fp16"], "zstd", workers=1))
    fresh = build_artifact(BuildRequest(source, tmp_path / "fresh", BUILT_IN["fp16"], "zstd", workers=1))
    assert resumed == fresh


def test_a_mark_of_byte_order_does_not_get_into_an_artifact(source: Path) -> None:
    config = (source / "config.json").read_bytes()
    (source / "config.json").write_bytes(b"\xef\xbb\xbf" + config)
    assert collect(source)["config.json"] == config
