"""``iwsltpack estimate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from iwsltpack.artifact.sizes import GB, GIB
from iwsltpack.cli import console
from iwsltpack.documents.choices import DEFAULT_SOURCE, DEFAULT_VERSION
from iwsltpack.errors import UsageError
from iwsltpack.system.tables import Table, columns

if TYPE_CHECKING:
    from iwsltpack.building.size_estimate import Estimate


def command(
    source: str = DEFAULT_SOURCE,
    *,
    recipe: list[str] | None = None,
    target_size: list[str] | None = None,
    coding: str | None = None,
    format_version: int = DEFAULT_VERSION,
    matrices: Path | None = None,
    revision: str | None = None,
) -> None:
    """Tell how large artifacts will be, and what building them takes, before building any.

    A sample of each tensor goes through the real quantizer and coding.

    Example: iwsltpack estimate Qwen/Qwen2-Audio-7B-Instruct --recipe selected-q3 --target-size 4GB
    """
    from iwsltpack.building.recipes import BUILT_IN, load_recipe
    from iwsltpack.building.size import parse_size
    from iwsltpack.building.size_estimate import estimate
    from iwsltpack.building.source import find_source

    targets = {text: parse_size(text) for text in target_size or ()}
    recipes = [load_recipe(name) for name in dict.fromkeys(recipe or BUILT_IN)]
    if matrices is not None and not any(each.calibrated for each in recipes):
        raise UsageError("no recipe takes the matrices", where=matrices, fix="add --recipe calibrated")
    with console.reporter() as reporter:
        found = estimate(
            find_source(source, revision),
            recipes,
            coding,
            format_version=format_version,
            matrices=matrices,
            progress=reporter,
        )
    fitting = {text: _fitting(found, size) for text, size in targets.items()}
    document = {
        "format_version": format_version,
        "recipes": {each.recipe.name: _described(each) for each in found},
        "targets": fitting,
    }
    shown: list[Any] = [_table(found), ""]
    if any(each.guessed for each in found):
        shown += _guess(found)
    if targets:
        shown += ["", _target_table(fitting)]
    console.result(document, *shown)


def _guess(found: list[Estimate]) -> list[str]:
    from iwsltpack.building.size_estimate import DEFAULT_BITS

    work = max(each.work for each in found)
    names = ", ".join(each.recipe.name for each in found if each.guessed)
    return [
        f"~ {names}: at {DEFAULT_BITS:g} bits a calibrated weight, about what the",
        "  default --step gave on two models; time and memory are projected;",
        f"  up to {work / GB:.2f} GB of disk beside the artifact while it is built",
    ]


def _described(each: Estimate) -> dict[str, Any]:
    return {
        "coding": each.coding,
        **each.sizes.to_json(),
        "seconds": each.seconds,
        "memory_bytes": each.memory,
        "guessed_weights": each.guessed,
        "work_bytes": each.work,
    }


def _fitting(found: list[Estimate], size: int) -> dict[str, Any]:
    """Return which recipes fit a size, and the bits and the step with which those to be calibrated would."""
    from iwsltpack.building.size_estimate import step_for

    bits = {each.recipe.name: value for each in found if (value := each.bits_for(size)) is not None}
    return {
        "bytes": size,
        "fits": [each.recipe.name for each in found if each.fits(size)],
        "calibrated": {name: {"bits": value, "step": step_for(value)} for name, value in bits.items()},
    }


def _table(found: list[Estimate]) -> Table:
    large = max(each.sizes.total_bytes for each in found) >= GB
    unit, title = (GB, "sizes in GB = 10^9 bytes") if large else (GB // 1000, "sizes in MB = 10^6 bytes")
    names = {"selected": "selected", "linear": "linear", "embedding": "embed.", "audio_tower": "audio"}
    figures = [*names.values(), "rest", "all", "time", "memory"]
    rows = []
    for each in sorted(found, key=lambda each: -each.sizes.total_bytes):
        sizes, mark = each.sizes, "~" if each.guessed else ""
        parts = [sizes.components[name].bytes for name in names]
        rest = sizes.total_bytes - sum(parts)
        cells = [f"{size / unit:.3f}" for size in (*parts, rest)]
        total, memory = f"{mark}{sizes.total_bytes / unit:.3f}", f"{mark}{each.memory / GIB:.1f}"
        rows.append((each.recipe.name, *cells, total, f"{mark}{_duration(each.seconds)}", memory))
    return Table(
        columns("recipe", figures=figures),
        rows,
        title=f"{title}; memory in GiB; time here, from a local disk",
    )


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return (
        f"{seconds:.0f} s" if seconds < 100 else f"{minutes:.0f} min" if minutes < 100 else f"{hours:.1f} h"
    )


def _target_table(targets: dict[str, dict[str, Any]]) -> Table:
    from iwsltpack.building.size_estimate import LEAST_BITS

    rows = []
    for text, told in targets.items():
        calibrated = "; ".join(
            f"{name}: {item['bits']:.2f} bits, step about {item['step']:.1e}"
            if item["bits"] >= LEAST_BITS
            else f"{name}: {item['bits']:.2f} bits, below any that was measured"
            for name, item in told["calibrated"].items()
        )
        rows.append((text, ", ".join(told["fits"]) or "none", calibrated))
    return Table(columns("target", prose=("recipes that fit", "calibrated to meet it")), rows)
