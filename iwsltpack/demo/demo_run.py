"""The whole path on a laptop: a configured folder is laid out, then the very commands of the real job run in it.

The model is a miniature that translates a closed set of sentences and nothing else; the commands, files and checks
are those of a real submission.
"""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from iwsltpack.documents.names import CONFIG_NAME
from iwsltpack.errors import InputError, IwsltpackError, UsageError
from iwsltpack.scoring.comet_env import ensure_environment, worker_environment
from iwsltpack.scoring.references import read_references
from iwsltpack.system import fileio
from iwsltpack.system.progress import Reporter

MARK = ".iwsltpack-demo"
"""Says that a folder was made by the demo and may be made anew."""

DATA = Path(__file__).parent
COMPARED = ("fp16", "selected-q2", "global-q2")
"""Recipes the submission is compared with."""
HYPOTHESES = "runs/demo/demo.en-zh.txt"
CLEANED = "runs/demo/demo.en-zh.clean.txt"
TINY_COMET = "tiny-comet-no-judge"
"""Folder and, with that, name of the checkpoint the demo scores with: it stands in every table and signature."""
REFERENCES = "test/manifest.csv"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command of the path: what it is for, and what is typed behind ``iwsltpack``."""

    purpose: str
    command: str

    @property
    def line(self) -> str:
        """The command as one types it."""
        return f"iwsltpack {self.command}"


def steps(part: str, **values: str) -> list[Step]:
    """Return the steps of one part of ``steps.toml``, with what stands in braces filled in."""
    listed = fileio.read_toml(DATA / "steps.toml")[part]
    return [Step(**{key: text.format(**values) for key, text in step.items()}) for step in listed]


def comparison(*, comet: bool = False) -> list[Step]:
    """Return the steps that set the submission beside other recipes; none where scoring is not installed.

    With `comet`, every system is also scored by the tiny checkpoint of `make_tiny_comet`.
    """
    if importlib.util.find_spec("sacrebleu") is None:
        return []
    scoring = f"--reference {REFERENCES} --metric chrf,bleu"
    if comet:
        scoring += f",comet --comet-model {TINY_COMET} --comet-device cpu"
    others = [step for recipe in COMPARED for step in steps("compared", recipe=recipe, scoring=scoring)]
    return [*steps("scored", scoring=scoring), *others, *steps("told")]


@dataclass(frozen=True, kw_only=True)
class Line:
    """One clip of the demo: what was said, what should stand there, what the compressed model wrote."""

    said: str
    reference: str
    hypothesis: str


def lay_out(folder: Path) -> None:
    """Create the demo's folder: checkpoint, test set and settings; an earlier demo there is replaced.

    Raises
    ------
    UsageError
        The folder exists and is not a demo's.
    """
    if folder.exists():
        if not (folder / MARK).is_file():
            raise UsageError(
                "the folder exists and is not a demo's", where=folder, fix="choose another --output"
            )
        shutil.rmtree(folder)
    with fileio.disk_errors(folder):
        folder.mkdir(parents=True)
        (folder / MARK).touch()
        for name, target in (("miniature", "checkpoint"), ("testset", "test")):
            source = DATA / name
            if not source.is_dir():
                raise InputError(
                    "the installation lacks the demo's data", where=source, fix="install it again"
                )
            shutil.copytree(source, folder / target)
        fileio.write_bytes(folder / CONFIG_NAME, (DATA / CONFIG_NAME).read_bytes())
        _halve(folder)


def _halve(folder: Path) -> None:
    """Make two test sets of one: to calibrate on, and to measure on."""
    heading, *rows = fileio.read_bytes(folder / "test" / "manifest.csv").splitlines(keepends=True)
    middle = len(rows) // 2
    for name, half in (("first", rows[:middle]), ("second", rows[middle:])):
        shutil.copytree(folder / "test" / "wavs", folder / "halves" / name / "wavs")
        fileio.write_bytes(folder / "halves" / name / "manifest.csv", b"".join([heading, *half]))


def make_tiny_comet(folder: Path, progress: Reporter) -> None:
    """Make the demo's COMET checkpoint in `folder`; COMET's environment is built first if it is not there.

    Raises
    ------
    IwsltpackError
        The environment cannot be built, or COMET in it cannot make the checkpoint.
    """
    python = ensure_environment(progress).python
    texts = fileio.read_bytes(folder / REFERENCES)
    progress.start("making a tiny COMET checkpoint", 1)
    done = subprocess.run(
        [python, "-X", "utf8", DATA / "tiny_comet.py", folder / TINY_COMET],
        input=texts,
        capture_output=True,
        check=False,
        env=worker_environment(offline=True),
    )
    progress.finish()
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise IwsltpackError(
            "COMET's environment cannot make the demo's checkpoint",
            got=words[0] if words else f"exit code {done.returncode}",
            fix="run the demo with --no-comet, or build the environment anew (docs/scoring.md)",
        )


def rehearse(folder: Path, todo: Sequence[Step], announce: Callable[[Step], None]) -> list[Line]:
    """Run the steps `todo` in `folder`; each prints for itself.

    Parameters
    ----------
    folder
        As `lay_out` made it.
    todo
        Those of the path, and of `comparison`.
    announce
        Called before each step.

    Returns
    -------
    list of Line
        What was translated, in the order of the test set.

    Raises
    ------
    IwsltpackError
        A step failed; it has printed why.
    """
    for step in todo:
        announce(step)
        done = subprocess.run(
            [sys.executable, "-m", "iwsltpack", *step.command.split()], cwd=folder, check=False
        )
        if done.returncode:
            raise IwsltpackError(f"the demo stopped at `{step.line}`", got=f"exit code {done.returncode}")
    return read_lines(folder)


def read_lines(folder: Path) -> list[Line]:
    """Pair every cleaned hypothesis with its reference."""
    references, hypotheses = read_references(folder / REFERENCES), fileio.read_lines(folder / CLEANED)
    told = zip(references.sources or (), references.lines, hypotheses, strict=True)
    return [Line(said=said, reference=wanted, hypothesis=found) for said, wanted, found in told]
