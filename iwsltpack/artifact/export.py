"""Back to a plain Hugging Face checkpoint that `from_pretrained` and vLLM load without this package."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import split_state_dict_into_shards_factory
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from iwsltpack.artifact import side_files
from iwsltpack.artifact.location import Place, local_copy
from iwsltpack.artifact.reader import Artifact, open_artifact
from iwsltpack.codecs.dtypes import by_name
from iwsltpack.documents.artifact import Tensor
from iwsltpack.documents.names import INDEX_NAME
from iwsltpack.documents.places import refuse_inside
from iwsltpack.errors import ResourceError, UsageError
from iwsltpack.system import fileio
from iwsltpack.system.progress import SILENT, Reporter

SHARD_BYTES = 1_000_000_000
"""A shard is held in memory while it is written."""


def export_checkpoint(where: Place, output: Path, progress: Reporter = SILENT) -> None:
    """Write the artifact's tensors, decoded, as safetensors shards with an index, and its side files.

    Rounded tensors come as float16, which holds their values exactly; the configuration's dtype is set to
    float16 then, because bfloat16 would round them again. An output that holds just that, value for value, is left as
    it is.

    Another output that exists is a `UsageError`, a damaged artifact an `ArtifactError`. A disk that is full or may not
    be written to, after which nothing is left behind, and a remote artifact that cannot be fetched are a
    `ResourceError`.
    """
    if (there := os.path.lexists(output)) and not (output / side_files.CONFIG).is_file():
        raise UsageError("the output exists", where=output, fix="choose another --output, or remove it")
    refuse_inside(output.parent)
    artifact = open_artifact(local_copy(where, progress))
    entries = {tensor.name: tensor for tensor in artifact.manifest.tensors}
    split = split_state_dict_into_shards_factory(
        entries,
        get_storage_size=_nbytes,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=SHARD_BYTES,
    )
    small = _side_files(artifact)
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        small[INDEX_NAME] = fileio.canonical_json(index)
    shards = {
        name: {each: entries[each] for each in held} for name, held in split.filename_to_tensors.items()
    }
    stage = "comparing with what is there" if there else "exporting"
    progress.start(stage, sum(map(_nbytes, entries.values())), "bytes")
    if there:
        same = (
            {path.name for path in output.iterdir()} == {*small, *shards}
            and all(fileio.read_bytes(output / name) == data for name, data in small.items())
            and all(_same_shard(artifact, output / name, held, progress) for name, held in shards.items())
        )
        if not same:
            raise UsageError(
                "the output exists, and is not what this export makes",
                where=output,
                fix="choose another --output, or remove it",
            )
        progress.finish()
        progress.say(f"{output}: exported already, and the same")
        return
    with fileio.atomic_directory(output) as folder:
        # The side files first: they are small, and a damaged one should not be told after 16 GB.
        for name, data in small.items():
            fileio.write_bytes(folder / name, data)
        for name, held in shards.items():
            _write_shard(artifact, folder / name, held, progress)
    progress.finish()


def _side_files(artifact: Artifact) -> dict[str, bytes]:
    rounded = any(tensor.quantized for tensor in artifact.manifest.tensors)
    found = {name: artifact.side_file(name) for name in side_files.SIDE_FILES}
    return {
        name: side_files.with_dtype(data, "float16") if rounded and name == side_files.CONFIG else data
        for name, data in found.items()
        if data is not None
    }


def _nbytes(tensor: Tensor) -> int:
    return tensor.values * by_name(tensor.dtype, tensor.name).carrier.itemsize


def _tensors(
    artifact: Artifact, entries: dict[str, Tensor], progress: Reporter
) -> Iterator[tuple[str, torch.Tensor]]:
    for name, values in artifact.tensors(entries):
        tensor = entries[name]
        raw = torch.from_numpy(values.reshape(-1).view(np.uint8))
        yield name, raw.view(getattr(torch, tensor.dtype)).reshape(tensor.shape)
        progress.advance(values.nbytes)


def _same_shard(artifact: Artifact, path: Path, entries: dict[str, Tensor], progress: Reporter) -> bool:
    """Tell whether a file holds these tensors, bit by bit, and no others."""

    def same(found: torch.Tensor, wanted: torch.Tensor) -> bool:
        alike = found.dtype == wanted.dtype and found.shape == wanted.shape
        return alike and torch.equal(*(each.reshape(-1).view(torch.uint8) for each in (found, wanted)))

    try:
        with safe_open(path, "pt") as stored:
            return {*stored.keys()} == entries.keys() and all(
                same(stored.get_tensor(name), wanted)
                for name, wanted in _tensors(artifact, entries, progress)
            )
    except SafetensorError:
        return False


def _write_shard(artifact: Artifact, path: Path, entries: dict[str, Tensor], progress: Reporter) -> None:
    content = dict(_tensors(artifact, entries, progress))
    try:
        save_file(content, path, {"format": "pt"})
    except SafetensorError as error:  # its word for what the operating system refused
        raise ResourceError(
            "the shard cannot be written", where=path.name, got=str(error), fix="free space and run it again"
        ) from error
    path.chmod(0o644)  # safetensors makes files for their owner alone
    fileio.fsync(path)
