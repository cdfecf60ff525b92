"""The miniature, calibrated in some voices and judged in others: chrF at some bits a weight, all matrices rounded.

    python -m benchmarks.frontier_voices --work DIR [--bits 3.0] [--sentences 56] [--json FILE]

Calibrated on the four validation voices of `tools.miniature.voices`, by references; judged on the five test voices,
which nothing else has heard. Needs espeak-ng. Both models are scored as `tools.miniature.evaluate` scores a checkpoint.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from pathlib import Path

import numpy as np
import soundfile
import torch

from iwsltpack.building.recipes import BUILT_IN
from iwsltpack.building.request import BuildRequest
from iwsltpack.building.size import SizeTarget
from iwsltpack.calibration.calibrated_build import build_calibrated
from iwsltpack.calibration.data import CalibrationRequest
from iwsltpack.runtime.model import load_model
from iwsltpack.system import fileio
from tools.miniature import speech, voices
from tools.miniature.evaluate import load, score_pairs, spoken_pairs

MINIATURE = Path(__file__).parents[1] / "iwsltpack" / "demo" / "miniature"


def write_testset(folder: Path, sentences: int, cache: Path) -> None:
    """Write the sentences in the validation voices as a test set with references."""
    known = speech.read_sentences()[:sentences]
    plan = speech.fixed_plan(known, voices.VALIDATION_VOICES)
    (folder / "wavs").mkdir(parents=True)
    rows = [["id", "split", "audio_path", "source_en", "target_zh"]]
    for number, (utterance, clip) in enumerate(zip(plan, speech.speak(plan, cache), strict=True)):
        path = Path("wavs") / f"{number:03d}.flac"
        soundfile.write(folder / path, clip, speech.RATE, subtype="PCM_16")
        said = known[utterance.sentence]
        rows.append([f"clip_{number:03d}", "dev", path.as_posix(), said.english, said.chinese])
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--bits", default="3.0", help="Bits a weight, all files of the matrices counted.")
    parser.add_argument(
        "--sentences", type=int, default=56, help="Of the 56, in every voice, to calibrate on."
    )
    parser.add_argument("--judged", type=int, default=280, help="Clips of the 280.")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    dev = options.work / f"voices-{options.sentences}"
    if not dev.exists():
        with fileio.atomic_directory(dev) as folder:
            write_testset(folder, options.sentences, options.work / "clips")
    output, start = options.work / f"artifact-{options.sentences}-{options.bits}", time.process_time()
    manifest = build_calibrated(
        BuildRequest(
            MINIATURE, output, BUILT_IN["calibrated"], "pcodec", target=SizeTarget(bits=float(options.bits))
        ),
        CalibrationRequest(data=dev, references=dev / "manifest.csv"),
    )
    built = time.process_time() - start
    pairs = spoken_pairs(voices.TEST_VOICES, options.work / "clips")
    chosen = [pairs[int(index)] for index in np.linspace(0, len(pairs) - 1, options.judged)]
    _, processor = load(MINIATURE)
    found = score_pairs(load_model(output, device="cpu"), processor, chosen)
    found.pop("hypotheses")
    result = {"bits": options.bits, "damage": str(manifest.damage), "cpu_seconds": built, **found}
    result["matrices"] = sum(tensor.classes is not None for tensor in manifest.tensors)
    if options.json:
        fileio.write_json(options.json, result)
    print(json.dumps(result, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
