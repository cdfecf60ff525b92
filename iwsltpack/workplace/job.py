"""The one job of a working folder, as its commands would do it when they are typed bare."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from iwsltpack.artifact.location import is_address
from iwsltpack.documents.choices import Mode, TestSetKind
from iwsltpack.documents.names import ARTIFACTS_DIR, CONFIG_NAME, MANIFEST_NAME, RUNS_DIR
from iwsltpack.documents.places import things_in
from iwsltpack.documents.recipe import CALIBRATED

Stage = Literal["init", "build", "decode", "score", "submit"]
"""What is done one after the other, each by the command of that name."""


class Job:
    """What the settings say, defaults filled in.

    Parameters
    ----------
    settings
        The file; None where the folder has none.
    given
        Tells what a command would be given if it were typed bare in this folder.

    Attributes
    ----------
    typed
        Each stage's command with all that the settings lack; capital letters stand for what only a person knows.
    built
        Where the artifact is built; `artifact` is what is decoded with.
    calibration, calibration_name, matrices
        Data that the recipe is calibrated on, and what the rules call them; or what a calibration made.
    target_size, bits
        What the artifact may weigh, or bits a calibrated weight, as they were written; None: any size.
    test_dir
        None where nobody said.
    references
        Whether `score` has been told them.
    submitted
        The runs that are handed in.
    """

    def __init__(self, settings: Path | None, given: Callable[[str], Mapping[str, Any]]) -> None:
        build, decode, score, submit = map(given, ("build", "decode", "score", "submit"))
        artifact: str | None = decode["artifact"] or submit["artifact"]
        if settings is None and artifact is None:
            here = [path for thing, path in things_in(Path(ARTIFACTS_DIR), 1) if thing == "artifact"]
            artifact = str(here[0]) if len(here) == 1 else None
        self.settings = settings
        named = Path(build["recipe"]).stem + (f"-{build['coding']}" if build["coding"] else "")
        self.built = Path(build["output"] or artifact or f"{ARTIFACTS_DIR}/{named}")
        self.artifact = artifact or str(self.built)
        self.runs = Path(decode["output"] or f"{RUNS_DIR}/{Path(self.artifact).name}")
        self.team: str | None = submit["team"]
        self.pair: str = decode["pair"]
        self.condition: str = submit["condition"]
        self.edition: str = submit["edition"]
        self.datasets: tuple[str, ...] = tuple(submit["dataset"] or ())
        self.source: str = build["source"]
        self.recipe: str = build["recipe"]
        self.calibration = _path(build["calibration"])
        self.calibration_name: str | None = build["calibration_name"]
        self.matrices = _path(build["matrices"])
        self.target_size: str | None = build["target_size"]
        self.bits: str | None = build["bits"]
        self.base_model: str | None = build["base_model"] or submit["base_model"]
        self.test_dir = _path(decode["test_dir"])
        self.kind: TestSetKind | None = decode["format"]
        self.segments = _path(decode["segments"])
        self.device: str = decode["device"]
        self.mode: Mode = decode["mode"]
        self.dtype: str = decode["dtype"]
        self.references = bool(score["reference"])
        self.submitted = tuple(map(Path, submit["run"] or ()))
        self.submissions = Path(submit["submissions"])
        last = "" if settings in (None, Path(CONFIG_NAME)) else f" --config {settings}"

        def typed(command: str, *wanted: tuple[Any, str]) -> str:
            return " ".join(["iwsltpack", command, *(words for value, words in wanted if not value)]) + last

        self.typed: dict[Stage, str] = {
            "init": "iwsltpack init --team TEAM --pair en-zh",
            "build": typed(
                "build",
                (self.calibration or self.matrices or self.recipe != CALIBRATED, "--calibration DEVSET"),
                (build["output"], f"--output {self.built}"),
            ),
            "decode": typed(
                "decode",
                (decode["test_dir"], "TESTDIR"),
                (decode["artifact"], f"--artifact {self.artifact}"),
                (decode["output"], f"--output {self.runs}"),
            ),
            "score": typed(
                "score", (score["hypotheses"], str(self.runs)), (score["reference"], "--reference REFERENCES")
            ),
            "submit": typed(
                "submit --primary",
                (submit["team"], "--team TEAM"),
                (submit["artifact"], f"--artifact {self.artifact}"),
                (submit["run"], f"--run {self.runs}"),
            ),
        }

    @property
    def is_unbuilt(self) -> bool:
        """Whether the artifact is still to be built; one that lies elsewhere is not."""
        return not is_address(self.artifact) and not (Path(self.artifact) / MANIFEST_NAME).is_file()


def _path(value: Any) -> Path | None:
    return None if value is None else Path(value)
