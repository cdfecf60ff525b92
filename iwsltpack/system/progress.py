"""What long work tells its caller. The command line draws it; a library user may pass anything that fits."""

from __future__ import annotations

from typing import Literal, Protocol

Unit = Literal["bytes", "items"]


class Progress(Protocol):
    """A sink for progress; methods may be called from any thread."""

    def start(self, description: str, total: float, unit: Unit = "items") -> None:
        """Begin a stage of `total` units; replaces the stage before."""

    def advance(self, amount: float = 1) -> None:
        """Add `amount` units to the current stage."""

    def note(self, text: str) -> None:
        """Show a short text beside the current stage (say, the tensor at work)."""

    def finish(self) -> None:
        """End the current stage."""


class Silent:
    """The `Progress` that shows nothing."""

    def start(self, description: str, total: float, unit: Unit = "items") -> None:
        """Ignore the stage."""

    def advance(self, amount: float = 1) -> None:
        """Ignore the amount."""

    def note(self, text: str) -> None:
        """Ignore the text."""

    def finish(self) -> None:
        """Do nothing."""
