"""A table of things by name that refuses doubles and, asked for an unknown name, lists the known."""

from typing import Protocol, TypeVar

from iwsltpack.errors import UsageError


class Named(Protocol):
    """What has a name of its own."""

    @property
    def name(self) -> str:
        """Unique in its registry."""


T = TypeVar("T", bound=Named)


class Registry(dict[str, T]):
    """The entries of one kind by name; two of one name are a `ValueError`."""

    def __init__(self, kind: str, *entries: T) -> None:
        super().__init__((entry.name, entry) for entry in entries)
        self._kind = kind
        if len(self) < len(entries):
            raise ValueError(f"two {kind}s of one name among {', '.join(entry.name for entry in entries)}")

    def __missing__(self, name: str) -> T:
        raise UsageError(f"unknown {self._kind} {name!r}", expected=", ".join(self))
