"""``iwsltpack decode``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from iwsltpack.artifact.location import name_of
from iwsltpack.cli import console
from iwsltpack.cli.common import options_of
from iwsltpack.cluster.shards import read_sharing
from iwsltpack.decoding.options import DecodeOptions, RunRequest, read_per_set
from iwsltpack.documents.names import RUNS_DIR
from iwsltpack.errors import UsageError
from iwsltpack.system.fileio import read_text

if TYPE_CHECKING:
    from iwsltpack.decoding.record import DecodedSet
    from iwsltpack.documents.run import Run


@options_of(DecodeOptions, renamed={"kind": "format"})
def command(
    test_dir: Path,
    *,
    artifact: str,
    output: Path | None = None,
    chat_template: Path | None = None,
    per_set: Path | None = None,
    shard: str | None = None,
    dask: str | None = None,
    **options: Any,
) -> None:
    """Decode test sets into raw hypotheses, one line a segment; started again, go on where it stopped.

    Writes <TESTSET>.<PAIR>.txt, journal.jsonl and, last of all, run.json.

    Example: iwsltpack decode test/ --artifact artifacts/q3 --output runs/q3 --device cuda
    """
    share = read_sharing(shard, dask)
    if (prompt := options["prompt"]) is not None and not prompt.strip():
        raise UsageError("the prompt is empty", fix="leave --prompt out for the edition's own")
    request = RunRequest(
        test_dir=test_dir,
        artifact=artifact,
        output=output or Path(RUNS_DIR) / name_of(artifact),
        options=DecodeOptions(
            **options, chat_template=None if chat_template is None else read_text(chat_template)
        ),
        per_set={} if per_set is None else read_per_set(per_set),
        shard=share,
        cluster=dask,
    )
    from iwsltpack.decoding.decode import decode

    with console.reporter() as reporter:
        done = decode(request, reporter)
    tell_sets(done)
    if share is not None:
        others = (
            "when the other shards are done, too" if any(i.left for i in done) else "every shard is done; now"
        )
        console.say(f"{others}: iwsltpack merge {request.output}")


def tell_sets(done: "list[DecodedSet]") -> None:
    """Print where every test set's output lies, and sum its run up."""
    written = [str(item.folder / item.run.output.path if item.run else item.journal) for item in done]
    console.result(
        [
            {"output": path, "run": item.run and item.run.to_json(), "left": item.left}
            for path, item in zip(written, done, strict=True)
        ],
        *written,
    )
    for item in done:
        if item.run is not None:
            _tell_run(item.run)


def _tell_run(run: "Run") -> None:
    """Sum a run up for the person watching; what asks for action comes last, in colour."""
    figures = run.summary
    device = figures.peak_device_bytes
    on_device = "" if device is None else f", {device / 2**30:.2f} GiB GPU"
    console.say(
        f"{run.test_set.name}: {run.output.lines} lines, {figures.seconds_per_segment:.3f} s a segment, "
        f"{figures.tokens_per_second:.0f} tokens a second, real-time factor {figures.real_time_factor:.3f}, "
        f"model loaded in {figures.load_seconds:.1f} s, peak {figures.peak_host_bytes / 2**30:.2f} GiB host"
        f"{on_device}"
    )
    if figures.truncated:
        limit = run.settings.retry_truncated or run.settings.max_new_tokens
        console.say(
            f"{figures.truncated} outputs stopped at {limit} tokens and are cut: try --retry-truncated {2 * limit}",
            "yellow",
        )
    if figures.placeholders:
        console.say(
            f"{figures.placeholders} lines hold the placeholder: their audio could not be used", "yellow"
        )
    if figures.signs:
        listed = ", ".join(f"{count} {sign}" for sign, count in figures.signs.items())
        console.say(f"signs of hallucination: {listed} (see the segments in run.json)", "yellow")
