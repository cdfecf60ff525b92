"""What a client and its dask workers say to each other about decoding."""

from dataclasses import dataclass

from iwsltpack.decoding.batch_plan import Batch
from iwsltpack.decoding.journal import Decoded, Session
from iwsltpack.documents.run import RunSettings
from iwsltpack.system.fileio import canonical_json, sha256_bytes
from iwsltpack.testsets.audio import ExaminedFile


@dataclass(frozen=True, kw_only=True)
class WorkerSetup:
    """What a worker must know to decode any batch of a run.

    Every worker opens the artifact itself, by its absolute path or address, and finds the manifest of that SHA-256, as
    the client read it. The device is ``cpu``, ``cuda`` or ``cuda:N`` as the worker numbers its devices. There are
    settings for each test set; device, dtype and mode are the same in all. `peers` counts the workers on each host,
    between which its cores are shared out.
    """

    artifact: str
    sha256: str
    device: str
    settings: tuple[RunSettings, ...]
    peers: dict[str, int]

    @property
    def key(self) -> str:
        """Digest of all that decides which model is loaded."""
        held = [self.artifact, self.sha256, self.device, self.settings[0].mode, self.settings[0].dtype]
        return sha256_bytes(canonical_json(held))


@dataclass(frozen=True, kw_only=True)
class BatchTask:
    """A batch of test set number `test_set`; `files` are its recordings, one a piece."""

    test_set: int
    batch: Batch
    files: tuple[ExaminedFile, ...]


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """What comes back: outputs, and by which loaded model.

    `caps` are the pieces at once to which it had to go down, because its device ran out of memory.
    """

    results: list[Decoded]
    model: str
    session: Session
    caps: tuple[int, ...]
