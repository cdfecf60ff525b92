"""``iwsltpack.toml``: any option of any command, so that commands work bare in a configured folder.

Keys at the top apply to every command that has an option of that name; a table named after a command applies
to that command alone and wins. The command line wins over both.

    team = "APG"
    pair = "en-zh"
    artifact = "artifacts/q3"

    [decode]
    device = "cuda"
"""

import os
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from iwsltpack.documents.names import CONFIG_NAME
from iwsltpack.errors import UsageError
from iwsltpack.system.fileio import read_toml

NEAREST = 3
"""Names listed where one is not known."""
EXCLUSIVE = (
    {"primary", "contrastive"},
    {"shard", "dask"},
    {"workers", "dask"},
    {"step", "bits", "target_size"},
)
"""Options that exclude each other: one that is typed puts the others aside that the file gives."""


def read_config(path: Path | None) -> tuple[Path, dict[str, Any]] | None:
    """Return the file and its content, or None where no file was named and the folder has none."""
    if path is None:
        path = Path(CONFIG_NAME)
        if not os.path.lexists(path):
            return None
        if not path.is_file():  # a link to nothing, a folder, a pipe
            raise UsageError("the settings cannot be read", where=path, fix="mend the file, or move it away")
    return path, read_toml(path)


def defaults(
    path: Path, config: Mapping[str, Any], parameters: Mapping[str, Collection[str]]
) -> dict[str, dict[str, Any]]:
    """Spread the settings of a file, `config`, over the commands: return for each the defaults to use.

    `parameters` are, for each command, the names its options and arguments go by; a key that no command, or not the
    named one, has is a `UsageError`.
    """
    result: dict[str, dict[str, Any]] = {command: {} for command in parameters}
    tables = {key: value for key, value in config.items() if isinstance(value, dict)}
    for key, value in config.items():
        if key in tables:
            continue
        name = key.replace("-", "_")
        takers = [command for command, known in parameters.items() if name in known]
        if not takers:
            raise _unknown(path, f"setting {key!r}", name, set().union(*parameters.values()))
        for command in takers:
            result[command][name] = value
    for table, settings in tables.items():
        if table not in parameters:
            raise _unknown(path, f"table [{table}]", table, parameters)
        for key, value in settings.items():
            name = key.replace("-", "_")
            if name not in parameters[table]:
                raise _unknown(path, f"setting {key!r} in [{table}]", name, parameters[table])
            result[table][name] = value
    return result


def _unknown(path: Path, what: str, name: str, known: Collection[str]) -> UsageError:
    near = get_close_matches(name, sorted(known), NEAREST, cutoff=0.0)
    likely = get_close_matches(name, near, 1)
    return UsageError(
        f"unknown {what}",
        where=path,
        expected=", ".join(sorted(near)) + (", …" if len(known) > len(near) else ""),
        fix=f"did you mean {likely[0]!r}?" if likely else "every command's --help names its options",
    )


def named(command: TyperCommand) -> dict[str, Any]:
    """Return a command's parameters by the name that stands in the file: the long option's, or the argument's."""
    return {
        max((*parameter.opts, ""), key=len).lstrip("-").replace("-", "_") or str(parameter.name): parameter
        for parameter in command.params
    }


def values(path: Path, settings: Mapping[str, Any], command: TyperCommand) -> dict[str, Any]:
    """Return a command's settings under its parser's own names; one value stands for a list of one.

    A value of another type than the option takes is a `UsageError`.
    """
    known, found = named(command), {}
    for key, value in settings.items():
        parameter = known[key]
        flag = getattr(parameter, "is_flag", False)
        several = getattr(parameter, "multiple", False) or parameter.nargs == -1
        items = value if several and isinstance(value, list) else [value]
        if any(isinstance(item, bool) != flag or not isinstance(item, str | int | float) for item in items):
            wanted = "true or false" if flag else "a text or a number" + (", or a list" if several else "")
            raise UsageError(f"{key} = {value!r} cannot be set", where=path, expected=wanted)
        items = [item if flag else str(item) for item in items]
        found[parameter.name] = items if several else items[0]
    return found
