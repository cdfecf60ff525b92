"""Which layers of a model are its MLP projections: said here once, for every family of speech models.

A transformer block holds attention and a feed-forward part, the MLP. Families name the MLP and its projections
differently: ``mlp.gate_proj``, ``fc1``, ``ffn1.intermediate_dense``, ``feed_forward2.linear1``,
``DenseReluDense.wi_0``. ``mlp_layers.toml`` has them all.
The built-in recipes select by the patterns made here, and pruning takes its names from here.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import regex

from iwsltpack.errors import UsageError
from iwsltpack.system import fileio

SECONDS = 1.0
"""For one name and a recipe's pattern; a sane one takes microseconds."""

_NAMES = fileio.read_toml(Path(__file__).with_suffix(".toml"))
PROJECTIONS: dict[str, list[str]] = _NAMES["projections"]
"""The role of a projection -> its names."""
GATE, UP, DOWN = (PROJECTIONS[role][0] for role in ("gate", "up", "down"))
"""The projections of a gated MLP, the one kind whose units can be pruned."""


def pattern(*roles: str) -> str:
    """Return a regular expression for the MLP projections of these roles; of all roles where none is named.

    It is to be searched for in checkpoint names without ``.weight``.

    >>> import re
    >>> bool(re.search(pattern("up"), "model.decoder.layers.3.fc1"))
    True
    >>> bool(re.search(pattern(), "model.layers.3.mlp.gate"))  # a router
    False
    """
    names = "|".join(name for role in roles or PROJECTIONS for name in PROJECTIONS[role])
    apart, blocks = "|".join(_NAMES["apart"]), "|".join(_NAMES["blocks"])
    # Layers that low-rank adapters are attached to, and Kyutai's, hold their weight one level deeper.
    return rf"^(?!.*(?:{apart}))(?:.*\.)?(?:{blocks})\.(?:{names})(?:\.base_layer|\.linear)?$"


def stacked_experts(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return the tensors that hold the same projection of many experts: no linear layer, so no recipe selects them."""
    names = "|".join(name for role in PROJECTIONS.values() for name in role)
    held = re.compile(rf"(?:^|[._])experts\.(?:{names})(?:\.weight)?$")
    return [name for name, shape in shapes.items() if len(shape) > 2 and held.search(name)]


def gated_mlps(tensors: Iterable[str]) -> list[str]:
    """Return the names of the language model's gated MLPs among the names of a checkpoint's tensors, sorted."""
    gate = re.compile(pattern("gate"))
    layers = (name.removesuffix(".weight") for name in tensors if name.endswith(f".{GATE}.weight"))
    return sorted(layer.removesuffix(f".{GATE}") for layer in layers if gate.search(layer))


def title(expression: str) -> str | None:
    """Return in words what one of the patterns made here selects, None for any other."""
    named = {pattern(role): f"the {role} projections of the MLPs" for role in PROJECTIONS}
    return {pattern(): "the MLP projections", **named}.get(expression)


def select(expression: str, names: Iterable[str]) -> list[str]:
    """Return the names in which a recipe's pattern is found; one that does not come to an end is a `UsageError`.

    The standard library's engine has no time limit, and holds off Ctrl-C for as long as a pattern such as ``(a+)+$``
    takes.
    """
    check_pattern(expression)
    try:
        return [name for name in names if regex.search(expression, name, timeout=SECONDS)]
    except TimeoutError as error:
        raise UsageError(
            "the pattern does not come to an end",
            where=expression,
            expected=f"an answer within {SECONDS:g} s a name",
            fix="take out repetition within repetition, such as (a+)+",
        ) from error


def check_pattern(expression: str, where: object = None) -> None:
    """Raise `UsageError` unless `expression` is a regular expression."""
    try:
        regex.compile(expression)
    except regex.error as error:
        raise UsageError(f"not a regular expression: {expression!r}", where=where, got=str(error)) from error
