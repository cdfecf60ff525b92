"""Time of reading every tensor of an artifact with its chunks held against their checksums, and without.

    python -m benchmarks.checks ARTIFACT --rounds 5

All in one process, taking turns, after one read that warms the page cache; also by SHA-256, all that version 1 of the
format has. Frames with a checksum of their own are checked by Zstandard as well, in all.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from iwsltpack.artifact.reader import Artifact, open_artifact
from iwsltpack.system import fileio


class Hashed(Artifact):
    """The same by SHA-256."""

    def _check(self, path: Path, raw: memoryview) -> None:
        """Hold every chunk against its SHA-256."""
        name = path.relative_to(self.path).as_posix()
        if fileio.sha256_bytes(raw) != self._files[name].sha256:
            raise SystemExit(f"{path} is damaged")


class Unchecked(Artifact):
    """The same without a check."""

    def _check(self, path: Path, raw: memoryview) -> None:
        """Take every chunk as it is."""


def read(artifact: Artifact) -> tuple[float, float]:
    """Return the seconds and the processor's seconds of reading all tensors."""
    started, computed = time.perf_counter(), time.process_time()
    for _ in artifact.tensors(artifact.names()):
        pass
    return time.perf_counter() - started, time.process_time() - computed


def main() -> None:
    """Measure, print medians and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    checked = open_artifact(arguments.artifact)
    readers: list[Artifact] = [checked, Hashed(checked._located), Unchecked(checked._located)]
    read(checked)
    found: list[list[tuple[float, float]]] = [[], [], []]
    for turn in range(arguments.rounds):
        for which in (0, 1, 2) if turn % 2 else (2, 1, 0):
            found[which].append(read(readers[which]))
    for kind, what in enumerate(("elapsed", "computing")):
        with_checks, hashed, without = (statistics.median(times[kind] for times in side) for side in found)
        print(
            f"{what}: {with_checks:.2f} s with checks, {hashed:.2f} s by SHA-256, {without:.2f} s without: "
            f"{with_checks / without:.3f}x, {hashed / without:.3f}x"
        )


if __name__ == "__main__":
    main()
