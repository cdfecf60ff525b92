"""``iwsltpack inspect``."""

from iwsltpack.artifact.location import locate
from iwsltpack.artifact.sizes import GB, GIB, Sizes, sizes_of
from iwsltpack.cli import console
from iwsltpack.documents.artifact import ArtifactManifest
from iwsltpack.documents.names import MANIFEST_NAME
from iwsltpack.system.tables import Table, columns

UNITS = "GB = 10^9 bytes, GiB = 2^30 bytes; bits/weight counts all files of a component"


def command(
    artifact: str,
) -> None:
    """Show what an artifact is and how large, in exact bytes and by both measures in use.

    Of a remote artifact only the manifest is fetched.

    Example: iwsltpack inspect artifacts/q3
    """
    found = locate(artifact)
    manifest, total = found.manifest, found.total_bytes
    listed = sum(file.bytes for file in manifest.files)
    if found.mirror is None and listed != total - (found.path / MANIFEST_NAME).stat().st_size:
        told = f"{artifact} holds other files than its manifest lists, {listed:,} bytes"
        console.say(f"{told}: iwsltpack verify {artifact}", "yellow")
    sizes = sizes_of(manifest, total)
    console.result(
        {
            "artifact_sha256": manifest.sha256,
            "format_version": manifest.format_version,
            "base_model": manifest.base_model.to_json(),
            "recipe": manifest.recipe.to_json(),
            "coding": manifest.coding,
            "calibration": manifest.calibration and manifest.calibration.to_json(),
            "damage": manifest.damage and manifest.damage.to_json(),
            "vocabulary": manifest.vocabulary and manifest.vocabulary.to_json(),
            **sizes.to_json(),
        },
        *(_identity(manifest), "", _measures(sizes), "", _components(sizes), "", UNITS),
    )


def _identity(manifest: ArtifactManifest) -> Table:
    base = manifest.base_model
    return Table(
        columns("", prose=[""]),
        (
            ("base model", f"{base.id or '(unknown id)'} @ {base.revision or '(unknown revision)'}"),
            ("architecture", base.architecture),
            ("recipe", f"{manifest.recipe.name}: {manifest.recipe.description}"),
            ("coding", manifest.coding),
            *((("calibrated on", str(manifest.calibration)),) if manifest.calibration else ()),
            *((("damage", str(manifest.damage)),) if manifest.damage else ()),
            *((("dropped tokens", str(manifest.vocabulary)),) if manifest.vocabulary else ()),
            ("manifest SHA-256", manifest.sha256),
        ),
    )


def _measures(sizes: Sizes) -> Table:
    rows = [
        (label, f"{size:,}", f"{size / GB:.3f}", f"{size / GIB:.3f}", f"{100 * size / max(source, 1):.1f} %")
        for label, size, source in (
            ("whole folder on disk (ranked)", sizes.total_bytes, sizes.source_bytes),
            ("linear layers (paper's measure)", sizes.linear_bytes, sizes.source_linear_bytes),
            ("state_dict, decoded (organisers' script)", sizes.state_dict_bytes, sizes.source_bytes),
            ("source checkpoint", sizes.source_bytes, sizes.source_bytes),
        )
    ]
    return Table(columns("size", figures=("bytes", "GB", "GiB", "of source")), rows)


def _components(sizes: Sizes) -> Table:
    rows: list[tuple[str, ...]] = []
    for name, part in sizes.components.items():
        share = f"{100 * part.bytes / part.source_bytes:.1f} %" if part.source_bytes else "-"
        figures = (f"{part.bytes:,}", f"{part.parameters:,}", f"{part.bits_per_weight:.2f}")
        rows.append((name.replace("_", " "), *figures, share))
    rows.append(("side files", f"{sizes.side_bytes:,}", "-", "-", "-"))
    bits = f"{8 * sizes.total_bytes / sizes.parameters:.2f}" if sizes.parameters else "-"
    rows.append(("all", f"{sizes.total_bytes:,}", f"{sizes.parameters:,}", bits, ""))
    if sizes.parameters != sizes.source_parameters:
        rows.append(("in the source", "", f"{sizes.source_parameters:,}", "", ""))
    if sizes.saved_by_dropping:
        rows.append(("saved by dropping tokens, about", f"{sizes.saved_by_dropping:,}", "", "", ""))
    if sizes.entropy_bits is not None:
        selected = sizes.components["selected"].bits_per_weight
        above = 100 * (selected / sizes.entropy_bits - 1) if sizes.entropy_bits else 0.0
        what = "entropy of the selected codes, bytes above it"
        figures = (f"{sizes.bytes_above_entropy:+,}", "", f"{sizes.entropy_bits:.2f}")
        rows.append((what, *figures, f"{above:+.1f} % above"))
    return Table(columns("component", figures=("bytes", "parameters", "bits/weight", "of source")), rows)
