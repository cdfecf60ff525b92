"""The weights of a model that is walked: in memory already, or read when a part of the model is run, and let go.

transformers' own loader says which tensor belongs where: it is given every tensor's shape, and none of the values.
"""

import math
import mmap
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import torch
from torch import nn
from transformers.core_model_loading import revert_weight_conversion

from iwsltpack.artifact.reader import open_artifact
from iwsltpack.building.checkpoint import open_checkpoint
from iwsltpack.calibration.moments import checkpoint_names
from iwsltpack.calibration.towers import find_towers
from iwsltpack.documents.layout import matrix_shape
from iwsltpack.runtime.model import load_checkpoint, load_model, resolve_device
from iwsltpack.runtime.weights import BLOCK_BYTES, DTYPES, as_torch
from iwsltpack.system.threads import for_each


class _Unread(torch.Tensor):
    """Stands for a tensor's values wherever the loader wants them."""

    def to(self, _: Any = None, dtype: torch.dtype | None = None, **__: Any) -> torch.Tensor:  # type: ignore[override]
        return torch.empty(self.shape, dtype=dtype or self.dtype, device="meta")


class Weights:
    """A model and its weights.

    What lies outside its blocks is read at once, but for the vocabulary: rows of the embedding are read when they are
    looked up, the output layer is when it is run.

    Parameters
    ----------
    model
        Of transformers, with an output layer. It is not changed if all its weights are in memory.
    device
        Where it runs.
    unread
        Name under which the values of a tensor on the meta device are stored, by the tensor's id.
    read
        Returns rows of the first axis of a stored tensor, in the type stored.

    Attributes
    ----------
    names
        See `checkpoint_names`.
    shapes
        Of the weights as matrices, by the names stored under; columns are all axes but the first.
    tied
        Such names of the output layer's weight: more than one where an embedding shares it.
    """

    def __init__(
        self,
        model: Any,
        device: torch.device,
        unread: Mapping[int, str] = MappingProxyType({}),
        read: Any = None,
    ) -> None:
        self.model, self.device, self.dtype = model, device, model.dtype
        self.names, self.output = checkpoint_names(model), model.get_output_embeddings()
        self._unread, self._rows, self._run = unread, read, ExitStack()
        self._parameters = {known: model.get_parameter(name) for name, known in self.names.items()}
        self.shapes = {
            name: torch.Size(matrix_shape(weight.shape)) for name, weight in self._parameters.items()
        }
        self.tied = {name for name, weight in self._parameters.items() if weight is self.output.weight}
        if unread:
            # Kept, so that no other tensor gets the id of one that is replaced.
            self._placeholders = [*model.state_dict(keep_vars=True).values()]
            self._read_joints()

    @classmethod
    def of_model(cls, model: Any) -> Self:
        """Return those of a model that is in memory."""
        return cls(model, next(model.parameters()).device)

    @classmethod
    def of_checkpoint(cls, folder: Path) -> Self:
        """Return those of a checkpoint folder; for errors see `open_checkpoint` and `load_checkpoint`."""
        tensors = open_checkpoint(folder).tensors
        kinds = {name: (tensor.shape, tensor.dtype.name) for name, tensor in tensors.items()}
        found = cls._of_files(folder, kinds, lambda name, *rows: tensors[name].rows(*rows))
        return found or cls.of_model(load_checkpoint(folder))

    @classmethod
    def of_artifact(cls, folder: Path) -> Self:
        """Return those of an artifact; for errors see `open_artifact` and `load_checkpoint`."""
        artifact = open_artifact(folder)
        kinds = {entry.name: (entry.shape, entry.dtype) for entry in artifact.manifest.tensors}

        @lru_cache(maxsize=1)
        def chunk(name: str, first: int) -> Any:
            entry = artifact.entry(name)
            return artifact.rows(name, first, min(first + entry.chunk_rows, entry.shape[0]))

        def rows(name: str, start: int, stop: int) -> Any:
            if not kinds[name][0]:
                return artifact.tensor(name)
            if stop > start + 1 or not (size := artifact.entry(name).chunk_rows):
                return artifact.rows(name, start, stop)
            # Rows that are looked up come one by one, in order: those of a chunk take one decoding of it.
            first = start - start % size
            return chunk(name, first)[start - first :][: stop - start]

        found = cls._of_files(artifact.model_dir, kinds, rows)
        return found or cls.of_model(load_model(folder))

    @classmethod
    def _of_files(
        cls, folder: Path, kinds: Mapping[str, tuple[tuple[int, ...], str]], rows: Callable[..., Any]
    ) -> Self | None:
        """Return those of a model's files; None if one of its tensors is made of several stored ones, or of a part."""
        if not {kind for _, kind in kinds.values()} <= DTYPES.keys():
            return None
        empty = {
            name: torch.empty(shape, dtype=DTYPES[kind], device="meta").as_subclass(_Unread)
            for name, (shape, kind) in kinds.items()
        }
        model, unread = load_checkpoint(folder, empty), dict[int, str]()
        for name, value in model.state_dict(keep_vars=True).items():
            known = [*revert_weight_conversion(model, {name: value})]
            if len(known) == 1 and known[0] in kinds and kinds[known[0]][0] == value.shape:
                unread[id(value)] = known[0]
        if any(id(value) not in unread for value in model.state_dict(keep_vars=True).values()):
            return None
        return cls(
            model,
            resolve_device("auto"),
            unread,
            lambda name, *which: as_torch(rows(name, *which), DTYPES[kinds[name][1]]),
        )

    def matrix(self, name: str) -> torch.Tensor:
        """Return a weight as a matrix by its stored name, on the device, in a type that holds it exactly."""
        weight: torch.Tensor = self._parameters[name]
        if not self._unread:
            return weight.detach().flatten(1)
        return self._read(weight, self._rows(self._unread[id(weight)], 0, 1).dtype).flatten(1)

    @contextmanager
    def held(self, part: nn.Module) -> Iterator[None]:
        """Hold a part's weights in memory."""
        found = [
            (module, name, weight)
            for module in part.modules()
            for name, weight in module._parameters.items()
            if weight is not None and id(weight) in self._unread
        ]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            values = for_each(pool, self._read, [weight for *_, weight in found])
        for (module, name, _), value in zip(found, values, strict=True):
            module._parameters[name] = value
        try:
            yield
        finally:
            for module, name, weight in found:
                module._parameters[name] = weight

    def release(self) -> None:
        """Let the output layer go, which is held from its first run on."""
        self._run.close()

    def _read_joints(self) -> None:
        inside = {id(part) for tower in find_towers(self.model) for part in tower.blocks.modules()}
        for part in self.model.modules():
            for name, value in part._buffers.items():
                if value is not None and id(value) in self._unread:
                    part._buffers[name] = self._read(value).data
            if part is self.output:
                part.register_forward_pre_hook(lambda *_: self._run.enter_context(self.held(self.output)))
            elif part is self.model.get_input_embeddings():
                self._read_when_looked_up(self.model.get_input_embeddings())
            elif id(part) not in inside:
                for name, weight in part._parameters.items():
                    if weight is not None and id(weight) in self._unread:
                        part._parameters[name] = self._read(weight)

    def _read_when_looked_up(self, table: nn.Embedding) -> None:
        name, weight = self._unread[id(table.weight)], _untouched(table.weight, self.device)
        table.weight = nn.Parameter(weight, requires_grad=False)
        known: set[int] = set()

        def read(_: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            for row in sorted(set(args[0].flatten().tolist()) - known):
                weight[row] = self._rows(name, row, row + 1)[0]
                known.add(row)

        table.register_forward_pre_hook(read)

    def _read(self, like: torch.Tensor, dtype: torch.dtype | None = None) -> nn.Parameter:
        """Read a tensor, some rows at a time."""
        found = torch.empty(like.shape, dtype=dtype or like.dtype, device=self.device)
        rows, name = found if found.ndim else found[None], self._unread[id(like)]
        step = max(1, BLOCK_BYTES * len(rows) // max(1, found.nbytes))
        for start in range(0, len(rows), step):
            rows[start : start + step] = self._rows(name, start, min(start + step, len(rows)))
        return nn.Parameter(found, requires_grad=False)


def _untouched(like: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a tensor that takes memory only where it is written to, page by page, on the CPU."""
    if device.type != "cpu":
        return torch.empty_like(like, device=device)
    room = mmap.mmap(-1, math.prod(like.shape) * like.itemsize)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):  # a huge page is hundreds of rows
        room.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(room, dtype=like.dtype).view(like.shape)
