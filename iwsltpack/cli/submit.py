"""``iwsltpack submit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iwsltpack.cli import console
from iwsltpack.documents.choices import DEFAULT_CONDITION, DEFAULT_PAIR
from iwsltpack.documents.names import PAIRS, RUNNABLE_DIR, SUBMISSIONS_DIR
from iwsltpack.editions import DEFAULT

if TYPE_CHECKING:
    from iwsltpack.errors import Problem
    from iwsltpack.submission.packaging import Package


def command(
    run: Annotated[
        list[Path],
        typer.Option(
            "--run", help="A finished run, or a folder of runs; repeat for more.", show_default=False
        ),
    ],
    artifact: Annotated[
        str,
        typer.Option(
            help="The artifact the runs were decoded with: a folder, or an hf://, s3:// or https:// address.",
            show_default=False,
        ),
    ],
    team: Annotated[
        str, typer.Option(help="Team name, as it becomes part of the model name.", show_default=False)
    ],
    primary: Annotated[bool, typer.Option("--primary", help="The one submission that is ranked.")] = False,
    contrastive: Annotated[bool, typer.Option("--contrastive", help="A further submission.")] = False,
    pair: Annotated[str, typer.Option(metavar="|".join(PAIRS), help="Language pair.")] = DEFAULT_PAIR,
    condition: Annotated[str, typer.Option(help="constrained or unconstrained.")] = DEFAULT_CONDITION,
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", help="A dataset used; repeat for more.")
    ] = None,
    base_model: Annotated[
        str | None, typer.Option(help="Hub id of the model compressed, where the artifact does not tell it.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Tells contrastive submissions of one model name apart.")
    ] = None,
    edition: Annotated[str, typer.Option(help="Edition of the track: a name, or a JSON file.")] = DEFAULT,
    release_outputs: Annotated[
        bool | None,
        typer.Option("--release-outputs/--no-release-outputs", help="Consent to release the outputs."),
    ] = None,
    clean: Annotated[
        bool, typer.Option("--clean/--no-clean", help="Clean the raw hypotheses on the way.")
    ] = True,
    submissions: Annotated[Path, typer.Option(help="Where submissions are kept.")] = Path(SUBMISSIONS_DIR),
    replace: Annotated[
        bool, typer.Option("--replace", help="Put this in the place of another of the same name.")
    ] = False,
    runnable: Annotated[
        bool, typer.Option("--runnable", help="Also make a folder that sets itself up and translates.")
    ] = False,
    runnable_output: Annotated[
        Path, typer.Option(help="Where runnable packages are kept; each holds a copy of the artifact.")
    ] = Path(RUNNABLE_DIR),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and show what would be written.")
    ] = False,
) -> None:
    """Check runs and artifact, clean the hypotheses, and package everything for upload.

    Hypotheses are taken from the runs alone: a file that was edited by hand is refused, since nobody could say
    what made it. Use --no-clean to hand in the raw lines.

    Example: iwsltpack submit --primary --team APG --pair en-zh --run runs/q3 --artifact artifacts/q3
    """
    from iwsltpack import editions
    from iwsltpack.errors import UsageError, ValidationFailed
    from iwsltpack.submission import ledger, packaging

    if primary == contrastive:
        raise UsageError("is this the ranked submission?", expected="either --primary or --contrastive")
    request = packaging.Request(
        edition=editions.load(edition),
        team=team,
        pair=pair,
        condition=condition,
        type="primary" if primary else "contrastive",
        runs=tuple(run),
        artifact=artifact,
        datasets=tuple(dict.fromkeys(dataset or ())),
        label=label,
        release_outputs=release_outputs,
        clean=clean,
        base_model=base_model,
    )
    with console.reporter() as reporter:
        package = packaging.prepare(request, reporter)
    _say_warnings(package.warnings)
    if dry_run:
        if problems := ledger.check_addition(submissions, package.submission):
            raise ValidationFailed("the ledger does not admit this", problems, where=submissions)
        outcome, folder = "would be written", submissions / package.folder
    else:
        folder, outcome = ledger.add(submissions, package, replace_existing=replace)
    _show(package, folder, outcome)
    if runnable and not dry_run:
        from iwsltpack.submission.runnable import make_runnable

        with console.reporter() as reporter:
            made = make_runnable(runnable_output, request, package.submission, reporter)
        console.say(f"runnable package: {made} (bash setup.sh there, then run.sh)")


def _say_warnings(problems: list[Problem]) -> None:
    for problem in problems:
        console.say(str(problem), "yellow" if problem.severity == "warning" else None)


def _show(package: Package, folder: Path, outcome: str) -> None:
    from iwsltpack.submission.description import describe_bytes

    submission = package.submission
    size = describe_bytes(submission.artifact.bytes)
    console.result(
        {
            "folder": str(folder),
            "outcome": outcome,
            "files": {name: len(data) for name, data in sorted(package.files.items())},
            "submission": submission.to_json(),
        },
        f"{submission.model_name}: {outcome}",
        f"  {folder}",
        f"  model: {size}, {submission.artifact.parameters} parameters",
        *(
            f"  {item.file}: {item.lines} lines, {item.lines_changed} cleaned"
            for item in submission.test_sets
        ),
        "  next: read UPLOAD.md there, paste DESCRIPTION.md into the server's form",
    )
