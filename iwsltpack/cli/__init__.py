"""The command line: parse, one library call, print. One module per command."""

from collections.abc import Callable
from importlib import import_module

NAMES = (
    *("init", "doctor", "status", "estimate", "build", "frontier", "decode", "merge", "clean", "submit"),
    *("validate", "submissions", "push", "pull", "score", "report", "inspect", "verify", "export", "demo"),
)
"""Every command, in the order a participant needs them."""
MODULES = {"frontier": "size_frontier"}
"""Where a command's module is called otherwise."""


def function_of(name: str) -> Callable[..., None]:
    """Return what a command calls; its module is imported now."""
    function: Callable[..., None] = import_module(f"{__name__}.{MODULES.get(name, name)}").command
    return function
