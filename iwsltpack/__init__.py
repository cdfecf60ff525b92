"""iwsltpack: compress, decode and package speech-translation models for the IWSLT Model Compression track.

The names in ``__all__`` are the library's whole face; `docs/library.md` shows each at work. They are loaded when
they are first used: ``import iwsltpack`` itself costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from iwsltpack.version import __version__

if TYPE_CHECKING:
    from iwsltpack.artifact.export import export_checkpoint as export_checkpoint
    from iwsltpack.artifact.integrity import verify_artifact as verify_artifact
    from iwsltpack.artifact.reader import open_artifact as open_artifact
    from iwsltpack.building.pipeline import build_artifact as build_artifact
    from iwsltpack.building.recipes import load_recipe as load_recipe
    from iwsltpack.building.request import BuildRequest as BuildRequest
    from iwsltpack.cleaning.engine import clean_lines as clean_lines
    from iwsltpack.decoding.decode import decode as decode
    from iwsltpack.decoding.options import DecodeOptions as DecodeOptions
    from iwsltpack.decoding.options import RunRequest as RunRequest
    from iwsltpack.runtime.model import load_model as load_model
    from iwsltpack.runtime.model import load_processor as load_processor
    from iwsltpack.scoring.references import read_references as read_references
    from iwsltpack.scoring.score import score as score
    from iwsltpack.scoring.texts import read_hypotheses as read_hypotheses
    from iwsltpack.submission.validation import validate as validate
    from iwsltpack.system.progress import Reporter as Reporter

_HOMES = {
    "BuildRequest": "building.request",
    "DecodeOptions": "decoding.options",
    "Reporter": "system.progress",
    "RunRequest": "decoding.options",
    "build_artifact": "building.pipeline",
    "clean_lines": "cleaning.engine",
    "decode": "decoding.decode",
    "export_checkpoint": "artifact.export",
    "load_model": "runtime.model",
    "load_processor": "runtime.model",
    "load_recipe": "building.recipes",
    "open_artifact": "artifact.reader",
    "read_hypotheses": "scoring.texts",
    "read_references": "scoring.references",
    "score": "scoring.score",
    "validate": "submission.validation",
    "verify_artifact": "artifact.integrity",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"iwsltpack.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
