"""A size that is asked for: what is meant, what the least is, and the search for the step that meets it."""

import math
import re
from collections.abc import Callable, Container
from dataclasses import dataclass, replace

from iwsltpack.artifact import side_files
from iwsltpack.building.checkpoint import Checkpoint
from iwsltpack.building.chunk_packer import ChunkPacker, as_narrow_as_can_be
from iwsltpack.building.plan import TensorPlan, plan_tensors, rows_per_chunk
from iwsltpack.codecs.chain import Coding
from iwsltpack.codecs.classes import class_count
from iwsltpack.documents.artifact import Tensor
from iwsltpack.documents.layout import matrix_shape
from iwsltpack.documents.recipe import Recipe
from iwsltpack.errors import UsageError

UNITS = {"": 1, "B": 1, "BYTES": 1} | {
    f"{letter}{kind}B": base ** (power + 1)
    for power, letter in enumerate("KMGT")
    for kind, base in (("", 1000), ("I", 1024))
}
SLACK = 0.005
"""Share of what is asked for that may be left unused."""
AIM = 0.998
"""Share of it that is aimed at."""
NEAR = 0.01
"""How near foretold bits come to what is wanted before an artifact is built."""
RESERVE = 512
"""Bytes kept free for what the manifest says of the damage, which is measured on what fits."""
LEAST_BITS, MOST_BITS = 1.0, 10.0
"""Of codes, a weight. Below, a model says nothing sensible; above, lossless packing takes no more."""
ARRAY_BYTES, ARRAYS = 850, 4
"""Of an array's metadata and its files' entries in the manifest, about; and the arrays of a matrix with scales, the
group counted: codes, scales, classes."""
CHUNK_BYTES = 1000
"""Of a chunk of codes by class beyond their entropy, about: each class has a table."""
TRIALS = 24


@dataclass(frozen=True)
class SizeTarget:
    """What a finished artifact is to weigh at most: the bytes of the whole folder, every file counted.

    Or none, and the `bits` a weight of the calibrated matrices, all their files counted.
    """

    bytes: int | None = None
    bits: float | None = None

    def __post_init__(self) -> None:
        if self.bits is not None and not (math.isfinite(self.bits) and self.bits > 0):
            raise UsageError("the bits must be a positive number", got=self.bits)

    @property
    def amount(self) -> float:
        """Bytes, or bits."""
        return self.bytes or self.bits or 0

    def in_bits(self, amount: float, weights: int) -> float:
        """Return an amount of the target's unit in bits a weight."""
        return amount if self.bytes is None else 8 * amount / weights

    def fits(self, amount: float) -> bool:
        """Tell whether an artifact that weighs so much is what was asked for."""
        return (1 - SLACK) * self.amount <= amount <= self.amount

    def __str__(self) -> str:
        return f"{self.bits:g} bits a weight" if self.bytes is None else f"{self.bytes:,} bytes"


def parse_size(text: str) -> int:
    """Return the bytes of a size such as ``3.0GB``, ``2.8 GiB`` or ``3000000000``; anything else is a `UsageError`.

    >>> parse_size("3.5GB")
    3500000000
    """
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*([A-Za-z]*)", text.strip(), re.ASCII)
    unit = UNITS.get(found[2].upper()) if found else None
    if found is None or unit is None or not (size := int(float(found[1]) * unit)):
        expected = "a number with GB, GiB, MB, MiB, KB, KiB or none, as in 3.0GB"
        raise UsageError("not a size", got=repr(text), expected=expected)
    return size


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A target in bits a calibrated weight, which is what steps are found by: half a step is one bit.

    `low` and `high` are of what the target counts, `codes` of the codes alone, about: where the search begins.
    """

    low: float
    high: float
    codes: float


def goal_of(
    target: SizeTarget, checkpoint: Checkpoint, recipe: Recipe, coding: Coding, calibrated: Container[str]
) -> Goal:
    """Pack what is not to be calibrated, and say in bits what is left for the rest.

    UsageError: the target is less than the least possible, which is told, or more than makes sense.
    """
    shapes = [tensor.shape for name, tensor in checkpoint.tensors.items() if name in calibrated]
    weights = sum(map(math.prod, shapes))
    beside, reserve = 0.0, 0
    for shape in shapes:
        chunk, (rows, columns) = rows_per_chunk(shape), matrix_shape(shape)
        tables = CHUNK_BYTES * math.ceil(rows / chunk) if class_count(chunk * columns) > 1 else 0
        beside += 2.5 * (rows + columns) + ARRAYS * ARRAY_BYTES + tables
    if target.bytes is not None:
        # What no step changes is packed: other tensors; and there are files beside the weights.
        fixed = replace(recipe, layers=tuple(rule for rule in recipe.layers if not rule.calibrated))
        plans = [plan for plan in plan_tensors(checkpoint, fixed) if plan.source.name not in calibrated]
        side = sum(map(len, side_files.collect(checkpoint.folder).values()))
        beside += side + sum(_packed(plan, coding) + ARRAY_BYTES for plan in plans)
        reserve = RESERVE
    low, high = (1 - SLACK) * target.amount, target.amount - reserve
    codes = AIM * target.in_bits(high, weights) - 8 * beside / weights
    if not LEAST_BITS <= codes <= MOST_BITS or low > high:
        small = codes < LEAST_BITS or low > high
        bound = (LEAST_BITS if small else MOST_BITS) + 8 * beside / weights
        size = max(math.ceil(bound / AIM * weights / 8) + reserve, math.ceil(2 * reserve / SLACK))
        told = (
            SizeTarget(bits=math.ceil(100 * bound / AIM) / 100) if target.bytes is None else SizeTarget(size)
        )
        raise UsageError(
            f"no calibrated artifact of this checkpoint is so {'small' if small else 'large'}",
            got=str(target),
            expected=f"at {'least' if small else 'most'} about {told}",
            fix="ask for more, or calibrate more matrices" if small else "--recipe fp16 loses nothing at all",
        )
    return Goal(low=target.in_bits(low, weights), high=target.in_bits(high, weights), codes=codes)


def _packed(plan: TensorPlan, coding: Coding) -> int:
    """Return the bytes of a tensor's chunks."""

    def pack(entry: Tensor) -> int:
        packer = ChunkPacker(coding.chain(entry), math.prod(entry.array.chunk), plan.quantizer)
        return sum(len(packer.pack(plan.read(*block), block[0]).data) for block in plan.blocks())

    return as_narrow_as_can_be(plan.entry, pack)


def near(bits_at: Callable[[float], float], start: float, bits: float) -> float:
    """Return a step at which `bits_at` is about `bits`; see `meet`."""
    return meet(bits_at, start, Goal(low=(1 - NEAR) * bits, high=bits * (1 + NEAR), codes=bits), bits)


def meet(bits_at: Callable[[float], float], start: float, goal: Goal, aim: float | None = None) -> float:
    """Return a step at which `bits_at`, which falls by one or less for each doubling, meets a goal.

    UsageError: there seems to be none: sizes jump over the window.
    """
    aim = AIM * goal.high if aim is None else aim
    # Fine codes save a bit for each doubling, coarse ones, many of them zero already, less.
    place, slope, before = math.log2(start), 2 ** -(0.5 + goal.codes) - 1, None
    fine, coarse = -math.inf, math.inf
    for _ in range(TRIALS):
        bits = bits_at(2**place)
        if goal.low <= bits <= goal.high:
            return 2**place
        fine, coarse = (max(fine, place), coarse) if bits > goal.high else (fine, min(coarse, place))
        if before is not None and before[0] != place:
            slope = min(-0.2, max(-1.2, (bits - before[1]) / (place - before[0])))
        before = place, bits
        place += (aim - bits) / slope
        if not fine < place < coarse:
            place = (fine + coarse) / 2
    raise UsageError(
        "no step meets the size that is asked for",
        expected=f"{goal.low:.4f} to {goal.high:.4f} bits a weight",
        got=f"{bits:.4f}",
        fix="ask for another size",
    )
