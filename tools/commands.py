"""Write docs/commands.md: every command with its options, as the command line itself describes them.

python -m tools.commands > docs/commands.md
"""

from __future__ import annotations

import typer
from typer.cli import get_docs_for_click

from iwsltpack.cli.main import app

NOTE = "<!-- Written by `python -m tools.commands`; a test holds it against the command line. -->\n\n"


def page() -> str:
    """Return the page, as Markdown."""
    command = typer.main.get_command(app)
    context = typer.Context(command)
    text = get_docs_for_click(obj=command, ctx=context, name="iwsltpack", title="Commands")
    return NOTE + "\n".join(line.rstrip() for line in text.rstrip().split("\n")) + "\n"


if __name__ == "__main__":
    print(page(), end="")
