"""``iwsltpack decode``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from iwsltpack.cli import console
from iwsltpack.cli.sharing import check_sharing

if TYPE_CHECKING:
    from iwsltpack.decoding.decode import DecodedShard
    from iwsltpack.decoding.record import DecodedSet
    from iwsltpack.documents.run import Run

Device = Literal["auto", "cuda", "cpu"]
Mode = Literal["load", "cache", "stream", "int8"]
Dtype = Literal["auto", "float32", "float16", "bfloat16"]
Format = Literal["iwslt", "acl6060", "csv", "folder"]


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
    pair: Annotated[str, typer.Option(help="Language pair: en-zh or en-de.")] = "en-zh",
    device: Annotated[Device, typer.Option(help="auto takes CUDA where there is one.")] = "auto",
    mode: Annotated[
        Mode,
        typer.Option(
            help="Weights: all decoded at once, at first use, or at every use; int8: rounded ones held as codes."
        ),
    ] = "load",
    dtype: Annotated[Dtype, typer.Option(help="auto: float16 on CUDA, float32 on CPU.")] = "auto",
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
    batch_size: Annotated[int, typer.Option(help="Most segments decoded at once.")] = 16,
    batch_seconds: Annotated[float, typer.Option(help="Most seconds of audio decoded at once.")] = 240.0,
    long: Annotated[
        Literal["segment", "error"],
        typer.Option(help="Segments longer than the model hears: cut at silences, or refuse."),
    ] = "segment",
    on_bad_audio: Annotated[
        Literal["error", "placeholder"],
        typer.Option(help="Unusable audio: refuse, or keep its line with a placeholder."),
    ] = "error",
    placeholder: Annotated[str, typer.Option(help="The line written for unusable audio.")] = "…",
    format: Annotated[  # noqa: A002
        Format | None, typer.Option(help="Layout of the test set, where it is not to be found out.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the test set; default: its folder's.")] = None,
    per_set: Annotated[
        Path | None,
        typer.Option(help="TOML file with a table of settings for each test set that needs its own."),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Decode only the I-th of N shares, for arrays of jobs; join: iwsltpack merge."
        ),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Decode on the workers of a cluster: local (a worker for each GPU or core), local:N, "
            "tcp://HOST:PORT, or a scheduler file.",
        ),
    ] = None,
) -> None:
    """Decode test sets into raw hypotheses, one line a segment; started again, go on where it stopped.

    Writes <TESTSET>.<PAIR>.txt, journal.jsonl and, last of all, run.json.

    Example: iwsltpack decode test/ --artifact artifacts/q3 --output runs/q3 --device cuda
    """
    from iwsltpack.artifact.location import name_of
    from iwsltpack.decoding.decode import decode, decode_shard
    from iwsltpack.decoding.options import DecodeOptions, read_per_set, read_template

    share = check_sharing(shard, dask)
    options = DecodeOptions(
        pair=pair,
        device=device,
        mode=mode,
        dtype=None if dtype == "auto" else dtype,
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
    )
    settings = None if per_set is None else read_per_set(per_set)
    folder = output or Path("runs") / name_of(artifact)
    done: list[DecodedSet] = []
    shards: list[DecodedShard] = []
    with console.progress() as progress:
        if share is not None:
            shards = decode_shard(test_dir, artifact, folder, share, options, progress, console.say, settings)
        elif dask is not None:
            from iwsltpack.decoding.dask import decode_on

            done = decode_on(dask, test_dir, artifact, folder, options, progress, console.say, settings)
        else:
            done = decode(test_dir, artifact, folder, options, progress, console.say, settings)
    for item in done:
        console.show(str(item.folder / item.run.output.path))
        tell_run(item.run)
    for part in shards:
        console.show(str(part.journal))
    if shards:
        _tell_next(folder, shards)


def _tell_next(folder: Path, shards: list[DecodedShard]) -> None:
    """Say what to do after a shard."""
    if any(part.left for part in shards):
        console.say(f"when the other shards are done, too: iwsltpack merge {folder}")
    else:
        console.say(f"every shard is done; now: iwsltpack merge {folder}")


def tell_run(run: Run) -> None:
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
