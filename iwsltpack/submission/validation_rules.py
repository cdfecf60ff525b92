"""Every rule the validator and the packager can name; the table itself is ``rules.toml`` beside this file."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from iwsltpack.errors import IwsltpackError, Problem, Severity, ValidationFailed


@dataclass(frozen=True)
class ValidationRule:
    """A rule's severity, its meaning in one sentence, and the next step."""

    severity: Severity
    summary: str
    fix: str


_TABLE: Final = tomllib.loads(Path(__file__).with_name("rules.toml").read_text(encoding="utf-8"))
_STEPS: Final = _TABLE.pop("steps")
RULES: Final = {
    name: ValidationRule(**entry | {"fix": _STEPS.get(entry["fix"], entry["fix"])})
    for name, entry in _TABLE.items()
}
"""The rules by their names, in the order of the file."""


def problem(
    rule: str,
    message: str,
    *,
    path: Path | str | None = None,
    line: int | None = None,
    fix: str | None = None,
) -> Problem:
    """Make the `Problem` of a rule of the table; severity and fix come from there."""
    known = RULES[rule]
    return Problem(
        rule=rule,
        message=message,
        severity=known.severity,
        path=None if path is None else str(path),
        line=line,
        fix=fix or known.fix,
    )


def as_problems(error: IwsltpackError, rule: str, path: Path) -> list[Problem]:
    """Return an error met in checking as problems: its own where it holds any, else one of `rule`."""
    if isinstance(error, ValidationFailed):
        return error.problems
    return [problem(rule, error.what, path=error.where or path, fix=error.fix)]
