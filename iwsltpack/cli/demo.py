"""``iwsltpack demo``."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from iwsltpack.cli import console
from iwsltpack.system.tables import Column, Table

if TYPE_CHECKING:
    from iwsltpack.demo.demo_run import Line, Step


def command(
    *,
    output: Path = Path("iwsltpack-demo"),
    comet: bool | None = None,
) -> None:
    """Go the whole way on a miniature model: build, decode, clean, submit, validate, inspect, score, report.

    The miniature translates a closed set of sentences; it is a demonstration, not a translation model.

    Example: iwsltpack demo
    """
    from iwsltpack.demo.demo_run import comparison, lay_out, make_tiny_comet, rehearse, steps
    from iwsltpack.scoring.comet_env import is_built

    lay_out(output)
    console.say(f"Working in {output}/ (settings: {output}/iwsltpack.toml)")
    scored_by_comet = is_built() if comet is None else comet
    compared = comparison(comet=scored_by_comet)
    count, todo = 0, [*steps("path"), *compared]
    if scored_by_comet:
        with console.reporter() as reporter:
            make_tiny_comet(output, reporter)

    def announce(step: "Step") -> None:
        nonlocal count
        count += 1
        for line in ("", f"[{count}/{len(todo)}] {step.purpose}", f"$ {step.line}"):
            console.say(line, "bold")

    lines = rehearse(output, todo, announce)
    _show(lines)
    right = sum(line.reference == line.hypothesis for line in lines)
    console.say("")
    console.say(f"{right} of {len(lines)} clips translated exactly as the reference.", "green")
    console.say(f"The submission lies in {output}/submissions/; its UPLOAD.md says what to do with it.")
    if compared:
        console.say(f"Every segment, heard and compared: {output}/report/index.html")
    if scored_by_comet:
        console.say("COMET here is a tiny checkpoint made for the demo: it shows the way, it judges nothing.")
    else:
        console.say("Not scored by COMET: `iwsltpack demo --comet` does, and builds its environment once.")


def _show(lines: "list[Line]") -> None:
    rows = [
        (
            str(number),
            line.said,
            line.reference,
            Text(line.hypothesis, style="green" if line.reference == line.hypothesis else "red"),
        )
        for number, line in enumerate(lines, 1)
    ]
    columns = [
        Column(heading=text, prose=text == "said") for text in ("", "said", "reference", "compressed model")
    ]
    console.result([vars(line) for line in lines], Table(columns, rows, "What the compressed model wrote"))
