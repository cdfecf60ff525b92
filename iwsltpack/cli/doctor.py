"""``iwsltpack doctor``."""

import typer
from rich.text import Text

from iwsltpack.cli import console
from iwsltpack.errors import ValidationFailed
from iwsltpack.system.tables import Table, columns

COLUMNS = columns("state", "what", prose=("found", "to do"))
COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


def command(
    context: typer.Context,
) -> None:
    """Say what will and will not work, before hours are spent on it: settings, model, test sets, machine.

    Reads the settings of this folder and what they name; nothing is fetched, loaded or written. It takes less than
    10 s. Exit code 0: no error (warnings may be printed). 5: at least one error.

    Example: iwsltpack doctor
    """
    from iwsltpack.cli.common import job_of
    from iwsltpack.workplace.doctor import examine

    checks = examine(job_of(context))
    rows = [(Text(i.state, style=COLOURS[i.state]), i.name, i.told, i.fix or "") for i in checks]
    console.result([check.to_json() for check in checks], Table(COLUMNS, rows))
    if any(check.state == "error" for check in checks):
        raise typer.Exit(ValidationFailed.exit_code)
    console.say("nothing here stands in the way; iwsltpack status says what to type")
