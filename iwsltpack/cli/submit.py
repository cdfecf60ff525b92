"""``iwsltpack submit``."""

from pathlib import Path
from typing import TYPE_CHECKING

from iwsltpack.cli import console
from iwsltpack.documents.choices import DEFAULT_CONDITION, DEFAULT_EDITION, DEFAULT_PAIR
from iwsltpack.documents.names import RUNNABLE_DIR, SUBMISSIONS_DIR
from iwsltpack.errors import UsageError, ValidationFailed

if TYPE_CHECKING:
    from iwsltpack.submission.packaging import Package


def command(
    *,
    run: list[Path],
    artifact: str,
    team: str,
    primary: bool = False,
    contrastive: bool = False,
    pair: str = DEFAULT_PAIR,
    condition: str = DEFAULT_CONDITION,
    dataset: list[str] | None = None,
    base_model: str | None = None,
    label: str | None = None,
    edition: str = DEFAULT_EDITION,
    release_outputs: bool | None = None,
    clean: bool = True,
    submissions: Path = Path(SUBMISSIONS_DIR),
    replace: bool = False,
    runnable: bool = False,
    runnable_output: Path = Path(RUNNABLE_DIR),
    dry_run: bool = False,
) -> None:
    """Check runs and artifact, clean the hypotheses, and package everything for upload.

    Hypotheses are taken from the runs alone: a file that was edited by hand is refused, since nobody could say
    what made it. Use --no-clean to hand in the raw lines.

    Example: iwsltpack submit --primary --team APG --pair en-zh --run runs/q3 --artifact artifacts/q3
    """
    from iwsltpack import editions
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
    for problem in package.warnings:
        console.say(str(problem), "yellow" if problem.severity == "warning" else None)
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


def _show(package: "Package", folder: Path, outcome: str) -> None:
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
