"""``iwsltpack inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from iwsltpack.cli import console

if TYPE_CHECKING:
    from iwsltpack.artifact.sizes import Sizes
    from iwsltpack.documents.artifact import ArtifactManifest


UNITS = "GB = 10^9 bytes, GiB = 2^30 bytes; bits/weight counts all files of a component"


def command(
    artifact: Annotated[
        str, typer.Argument(help="Artifact: a folder, or an hf://, s3:// or https:// address.")
    ],
    json_: Annotated[bool, typer.Option("--json", help="Print everything as one JSON document.")] = False,
) -> None:
    """Show what an artifact is and how large, in exact bytes and by both measures in use.

    Of a remote artifact only the manifest is fetched.

    Example: iwsltpack inspect artifacts/q3
    """
    from iwsltpack.artifact.location import locate
    from iwsltpack.artifact.sizes import sizes_of

    found = locate(artifact)
    manifest, sizes = found.manifest, sizes_of(found.manifest, found.total_bytes)
    if json_:
        console.show_json(
            {
                "artifact_sha256": manifest.sha256,
                "format_version": manifest.format_version,
                "base_model": manifest.base_model.to_json(),
                "recipe": manifest.recipe.to_json(),
                "coding": manifest.coding,
                **sizes.to_json(),
            }
        )
        return
    for part in (_identity(manifest), "", _measures(sizes), "", _components(sizes), "", UNITS):
        console.show(part)


def _plain(*columns: str) -> console.Table:
    table = console.Table(box=None, pad_edge=False, show_header=any(columns))
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
    return table


def _identity(manifest: ArtifactManifest) -> console.Table:
    table = _plain("", "")
    table.columns[1].justify, table.columns[1].no_wrap = "left", False
    base = manifest.base_model
    table.add_row("base model", f"{base.id or '(unknown id)'} @ {base.revision or '(unknown revision)'}")
    table.add_row("architecture", base.architecture)
    table.add_row("recipe", f"{manifest.recipe.name}: {manifest.recipe.description}")
    table.add_row("coding", manifest.coding)
    table.add_row("manifest SHA-256", manifest.sha256)
    return table


def _measures(sizes: Sizes) -> console.Table:
    from iwsltpack.artifact.sizes import GB, GIB

    table = _plain("size", "bytes", "GB", "GiB", "of source")
    for label, size, source in (
        ("whole folder on disk (ranked)", sizes.total_bytes, sizes.source_bytes),
        ("linear layers (paper's measure)", sizes.linear_bytes, sizes.source_linear_bytes),
        ("state_dict, decoded (organisers' script)", sizes.state_dict_bytes, sizes.source_bytes),
        ("source checkpoint", sizes.source_bytes, sizes.source_bytes),
    ):
        table.add_row(
            label,
            f"{size:,}",
            f"{size / GB:.3f}",
            f"{size / GIB:.3f}",
            f"{100 * size / max(source, 1):.1f} %",
        )
    return table


def _components(sizes: Sizes) -> console.Table:
    table = _plain("component", "bytes", "parameters", "bits/weight", "of source")
    for name, part in sizes.components.items():
        share = f"{100 * part.bytes / part.source_bytes:.1f} %" if part.source_bytes else "-"
        table.add_row(
            name.replace("_", " "),
            f"{part.bytes:,}",
            f"{part.parameters:,}",
            f"{part.bits_per_weight:.2f}",
            share,
        )
    table.add_row("side files", f"{sizes.side_bytes:,}", "-", "-", "-")
    table.add_row(
        "all",
        f"{sizes.total_bytes:,}",
        f"{sizes.parameters:,}",
        f"{8 * sizes.total_bytes / sizes.parameters:.2f}" if sizes.parameters else "-",
        "",
    )
    if sizes.parameters != sizes.source_parameters:
        table.add_row("before pruning", "", f"{sizes.source_parameters:,}", "", "")
    if sizes.entropy_bits is not None:
        above = (
            100 * (sizes.components["selected"].bits_per_weight / sizes.entropy_bits - 1)
            if sizes.entropy_bits
            else 0.0
        )
        table.add_row(
            "entropy of the selected codes", "", "", f"{sizes.entropy_bits:.2f}", f"{above:+.1f} % above"
        )
    return table
