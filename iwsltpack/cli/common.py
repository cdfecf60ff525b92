"""What every command has beside its own: options that may stand before or after its name, and settings from a file."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand
from typer.models import OptionInfo

from iwsltpack.cli import config, console
from iwsltpack.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PANELS = {
    "The model on this machine": ("engine", "device", "mode", "dtype", "batch_size", "batch_seconds"),
    "What is asked": (
        "prompt",
        "system_prompt",
        "chat_template",
        "max_new_tokens",
        "retry_truncated",
        "per_set",
    ),
    "The test set and its audio": ("long", "on_bad_audio", "placeholder", "format", "name", "segments"),
    "Many processes, many machines": ("workers", "shard", "dask"),
    "What is compared": ("source_text", "split", "clean", "resegment", "baseline"),
    "COMET": ("comet_model", "comet_batch_size", "comet_device"),
    "Tables and graphs": ("published", "rank_by", "size", "baseline_system", "format_"),
    "What the description says": ("condition", "dataset", "base_model", "release_outputs"),
    "Where it is kept": ("label", "submissions", "replace", "runnable", "runnable_output"),
    "Everywhere": ("quiet", "verbose", "json", "config", "version"),
}
"""Groups of options in the help, over all commands; what stands in none is a command's core."""
PANEL_OF = {name: panel for panel, names in PANELS.items() for name in names}
WORDS: dict[Any, str] = {bool: "", Path: "PATH", int: "NUMBER", float: "NUMBER", str: "TEXT"}
"""What an option takes, by its type; a switch takes nothing."""
FILE = "iwsltpack.settings"
"""Where a context keeps the settings file that was read."""
SPREAD = "iwsltpack.spread"
"""Where it keeps the settings of every command."""


def settings_of(context: typer.Context, name: str) -> dict[str, Any]:
    """Return what another command would be given if it were typed bare in this folder: settings, then defaults."""
    command = context.parent.command.commands[name]  # type: ignore[union-attr]
    given = {}
    if FILE in context.meta:
        given = config.values(context.meta[FILE], context.meta[SPREAD][name], command)
    return {
        str(item.name): given.get(item.name, None if item.required else item.default)
        for item in command.params
    }


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


Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", callback=_switch("quiet"), help="No talk, no progress; results and errors."
    ),
]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", callback=_switch("verbose"), help="Libraries' remarks; where an error arose."
    ),
]
Json = Annotated[
    bool, typer.Option("--json", callback=_switch("json"), help="The result as one JSON document.")
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        callback=_settings,
        is_eager=True,
        help=f"Settings file; default: {config.CONFIG_NAME} in this folder.",
    ),
]


def _options(
    quiet: Quiet = False, verbose: Verbose = False, json: Json = False, config: Config = None
) -> None:
    """Declare the options that every command has."""


def options_of(
    owner: type, *, renamed: Mapping[str, str], metavars: Mapping[str, str]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command, which takes them as ``**options``, an option for every field of a dataclass that it lacks.

    Type and default are the field's; the help is what the docstring says of the attribute.
    """
    hints, helps = get_type_hints(owner), _attributes(owner)
    fields = {renamed.get(field.name, field.name): field for field in dataclasses.fields(owner)}

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function, eval_str=True).parameters
        made = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=Annotated[
                    hints[field.name],
                    typer.Option(help=helps.get(field.name), metavar=metavars.get(field.name)),
                ],
            )
            for name, field in fields.items()
            if name not in own
        ]
        named = [
            item.replace(kind=item.KEYWORD_ONLY) for item in own.values() if item.kind != item.VAR_KEYWORD
        ]
        core = [item for item in named if item.default is item.empty]

        @functools.wraps(function)
        def run(**given: Any) -> None:
            function(
                **{fields[name].name if name in fields else name: value for name, value in given.items()}
            )

        whole = [*core, *made, *(item for item in named if item not in core)]
        run.__signature__ = inspect.Signature(whole)  # type: ignore[attr-defined]
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
    """Return a command's function as typer wants it: with the options that every command has, in groups."""
    common = inspect.signature(_options, eval_str=True).parameters
    own = inspect.signature(function, eval_str=True)

    @functools.wraps(function)
    def run(**given: Any) -> None:
        function(**{name: value for name, value in given.items() if name not in common})

    parameters = [*own.parameters.values(), *(i.replace(kind=i.KEYWORD_ONLY) for i in common.values())]
    for item in parameters:
        group_option(item.name, item.annotation)
    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {item.name: item.annotation for item in parameters}
    return run


def group_option(name: str, annotation: Any) -> None:
    """Put an option into its group, and name its values by a word of its own instead of Python's type."""
    kind, option = (*get_args(annotation), None, None)[:2]
    if not isinstance(option, OptionInfo):
        return
    option.rich_help_panel = PANEL_OF.get(name)
    kinds = _kinds(kind)
    if option.metavar is None and not any(get_origin(each) is Literal for each in kinds):
        option.metavar = next(word for known, word in WORDS.items() if known in kinds)


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


def _source(context: typer.Context, name: str) -> str:
    """Return where a parameter's value comes from: typer's own names, of which COMMANDLINE means typed."""
    return getattr(context.get_parameter_source(name), "name", "")
