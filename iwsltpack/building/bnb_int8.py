"""Row 2 of the paper's table: bitsandbytes' own int8 checkpoint, made by bitsandbytes and transformers themselves."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from iwsltpack.artifact.side_files import CONFIG, SIDE_FILES, architecture
from iwsltpack.errors import MissingDependency, UsageError, how_to_install
from iwsltpack.system.fileio import read_bytes
from iwsltpack.system.quiet import quiet_loggers, quiet_transformers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iwsltpack.system.progress import Reporter


@contextmanager
def int8_checkpoint(source: Path, beside: Path, progress: Reporter) -> Iterator[Path]:
    """Give a folder with the int8 checkpoint of `source`; it is gone after the block.

    Parameters
    ----------
    source
        Checkpoint folder.
    beside
        Folder on whose disk the temporary one is made.
    progress
        Shows the two steps, which may take minutes each.

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
