"""Tensors on disk, one after the other in one file: written in one go, read in the same order."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from iwsltpack.errors import ArtifactError
from iwsltpack.system import fileio


@contextmanager
def writing(path: Path) -> Iterator[Callable[[torch.Tensor], None]]:
    """Give a function that adds a tensor to `path`; the file appears when the block ends well.

    bfloat16, which numpy does not have, is stored as the float32 that holds it exactly.
    """
    with fileio.atomic_open(path) as stream:

        def add(tensor: torch.Tensor) -> None:
            plain = tensor.detach().cpu()
            if plain.dtype is torch.bfloat16:
                plain = plain.float()
            np.lib.format.write_array(stream, plain.contiguous().numpy(), allow_pickle=False)

        yield add


def reading(path: Path) -> Iterator[torch.Tensor]:
    """Return the tensors of a file that `writing` made, one at a time, on the CPU.

    ArtifactError: the file is gone or damaged.
    """
    try:
        with path.open("rb") as stream:
            while stream.peek(1):
                yield torch.from_numpy(np.lib.format.read_array(stream, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            "an intermediate file of the calibration is damaged",
            where=path,
            got=str(error),
            fix=f"remove {path.parent} and start again",
        ) from error
