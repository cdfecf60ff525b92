"""The one job of a working folder, as its commands would do it when they are typed bare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from iwsltpack.documents.choices import Mode, TestSetKind

Stage = Literal["init", "build", "decode", "score", "submit"]
"""What is done one after the other, each by the command of that name."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the settings say, defaults filled in.

    Attributes
    ----------
    settings
        The file; None where the folder has none.
    typed
        Each stage's command with all that the settings lack; capital letters stand for what only a person knows.
    source, recipe, base_model, built
        What is built of what, and where to.
    artifact, test_dir, kind, segments, runs
        What is decoded with what, and where to; `test_dir` is None where nobody said.
    references
        Whether `score` has been told them.
    submitted
        The runs that are handed in.
    """

    settings: Path | None
    typed: Mapping[Stage, str]
    team: str | None
    pair: str
    condition: str
    edition: str
    datasets: tuple[str, ...]
    source: str
    recipe: str
    base_model: str | None
    built: Path
    artifact: str
    test_dir: Path | None
    kind: TestSetKind | None
    segments: Path | None
    device: str
    mode: Mode
    dtype: str
    runs: Path
    references: bool
    submitted: tuple[Path, ...]
    submissions: Path
