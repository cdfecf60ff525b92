"""What the evaluation server makes of a hypothesis before it scores it."""

from __future__ import annotations

import html
from typing import Final

DELETED: Final = str.maketrans("", "", "#<>")


def as_server(line: str) -> str:
    """Return a line as the server scores it; it does the same to no reference.

    >>> as_server("Das #1 Modell mit x < y &amp; z")
    'Das 1 Modell mit x  y & z'
    """
    return html.unescape(line.translate(DELETED))
