"""Recordings of which libsndfile would hear a part only, and recordings that change while they are decoded."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from inference_fixtures import RATE, tone, write_tone

from iwsltpack.errors import InputError
from iwsltpack.testsets.audio import examine, read_span
from iwsltpack.testsets.containers import BadAudio

SECONDS = 3.0
CHUNKED = {
    "wav": ("WAV", "PCM_16"),
    "mulaw.wav": ("WAV", "ULAW"),
    "adpcm.wav": ("WAV", "IMA_ADPCM"),
    "float.wav": ("WAV", "FLOAT"),
    "wavex": ("WAVEX", "PCM_24"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "aifc": ("AIFF", "ULAW"),
    "caf": ("CAF", "PCM_16"),
    "alac.caf": ("CAF", "ALAC_16"),
    "au": ("AU", "PCM_16"),
    "sph": ("NIST", "PCM_16"),
    "svx": ("SVX", "PCM_16"),
    "voc": ("VOC", "PCM_16"),
    "avr": ("AVR", "PCM_16"),
}
STREAMS = {
    "flac": ("FLAC", "PCM_16"),
    "vorbis.ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
ALL = CHUNKED | STREAMS


def write(path: Path, kind: tuple[str, str], rate: int = RATE) -> bytes:
    """Write speech-like noise, which compresses like speech; return the bytes."""
    noise = np.random.default_rng(3).normal(0, 0.1, round(SECONDS * rate)).astype(np.float32)
    soundfile.write(path, noise, rate, format=kind[0], subtype=kind[1])
    return path.read_bytes()


def rule_of(path: Path) -> str:
    with pytest.raises(BadAudio) as caught:
        examine(path)
    return caught.value.rule


@pytest.mark.parametrize("name", ALL)
def test_a_sound_file_of_every_container_is_heard_whole(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"a.{name}"
    write(path, ALL[name])
    assert examine(path).seconds == pytest.approx(SECONDS, rel=0.03)
    assert read_span(path, 1.0, 1.5, RATE).size == 1.5 * RATE


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_file_that_breaks_off_is_found_in_every_container(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / f"a.{name}"
    data = write(path, ALL[name])
    path.write_bytes(data[: int(share * len(data))])
    assert rule_of(path) in ("truncated", "corrupt")


@pytest.mark.parametrize("name", ALL)
def test_a_second_recording_behind_the_first_is_found_in_every_container(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"a.{name}"
    path.write_bytes(write(path, ALL[name]) * 2)
    assert rule_of(path) == "unheard"


LENGTHS = {"wav": (b"data", "little"), "aiff": (b"SSND", "big"), "svx": (b"BODY", "big")}


@pytest.mark.parametrize("name", LENGTHS)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_a_header_that_promises_too_little_is_found(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / f"a.{name}"
    data, (chunk, order) = bytearray(write(path, ALL[name])), LENGTHS[name]
    place = data.index(chunk) + 4
    length = int(share * int.from_bytes(data[place : place + 4], order)) // 2 * 2  # type: ignore[arg-type]
    data[place : place + 4] = length.to_bytes(4, order)  # type: ignore[arg-type]
    path.write_bytes(data)
    assert rule_of(path) == "unheard"


def test_a_sphere_header_that_counts_too_little_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.sph"
    path.write_bytes(re.sub(rb"(sample_count -i )\d+", rb"\g<1>24000", write(path, ALL["sph"])))
    assert rule_of(path) == "unheard"


TAIL: dict[str, Callable[[bytes], bytes]] = {
    "chunks": lambda data: (
        data + b"LIST" + (5_000).to_bytes(4, "little") + b"x" * 5_000 + b"id3 \x04\0\0\0abcd"
    ),
    "an ID3 tag": lambda data: data + b"TAG" + bytes(125),
    "a padded block": lambda data: data + bytes(4096),
    "a size unknown, as to a pipe": lambda data: data[:40] + b"\xff" * 4 + data[44:],
    "sizes unknown": lambda data: data[:4] + b"\xff" * 4 + data[8:40] + b"\xff" * 4 + data[44:],
    "chunks before": lambda data: data[:12] + b"JUNK" + (333).to_bytes(4, "little") + bytes(334) + data[12:],
}


@pytest.mark.parametrize("kind", TAIL)
def test_what_good_files_hold_beside_samples_is_no_reason_to_refuse_them(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(TAIL[kind](write(path, ALL["wav"])))
    assert examine(path).seconds == SECONDS


def test_an_mp3_with_tags_on_both_sides_is_heard_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    data = write(path, ALL["mp3"], 44_100)
    path.write_bytes(b"ID3\x04\0\0\0\0\x10\0" + b"\xff\xfb\x90\x64" * 512 + data + b"TAG" + bytes(125))
    assert examine(path).seconds == SECONDS


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("scale", [32_767, 127, 2**31])
def test_floats_on_the_scale_of_integers_are_refused(tmp_path: Path, subtype: str, scale: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1.0).astype(np.float64) * scale, RATE, subtype=subtype)
    assert rule_of(tmp_path / "a.wav") == "scale"


def test_floats_a_little_above_full_scale_are_heard(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1.0, level=2.5), RATE, subtype="FLOAT")
    assert examine(tmp_path / "a.wav").seconds == 1.0


UNSEEKABLE = [
    ("wav", "WAV", "GSM610"),
    ("wav", "WAV", "G721_32"),
    ("au", "AU", "G723_24"),
    ("aiff", "AIFF", "GSM610"),
]


@pytest.mark.parametrize(("suffix", "kind", "subtype"), UNSEEKABLE)
def test_a_coding_that_cannot_be_read_in_parts_is_found_before_decoding(
    tmp_path: Path, suffix: str, kind: str, subtype: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    write(path, (kind, subtype))
    assert rule_of(path) == "unsupported"


@pytest.mark.parametrize("suffix", ["au", "snd"])
def test_bytes_without_a_header_are_no_speech(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"not a recording " * 1000)
    assert rule_of(path) == "unreadable"


def test_the_half_lost_recordings_of_the_field_are_found() -> None:
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "cases" / "half-lost-recordings"
    if not folder.is_dir():
        pytest.skip("../shared/cases is not here")
    rules = {path.name: rule_of(path) for path in sorted(folder.iterdir())}
    assert rules == {
        "cut.aiff": "truncated",
        "flac2.flac": "unheard",
        "h_small.wav": "unheard",
        "loud.wav": "scale",
        "ogg2.ogg": "unheard",
        "rf64cut.wav": "truncated",
    }


# --- changed while it is decoded --------------------------------------------------------------------------------------


def test_recordings_of_one_length_that_change_places_are_noticed(tmp_path: Path) -> None:
    paths = [
        write_tone(tmp_path / f"{name}.wav", 1.0, frequency) for name, frequency in (("a", 300), ("b", 500))
    ]
    for path in paths:
        os.utime(path, ns=(10**18, 10**18))
    first, second = (examine(path).file for path in paths)
    assert read_span(paths[0], 0.0, 1.0, RATE, first).size == RATE
    paths[0].rename(tmp_path / "c")
    paths[1].rename(paths[0])
    (tmp_path / "c").rename(paths[1])
    for path, state in zip(paths, (first, second), strict=True):
        with pytest.raises(InputError, match="the recording changed while it was being decoded"):
            read_span(path, 0.0, 1.0, RATE, state)


def test_a_longer_recording_in_the_place_of_a_segmented_one_is_noticed(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "a.wav", 1.0)
    state = examine(path).file
    write_tone(path, 2.0, 300)
    with pytest.raises(InputError, match="changed while"):
        read_span(path, 0.25, 0.5, RATE, state)


def test_a_recording_that_was_only_touched_or_copied_back_is_the_same(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "a.wav", 1.0)
    state, data = examine(path).file, path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))
    assert read_span(path, 0.25, 0.5, RATE, state).size == RATE // 2


def test_a_recording_that_went_away_is_noticed(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "a.wav", 1.0)
    state = examine(path).file
    path.unlink()
    with pytest.raises(InputError, match="can no longer be read"):
        read_span(path, 0.25, 0.5, RATE, state)
