"""Every rule the validator and the packager can name; the table itself is ``rules.toml`` beside this file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Final

from iwsltpack.errors import IwsltpackError, Problem, Severity, ValidationFailed

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class ValidationRule:
    """A rule's severity, its meaning in one sentence, and the next step."""

    severity: Severity
    summary: str
    fix: str


def _read_rules() -> dict[str, ValidationRule]:
    table = tomllib.loads(resources.files(__package__).joinpath("rules.toml").read_text(encoding="utf-8"))
    steps = table.pop("steps")
    return {
        name: ValidationRule(**entry | {"fix": steps.get(entry["fix"], entry["fix"])})
        for name, entry in table.items()
    }


RULES: Final = _read_rules()
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
