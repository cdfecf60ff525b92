"""A calibrated build: the checkpoint is calibrated in the folder where the artifact comes into being, then packed."""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from iwsltpack.building.checkpoint import open_checkpoint
from iwsltpack.building.dropped_tokens import find_dropped
from iwsltpack.building.partial import partial_of
from iwsltpack.building.pipeline import build_artifact, check_request
from iwsltpack.building.plan import rules_of
from iwsltpack.calibration.data import CalibrationData, CalibrationRequest
from iwsltpack.calibration.dropping import measure_dropping
from iwsltpack.calibration.moments import checkpoint_names
from iwsltpack.calibration.walk import calibrate
from iwsltpack.documents.choices import DEFAULT_VERSION
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.documents.names import MANIFEST_NAME
from iwsltpack.errors import UsageError
from iwsltpack.runtime.float_model import load_checkpoint
from iwsltpack.system import fileio
from iwsltpack.system.progress import SILENT, Reporter

if TYPE_CHECKING:
    from pathlib import Path

    from iwsltpack.documents.artifact import ArtifactManifest, Calibration, Vocabulary
    from iwsltpack.documents.recipe import Recipe

FOLDER = "calibration"
"""In the partial folder; it goes with it when the artifact is published."""


def build_calibrated(
    source: Path,
    output: Path,
    recipe: Recipe,
    coding_name: str,
    request: CalibrationRequest,
    *,
    format_version: int = DEFAULT_VERSION,
    progress: Reporter = SILENT,
    **options: Any,
) -> ArtifactManifest:
    """Calibrate a checkpoint by a recipe and build its artifact. Killed anywhere, it goes on where it stopped.

    Parameters
    ----------
    source, output, recipe, coding_name, format_version, progress, options
        As for `build_artifact`.
    request
        What to calibrate on, and how.

    Raises
    ------
    UsageError
        A rule selects what cannot be calibrated; the output is something else.
    IwsltpackError
        See `CalibrationData`, `load_checkpoint`, `calibrate` and `build_artifact`.
    """
    check_request(output, recipe, coding_name, format_version)
    checkpoint = open_checkpoint(source)
    rules = rules_of(checkpoint, recipe)
    wanted = {name for name, rule in rules.items() if rule.calibrated}
    data = CalibrationData(request, source, progress)
    if (output / MANIFEST_NAME).is_file():
        _refuse_other(output, data.record(0))
        return build_artifact(
            source, output, recipe, coding_name, format_version=format_version, progress=progress, **options
        )
    folder = partial_of(output) / FOLDER
    with fileio.disk_errors(output):
        rule = recipe.vocabulary
        vocabulary = None if rule is None else find_dropped(rule, checkpoint)[0]
        matrices, tokens = _calibrated(source, folder, wanted, data, checkpoint.state(), vocabulary, progress)
    gc.collect()
    manifest = build_artifact(
        source,
        output,
        recipe,
        coding_name,
        format_version=format_version,
        matrices=matrices,
        calibration=data.record(tokens),
        progress=progress,
        **options,
    )
    made = [tensor for tensor in manifest.tensors if tensor.name in wanted]
    rate = 8 * sum(tensor.bytes for tensor in made) / max(1, sum(tensor.parameters for tensor in made))
    progress.say(f"calibrated matrices take {rate:.2f} bits a weight; half the step would add about one")
    return manifest


def _calibrated(
    source: Path,
    folder: Path,
    wanted: set[str],
    data: CalibrationData,
    state: str,
    vocabulary: Vocabulary | None,
    progress: Reporter,
) -> tuple[Path, int]:
    """Return the folder of the matrices, and the tokens of the output they were calibrated on."""
    model = load_checkpoint(source)
    if missing := sorted(wanted - set(checkpoint_names(model).values())):
        raise UsageError(
            "the recipe wants calibrated what is neither a linear layer nor an embedding",
            where=missing[0],
            fix="leave it out of the pattern",
        )
    folder.mkdir(parents=True, exist_ok=True)
    identity = f"{state} {model.dtype}"
    batches = data.batches(model, folder, identity)
    if vocabulary is not None:
        progress.say(str(measure_dropping(model, batches, vocabulary)))
    (matrices,) = calibrate(
        model,
        batches,
        folder,
        data.request.settings,
        selected=wanted.__contains__,
        identity=identity,
        reporter=progress,
    )
    return matrices, sum(int(batch.targets.sum()) for batch in batches)


def _refuse_other(output: Path, asked: Calibration) -> None:
    """Refuse an artifact that was calibrated otherwise; how many tokens there were follows from the rest."""
    found = read_manifest(output).calibration
    if found is None or replace(found, tokens=asked.tokens) != asked:
        raise UsageError(
            "the output exists, and was calibrated otherwise",
            where=output,
            expected=asked.to_json(),
            got=found and found.to_json(),
            fix="choose another --output, or remove it",
        )
