"""Write docs/settings.md: the syntax of iwsltpack.toml, and every key, as the command line itself has them.

python -m tools.settings > docs/settings.md
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import typer

from iwsltpack.cli import config
from iwsltpack.cli.main import app

NOTE = "<!-- Written by `python -m tools.settings`; a test holds it against the command line. -->\n"
SYNTAX = Path(__file__).with_suffix(".md")


def page() -> str:
    """Return the page, as Markdown."""
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    text = NOTE + SYNTAX.read_text(encoding="utf-8")
    for name, command in commands.items():
        rows = [
            _row(key, item) for key, item in config.named(command).items() if item.name not in NOT_FOR_FILES
        ]
        if not rows:
            continue
        text += f"\n### `[{name}]`\n\n| key | value | default | what |\n|---|---|---|---|\n" + "".join(rows)
    return text


NOT_FOR_FILES = ("help", "quiet", "verbose", "json", "config")


def _row(key: str, item: Any) -> str:
    flag, several = getattr(item, "is_flag", False), getattr(item, "multiple", False) or item.nargs == -1
    value = item.metavar or " | ".join(f'"{choice}"' for choice in get_args(item.type_descriptor.annotation))
    value = "true | false" if flag else value or "TEXT"
    value = f"`{value}`".replace("|", "\\|") + (", or a list" if several else "")
    default = item.default if isinstance(item.default, str | int | float | Path) and not flag else None
    shown = "" if default is None or item.required else f"`{default}`"
    what = " ".join((item.help or "").split()).replace("|", "\\|")
    return f"| `{key}` | {value} | {'must be given' if item.required else shown} | {what} |\n"


if __name__ == "__main__":
    print(page(), end="")
