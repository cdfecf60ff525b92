"""Which layers of a model are its MLP projections: said here once, for every family of speech models.

A transformer block holds attention and a feed-forward part, the MLP. Families name the MLP and its projections
differently: ``mlp.gate_proj``, ``fc1``, ``ffn1.intermediate_dense``, ``feed_forward2.linear1``,
``DenseReluDense.wi_0``.
The built-in recipes select by the patterns made here, and pruning takes its names from here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

MLP_BLOCKS = (
    "mlp",
    r"feed_forward\d?",
    r"ffn\d?",
    "DenseReluDense",
    "mixer",  # NemotronH calls attention, state space and MLP alike: the projections' names tell them apart
    r"experts\.\d+",
    "shared_experts?",
    r"layers?\.\d+",  # Whisper and BERT: the projections lie in the block itself
)
"""What holds the projections of a block's MLP."""

GATE, UP, DOWN = "gate_proj", "up_proj", "down_proj"
"""The projections of a gated MLP, the one kind whose units can be pruned."""

PROJECTIONS = {
    "gate": (GATE, "w1", "wi_0"),
    "up": (
        UP,
        "fc1",
        "linear1",
        "linear_fc1",
        "intermediate_dense",
        r"intermediate\.dense",
        "dense_h_to_4h",
        "c_fc",
        "wi",
        "wi_1",
        "w3",
        "w_1",
    ),
    "down": (
        DOWN,
        "fc2",
        "linear2",
        "linear_fc2",
        "output_dense",
        r"output\.dense",
        "dense_4h_to_h",
        "c_proj",
        "wo",
        "w2",
        "w_2",
    ),
    "gate and up in one": ("gate_up_proj",),
}
"""The role of a projection -> its names."""

APART = (
    "vision",
    "visual",
    "image",
    "img_",
    "audio_tower",  # as in the paper: an audio tower set before a language model stays as it is
    "audio_encoder",
    "projector",
    "connector",
    "merger",
    "adapter",
    "lora_",
    "router",
    "codec",
    "tokenizer",
    "timestamp",
    "diffusion",
    "talker",
    "2wav",
)
"""Words in the name of what is no part of the language model: other towers, what joins them to it, what makes sound."""


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
    # Layers that low-rank adapters are attached to, and Kyutai's, hold their weight one level deeper.
    return rf"^(?!.*(?:{'|'.join(APART)}))(?:.*\.)?(?:{'|'.join(MLP_BLOCKS)})\.(?:{names})(?:\.base_layer|\.linear)?$"


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
    named = {pattern(): "the MLP projections"} | {
        pattern(role): f"the {role} projections of the MLPs" for role in PROJECTIONS
    }
    return named.get(expression)
