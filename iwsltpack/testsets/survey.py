"""Examine every recording of a test set before a model is loaded, and plan the pieces the model will hear."""

import hashlib
import itertools
import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iwsltpack.documents.decoding_plan import PlanSegment
from iwsltpack.errors import Problem, Severity
from iwsltpack.system.fileio import canonical_json
from iwsltpack.system.progress import Reporter
from iwsltpack.testsets.audio import FRAME_SECONDS, ExaminedFile, Recording, Samples, examine
from iwsltpack.testsets.containers import BadAudio
from iwsltpack.testsets.testset import Segment, TestSet

MIN_SECONDS = 0.1
"""Shorter audio is refused: at 60 ms or less the audio tower yields a single token and generation crashes."""
END_TOLERANCE = 0.05
"""Seconds by which a segment may exceed its file: segmentations are rounded. Such a segment ends with the file."""
MAX_WORKERS = 8
MARGIN_SECONDS = 0.04
"""Kept under the limit, so that rounding to samples and rates never reaches it."""
SMOOTH_FRAMES = 15
"""0.3 s: a pause between phrases, not the closure of a plosive."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch the model hears at once: a whole segment, or a part of an over-long one; seconds in the file."""

    segment: int
    part: int
    offset: float
    duration: float


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A test set, examined: its usable `files` as they were, and what is wrong with the audio, by segment.

    `durations` are seconds, 0.0 of a segment whose audio is unusable; `pieces` what the model will hear, in output
    order, of an unusable segment none; `long` the indices of the segments over the limit. The digest is over every
    segment's id, offset, duration and its file's bytes, in output order.
    """

    test_set: TestSet
    durations: tuple[float, ...]
    pieces: tuple[Piece, ...]
    problems: tuple[Problem, ...]
    long: tuple[int, ...]
    sha256: str
    files: dict[Path, ExaminedFile]

    @property
    def audio_seconds(self) -> float:
        """Length of all usable segments."""
        return sum(self.durations)


def survey(test_set: TestSet, limit: float, progress: Reporter) -> Survey:
    """Read every file of a test set whole, check every segment, cut those over `limit` seconds at silences.

    Nothing is raised: what is wrong is in the result, for the caller's policy to act on.
    """
    paths = list(dict.fromkeys(segment.path for segment in test_set.segments))
    progress.start(f"checking the audio of {test_set.name}", len(paths))

    def look(path: Path) -> Recording | BadAudio:
        try:
            return examine(path)
        except BadAudio as error:
            return error
        finally:
            progress.advance()

    with ThreadPoolExecutor(min(MAX_WORKERS, os.cpu_count() or 1)) as pool:
        found = dict(zip(paths, pool.map(look, paths), strict=True))
    progress.finish()
    return _assess(test_set, found, limit)


def _assess(test_set: TestSet, found: dict[Path, Recording | BadAudio], limit: float) -> Survey:
    durations, pieces, problems, long = [], list[Piece](), list[Problem](), []
    digest = hashlib.sha256()
    for segment in test_set.segments:
        recording = found[segment.path]
        identity = [segment.id, segment.offset, segment.duration]
        identity.append(recording.file.sha256 if isinstance(recording, Recording) else recording.rule)
        digest.update(canonical_json(identity, indent=None))
        try:
            if isinstance(recording, BadAudio):
                raise recording
            duration = _length(segment, recording)
        except BadAudio as error:
            problems.append(segment_problem(segment, segment.index, f"audio.{error.rule}", str(error)))
            durations.append(0.0)
            continue
        first = int(segment.offset / FRAME_SECONDS)
        energy = recording.energy[first : first + math.ceil(duration / FRAME_SECONDS) + 1]
        if not energy.any():
            message = "nothing but digital silence"
            problems.append(segment_problem(segment, segment.index, "audio.silent", message, "warning"))
        cuts = cut_at_silences(energy, duration, limit)
        if len(cuts) > 1:
            long.append(segment.index)
        durations.append(duration)
        pieces += [
            Piece(segment=segment.index, part=part, offset=segment.offset + start, duration=stop - start)
            for part, (start, stop) in enumerate(cuts)
        ]
    return Survey(
        test_set=test_set,
        durations=tuple(durations),
        pieces=tuple(pieces),
        problems=tuple(problems),
        long=tuple(long),
        sha256=digest.hexdigest(),
        files={path: item.file for path, item in found.items() if isinstance(item, Recording)},
    )


def _length(segment: Segment, recording: Recording) -> float:
    """Return the segment's seconds; `BadAudio` where it does not lie in its file or is too short."""
    start, end = segment.offset, recording.seconds
    rest = end - start
    if rest <= 0:
        raise BadAudio("range", f"begins at {start:.3f} s, after the end at {end:.3f} s")
    duration = rest if segment.duration is None else segment.duration
    if duration > rest + END_TOLERANCE:
        message = f"ends at {start + duration:.3f} s, after the end of the recording at {end:.3f} s"
        raise BadAudio("range", message)
    duration = min(duration, rest)
    if duration < MIN_SECONDS:
        least = f"the least that can be decoded is {1000 * MIN_SECONDS:.0f} ms"
        raise BadAudio("short", f"{1000 * duration:.0f} ms; {least}")
    return duration


def segment_problem(
    segment: Segment | PlanSegment, index: int, rule: str, message: str, severity: Severity = "error"
) -> Problem:
    """Return what is wrong with a segment; it is known by its id, its recording and its line, `index` from 0."""
    text = f"segment {segment.id}: {message}"
    return Problem(rule=rule, severity=severity, message=text, path=segment.audio, line=index + 1)


def cut_at_silences(energy: Samples, seconds: float, limit: float) -> list[tuple[float, float]]:
    """Cut a stretch into pieces of at most `limit` seconds, each cut at the quietest place it can be at.

    Every cut lies in the later half of what its piece may hold, so that pieces are few; the last piece is never a
    sliver. `energy` is the mean square in frames of 20 ms, shape (n,). Pieces are (start, stop) in seconds: the
    first starts at 0, each begins where the one before ended, and the last stops at `seconds`.
    """
    if seconds <= limit:
        return [(0.0, seconds)]
    most = int((limit - MARGIN_SECONDS) / FRAME_SECONDS)
    least = max(1, most // 8)
    total = max(len(energy), int(np.ceil(seconds / FRAME_SECONDS)))
    loudness = _smooth(np.pad(energy.astype(np.float64), (0, total - len(energy))))
    cuts = [0]
    while total - cuts[-1] > most:
        start = cuts[-1]
        high = min(start + most, total - least)
        window = loudness[min(start + most // 2, high) : high + 1]
        # The latest of equally quiet places: in digital silence that makes the fewest pieces.
        cuts.append(high - int(np.argmin(window[::-1])))
    bounds = [cut * FRAME_SECONDS for cut in cuts] + [seconds]
    return list(itertools.pairwise(bounds))


def _smooth(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the energy around the *start* of each frame, where a cut would fall: shape (n + 1,)."""
    half = SMOOTH_FRAMES // 2
    sums = np.concatenate([[0.0], np.cumsum(energy)])
    places = np.arange(len(energy) + 1)
    first, last = np.maximum(places - half, 0), np.minimum(places + half, len(energy))
    mean: NDArray[np.float64] = (sums[last] - sums[first]) / np.maximum(last - first, 1)
    return mean
