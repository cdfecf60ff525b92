"""Write the demo test set (command in its README).

Eight clips from the held-out test voices, FLAC, 16 kHz, mono, 16 bit, with a CSV manifest. The clips are
fixed in `CLIPS`; the command refuses to write any that the model gets wrong.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from tools.miniature import speech, voices
from tools.miniature.evaluate import load, translate

if TYPE_CHECKING:
    from collections.abc import Sequence

#: (sentence id, test voice)
CLIPS: tuple[tuple[str, str], ...] = (
    ("s01", "en-us+m7"),
    ("s06", "en-gb+f3"),
    ("s10", "en-gb-scotland+Andy"),
    ("s19", "en-gb-x-rp+linda"),
    ("s26", "en-029+travis"),
    ("s39", "en-us+m7"),
    ("s48", "en-gb+f3"),
    ("s56", "en-gb-scotland+Andy"),
)
README = """# Demo test set

Eight short clips of synthetic English speech (FLAC, 16 kHz, mono, 16 bit) with Chinese references, for
trying the tool end to end with the bundled miniature (`iwsltpack/demo/miniature`). The voices are espeak-ng
{version} voices that the miniature never heard in training
({voices}), at {speed} words per minute.
The sentences and their translations were written for this project
(`tools/miniature/sentences.tsv`).

The miniature is a demonstration over a closed set of {count} sentences: it knows those and nothing else. The
command below refuses clips that the uncompressed miniature gets wrong. Scores on this set show that the tool
works, not that any model translates well.

Made by:

    python -m tools.miniature.make_testset --model iwsltpack/demo/miniature --output iwsltpack/demo/testset
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, check every clip with the model, and write the set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    sentences = {item.id: item for item in speech.read_sentences()}
    model, processor = load(options.model)
    (options.output / "wavs").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (name, voice) in enumerate(CLIPS, start=1):
        item = sentences[name]
        clip = speech.synthesise(speech.fixed_plan([item], [voice])[0])
        written = translate(model, processor, [clip.astype(np.float32) / 32768.0])[0]
        if written != item.chinese:
            raise ValueError(
                f"{name} in {voice}: expected {item.chinese!r}, got {written!r}; choose another clip in CLIPS"
            )
        path = Path("wavs") / f"demo_{number}.flac"
        soundfile.write(options.output / path, clip, speech.RATE, subtype="PCM_16")
        rows.append([f"demo_{number}", "demo", path.as_posix(), item.english, item.chinese])
    with (options.output / "manifest.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["id", "split", "audio_path", "source_en", "target_zh"])
        writer.writerows(rows)
    used = ", ".join(f"`{voice}`" for voice in dict.fromkeys(voice for _, voice in CLIPS))
    text = README.format(
        version=speech.espeak_version(), voices=used, speed=voices.NORMAL_SPEED, count=len(sentences)
    )
    (options.output / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
