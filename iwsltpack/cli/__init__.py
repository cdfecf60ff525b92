"""The command line: parse, one library call, print. One module per command."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def COMMANDS() -> list[tuple[str, Callable[..., None]]]:  # noqa: N802
    """Return name and function of every command, in the order a participant needs them."""
    return []
