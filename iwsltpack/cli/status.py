"""``iwsltpack status``."""

import typer
from rich.text import Text

from iwsltpack.cli import console
from iwsltpack.system.tables import Table, columns

COLUMNS = columns("what", "state", "told", "where")
COLOURS = {"done": "green", "begun": "yellow", "outdated": "red", "unreadable": "red"}


def command(
    context: typer.Context,
) -> None:
    """Say what is built, decoded, scored, packaged and handed in, and the next command to type.

    Reads what the commands wrote and checks none of it anew: that is what `doctor` and `validate` are for.

    Example: iwsltpack status
    """
    from iwsltpack.cli.common import job_of
    from iwsltpack.workplace.status import survey

    found = survey(job_of(context))
    rows = [
        (step.step, Text(step.state, style=COLOURS.get(step.state, "")), step.told, step.where)
        for step in found.steps
    ]
    ending = f"next: {found.next}" if found.next else "next: nothing to type"
    console.result(found.to_json(), Table(COLUMNS, rows), ending)
    console.say(f"  ({found.why})")
