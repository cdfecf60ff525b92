"""JSON Schemas (2020-12) of every document iwsltpack writes, and every problem they find.

The schemas lie in ``schemas/`` at the top of the repository and travel inside the wheel as
``iwsltpack/schemas``; `schema_directory` is the one place that knows this.
"""

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

from iwsltpack.errors import Problem, UsageError, ValidationFailed, clipped

SUFFIX = ".schema.json"
MAX_PROBLEMS = 50
"""Problems listed for one document; past that only their number is told."""


@cache
def schema_directory() -> Path:
    """Return the folder that holds the schemas, in an installed wheel or in a checkout."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "schemas", package.parent / "schemas"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"no schemas/ beside or inside {package}: the installation is incomplete")


@cache
def schema_names() -> tuple[str, ...]:
    """Return the names of the schemas at hand, sorted, e.g. ``("artifact", "run", ...)``."""
    return tuple(sorted(path.name.removesuffix(SUFFIX) for path in schema_directory().glob(f"*{SUFFIX}")))


@cache
def load_schema(name: str) -> dict[str, Any]:
    """Return one schema as JSON; an unknown name is a `UsageError` that lists the known ones."""
    if name not in schema_names():
        raise UsageError(f"unknown schema {name!r}", expected=", ".join(schema_names()))
    schema: dict[str, Any] = json.loads((schema_directory() / f"{name}{SUFFIX}").read_text(encoding="utf-8"))
    return schema


@cache
def _validator(name: str) -> Any:
    import jsonschema

    schema, plain = load_schema(name), jsonschema.Draft202012Validator
    plain.check_schema(schema)
    # TOML and Python's JSON know NaN, which is neither too small nor too large for any limit.
    number = plain.TYPE_CHECKER.is_type

    def finite(_: object, value: object) -> bool:
        return number(value, "number") and not (isinstance(value, float) and not math.isfinite(value))

    types = plain.TYPE_CHECKER.redefine("number", finite)
    strict = jsonschema.validators.extend(plain, type_checker=types)  # type: ignore[no-untyped-call]
    return strict(schema, format_checker=jsonschema.FormatChecker())


def find_problems(document: Any, name: str, path: Path | str | None = None) -> list[Problem]:
    """Return every violation of schema `name` in `document`, each with its JSON pointer."""
    errors = sorted(
        _validator(name).iter_errors(document), key=lambda error: list(map(str, error.absolute_path))
    )
    where = None if path is None else str(path)
    messages = [
        f"/{'/'.join(map(str, error.absolute_path))}: {clipped(error.message, 300)}"
        for error in errors[:MAX_PROBLEMS]
    ]
    if len(errors) > MAX_PROBLEMS:
        messages.append(f"and {len(errors) - MAX_PROBLEMS} more problems")
    return [Problem(rule=f"schema.{name}", message=message, path=where) for message in messages]


def check(document: Any, name: str, path: Path | str | None = None) -> None:
    """Raise `ValidationFailed` with every problem unless `document` fits schema `name`."""
    if problems := find_problems(document, name, path):
        raise ValidationFailed(f"does not fit the {name} schema", problems, where=path)
