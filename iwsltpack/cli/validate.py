"""``iwsltpack validate``."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.text import Text

from iwsltpack.cli import console
from iwsltpack.documents.choices import ProblemFormat
from iwsltpack.documents.names import PAIRS
from iwsltpack.errors import Problem, ValidationFailed
from iwsltpack.system.tables import Table, columns


def command(
    path: list[str],
    *,
    format: ProblemFormat = "table",  # noqa: A002
    pair: str | None = None,
    lang: str | None = None,
    test_set: Path | None = None,
    edition: str | None = None,
    strict: bool = False,
) -> None:
    """Check what will be handed in; every problem at once, with place, rule and what to do.

    Exit code 0: no error (warnings may be printed). 5: at least one error, or a warning under --strict. 2: a wrong
    option. 3: a test set or edition that cannot be read.

    Example: iwsltpack validate runs/ submissions/
    """
    from iwsltpack import editions
    from iwsltpack.artifact.location import shown
    from iwsltpack.submission import validation

    options = validation.Options(
        lang=lang or (PAIRS.get(pair) if pair else None),
        test_set=test_set,
        edition=editions.load(edition) if edition else None,
    )
    results = []
    with console.reporter() as reporter:
        for item in path:
            kind, problems = validation.validate(item, options, reporter)
            results.append((shown(item), kind, problems))
    _PRINTERS["json" if console.as_json() else format](results)
    found = [problem for _, _, problems in results for problem in problems]
    failing = ("error", "warning") if strict else ("error",)
    if any(problem.severity in failing for problem in found):
        raise typer.Exit(ValidationFailed.exit_code)


Results = Sequence[tuple[str, str | None, "list[Problem]"]]


def _print_table(results: Results) -> None:
    for path, kind, problems in results:
        counts = {name: sum(p.severity == name for p in problems) for name in ("error", "warning", "notice")}
        figures = ", ".join(f"{count} {name}{'s' if count != 1 else ''}" for name, count in counts.items())
        console.show(f"{path} ({kind or 'unknown'}): {figures}")
        if problems:
            console.show(Table(COLUMNS, [_row(item) for item in problems]))


COLUMNS = columns("where", "severity", "rule", prose=("what", "to do"))
COLOURS = {"error": "red", "warning": "yellow", "notice": "blue"}


def _row(item: Problem) -> tuple[Any, ...]:
    place = ":".join(str(part) for part in (item.path, item.line) if part is not None)
    severity = Text(item.severity, style=COLOURS[item.severity])
    return (place, severity, item.rule, item.message, item.fix or "")


def _print_json(results: Results) -> None:
    console.show_json(
        [
            {"path": path, "kind": kind, "problems": [item.to_json() for item in problems]}
            for path, kind, problems in results
        ]
    )


def _print_github(results: Results) -> None:
    for _, _, problems in results:
        for item in problems:
            properties = {"file": item.path, "line": item.line, "title": item.rule}
            listed = ",".join(
                f"{key}={_escape(str(value), property_=True)}" for key, value in properties.items() if value
            )
            message = f"{item.message} ({item.fix})" if item.fix else item.message
            console.show(f"::{item.severity} {listed}::{_escape(message)}")


def _escape(text: str, *, property_: bool = False) -> str:
    """Write a text as the workflow commands of GitHub want it."""
    pairs = [("%", "%25"), ("\r", "%0D"), ("\n", "%0A")] + ([(":", "%3A"), (",", "%2C")] if property_ else [])
    for character, code in pairs:
        text = text.replace(character, code)
    return text


_PRINTERS: dict[ProblemFormat, Callable[[Results], None]] = {
    "table": _print_table,
    "json": _print_json,
    "github": _print_github,
}
