"""Tables that cut nothing: columns where they fit, one line for each value where they do not."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.text import Text

from iwsltpack.errors import printable

GAP = 2
"""Blanks between two columns."""


def _shown(cell: Any) -> Any:
    """Return a cell as a text of rich that only shows, whatever the string came from."""
    return Text(printable(cell)) if isinstance(cell, str) else Text(printable(cell.plain), style=cell.style)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A heading; whether figures stand below it, aligned to the right; whether its texts may be wrapped."""

    heading: str
    figures: bool = False
    prose: bool = False


def columns(*plain: str, figures: Iterable[str] = (), prose: Iterable[str] = ()) -> list[Column]:
    """Return plain columns by their headings, then columns of figures, then columns of prose."""
    return [
        *(Column(heading=heading) for heading in plain),
        *(Column(heading=heading, figures=True) for heading in figures),
        *(Column(heading=heading, prose=True) for heading in prose),
    ]


@dataclass(frozen=True)
class Table:
    """What rich can print: rows of strings, or of rich's own texts.

    In a window too narrow for the columns, every row becomes a block of lines, a heading and its value in each;
    only columns marked as prose are wrapped before.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    title: str = ""

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        """Yield the form that fits `options.max_width`."""
        rows = [[_shown(item) for item in row] for row in self.rows]
        if self.title:
            yield Text(printable(self.title), style="bold")
        widths = self._widths(rows)
        fits = sum(widths) + GAP * (len(widths) - 1) <= options.max_width
        yield from [self._drawn(rows, widths)] if fits else self._stacked(rows)

    def _widths(self, rows: Sequence[Sequence[Any]]) -> list[int]:
        """Return the columns of a terminal that each column of the table takes at least."""
        widths = []
        for index, column in enumerate(self.columns):
            texts = [column.heading, *(row[index].plain for row in rows)]
            parts = [part for text in texts for part in (text.split() if column.prose else text.split("\n"))]
            widths.append(max(map(cell_len, parts), default=0))
        return widths

    def _drawn(self, rows: Sequence[Sequence[Any]], widths: Sequence[int]) -> Any:
        from rich.table import Table as Drawn

        drawn = Drawn(
            box=None, padding=(0, GAP, 0, 0), pad_edge=False, show_header=any(c.heading for c in self.columns)
        )
        for column, width in zip(self.columns, widths, strict=True):
            # Left to itself, rich makes room by cutting a long word of one column of prose for another's sake.
            drawn.add_column(
                column.heading,
                justify="right" if column.figures else "left",
                no_wrap=not column.prose,
                header_style="bold",
                min_width=width,
            )
        for row in rows:
            drawn.add_row(*row)
        return drawn

    def _stacked(self, rows: Sequence[Sequence[Any]]) -> Iterator[Any]:
        wide = max(len(column.heading) for column in self.columns)
        for number, row in enumerate(rows):
            if number and wide:
                yield Text("")
            for column, value in zip(self.columns, row, strict=True):
                if value.plain:
                    yield Text(f"{column.heading:<{wide}}  " if wide else "", style="bold", end="")
                    yield Text.assemble(value, overflow="ignore", no_wrap=True)
