"""Speech for the miniature: espeak-ng clips at 16 kHz, synthesised once and kept in a cache folder."""

from __future__ import annotations

import csv
import hashlib
import os
import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soxr

from tools.miniature import voices

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE = 16_000
SENTENCES_FILE = Path(__file__).with_name("sentences.tsv")


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """One English sentence of the closed set and its Chinese translation."""

    id: str
    english: str
    chinese: str


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """What espeak-ng is asked to say: sentence index, text, voice, words per minute, pitch 0-99."""

    sentence: int
    text: str
    voice: str
    speed: int
    pitch: int


def default_cache() -> Path:
    """Return the cache folder used when none is given."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "iwsltpack-miniature"


def read_sentences(path: Path = SENTENCES_FILE) -> list[Sentence]:
    """Read the closed set of sentences."""
    with path.open(encoding="utf-8", newline="") as handle:
        rows = csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [Sentence(id=row["id"], english=row["english"], chinese=row["chinese"]) for row in rows]


def espeak_version() -> str:
    """Return the version of espeak-ng, on which every waveform depends."""
    line = subprocess.run(["espeak-ng", "--version"], check=True, capture_output=True, text=True).stdout
    return line.split(":", 1)[1].split()[0]


def synthesise(utterance: Utterance) -> np.ndarray:
    """Return one utterance as int16 samples of shape (n,) at 16 kHz."""
    command = [
        "espeak-ng",
        "--stdout",
        "-v",
        utterance.voice,
        "-s",
        str(utterance.speed),
        "-p",
        str(utterance.pitch),
    ]
    wav = subprocess.run([*command, utterance.text], check=True, capture_output=True).stdout
    rate = int.from_bytes(wav[24:28], "little")
    body = wav[44:]
    samples = np.frombuffer(body[: len(body) // 2 * 2], dtype="<i2").astype(np.float32) / 32768.0
    if samples.size == 0:
        raise ValueError(
            f"espeak-ng said nothing for {utterance}; is the voice {utterance.voice!r} installed?"
        )
    resampled: np.ndarray = soxr.resample(samples, rate, RATE, quality="HQ")
    rounded: np.ndarray = np.clip(np.rint(resampled * 32767.0), -32768, 32767).astype(np.int16)
    return rounded


def training_plan(sentences: Sequence[Sentence], clips_per_sentence: int, seed: int) -> list[Utterance]:
    """Draw voice, speed and pitch of every training clip from `seed`."""
    rng = random.Random(seed)
    names = [f"{accent}+{variant}" for variant in voices.TRAIN_VARIANTS for accent in voices.ACCENTS]
    plan = []
    for index, sentence in enumerate(sentences):
        for voice in rng.sample(names, clips_per_sentence):
            speed, pitch = rng.randint(*voices.SPEEDS), rng.randint(*voices.PITCHES)
            plan.append(
                Utterance(sentence=index, text=sentence.english, voice=voice, speed=speed, pitch=pitch)
            )
    return plan


def fixed_plan(
    sentences: Sequence[Sentence], names: Sequence[str], speed: int = voices.NORMAL_SPEED
) -> list[Utterance]:
    """Every sentence in every named voice, at one speed and the normal pitch."""
    return [
        Utterance(sentence=index, text=sentence.english, voice=name, speed=speed, pitch=voices.NORMAL_PITCH)
        for name in names
        for index, sentence in enumerate(sentences)
    ]


def speak(plan: Sequence[Utterance], cache: Path, workers: int = 2) -> list[np.ndarray]:
    """Return the clips of `plan`, from the cache where it holds exactly this plan by this espeak-ng."""
    key = hashlib.sha256(
        repr((espeak_version(), [tuple(asdict(u).values()) for u in plan])).encode()
    ).hexdigest()[:24]
    path = cache / f"clips-{key}.npz"
    if path.is_file():
        with np.load(path) as stored:
            return np.split(stored["samples"], stored["ends"][:-1])
    with ThreadPoolExecutor(workers) as pool:
        clips = list(pool.map(synthesise, plan))
    cache.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp.npz")
    np.savez(temporary, samples=np.concatenate(clips), ends=np.cumsum([clip.size for clip in clips]))
    temporary.replace(path)
    return clips
