"""Audio files: examined whole before anything is decoded, then read stretch by stretch as mono float32.

Reading goes through libsndfile (wav, flac, mp3, ogg, aiff), rate conversion through soxr; channels are averaged.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from iwsltpack.errors import InputError
from iwsltpack.testsets.testset import UNREADABLE_SUFFIXES

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

FRAME_SECONDS = 0.02
"""Step of the energy envelope."""
BLOCK_SECONDS = 30
STREAMED_SIZE = 0x7FF00000
"""Data sizes from here on are what programs that write wav to a pipe put in place of a size they do not know."""
OGG_PAGE = 65_307
"""Bytes of the longest page there can be."""
MP3_PADDING = 2 * 1152
"""Samples by which the length an mp3 announces may exceed what it holds: encoder delay and padding."""
MP3_LEAD_SECONDS = 2.0
"""Read and dropped before a stretch of an mp3: its frames borrow bits from those before, and the first ones after a
jump decode to noise, a quarter of a second of it as measured."""


class BadAudio(Exception):
    """A recording that cannot be used; `rule` is the problem's identifier, the text says what is wrong."""

    def __init__(self, rule: str, message: str) -> None:
        self.rule = rule
        super().__init__(message)


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What examining one file whole brought to light.

    Attributes
    ----------
    frames, rate
        Samples per channel and their rate in Hz.
    sha256
        Of the file's bytes.
    energy
        Mean square of the mono signal in frames of `FRAME_SECONDS`, float32, shape (n,).
    """

    frames: int
    rate: int
    sha256: str
    energy: Samples

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.rate


def examine(path: Path) -> Recording:
    """Read a recording from its first byte to its last sample.

    Raises
    ------
    BadAudio
        Missing, empty, unreadable, corrupt, shorter than its header says, or holding NaN or infinity.
    """
    import soundfile

    try:
        if not path.is_file():
            raise BadAudio("missing", "there is no such file" if not path.exists() else "is not a file")
        if path.suffix.lower() in UNREADABLE_SUFFIXES:
            raise BadAudio(
                "unsupported", f"{path.suffix} cannot be read; convert it: ffmpeg -i IN -ar 16000 OUT.flac"
            )
        if path.stat().st_size == 0:
            raise BadAudio("empty", "the file is empty")
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            stream.seek(0)
            _check_riff(stream, path.stat().st_size)
            _check_ogg(stream, path.stat().st_size)
        with soundfile.SoundFile(path) as sound:
            frames, energy = _read_through(sound)
            return Recording(frames=frames, rate=sound.samplerate, sha256=digest, energy=energy)
    except soundfile.LibsndfileError as error:
        raise BadAudio("unreadable", f"cannot be decoded: {error.error_string.strip()}") from error
    except OSError as error:
        raise BadAudio("unreadable", f"cannot be read: {error.strerror or error}") from error


def _read_through(sound: Any) -> tuple[int, Samples]:
    """Decode everything; return the number of frames and the energy envelope."""
    import soundfile

    rate, announced = sound.samplerate, sound.frames
    if announced <= 0:
        raise BadAudio("empty", "holds no samples")
    step = max(1, round(rate * FRAME_SECONDS))
    frames, energies = 0, []
    while True:
        try:
            block = sound.read(BLOCK_SECONDS * 50 * step, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise BadAudio(
                "corrupt", f"broken after {frames / rate:.2f} s: {error.error_string.strip()}"
            ) from error
        if len(block) == 0:
            break
        if not np.isfinite(block).all():
            raise BadAudio("not-finite", f"holds NaN or infinity within {frames / rate:.0f} s of its start")
        mono = block.mean(axis=1)
        padded = np.pad(mono, (0, -len(mono) % step)).reshape(-1, step)
        energies.append((padded**2).mean(axis=1, dtype=np.float32))
        frames += len(block)
    slack = MP3_PADDING if _is_mp3(sound) else 0
    if frames + slack < announced:
        raise BadAudio(
            "truncated",
            f"ends after {frames / rate:.2f} s where its header promises {announced / rate:.2f} s",
        )
    if frames == 0:
        raise BadAudio("empty", "holds no samples")
    return frames, np.concatenate(energies)


def _is_mp3(sound: Any) -> bool:
    return sound.format in ("MP3", "MPEG")


def _check_riff(stream: IO[bytes], size: int) -> None:
    """Refuse a wav whose data chunk promises more bytes than the file has: libsndfile would read less in silence."""
    head = stream.read(12)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return
    position = 12
    while position + 8 <= size:
        stream.seek(position)
        chunk = stream.read(8)
        length = int.from_bytes(chunk[4:8], "little")
        if chunk[:4] == b"data":
            held = size - position - 8
            if held < length < STREAMED_SIZE:
                raise BadAudio(
                    "truncated", f"its header promises {length} bytes of samples, the file holds {held}"
                )
            return
        position += 8 + length + length % 2


def _check_ogg(stream: IO[bytes], size: int) -> None:
    """Refuse an Ogg stream whose last page is not marked as the last: libsndfile would end early in silence."""
    stream.seek(0)
    if stream.read(4) != b"OggS":
        return
    stream.seek(max(0, size - OGG_PAGE))
    tail = stream.read()
    page = tail.rfind(b"OggS")
    if page < 0 or len(tail) < page + 6 or not tail[page + 5] & 4:
        raise BadAudio("truncated", "the stream breaks off: its last page is missing")


def read_span(path: Path, offset: float, duration: float, rate: int) -> Samples:
    """Read a stretch of a recording.

    Parameters
    ----------
    path
        The file, examined before.
    offset, duration
        Seconds.
    rate
        Wanted rate in Hz.

    Returns
    -------
    ndarray
        float32 in [-1, 1], mono, shape (n,) with n the stretch's length at `rate`, rounded up.

    Raises
    ------
    InputError
        The file is not what it was when it was examined.
    """
    import soundfile

    try:
        with soundfile.SoundFile(path) as sound:
            start, stop = round(offset * sound.samplerate), round((offset + duration) * sound.samplerate)
            lead = min(start, round(MP3_LEAD_SECONDS * sound.samplerate)) if _is_mp3(sound) else 0
            sound.seek(start - lead)
            block = sound.read(lead + stop - start, dtype="float32", always_2d=True)[lead:]
            got, source_rate = len(block), sound.samplerate
    except (soundfile.LibsndfileError, OSError, ValueError) as error:
        raise InputError("the recording can no longer be read", where=path, got=str(error)) from error
    if got != stop - start:
        raise InputError(
            "the recording changed while it was being decoded",
            where=path,
            expected=f"{stop - start} samples from {offset:.3f} s",
            got=got,
            fix="leave the test set as it is and run the same command again",
        )
    return to_mono(block, source_rate, rate)


def to_mono(samples: NDArray[Any], source_rate: int, rate: int) -> Samples:
    """Average the channels, bring integers to [-1, 1], convert the rate.

    Parameters
    ----------
    samples
        Shape (frames,) or (frames, channels); float, or signed integers of full scale.
    source_rate, rate
        Hz.

    Returns
    -------
    ndarray
        float32, shape (ceil(frames * rate / source_rate),).

    Raises
    ------
    InputError
        Neither shape; more channels than frames (a transposed array); unsigned integers.
    """
    import soxr

    array = np.asarray(samples)
    if array.ndim not in (1, 2) or (
        array.ndim == 2 and array.shape[1] > array.shape[0] > 0 and array.shape[1] > 2
    ):
        raise InputError("not audio", expected="an array (frames,) or (frames, channels)", got=array.shape)
    if array.dtype.kind == "i":
        array = array.astype(np.float32) / np.float32(-float(np.iinfo(array.dtype).min))
    elif array.dtype.kind != "f":
        raise InputError("not audio samples", expected="floats or signed integers", got=array.dtype)
    mono = array if array.ndim == 1 else array.mean(axis=1)
    mono = np.ascontiguousarray(mono, dtype=np.float32)
    if source_rate == rate or mono.size == 0:
        return mono
    wanted = math.ceil(mono.size * rate / source_rate)
    converted = soxr.resample(mono, source_rate, rate, quality="HQ").astype(np.float32, copy=False)
    # soxr rounds the length either way; a fixed length keeps what is measured and what is heard the same.
    return np.pad(converted[:wanted], (0, max(0, wanted - converted.size)))
