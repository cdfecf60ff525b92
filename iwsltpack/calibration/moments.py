"""What each weight matrix is fed, and how much its outputs matter: gathered by hooks while gradients flow."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn
from transformers.core_model_loading import revert_weight_conversion

PROBES = 64
"""Random combinations of a layer's outputs by which it is seen how far the gradients of its tokens agree."""
ROWS_AT_ONCE = 512
"""Inputs gathered before they are multiplied: one product of many rows costs less than many of a few."""


class Uses:
    """How often each of an embedding's rows was used: counts, shape (rows,), and the tokens there were.

    Of a weight that has neither inputs nor lookups: how much each of its rows matters, and the sequences there were.
    """

    def __init__(self, counts: torch.Tensor, tokens: int = 0) -> None:
        self.tokens, self._sum = tokens, counts

    def add(self, ids: torch.Tensor) -> None:
        """Count rows once more, shape (tokens,)."""
        self.tokens += len(ids)
        self._sum += torch.bincount(ids, minlength=len(self._sum))

    def add_gradients(self, squared: torch.Tensor) -> None:
        """Add a sequence's squared gradients instead, of a weight's own entries, summed over its columns."""
        self.tokens += 1
        self._sum += squared

    def merge(self, other: Self) -> None:
        """Add what was summed before."""
        self.tokens += other.tokens
        self._sum += other.total()

    def total(self) -> torch.Tensor:
        """Return the sum."""
        return self._sum


class SecondMoment(Uses):
    """The sum of ``x xT`` over inputs x, in float32, shape (columns, columns)."""

    def __init__(self, start: torch.Tensor, tokens: int = 0) -> None:
        super().__init__(start, tokens)
        self._rows: list[torch.Tensor] = []

    def add(self, rows: torch.Tensor) -> None:
        """Add inputs, shape (tokens, columns)."""
        self.tokens += len(rows)
        self._rows.append(rows.float())
        if sum(map(len, self._rows)) >= ROWS_AT_ONCE:
            self.total()

    def total(self) -> torch.Tensor:
        """Return the sum, to which all that waits is added."""
        if self._rows:
            rows = torch.cat(self._rows)
            self._sum.addmm_(rows.T, rows)
            self._rows = []
        return self._sum

    def mean(self) -> torch.Tensor:
        """Return ``E[x xT]``; zeros where nothing was added."""
        return self.total() / max(1, self.tokens)


@dataclass(eq=False)
class Gathered:
    """What is known of one matrix.

    Attributes
    ----------
    moment
        Of its inputs; shared by matrices that are fed the same.
    gradients
        Sum of the squared gradients of each output, or of each column; float64.
    probes
        Of a linear layer, the gradient of its weight times random signs for the outputs, anew for every sequence, and
        summed over them; shape (inputs, PROBES).
    """

    moment: Uses
    gradients: torch.Tensor
    probes: torch.Tensor | None = None


def is_whole(layer: nn.Module) -> bool:
    """Tell whether a module's weight can only be judged by its own gradients: say, that of a convolution."""
    return not isinstance(layer, nn.Linear | nn.Embedding)


class Collector:
    """Watches linear layers, embeddings and other modules with a weight while a model runs forward and backward.

    What has no influence on the loss (padding, a prompt's last hidden states) has a gradient of exactly zero and is not
    counted: errors do no harm there.

    Parameters
    ----------
    layers
        By the name of their weight.
    whole
        Names of those that are judged by the gradients of the weight itself, whatever a model does with it.
    """

    def __init__(self, layers: Mapping[str, nn.Module], whole: Collection[str]) -> None:
        self.found: dict[str, Gathered] = {}
        self._seen: dict[int, tuple[torch.Tensor, Uses]] = {}
        self._batch, self._signs = 0, dict[int, torch.Tensor]()
        self._whole, self._watched = {name: layers[name] for name in whole}, list[nn.Parameter]()
        self._handles = [
            layer.register_forward_hook(
                self._embedding(name) if isinstance(layer, nn.Embedding) else self._linear(name)
            )
            for name, layer in layers.items()
            if not is_whole(layer) and name not in self._whole
        ]

    def next_batch(self) -> None:
        """Forget which inputs were seen: those of another batch follow. All weights are in memory."""
        self._seen, self._signs = {}, {}
        self._batch += 1
        for name, layer in self._whole.items():
            weight = layer.get_parameter("weight")
            if not weight.requires_grad:
                weight.requires_grad_(True)
                self._watched.append(weight)
                handle = weight.register_post_accumulate_grad_hook(self._entries(name))  # type: ignore[no-untyped-call]
                self._handles.append(handle)

    def close(self) -> None:
        """Watch no longer."""
        for handle in self._handles:
            handle.remove()
        for weight in self._watched:
            weight.requires_grad_(False)
        self._seen = {}

    def _random_signs(self, outputs: int, place: torch.device) -> torch.Tensor:
        """Return this batch's signs, -1 or 1, for so many outputs."""
        if outputs not in self._signs:
            dice = torch.Generator().manual_seed(self._batch)
            drawn = torch.randint(0, 2, (outputs, PROBES), generator=dice, dtype=torch.float32)
            self._signs[outputs] = (2 * drawn - 1).to(place)
        return self._signs[outputs]

    def _entries(self, name: str) -> Callable[[Any], None]:
        """Return what adds a sequence's gradients: labels are drawn, so their squares are its Fisher information."""

        def add(weight: Any) -> None:
            squared, weight.grad = weight.grad.double().square().flatten(1), None
            if name not in self.found:
                rows, columns = (torch.zeros_like(squared[:, 0]), torch.zeros_like(squared[0]))
                self.found[name] = Gathered(Uses(rows), columns)
            self.found[name].moment.add_gradients(squared.sum(1))
            self.found[name].gradients.add_(squared.sum(0))

        return add

    def _linear(self, name: str) -> Any:
        def hook(_: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            if not torch.is_grad_enabled():
                return
            given = args[0]
            if name not in self.found:
                shared = self._seen.get(id(given))
                size, place = given.shape[-1], given.device
                moment = shared[1] if shared else SecondMoment(torch.zeros(size, size, device=place))
                zeros = torch.zeros(output.shape[-1], dtype=torch.float64, device=place)
                self.found[name] = Gathered(moment, zeros, torch.zeros(size, PROBES, device=place))
            gathered, new = self.found[name], id(given) not in self._seen
            # The tensor is kept so that no other one gets its id while this batch lasts.
            self._seen[id(given)] = given, gathered.moment
            rows = given.detach().reshape(-1, given.shape[-1])

            def add_inputs(gradient: torch.Tensor) -> None:
                if new:
                    gathered.moment.add(rows[(gradient.detach().reshape(len(rows), -1) != 0).any(-1)])

            def add_gradients(gradient: torch.Tensor) -> None:
                flat = gradient.detach().reshape(-1, gradient.shape[-1])
                gathered.gradients.add_(flat.double().square().sum(0))
                signs = self._random_signs(flat.shape[1], flat.device)
                if gathered.probes is not None:
                    gathered.probes.addmm_(rows.float().T, flat.float() @ signs)
                if not given.requires_grad:
                    add_inputs(gradient)

            if given.requires_grad:
                given.register_hook(add_inputs)  # type: ignore[no-untyped-call]
            output.requires_grad_(True).register_hook(add_gradients)  # type: ignore[no-untyped-call]

        return hook

    def _embedding(self, name: str) -> Any:
        def hook(layer: nn.Embedding, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            if not torch.is_grad_enabled():
                return
            if name not in self.found:
                if not _looked_up(layer, args[0], output):
                    output.requires_grad_(True)
                    return
                counts, zeros = (
                    torch.zeros(size, dtype=torch.float64, device=output.device)
                    for size in layer.weight.shape
                )
                self.found[name] = Gathered(Uses(counts), zeros)
            gathered, ids = self.found[name], args[0].reshape(-1)
            # Some models multiply what they look up: the gradient of the row itself is that much larger.
            scale = float(getattr(layer, "embed_scale", 1.0))

            def count(gradient: torch.Tensor) -> None:
                flat = gradient.detach().reshape(len(ids), -1)
                gathered.moment.add(ids[(flat != 0).any(-1)])
                gathered.gradients.add_((flat.double() * scale).square().sum(0))

            output.requires_grad_(True).register_hook(count)  # type: ignore[no-untyped-call]

        return hook


def _looked_up(layer: nn.Embedding, ids: torch.Tensor, output: torch.Tensor) -> bool:
    """Tell whether a table is looked up by the ids it is given; one of positions may be used otherwise."""
    same = output.shape[:-1] == ids.shape and output.shape[-1] == layer.embedding_dim
    if same and not ids.is_floating_point() and bool((ids < layer.num_embeddings).all()):
        row, found = layer.weight[ids.reshape(-1)[0]], output.detach().reshape(-1, layer.embedding_dim)[0]
        # Up to a factor: some models scale what they look up. NaN is not this check's business.
        return not float(nn.functional.cosine_similarity(row.detach().float(), found.float(), dim=0)) < 0.999
    return False


def weight_layers(modules: Iterable[tuple[str, nn.Module]], names: Mapping[str, str]) -> dict[str, nn.Module]:
    """Return those of `modules` whose weight `names` has, by the checkpoint's name."""
    return {names[f"{name}.weight"]: module for name, module in modules if f"{name}.weight" in names}


def checkpoint_names(model: Any) -> dict[str, str]:
    """Return what a checkpoint calls the weights of two axes or more, by the model's own name.

    transformers renames modules when it loads a checkpoint, and back when it saves one. What it makes of several
    tensors, or of a part of one, is left out.
    """
    names = {}
    for name, module in model.named_modules():
        weight = module._parameters.get("weight")
        if weight is not None and weight.ndim > 1:
            stored = revert_weight_conversion(model, {f"{name}.weight": weight})
            if len(stored) == 1:
                names[f"{name}.weight"] = next(iter(stored))
    whole = Counter(names.values())
    return {name: stored for name, stored in names.items() if whole[stored] == 1}
