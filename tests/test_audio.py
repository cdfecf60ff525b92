"""Recordings of every kind, examined whole, read by the stretch, cut at their silences."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from inference_fixtures import RATE, tone, write_tone

from iwsltpack.errors import InputError
from iwsltpack.system.progress import SILENT
from iwsltpack.testsets.audio import examine, read_span, to_mono
from iwsltpack.testsets.containers import BadAudio
from iwsltpack.testsets.survey import cut_at_silences, survey
from iwsltpack.testsets.testset import Segment, TestSet

FORMATS = ("wav", "flac", "mp3", "ogg")


def close(heard: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    """Compare away from the edges, where filters ring."""
    assert heard.shape == expected.shape
    inner = slice(800, -800)
    return float(np.abs(heard[inner] - expected[inner]).max()) < tolerance


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_every_format_and_rate_is_heard_as_the_same_tone(tmp_path: Path, suffix: str, rate: int) -> None:
    path = write_tone(tmp_path / f"a.{suffix}", 1.5, rate=rate)
    found = examine(path)
    assert (found.rate, found.frames) == (rate, round(1.5 * rate))
    heard = read_span(path, 0.0, found.seconds, RATE)
    assert heard.dtype == np.float32
    assert close(heard, tone(1.5), 0.08 if suffix in ("mp3", "ogg") else 2e-3)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_stretch_is_the_very_part_of_the_recording(tmp_path: Path, suffix: str) -> None:
    time = np.arange(3 * RATE) / RATE
    sweep = (0.3 * np.sin(2 * np.pi * (200 + 300 * time) * time)).astype(np.float32)
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, sweep, RATE)
    whole = read_span(path, 0.0, 3.0, RATE)
    part = read_span(path, 1.25, 0.5, RATE)
    assert np.abs(part - whole[20_000:28_000]).max() < 1e-4


def test_stereo_is_averaged_and_integers_are_scaled(tmp_path: Path) -> None:
    left, right = tone(0.5, level=0.4), np.zeros(RATE // 2, dtype=np.float32)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), RATE, subtype="PCM_16")
    heard = read_span(tmp_path / "a.wav", 0.0, 0.5, RATE)
    assert np.abs(heard - left / 2).max() < 1e-4


@pytest.mark.parametrize("frames", [4411, 44100, 44101, 44100 * 30])
def test_resampling_gives_the_length_that_was_reckoned_with(frames: int) -> None:
    assert to_mono(np.zeros((frames, 1), np.float32), 44_100, RATE).size == -(-frames * RATE // 44_100)


def cut_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for place in range(len(data) // 2, len(data) // 2 + 400):
        data[place] ^= 0x5A
    path.write_bytes(bytes(data))


def write_floats(path: Path, value: float) -> None:
    samples = tone(0.5)
    samples[100] = value
    soundfile.write(path, samples, RATE, subtype="FLOAT")


BROKEN = {
    "missing": ("a.wav", lambda p: p.unlink(), "missing", "no such file"),
    "a folder": ("a.wav", lambda p: (p.unlink(), p.mkdir()), "missing", "is not a file"),
    "a dangling link": (
        "a.wav",
        lambda p: (p.unlink(), p.symlink_to("nowhere.wav")),
        "missing",
        "no such file",
    ),
    "no bytes": ("a.wav", lambda p: p.write_bytes(b""), "empty", "the file is empty"),
    "no samples": (
        "a.wav",
        lambda p: soundfile.write(p, np.zeros(0, np.float32), RATE),
        "empty",
        "no samples",
    ),
    "no samples in flac": (
        "a.flac",
        lambda p: soundfile.write(p, np.zeros(0, np.float32), RATE),
        "empty",
        "the file is empty",
    ),
    "text": ("a.wav", lambda p: p.write_text("not found"), "unreadable", "cannot be decoded"),
    "a web page": ("a.mp3", lambda p: p.write_text("<html>404</html>"), "unreadable", "cannot be decoded"),
    "zeros": ("a.flac", lambda p: p.write_bytes(bytes(5000)), "unreadable", "cannot be decoded"),
    "header only": ("a.wav", lambda p: p.write_bytes(p.read_bytes()[:30]), "unreadable", "cannot be decoded"),
    "wav cut": ("a.wav", cut_half, "truncated", "promises"),
    "flac cut": ("a.flac", cut_half, "corrupt", "broken after"),
    "mp3 cut": ("a.mp3", cut_half, "truncated", "promises"),
    "ogg cut": ("a.ogg", cut_half, "truncated", "breaks off"),
    "flac damaged": ("a.flac", damage, "corrupt", "broken after"),
    "ogg damaged": ("a.ogg", damage, "unreadable", "malformed"),
    "not a number": ("a.wav", lambda p: write_floats(p, np.nan), "not-finite", "NaN"),
    "infinite": ("a.wav", lambda p: write_floats(p, np.inf), "not-finite", "infinity"),
    "aac": ("a.m4a", lambda p: p.write_bytes(b"ftyp"), "unsupported", "convert it"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_recording_is_told_for_what_it_is(tmp_path: Path, kind: str) -> None:
    name, break_it, rule, message = BROKEN[kind]
    path = tmp_path / name
    if path.suffix == ".m4a":
        path.touch()
    else:
        write_tone(path, 3.0)
        assert examine(path).frames == 3 * RATE
    break_it(path)
    with pytest.raises(BadAudio, match=message) as caught:
        examine(path)
    assert caught.value.rule == rule


def test_a_wav_written_to_a_pipe_has_no_size_and_is_read(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "a.wav", 1.0)
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = (0x7FFFF000).to_bytes(4, "little")
    path.write_bytes(bytes(data))
    assert examine(path).frames == RATE


def test_a_recording_that_changed_since_it_was_examined_is_refused(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "a.wav", 1.0)
    write_tone(path, 0.5)
    with pytest.raises(InputError, match="changed while it was being decoded"):
        read_span(path, 0.0, 1.0, RATE)
    path.unlink()
    with pytest.raises(InputError, match="can no longer be read"):
        read_span(path, 0.0, 1.0, RATE)


def speech(*parts: tuple[float, bool]) -> np.ndarray:
    """Noise and silence by turns: (seconds, loud)."""
    rng = np.random.default_rng(1)
    return np.concatenate(
        [rng.normal(0, 0.2 if loud else 1e-4, round(s * RATE)) for s, loud in parts]
    ).astype(np.float32)


def energy(samples: np.ndarray) -> np.ndarray:
    return (samples[: samples.size // 320 * 320].reshape(-1, 320) ** 2).mean(axis=1)


def test_cuts_fall_into_the_pauses() -> None:
    samples = speech((6.0, True), (0.4, False), (5.0, True), (0.5, False), (4.0, True))
    cuts = cut_at_silences(energy(samples), samples.size / RATE, 8.0)
    assert len(cuts) == 3
    assert 6.05 < cuts[0][1] < 6.35
    assert 11.45 < cuts[1][1] < 11.85


@pytest.mark.parametrize("seconds", [8.0, 8.01, 8.3, 15.9, 16.0, 16.1, 24.5, 100.0, 1000.0])
@pytest.mark.parametrize("kind", ["noise", "silence"])
def test_pieces_cover_everything_and_stay_within_the_limit(seconds: float, kind: str) -> None:
    rng = np.random.default_rng(0)
    frames = rng.random(int(seconds / 0.02) + 1) if kind == "noise" else np.zeros(int(seconds / 0.02) + 1)
    cuts = cut_at_silences(frames.astype(np.float32), seconds, 8.0)
    assert cuts[0][0] == 0.0
    assert cuts[-1][1] == seconds
    assert all(before[1] == after[0] for before, after in itertools.pairwise(cuts))
    lengths = [stop - start for start, stop in cuts]
    assert max(lengths) <= 8.0
    assert min(lengths) >= 0.9
    assert len(cuts) <= seconds // 4 + 1


def one(path: Path, **span: float) -> TestSet:
    segment = Segment(index=0, id="s", audio=path.name, path=path, **span)  # type: ignore[arg-type]
    return TestSet(name="t", kind="folder", segments=(segment,))


@pytest.mark.parametrize(
    ("span", "rule", "message"),
    [
        (
            {"offset": 1.5, "duration": 1.0},
            "audio.range",
            "ends at 2.500 s, after the end of the recording at 2.000 s",
        ),
        ({"offset": 2.0, "duration": 0.5}, "audio.range", "begins at 2.000 s, after the end"),
        ({"offset": 1.0, "duration": 0.06}, "audio.short", "60 ms; the least that can be decoded is 100 ms"),
    ],
)
def test_a_segment_that_does_not_lie_in_its_file_is_named(
    tmp_path: Path, span: dict[str, float], rule: str, message: str
) -> None:
    found = survey(one(write_tone(tmp_path / "a.wav", 2.0), **span), 30.0, SILENT)
    assert [problem.rule for problem in found.problems] == [rule]
    assert found.durations[0] == 0
    assert not found.pieces
    assert found.problems[0].message.startswith("segment s: ")
    assert message in found.problems[0].message


def test_a_segment_that_exceeds_its_file_by_rounding_ends_with_it(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "a.wav", 2.0)
    found = survey(one(path, offset=1.0, duration=1.03), 30.0, SILENT)
    assert not found.problems
    assert found.durations == (1.0,)
    assert read_span(path, 1.0, found.pieces[0].duration, RATE).size == RATE


def test_digital_silence_is_decoded_and_told(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE, np.float32), RATE)
    found = survey(one(tmp_path / "a.wav"), 30.0, SILENT)
    assert [(p.rule, p.severity) for p in found.problems] == [("audio.silent", "warning")]
    assert len(found.pieces) == 1


def test_an_over_long_segment_becomes_pieces_that_are_heard_whole(tmp_path: Path) -> None:
    samples = speech((1.0, False), (6.0, True), (0.4, False), (5.0, True), (0.5, False), (4.0, True))
    samples = np.repeat(samples, 3)  # 48 kHz
    soundfile.write(tmp_path / "a.flac", samples, 48_000)
    found = survey(one(tmp_path / "a.flac", offset=1.0, duration=15.5), 8.0, SILENT)
    assert found.long == (0,)
    assert [piece.part for piece in found.pieces] == [0, 1, 2]
    heard = [read_span(tmp_path / "a.flac", piece.offset, piece.duration, RATE) for piece in found.pieces]
    assert all(part.size <= 8 * RATE for part in heard)
    assert sum(part.size for part in heard) == pytest.approx(15.5 * RATE, abs=3)
    assert 7.05 < found.pieces[1].offset < 7.35


def test_the_digest_follows_the_segments_and_the_bytes_of_their_files(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "a.wav", 2.0)
    whole = one(path, offset=0.0, duration=1.0)
    digest = survey(whole, 30.0, SILENT).sha256
    assert survey(whole, 30.0, SILENT).sha256 == digest
    shifted = replace(whole, segments=(replace(whole.segments[0], offset=0.5),))
    assert survey(shifted, 30.0, SILENT).sha256 != digest
    write_tone(path, 2.0, frequency=441.0)
    assert survey(whole, 30.0, SILENT).sha256 != digest
