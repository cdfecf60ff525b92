"""The settings file of a new working folder."""

import json
import os
from pathlib import Path, PurePath

from iwsltpack import editions
from iwsltpack.building.recipes import load_recipe
from iwsltpack.building.size import parse_size
from iwsltpack.documents.names import ARTIFACTS_DIR, RUNS_DIR
from iwsltpack.errors import InputError, UsageError
from iwsltpack.system import fileio
from iwsltpack.system.templates import render

TEMPLATE = Path(__file__).with_name("iwsltpack.toml.jinja")


def write_settings(
    path: Path, *, team: str, pair: str, condition: str, edition: str, recipe: str, **known: str | Path | None
) -> None:
    """Write the settings of a job, commented.

    Parameters
    ----------
    path
        The file to write.
    team, pair, condition, edition, recipe
        What names are made of.
    known
        ``source``, ``base_model``, ``calibration``, ``target_size``, ``test_dir`` and ``reference``; None is switched
        off in the file.

    Raises
    ------
    UsageError
        The file is there already, and says other things; a team, pair, condition, edition, size or recipe that cannot
        be; data for a recipe that is not calibrated.
    """
    rules = editions.load(edition)
    editions.check_team(team)
    sets, allowed = rules.pair(pair).test_sets, rules.condition(condition).datasets
    domains = f": {', '.join(sets.domains)}" if sets.domains else ""
    name = PurePath(recipe).stem
    try:
        calibrated = load_recipe(recipe).calibrated
    except InputError:
        calibrated = True  # for all that is known of a file that is still to be written
    if size := known["target_size"]:
        parse_size(str(size))
    if not calibrated and (data := known["calibration"] or size):
        raise UsageError(
            "the recipe is not calibrated", where=recipe, got=data, fix="add --recipe calibrated"
        )
    text = render(
        TEMPLATE,
        {"text": lambda value: json.dumps(str(value), ensure_ascii=False)},
        team=team,
        pair=pair,
        condition=condition,
        edition=edition,
        recipe=recipe,
        calibrated=calibrated,
        title=rules.title,
        sets=f"{sets.count or '?'} test sets{domains}",
        data=f"data that may support the compression: {', '.join(allowed or ()) or 'not public'}",
        built=f"{ARTIFACTS_DIR}/{name}",
        runs=f"{RUNS_DIR}/{name}-{pair}",
        **known,
    ).encode()
    if os.path.lexists(path) and not (path.is_file() and fileio.read_bytes(path) == text):
        raise UsageError(
            "there are other settings here", where=path, fix="edit them, or give --output another name"
        )
    fileio.create_bytes(path, text)
