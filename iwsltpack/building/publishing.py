"""The end of every build: side files, manifest, and the rename that makes a folder an artifact."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from iwsltpack.artifact import side_files, zarr_metadata
from iwsltpack.building.partial import BuildPlan, Written
from iwsltpack.documents.artifact import ArtifactManifest, File
from iwsltpack.documents.names import MANIFEST_NAME, MODEL_DIR, WEIGHTS_DIR
from iwsltpack.errors import ArtifactError, InputError
from iwsltpack.system import fileio
from iwsltpack.system.progress import Reporter

SYNCERS = 8


def check_side_files(side: dict[str, bytes], source: Path, progress: Reporter) -> None:
    """Refuse a model of speech that could not be decoded with; of any other, say what it lacks."""
    if not (missing := side_files.missing(side)):
        return
    lacking = " and no ".join(missing)
    if side_files.hears(side[side_files.CONFIG]):
        raise InputError(
            f"the checkpoint has no {lacking}: nothing could be decoded with it",
            where=source,
            expected="configuration, weights, tokenizer and processor, as save_pretrained writes them",
            got=", ".join(side),
            fix="fetch the checkpoint anew, with all its files",
        )
    progress.say(f"with no {lacking} this artifact can be inspected, but not decoded with")


def describe_side_files(side: dict[str, bytes]) -> tuple[File, ...]:
    """Return the manifest's entries of the files beside the weights."""
    return tuple(
        File(path=f"{MODEL_DIR}/{name}", bytes=len(data), sha256=fileio.sha256_bytes(data))
        for name, data in side.items()
    )


def write_side_files(folder: Path, side: dict[str, bytes]) -> None:
    """Write them into an artifact under construction; several machines at once may."""
    for name, data in side.items():
        fileio.write_bytes(folder / MODEL_DIR / name, data)


def seal(folder: Path, plan: BuildPlan, written: dict[str, Written]) -> ArtifactManifest:
    """Drop what is not in the manifest, make the folders durable, as every file is already, and add the manifest.

    `written` has every tensor of the plan, by name.
    """
    zarr_metadata.create_group(folder, plan.manifest.format_version)
    group = folder / WEIGHTS_DIR / "zarr.json"
    fileio.fsync(group)
    files = [
        File(path=f"{WEIGHTS_DIR}/zarr.json", bytes=group.stat().st_size, sha256=fileio.sha256_file(group)),
        *plan.side,
        *(file for name in plan.sizes for file in written[name][1]),
    ]
    known = {folder / file.path for file in files}
    folders = [(Path(place), names) for place, _, names in os.walk(folder)]
    # What a killed or widened tensor left behind: only listed files may travel.
    for path in (place / name for place, names in folders for name in names):
        if path not in known:
            path.unlink()
    with ThreadPoolExecutor(SYNCERS) as pool:
        synced = pool.map(fileio.fsync, (place for place, _ in folders))
        manifest = replace(
            plan.manifest,
            tensors=tuple(written[name][0] for name in plan.sizes),
            files=tuple(sorted(files, key=lambda file: file.path)),
        ).sealed()
        document = fileio.canonical_json(manifest.to_json())
        list(synced)
    fileio.write_bytes(folder / MANIFEST_NAME, document)
    return manifest


def publish(folder: Path, output: Path) -> None:
    """Give the whole its name; all that `seal` has seen is durable."""
    if os.path.lexists(output):
        raise ArtifactError("the output appeared while it was being built", where=output)
    folder.rename(output)
    fileio.fsync(output.parent)
