"""``iwsltpack demo``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iwsltpack.cli import console

if TYPE_CHECKING:
    from iwsltpack.demo.rehearsal import Line, Step


def command(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to work in; an earlier demo's is replaced.")
    ] = Path("iwsltpack-demo"),
) -> None:
    """Go the whole way on a miniature model: build, decode, clean, submit, validate, inspect, score, report.

    The miniature translates a closed set of sentences; it is a demonstration, not a translation model.

    Example: iwsltpack demo
    """
    from iwsltpack.demo.rehearsal import STEPS, comparison, lay_out, rehearse

    lay_out(output)
    console.say(f"Working in {output}/ (settings: {output}/iwsltpack.toml)")
    count, steps = 0, (*STEPS, *comparison())

    def announce(step: Step) -> None:
        nonlocal count
        count += 1
        console.say(f"\n[{count}/{len(steps)}] {step.purpose}\n$ {step.line}", "bold")

    lines = rehearse(output, announce)
    _show(lines)
    right = sum(line.reference == line.hypothesis for line in lines)
    console.say(f"\n{right} of {len(lines)} clips translated exactly as the reference.", "green")
    console.say(f"The submission lies in {output}/submissions/; its UPLOAD.md says what to do with it.")
    if len(steps) > len(STEPS):
        console.say(f"Every segment, heard and compared: {output}/report/index.html")


def _show(lines: list[Line]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        "", "said", "reference", "compressed model", title="What the compressed model wrote", show_lines=True
    )
    for number, line in enumerate(lines, 1):
        same = line.reference == line.hypothesis
        table.add_row(
            str(number),
            Text(line.source),
            Text(line.reference),
            Text(line.hypothesis, style="green" if same else "red"),
        )
    console.show(table)
