"""What long work tells the person who waits for it."""

import time
from collections.abc import Sequence
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


class SetsReporter(Reporter):
    """Tells which of several test sets a stage is of, and how long all of them will take yet.

    Parameters
    ----------
    reporter
        Where it is told.
    sizes
        How much there is to do of each test set, in one unit.
    """

    def __init__(self, reporter: Reporter, sizes: Sequence[float]) -> None:
        self._reporter, self._sizes = reporter, sizes
        self._number, self._total, self._done = 0, 1.0, 0.0
        self._started = time.monotonic()

    def next_set(self) -> None:
        """Go on to the next test set."""
        self._number, self._done = self._number + 1, 0.0

    def say(self, text: str) -> None:
        """Tell it as it is."""
        self._reporter.say(text)

    def start(self, description: str, total: float, unit: Unit = "items") -> None:
        """Begin a stage of the set, named with its number."""
        self._total, self._done = total, 0.0
        several = len(self._sizes) > 1 and self._number
        self._reporter.start(
            f"set {self._number} of {len(self._sizes)}: {description}" if several else description,
            total,
            unit,
        )
        self.note("")

    def advance(self, amount: float = 1) -> None:
        """Add to the stage."""
        self._done += amount
        self._reporter.advance(amount)

    def note(self, text: str) -> None:
        """Show the text, and the time that is left for all sets."""
        left = self.left() if len(self._sizes) > 1 and self._number else None
        told = None if left is None else f"{left // 60:.0f} min {left % 60:.0f} s left for all sets"
        self._reporter.note(", ".join(filter(None, (text, told))))

    def left(self) -> float | None:
        """Return the seconds that are left at the rate so far, None while nothing is done."""
        share = min(self._done / self._total, 1.0) if self._total else 0.0
        before = sum(self._sizes[: self._number - 1])
        done = before + share * self._sizes[self._number - 1]
        return (time.monotonic() - self._started) * (sum(self._sizes) - done) / done if done else None

    def finish(self) -> None:
        """End the stage."""
        self._reporter.finish()


SILENT = Reporter()
"""For work that nobody watches."""
