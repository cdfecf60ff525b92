"""One CUDA graph for every token after the first: the device is not kept waiting for the host to start its kernels.

A step of a 7B model at batch 1 starts some thousand kernels, and a host needs longer to start them than the device to
run them. A recorded graph starts them all at once. It wants every tensor at the same place each time, so keys and
values are held in transformers' `StaticCache`, and a step's inputs are copied to where the recorded ones lie.
`generate` itself is transformers' own: it asks the model for the callable of its token steps by `get_compiled_call`.
"""

import warnings
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

GRID = 256
"""Positions by which a cache grows. The grid makes its length, and with it a result's last bits, a matter of the batch
alone and not of what was decoded before it."""


class TokenGraphs:
    """The token steps of one model, recorded once for each size of batch and cache; the last one is kept.

    The model is whole on one CUDA device, its weights where its products read them; see `suits`.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._size: tuple[int, int] | None = None
        self._cache: Any = None
        self._recorded: _Recorded | None = None
        self._warm = self._refused = False
        model.get_compiled_call = lambda _: self

    def cache(self, rows: int, positions: int) -> Any:
        """Return an empty `StaticCache` for `rows` sequences of at most `positions` tokens, prompt included."""
        from transformers import StaticCache

        size = rows, -(-positions // GRID) * GRID
        if size != self._size:
            self._size = self._cache = self._recorded = None  # Freed before its successor is made.
            self._warm = False
            self._cache = StaticCache(self._model.config.get_text_config(decoder=True), max_cache_len=size[1])
            self._size = size
        else:
            self._cache.reset()
        return self._cache

    def __call__(self, **inputs: Any) -> Any:
        """Run a token step, from the second on by the graph; the outputs are overwritten by the next one."""
        if not self._warm:
            # Kernels are compiled and libraries take their workspaces outside of any graph.
            self._warm = True
            return self._model(**inputs)
        if self._recorded is None and not self._refused:
            self._recorded = self._record(inputs)
        given = dict(_tensors(inputs))
        if self._recorded is None or _shapes(given) != _shapes(self._recorded.places):
            return self._model(**inputs)
        for name, place in self._recorded.places.items():
            if place is not given[name]:
                place.copy_(given[name])
        self._recorded.replay()
        return self._recorded.outputs[-1]

    def _record(self, inputs: dict[str, Any]) -> "_Recorded | None":
        outputs: deque[Any] = deque(maxlen=1)
        try:
            replay = record(lambda: outputs.append(self._model(**inputs)))
        except RuntimeError as error:  # What CUDA does not record, it says in an error of this kind.
            self._refused = True
            warnings.warn(
                f"decoding goes on without CUDA graphs, more slowly: the model's step is not recorded ({error})",
                stacklevel=2,
            )
            return None
        return _Recorded(dict(_tensors(inputs)), outputs, replay)


class _Recorded(NamedTuple):
    """A recorded step: the tensors that it reads, its outputs, and what runs it."""

    places: dict[str, torch.Tensor]
    outputs: deque[Any]
    replay: Callable[[], None]


def record(step: Callable[[], None]) -> Callable[[], None]:
    """Return what runs, on the current CUDA device, the kernels that `step` starts; none of them is run yet."""
    graph = torch.cuda.CUDAGraph()
    # Other threads, which read the next batch, may use the device meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        step()
    return graph.replay


def _tensors(inputs: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in inputs.items():
        if isinstance(value, torch.Tensor):
            yield prefix + name, value
        elif isinstance(value, dict):
            yield from _tensors(value, f"{prefix}{name}.")


def _shapes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in tensors.items()}


def suits(model: Any) -> bool:
    """Tell whether a model's token step can be recorded.

    It can where the whole model lies on one CUDA device, no layer decodes its weight when it is used, and every layer
    of its cache keeps what it counts on the device: those with a window count on the host.
    """
    from transformers import StaticCache
    from transformers.cache_utils import StaticLayer

    from iwsltpack.runtime.compressed_linear import CodedLinear

    config = model.config
    if (
        model.device.type != "cuda"
        or config.is_encoder_decoder
        or len({p.device for p in model.parameters()}) > 1
    ):
        return False
    if any(isinstance(module, CodedLinear) for module in model.modules()):
        return False
    layers = StaticCache(config.get_text_config(decoder=True), max_cache_len=GRID).layers
    return all(type(layer) is StaticLayer and hasattr(layer, "cumulative_length") for layer in layers)
