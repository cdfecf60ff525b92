"""Disturb clips (waveform, NumPy) and log-mel features (torch) in training, drawing from given generators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from tools.miniature.speech import RATE
from tools.miniature.tokenizer import CHUNK_SECONDS

if TYPE_CHECKING:
    from transformers import WhisperFeatureExtractor

LIMIT = CHUNK_SECONDS * RATE


def _noise(rng: np.random.Generator, size: int, pool: list[np.ndarray]) -> np.ndarray:
    """Return white, coloured or babble noise of shape (size,)."""
    kind = rng.integers(3)
    if kind == 2:
        babble = np.zeros(size, dtype=np.float32)
        for index in rng.integers(len(pool), size=3):
            voice = np.resize(pool[index].astype(np.float32), size)
            babble += np.roll(voice, int(rng.integers(size)))
        return babble
    white = rng.standard_normal(size).astype(np.float32)
    if kind == 0:
        return white
    spectrum = np.fft.rfft(white)
    slope = np.maximum(np.arange(spectrum.size), 1.0) ** -rng.uniform(0.3, 1.0)
    return np.fft.irfft(spectrum * slope, size).astype(np.float32)


def _reverberate(rng: np.random.Generator, wave: np.ndarray) -> np.ndarray:
    """Convolve with a decaying random impulse response of 50 to 250 ms."""
    size = int(rng.uniform(0.05, 0.25) * RATE)
    echo = rng.standard_normal(size) * np.exp(-6.0 * np.arange(size) / size) * rng.uniform(0.02, 0.12)
    echo[0] = 1.0
    length = 1 << int(np.ceil(np.log2(wave.size + size)))
    return np.fft.irfft(np.fft.rfft(wave, length) * np.fft.rfft(echo, length), length)[: wave.size].astype(
        np.float32
    )


def disturb(
    clip: np.ndarray, rng: np.random.Generator, pool: list[np.ndarray], strength: float = 1.0
) -> np.ndarray:
    """Disturb an int16 clip: speed, echo, silence around it, noise, gain. float32 in [-1, 1], at most 8 s.

    `strength` is the share of clips that are touched at all.
    """
    wave = clip.astype(np.float32) / 32768.0
    if rng.random() >= strength:
        return wave[:LIMIT]
    factor = max(rng.uniform(0.88, 1.14), wave.size / (LIMIT - 0.1 * RATE))
    wave = np.interp(np.arange(0.0, wave.size - 1, factor), np.arange(wave.size), wave).astype(np.float32)
    if rng.random() < 0.25:
        wave = _reverberate(rng, wave)
    room = LIMIT - wave.size
    lead = min(int(rng.uniform(0.0, 0.5) * RATE), room)
    trail = min(int(rng.uniform(0.0, 0.5) * RATE), room - lead)
    level = float(np.sqrt(np.mean(wave**2))) + 1e-6
    wave = np.pad(wave, (lead, trail))
    if rng.random() < 0.75:
        noise = _noise(rng, wave.size, pool)
        ratio = 10.0 ** (-rng.uniform(5.0, 40.0) / 20.0)
        wave = wave + noise * (level * ratio / (float(np.sqrt(np.mean(noise**2))) + 1e-6))
    peak = float(np.abs(wave).max()) + 1e-6
    scaled: np.ndarray = (wave / peak * 10.0 ** rng.uniform(-1.3, 0.0)).astype(np.float32)
    return scaled


def log_mel(waves: list[np.ndarray], extractor: WhisperFeatureExtractor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return Whisper's log-mel (batch, 128, T), padded to the longest clip, and each clip's frame count."""
    frames = torch.tensor([-(-wave.size // extractor.hop_length) for wave in waves])
    total = (int(frames.max()) + 4 + 3) // 4 * 4
    padded = torch.zeros(len(waves), total * extractor.hop_length + extractor.n_fft)
    for row, wave in enumerate(waves):
        padded[row, : wave.size] = torch.from_numpy(wave)
    window = torch.hann_window(extractor.n_fft)
    spectrum = torch.stft(padded, extractor.n_fft, extractor.hop_length, window=window, return_complex=True)[
        ..., :total
    ]
    power = (spectrum.real**2 + spectrum.imag**2).contiguous()
    mel = (torch.from_numpy(extractor.mel_filters).float().T @ power).clamp_min(1e-10).log10()
    mel = torch.maximum(mel, mel.amax(dim=(1, 2), keepdim=True) - 8.0)
    return (mel + 4.0) / 4.0, frames


def warp_mel(mel: torch.Tensor, generator: torch.Generator, strength: float = 1.0) -> torch.Tensor:
    """Shift formants (a frequency warp), tilt the spectrum, and mask bands and moments (SpecAugment)."""
    clean, (batch, bins, length) = mel, mel.shape
    draw = torch.rand(batch, 12, generator=generator)
    position = torch.linspace(0.0, 1.0, bins)[None, :]
    source = position ** (2.0 ** (0.5 * (draw[:, :1] - 0.5))) * (0.92 + 0.16 * draw[:, 1:2])
    source = (source.clamp(0.0, 1.0) * (bins - 1)).clamp(max=bins - 1.001)
    low = source.floor().long()
    part = (source - low).unsqueeze(-1)
    rows = low.unsqueeze(-1).expand(-1, -1, length)
    mel = mel.gather(1, rows) * (1 - part) + mel.gather(1, rows + 1) * part
    tilt = (draw[:, 2:3] - 0.5) * 0.5 * position + (draw[:, 3:4] - 0.5) * 0.2 * torch.cos(
        6.0 * position * draw[:, 4:5] + 6.0 * draw[:, 5:6]
    )
    mel = mel + tilt.unsqueeze(-1)
    floor = mel.amin(dim=(1, 2), keepdim=True)
    bands, moments = torch.arange(bins)[None, :, None], torch.arange(length)[None, None, :]
    hidden = torch.zeros_like(mel, dtype=torch.bool)
    for start, width in ((6, 7), (8, 9)):
        first = (draw[:, start] * bins).long()[:, None, None]
        hidden |= (bands >= first) & (bands < first + (draw[:, width] * 14).long()[:, None, None])
    first = (draw[:, 10] * length).long()[:, None, None]
    hidden |= (moments >= first) & (moments < first + (draw[:, 11] * 14).long()[:, None, None])
    touched = torch.rand(batch, 1, 1, generator=generator) < strength
    return torch.where(touched, torch.where(hidden, floor, mel), clean)
