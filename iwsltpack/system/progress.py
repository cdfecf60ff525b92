"""What long work tells the person who waits for it."""

from __future__ import annotations

from typing import Literal

Unit = Literal["bytes", "items"]


class Reporter:
    """Takes progress and remarks; this one keeps them to itself.

    The command line draws them; a library user overrides the methods that matter. They may be called from any thread.
    """

    def say(self, text: str) -> None:
        """Tell something once, in a sentence."""

    def start(self, description: str, total: float, unit: Unit = "items") -> None:
        """Begin a stage of `total` units; replaces the stage before."""

    def advance(self, amount: float = 1) -> None:
        """Add `amount` units to the current stage."""

    def note(self, text: str) -> None:
        """Show a short text beside the current stage (say, the tensor at work)."""

    def finish(self) -> None:
        """End the current stage."""


SILENT = Reporter()
"""For work that nobody watches."""
