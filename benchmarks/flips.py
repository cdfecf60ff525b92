"""Flip single bytes of an artifact at random positions; count those that `verify` catches.

    python -m benchmarks.flips ARTIFACT --flips 2000

Works on a copy. Positions are drawn over all bytes of all files, at least two in every file.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from pathlib import Path

from iwsltpack.artifact.integrity import verify_artifact


def main() -> None:
    """Flip, verify, restore, count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--flips", type=int, default=2000)
    arguments = parser.parse_args()
    draw = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "artifact"
        shutil.copytree(arguments.artifact, copy)
        files = sorted(path for path in copy.rglob("*") if path.is_file())
        sizes = [path.stat().st_size for path in files]
        places = [
            (path, draw.randrange(size)) for path, size in zip(files, sizes, strict=True) for _ in range(2)
        ]
        chosen = draw.choices(files, weights=sizes, k=max(0, arguments.flips - len(places)))
        places += [(path, draw.randrange(path.stat().st_size)) for path in chosen]
        caught = 0
        for path, place in places:
            original = path.read_bytes()
            damaged = bytearray(original)
            damaged[place] ^= 1 << draw.randrange(8)
            path.write_bytes(damaged)
            caught += bool(verify_artifact(copy))
            path.write_bytes(original)
        print(f"{caught} of {len(places)} flips caught, over {len(files)} files and {sum(sizes)} bytes")
        if caught != len(places) or verify_artifact(copy):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
