"""What is asked of a build, whoever does the work; and whether it is done already."""

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from iwsltpack.artifact import side_files
from iwsltpack.building.checkpoint import Checkpoint, open_checkpoint
from iwsltpack.building.partial import SourceFile, check_absent
from iwsltpack.building.size import SizeTarget
from iwsltpack.codecs.chain import Coding
from iwsltpack.codecs.registry import coding_in
from iwsltpack.documents.artifact import ArtifactManifest, BaseModel, Calibration
from iwsltpack.documents.choices import DEFAULT_VERSION
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.documents.names import MANIFEST_NAME, MODEL_DIR
from iwsltpack.documents.places import refuse_inside
from iwsltpack.documents.recipe import Recipe
from iwsltpack.errors import IwsltpackError, UsageError
from iwsltpack.quantizers.scales import find_matrices
from iwsltpack.system import fileio

_MODEL_ID = re.compile(r"(?:\w[\w.-]*/)?\w[\w.-]*")
NO_DATA = "name data to calibrate on: --calibration DEVSET"


@dataclass(frozen=True)
class BuildRequest:
    """What is to be built, and where: the same for a whole build, for every shard and on a cluster.

    Attributes
    ----------
    source, output
        Folder with safetensors, configuration and processor files; folder to create.
    recipe, coding_name
        What is rounded or pruned, and how the result is packed; None: by the recipe's own coding.
    format_version
        Of the artifact's format: 1, or 2, which older versions of this program cannot read.
    matrices
        Folder with what a calibration made of tensors, each a `QuantizedMatrix` in ``NAME.matrix``: packed in their
        place, whatever the recipe says. Needs format 2.
    calibration
        What they were made from, for the manifest.
    model_id, revision
        Hub name and commit of the source, where the folder does not tell.
    workers
        Chunks packed at a time; default: six more than cores.
    target
        What the artifact is to weigh, which a calibrated build alone can meet.
    """

    source: Path
    output: Path
    recipe: Recipe
    coding_name: str | None = None
    _: KW_ONLY
    format_version: int = DEFAULT_VERSION
    matrices: Path | None = None
    calibration: Calibration | None = None
    model_id: str | None = None
    revision: str | None = None
    workers: int | None = None
    target: SizeTarget | None = None

    @property
    def coding(self) -> Coding:
        """The coding; see `coding_in` for what is raised."""
        return coding_in(self.format_version, self.coding_name or self.recipe.coding)

    def base_model(self, checkpoint: Checkpoint) -> BaseModel:
        """Return what the manifest says of the source."""
        source = checkpoint.folder
        config = side_files.collect(source)[side_files.CONFIG]
        known_id, known_revision = side_files.origin(source)
        return BaseModel(
            id=self.model_id or known_id,
            revision=self.revision or known_revision,
            architecture=side_files.architecture(config, source / side_files.CONFIG),
            bytes=checkpoint.nbytes,
            parameters=sum(tensor.count for tensor in checkpoint.tensors.values()),
            license=side_files.license_of(source),
            sha256=checkpoint.sha256,
        )

    def check(self) -> None:
        """Refuse what needs no look at the source, before hours may be spent on fetching it."""
        coding = self.coding
        if self.model_id is not None and not _MODEL_ID.fullmatch(self.model_id):
            raise UsageError("not a model of the hub", got=self.model_id, expected="OWNER/NAME: --base-model")
        if self.recipe.calibrated and self.format_version == 1:
            raise UsageError(
                "format 1 holds multiples of 2^-b alone",
                where=self.recipe.name,
                expected="no calibrated rule in the recipe",
                fix="build with --format-version 2",
            )
        refuse_inside(self.output.parent)
        if not (self.output / MANIFEST_NAME).is_file():
            check_absent(self.output)
            return
        found = read_manifest(self.output)
        asked = self.recipe, coding.name, self.format_version
        if (found.recipe, found.coding, found.format_version) != asked:
            raise self._occupied(found)

    def finished(self) -> ArtifactManifest | None:
        """Return the artifact at `output`, which passed `check`, or None; one of another checkpoint is a `UsageError`.

        The checkpoint is known again by the headers of its files, by their times, which are before the artifact's, by
        the files beside them, and by what `remember` noted.
        """
        if not os.path.lexists(self.output):
            return None
        found, checkpoint = read_manifest(self.output), open_checkpoint(self.source)
        files = stamp(checkpoint, {} if self.matrices is None else find_matrices(self.matrices))
        newest = max(file.mtime_ns for file in files)
        older = newest <= (self.output / MANIFEST_NAME).stat().st_mtime_ns
        same = _remembered(found) in (None, [file.to_json() for file in files])
        if not (older and same and self._beside(found)) or found.base_model != self.base_model(checkpoint):
            raise self._occupied(found)
        return found

    def _beside(self, found: ArtifactManifest) -> bool:
        """Tell whether the files beside the weights are those of an artifact; what a recipe adapts is not compared."""
        packed = {file.path: file.sha256 for file in found.files}
        adapted = {side_files.CONFIG, side_files.GENERATION_CONFIG}
        return all(
            packed.get(f"{MODEL_DIR}/{name}") == fileio.sha256_bytes(data)
            for name, data in side_files.collect(self.source, quantized=True).items()
            if name not in adapted
            or not (self.recipe.prune or self.recipe.vocabulary or self.recipe.engine != "codec")
        )

    def check_calibration(self, data: Path | None, *, shared: bool = False) -> None:
        """Refuse a calibration's data that the recipe has no use for, one that lacks them, and a size nothing can meet.

        `shared` is a build of which this is a shard.
        """
        calibrated, name = self.recipe.calibrated, self.recipe.name
        if self.target is not None and (not calibrated or self.matrices is not None):
            raise UsageError(
                "a size is met by the step of a calibration, and this build has none to choose",
                where="--matrices" if calibrated else name,
                got=str(self.target),
                fix="build with --recipe calibrated --calibration DEVSET",
            )
        if data is None and calibrated and self.matrices is None:
            raise UsageError("the recipe is calibrated, and there is no data", where=name, fix=NO_DATA)
        if data is not None and not calibrated:
            raise UsageError(
                "the recipe has nothing to calibrate",
                where=name,
                expected='a rule with quantizer = "calibrated"',
                fix="leave --calibration out, or build with --recipe calibrated",
            )
        if data is not None and (self.matrices is not None or shared):
            raise UsageError(
                "--calibration does not go together with --matrices or --shard",
                fix="build it in one piece: what takes the time is the calibration, not the packing",
            )

    def _occupied(self, found: ArtifactManifest) -> UsageError:
        base, coding = found.base_model, f"{found.coding} in format {found.format_version}"
        return UsageError(
            "the output exists, and is another artifact than this request makes",
            where=self.output,
            got=f"recipe {found.recipe.name}, coding {coding}, of {base.id or base.architecture}; or the files of "
            "the checkpoint were written since",
            fix="choose another --output, or remove it",
        )


def remember(manifest: ArtifactManifest, source: Sequence[SourceFile]) -> None:
    """Note in the user's cache which files an artifact was built of; without a cache nothing is known of it later.

    The artifact itself says only how they are laid out: a model that was trained on is laid out as before.
    """
    with suppress(IwsltpackError, OSError, RuntimeError):
        fileio.write_json(_memory(manifest), [file.to_json() for file in source])


def _remembered(manifest: ArtifactManifest) -> Any:
    with suppress(IwsltpackError, OSError, RuntimeError):
        return fileio.read_json(_memory(manifest))
    return None


def _memory(manifest: ArtifactManifest) -> Path:
    return fileio.cache_directory() / "builds" / f"{manifest.sha256}.json"


def stamp(checkpoint: Checkpoint, matrices: Mapping[str, Path]) -> tuple[SourceFile, ...]:
    """Tell the state of all files that are packed; it changes when one of them is written to or replaced."""
    found = [(path.name, path.stat()) for path in (*checkpoint.files, *matrices.values())]
    return tuple(
        SourceFile(name=name, bytes=state.st_size, mtime_ns=state.st_mtime_ns) for name, state in found
    )
