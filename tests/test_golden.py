"""Artifacts written by every format version so far decode to the same bits, for ever."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from iwsltpack.artifact.integrity import verify_artifact
from iwsltpack.artifact.reader import open_artifact
from tools import golden

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(
    ("version", "coding"),
    [(f"v{version}", name) for version, names in golden.CODINGS.items() for name in names],
)
def test_golden_artifacts_decode_to_the_expected_bits(version: str, coding: str) -> None:
    artifact = open_artifact(GOLDEN / version / coding)
    assert verify_artifact(artifact.path) == []
    with np.load(GOLDEN / version / "expected.npz") as expected:
        assert artifact.names() == sorted(expected.files)
        for name in expected.files:
            got = artifact.tensor(name)
            assert got.dtype == expected[name].dtype
            assert got.tobytes() == expected[name].tobytes(), name


@pytest.mark.parametrize("version", golden.CODINGS)
def test_every_version_is_written_byte_by_byte_as_ever(version: int, tmp_path: Path) -> None:
    golden.main(version, tmp_path / f"v{version}")
    for old in (GOLDEN / f"v{version}").rglob("weights.zarr/**/*"):
        if old.is_file():
            assert old.read_bytes() == (tmp_path / old.relative_to(GOLDEN)).read_bytes(), old
