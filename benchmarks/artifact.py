"""Build and read an artifact against plain copying and against the paper's own way, in one run.

    python -m benchmarks.artifact SOURCE --work DIR [--recipe selected-q2] [--coding zstd] [--settle] [--json FILE]

SOURCE is a checkpoint folder, say the full-size stand-in (``python -m tools.standin.generate --scale full``). Every
side runs in a process of its own, after the page cache was dropped where that is allowed; wall clock in seconds, peak
resident memory in bytes, and the CPU time it took. On a virtual machine whose host takes back memory that lies idle,
the first touch of each page is slow, and slower the longer the machine was idle; ``--settle`` lets another program
touch all free memory right before each side, so that no side pays for that. Sides:

copy
    Copy SOURCE's tensor files, then the finished artifact, to new files; synced.
build
    `iwsltpack build`.
paper-build
    The paper's way: all tensors in memory, numcodecs Quantize + Zstd on each selected layer in turn, the whole
    pickled by ``torch.save``. At full size q3 needs more than 24 GiB of memory for that.
read
    Every tensor of the artifact into memory.
paper-read
    ``torch.load`` of that pickle, then the first-use decode of every layer.
safetensors-read
    Every tensor of SOURCE into memory, by safetensors: what no compression costs.
load
    `iwsltpack.load_model` of the artifact on the CPU, float16.
safetensors-load
    transformers' `from_pretrained` of SOURCE, the same.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.page_cache import drop_caches

SIDES = (
    "build",
    "copy",
    "paper-build",
    "read",
    "paper-read",
    "safetensors-read",
    "load",
    "safetensors-load",
)
RATIOS = (
    ("paper-build", "build"),
    ("build", "copy"),
    ("paper-read", "read"),
    ("read", "safetensors-read"),
    ("load", "safetensors-load"),
)
"""Sides whose times are divided, the first by the second."""
PAPER_DIGITS = {"selected-q3": 3, "selected-q2": 2}


def build(arguments: argparse.Namespace) -> None:
    """Build with this package."""
    from iwsltpack.building.pipeline import build_artifact
    from iwsltpack.building.recipes import load_recipe
    from iwsltpack.building.request import BuildRequest

    build_artifact(
        BuildRequest(
            arguments.source, arguments.work / "artifact", load_recipe(arguments.recipe), arguments.coding
        )
    )


def copy(arguments: argparse.Namespace) -> None:
    """Copy what a build reads and what it writes."""
    target = arguments.work / "copy"
    shutil.copytree(arguments.source, target / "source")
    shutil.copytree(arguments.work / "artifact", target / "artifact")
    for path in target.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())


def paper_build(arguments: argparse.Namespace) -> None:
    """Encode and pickle as the paper did."""
    import torch
    from numcodecs import Quantize, Zstd

    from iwsltpack.building.mlp_layers import pattern

    digits = PAPER_DIGITS[arguments.recipe]
    quantize, zstd = Quantize(digits=digits, dtype="f4", astype="f2"), Zstd(level=3)
    state = _all_tensors(arguments.source)
    for name in [
        name
        for name in state
        if name.endswith("_proj.weight") and re.search(pattern(), name.removesuffix(".weight"))
    ]:
        weight = state[name].detach().cpu().to(torch.float32).numpy()
        state[name] = {"shape": weight.shape, "payload": bytes(zstd.encode(quantize.encode(weight)))}
    torch.save(state, arguments.work / "paper.pt")


def read(arguments: argparse.Namespace) -> None:
    """Read every tensor of the artifact."""
    from iwsltpack.artifact.reader import open_artifact

    artifact = open_artifact(arguments.work / "artifact")
    tensors = dict(artifact.tensors(artifact.names()))
    print(sum(tensor.nbytes for tensor in tensors.values()))


def paper_read(arguments: argparse.Namespace) -> None:
    """Unpickle and decode as the paper did at first use."""
    import numpy as np
    import torch
    from numcodecs import Quantize, Zstd

    digits = PAPER_DIGITS[arguments.recipe]
    quantize, zstd = Quantize(digits=digits, dtype="f4", astype="f2"), Zstd(level=3)
    state = torch.load(arguments.work / "paper.pt", weights_only=False)  # our own file, in the paper's format
    for name, value in state.items():
        if isinstance(value, dict):
            half = np.frombuffer(zstd.decode(value["payload"]), dtype="f2")
            state[name] = torch.from_numpy(quantize.decode(half).reshape(value["shape"])).to(torch.float16)
    print(len(state))


def safetensors_read(arguments: argparse.Namespace) -> None:
    """Read every tensor of the checkpoint."""
    print(sum(tensor.nbytes for tensor in _all_tensors(arguments.source).values()))


def _all_tensors(source: Path) -> dict[str, Any]:
    """Return every tensor of a checkpoint, copied out of the mapped files."""
    from safetensors import safe_open

    state: dict[str, Any] = {}
    for path in sorted(source.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            state |= {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a mapping
    return state


def load(arguments: argparse.Namespace) -> None:
    """Load the artifact's model."""
    from iwsltpack.runtime.model import load_model

    _print_bytes(load_model(arguments.work / "artifact", device="cpu", dtype="float16"))


def safetensors_load(arguments: argparse.Namespace) -> None:
    """Load the checkpoint's model, every weight copied out of the mapped file and into the type that is asked for."""
    import torch
    import transformers

    name = json.loads((arguments.source / "config.json").read_text())["architectures"][0]
    cls = getattr(transformers, name)
    _print_bytes(cls.from_pretrained(arguments.source, dtype=torch.float16, device_map={"": "cpu"}))


def _print_bytes(model: Any) -> None:
    print(sum(tensor.nbytes for tensor in model.state_dict().values()))


SETTLE = """
import numpy as np
from iwsltpack.system.memory import available
np.empty(int(available() * 0.85), np.uint8)[::4096] = 1
"""


def run_side(side: str, command: list[str], *, settle: bool) -> dict[str, float]:
    """Run one side in its own process; return seconds, CPU seconds and peak bytes."""
    subprocess.run(["sync"], check=True)
    cold = drop_caches()
    if settle:
        subprocess.run([sys.executable, "-c", SETTLE], check=True)
    stolen = _stolen_seconds()
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.artifact", *command, "--side", side])
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"{side} failed with status {status}")
    return {
        "seconds": round(seconds, 2),
        "user_seconds": round(usage.ru_utime, 2),
        "system_seconds": round(usage.ru_stime, 2),
        "stolen_seconds": round(_stolen_seconds() - stolen, 2),
        "peak_bytes": usage.ru_maxrss * 1024,
        "cold_cache": cold,
        "settled": settle,
    }


def _stolen_seconds() -> float:
    """Return the time, over all cores, that the host gave to others since the machine's start; 0 where unknown."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()
    except OSError:
        return 0.0
    return int(fields[8]) / os.sysconf("SC_CLK_TCK") if len(fields) > 8 else 0.0


def signature(arguments: argparse.Namespace) -> dict[str, object]:
    """Return what a reader needs to compare figures."""
    libraries = (
        "iwsltpack",
        "zarr",
        "numcodecs",
        "pcodec",
        "torch",
        "transformers",
        "numpy",
        "safetensors",
        "zstandard",
    )
    return {
        "command": f"python -m benchmarks.artifact SOURCE --recipe {arguments.recipe} --coding {arguments.coding}"
        + (" --settle" if arguments.settle else "")
        + (f" --sides {arguments.sides}" if arguments.sides != ",".join(SIDES) else ""),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in libraries},
        "source_bytes": sum(path.stat().st_size for path in arguments.source.glob("*.safetensors")),
    }


def main() -> None:
    """Run every side, print a table, write JSON if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for artifacts and copies; needs 3x the source"
    )
    parser.add_argument("--recipe", default="selected-q2", choices=PAPER_DIGITS)
    parser.add_argument("--coding", default="zstd")
    parser.add_argument("--settle", action="store_true", help="touch all free memory before each side")
    parser.add_argument("--sides", default=",".join(SIDES), help="which to run, in this order")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        globals()[arguments.side.replace("-", "_")](arguments)
        return
    shutil.rmtree(arguments.work, ignore_errors=True)
    arguments.work.mkdir(parents=True)
    command = [
        str(arguments.source),
        "--work",
        str(arguments.work),
        "--recipe",
        arguments.recipe,
        "--coding",
        arguments.coding,
    ]
    results = {}
    for side in arguments.sides.split(","):
        results[side] = run_side(side, command, settle=arguments.settle)
        print(
            f"{side:17} {results[side]['seconds']:8.1f} s   {results[side]['peak_bytes'] / 2**30:6.2f} GiB",
            flush=True,
        )
        shutil.rmtree(arguments.work / "copy", ignore_errors=True)
        if side == "paper-read":
            (arguments.work / "paper.pt").unlink()
    ratios = {
        f"{one} against {other}": results[one]["seconds"] / results[other]["seconds"]
        for one, other in RATIOS
        if one in results and other in results
    }
    for label, ratio in ratios.items():
        print(f"{label:32} {ratio:.2f}x")
    if arguments.json:
        document = {"signature": signature(arguments), "sides": results, "ratios": ratios}
        arguments.json.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
