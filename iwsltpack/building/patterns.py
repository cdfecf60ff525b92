"""Regular expressions of recipes: searched for in names, with a time limit.

The standard library's engine has none, and holds off Ctrl-C for as long as a pattern such as ``(a+)+$`` takes.
"""

from __future__ import annotations

from collections.abc import Iterable

from iwsltpack.errors import UsageError

SECONDS = 1.0
"""For one name; a sane pattern takes microseconds."""


def select(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the names in which `pattern` is found.

    UsageError: `pattern` is no regular expression, or one that does not come to an end.
    """
    import regex

    check(pattern)
    try:
        return [name for name in names if regex.search(pattern, name, timeout=SECONDS)]
    except TimeoutError as error:
        raise UsageError(
            "the pattern does not come to an end",
            where=pattern,
            expected=f"an answer within {SECONDS:g} s a name",
            fix="take out repetition within repetition, such as (a+)+",
        ) from error


def check(pattern: str, where: object = None) -> None:
    """Raise `UsageError` unless `pattern` is a regular expression."""
    import regex

    try:
        regex.compile(pattern)
    except regex.error as error:
        raise UsageError(f"not a regular expression: {pattern!r}", where=where, got=str(error)) from error
