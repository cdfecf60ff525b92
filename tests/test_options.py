"""Defaults and choices have one home: the command line repeats none of the library's."""

from __future__ import annotations

import ast
import inspect
from collections import Counter
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any, get_args

import pytest
from conftest import REPOSITORY

from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.recipes import BUILT_IN
from iwsltpack.building.request import BuildRequest
from iwsltpack.calibration.data import CalibrationRequest
from iwsltpack.cleaning.files import clean_file
from iwsltpack.cli import MODULES, NAMES, common, function_of
from iwsltpack.cluster.shards import Shard
from iwsltpack.codecs.registry import CODINGS
from iwsltpack.decoding.options import DecodeOptions, RunRequest
from iwsltpack.documents import choices, names
from iwsltpack.editions import load
from iwsltpack.errors import UsageError
from iwsltpack.hub.pull import pull_artifact
from iwsltpack.hub.push import push_artifact
from iwsltpack.report.report import write_report
from iwsltpack.scoring.comet_checkpoint import CometOptions
from iwsltpack.scoring.score import score
from iwsltpack.submission.ledger import add
from iwsltpack.submission.packaging import Request
from iwsltpack.submission.validation import Options

Home = tuple[Callable[..., Any], dict[str, str]]

LIBRARY: dict[str, tuple[Home, ...]] = {
    "build": (
        (BuildRequest, {"coding": "coding_name", "base_model": "model_id"}),
        (build_artifact, {"dask": "cluster"}),
    ),
    "frontier": (
        (BuildRequest, {"coding": "coding_name", "base_model": "model_id"}),
        (CalibrationRequest, {"calibration_name": "name"}),
    ),
    "decode": ((DecodeOptions, {"format": "kind"}), (RunRequest, {"dask": "cluster"})),
    "clean": ((clean_file, {}),),
    "submit": ((Request, {}), (add, {"replace": "replace_existing"})),
    "validate": ((Options, {}),),
    "push": ((push_artifact, {"revision": "branch"}),),
    "pull": ((pull_artifact, {}),),
    "score": (
        (score, {"metric": "metrics"}),
        (CometOptions, {f"comet_{name}": name for name in ("model", "batch_size", "device")}),
    ),
    "report": ((write_report, {"rank_by": "metric", "size": "measure", "baseline_system": "baseline"}),),
}
"""What a command calls or fills in, and under which names it takes the command's options."""

CONSTANTS: dict[tuple[str, str], Any] = {
    ("init", "source"): choices.DEFAULT_SOURCE,
    ("init", "recipe"): choices.DEFAULT_RECIPE,
    ("init", "condition"): choices.DEFAULT_CONDITION,
    ("init", "edition"): choices.DEFAULT_EDITION,
    ("init", "output"): Path(names.CONFIG_NAME),
    ("build", "source"): choices.DEFAULT_SOURCE,
    ("build", "recipe"): choices.DEFAULT_RECIPE,
    ("estimate", "source"): choices.DEFAULT_SOURCE,
    ("estimate", "format_version"): choices.DEFAULT_VERSION,
    ("frontier", "source"): choices.DEFAULT_SOURCE,
    ("frontier", "recipe"): BUILT_IN["calibrated"].name,
    ("frontier", "output"): Path("frontier"),
    ("submit", "pair"): choices.DEFAULT_PAIR,
    ("submit", "condition"): choices.DEFAULT_CONDITION,
    ("submit", "edition"): choices.DEFAULT_EDITION,
    ("submit", "submissions"): Path(names.SUBMISSIONS_DIR),
    ("submit", "runnable_output"): Path(names.RUNNABLE_DIR),
    ("submissions", "submissions"): Path(names.SUBMISSIONS_DIR),
    ("report", "output"): Path(names.REPORT_DIR),
    ("validate", "format"): get_args(choices.ProblemFormat)[0],
    ("report", "format_"): get_args(choices.TableFormat)[0],
    ("score", "cache"): True,
    ("demo", "output"): Path("iwsltpack-demo"),
}
"""Defaults for which the library has no parameter with a default."""

UNLIKE = {("decode", "chat_template"), ("decode", "per_set"), ("score", "cache"), ("score", "baseline")}
"""Options that name a file, of which the library takes the content; and whether, for what."""


def home_of(command: str, option: str) -> Any:
    """Return the library's default for an option, or `inspect.Parameter.empty`."""
    for home, renamed in LIBRARY.get(command, ()):
        known = inspect.signature(home).parameters
        name = renamed.get(option, option)
        if name in known and known[name].default is not inspect.Parameter.empty:
            found = known[name].default
            return ",".join(found) if isinstance(found, tuple) else found
    return inspect.Parameter.empty


def options_of(function: Callable[..., None]) -> dict[str, Any]:
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }


def differences(command: str, function: Callable[..., None]) -> list[str]:
    wrong = []
    for option, default in options_of(function).items():
        home = CONSTANTS.get((command, option), home_of(command, option))
        if (command, option) in UNLIKE and (command, option) not in CONSTANTS:
            assert default is None, option
        elif home is inspect.Parameter.empty:
            if default is not None and default is not False:
                wrong.append(f"{command} --{option} = {default!r} has no home")
        elif default != home:
            wrong.append(f"{command} --{option} = {default!r}, and the library's is {home!r}")
    return wrong


@pytest.mark.parametrize("command", NAMES)
def test_defaults_are_the_librarys(command: str) -> None:
    assert differences(command, function_of(command)) == []


def test_every_option_has_its_help_and_every_help_its_option() -> None:
    told, known = {}, {"several": set(signature(common.everywhere).parameters)}
    for command in NAMES:
        function = common.with_options(function_of(command))
        room = MODULES.get(command, command)
        known[room] = {name for name, item in signature(function).parameters.items() if name != "context"}
        known["several"] |= known[room]
        for name in known[room]:
            told[command, name] = get_args(signature(function).parameters[name].annotation)[1].help
    assert [where for where, text in told.items() if not text] == []
    rooms = {room: entries for room, entries in common.TABLE.items() if room not in ("panels", "short")}
    assert [(room, name) for room, names in rooms.items() for name in names if name not in known[room]] == []
    grouped = {*common.PANEL_OF, *common.SHORT}
    assert grouped <= known["several"]


def test_another_default_is_noticed() -> None:
    def decode(batch_size: int = 17, pair: str = "en-zh", colour: str = "red") -> None: ...

    assert differences("decode", decode) == [
        "decode --batch_size = 17, and the library's is 16",
        "decode --colour = 'red' has no home",
    ]


def test_constants_are_choices_that_exist() -> None:
    assert choices.DEFAULT_RECIPE in BUILT_IN
    assert {choices.DEFAULT_CODING, choices.CALIBRATED_CODING} <= set(CODINGS)
    assert choices.DEFAULT_PAIR in names.PAIRS
    load(choices.DEFAULT_EDITION).pair(choices.DEFAULT_PAIR)
    load(choices.DEFAULT_EDITION).condition(choices.DEFAULT_CONDITION)


def lists_of_choices(text: str) -> list[tuple[str, ...]]:
    """Return every ``Literal["…", "…"]`` in a source text, its values sorted."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("Literal", "typing.Literal"):
            values = [item.value for item in ast.walk(node.slice) if isinstance(item, ast.Constant)]
            found.append(tuple(sorted(map(str, values))))
    return found


def test_no_list_of_choices_is_written_twice() -> None:
    counts: Counter[tuple[str, ...]] = Counter()
    for path in (REPOSITORY / "iwsltpack").rglob("*.py"):
        counts.update(lists_of_choices(path.read_text(encoding="utf-8")))
    assert counts[("cache", "int8", "load", "stream")] == 1
    assert [values for values, count in counts.items() if count > 1 and len(values) > 1] == []


def test_a_request_for_a_shard_on_a_cluster_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--shard and --dask do not go together"):
        RunRequest(
            test_dir=tmp_path,
            artifact=tmp_path,
            output=tmp_path,
            shard=Shard(index=1, count=2),
            cluster="local",
        )
