"""``iwsltpack verify``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from iwsltpack.cli import console


def command(
    artifact: Annotated[Path, typer.Argument(help="Artifact folder.")],
    json_: Annotated[bool, typer.Option("--json", help="Print the problems as JSON.")] = False,
) -> None:
    """Check every byte of an artifact against its checksums; name damaged tensors and chunks.

    Example: iwsltpack verify artifacts/q3
    """
    from iwsltpack.artifact.integrity import verify_artifact
    from iwsltpack.errors import ValidationFailed

    with console.progress() as progress:
        problems = verify_artifact(artifact, progress)
    if json_:
        console.show_json([problem.to_json() for problem in problems])
    if problems:
        raise ValidationFailed("the artifact is damaged", problems, where=artifact)
    if not json_:
        console.show(f"{artifact}: whole")
