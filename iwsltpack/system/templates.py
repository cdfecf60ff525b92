"""Texts for people, written from Jinja templates that lie beside the code which fills them in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any


def render(template: Path, filters: dict[str, Callable[..., object]] | None = None, **values: Any) -> str:
    """Fill in a template file: Markdown, in which nothing is escaped but by its filters.

    A line that holds nothing but a block leaves nothing behind. `filters` are functions that the template calls by
    name, beside Jinja's own. A template that speaks of something else than `values` is a `jinja2.UndefinedError`.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(  # noqa: S701
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    environment.filters |= filters or {}
    return environment.from_string(template.read_text(encoding="utf-8")).render(values)
