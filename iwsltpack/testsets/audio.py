"""Audio files: examined whole before anything is decoded, then read stretch by stretch as mono float32.

Reading goes through libsndfile (wav, flac, mp3, ogg, aiff and twenty more), rate conversion through soxr.
Channels are averaged.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from iwsltpack.errors import InputError
from iwsltpack.system.fileio import sha256_file
from iwsltpack.testsets.containers import MP3_PADDING, BadAudio, check_container, counted_frames
from iwsltpack.testsets.testset import UNREADABLE

Samples = NDArray[np.float32]

FRAME_SECONDS = 0.02
"""Step of the energy envelope."""
BLOCK_SECONDS = 30
MAX_PEAK = 8.0
"""Floats may exceed full scale a little, 18 dB at the very most. Integers stored as floats exceed it far more."""
UNHEARD_SECONDS = 0.25
"""More than this behind the counted end is speech that nobody would hear."""
MP3 = ("MP3", "MPEG")
"""libsndfile's names of the format."""
MP3_LEAD_SECONDS = 2.0
"""Read and dropped before a stretch of an mp3: its frames borrow bits from those before, and the first ones after a
jump decode to noise, a quarter of a second of it as measured."""


@dataclass(frozen=True, kw_only=True)
class ExaminedFile:
    """A recording's file, and what tells whether it is still the one that was examined.

    `stamp` is size, times and place on the disk: what differs when a file was changed or another took its name. A
    copy or a backup may change it, too, so that the digest of its bytes has the last word.
    """

    path: Path
    sha256: str
    stamp: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What examining one file whole brought to light.

    `frames` are samples per channel, at `rate` Hz; `energy` is the mean square of the mono signal in frames of
    `FRAME_SECONDS`, float32, shape (n,).
    """

    frames: int
    rate: int
    file: ExaminedFile
    energy: Samples

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.rate


def examine(path: Path) -> Recording:
    """Read a recording from its first byte to its last sample.

    `BadAudio` where it is missing, empty, unreadable, corrupt, shorter than its header says, or longer; holds NaN,
    infinity or samples far outside full scale; or is of a format without a header, or one that cannot be read in
    parts.
    """
    with _opened(path, sha256_file) as (sound, file):
        frames, energy = _read_through(sound, path)
        return Recording(frames=frames, rate=sound.samplerate, file=file, energy=energy)


def glance(path: Path) -> float:
    """Return the seconds a recording says it has; `BadAudio` where that alone tells that it cannot be used."""
    with _opened(path, lambda _: "") as (sound, _):
        return float(sound.frames / sound.samplerate)


@contextmanager
def _opened(path: Path, digest: Callable[[Path], str]) -> Iterator[tuple[Any, ExaminedFile]]:
    """Open a recording, its container checked and no sample read; errors inside the block are `BadAudio`, too."""
    try:
        if not path.is_file():
            raise BadAudio("missing", "there is no such file" if not path.exists() else "is not a file")
        if UNREADABLE.fullmatch(path.suffix):
            raise _unsupported(f"{path.suffix} cannot be read")
        stamp = _stamp(path)
        if path.stat().st_size == 0:
            raise BadAudio("empty", "the file is empty")
        file = ExaminedFile(path=path, sha256=digest(path), stamp=stamp)
        check_container(path)
        with soundfile.SoundFile(path) as sound:
            # libsndfile reads anything called .au or .snd without a header as noise.
            if sound.format == "RAW":
                raise BadAudio("unreadable", "cannot be decoded: it has no header")
            if not sound.seekable():
                raise _unsupported(f"{sound.subtype_info} cannot be read in parts")
            yield sound, file
    except soundfile.LibsndfileError as error:
        raise BadAudio("unreadable", f"cannot be decoded: {error.error_string.strip()}") from error
    except OSError as error:
        raise BadAudio("unreadable", f"cannot be read: {error.strerror or error}") from error


def _unsupported(why: str) -> BadAudio:
    return BadAudio("unsupported", f"{why}; convert it: ffmpeg -i IN -ar 16000 OUT.flac")


def _stamp(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev


def refuse_changed(file: ExaminedFile) -> None:
    """Raise `InputError` where another file, or none, lies in the place of the one that was examined."""
    try:
        stamp = _stamp(file.path)
        same = stamp == file.stamp or _digest(file.path, stamp) == file.sha256
    except OSError as error:
        raise InputError("the recording can no longer be read", where=file.path, got=str(error)) from error
    if not same:
        raise _changed(file.path, "the file that was examined", "another one")


def _changed(path: Path, expected: str, got: object) -> InputError:
    return InputError(
        "the recording changed while it was being decoded",
        where=path,
        expected=expected,
        got=got,
        fix="leave the test set as it is and run the same command again",
    )


@lru_cache(maxsize=4096)
def _digest(path: Path, stamp: tuple[int, ...]) -> str:  # noqa: ARG001
    """Return the digest of a file that was touched; `stamp` makes it be read again when it is touched again."""
    return sha256_file(path)


def _read_through(sound: Any, path: Path) -> tuple[int, Samples]:
    """Decode everything; return the number of frames and the energy envelope."""
    rate, announced = sound.samplerate, sound.frames
    if announced <= 0:
        raise BadAudio("empty", "holds no samples")
    step = max(1, round(rate * FRAME_SECONDS))
    frames, energies = 0, []
    while True:
        try:
            block = sound.read(BLOCK_SECONDS * 50 * step, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            why = error.error_string.strip()
            raise BadAudio("corrupt", f"broken after {frames / rate:.2f} s: {why}") from error
        if len(block) == 0:
            break
        if not np.isfinite(block).all():
            raise BadAudio("not-finite", f"holds NaN or infinity within {frames / rate:.0f} s of its start")
        if (peak := float(np.abs(block).max())) > MAX_PEAK:
            message = f"samples reach {peak:.6g} where 1 is full scale: integers stored as floats"
            raise BadAudio("scale", message)
        mono = block.mean(axis=1)
        padded = np.pad(mono, (0, -len(mono) % step)).reshape(-1, step)
        energies.append((padded**2).mean(axis=1, dtype=np.float32))
        frames += len(block)
    _check_length(frames, announced, sound, path)
    if frames == 0:
        raise BadAudio("empty", "holds no samples")
    return frames, np.concatenate(energies)


def _check_length(frames: int, announced: int, sound: Any, path: Path) -> None:
    """Refuse a recording that ends before or after what its header says."""
    rate = sound.samplerate
    counted = counted_frames(path, sound.format, sound.extra_info)
    if frames + (MP3_PADDING if sound.format in MP3 else 0) < max(announced, counted):
        promised = f"{max(announced, counted) / rate:.2f} s"
        raise BadAudio("truncated", f"ends after {frames / rate:.2f} s where its header promises {promised}")
    if counted and frames > counted + UNHEARD_SECONDS * rate:
        held = f"{frames / rate:.2f} s"
        raise BadAudio("unheard", f"its header counts {counted / rate:.2f} s, the file holds {held}")


def read_span(
    path: Path, offset: float, duration: float, rate: int, examined: ExaminedFile | None = None
) -> Samples:
    """Read a stretch of a recording that was examined: float32 in [-1, 1], mono, shape (n,).

    `offset` and `duration` are seconds, `rate` is the one wanted in Hz, and n the stretch's length at that rate,
    rounded up. A file that is not the `examined` one any more, or shorter than it was, is an `InputError`.
    """
    try:
        with soundfile.SoundFile(path) as sound:
            start, stop = round(offset * sound.samplerate), round((offset + duration) * sound.samplerate)
            lead = min(start, round(MP3_LEAD_SECONDS * sound.samplerate)) if sound.format in MP3 else 0
            sound.seek(start - lead)
            block = sound.read(lead + stop - start, dtype="float32", always_2d=True)[lead:]
            source_rate = sound.samplerate
    except (soundfile.LibsndfileError, OSError, ValueError) as error:
        raise InputError("the recording can no longer be read", where=path, got=str(error)) from error
    if examined is not None:
        refuse_changed(examined)
    if len(block) != stop - start:
        raise _changed(path, f"{stop - start} samples from {offset:.3f} s", len(block))
    return to_mono(block, source_rate, rate)


def to_mono(samples: Samples, source_rate: int, rate: int) -> Samples:
    """Average the channels and convert the rate (Hz).

    `samples` have shape (frames, channels), the result is float32, shape (ceil(frames * rate / source_rate),).
    """
    mono = np.ascontiguousarray(samples.mean(axis=1), dtype=np.float32)
    if source_rate == rate or mono.size == 0:
        return mono
    wanted = math.ceil(mono.size * rate / source_rate)
    converted = soxr.resample(mono, source_rate, rate, quality="HQ").astype(np.float32, copy=False)
    # soxr rounds the length either way; a fixed length keeps what is measured and what is heard the same.
    return np.pad(converted[:wanted], (0, max(0, wanted - converted.size)))
