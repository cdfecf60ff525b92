"""A model as towers of blocks and what lies between them, found by running its own forward over stand-ins.

A tower is a list of blocks that hand one hidden state to each other: the layers of an encoder, of a decoder, of a
language model. Everything else (embeddings, projections, norms, the output layer) is called the joints here. The
model's own code runs the joints; each block is replaced by a stand-in that notes what it is given and passes the
hidden state on. So no code here knows an architecture, and no more than one block is computed at a time.
"""

import inspect
from collections import UserDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from iwsltpack.errors import UsageError

HIDDEN = "hidden_states"
"""Name of a block's first parameter in transformers, where it is given by name."""


@dataclass(frozen=True)
class Batch:
    """What the model is run on.

    Attributes
    ----------
    inputs
        Of the model's forward, the output's tokens included (teacher forcing). Padding is harmless where the
        model masks it: what has no influence on the loss is not counted.
    targets
        Which positions predict tokens of the output; bool, shape (batch, positions) as the logits.
    """

    inputs: dict[str, torch.Tensor]
    targets: torch.Tensor


@dataclass(frozen=True)
class Slot:
    """Stands in a recorded call for the tensor of that number."""

    number: int


@dataclass
class Call:
    """The arguments of one block without its hidden state, tensors replaced by slots; `slots` are their numbers."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    by_name: bool
    slots: set[int] = field(default_factory=set)

    def with_hidden(self, hidden: torch.Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return all arguments, by place and by name."""
        if self.by_name:
            return self.args, {HIDDEN: hidden, **self.kwargs}
        return (hidden, *self.args), self.kwargs

    def run(self, block: nn.Module, hidden: torch.Tensor, tensors: dict[int, torch.Tensor]) -> torch.Tensor:
        """Compute the block.

        UsageError: it left something for later blocks in a shared argument.
        """
        shared: list[Any] = []

        def filled(item: Any) -> Any:
            if isinstance(item, UserDict):  # a container for what blocks share: given anew
                shared.append(item := type(item)())
            return tensors[item.number] if isinstance(item, Slot) else item

        args, kwargs = _changed(self.with_hidden(hidden), filled)
        output = block(*args, **kwargs)
        if any(shared):
            raise UsageError(
                "blocks of this model hand keys and values to each other, which calibration cannot follow yet",
                where=type(block).__name__,
            )
        return output if isinstance(output, torch.Tensor) else output[0]


@dataclass
class Recorded:
    """What one batch gives a tower: the hidden state of its first block, the tensors beside it, every block's call."""

    hidden: torch.Tensor
    tensors: list[torch.Tensor] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)


@dataclass(eq=False)
class Tower:
    """A list of blocks in the order they run, and its name in the model."""

    name: str
    blocks: nn.ModuleList


def find_towers(model: nn.Module) -> list[Tower]:
    """Return the outermost module lists that hold blocks of one class with weight matrices, whether run or not."""
    found: list[Tower] = []
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{tower.name}.") for tower in found)
        if isinstance(module, nn.ModuleList) and not inside and _are_blocks(module):
            found.append(Tower(name, module))
    return found


def _are_blocks(modules: nn.ModuleList) -> bool:
    def is_block(module: nn.Module) -> bool:
        return any(isinstance(part, nn.Linear) for part in module.modules() if part is not module)

    return len({type(module) for module in modules}) == 1 and all(map(is_block, modules))


class _Reached(Exception):
    """The tower to be recorded has been given everything."""


class Joints:
    """Runs the joints of a model, with stand-ins for all blocks.

    Parameters
    ----------
    model
        Its forward runs as ever afterwards.
    held
        Holds a block's weights in memory.

    Attributes
    ----------
    candidates
        Every tower of the model, run or not.
    towers
        Those whose outputs are known, in the order the forward meets them.
    """

    def __init__(self, model: Any, held: Callable[[nn.Module], AbstractContextManager[None]]) -> None:
        self.model, self._held = model, held
        self.towers: list[Tower] = []
        self.candidates = find_towers(self.model)
        self._tuples: dict[str, int] = {}
        self._outputs: list[torch.Tensor] = []
        self._new: Tower | None = None
        self._recorded: Recorded | None = None
        self._passed: torch.Tensor | None = None
        takes = inspect.signature(self.model.forward).parameters
        self._settings = {"use_cache": False} if "use_cache" in takes else {}

    def run(self, batch: Batch, outputs: list[torch.Tensor]) -> tuple[Recorded | None, torch.Tensor | None]:
        """Run the model on a batch as far as what is known carries.

        Parameters
        ----------
        batch
            On the model's device.
        outputs
            What the first towers gave for this batch; the next one is recorded.

        Returns
        -------
        tuple
            What the first unknown tower is given, or the logits of the targets, shape (targets, vocabulary), where no
            tower is unknown. Both hang on `outputs` where gradients are enabled.
        """
        self._outputs, self._new, self._recorded, self._passed = outputs, None, None, None

        # A vocabulary is wide and most positions predict nothing: the output layer sees the targets alone.
        def narrow(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            return args[0][batch.targets][None], *args[1:]

        handle = self.model.get_output_embeddings().register_forward_pre_hook(narrow)
        try:
            with self._stand_ins():
                logits = self.model(**batch.inputs, **self._settings).logits
        except _Reached:
            return self._recorded, None
        finally:
            handle.remove()
        if self._new is not None:
            raise UsageError(
                "the model did not run all blocks of a tower",
                where=self._new.name,
                expected=len(self._new.blocks),
            )
        return None, logits.reshape(-1, logits.shape[-1])

    def accept(self) -> None:
        """Take the tower that the last run recorded among those whose outputs are known."""
        if self._new is not None:
            self.towers.append(self._new)

    @contextmanager
    def _stand_ins(self) -> Iterator[None]:
        blocks = [block for tower in self.candidates for block in tower.blocks]
        try:
            for tower in self.candidates:
                for index, block in enumerate(tower.blocks):
                    block.forward = self._stand_in(tower, index)
            yield
        finally:
            for block in blocks:
                vars(block).pop("forward", None)

    def _stand_in(self, tower: Tower, index: int) -> Any:
        def forward(*args: Any, **kwargs: Any) -> Any:
            by_name = HIDDEN in kwargs
            hidden = kwargs.pop(HIDDEN) if by_name else args[0]
            call = Call(args[1:], kwargs, by_name)
            self._check_order(tower, index, hidden)
            if tower in self.towers[: len(self._outputs)]:
                if index + 1 == len(tower.blocks):
                    hidden = self._outputs[self.towers.index(tower)]
            else:
                self._record(tower, index, hidden, call)
            self._passed = hidden
            return self._as_given(tower, index, hidden, call)

        return forward

    def _check_order(self, tower: Tower, index: int, hidden: torch.Tensor) -> None:
        """Refuse a model that does something to the hidden state between two blocks of a tower."""
        before = self._passed
        if index and (
            before is None or hidden.data_ptr() != before.data_ptr() or hidden.shape != before.shape
        ):
            raise UsageError(
                "something between the blocks of this model changes their output: they cannot be calibrated one by one",
                where=f"{tower.name}.{index}",
            )

    def _record(self, tower: Tower, index: int, hidden: torch.Tensor, call: Call) -> None:
        if self._recorded is None:
            if index or self._new not in (None, tower):
                raise UsageError(
                    "the model runs its blocks in an order that calibration cannot follow", where=tower.name
                )
            self._new, self._recorded = tower, Recorded(hidden)
        args, kwargs = _emptied((call.args, call.kwargs), self._recorded.tensors, call.slots)
        self._recorded.calls.append(Call(args, kwargs, call.by_name, call.slots))
        if tower.name in self._tuples and index + 1 == len(tower.blocks):
            raise _Reached

    def _as_given(self, tower: Tower, index: int, hidden: torch.Tensor, call: Call) -> Any:
        """Return the hidden state in the form the block returns it, which is learnt by computing one."""
        if tower.name not in self._tuples:
            block = tower.blocks[index]
            args, kwargs = call.with_hidden(hidden)
            with torch.no_grad(), self._held(block):
                output = type(block).forward(block, *args, **kwargs)
            self._tuples[tower.name] = 0 if isinstance(output, torch.Tensor) else len(output)
            if len(tower.blocks) == 1:
                raise _Reached
        length = self._tuples[tower.name]
        return (hidden, *[None] * (length - 1)) if length else hidden


def _changed(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return nested tuples, lists and dicts with everything else in them changed."""
    if isinstance(value, tuple | list):
        return type(value)(_changed(item, change) for item in value)
    if isinstance(value, dict):
        return {key: _changed(item, change) for key, item in value.items()}
    return change(value)


def _emptied(value: Any, tensors: list[torch.Tensor], slots: set[int]) -> Any:
    """Replace every tensor in a value by a slot, whose number `slots` gets; the same tensor gets the same slot."""
    seen = {id(tensor): number for number, tensor in enumerate(tensors)}

    def emptied(item: Any) -> Any:
        if not isinstance(item, torch.Tensor):
            return item
        if id(item) not in seen:
            seen[id(item)] = len(tensors)
            tensors.append(item)
        slots.add(seen[id(item)])
        return Slot(seen[id(item)])

    return _changed(value, emptied)
