"""COMET's worker: the right result or one clear sentence, whatever happens to it; never a hang."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from comet_fixtures import write_checkpoint, write_stub_python
from evaluation_fixtures import REFERENCES, SOURCES

from iwsltpack.errors import InputError, MissingDependency, ResourceError, UsageError
from iwsltpack.scoring.cache import ScoreCache
from iwsltpack.scoring.comet import Comet
from iwsltpack.scoring.comet_checkpoint import CometOptions, find_checkpoint
from iwsltpack.scoring.references import References
from iwsltpack.scoring.score import score
from iwsltpack.scoring.texts import Hypotheses
from iwsltpack.system.fileio import sha256_file
from iwsltpack.system.progress import SILENT, Reporter

HALF = [*REFERENCES[:2], "", "不同", "另外"]


@pytest.fixture(autouse=True)
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    python = write_stub_python(tmp_path / "stub")
    monkeypatch.setenv("IWSLTPACK_COMET_PYTHON", str(python))
    monkeypatch.setenv("IWSLTPACK_CACHE", str(tmp_path / "cache"))
    return python


class Counting(Reporter):
    """Remembers how far it was told to be."""

    def __init__(self) -> None:
        self.done = 0.0

    def advance(self, amount: float = 1) -> None:
        self.done += amount


def test_scores_come_back_in_order_with_the_noise_of_libraries_kept_apart(tmp_path: Path) -> None:
    progress = Counting()
    model = write_checkpoint(tmp_path / "good", "work")
    with Comet(str(model), batch_size=2, progress=progress) as comet:
        system, segments = comet.score(SOURCES, HALF, REFERENCES)
        again, _ = comet.score(SOURCES, REFERENCES, REFERENCES)
    assert segments == [1, 1, 0, 0, 0]
    assert (system, again) == (pytest.approx(0.4), 1.0)
    assert progress.done == 10


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("die", "killed by SIGKILL"),
        ("fail", "ValueError: shapes do not fit"),
        ("nan", "no score for every segment"),
        ("short", "no score for every segment"),
    ],
)
def test_a_worker_that_goes_wrong_is_one_clear_error(tmp_path: Path, behaviour: str, message: str) -> None:
    model = write_checkpoint(tmp_path / behaviour, behaviour)
    with Comet(str(model)) as comet, pytest.raises(ResourceError) as caught:
        comet.score(SOURCES, HALF, REFERENCES)
    assert message in str(caught.value)
    assert "to do:" in str(caught.value)


def test_a_worker_can_be_used_again_after_one_died(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path / "model", "die")
    with Comet(str(model)) as comet:
        with pytest.raises(ResourceError):
            comet.score(SOURCES, HALF, REFERENCES)
        (model / "checkpoints" / "model.ckpt").write_text("work")
        assert comet.score(SOURCES, HALF, REFERENCES)[0] == pytest.approx(0.4)


def test_a_silent_worker_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IWSLTPACK_COMET_TIMEOUT", "1.5")
    model = write_checkpoint(tmp_path / "hang", "hang")
    begun = time.monotonic()
    with Comet(str(model)) as comet, pytest.raises(ResourceError, match="has been silent for"):
        comet.score(SOURCES, HALF, REFERENCES)
    assert time.monotonic() - begun < 20


def test_a_worker_that_does_not_start_says_what_it_said(tmp_path: Path, stub: Path) -> None:
    (stub.parent / "site" / "comet.py").write_text("raise ImportError('numpy 2 is too new')")
    model = write_checkpoint(tmp_path / "model", "work")
    with Comet(str(model)) as comet, pytest.raises(ResourceError, match="ended before it answered") as caught:
        comet.score(SOURCES, HALF, REFERENCES)
    assert "numpy 2 is too new" in str(caught.value)


def test_an_encoder_that_is_not_here_is_looked_for_on_the_network_unless_forbidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_checkpoint(tmp_path / "model", "encoder")
    with Comet(str(model)) as comet:
        assert comet.score(SOURCES, HALF, REFERENCES)[0] == pytest.approx(0.4)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with Comet(str(model)) as comet, pytest.raises(ResourceError, match="COMET could not score") as caught:
        comet.score(SOURCES, HALF, REFERENCES)
    assert "run once with a network" in str(caught.value)


def test_nothing_to_score_is_refused(tmp_path: Path) -> None:
    with (
        Comet(str(write_checkpoint(tmp_path / "m", "work"))) as comet,
        pytest.raises(UsageError, match="nothing"),
    ):
        comet.score([], [], [])


def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path / "m", "work")
    with Comet(str(model), device="cuda") as comet, pytest.raises(MissingDependency, match="sees no GPU"):
        comet.score(SOURCES, HALF, REFERENCES)
    with pytest.raises(UsageError, match="unknown device 'tpu'"):
        Comet(str(model), device="tpu")


@pytest.mark.parametrize("value", ["soon", "1h"])
def test_a_timeout_that_is_no_number_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("IWSLTPACK_COMET_TIMEOUT", value)
    with (
        Comet(str(write_checkpoint(tmp_path / "m", "work"))) as comet,
        pytest.raises(UsageError, match="seconds"),
    ):
        comet.score(SOURCES, HALF, REFERENCES)


def test_the_workers_python_must_run_and_have_comet(
    tmp_path: Path, stub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for info in (stub.parent / "site").glob("unbabel_comet*"):
        (info / "METADATA").unlink()
        info.rmdir()
    model = str(write_checkpoint(tmp_path / "m", "work"))
    with pytest.raises(MissingDependency, match="lacks COMET"):
        Comet(model)
    monkeypatch.setenv("IWSLTPACK_COMET_PYTHON", str(tmp_path / "none"))
    with pytest.raises(MissingDependency, match="does not run"):
        Comet(model)


def scored(model: Path, tmp_path: Path) -> object:
    return score(
        Hypotheses(name="tst.en-zh.txt", lines=tuple(HALF)),
        References(name="ref", lines=tuple(REFERENCES), sources=tuple(SOURCES)),
        metrics=["comet"],
        comet=CometOptions(model=str(model)),
        cache=ScoreCache(tmp_path / "scores"),
    )


def test_the_second_scoring_starts_no_worker(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path / "model", "work")
    first = scored(model, tmp_path)
    status = (model / "checkpoints" / "model.ckpt").stat()
    (model / "checkpoints" / "model.ckpt").write_text("die!"[:4])
    import os

    # Same size and time stamp: the checkpoint passes for the one known, so only the cache can answer.
    os.utime(model / "checkpoints" / "model.ckpt", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert scored(model, tmp_path) == first


def test_another_checkpoint_of_the_same_name_is_scored_anew(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path / "model", "work")
    first = scored(model, tmp_path)
    (model / "checkpoints" / "model.ckpt").write_text("work ")
    second = scored(model, tmp_path)
    assert first.metrics[0].signature.checkpoint != second.metrics[0].signature.checkpoint  # type: ignore[attr-defined]


def test_the_signature_names_checkpoint_versions_device_and_batch(tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path / "tiny", "work")
    signature = scored(model, tmp_path).metrics[0].signature  # type: ignore[attr-defined]
    digest = sha256_file(model / "checkpoints" / "model.ckpt")
    assert signature.checkpoint.sha256 == digest
    assert "version:2.2.7|torch:9.9.9+cpu|device:cpu|precision:fp32|batch:16" in signature.text
    assert f"ckpt:tiny:{digest[:8]}" in signature.text
    assert str(tmp_path) not in signature.text


@pytest.mark.parametrize(
    ("name", "message"), [("no/such/thing", "no such COMET checkpoint"), ("folder", "not a whole")]
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    model = str(tmp_path / name) if name == "folder" else name
    with pytest.raises(InputError, match=message):
        find_checkpoint(model, SILENT)


def hub_cache(folder: Path, model: str) -> str:
    """Lay out a downloaded checkpoint as the hub library does."""
    revision = "a" * 40
    root = folder / f"models--{model.replace('/', '--')}"
    write_checkpoint(root / "snapshots" / revision, "work")
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(revision)
    return revision


def test_a_downloaded_hub_checkpoint_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    revision = hub_cache(tmp_path / "hub", "Unbabel/wmt22-comet-da")
    found = find_checkpoint("Unbabel/wmt22-comet-da", SILENT)
    assert (found.identity.name, found.identity.revision) == ("Unbabel/wmt22-comet-da", revision)
    assert not found.reload
    with pytest.raises(ResourceError, match="could not be downloaded") as caught:
        find_checkpoint("Unbabel/wmt20-comet-da", SILENT)
    assert "--comet-model DIR" in str(caught.value)
