"""Back to a plain Hugging Face checkpoint that `from_pretrained` and vLLM load without this package."""

import os
from pathlib import Path

import numpy as np

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
    float16 then, because bfloat16 would round them again.

    An output that exists is a `UsageError`, a damaged artifact an `ArtifactError`. A disk that is full or may not be
    written to, after which nothing is left behind, and a remote artifact that cannot be fetched are a `ResourceError`.
    """
    from huggingface_hub import split_state_dict_into_shards_factory

    if os.path.lexists(output):
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
    progress.start("exporting", sum(map(_nbytes, entries.values())), "bytes")
    with fileio.atomic_directory(output) as folder:
        # The side files first: they are small, and a damaged one should not be told after 16 GB.
        rounded = any(tensor.quantized for tensor in entries.values())
        for name in side_files.SIDE_FILES:
            if (data := artifact.side_file(name)) is not None:
                data = (
                    side_files.with_dtype(data, "float16") if rounded and name == side_files.CONFIG else data
                )
                fileio.write_bytes(folder / name, data)
        for name, held in split.filename_to_tensors.items():
            _write_shard(artifact, folder / name, {each: entries[each] for each in held}, progress)
        if split.is_sharded:
            index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
            fileio.write_json(folder / INDEX_NAME, index)
    progress.finish()


def _nbytes(tensor: Tensor) -> int:
    return tensor.values * by_name(tensor.dtype, tensor.name).carrier.itemsize


def _write_shard(artifact: Artifact, path: Path, entries: dict[str, Tensor], progress: Reporter) -> None:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    content: dict[str, torch.Tensor] = {}
    for name, values in artifact.tensors(entries):
        tensor = entries[name]
        raw = torch.from_numpy(values.reshape(-1).view(np.uint8))
        content[name] = raw.view(getattr(torch, tensor.dtype)).reshape(tensor.shape)
        progress.advance(values.nbytes)
    try:
        save_file(content, path, {"format": "pt"})
    except SafetensorError as error:  # its word for what the operating system refused
        raise ResourceError(
            "the shard cannot be written", where=path.name, got=str(error), fix="free space and run it again"
        ) from error
    path.chmod(0o644)  # safetensors makes files for their owner alone
    fileio.fsync_file(path)
