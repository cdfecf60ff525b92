"""Does whisper-tiny.en, with its real weights, say through `iwsltpack decode` what transformers says? JSON out.

    python -m benchmarks.whisper --models DIR --sentences CSV --work DIR --count 100 --json benchmarks/whisper.json

`frontier_models` fetches the model and lets flite speak `source_en` of the CSV. The artifact is built and exported; the
clips are decoded in batches, the first of them also one by one, and by transformers' own `generate`, called on the
exported checkpoint with one clip at a time, as the model's page calls it. Greedy, float32, on the CPU. Ends with
status 1 where a text differs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import soundfile
import torch
import transformers

import iwsltpack
from benchmarks.frontier_models import WHISPER, _words, prepare

TOKENS = 200
BATCH = 16
APART = 10
"""Clips decoded one by one, too."""


def command(*arguments: object) -> None:
    """Run iwsltpack, its talk on stderr."""
    subprocess.run(
        [sys.executable, "-m", "iwsltpack", "--quiet", *map(str, arguments)], check=True, stdout=sys.stderr
    )


def decoded(paths: list[Path], work: Path, batch: int) -> tuple[list[str], dict[str, Any]]:
    """Decode clips with the artifact; return the texts and the run's record."""
    run, clips = work / f"run-{batch}", work / f"clips-{batch}"
    clips.mkdir()
    for path in paths:
        (clips / path.name).symlink_to(path.resolve())
    command(
        *("decode", clips, "--artifact", work / "artifact", "--output", run, "--device", "cpu"),
        *("--max-new-tokens", TOKENS, "--batch-size", batch, "--batch-seconds", 10_000),
    )
    [text] = run.glob("*.txt")
    return text.read_text(encoding="utf-8").splitlines(), json.loads((run / "run.json").read_text())


@torch.no_grad()
def theirs(checkpoint: Path, clips: list[Path]) -> list[str]:
    """Decode the clips one by one with nothing but transformers."""
    processor = transformers.AutoProcessor.from_pretrained(checkpoint)
    model = transformers.AutoModelForSpeechSeq2Seq.from_pretrained(checkpoint, dtype=torch.float32).eval()
    texts = []
    for path in clips:
        samples, rate = soundfile.read(path, dtype="float32")
        heard = processor(samples, sampling_rate=rate, return_tensors="pt").input_features
        ids = model.generate(heard, max_new_tokens=TOKENS, do_sample=False, num_beams=1)
        text = processor.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)[0]
        texts.append(" ".join(text.split()))
    return texts


def word_errors(texts: list[str], sentences: list[str]) -> float:
    """Return wrong words for each word said, over all sentences."""
    wrong = said = 0
    for heard, spoken in zip(map(_words, texts), map(_words, sentences), strict=True):
        row = list(range(len(spoken) + 1))
        for i, word in enumerate(heard, 1):
            before, row = row, [i]
            for j, other in enumerate(spoken, 1):
                row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (word != other)))
        wrong, said = wrong + row[-1], said + len(spoken)
    return wrong / said


def compare(models: Path, work: Path, count: int, recipe: str) -> dict[str, Any]:
    """Decode the first `count` clips three ways."""
    work.mkdir(parents=True)
    paths = [models / "speech" / f"{number:03d}.wav" for number in range(count)]
    command(
        "build", models / WHISPER, "--recipe", recipe, "--output", work / "artifact", "--base-model", WHISPER
    )
    command("export", work / "artifact", "--output", work / "export")
    together, run = decoded(paths, work, BATCH)
    apart, _ = decoded(paths[:APART], work, 1)
    expected = theirs(work / "export", paths)
    sentences = json.loads((models / "speech" / "sentences.json").read_text())[:count]
    return {
        "clips": count,
        "same_as_generate": sum(map(str.__eq__, together, expected)),
        "one_by_one": len(apart),
        "same_one_by_one": sum(map(str.__eq__, together, apart)),
        "word_error_rate": round(word_errors(together, sentences), 4),
        "differing": [texts for texts in zip(together, expected, strict=True) if len(set(texts)) > 1],
        "first_texts": together[:3],
        "signature": {
            "recipe": recipe,
            "artifact_sha256": run["artifact"]["sha256"],
            "test_set_sha256": run["test_set"]["sha256"],
            "search": f"greedy, {TOKENS} tokens, float32, batches of {BATCH}",
            "iwsltpack": iwsltpack.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def main() -> None:
    """Print how many texts are the same."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, required=True, help="where models and speech are kept")
    parser.add_argument("--sentences", type=Path, help="CSV with a column source_en; needed once")
    parser.add_argument("--work", type=Path, required=True, help="folder to make; must not be there")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--recipe", default="selected-q3")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.sentences:
        prepare(arguments.models, arguments.sentences, [WHISPER])
    result = compare(arguments.models, arguments.work, arguments.count, arguments.recipe)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(
        f"of {result['clips']} texts {result['same_as_generate']} are those of generate, "
        f"{result['same_one_by_one']} of {result['one_by_one']} those of one by one; "
        f"WER {result['word_error_rate']:.1%}"
    )
    if result["differing"] or result["same_one_by_one"] != result["one_by_one"]:
        raise SystemExit("the texts differ")


if __name__ == "__main__":
    main()
