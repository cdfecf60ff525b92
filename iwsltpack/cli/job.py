"""The job of this folder: what its commands would do if they were typed bare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from iwsltpack.cli.common import FILE, settings_of
from iwsltpack.cli.config import CONFIG_NAME
from iwsltpack.documents.names import ARTIFACTS_DIR, RUNS_DIR
from iwsltpack.documents.places import things_in
from iwsltpack.workplace.job import Job

if TYPE_CHECKING:
    import typer

    from iwsltpack.workplace.job import Stage


def job_of(context: typer.Context) -> Job:
    """Return the job as the settings of this folder, or those named by ``--config``, have it."""
    build, decode, score, submit = (settings_of(context, n) for n in ("build", "decode", "score", "submit"))
    settings: Path | None = context.meta.get(FILE)
    artifact = decode["artifact"] or submit["artifact"]
    if settings is None and artifact is None:
        here = [path for thing, path in things_in(Path(ARTIFACTS_DIR), 1) if thing == "artifact"]
        artifact = str(here[0]) if len(here) == 1 else None
    built = Path(
        build["output"] or artifact or f"{ARTIFACTS_DIR}/{Path(build['recipe']).stem}-{build['coding']}"
    )
    artifact = artifact or str(built)
    runs = Path(decode["output"] or f"{RUNS_DIR}/{Path(artifact).name}")
    last = "" if settings in (None, Path(CONFIG_NAME)) else f" --config {settings}"

    def typed(command: str, *wanted: tuple[Any, str]) -> str:
        return " ".join(["iwsltpack", command, *(words for value, words in wanted if not value)]) + last

    commands: dict[Stage, str] = {
        "init": "iwsltpack init --team TEAM --pair en-zh",
        "build": typed("build", (build["output"], f"--output {built}")),
        "decode": typed(
            "decode",
            (decode["test_dir"], "TESTDIR"),
            (decode["artifact"], f"--artifact {artifact}"),
            (decode["output"], f"--output {runs}"),
        ),
        "score": typed(
            "score", (score["hypotheses"], str(runs)), (score["reference"], "--reference REFERENCES")
        ),
        "submit": typed(
            "submit --primary",
            (submit["team"], "--team TEAM"),
            (submit["artifact"], f"--artifact {artifact}"),
            (submit["run"], f"--run {runs}"),
        ),
    }
    return Job(
        settings=settings,
        typed=commands,
        team=submit["team"],
        pair=decode["pair"],
        condition=submit["condition"],
        edition=submit["edition"],
        datasets=tuple(submit["dataset"] or ()),
        source=build["source"],
        recipe=build["recipe"],
        base_model=build["base_model"] or submit["base_model"],
        built=built,
        artifact=artifact,
        test_dir=_path(decode["test_dir"]),
        kind=decode["format"],
        segments=_path(decode["segments"]),
        device=decode["device"],
        mode=decode["mode"],
        dtype=decode["dtype"],
        runs=runs,
        references=bool(score["reference"]),
        submitted=tuple(map(Path, submit["run"] or ())),
        submissions=Path(submit["submissions"]),
    )


def _path(value: Any) -> Path | None:
    return None if value is None else Path(value)
