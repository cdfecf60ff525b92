"""Files read and written past the page cache: the same bytes as through it, whatever their place and length."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import bfloat16, write_checkpoint

from iwsltpack.artifact.reader import open_artifact
from iwsltpack.building import checkpoint, tensor_writer
from iwsltpack.building.checkpoint import open_checkpoint
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.recipes import BUILT_IN
from iwsltpack.building.request import BuildRequest
from iwsltpack.errors import InputError
from iwsltpack.system import direct_io, memory

SIZES = (0, 1, 511, 4095, 4096, 4097, 3 * 4096, 100_001)


def content(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


def drop_from_cache(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("past_cache", [True, False])
def test_what_is_written_is_read_back(tmp_path: Path, size: int, past_cache: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"an older, longer file" * 10_000)
    direct_io.write(path, content(size), past_cache=past_cache)
    assert path.read_bytes() == content(size)
    for cached in (True, False):
        if not cached:
            drop_from_cache(path)
        assert direct_io.read(path, 0, size, past_cache=past_cache) == content(size)


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 10), (8, 4096), (4096, 4096), (4000, 200), (99_999, 2), (12_288, 80_000)]
)
@pytest.mark.parametrize("cached", [True, False])
def test_any_span_is_read(tmp_path: Path, offset: int, length: int, cached: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(content(100_001))
    if not cached:
        drop_from_cache(path)
    found = direct_io.read(path, offset, length, past_cache=True)
    assert found == content(100_001)[offset : offset + length]


@pytest.mark.parametrize(("offset", "left"), [(100_000, 1), (99_000, 1001), (100_001, 0), (200_000, 0)])
@pytest.mark.parametrize("past_cache", [True, False])
def test_a_file_that_ends_before_gives_what_there_is(
    tmp_path: Path, offset: int, left: int, past_cache: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content(100_001))
    drop_from_cache(path)
    found = direct_io.read(path, offset, 5000, past_cache=past_cache)
    assert len(found) == left
    assert found == content(100_001)[offset : offset + 5000]


def test_what_is_cached_is_known_and_asking_does_not_fill_the_cache(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content(100_001))
    if not direct_io.is_cached(path, 5000, 10_000):
        pytest.skip("this file system does not tell what is cached")
    drop_from_cache(path)
    if direct_io.is_cached(path, 5000, 10_000):
        pytest.skip("this file system keeps everything in memory")
    direct_io.read(path, 5000, 10_000, past_cache=True)
    assert not direct_io.is_cached(path, 5000, 10_000)
    direct_io.read(path, 5000, 10_000, past_cache=False)
    assert direct_io.is_cached(path, 5000, 10_000)
    assert not direct_io.is_cached(path, 200_000, 10)


def refusing(real: Callable[..., int], code: int) -> Callable[..., int]:
    """Open files as a file system does that knows no direct access."""

    def opened(path: Any, flags: int, *rest: Any) -> int:
        if flags & os.O_DIRECT:
            raise OSError(code, os.strerror(code))
        return real(path, flags, *rest)

    return opened


def test_a_file_system_without_direct_access_is_used_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "open", refusing(os.open, errno.EINVAL))
    path = tmp_path / "file"
    direct_io.write(path, content(5000), past_cache=True)
    drop_from_cache(path)
    assert direct_io.read(path, 100, 4500, past_cache=True) == content(5000)[100:4600]


def test_other_refusals_are_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", refusing(os.open, errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        direct_io.write(tmp_path / "file", b"x", past_cache=True)


def test_only_what_would_fill_half_the_memory_goes_past_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 1000)
    assert direct_io.exceeds_cache(501)
    assert not direct_io.exceeds_cache(500)
    monkeypatch.setattr(memory, "available", lambda: None)
    assert not direct_io.exceeds_cache(1 << 60)


def test_freed_blocks_are_kept_in_one_heap_by_the_numbers_of_glibcs_own_header(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: dict[int, int] = {}
    monkeypatch.setattr(memory, "c_library", lambda: SimpleNamespace(mallopt=said.__setitem__))
    memory.keep_freed_blocks.__wrapped__()
    # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX
    assert said == {-1: 1 << 30, -3: 32 << 20, -8: 1}


def test_this_machine_tells_its_memory() -> None:
    if not Path("/proc/meminfo").is_file():
        pytest.skip("no /proc/meminfo here")
    found = memory.available()
    assert found is not None and 0 < found < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("coding", ["paper", "zstd", "pcodec"])
def test_an_artifact_is_the_same_both_ways(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coding: str
) -> None:
    build_artifact(BuildRequest(tiny, tmp_path / "cached", BUILT_IN["selected-q3"], coding))
    monkeypatch.setattr(memory, "available", lambda: 0)
    monkeypatch.setattr(tensor_writer, "LARGE", 0)
    assert all(tensor.past_cache for tensor in open_checkpoint(tiny).tensors.values())
    build_artifact(BuildRequest(tiny, tmp_path / "direct", BUILT_IN["selected-q3"], coding))
    files = [
        path.relative_to(tmp_path / "cached") for path in (tmp_path / "cached").rglob("*") if path.is_file()
    ]
    assert len(files) > 60
    for file in files:
        assert (tmp_path / "cached" / file).read_bytes() == (tmp_path / "direct" / file).read_bytes(), file
        drop_from_cache(tmp_path / "direct" / file)
    direct = open_artifact(tmp_path / "direct")
    assert direct._past_cache
    monkeypatch.undo()
    cached = open_artifact(tmp_path / "cached")
    assert not cached._past_cache
    for name in cached.names():
        assert direct.tensor(name).tobytes() == cached.tensor(name).tobytes(), name


def test_large_chunks_do_not_fill_the_cache(tmp_path: Path) -> None:
    (tmp_path / "probe").write_bytes(content(5000))
    drop_from_cache(tmp_path / "probe")
    if direct_io.is_cached(tmp_path / "probe", 0, 5000):
        pytest.skip("this file system keeps everything in memory")
    drawn = np.random.default_rng(0).standard_normal((1024, 1024))
    write_checkpoint(tmp_path / "source", {"large": bfloat16(drawn), "small": bfloat16(drawn[:8])})
    build_artifact(BuildRequest(tmp_path / "source", tmp_path / "out", BUILT_IN["fp16"], "zstd"))
    for name, cached in (("large", False), ("small", True)):
        chunk = tmp_path / f"out/weights.zarr/{name}/c/0/0"
        assert direct_io.is_cached(chunk, 0, chunk.stat().st_size) is cached


def test_a_checkpoint_cut_after_it_was_opened_is_told(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint.direct_io, "exceeds_cache", lambda _: True)
    opened = open_checkpoint(tiny)
    tensor = max(opened.tensors.values(), key=lambda tensor: tensor.offset)
    data = tensor.path.read_bytes()
    try:
        tensor.path.write_bytes(data[:-2])
        with pytest.raises(InputError, match="the checkpoint file ends too early"):
            tensor.rows(0, tensor.shape[0])
    finally:
        tensor.path.write_bytes(data)
