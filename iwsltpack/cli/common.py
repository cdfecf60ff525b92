"""What every command has beside its own: options that may stand before or after its name, and settings from a file."""

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from iwsltpack.cli import NAMES, config, console, function_of
from iwsltpack.documents import choices
from iwsltpack.documents.names import PAIRS
from iwsltpack.errors import InputError, UsageError, printable
from iwsltpack.system.fileio import read_toml
from iwsltpack.version import __version__

if TYPE_CHECKING:
    from iwsltpack.workplace.job import Job

TABLE = read_toml(Path(__file__).with_name("options.toml"))
"""What the help says of every option, by the command's module, or for several; see there."""
SHORT = {name: (letter,) for name, letter in TABLE["short"].items()}
PANEL_OF = {name: panel for panel, names in TABLE["panels"].items() for name in names}
VALUES = {
    **vars(choices),
    "PAIRS": "|".join(PAIRS),
    "DEVICES": "|".join(get_args(choices.Device)),
    "METRICS": ", ".join(get_args(choices.Metric)),
}
"""What may stand in braces there."""
WORDS: dict[Any, str] = {bool: "", Path: "PATH", int: "NUMBER", float: "NUMBER", str: "TEXT"}
"""What an option takes, by its type; a switch takes nothing."""
FILE = "iwsltpack.settings"
"""Where a context keeps the settings file that was read."""
SPREAD = "iwsltpack.spread"
"""Where it keeps the settings of every command."""


def job_of(context: typer.Context) -> "Job":
    """Return the job as the settings of this folder, or those named by ``--config``, have it."""
    from iwsltpack.workplace.job import Job

    file: Path | None = context.meta.get(FILE)

    def given(name: str) -> dict[str, Any]:
        command = _command_of(name)
        told = {} if file is None else config.values(file, context.meta[SPREAD][name], command)
        return {
            item.name: told.get(item.name, None if item.required else item.default) for item in command.params
        }

    return Job(file, given)


def _given(context: typer.Context, name: str, value: Any) -> Any:
    """Return an option's value, or the one that stands before the command's name."""
    return value or (context.parent is not None and context.parent.params.get(name)) or None


def _switch(name: str) -> Callable[[typer.Context, bool], bool]:
    """Return what sets a switch of the console, typed before or after the command's name."""

    def turn(context: typer.Context, value: bool) -> bool:
        console.configure(**{name: bool(_given(context, name, value))})
        return value

    return turn


def _settings(context: typer.Context, value: Path | None) -> Path | None:
    """Read the settings for one command, before its other options are looked at."""
    command, parent = context.command, context.parent
    if parent is None or context.resilient_parsing:
        return value
    if (found := config.read_config(_given(context, "config", value))) is not None:
        commands = getattr(parent.command, "commands", {})
        path, names = found[0], {name: config.named(each) for name, each in commands.items()}
        spread = config.defaults(*found, names)
        context.default_map = config.values(path, spread[str(context.info_name)], command)  # type: ignore[arg-type]
        context.meta[FILE], context.meta[SPREAD] = path, spread
    return value


def _version(asked: bool) -> None:
    if asked:
        console.show(f"iwsltpack {__version__}")
        raise typer.Exit


ACTIONS: dict[str, Callable[..., Any]] = {
    **{name: _switch(name) for name in ("quiet", "verbose", "json")},
    "config": _settings,
    "version": _version,
}
"""What is done at once when an option is met."""


def everywhere(
    *,
    quiet: bool = False,
    verbose: bool = False,
    json: bool = False,
    config: Path | None = None,
    version: bool = False,
) -> None:
    """Every option here may also stand behind the command."""


def options_of(
    owner: type, *, renamed: Mapping[str, str]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command, which takes them as ``**options``, an option for every field of a dataclass that it lacks.

    Type and default are the field's; the help is what the docstring says of the attribute.
    """
    hints, helps = get_type_hints(owner), _attributes(owner)
    fields = {renamed.get(field.name, field.name): field for field in dataclasses.fields(owner)}

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function, eval_str=True)
        own = [item for item in signature.parameters.values() if item.kind != item.VAR_KEYWORD]
        core = [item for item in own if item.default is item.empty]
        made = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
            )
            for name, field in fields.items()
            if name not in signature.parameters
        ]

        @functools.wraps(function)
        def run(**given: Any) -> None:
            function(
                **{fields[name].name if name in fields else name: value for name, value in given.items()}
            )

        whole = [*core, *made, *(item for item in own if item not in core)]
        run.__signature__ = inspect.Signature(whole)  # type: ignore[attr-defined]
        run.helps = {name: helps.get(field.name) for name, field in fields.items()}  # type: ignore[attr-defined]
        return run

    return decorate


def _attributes(owner: type) -> dict[str, str]:
    """Return what a dataclass's docstring says of each attribute."""
    _, _, section = (inspect.getdoc(owner) or "").partition("Attributes\n----------\n")
    return {
        name: " ".join(text.split())
        for names, text in re.findall(r"^(\w.*)\n((?:    .*\n?)+)", section, re.MULTILINE)
        for name in names.split(", ")
    }


def with_options(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command's function as typer wants it: with the options that every command has, and with help.

    Parameters that may be given by position are arguments, the others options.
    """
    common = inspect.signature(everywhere, eval_str=True).parameters
    own = inspect.signature(function, eval_str=True).parameters
    shared = [] if function is everywhere else [common[name] for name in common if name != "version"]

    @functools.wraps(function)
    def run(**given: Any) -> None:
        function(**{name: value for name, value in given.items() if name in own})

    told = {**TABLE["several"], **getattr(function, "helps", {})}
    for name, entry in TABLE.get(function.__module__.rpartition(".")[2], {}).items():
        told[name] = {"help": told[name], **entry} if name in told and isinstance(entry, dict) else entry
    parameters = [_declared(item, told.get(item.name)) for item in (*own.values(), *shared)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {item.name: item.annotation for item in parameters}
    return run


def _declared(item: inspect.Parameter, told: str | dict[str, Any] | None) -> inspect.Parameter:
    """Return a parameter with what typer is to know of it; values are named by a word instead of Python's type."""
    if item.annotation is typer.Context:
        return item
    given: dict[str, Any] = dict(told) if isinstance(told, dict) else {"help": told}
    given |= {key: text.format(**VALUES) for key, text in given.items() if isinstance(text, str)}
    names: list[str] = given.pop("names", [])
    make: Any = typer.Argument
    if item.kind is item.KEYWORD_ONLY:
        make, kinds = typer.Option, _kinds(item.annotation)
        if item.default is False or item.name in SHORT:
            # A switch that a settings file turns on is turned off again by its opposite.
            name = item.name.replace("_", "-")
            off = f"/--no-{name}" if item.default is False else ""
            names = names or [f"--{name}{off}", *SHORT.get(item.name, ())]
            given["show_default"] = item.default is not False
        given["rich_help_panel"] = PANEL_OF.get(item.name)
        given["callback"] = ACTIONS.get(item.name)
        if not any(get_origin(each) is Literal for each in kinds):
            given.setdefault("metavar", next(word for known, word in WORDS.items() if known in kinds))
    return item.replace(kind=item.KEYWORD_ONLY, annotation=Annotated[item.annotation, make(*names, **given)])


def _kinds(annotation: Any) -> set[Any]:
    return {annotation, *(kind for part in get_args(annotation) for kind in _kinds(part))}


class Command(TyperCommand):
    """A command that names the settings file wherever a value from there is wrong."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse; what is typed puts aside what the file has to the contrary."""
        try:
            rest = super().parse_args(ctx, args)
        except typer.BadParameter as error:
            parameter = error.param
            if parameter is None or _source(ctx, str(parameter.name)) != "DEFAULT_MAP":
                raise
            key = next(key for key, known in config.named(self).items() if known is parameter)
            raise UsageError(
                f"{key} = {ctx.default_map[parameter.name]!r} cannot be set",
                where=ctx.meta[FILE],
                got=error.message,
            ) from error
        for group in config.EXCLUSIVE:
            if any(_source(ctx, name) == "COMMANDLINE" for name in group):
                for item in self.params:
                    if item.name in group and _source(ctx, item.name) == "DEFAULT_MAP":
                        ctx.params[item.name] = item.default
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Run; an error tells which of the settings the file gave."""
        try:
            return super().invoke(ctx)
        except (UsageError, InputError) as error:
            given = {
                key: ctx.default_map[item.name]
                for key, item in config.named(self).items()
                if _source(ctx, str(item.name)) == "DEFAULT_MAP"
            }
            if given:
                told = ", ".join(f"{key} = {value!r}" for key, value in given.items())
                error.add_note(f"  set in {ctx.meta[FILE]}: {told}")
            raise


def typed(context: typer.Context, prefix: str) -> list[str]:
    """Return the options of a kind, their names beginning alike, that stand on the command line."""
    params = [item for item in context.command.params if str(item.name).startswith(prefix)]
    return [item.opts[0] for item in params if _source(context, str(item.name)) == "COMMANDLINE"]


def _source(context: typer.Context, name: str) -> str:
    """Return where a parameter's value comes from: typer's own names, of which COMMANDLINE means typed."""
    return getattr(context.get_parameter_source(name), "name", "")


@functools.cache
def _command_of(name: str) -> Any:
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command(name, cls=Command)(with_options(function_of(name)))
    return typer.main.get_command(app)


class _Commands(Mapping[str, Any]):
    """All commands by name; each is made when it is asked for, so that one starts without the others' modules."""

    def __getitem__(self, name: str) -> Any:
        if name not in NAMES:
            raise KeyError(name)
        return _command_of(name)

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)


@contextmanager
def _shown() -> Iterator[None]:
    """Have what was mistyped shown and not obeyed, where Typer itself tells of it."""
    try:
        yield
    except TyperException as error:
        if isinstance(message := getattr(error, "message", None), str):
            error.message = printable(message)
        raise


class Commands(TyperGroup):
    """The whole command line; see `_shown`."""

    parse_args = _shown()(TyperGroup.parse_args)
    invoke = _shown()(TyperGroup.invoke)

    def __init__(self, **given: Any) -> None:
        super().__init__(**{**given, "commands": _Commands()})
