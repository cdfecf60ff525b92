"""Build on local dask workers against one process, same checkpoint, one run; and what it projects for more machines.

    python -m tools.standin.generate --scale 1/16 --output standin-16th
    python -m benchmarks.dask_build standin-16th --work DIR --json benchmarks/dask-build.json
    python -m benchmarks.dask_build --project benchmarks/dask-build.json --nodes 16 --cores 32

Every side runs in a process of its own, after the page cache was dropped where that is allowed; wall clock in seconds.
Sides, for each coding:

process
    ``iwsltpack build --workers 1``: one process, one tensor at a time.
dask-N
    ``iwsltpack build --dask local:N``: N worker processes of one thread. `startup` (processes and imports, which do
    not depend on the model; on every side the imports are made before the clock of `seconds` starts) is told apart
    from `seconds`, and is in `total`.
default
    ``iwsltpack build``: one process, two more threads than cores.

All artifacts of a coding must have the same bytes, or the run fails. The projection is `project`'s formula; it is
no measurement.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.page_cache import drop_caches

LIBRARIES = ("iwsltpack", "distributed", "zarr", "numcodecs", "pcodec", "numpy", "zstandard")


def run_side(side: str, source: Path, output: Path, recipe: str, coding: str) -> dict[str, float]:
    """Build once; return seconds of the cluster's start and of the build."""
    from iwsltpack.building.pipeline import build_artifact
    from iwsltpack.building.recipes import load_recipe
    from iwsltpack.building.request import BuildRequest

    loaded, started = load_recipe(recipe), time.perf_counter()
    import_all()
    if not side.startswith("dask-"):
        up = time.perf_counter()
        build_artifact(BuildRequest(source, output, loaded, coding, workers=1 if side == "process" else None))
        return {"startup": up - started, "seconds": time.perf_counter() - up}
    from distributed import Client

    from iwsltpack.cluster.local import local_cluster

    with local_cluster(int(side.removeprefix("dask-"))) as cluster:
        with Client(cluster) as client:
            client.wait_for_workers(int(side.removeprefix("dask-")))
            client.run(import_all)
        up = time.perf_counter()
        build_artifact(BuildRequest(source, output, loaded, coding), cluster=cluster.scheduler_address)
        return {"startup": up - started, "seconds": time.perf_counter() - up}


def import_all() -> None:
    """Import what packing a tensor imports."""
    for name in ("iwsltpack.building.dask", "zarr", "numcodecs", "pcodec"):
        importlib.import_module(name)


def digest(folder: Path) -> str:
    """Return one hash of all names and bytes below a folder."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(f"{path.relative_to(folder)}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run every side of every coding."""
    document: dict[str, Any] = {"signature": signature(arguments), "codings": {}}
    for coding in arguments.codings.split(","):
        sides: dict[str, Any] = {}
        digests: dict[str, str] = {}
        for side in ("process", *(f"dask-{count}" for count in arguments.workers.split(",")), "default"):
            output = arguments.work / "artifact"
            shutil.rmtree(output, ignore_errors=True)
            sides[side] = _in_its_own_process(side, coding, output, arguments)
            digests[side] = digest(output)
            print(f"{coding:7} {side:8} {sides[side]['total']:8.2f} s in all", flush=True)
        if len(set(digests.values())) != 1:
            raise SystemExit(f"{coding}: the sides wrote different bytes: {digests}")
        shutil.rmtree(arguments.work / "artifact")
        document["codings"][coding] = {"sides": sides, "sha256": digests["process"], **_ratios(sides)}
    return document


def _in_its_own_process(
    side: str, coding: str, output: Path, arguments: argparse.Namespace
) -> dict[str, Any]:
    subprocess.run(["sync"], check=True)
    cold = drop_caches()
    command = [sys.executable, "-m", "benchmarks.dask_build", str(arguments.source), "--work", str(output)]
    command += ["--recipe", arguments.recipe, "--codings", coding, "--side", side]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    found = {name: round(seconds, 3) for name, seconds in found.items()}
    return {**found, "total": round(found["startup"] + found["seconds"], 3), "cold_cache": cold}


def _ratios(sides: dict[str, Any]) -> dict[str, Any]:
    one = sides["process"]["seconds"]
    clusters = {side: figures for side, figures in sides.items() if side.startswith("dask-")}
    first = clusters.get("dask-1")
    return {
        "faster_than_one_process": {side: round(one / found["seconds"], 3) for side, found in sides.items()},
        "faster_with_startup": {side: round(one / found["total"], 3) for side, found in clusters.items()},
        "efficiency": {
            side: round(first["seconds"] / found["seconds"] / int(side.removeprefix("dask-")), 3)
            for side, found in clusters.items()
            if first
        },
    }


def signature(arguments: argparse.Namespace) -> dict[str, object]:
    """Return what a reader needs to compare figures."""
    return {
        "command": f"python -m benchmarks.dask_build SOURCE --recipe {arguments.recipe} "
        f"--codings {arguments.codings} --workers {arguments.workers}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "source_bytes": sum(path.stat().st_size for path in arguments.source.glob("*.safetensors")),
    }


def tensor_bytes_72b() -> dict[str, int]:
    """Return name -> bytes (bfloat16) of the large tensors of a 72 B model, by Qwen2-72B's published configuration."""
    hidden, wide, layers, vocabulary, kv = 8192, 29568, 80, 152064, 1024
    shapes = {"q": (hidden, hidden), "k": (kv, hidden), "v": (kv, hidden), "o": (hidden, hidden)}
    shapes |= {"gate": (wide, hidden), "up": (wide, hidden), "down": (hidden, wide)}
    sizes = {f"{layer}.{name}": 2 * a * b for layer in range(layers) for name, (a, b) in shapes.items()}
    return sizes | dict.fromkeys(("embed", "lm_head"), 2 * vocabulary * hidden)


def project(arguments: argparse.Namespace) -> dict[str, Any]:
    """Evaluate the projection; each term in seconds, the largest is what limits.

    packing
        The largest share of `deal` over nodes x cores, divided by the measured rate of one worker (source bytes a
        second, `dask-1` or, without it, `process`). A tensor is never divided, so the largest is a floor.
    storage
        Source bytes once and artifact bytes twice (written, and read at merge or by fsync), over the shared bandwidth.
    files
        Chunk files x operations each (create, rename, stat, sync), over the metadata operations a second.
    scheduling
        Items x the client's time for one item.
    """
    from iwsltpack.building.plan import CHUNK_VALUES
    from iwsltpack.cluster.shards import deal

    document = json.loads(arguments.project.read_text())
    coding = arguments.codings.split(",")[0]
    sides = document["codings"][coding]["sides"]
    side = sides.get("dask-1", sides["process"])
    rate = document["signature"]["source_bytes"] / side["seconds"]
    sizes = tensor_bytes_72b()
    total, workers = sum(sizes.values()), arguments.nodes * arguments.cores
    largest = max(sum(sizes[name] for name in names) for names in deal(sizes, workers))
    files = total / 2 / CHUNK_VALUES + len(sizes)
    terms = {
        "packing": largest / rate,
        "storage": total * (1 + 2 * arguments.ratio) / (arguments.storage * 1e9),
        "files": files * 4 / arguments.metadata,
        "scheduling": len(sizes) * arguments.item / 1000,
    }
    return {
        "model": f"72 B, {total} bytes, largest tensor {max(sizes.values())} bytes, {len(sizes)} large tensors",
        "given": {
            name: getattr(arguments, name)
            for name in ("nodes", "cores", "storage", "metadata", "item", "ratio")
        },
        "rate_bytes_per_second_and_worker": round(rate),
        "seconds": {name: round(seconds, 1) for name, seconds in terms.items()},
        "limit": max(terms, key=lambda name: terms[name]),
        "workers_that_the_largest_tensor_still_keeps_busy": total // max(sizes.values()),
        "one_worker_seconds": round(total / rate),
    }


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, nargs="?")
    parser.add_argument("--work", type=Path, help="folder for artifacts; needs the source's size")
    parser.add_argument("--recipe", default="selected-q2")
    parser.add_argument("--codings", default="pcodec,zstd")
    parser.add_argument("--workers", default="1,2,4", help="numbers of dask workers")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--project", type=Path, metavar="JSON", help="project from measured figures instead")
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--cores", type=int, default=32, help="workers of one thread on each node")
    parser.add_argument("--storage", type=float, default=5.0, help="shared file system, GB/s for all nodes")
    parser.add_argument("--metadata", type=float, default=5000.0, help="its file operations a second")
    parser.add_argument("--item", type=float, default=10.0, help="client's time for one item, ms")
    parser.add_argument("--ratio", type=float, default=0.5, help="artifact bytes / source bytes")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.project is None and (arguments.source is None or arguments.work is None):
        parser.error("SOURCE and --work, or --project JSON")
    return arguments


def main() -> None:
    """Measure or project; print, write JSON if asked."""
    arguments = parse()
    if arguments.side:
        print(
            json.dumps(
                run_side(
                    arguments.side, arguments.source, arguments.work, arguments.recipe, arguments.codings
                )
            )
        )
        return
    if arguments.project is not None:
        document = project(arguments)
    else:
        arguments.work.mkdir(parents=True, exist_ok=True)
        document = measure(arguments)
    text = json.dumps(document, indent=1, sort_keys=True)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
