"""Gradients on their way back through a model, one folder of files a step: those of the hidden state, and others.

``hidden`` is the gradient of the hidden state in front of the block done last; ``slot-N`` that of a tensor that a
tower's blocks are given beside it; ``out-N`` that of a tower's outputs; ``partial-NAME`` what is known of a matrix
that more gradients will reach.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from iwsltpack.calibration.moments import Gathered, SecondMoment, Uses
from iwsltpack.calibration.streams import reading, writing
from iwsltpack.calibration.towers import Recorded

PARTIAL = "partial-"


class Gradients:
    """The gradients before and after one step.

    Parameters
    ----------
    before
        Folder of the step before; None for the first.
    after
        Folder of this step, to be filled. What the step does not touch is carried over.
    device
        Where gradients are wanted.
    """

    def __init__(self, before: Path | None, after: Path, device: torch.device) -> None:
        self._after, self._device = after, device
        self._before = {path.stem: path for path in before.iterdir()} if before else {}
        self._readers: dict[str, Iterator[torch.Tensor]] = {}
        self._writers: dict[str, Callable[[torch.Tensor], None]] = {}
        self._hidden = "hidden"
        self._files = ExitStack()

    def enter(self, tower: int) -> None:
        """Begin with a tower's last block: the gradient of its outputs is that of the hidden state."""
        self._hidden = f"out-{tower}"

    @contextmanager
    def batches(self, partial: bool) -> Iterator[None]:
        """Go through all batches, in their order; at the end, files are whole and the untouched ones carried over.

        So is, if `partial`, what is known of incomplete matrices, to which the step adds nothing then.
        """
        with self._files:
            yield
        for name, path in self._before.items():
            if name not in self._readers and (partial or not name.startswith(PARTIAL)):
                os.link(path, self._after / path.name)

    def hidden(self, like: torch.Tensor) -> torch.Tensor:
        """Return the next batch's gradient of the hidden state `like`."""
        return self._next(self._hidden, like)

    def back_to(self, recorded: Recorded) -> None:
        """Go back from what a tower was given, through the graph that made it."""
        pairs = [(recorded.hidden, self.hidden(recorded.hidden))]
        for number, tensor in enumerate(recorded.tensors):
            if (name := f"slot-{number}") in self._before:
                pairs.append((tensor, self._next(name, tensor)))
        pairs = [pair for pair in pairs if pair[0].requires_grad]
        if pairs:
            torch.autograd.backward([root for root, _ in pairs], [gradient for _, gradient in pairs])

    def add(self, name: str, gradient: torch.Tensor | None, like: torch.Tensor) -> None:
        """Add to the next batch's gradient of that name, or begin it."""
        total = self._next(name, like) if name in self._before else torch.zeros_like(like)
        self.put(name, total if gradient is None else total + gradient)

    def put(self, name: str, gradient: torch.Tensor) -> None:
        """Store the next batch's gradient of that name."""
        if name not in self._writers:
            self._writers[name] = self._files.enter_context(writing(self._after / f"{name}.npy"))
        self._writers[name](gradient)

    def _next(self, name: str, like: torch.Tensor) -> torch.Tensor:
        if name not in self._readers:
            self._readers[name] = reading(self._before[name])
        return next(self._readers[name]).to(like)

    def merge_partial(self, found: dict[str, Gathered]) -> None:
        """Add what was known of incomplete matrices to what was found in this step."""
        merged: set[int] = set()
        for stem, path in self._before.items():
            if stem.startswith(PARTIAL):
                total, tokens, gradients, *probes = (tensor.to(self._device) for tensor in reading(path))
                known = (Uses if total.ndim == 1 else SecondMoment)(total, int(tokens))
                name = stem.removeprefix(PARTIAL)
                if name not in found:
                    found[name] = Gathered(known, gradients, *probes)
                    continue
                found[name].gradients += gradients
                if (other := found[name].probes) is not None:
                    other += probes[0]
                if id(found[name].moment) not in merged:  # matrices that are fed the same share it
                    found[name].moment.merge(known)
                    merged.add(id(found[name].moment))

    def keep_partial(self, found: dict[str, Gathered]) -> None:
        """Store what is known of incomplete matrices."""
        for name, gathered in found.items():
            with writing(self._after / f"{PARTIAL}{name}.npy") as add:
                add(gathered.moment.total())
                add(torch.tensor(gathered.moment.tokens))
                add(gathered.gradients)
                if gathered.probes is not None:
                    add(gathered.probes)
