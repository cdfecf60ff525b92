"""Runs batches through the model; in the loop of one process, each is journaled before the next begins."""

import gc
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch

from iwsltpack.decoding.batch_plan import Batch
from iwsltpack.decoding.generation import Hypothesis, InputBuilder, Translator
from iwsltpack.decoding.journal import Decoded
from iwsltpack.decoding.open_run import OpenRun
from iwsltpack.documents.run import RunSettings
from iwsltpack.errors import ResourceError
from iwsltpack.system.progress import SILENT, Reporter
from iwsltpack.testsets.audio import ExaminedFile, Samples, read_span

T = TypeVar("T")
R = TypeVar("R")
AHEAD = 2
"""Batches prepared while the model works on another."""


@dataclass(frozen=True, kw_only=True)
class PreparedBatch:
    """A batch's audio at the model's rate, and the model's inputs."""

    audio: list[Samples]
    inputs: dict[str, torch.Tensor]


def translate_batches(run: OpenRun, translator: Translator, reporter: Reporter) -> None:
    """Decode what is left of a test set, each batch into the journal; audio is read ahead of the model.

    A single piece that does not fit the device's memory is a `ResourceError`; a recording that changed since it was
    examined, an `InputError`.
    """
    job = run.job
    builder = job.input_builder
    decoder = BatchDecoder(
        builder, translator, job.plan.settings, run.journal.cap, run.journal.set_cap, reporter
    )

    def prepare(batch: Batch) -> PreparedBatch:
        return prepare_batch(batch, job.files_of(batch), builder)

    meter = AudioProgress(reporter, f"decoding {job.name}", ((job.name, batch) for batch in run.batches))
    before = time.perf_counter()
    for batch, prepared in work_ahead(run.batches, prepare):
        hypotheses = decoder.decode(prepared)
        now = time.perf_counter()
        run.journal.record(outputs(batch, hypotheses, now - before))
        before = now
        meter.advance(job.name, batch)
    reporter.finish()


def work_ahead(items: Iterable[T], prepare: Callable[[T], R]) -> Iterator[tuple[T, R]]:
    """Yield each item with what `prepare` makes of it, preparing the next ones in a thread meanwhile."""
    pending: deque[tuple[T, Future[R]]] = deque()
    source = iter(items)
    pool = ThreadPoolExecutor(1, thread_name_prefix="prepare")
    try:
        while True:
            while len(pending) <= AHEAD and (item := next(source, None)) is not None:
                pending.append((item, pool.submit(prepare, item)))
            if not pending:
                return
            item, future = pending.popleft()
            yield item, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def audio_seconds(batches: Iterable[Batch]) -> float:
    """Return how much audio the batches hold."""
    return sum(piece.duration for batch in batches for piece in batch)


def prepare_batch(batch: Batch, files: Iterable[ExaminedFile], builder: InputBuilder) -> PreparedBatch:
    """Read a batch's audio and make the model's inputs of it; `files` are its recordings, one a piece."""
    audio = [
        read_span(file.path, piece.offset, piece.duration, builder.rate, file)
        for piece, file in zip(batch, files, strict=True)
    ]
    return PreparedBatch(audio=audio, inputs=builder.prepare(audio))


def outputs(batch: Batch, hypotheses: list[Hypothesis], seconds: float) -> list[Decoded]:
    """Return what is journaled of a batch that took `seconds`."""
    return [
        Decoded(segment=piece.segment, part=piece.part, seconds=seconds / len(batch), **vars(hypothesis))
        for piece, hypothesis in zip(batch, hypotheses, strict=True)
    ]


class AudioProgress:
    """Counts whole segments and the seconds heard, for the person watching.

    `batches` are what is to be decoded, each with a name of its test set.
    """

    def __init__(self, reporter: Reporter, description: str, batches: Iterable[tuple[str, Batch]]) -> None:
        self._reporter = reporter
        self._left = Counter((name, piece.segment) for name, batch in batches for piece in batch)
        self._heard, self._started = 0.0, time.perf_counter()
        reporter.start(description, len(self._left))

    def advance(self, name: str, batch: Batch) -> None:
        """Take note of a batch that is decoded."""
        self._heard += audio_seconds([batch])
        self._reporter.note(f"{self._heard / (time.perf_counter() - self._started):.1f} s of audio a second")
        keys = [(name, piece.segment) for piece in batch]
        self._left.subtract(keys)
        self._reporter.advance(sum(self._left[key] == 0 for key in set(keys)))


@dataclass
class BatchDecoder:
    """Generation that halves the batch when the device's memory runs out, and retries what was cut off.

    `cap` is how many pieces fit the device at once, None while all have; `note_cap` is told when it goes down.
    """

    builder: InputBuilder
    translator: Translator
    settings: RunSettings
    cap: int | None
    note_cap: Callable[[int], None]
    reporter: Reporter = SILENT

    def decode(self, prepared: PreparedBatch) -> list[Hypothesis]:
        """Return a hypothesis for every recording of a batch."""
        found = self._fitting(prepared.audio, self.settings.max_new_tokens, prepared.inputs)
        again = [place for place, hypothesis in enumerate(found) if hypothesis.finish == "length"]
        if again and self.settings.retry_truncated is not None:
            retried = self._fitting([prepared.audio[place] for place in again], self.settings.retry_truncated)
            for place, hypothesis in zip(again, retried, strict=True):
                found[place] = hypothesis
        return found

    def _fitting(
        self, audio: list[Samples], limit: int, inputs: dict[str, torch.Tensor] | None = None
    ) -> list[Hypothesis]:
        """Decode all of `audio` at once, or in as many parts as the device's memory makes needed."""
        while True:
            size = min(len(audio), self.cap or len(audio))
            parts: Iterable[dict[str, torch.Tensor]] = (
                self.builder.prepare(audio[start : start + size]) for start in range(0, len(audio), size)
            )
            if inputs is not None and size == len(audio):
                parts = [inputs]
            try:
                return [hypothesis for part in parts for hypothesis in self.translator.generate(part, limit)]
            except torch.OutOfMemoryError as error:
                if size == 1:
                    raise ResourceError(
                        "one piece of audio alone does not fit the device's memory",
                        where=self.settings.device,
                        fix="decode into another folder with --mode stream or --device cpu"
                        if self.settings.mode == "int8"
                        else "run the same command again with --mode stream, or in another folder with --device cpu",
                    ) from error
            # Outside of the handler: the exception's traceback would keep the failed batch's tensors alive.
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.cap = size // 2
            self.note_cap(self.cap)
            self.reporter.say(f"out of memory with {size} pieces at once: going on with {size // 2}")
