"""``iwsltpack verify``."""

from iwsltpack.cli import console
from iwsltpack.errors import ValidationFailed


def command(
    artifact: str,
) -> None:
    """Check every byte of an artifact against its checksums; name damaged tensors and chunks.

    Of a remote artifact everything is fetched that the cache does not hold whole.

    Example: iwsltpack verify artifacts/q3
    """
    from iwsltpack.artifact.integrity import verify_artifact
    from iwsltpack.artifact.location import shown

    with console.reporter() as reporter:
        problems = verify_artifact(artifact, reporter)
    console.result([problem.to_json() for problem in problems])
    if problems:
        raise ValidationFailed("the artifact is damaged", problems, where=shown(artifact))
    if not console.as_json():
        console.show(f"{shown(artifact)}: whole")
