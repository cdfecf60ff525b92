"""``iwsltpack init``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iwsltpack.cli import console
from iwsltpack.cli.config import CONFIG_NAME
from iwsltpack.documents.choices import DEFAULT_CONDITION, DEFAULT_RECIPE, DEFAULT_SOURCE
from iwsltpack.documents.names import PAIRS
from iwsltpack.editions import DEFAULT


def command(
    team: Annotated[str, typer.Option(help="Team name, as it becomes part of the model name.")],
    pair: Annotated[str, typer.Option(metavar="|".join(PAIRS), help="Language pair.")],
    condition: Annotated[str, typer.Option(help="constrained or unconstrained.")] = DEFAULT_CONDITION,
    edition: Annotated[str, typer.Option(help="Edition of the track: a name, or a JSON file.")] = DEFAULT,
    source: Annotated[str, typer.Option(help="Checkpoint folder, or a hub id.")] = DEFAULT_SOURCE,
    base_model: Annotated[
        str | None, typer.Option(help="Hub id of the model, for a checkpoint folder that does not tell it.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="Built-in recipe or a .toml/.json file.")] = DEFAULT_RECIPE,
    test_dir: Annotated[
        Path | None, typer.Option(help="Test set, or a folder with a folder for each test set.")
    ] = None,
    reference: Annotated[Path | None, typer.Option(help="References, to score against.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path(CONFIG_NAME),
) -> None:
    """Write a commented iwsltpack.toml for one edition, team and pair: commands typed beside it need no options.

    A file that is there already is left alone. All keys: docs/settings.md.

    Example: iwsltpack init --team APG --pair en-zh --test-dir test
    """
    from iwsltpack.workplace.new_settings import write_settings

    write_settings(
        output,
        team=team,
        pair=pair,
        condition=condition,
        edition=edition,
        source=source,
        base_model=base_model,
        recipe=recipe,
        test_dir=test_dir,
        reference=reference,
    )
    last = "" if output == Path(CONFIG_NAME) else f" --config {output}"
    console.result({"output": str(output)}, str(output))
    console.say(f"next: iwsltpack doctor{last}; from then on, iwsltpack status{last} says what to type")
