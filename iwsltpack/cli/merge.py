"""``iwsltpack merge``."""

from pathlib import Path

from iwsltpack.cli import console


def command(
    output: Path,
) -> None:
    """Join what the shards of one build or one run have made, into the files that one process would have written.

    Needs neither the checkpoint of a build, nor the test set and artifact of a run.

    Example: iwsltpack merge artifacts/q3
    """
    from iwsltpack.building.shards import holds_build, merge_build

    if holds_build(output):
        from iwsltpack.cli.build import tell_artifact

        with console.reporter() as reporter:
            manifest = merge_build(output, progress=reporter)
        tell_artifact(output, manifest)
        return
    from iwsltpack.cli.decode import tell_sets
    from iwsltpack.decoding.merge import merge_shards

    tell_sets(merge_shards(output))
