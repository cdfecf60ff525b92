"""Read an artifact's manifest, and find what in it cannot be true.

A schema checks every number by itself. Here they are checked against each other, before any of them makes a
program allocate, loop or open a file.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from iwsltpack.documents.artifact import ArtifactManifest, File, Tensor
from iwsltpack.documents.layout import GROUP_METADATA, MAX_CHUNK_VALUES
from iwsltpack.documents.names import (
    ARTIFACT_FORMAT,
    ARTIFACT_VERSIONS,
    MANIFEST_NAME,
    PARTIAL_SUFFIX,
    WEIGHTS_DIR,
)
from iwsltpack.errors import ArtifactError, Problem, ValidationFailed
from iwsltpack.system import fileio

MANIFEST_LIMIT = 64 << 20
"""Bytes of a manifest at most; that of a model of 7 B parameters takes about 1 MB."""


def read_manifest(artifact: Path) -> ArtifactManifest:
    """Read and check an artifact's manifest: presence, version, schema, own digest, sense.

    What is no artifact, half-built, of a version this program does not know, or altered, is an `ArtifactError`; a
    manifest that cannot be read or is no JSON, an `InputError`; one that does not fit its schema or contradicts itself,
    a `ValidationFailed`.
    """
    path = artifact / MANIFEST_NAME
    if not path.is_file():
        raise _not_an_artifact(artifact)
    return parse_manifest(fileio.read_bytes(path, limit=MANIFEST_LIMIT), path)


def parse_manifest(raw: bytes, path: object) -> ArtifactManifest:
    """Check the manifest that came from `path` as `raw`; see `read_manifest` for what is raised."""
    data = fileio.parse_json(raw, path)
    if not isinstance(data, dict) or data.get("format") != ARTIFACT_FORMAT:
        raise ArtifactError("not an artifact manifest", where=path, expected=f'"format": "{ARTIFACT_FORMAT}"')
    if data.get("format_version") not in ARTIFACT_VERSIONS:
        raise ArtifactError(
            "written in a format version this program does not know",
            where=path,
            expected=" or ".join(map(str, ARTIFACT_VERSIONS)),
            got=data.get("format_version"),
            fix="install a newer iwsltpack",
        )
    manifest = ArtifactManifest.from_json(data, path=path)
    try:
        digest = fileio.sha256_bytes(fileio.canonical_json({**data, "sha256": ""}))
        altered = manifest.sha256 != digest or raw != fileio.canonical_json(data)
    except ValueError as error:  # NaN, or half a character: the canonical form has neither
        digest, altered = str(error), True
    if altered:
        raise ArtifactError(
            "the manifest was altered: it does not match its own checksum",
            where=path,
            expected=manifest.sha256,
            got=digest,
            fix="build or download the artifact again",
        )
    if problems := find_contradictions(manifest):
        raise ValidationFailed(
            "the manifest contradicts itself", problems, where=path, fix="do not use this artifact"
        )
    return manifest


def _not_an_artifact(artifact: Path) -> ArtifactError:
    if artifact.exists():
        wanted = f"a folder that holds {MANIFEST_NAME}"
        return ArtifactError("not an artifact", where=artifact, expected=wanted, got="none there")
    partial = artifact.with_name(artifact.name + PARTIAL_SUFFIX)
    if partial.is_dir():
        fix = f"run the same `iwsltpack build … --output {artifact}` again: it goes on where it stopped"
        return ArtifactError("the artifact is only half built", where=partial, fix=fix)
    fix = "build one: iwsltpack build SOURCE --output DIR"
    return ArtifactError("no such artifact", where=artifact, fix=fix)


def find_contradictions(manifest: ArtifactManifest) -> list[Problem]:
    """Return what in a manifest that fits its schema cannot be true."""
    problems = [
        *_doubles("tensor", (tensor.name for tensor in manifest.tensors)),
        *_doubles("file", (file.path for file in manifest.files)),
    ]
    owned: dict[str, dict[str, File]] = {tensor.name: {} for tensor in manifest.tensors}
    for file in manifest.files:
        top, _, rest = file.path.partition("/")
        name = rest.partition("/")[0]
        if top == WEIGHTS_DIR and name in owned:
            owned[name][file.path] = file
        elif file.path == MANIFEST_NAME or (top == WEIGHTS_DIR and file.path != GROUP_METADATA):
            problems.append(_problem(f"file {file.path!r} belongs to no tensor"))
    for tensor in manifest.tensors:
        problems += [
            _problem(f"tensor {tensor.name}: {text}") for text in _faults(tensor, owned[tensor.name])
        ]
        if manifest.format_version == 1 and (tensor.quantizer is not None or tensor.classes is not None):
            problems.append(_problem(f"tensor {tensor.name}: quantized as format 1 does not know"))
    return problems


def _doubles(kind: str, names: Iterable[str]) -> list[Problem]:
    """Tell names that are one file where the file system takes upper and lower case for the same."""
    counts = Counter(name.casefold() for name in names)
    return [_problem(f"{kind} {name!r} stands there {n} times") for name, n in counts.items() if n > 1]


def _faults(tensor: Tensor, files: dict[str, File]) -> Iterator[str]:
    rounded = tensor.quantized
    if rounded != (tensor.component == "selected") or rounded != (tensor.entropy_bits is not None):
        yield "bits, entropy_bits and component do not agree on whether it is rounded"
    if (tensor.quantizer is None) != (tensor.step is None) or (tensor.quantizer and tensor.bits is not None):
        yield "quantizer, step and bits do not agree on how it is quantized"
    if tensor.classes is not None and (not rounded or len(tensor.shape) < 2 or 0 in tensor.shape):
        yield "classes of what is no matrix of codes"
        return
    if rounded and tensor.dtype != "float16":
        yield f"rounded, yet of type {tensor.dtype} and not float16"
    if tensor.wide and not rounded:
        yield "wide, yet not rounded"
    if not tensor.shape:
        if tensor.chunk_rows:
            yield f"a scalar with {tensor.chunk_rows} chunk_rows"
            return
    elif not 1 <= tensor.chunk_rows <= max(tensor.shape[0], 1):
        yield f"chunk_rows {tensor.chunk_rows} does not fit shape {list(tensor.shape)}"
        return
    if (values := math.prod(tensor.array.chunk)) > MAX_CHUNK_VALUES:
        yield f"chunks of {values} values, more than {MAX_CHUNK_VALUES}"
    # The number first: a shape may claim more chunks than could be counted one by one.
    starts = tensor.array.starts
    count = len(starts) + 1 + (0 if tensor.classes is None else 1 + 2 * len(tensor.side_arrays))
    if len(files) != count or set(files) != set(tensor.paths()):
        yield f"its {count} files are not those listed"
    elif tensor.bytes != sum(file.bytes for file in files.values()):
        yield "its bytes are not the sum of its files"


def _problem(message: str) -> Problem:
    return Problem(rule="artifact.contradiction", message=message, path=MANIFEST_NAME)
