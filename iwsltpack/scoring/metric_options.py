"""What a person may ask of scoring, with the track's defaults."""

from dataclasses import dataclass

from iwsltpack.documents.choices import Device
from iwsltpack.scoring.comet_checkpoint import DEFAULT_MODEL

BATCH_SIZE = 16
"""COMET's, in the paper."""


@dataclass(frozen=True, kw_only=True)
class CometOptions:
    """Which COMET: hub id, folder or file; segments a batch; ``auto``, ``cuda`` or ``cpu``."""

    model: str = DEFAULT_MODEL
    batch_size: int = BATCH_SIZE
    device: Device = "auto"
