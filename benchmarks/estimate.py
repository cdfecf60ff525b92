"""What `iwsltpack estimate` tells beside what a build gives, recipe by recipe.

    python -m benchmarks.estimate CHECKPOINT --work DIR [--coding zstd] [--format-version 2] [--recipe NAME]…

Builds one recipe after the other in DIR and removes it again. Without --recipe all built-in ones but `calibrated`,
which needs data; `bnb-int8` needs bitsandbytes and is left out where that is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import time
from pathlib import Path

from iwsltpack.artifact.sizes import measure
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.recipes import BUILT_IN, load_recipe
from iwsltpack.building.request import BuildRequest
from iwsltpack.building.size_estimate import estimate


def main() -> None:
    """Parse the command line, estimate all, build each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--coding", default="zstd")
    parser.add_argument("--format-version", type=int, default=2)
    parser.add_argument("--recipe", action="append")
    options = parser.parse_args()
    recipes = [load_recipe(name) for name in options.recipe or BUILT_IN]
    if options.recipe is None:
        has_int8 = importlib.util.find_spec("bitsandbytes") is not None
        recipes = [each for each in recipes if not each.calibrated and (has_int8 or each.engine == "codec")]
    wall, cpu = time.perf_counter(), time.process_time()
    found = estimate(options.checkpoint, recipes, options.coding, format_version=options.format_version)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{len(found)} recipes: {wall:.1f} s, {cpu:.1f} s of processor time\n")
    print("| recipe | estimate, bytes | built, bytes | off |\n|---|---:|---:|---:|")
    output = options.work / "artifact"
    for each in found:
        build_artifact(
            BuildRequest(
                options.checkpoint, output, each.recipe, options.coding, format_version=options.format_version
            )
        )
        told, real = each.sizes.total_bytes, measure(output).total_bytes
        print(f"| {each.recipe.name} | {told:,} | {real:,} | {100 * (told / real - 1):+.3f} % |", flush=True)
        shutil.rmtree(output)


if __name__ == "__main__":
    main()
