"""The loop: batches through the model, each into the journal before the next is begun."""

from __future__ import annotations

import gc
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from iwsltpack.data.audio import read_span
from iwsltpack.errors import ResourceError
from iwsltpack.inference.batching import work_ahead
from iwsltpack.inference.journal import Decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iwsltpack.data.audio import Samples
    from iwsltpack.data.survey import Survey
    from iwsltpack.format.run import RunSettings
    from iwsltpack.inference.batching import Batch
    from iwsltpack.inference.generation import Hypothesis, Listener, Translator
    from iwsltpack.inference.journal import Journal
    from iwsltpack.progress import Progress


@dataclass(frozen=True, kw_only=True)
class _Heard:
    """A batch's audio at the model's rate, and the model's inputs."""

    audio: list[Samples]
    inputs: dict[str, torch.Tensor]


def translate_batches(
    survey: Survey,
    batches: list[Batch],
    journal: Journal,
    listener: Listener,
    translator: Translator,
    settings: RunSettings,
    progress: Progress,
    say: Callable[[str], None],
) -> None:
    """Decode `batches` and journal each; audio is read and turned into features ahead of the model.

    Raises
    ------
    ResourceError
        A single piece does not fit the device's memory.
    InputError
        A recording changed since it was examined.
    """
    segments = survey.test_set.segments
    left = Counter(piece.segment for batch in batches for piece in batch)
    search = _Search(listener, translator, settings, journal, say)

    def hear(batch: Batch) -> _Heard:
        audio = [
            read_span(segments[piece.segment].path, piece.offset, piece.duration, listener.rate)
            for piece in batch
        ]
        return _Heard(audio=audio, inputs=listener.prepare(audio))

    progress.start(f"decoding {survey.test_set.name}", len(left))
    started = before = time.perf_counter()
    heard_seconds = 0.0
    for batch, heard in work_ahead(batches, hear):
        hypotheses = search.run(heard)
        now = time.perf_counter()
        journal.record(_results(batch, hypotheses, now - before))
        before = now
        heard_seconds += sum(piece.duration for piece in batch)
        progress.note(f"{heard_seconds / (now - started):.1f} s of audio a second")
        left.subtract(piece.segment for piece in batch)
        progress.advance(sum(left[segment] == 0 for segment in {piece.segment for piece in batch}))
    progress.finish()


def _results(batch: Batch, hypotheses: list[Hypothesis], seconds: float) -> list[Decoded]:
    """Return what is journaled of a batch that took `seconds`."""
    return [
        Decoded(
            segment=piece.segment,
            part=piece.part,
            text=hypothesis.text,
            tokens=hypothesis.tokens,
            finish=hypothesis.finish,
            seconds=seconds / len(batch),
        )
        for piece, hypothesis in zip(batch, hypotheses, strict=True)
    ]


class _Search:
    """Generation that halves the batch when the device's memory runs out, and retries what was cut off."""

    def __init__(
        self,
        listener: Listener,
        translator: Translator,
        settings: RunSettings,
        journal: Journal,
        say: Callable[[str], None],
    ) -> None:
        self.listener, self.translator, self.settings = listener, translator, settings
        self.journal, self.say = journal, say

    def run(self, heard: _Heard) -> list[Hypothesis]:
        """Return a hypothesis for every recording of a batch."""
        found = self._fitting(heard.audio, self.settings.max_new_tokens, heard.inputs)
        again = [place for place, hypothesis in enumerate(found) if hypothesis.finish == "length"]
        if again and self.settings.retry_truncated is not None:
            retried = self._fitting([heard.audio[place] for place in again], self.settings.retry_truncated)
            for place, hypothesis in zip(again, retried, strict=True):
                found[place] = hypothesis
        return found

    def _fitting(
        self, audio: list[Samples], limit: int, inputs: dict[str, torch.Tensor] | None = None
    ) -> list[Hypothesis]:
        """Search all of `audio` at once, or in as many parts as the device's memory makes needed."""
        while True:
            size = min(len(audio), self.journal.cap or len(audio))
            try:
                return [
                    hypothesis
                    for part in self._parts(audio, size, inputs)
                    for hypothesis in self.translator.generate(part, limit)
                ]
            except torch.OutOfMemoryError as error:
                if size == 1:
                    raise ResourceError(
                        "one piece of audio alone does not fit the device's memory",
                        where=self.translator.model.device,
                        fix="run the same command again with --mode stream, or in another folder with --device cpu",
                    ) from error
            # Outside of the handler: the exception's traceback would keep the failed batch's tensors alive.
            self._shrink(size)

    def _parts(
        self, audio: list[Samples], size: int, inputs: dict[str, torch.Tensor] | None
    ) -> Iterator[dict[str, torch.Tensor]]:
        if inputs is not None and size == len(audio):
            yield inputs
            return
        for start in range(0, len(audio), size):
            yield self.listener.prepare(audio[start : start + size])

    def _shrink(self, size: int) -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.journal.set_cap(size // 2)
        self.say(f"out of memory with {size} pieces at once: going on with {size // 2}")
