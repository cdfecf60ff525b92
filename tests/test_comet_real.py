"""unbabel-comet itself, in the environment built for it, with a tiny checkpoint: equal to the library's own call."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from evaluation_fixtures import REFERENCES, SOURCES, spoil

from iwsltpack.errors import IwsltpackError
from iwsltpack.scoring.cache import ScoreCache
from iwsltpack.scoring.comet import Comet
from iwsltpack.scoring.comet_checkpoint import CometOptions
from iwsltpack.scoring.comet_env import CometEnvironment, ensure_environment
from iwsltpack.scoring.references import References
from iwsltpack.scoring.score import score
from iwsltpack.scoring.texts import Hypotheses

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
LIBRARY_CALL = """
import json, os, sys
out = os.fdopen(os.dup(1), "w"); os.dup2(2, 1)
from comet import load_from_checkpoint
folder, samples = sys.argv[1], json.load(sys.stdin)
os.chdir(folder)
model = load_from_checkpoint("checkpoints/model.ckpt", reload_hparams=True, local_files_only=True)
output = model.predict(samples, batch_size=16, gpus=0, progress_bar=False)
json.dump([output.system_score, output.scores], out)
"""


@pytest.fixture(scope="module")
def environment() -> CometEnvironment:
    """The environment in the user's cache: built by the first run of these tests, then used by all."""
    try:
        return ensure_environment()
    except IwsltpackError as error:
        pytest.skip(f"the COMET environment cannot be built here: {error}")


@pytest.fixture(scope="module")
def tiny_comet(environment: CometEnvironment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comet") / "tiny-comet"
    texts = "\n".join([*REFERENCES, *SOURCES])
    subprocess.run(
        [environment.python, "-X", "utf8", ROOT / "iwsltpack" / "demo" / "tiny_comet.py", folder],
        input=texts,
        text=True,
        encoding="utf-8",
        check=True,
        capture_output=True,
        timeout=300,
    )
    return folder


@pytest.fixture(scope="module")
def comet(tiny_comet: Path) -> Iterator[Comet]:
    """One worker for all tests: starting it takes seconds."""
    with Comet(str(tiny_comet), device="cpu") as started:
        yield started


def test_the_worker_scores_as_the_librarys_own_call(
    environment: CometEnvironment, tiny_comet: Path, comet: Comet
) -> None:
    many = 8
    hypotheses = [*spoil(REFERENCES * (many - 1), 0.3, 1), *[""] * len(REFERENCES)]
    samples = [
        {"src": source, "mt": hypothesis, "ref": reference}
        for source, hypothesis, reference in zip(SOURCES * many, hypotheses, REFERENCES * many, strict=True)
    ]
    done = subprocess.run(
        [environment.python, "-X", "utf8", "-c", LIBRARY_CALL, tiny_comet],
        input=json.dumps(samples),
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    system, segments = json.loads(done.stdout)
    assert comet.score(SOURCES * many, hypotheses, REFERENCES * many) == (system, segments)
    assert len(set(segments)) > 20


def test_the_tiny_checkpoint_prefers_what_is_like_its_reference(comet: Comet) -> None:
    hypotheses = [REFERENCES[0], REFERENCES[0][:-2], REFERENCES[0][::-1], ""]
    _, segments = comet.score([SOURCES[0]] * 4, hypotheses, [REFERENCES[0]] * 4)
    assert segments[0] == pytest.approx(1.0, abs=1e-6)
    assert segments[0] > segments[1] > segments[3]
    assert segments[0] > segments[2] > segments[3]


def test_416_segments_scored_again_take_under_a_second(tiny_comet: Path, tmp_path: Path) -> None:
    count = 416
    references = (REFERENCES * 84)[:count]
    told = References(name="ref", lines=tuple(references), sources=tuple((SOURCES * 84)[:count]))
    hypotheses = Hypotheses(name="tst.en-zh.txt", lines=tuple(spoil(references, 0.2, 5)))

    def scored() -> object:
        return score(
            hypotheses,
            told,
            metrics=["comet"],
            comet=CometOptions(model=str(tiny_comet)),
            cache=ScoreCache(tmp_path / "cache"),
        )

    first = scored()
    begun = time.monotonic()
    assert scored() == first
    assert scored() == first
    assert time.monotonic() - begun < 2.0  # two scorings


def test_this_program_keeps_its_own_numpy(environment: CometEnvironment) -> None:
    version = "import numpy; print(numpy.__version__.split('.')[0])"
    own = subprocess.run([sys.executable, "-c", version], capture_output=True, text=True, check=True)
    theirs = subprocess.run([environment.python, "-c", version], capture_output=True, text=True, check=True)
    assert (own.stdout.strip(), theirs.stdout.strip()) == ("2", "1")
