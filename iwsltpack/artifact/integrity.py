"""Check every byte of an artifact against its manifest."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from iwsltpack.artifact.location import Place, is_address, local_copy
from iwsltpack.artifact.reader import coding_of
from iwsltpack.documents.artifact import ArtifactManifest, File
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.documents.names import MANIFEST_NAME, WEIGHTS_DIR
from iwsltpack.errors import ArtifactError, IwsltpackError, Problem, ValidationFailed
from iwsltpack.system import fileio
from iwsltpack.system.progress import SILENT, Reporter

FIX = "build or download the artifact again"


def verify_artifact(where: Place, progress: Reporter = SILENT) -> list[Problem]:
    """Return every difference between an artifact's files and its manifest; an empty list means it is whole.

    Every file is hashed; missing, cut, altered, foreign and linked files are named, chunks with their tensor. Of a
    remote artifact every file is fetched that the cache does not hold whole; see `local_copy` for its errors.
    """
    try:
        path = local_copy(where, progress, recheck=True)
        manifest = read_manifest(path)
        coding_of(manifest, path)
    except ValidationFailed as error:
        return error.problems
    except IwsltpackError as error:
        if is_address(where) and not isinstance(error, ArtifactError):
            raise
        return [Problem(rule="artifact.manifest", message=error.what, path=error.where, fix=error.fix or FIX)]
    listed = {file.path: file for file in manifest.files}
    problems = find_foreign(path, set(listed))
    progress.start("verifying", sum(file.bytes for file in manifest.files), "bytes")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        checked = pool.map(lambda file: _check(path, file), manifest.files)
        for file, found in zip(manifest.files, checked, strict=True):
            problems += [found] if found else []
            progress.advance(file.bytes)
    progress.finish()
    return sorted(problems, key=lambda problem: problem.path or "")


def find_foreign(path: Path, listed: set[str]) -> list[Problem]:
    """Return every link, and every file that is neither listed nor the manifest."""
    problems = []
    for found in sorted(path.rglob("*")):
        name = found.relative_to(path).as_posix()
        if found.is_symlink():
            rule, message, fix = "artifact.link", "a link instead of a file", FIX
        elif found.is_dir() or name in listed or name == MANIFEST_NAME:
            continue
        else:
            rule, message, fix = "artifact.foreign-file", "not in the manifest", "remove it"
        problems.append(Problem(rule=rule, message=message, path=name, fix=fix))
    return problems


def check_sizes(path: Path, manifest: ArtifactManifest) -> list[Problem]:
    """Return the files that are missing or of another size: what can be told without reading them."""
    return [found for file in manifest.files if (found := _check(path, file, read=False))]


def _check(folder: Path, file: File, *, read: bool = True) -> Problem | None:
    path = folder / file.path
    try:
        if path.is_symlink():
            return None  # told by find_foreign already
        if not path.is_file():
            rule, fault = "missing-file", "is missing"
        elif (size := path.stat().st_size) != file.bytes:
            rule, fault = "size", f"has {size} bytes instead of {file.bytes}"
        elif read and fileio.sha256_file(path) != file.sha256:
            rule, fault = "checksum", "is damaged"
        else:
            return None
    except OSError as error:
        rule, fault = "unreadable", f"cannot be read: {error.strerror or error}"
    return Problem(rule=f"artifact.{rule}", message=f"{_what(file.path)} {fault}", path=file.path, fix=FIX)


def _what(path: str) -> str:
    """Name what a file is: a chunk of which tensor, or a file by itself.

    >>> _what("weights.zarr/a.weight/c/3/0")
    'chunk 3/0 of tensor a.weight'
    """
    top, _, rest = path.partition("/")
    name, _, inside = rest.partition("/")
    if top != WEIGHTS_DIR or not inside:
        return "the file"
    array, found, chunk = f"/{inside}/".partition("/c/")
    if not found:
        return f"the metadata of tensor {name}"
    whose = f"the {array[1:]} of tensor {name}" if array else f"tensor {name}"
    return f"chunk {chunk[:-1] or '0'} of {whose}"
