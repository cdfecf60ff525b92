"""The application: one table of commands, one place where errors become sentences and exit codes.

Exit codes: 0 done; 1 unexpected; 2 usage; 3 input; 4 artifact; 5 validation failed; 6 something optional is
missing; 7 out of disk, memory or network; 130 interrupted.
"""

import os
import signal
import sys
from contextlib import suppress
from typing import NoReturn

import typer
from rich.text import Text

from iwsltpack.cli import common, console
from iwsltpack.errors import InputError, IwsltpackError, ResourceError

INTERRUPTED = 130

app = typer.Typer(
    name="iwsltpack",
    help="Compress a speech-translation model, decode a test set with it, package the submission.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    cls=common.Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
)


app.callback()(common.with_options(common.everywhere))


def main() -> None:
    """Run the command line and exit with the code of the error, if any."""
    # A terminated process cleans up like an interrupted one: temporary files go, journals stay.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if sys.stdout is None:  # whatever file is opened first would take its place
            raise ResourceError("standard output is closed", fix="send it into a file, or to /dev/null")
        try:
            app(standalone_mode=True)
        except SystemExit:
            if (lost := _flush()) is not None:
                raise lost from None
            raise
    except IwsltpackError as error:
        _fail(error)
    except UnicodeEncodeError as error:
        if error.encoding != sys.stdout.encoding:
            raise
        fix = "set PYTHONIOENCODING=utf-8, or a locale of UTF-8"
        got = f"{error.object[error.start]!r} in {error.encoding}"
        _fail(ResourceError("standard output cannot take this text", expected="UTF-8", got=got, fix=fix))
    except BrokenPipeError:  # whoever read it has had enough
        _flush()
        sys.exit(1)
    except OSError as error:
        _fail(_refusal(error))
    except RuntimeError as error:
        # pathlib's, for a user whom the system does not know: a container's
        if "home directory" not in str(error):
            raise
        fix = "set HOME, or HF_HOME and IWSLTPACK_CACHE, to folders of your own"
        _fail(ResourceError("this user has no home folder, and things are kept there between runs", fix=fix))
    except KeyboardInterrupt:
        _tell_interrupted()
        sys.exit(INTERRUPTED)
    except SystemExit as stop:  # what typer makes of an interrupt inside a command
        if stop.code == INTERRUPTED:
            _tell_interrupted()
        raise
    except MemoryError:
        _fail(ResourceError("out of memory"))


def _fail(error: IwsltpackError) -> NoReturn:
    _flush()
    with suppress(OSError):  # there may be no way to tell it; the exit code does
        told = "\n".join([str(error), *getattr(error, "__notes__", [])])
        console.err.print(Text.assemble(("error: ", "bold red"), told))
        console.tell_where(error)
    sys.exit(error.exit_code)


def _flush() -> OSError | None:
    """Send out what was printed; return what went wrong, after which the rest is given up, not tried at exit again."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None


def _refusal(error: OSError) -> IwsltpackError:
    """Return what is told of a refusal that nothing below expected; one that names no file is standard output's."""
    if error.filename is None:
        return ResourceError("standard output cannot be written", got=error.strerror or error)
    if isinstance(error, PermissionError):
        fix = "see who owns it, and the folders above it: ls -ld"
        return InputError(
            "not allowed to read or write this", where=error.filename, got=error.strerror, fix=fix
        )
    what = "the operating system refused a file operation"
    return ResourceError(what, where=error.filename, got=error.strerror or error)


def _tell_interrupted() -> None:
    console.err.print("interrupted; build, decode, push and pull go on where they stopped when run again")
