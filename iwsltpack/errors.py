"""One tree for everything that can go wrong, and the problems a validator collects.

An error says what happened, where, what was expected, what was found and what to do next. The command line
prints it as it stands and exits with the class's `exit_code`; library code never exits. Names and values from
elsewhere are shown in it, never obeyed; see `printable`.
"""

import re
import signal
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "notice"]
_ACTING = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal or a log obeys rather than shows: controls, line breaks, turns of the writing direction, no text."""


def printable(text: object) -> str:
    """Return a text from elsewhere as one line that only shows: what would act stands there as Python writes it.

    >>> printable("a name\\n::error::")
    'a name\\\\n::error::'
    """
    return _ACTING.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def listed(names: list[str], most: int = 5) -> str:
    """Return the first of some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def clipped(text: str, most: int) -> str:
    """Return the first `most` characters of a text, the last of them a sign that it goes on, where it does."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


class IwsltpackError(Exception):
    """Base of every error raised on purpose.

    Parameters
    ----------
    what
        One sentence: what is wrong.
    where
        File, tensor, line or setting concerned.
    expected, got
        What was needed and what was found.
    fix
        The next step, preferably a command.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        expected: object = None,
        got: object = None,
        fix: str | None = None,
    ) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.expected = None if expected is None else str(expected)
        self.got = None if got is None else str(got)
        self.fix = fix
        super().__init__(what)

    def __str__(self) -> str:
        lines = [printable(self.what if self.where is None else f"{self.where}: {self.what}")]
        for label, value in (("expected", self.expected), ("got", self.got), ("to do", self.fix)):
            if value is not None:
                lines.append(f"  {label}: {printable(value)}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the parts as a JSON object (`null` parts left out)."""
        parts = {name: getattr(self, name) for name in ("what", "where", "expected", "got", "fix")}
        told = {name: value for name, value in parts.items() if value is not None}
        return {"error": type(self).__name__, **told}


class UsageError(IwsltpackError):
    """A command, option, setting or name that does not exist or does not fit."""

    exit_code = 2


class InputError(IwsltpackError):
    """A file or folder given by the user is missing, unreadable or malformed."""

    exit_code = 3


class ArtifactError(IwsltpackError):
    """An artifact is damaged, incomplete, of an unknown version, or cannot hold what is asked of it."""

    exit_code = 4


class ValidationFailed(IwsltpackError):
    """One or more problems of severity `error` were found; `problems` holds all of them."""

    exit_code = 5

    def __init__(
        self, what: str, problems: list["Problem"], *, where: object = None, fix: str | None = None
    ) -> None:
        self.problems = problems
        super().__init__(what, where=where, fix=fix)

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *(f"  - {problem}" for problem in self.problems)])


class MissingDependency(IwsltpackError):
    """An optional package, program or device is needed and absent."""

    exit_code = 6


def how_to_install(extra: str) -> str:
    """Return how an optional part of this package is installed; the package itself is on no index."""
    return f"in the checkout of iwsltpack: pip install '.[{extra}]'"


def how_it_ended(code: int | None) -> str:
    """Name the end of another process by its return code, as `subprocess` gives it.

    >>> how_it_ended(-9), how_it_ended(3)
    ('killed by SIGKILL', 'exit code 3')
    """
    try:
        return f"killed by {signal.Signals(-(code or 0)).name}"
    except ValueError:
        return f"exit code {code}"


class ResourceError(IwsltpackError):
    """The machine ran out of disk, memory or network."""

    exit_code = 7


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One finding of a validator.

    Attributes
    ----------
    rule
        Stable identifier, e.g. ``hyp.line-count``.
    severity
        ``error`` makes validation fail; ``warning`` and ``notice`` do not.
    message
        What is wrong, with the figures.
    path, line
        Where (line counted from 1); either may be absent.
    fix
        What to do about it.
    """

    rule: str
    message: str
    severity: Severity = "error"
    path: str | None = None
    line: int | None = None
    fix: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.path, self.line) if part is not None)
        text = f"{place + ': ' if place else ''}{self.severity} [{self.rule}] {self.message}"
        return printable(f"{text} ({self.fix})" if self.fix else text)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object with every attribute."""
        return dict(vars(self))


def has_errors(problems: list["Problem"]) -> bool:
    """Tell whether any problem is of severity ``error``."""
    return any(problem.severity == "error" for problem in problems)
