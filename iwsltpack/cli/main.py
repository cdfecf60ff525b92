"""The application: one table of commands, one place where errors become sentences and exit codes.

Exit codes: 0 done; 1 unexpected; 2 usage; 3 input; 4 artifact; 5 validation failed; 6 something optional is
missing; 7 out of disk, memory or network; 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from iwsltpack.cli import config, console
from iwsltpack.errors import IwsltpackError, ResourceError
from iwsltpack.version import __version__

INTERRUPTED = 130

app = typer.Typer(
    name="iwsltpack",
    help="Compress a speech-translation model, decode a test set with it, package the submission.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _register() -> None:
    """Add every command, in the order a participant needs them."""
    from iwsltpack.cli import commands

    for name, function in commands():
        app.command(name)(function)


def _version(asked: bool) -> None:
    if asked:
        console.show(f"iwsltpack {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No talk and no progress; results and errors only.")
    ] = False,
    config_file: Annotated[
        Path | None,
        typer.Option("--config", help=f"Settings file; default: {config.CONFIG_NAME} in this folder."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    console.configure(quiet=quiet)
    if (found := config.read_config(config_file)) is not None:
        commands: dict[str, Any] = getattr(context.command, "commands", {})
        parameters = {name: {str(p.name) for p in command.params} for name, command in commands.items()}
        lists = {
            name: {str(p.name) for p in command.params if getattr(p, "multiple", False) or p.nargs == -1}
            for name, command in commands.items()
        }
        context.default_map = dict(config.as_lists(config.defaults(*found, parameters), lists))


def main() -> None:
    """Run the command line and exit with the code of the error, if any."""
    # A terminated process cleans up like an interrupted one: temporary files go, journals stay.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _register()
    try:
        app(standalone_mode=True)
    except IwsltpackError as error:
        console.err.print(Text.assemble(("error: ", "bold red"), str(error)))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _tell_interrupted()
        sys.exit(INTERRUPTED)
    except SystemExit as stop:  # what typer makes of an interrupt inside a command
        if stop.code == INTERRUPTED:
            _tell_interrupted()
        raise
    except MemoryError:
        console.err.print(Text.assemble(("error: ", "bold red"), "out of memory"))
        sys.exit(ResourceError.exit_code)


def _tell_interrupted() -> None:
    console.err.print("interrupted; build, decode, push and pull go on where they stopped when run again")
