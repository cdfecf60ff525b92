"""Tensors packed where others pack, too: each in a folder of its own first, then moved to its place whole.

Two that pack the same tensor, because one of them was taken for dead, never write to the same file.
"""

import shutil
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from iwsltpack.building.partial import ARTIFACT, STAGING, Digests, SourceFile, Written, holds_other
from iwsltpack.building.plan import TensorPlan
from iwsltpack.building.tensor_writer import write_tensor
from iwsltpack.codecs.chain import Coding
from iwsltpack.documents.names import WEIGHTS_DIR
from iwsltpack.errors import InputError
from iwsltpack.system import memory
from iwsltpack.system.fileio import disk_errors
from iwsltpack.system.progress import SILENT, Reporter

BUNDLE_BYTES = 4 << 20
"""Small tensors travel together, up to this many source bytes: half of a model's tensors are biases and norms."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Tensors packed in one go: a large one alone, or small ones."""

    plans: tuple[TensorPlan, ...]

    @property
    def names(self) -> list[str]:
        """Names of its tensors."""
        return [plan.source.name for plan in self.plans]

    @property
    def nbytes(self) -> int:
        """Bytes in the source."""
        return sum(plan.source.nbytes for plan in self.plans)

    @property
    def paths(self) -> set[Path]:
        """Files that its tensors are read from."""
        named = {path for plan in self.plans for path in (plan.source.path, plan.matrix)}
        return {path for path in named if path is not None}

    def __str__(self) -> str:
        first, *others = self.names
        return f"{first} and {len(others)} more" if others else first


def bundled(plans: Sequence[TensorPlan]) -> list[Bundle]:
    """Return the bundles of `plans`: small tensors, which wait more than they work, then the largest first.

    So no core is left alone with one at the end.
    """
    large: list[Bundle] = []
    small: list[list[TensorPlan]] = []
    for plan in sorted(plans, key=lambda plan: (-plan.source.nbytes, plan.source.name)):
        if plan.source.nbytes * 2 > BUNDLE_BYTES:
            large.append(Bundle(plans=(plan,)))
        elif small and sum(entry.source.nbytes for entry in (*small[-1], plan)) <= BUNDLE_BYTES:
            small[-1].append(plan)
        else:
            small.append([plan])
    return [*(Bundle(plans=tuple(some)) for some in small), *large]


@dataclass(frozen=True, kw_only=True)
class Staged:
    """A bundle that is packed and checked, and where it lies until it is adopted."""

    folder: str
    written: tuple[Written, ...]


def pack_bundle(
    bundle: Bundle,
    partial_folder: Path,
    coding: Coding,
    *,
    progress: Reporter = SILENT,
    stop: threading.Event | None = None,
    pool: Executor | None = None,
) -> Staged:
    """Pack the tensors of a bundle into a new folder under the partial folder's ``staging``, which must be there.

    Their chunks are packed by the threads of `pool`, or by this one.

    Stopped: `stop` was set, or the staging folder went away. For other errors see `write_tensor`.
    """
    memory.keep_freed_blocks()
    staging = partial_folder / STAGING
    with disk_errors(staging):
        folder = Path(tempfile.mkdtemp(dir=staging))
        stop = stop or threading.Event()
        written = [write_tensor(folder, plan, coding, progress, stop, pool) for plan in bundle.plans]
    return Staged(folder=str(folder), written=tuple(written))


def adopt(staged: Staged, partial_folder: Path) -> None:
    """Move the tensors of a packed bundle to their places in the artifact."""
    folder, target = Path(staged.folder), partial_folder / ARTIFACT / WEIGHTS_DIR
    with disk_errors(target):
        target.mkdir(parents=True, exist_ok=True)
        for tensor, _ in staged.written:
            shutil.rmtree(target / tensor.name, ignore_errors=True)
            (folder / WEIGHTS_DIR / tensor.name).rename(target / tensor.name)
        shutil.rmtree(folder, ignore_errors=True)


def check_source(bundle: Bundle, source: Sequence[SourceFile], known: Digests) -> None:
    """Make sure that this machine sees the checkpoint that was planned with, whose files are `known`.

    A file that is missing or another one is an `InputError`.
    """
    planned = {file.name: file for file in source}
    for path in sorted(bundle.paths):
        wanted = planned[path.name]
        if not path.is_file():
            raise InputError(
                "no such checkpoint file",
                where=path,
                fix="keep the checkpoint in a folder that every machine sees under the same path",
            )
        found = path.stat()
        # File systems differ in how finely they keep times.
        if (found.st_size, found.st_mtime_ns // 10**9) != (wanted.bytes, wanted.mtime_ns // 10**9):
            raise InputError(
                "another checkpoint file than the build was begun with",
                where=path,
                expected=f"{wanted.bytes} bytes, written at {wanted.mtime_ns // 10**9} s",
                got=f"{found.st_size} bytes, written at {found.st_mtime_ns // 10**9} s",
                fix="share one folder; if every machine has a copy, copy with times kept (cp -p, rsync -t)",
            )
        if holds_other(path, known):
            raise InputError(
                "a copy of a checkpoint file that holds other weights than the build was begun with",
                where=path,
                expected=f"SHA-256 {known[path.name][1]}",
                fix="share one folder, or copy the checkpoint anew",
            )
