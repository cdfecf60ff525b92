"""Every coding by its name in the manifest."""

from __future__ import annotations

from iwsltpack.codecs.chain import Coding
from iwsltpack.codecs.paper import Paper
from iwsltpack.codecs.pcodec import Pcodec
from iwsltpack.codecs.shuffle_zstd import ShuffleZstd
from iwsltpack.system.registry import Registry

CODINGS: Registry[Coding] = Registry(
    "coding",
    Paper(),
    ShuffleZstd(),
    Pcodec(),
)
