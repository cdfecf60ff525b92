"""Hold every weight of an artifact against numcodecs' own Quantize of the source, bit by bit.

    python -m benchmarks.identical SOURCE ARTIFACT

SOURCE is the bfloat16 checkpoint the artifact was built from, by a recipe that prunes nothing and rounds to whole
decimal digits. Rounded tensors must be what Quantize and the cast to float16 make of the source, zeros folded, the
others the source's own bits. Shares no rounding code with the builder. Ends with status 1 and the names that differ.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numcodecs import Quantize

from iwsltpack.artifact.reader import Artifact, open_artifact
from iwsltpack.building.checkpoint import SourceTensor, open_checkpoint

BLOCK = 1 << 22
DIGITS = {4: 1, 7: 2, 10: 3, 14: 4}
"""Bits of the step -> decimal digits; field knowledge, written down again on purpose."""


def wanted(block: np.ndarray, bits: int | None) -> np.ndarray:
    """Return the bits a block of bfloat16 should come back as."""
    if bits is None:
        return block.view(np.uint16)
    single = (block.astype(np.uint32) << 16).view(np.float32)
    half = np.asarray(Quantize(digits=DIGITS[bits], dtype="f4", astype="f2").encode(single)).reshape(
        block.shape
    )
    return np.where(half == 0, np.float16(0), half).view(np.uint16)


def identical(artifact: Artifact, source: SourceTensor) -> bool:
    """Compare one tensor, some millions of values at a time."""
    bits, found = artifact.entry(source.name).bits, artifact.tensor(source.name).view(np.uint16)
    if not source.shape:
        return np.array_equal(found, wanted(source.rows(0, 1), bits))
    step = max(1, BLOCK // max(1, source.row))
    return found.shape == source.shape and all(
        np.array_equal(
            found[start : start + step],
            wanted(source.rows(start, min(start + step, source.shape[0])), bits),
        )
        for start in range(0, source.shape[0], step)
    )


def main() -> None:
    """Print how many tensors are identical."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("artifact", type=Path)
    arguments = parser.parse_args()
    artifact, tensors = open_artifact(arguments.artifact), open_checkpoint(arguments.source).tensors
    if sorted(tensors) != artifact.names():
        raise SystemExit("source and artifact hold tensors of other names")
    with ThreadPoolExecutor((os.cpu_count() or 1) + 1) as pool:
        same = dict(
            zip(tensors, pool.map(lambda tensor: identical(artifact, tensor), tensors.values()), strict=True)
        )
    rounded = sum(tensor.quantized for tensor in artifact.manifest.tensors)
    different = [name for name, good in same.items() if not good]
    print(f"{len(same) - len(different)} of {len(same)} tensors identical; {rounded} are rounded")
    if different:
        raise SystemExit("different: " + ", ".join(different))


if __name__ == "__main__":
    main()
