"""The application: one table of commands, one place where errors become sentences and exit codes.

Exit codes: 0 done; 1 unexpected; 2 usage; 3 input; 4 artifact; 5 validation failed; 6 something optional is
missing; 7 out of disk, memory or network; 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer
from rich.text import Text

from iwsltpack.cli import common, console
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


def register() -> None:
    """Add every command, in the order a participant needs them."""
    from iwsltpack.cli import commands

    for name, function in commands():
        app.command(name, cls=common.Command)(common.with_options(function))


def _version(asked: bool) -> None:
    if asked:
        console.show(f"iwsltpack {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    quiet: common.Quiet = False,
    verbose: common.Verbose = False,
    json: common.Json = False,
    config: common.Config = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Every option here may also stand behind the command."""


def main() -> None:
    """Run the command line and exit with the code of the error, if any."""
    # A terminated process cleans up like an interrupted one: temporary files go, journals stay.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    register()
    try:
        app(standalone_mode=True)
    except IwsltpackError as error:
        told = "\n".join([str(error), *getattr(error, "__notes__", [])])
        console.err.print(Text.assemble(("error: ", "bold red"), told))
        console.tell_where(error)
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
