"""``iwsltpack decode``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from iwsltpack.cli import console
from iwsltpack.cli.sharing import DaskOption, ShardOption, read_sharing
from iwsltpack.decoding.options import DecodeOptions
from iwsltpack.documents.choices import BadAudio, Device, Dtype, LongAudio, Mode, TestSetKind
from iwsltpack.documents.names import PAIRS, RUNS_DIR

if TYPE_CHECKING:
    from iwsltpack.decoding.record import DecodedSet
    from iwsltpack.documents.run import Run


def command(
    test_dir: Annotated[
        Path,
        typer.Argument(
            metavar="TESTDIR",
            help="Test set: FILE_ORDER (+ YAML), a CSV manifest, recordings; or a folder of several.",
        ),
    ],
    artifact: Annotated[
        str,
        typer.Option(
            help="The model: a folder made by `iwsltpack build`, or an hf://, s3:// or https:// address."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for the run, one subfolder a test set where there are several; default: runs/ARTIFACT.",
        ),
    ] = None,
    pair: Annotated[str, typer.Option(metavar="|".join(PAIRS), help="Language pair.")] = DecodeOptions.pair,
    device: Annotated[
        str,
        typer.Option(
            metavar="|".join((*get_args(Device), "cuda:N")), help="auto takes CUDA where there is one."
        ),
    ] = DecodeOptions.device,
    mode: Annotated[
        Mode,
        typer.Option(
            help="Weights: all decoded at once, at first use, or at every use; int8: rounded ones held as codes."
        ),
    ] = DecodeOptions.mode,
    dtype: Annotated[
        Dtype, typer.Option(help="auto: float16 on CUDA, float32 on CPU.")
    ] = DecodeOptions.dtype,
    edition: Annotated[
        str | None, typer.Option(help="Edition of the track whose prompt and token limit to use.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Asked about the audio; default: the edition's.")] = None,
    system_prompt: Annotated[str | None, typer.Option(help="Default: the chat template's own.")] = None,
    chat_template: Annotated[
        Path | None, typer.Option(help="Jinja file to use in place of the artifact's chat template.")
    ] = None,
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Token limit of an output; default: the edition's.")
    ] = None,
    retry_truncated: Annotated[
        int | None,
        typer.Option(help="Larger limit for outputs that reach the first; default: they stay cut."),
    ] = None,
    batch_size: Annotated[
        int, typer.Option(help="Most segments decoded at once.")
    ] = DecodeOptions.batch_size,
    batch_seconds: Annotated[
        float, typer.Option(help="Most seconds of audio decoded at once.")
    ] = DecodeOptions.batch_seconds,
    long: Annotated[
        LongAudio,
        typer.Option(help="Segments longer than the model hears: cut at silences, or refuse."),
    ] = DecodeOptions.long,
    on_bad_audio: Annotated[
        BadAudio,
        typer.Option(help="Unusable audio: refuse, or keep its line with a placeholder."),
    ] = DecodeOptions.on_bad_audio,
    placeholder: Annotated[
        str, typer.Option(help="The line written for unusable audio.")
    ] = DecodeOptions.placeholder,
    format: Annotated[  # noqa: A002
        TestSetKind | None, typer.Option(help="Layout of the test set, where it is not to be found out.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the test set; default: its folder's.")] = None,
    segments: Annotated[
        Path | None,
        typer.Option(help="YAML list of segments to use; default: the one in the test set's folder."),
    ] = None,
    per_set: Annotated[
        Path | None,
        typer.Option(help="TOML file with a table of settings for each test set that needs its own."),
    ] = None,
    shard: ShardOption = None,
    dask: DaskOption = None,
) -> None:
    """Decode test sets into raw hypotheses, one line a segment; started again, go on where it stopped.

    Writes <TESTSET>.<PAIR>.txt, journal.jsonl and, last of all, run.json.

    Example: iwsltpack decode test/ --artifact artifacts/q3 --output runs/q3 --device cuda
    """
    from iwsltpack.artifact.location import name_of
    from iwsltpack.decoding.options import RunRequest, read_per_set, read_template

    share = read_sharing(shard, dask)
    options = DecodeOptions(
        pair=pair,
        device=device,
        mode=mode,
        dtype=dtype,
        edition=edition,
        prompt=prompt,
        system_prompt=system_prompt,
        chat_template=None if chat_template is None else read_template(chat_template),
        max_new_tokens=max_new_tokens,
        retry_truncated=retry_truncated,
        batch_size=batch_size,
        batch_seconds=batch_seconds,
        long=long,
        on_bad_audio=on_bad_audio,
        placeholder=placeholder,
        kind=format,
        name=name,
        segments=segments,
    )
    request = RunRequest(
        test_dir=test_dir,
        artifact=artifact,
        output=output or Path(RUNS_DIR) / name_of(artifact),
        options=options,
        per_set={} if per_set is None else read_per_set(per_set),
        shard=share,
        cluster=dask,
    )
    from iwsltpack.decoding.decode import decode

    with console.reporter() as reporter:
        done = decode(request, reporter)
    for item in done:
        tell_set(item)
    if share is not None:
        others = (
            "when the other shards are done, too" if any(i.left for i in done) else "every shard is done; now"
        )
        console.say(f"{others}: iwsltpack merge {request.output}")


def tell_set(item: DecodedSet) -> None:
    """Print where a test set's output lies, and sum its run up."""
    if item.run is None:
        console.show(str(item.journal))
    else:
        console.show(str(item.folder / item.run.output.path))
        _tell_run(item.run)


def _tell_run(run: Run) -> None:
    """Sum a run up for the person watching; what asks for action comes last, in colour."""
    figures = run.summary
    console.say(
        f"{run.test_set.name}: {run.output.lines} lines, {figures.seconds_per_segment:.3f} s a segment, "
        f"{figures.tokens_per_second:.0f} tokens a second, real-time factor {figures.real_time_factor:.3f}, "
        f"model loaded in {figures.load_seconds:.1f} s, peak {figures.peak_host_bytes / 2**30:.2f} GiB host"
        + (
            f", {figures.peak_device_bytes / 2**30:.2f} GiB GPU"
            if figures.peak_device_bytes is not None
            else ""
        )
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
