"""The command line: parse, one library call, print. One module per command."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def commands() -> list[tuple[str, Callable[..., None]]]:
    """Return name and function of every command, in the order a participant needs them."""
    from iwsltpack.cli import build, export, inspect, verify

    return [
        ("build", build.command),
        ("inspect", inspect.command),
        ("verify", verify.command),
        ("export", export.command),
    ]
