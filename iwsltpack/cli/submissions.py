"""``iwsltpack submissions``."""

from pathlib import Path
from typing import TYPE_CHECKING

from iwsltpack.cli import console
from iwsltpack.documents.names import SUBMISSIONS_DIR
from iwsltpack.documents.score import DIGITS, TITLES
from iwsltpack.system.tables import Column, Table

if TYPE_CHECKING:
    from iwsltpack.submission.ledger import Entry


def command(
    *,
    submissions: Path = Path(SUBMISSIONS_DIR),
    promote: str | None = None,
    score: Path | None = None,
    uploaded: str | None = None,
    edition: str | None = None,
) -> None:
    """List the submissions with type, pair, condition, size, score and state; promote one to PRIMARY.

    A change that was interrupted is carried out to its end first.

    Example: iwsltpack submissions --promote 2
    """
    from iwsltpack import editions
    from iwsltpack.submission import ledger

    if promote is not None:
        renamed = ledger.promote(submissions, promote, editions.load(edition) if edition else None)
        for old, new in renamed.items():
            console.say(f"{old} -> {new}")
        if not renamed:
            console.say(f"{promote} is the PRIMARY already")
    if score is not None:
        for name in ledger.record_score(submissions, score):
            console.say(f"recorded with {name}")
    if uploaded is not None:
        console.say(f"{ledger.note_upload(submissions, uploaded).name}: noted down as handed in")
    entries, problems = ledger.open_ledger(submissions)
    listed = sorted(entries, key=lambda entry: (entry.number is None, entry.number))
    console.result(
        {
            "submissions": [entry.to_json() for entry in entries],
            "problems": [problem.to_json() for problem in problems],
        },
        Table(COLUMNS, [_row(entry) for entry in listed]) if entries else "no submissions yet",
    )
    if console.as_json():
        return
    told = [problem for entry in entries for problem in entry.problems]
    told = [it for it in told if it.severity == "error" or it.rule == "ledger.stale-scores"]
    for problem in (*told, *problems):
        console.say(str(problem), "red" if problem.severity == "error" else "yellow")


COLUMNS = [
    Column(heading=heading, figures=heading in ("#", "bytes", "GiB"))
    for heading in ("#", "type", "pair", "condition", "bytes", "GiB", "recipe", "score", "state", "name")
]


def _row(entry: "Entry") -> tuple[str, ...]:
    item = entry.submission
    if item is None:
        return ("", "?", "?", "?", "?", "?", "?", "-", entry.state, entry.folder)
    told = [
        f"{TITLES.get(score.metric, score.metric)} {score.score:.{DIGITS.get(score.metric, 2)}f}"
        for score in entry.scores
    ]
    type_, size = item.type.upper() if item.type == "primary" else item.type, item.artifact.bytes
    model = (item.pair, item.condition, f"{size:,}", f"{size / 2**30:.3f}", item.artifact.recipe)
    return (str(entry.number), type_, *model, ", ".join(told) or "-", entry.state, entry.folder)
