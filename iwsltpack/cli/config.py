"""``iwsltpack.toml``: any option of any command, so that commands work bare in a configured folder.

Keys at the top apply to every command that has an option of that name; a table named after a command applies
to that command alone and wins. The command line wins over both.

    team = "APG"
    pair = "en-zh"
    artifact = "artifacts/q3"

    [decode]
    device = "cuda"
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from iwsltpack.errors import InputError, UsageError
from iwsltpack.system.fileio import read_bytes

CONFIG_NAME = "iwsltpack.toml"
Parameters = dict[str, set[str]]


def read_config(path: Path | None) -> tuple[Path, dict[str, Any]] | None:
    """Return the file and its content, or None where no file was named and the folder has none."""
    if path is None:
        path = Path(CONFIG_NAME)
        if not path.is_file():
            return None
    try:
        return path, tomllib.loads(read_bytes(path).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError("not valid TOML", where=path, got=str(error)) from error


def defaults(path: Path, config: dict[str, Any], parameters: Parameters) -> dict[str, dict[str, Any]]:
    """Spread the settings over the commands.

    Parameters
    ----------
    path
        The file, for messages.
    config
        Its content.
    parameters
        For each command, the names its options and arguments go by.

    Returns
    -------
    dict
        For each command, the defaults to use.

    Raises
    ------
    UsageError
        A key that no command, or not the named one, has.
    """
    result: dict[str, dict[str, Any]] = {command: {} for command in parameters}
    tables = {key: value for key, value in config.items() if isinstance(value, dict)}
    for key, value in config.items():
        if key in tables:
            continue
        name = key.replace("-", "_")
        takers = [command for command, known in parameters.items() if name in known]
        if not takers:
            everything = sorted(set().union(*parameters.values()))
            raise UsageError(f"unknown setting {key!r}", where=path, expected=", ".join(everything))
        for command in takers:
            result[command][name] = value
    for table, settings in tables.items():
        if table not in parameters:
            raise UsageError(f"unknown table [{table}]", where=path, expected=", ".join(sorted(parameters)))
        for key, value in settings.items():
            name = key.replace("-", "_")
            if name not in parameters[table]:
                raise UsageError(
                    f"unknown setting {key!r} in [{table}]",
                    where=path,
                    expected=", ".join(sorted(parameters[table])),
                )
            result[table][name] = value
    return result


def as_lists(settings: dict[str, dict[str, Any]], lists: Parameters) -> dict[str, dict[str, Any]]:
    """Make one value a list of one, for the options of each command that take several."""
    return {
        command: {
            name: [value] if name in lists[command] and not isinstance(value, list) else value
            for name, value in values.items()
        }
        for command, values in settings.items()
    }
