"""Where the command line speaks: data on stdout, talk and progress on stderr, colours only on a terminal.

Names, paths and lines of files are shown, never obeyed: no markup in them, no control characters; see `printable`.
"""

import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from iwsltpack.errors import printable
from iwsltpack.system import fileio
from iwsltpack.system.progress import SILENT, Reporter, Unit
from iwsltpack.system.quiet import quiet_process

if TYPE_CHECKING:
    from rich.progress import Progress

LOG_EVERY_S = 30.0
"""Seconds between progress lines where stderr is a file and no bar can be drawn."""

FILE_WIDTH = 160
"""Columns of a table printed into a file or pipe, where there is no window to fit and COLUMNS tells none."""

_piped = (sys.stdout is None or not sys.stdout.isatty()) and "COLUMNS" not in os.environ
out = Console(highlight=False, soft_wrap=True, width=FILE_WIDTH if _piped else None)
err = Console(stderr=True, highlight=False, soft_wrap=True)
_quiet = _as_json = _verbose = False


def configure(*, quiet: bool | None = None, json: bool | None = None, verbose: bool | None = None) -> None:
    """Set for this process what is told: no talk (errors always show), results as JSON, libraries' remarks, too."""
    global _quiet, _as_json, _verbose
    _quiet = _quiet if quiet is None else quiet
    _as_json = _as_json if json is None else json
    _verbose = _verbose if verbose is None else verbose
    logger = logging.getLogger("iwsltpack")
    if not any(isinstance(handler, _Warnings) for handler in logger.handlers):
        logger.addHandler(_Warnings())
    if _quiet and not _verbose:
        quiet_process()
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")


def as_json() -> bool:
    """Tell whether results are wanted as JSON."""
    return _as_json


def tell_where(error: BaseException) -> None:
    """Show where in the program an error arose; nothing without ``--verbose``."""
    if _verbose:
        err.print(Text("".join(traceback.format_exception(error))))


def say(text: str, style: str | None = None) -> None:
    """Tell the person watching something, in one line; nothing under ``--quiet``."""
    if not _quiet:
        err.print(Text(printable(text), style=style or ""))


def show(renderable: Any) -> None:
    """Print a result, a string or a table, on stdout."""
    if isinstance(renderable, str):
        out.print(Text(printable(renderable)))
    else:
        out.print(renderable, soft_wrap=False, crop=False)


def result(document: Any, *shown: Any) -> None:
    """Print a command's result: what is `shown`, or under ``--json`` the document."""
    if _as_json:
        show_json(document)
        return
    for item in shown:
        show(item)


def show_json(document: Any) -> None:
    """Print one JSON document on stdout, in the one byte sequence also used on disk."""
    sys.stdout.write(fileio.canonical_json(document).decode())


class _Warnings(logging.Handler):
    """Says what code far below logs, above the progress bar and not through it."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"{record.levelname.lower()}: {record.getMessage()}", "yellow")


class _Talk(Reporter):
    """Remarks as the commands' own."""

    def say(self, text: str) -> None:
        say(text)


class _Bars(_Talk):
    """Rich progress bars on a terminal."""

    def __init__(self, bars: "dict[Unit, Progress]") -> None:
        self._bars = bars
        self._live: tuple[Progress, Any] | None = None

    def start(self, description: str, total: float, unit: Unit = "items") -> None:
        self.finish()
        bar = self._bars[unit]
        bar.start()
        self._live = (bar, bar.add_task(printable(description), total=total, note=""))

    def advance(self, amount: float = 1) -> None:
        if self._live:
            self._live[0].advance(self._live[1], amount)

    def note(self, text: str) -> None:
        if self._live:
            self._live[0].update(self._live[1], note=printable(text))

    def finish(self) -> None:
        if self._live:
            self._live[0].stop()
            self._live[0].remove_task(self._live[1])
            self._live = None


class _Log(_Talk):
    """One line now and then, for stderr that is a file."""

    def __init__(self) -> None:
        self.start("", 0.0)

    def start(self, description: str, total: float, unit: Unit = "items") -> None:
        self._description, self._note, self._unit = description, "", unit
        self._total, self._done = total, 0.0
        self._started = self._last = time.monotonic()

    def note(self, text: str) -> None:
        self._note = text

    def advance(self, amount: float = 1) -> None:
        self._done += amount
        now = time.monotonic()
        if now - self._last < LOG_EVERY_S:
            return
        self._last = now
        rate = self._done / max(now - self._started, 1e-9)
        left = (self._total - self._done) / rate if rate else 0.0
        shown = f"{rate / 1e6:.1f} MB/s" if self._unit == "bytes" else f"{rate:.1f}/s"
        share = 100 * self._done / self._total if self._total else 100.0
        note = f"; {self._note}" if self._note else ""
        say(f"{self._description}: {share:.0f} %, {shown}, {left:.0f} s left{note}")


def _bars(unit: Unit) -> "Progress":
    from rich import progress
    from rich.table import Column

    class Items(progress.MofNCompleteColumn):
        def render(self, task: Any) -> Text:
            speed = task.finished_speed or task.speed
            rate = f" {speed:.1f}/s" if speed else ""
            return Text(f"{super().render(task)}{rate}", style="progress.download")

    def fixed(width: int) -> Column:
        return Column(no_wrap=True, min_width=width)

    # In a narrow window the bar and the note give way; figures and their units never do.
    note = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    figures = [progress.DownloadColumn, progress.TransferSpeedColumn] if unit == "bytes" else [Items]
    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        progress.BarColumn(bar_width=None, table_column=Column(max_width=24)),
        progress.TaskProgressColumn(table_column=fixed(4)),
        *(kind(table_column=fixed(9)) for kind in figures),
        progress.TextColumn("ETA", table_column=fixed(3)),
        progress.TimeRemainingColumn(table_column=fixed(7)),
        progress.TextColumn("{task.fields[note]}", markup=False, table_column=note),
        console=err,
        transient=True,
        expand=True,
    )


@contextmanager
def reporter() -> Iterator[Reporter]:
    """Give the `Reporter` that suits this stderr: bars, lines or nothing; closed at the end."""
    chosen = SILENT
    if not _quiet:
        chosen = _Bars({"bytes": _bars("bytes"), "items": _bars("items")}) if err.is_terminal else _Log()
    try:
        yield chosen
    finally:
        chosen.finish()
