"""Row 2 of the paper's table: bitsandbytes' own int8 checkpoint, made by bitsandbytes and transformers themselves."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from iwsltpack.artifact.side_files import CONFIG, SIDE_FILES, architecture
from iwsltpack.building.checkpoint import Checkpoint, SourceTensor
from iwsltpack.building.plan import linear_layers
from iwsltpack.codecs.dtypes import ROUNDABLE, by_name, to_float32
from iwsltpack.errors import MissingDependency, UsageError, how_to_install
from iwsltpack.system.fileio import read_bytes
from iwsltpack.system.progress import Reporter
from iwsltpack.system.quiet import quiet_loggers, quiet_transformers

_OUTPUT_LAYER = re.compile(r"(^|\.)(lm_head|proj_out)$")
"""What transformers leaves in float16."""
_FEW = 1 << 20
"""Values of a matrix from which an estimate takes the rows' largest."""


@contextmanager
def int8_checkpoint(source: Path, beside: Path, progress: Reporter) -> Iterator[Path]:
    """Give a folder with the int8 checkpoint of a checkpoint folder, made in `beside`; it is gone after the block.

    MissingDependency: bitsandbytes is not installed, or cannot work on this machine.
    """
    try:
        with quiet_loggers("bitsandbytes"):
            import bitsandbytes  # noqa: F401 - asked for early, transformers' own message comes late
    except ImportError as error:
        raise MissingDependency(
            "this recipe needs bitsandbytes", where="bnb-int8", fix=how_to_install("bnb")
        ) from error
    with tempfile.TemporaryDirectory(dir=beside, prefix=".int8-") as name:
        folder = Path(name)
        _save_int8(source, folder, progress)
        for side in SIDE_FILES:
            if (source / side).is_file() and not (folder / side).exists():
                shutil.copyfile(source / side, folder / side)
        yield folder


def _save_int8(source: Path, folder: Path, progress: Reporter) -> None:
    import torch
    import transformers

    name = architecture(read_bytes(source / CONFIG), source / CONFIG)
    cls = getattr(transformers, name, None)
    if cls is None:
        raise UsageError("transformers has no such architecture", where=source / CONFIG, got=name)
    progress.start("bitsandbytes", 2)
    with quiet_transformers(), quiet_loggers("bitsandbytes"):
        progress.note("converting the checkpoint")
        model = cls.from_pretrained(
            source,
            quantization_config=transformers.BitsAndBytesConfig(load_in_8bit=True),  # type: ignore[no-untyped-call]
            device_map={"": "cuda" if torch.cuda.is_available() else "cpu"},
            dtype=torch.float16,
        )
        progress.advance()
        progress.note("saving it")
        model.save_pretrained(folder)
        progress.advance()
    progress.finish()


@dataclass(frozen=True, kw_only=True)
class _Converted(SourceTensor):
    """What becomes of a tensor, or is stored beside it, computed row by row as bitsandbytes would."""

    of: SourceTensor

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return int8 codes, the largest magnitude of each row, or float16, as the type asks for."""
        if not self.shape:
            return np.zeros((), self.dtype.carrier)  # the layout of the codes: by rows
        of, kind = self.of, self.dtype.name
        few = kind == "float32" and of.count > _FEW
        values = to_float32(of.rows(start, start + _FEW // of.row if few else stop), of.dtype.name)
        if kind == "float16":
            return values.astype(np.float16)
        largest = np.abs(values.astype(np.float16)).max(1, initial=0).astype(np.float32)
        if few:  # alike, but no two the same: a whole matrix is not read for the sake of so few bytes
            spread = np.random.default_rng(0).uniform(0.95, 1.05, stop - start)
            return (np.resize(largest, stop - start) * spread).astype(np.float16).astype(np.float32)
        if kind == "float32":
            return np.asarray(largest)
        codes: np.ndarray = np.rint(values * (127 / np.maximum(largest, 1e-30))[:, None])
        return codes.astype(np.int8)


def converted(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint as bitsandbytes would save it, without the hours and the memory: for an estimate."""
    tensors = dict(checkpoint.tensors)

    def add(name: str, of: SourceTensor, dtype: str, shape: tuple[int, ...]) -> None:
        known = {field.name: getattr(of, field.name) for field in fields(SourceTensor)}
        tensors[name] = _Converted(**(known | {"name": name, "dtype": by_name(dtype), "shape": shape}), of=of)

    for name, tensor in checkpoint.tensors.items():
        if tensor.dtype.name in ROUNDABLE:
            add(name, tensor, "float16", tensor.shape)
    for layer in linear_layers(checkpoint):
        weight = checkpoint.tensors[f"{layer}.weight"]
        if weight.dtype.name in ROUNDABLE and not _OUTPUT_LAYER.search(layer):
            add(f"{layer}.weight", weight, "int8", weight.shape)
            add(f"{layer}.SCB", weight, "float32", weight.shape[:1])
            add(f"{layer}.weight_format", weight, "uint8", ())
    return replace(checkpoint, tensors=tensors)
