"""``iwsltpack export``."""

from pathlib import Path

from iwsltpack.cli import console


def command(
    artifact: str,
    *,
    output: Path,
) -> None:
    """Write an artifact back as a plain Hugging Face checkpoint (safetensors).

    Example: iwsltpack export artifacts/q3 --output checkpoints/q3
    """
    from iwsltpack.artifact.export import export_checkpoint

    with console.reporter() as reporter:
        export_checkpoint(artifact, output, reporter)
    console.result({"output": str(output)}, str(output))
