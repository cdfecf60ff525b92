"""Every coding by its name in the manifest."""

from dataclasses import replace

from iwsltpack.codecs.chain import Coding
from iwsltpack.codecs.paper import Paper
from iwsltpack.codecs.pcodec import Pcodec
from iwsltpack.codecs.shuffle_zstd import ShuffleZstd
from iwsltpack.documents.names import ARTIFACT_VERSIONS
from iwsltpack.errors import UsageError
from iwsltpack.system.registry import Registry

CODINGS: Registry[Coding] = Registry(
    "coding",
    Paper(),
    ShuffleZstd(),
    Pcodec(),
)


def coding_in(version: int, name: str) -> Coding:
    """Return a coding as it packs in a version of the artifact's format; an unknown one of either is a `UsageError`."""
    if version not in ARTIFACT_VERSIONS:
        raise UsageError("unknown format version", expected="1 or 2", got=version)
    return replace(CODINGS[name], format_version=version)
