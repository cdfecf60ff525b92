"""iwsltpack: compress, decode and package speech-translation models for the IWSLT Model Compression track."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iwsltpack.version import __version__

if TYPE_CHECKING:
    from iwsltpack.runtime.model import load_model, load_processor

__all__ = ["__version__", "load_model", "load_processor"]


def __getattr__(name: str) -> Any:
    if name in ("load_model", "load_processor"):
        from iwsltpack.runtime import model

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
