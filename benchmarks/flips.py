"""Flip single bytes of an artifact at random positions; count those that `verify` catches.

    python -m benchmarks.flips ARTIFACT --flips 2000
    python -m benchmarks.flips ARTIFACT --at-once

Works on a copy. Positions are drawn over all bytes of all files, at least two in every file, and each flip is verified
by itself. With ``--at-once``, for artifacts that take long to verify, one bit of every file but the manifest is
flipped, and one `verify` must name every one of these files.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from pathlib import Path

from iwsltpack.artifact.integrity import verify_artifact
from iwsltpack.documents.names import MANIFEST_NAME


def flip_at_once(copy: Path, draw: random.Random) -> None:
    """Flip one bit in every file but the manifest; `verify` must name them all, and none where nothing was flipped."""
    if verify_artifact(copy):
        raise SystemExit("the artifact is damaged already")
    files = sorted(path for path in copy.rglob("*") if path.is_file() and path.name != MANIFEST_NAME)
    for path in files:
        with path.open("r+b") as stream:
            place = draw.randrange(path.stat().st_size)
            stream.seek(place)
            byte = stream.read(1)[0]
            stream.seek(place)
            stream.write(bytes([byte ^ 1 << draw.randrange(8)]))
    named = {problem.path for problem in verify_artifact(copy)}
    flipped = {path.relative_to(copy).as_posix() for path in files}
    total = sum(path.stat().st_size for path in files)
    print(f"{len(flipped & named)} of {len(flipped)} files with one flipped bit named, {total} bytes")
    if named != flipped:
        raise SystemExit(1)


def main() -> None:
    """Flip, verify, restore, count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--flips", type=int, default=2000)
    parser.add_argument("--at-once", action="store_true")
    parser.add_argument(
        "--work", type=Path, help="where the copy is made; default: the system's temporary folder"
    )
    arguments = parser.parse_args()
    draw = random.Random(1)
    if arguments.work:
        arguments.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        copy = Path(folder) / "artifact"
        shutil.copytree(arguments.artifact, copy)
        if arguments.at_once:
            flip_at_once(copy, draw)
            return
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
