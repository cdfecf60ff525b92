"""A calibrated build: the checkpoint is calibrated in the folder where the artifact comes into being, then packed.

Moments are gathered once. Then a step is chosen, all matrices are rounded by it, and an artifact is built as by any
other recipe. Where a size is asked for, that artifact is weighed, and the step corrected until the size is met. What
the compression did to the model's predictions is measured on segments that were held out, and put in the manifest.
"""

import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from iwsltpack.artifact.location import folder_bytes
from iwsltpack.building.checkpoint import Checkpoint, open_checkpoint
from iwsltpack.building.dropped_tokens import find_dropped
from iwsltpack.building.partial import lock_partial, sweep
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.plan import rules_of
from iwsltpack.building.publishing import publish
from iwsltpack.building.request import BuildRequest, remember, stamp
from iwsltpack.building.size import Goal, SizeTarget, goal_of, meet, near
from iwsltpack.calibration.block_rounding import Moments
from iwsltpack.calibration.damage import damage_of, keep_predictions, measure_dropping
from iwsltpack.calibration.data import CalibrationData, CalibrationRequest
from iwsltpack.calibration.model_weights import Weights
from iwsltpack.calibration.towers import Batch
from iwsltpack.calibration.walk import gather
from iwsltpack.documents.artifact import ArtifactManifest, Calibration
from iwsltpack.documents.choices import DEFAULT_STEP
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.documents.names import CALIBRATION_DIR, MANIFEST_NAME
from iwsltpack.errors import InputError, UsageError
from iwsltpack.system import fileio
from iwsltpack.system.progress import SILENT, Reporter

PREDICTIONS = "predictions.npy"
"""Of the uncompressed model, on what is held out."""


def build_calibrated(
    request: BuildRequest,
    calibration: CalibrationRequest,
    *,
    work: Path | None = None,
    cluster: str | None = None,
    progress: Reporter = SILENT,
) -> ArtifactManifest:
    """Calibrate a checkpoint by a recipe and build its artifact. Killed anywhere, it goes on where it stopped.

    Parameters
    ----------
    request
        What to build, and what it is to weigh.
    calibration
        What to calibrate on, and how.
    work
        Folder of the moments, where other builds use them too; default: one that goes when the artifact is there.
    cluster
        See `build_artifact`.
    progress
        Is told of it.

    UsageError: a rule selects what cannot be calibrated; the output is something else; the size asked for
    cannot be met. IwsltpackError: see `CalibrationData`, `load_checkpoint`, `gather` and
    `build_artifact`.
    """
    request.check()
    request.check_calibration(calibration.data)
    if request.target is not None and calibration.step is not None:
        raise UsageError("a step fixes the size", got=f"step {calibration.step:g}, and {request.target}")
    data = CalibrationData(calibration, request.source, progress)
    if data.judge is None and not data.held_out:
        raise InputError(
            "one segment is too little to calibrate on",
            where=calibration.data,
            expected="two or more: the damage is measured on one that was not calibrated on",
        )
    if (found := request.finished()) is not None:
        _refuse_other(request, data, found)
        sweep(request.output)
        progress.say(f"{request.output}: built already, of this checkpoint, recipe and coding")
        return found
    return build_on(request, data, calibration.step, work=work, cluster=cluster, progress=progress)


def build_on(
    request: BuildRequest,
    data: CalibrationData,
    step: float | None,
    *,
    work: Path | None = None,
    cluster: str | None = None,
    progress: Reporter = SILENT,
) -> ArtifactManifest:
    """Build a calibrated artifact from any model and data; see `build_calibrated`."""
    target = request.target
    checkpoint, wanted, [goal] = check_targets(request, [target])
    with fileio.disk_errors(request.output), lock_partial(request.output) as partial_folder:
        folder = work or partial_folder / CALIBRATION_DIR
        trials = _Trials(request, data, checkpoint, wanted, partial_folder / "trials", cluster, progress)
        held_out = trials.choose(folder, goal, step)
        made, manifest = trials.made, read_manifest(trials.made)
        if manifest.damage is None:
            damage = damage_of(
                *(Weights.of_artifact(made), held_out, folder / PREDICTIONS),
                *(data.measured_on, progress, manifest.vocabulary),
            )
            manifest = replace(manifest, damage=damage).sealed()
            fileio.write_bytes(made / MANIFEST_NAME, fileio.canonical_json(manifest.to_json()))
        publish(made, request.output)
        remember(manifest, stamp(checkpoint, {}))
    rate = _bits(manifest, wanted)
    progress.say(f"calibrated matrices take {rate:.2f} bits a weight; half the step would add about one")
    if target is not None:
        share = _weighed(target, request.output, manifest, wanted) / target.amount - 1
        progress.say(f"asked for {target}: {100 * share:+.2f} %")
    progress.say(str(manifest.damage))
    return manifest


def check_targets(
    request: BuildRequest, targets: Sequence[SizeTarget | None]
) -> tuple[Checkpoint, set[str], list[Goal | None]]:
    """Return the checkpoint, what of it is calibrated, and what the targets mean for that; see `goal_of`."""
    checkpoint = open_checkpoint(request.source)
    wanted = {name for name, rule in rules_of(checkpoint, request.recipe).items() if rule.calibrated}
    goals = [
        None if each is None else goal_of(each, checkpoint, request.recipe, request.coding, wanted)
        for each in targets
    ]
    return checkpoint, wanted, goals


@dataclass
class _Trials:
    """Artifacts built by one step after the other, until one weighs what it should.

    What each weighs is written down, and all but the last are removed.
    """

    request: BuildRequest
    data: CalibrationData
    checkpoint: Checkpoint
    wanted: set[str]
    folder: Path
    cluster: str | None
    progress: Reporter

    def __post_init__(self) -> None:
        self._path = self.folder / "trials.json"
        asked = replace(self.request, output=Path(), source=Path(), workers=None, target=None)
        plan = fileio.sha256_bytes(f"{asked} {self.data.record(0, 0.0)}".encode())
        self._known: dict[str, Any] = fileio.read_json(self._path) if self._path.exists() else {}
        if self._known.get("plan") != plan:  # begun with another recipe, coding or name
            shutil.rmtree(self.folder, ignore_errors=True)
            self._known = {"plan": plan}
            fileio.write_json(self._path, self._known)
        self.made = self.folder

    def choose(self, folder: Path, goal: Goal | None, step: float | None) -> list[Batch]:
        """Build by the step, or by the one that meets the goal; return what was held out."""
        weights, progress = self.data.weights(), self.progress
        if missing := sorted(self.wanted - weights.shapes.keys()):
            raise UsageError(
                "the recipe wants calibrated what is no whole weight of one of the model's modules",
                where=missing[0],
                fix="leave it out of the pattern",
            )
        folder.mkdir(parents=True, exist_ok=True)
        identity = f"{self.checkpoint.state()} {weights.dtype}"
        batches, held_out = self.data.batches(weights.dtype, folder, identity)
        if (rule := self.request.recipe.vocabulary) is not None:
            vocabulary, _ = find_dropped(rule, self.checkpoint)
            progress.say(str(measure_dropping(weights, batches, vocabulary, folder / "dropping", progress)))
        moments = gather(
            weights,
            batches,
            folder,
            self.data.settings,
            selected=self.wanted.__contains__,
            identity=identity,
            reporter=progress,
        )
        keep_predictions(weights, held_out, folder / PREDICTIONS, progress)
        tokens = sum(int(batch.targets.sum()) for batch in batches)

        def bits_at(step: float) -> float:
            """Return what the artifact of a step weighs, in bits a calibrated weight."""
            place = self.folder / repr(step)
            self.made = place / "artifact"
            record = self.data.record(tokens, step)
            return self.remember(place.name, lambda: self._build(step, place, moments, record))

        if goal is None:
            bits_at(step or DEFAULT_STEP)
        else:
            first = self.remember("first", lambda: near(moments.bits, moments.guess(goal.codes), goal.codes))
            meet(bits_at, first, goal)
        return held_out

    def remember(self, name: str, find: Callable[[], float]) -> float:
        """Return what was found under a name before, or find it now."""
        if name not in self._known:
            self._known[name] = find()
            fileio.write_json(self._path, self._known)
        return float(self._known[name])

    def _build(self, step: float, place: Path, moments: Moments, record: Calibration) -> float:
        for other in self.folder.glob("*/"):
            if other != place:
                shutil.rmtree(other)
        trial = replace(
            self.request,
            output=self.made,
            matrices=moments.round(step, place / "matrices"),
            calibration=record,
            target=None,
        )
        again = not {*self._known} <= {"plan", "first"}  # what there is to say was said
        manifest = build_artifact(trial, cluster=self.cluster, progress=SILENT if again else self.progress)
        if self.request.target is None:
            return _bits(manifest, self.wanted)
        weighed = _weighed(self.request.target, self.made, manifest, self.wanted)
        return self.request.target.in_bits(weighed, _weights(manifest, self.wanted))


def _weights(manifest: ArtifactManifest, names: Collection[str]) -> int:
    return sum(tensor.parameters for tensor in manifest.tensors if tensor.name in names)


def _bits(manifest: ArtifactManifest, names: Collection[str]) -> float:
    """Return the bits a weight that these tensors take, all their files counted."""
    size = sum(tensor.bytes for tensor in manifest.tensors if tensor.name in names)
    return 8 * size / max(1, _weights(manifest, names))


def _weighed(target: SizeTarget, folder: Path, manifest: ArtifactManifest, names: Collection[str]) -> float:
    """Return what an artifact weighs, in the target's own unit."""
    return _bits(manifest, names) if target.bytes is None else folder_bytes(folder)


def _refuse_other(request: BuildRequest, data: CalibrationData, found: ArtifactManifest) -> None:
    """Refuse an artifact that was calibrated otherwise; how many tokens there were follows from the rest."""
    known, target = found.calibration, request.target
    step = known.step if known and target else data.request.step or DEFAULT_STEP
    asked = data.record(known.tokens if known else 0, step)
    names = {tensor.name for tensor in found.tensors if tensor.classes is not None}
    fits = target is None or target.fits(_weighed(target, request.output, found, names))
    if known != asked or not fits:
        raise UsageError(
            "the output exists, and was calibrated otherwise",
            where=request.output,
            expected=asked.to_json() if fits else str(target),
            got=known and known.to_json(),
            fix="choose another --output, or remove it",
        )
