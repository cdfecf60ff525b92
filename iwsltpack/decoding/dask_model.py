"""A worker's model: loaded once, batches in, outputs out, nothing written."""

import threading
import time
import uuid
from dataclasses import replace
from urllib.parse import urlsplit

import torch

from iwsltpack.artifact.reader import open_artifact
from iwsltpack.cluster import worker as cluster_worker
from iwsltpack.cluster.local import cores
from iwsltpack.decoding.batches import BatchDecoder, outputs, prepare_batch
from iwsltpack.decoding.dask_messages import BatchResult, BatchTask, WorkerSetup
from iwsltpack.decoding.generation import InputBuilder, Translator
from iwsltpack.decoding.journal import Decoded, Session
from iwsltpack.decoding.record import libraries
from iwsltpack.documents.run import RunSettings
from iwsltpack.errors import ArtifactError
from iwsltpack.runtime.environment import device_name, peak_device_bytes, peak_host_bytes
from iwsltpack.runtime.model import load_from, processor_from, resolve_device


class WorkerModel:
    """A loaded model and what goes with it; threads take turns at it."""

    def __init__(self, setup: WorkerSetup) -> None:
        source = open_artifact(setup.artifact)
        if source.manifest.sha256 != setup.sha256:
            raise ArtifactError(
                "a worker finds another artifact at this place",
                where=setup.artifact,
                expected=setup.sha256,
                got=source.manifest.sha256,
                fix="give a path of the shared file system, or an address that all machines reach",
            )
        torch.set_num_threads(share_of_cores(setup.peers))
        self._device = resolve_device(setup.device)
        self._processor = processor_from(source.model_dir)
        settings = setup.settings[0]
        started = time.perf_counter()
        model = load_from(source, device=self._device, mode=settings.mode, dtype=settings.dtype)
        self._translator = Translator(model, self._processor)
        self._session = Session(
            device_name=device_name(self._device),
            mode=settings.mode,
            load_seconds=time.perf_counter() - started,
            libraries=libraries(),
        )
        self._name = uuid.uuid4().hex
        self._builders: dict[RunSettings, InputBuilder] = {}
        self._cap: int | None = None
        self._turn = threading.Lock()
        self._last_end = time.perf_counter()

    def translate(self, settings: RunSettings, task: BatchTask) -> BatchResult:
        """Decode a batch; its audio is read while another thread has the model."""
        begun = time.perf_counter()
        results: list[Decoded] = []
        caps: list[int] = []
        if task.batch:
            if settings not in self._builders:
                self._builders[settings] = InputBuilder.of_settings(self._processor, settings)
            builder = self._builders[settings]
            prepared = prepare_batch(task.batch, task.files, builder)
            with self._turn:
                decoder = BatchDecoder(builder, self._translator, settings, self._cap, caps.append)
                hypotheses = decoder.decode(prepared)
                self._cap = decoder.cap
                end = time.perf_counter()
                results = outputs(task.batch, hypotheses, end - max(begun, self._last_end))
                self._last_end = end
        host, device = peak_host_bytes(), peak_device_bytes(self._device)
        session = replace(self._session, peak_host_bytes=host, peak_device_bytes=device)
        return BatchResult(results=results, model=self._name, session=session, caps=tuple(caps))


def share_of_cores(peers: dict[str, int]) -> int:
    """Return how many threads torch may take here, so that the workers of one machine share its cores."""
    host = urlsplit(cluster_worker.address()).hostname or ""
    return max(1, cores() // max(1, peers.get(host, 1)))
