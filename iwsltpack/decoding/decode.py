"""Decode test sets with an artifact: prepare, translate, journal, write.

Everything that can be wrong with the input is found before the model is loaded. The model is loaded once, for the
test sets that have something left to decode.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iwsltpack.decoding.batches import translate_batches
from iwsltpack.decoding.generation import Translator
from iwsltpack.decoding.journal import Journal, Session, kept_from_writers
from iwsltpack.decoding.merge import decoded_anywhere, take_in_shards
from iwsltpack.decoding.options import DecodeOptions
from iwsltpack.decoding.prepare import RunJob, prepare_jobs
from iwsltpack.decoding.record import DecodedSet, describe_artifact, finish_run, libraries
from iwsltpack.decoding.shards import keep_plan, shard_journal, shares
from iwsltpack.documents.names import JOURNAL_NAME
from iwsltpack.runtime.device import device_name, peak_device_bytes, peak_host_bytes
from iwsltpack.runtime.model import load_from, resolve_device
from iwsltpack.system.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch

    from iwsltpack.artifact.location import Place
    from iwsltpack.cluster.shards import Shard
    from iwsltpack.decoding.batching import Batch
    from iwsltpack.decoding.journal import Key
    from iwsltpack.documents.run import RunArtifact
    from iwsltpack.runtime.weights import TensorSource
    from iwsltpack.system.progress import Progress


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """What is left to decode of a test set, and the open journal it goes into; `worker` as in `Session`."""

    job: RunJob
    journal: Journal
    batches: list[Batch]
    worker: str = ""


@dataclass(frozen=True, kw_only=True)
class DecodedShard:
    """What a shard has decoded of one test set: its journal, the pieces in it, and the batches that the run as a whole
    still lacks."""

    journal: Path
    pieces: int
    left: int


def decode(
    test_dir: Path,
    artifact: Place,
    output: Path,
    options: DecodeOptions | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
    per_set: dict[str, dict[str, Any]] | None = None,
) -> list[DecodedSet]:
    """Decode every test set at `test_dir`; see `decode_with`.

    Parameters
    ----------
    test_dir
        A test set, or a folder of several.
    artifact
        The model's artifact: its folder, or the address of a remote one, of which chunks are fetched when needed.
    output
        Folder for the run; with several test sets, for one subfolder each.
    options
        Settings; defaults to the track's.
    progress, tell
        Where progress and remarks go; both may stay silent.
    per_set
        Settings that single test sets are decoded with, by name; see `options.read_per_set`.
    """
    source, described = open_source(artifact)
    return decode_with(
        source, described, test_dir, output, options or DecodeOptions(), progress or Silent(), tell, per_set
    )


def open_source(artifact: Place) -> tuple[TensorSource, RunArtifact]:
    """Open an artifact; return it with what a run records of it."""
    from iwsltpack.artifact.reader import open_artifact

    source = open_artifact(artifact)
    return source, describe_artifact(source.manifest, source.total_bytes)


def decode_with(
    source: TensorSource,
    described: RunArtifact,
    test_dir: Path,
    output: Path,
    options: DecodeOptions,
    progress: Progress,
    tell: Callable[[str], None] | None = None,
    per_set: dict[str, dict[str, Any]] | None = None,
) -> list[DecodedSet]:
    """Decode every test set at `test_dir` with an opened artifact, going on where an earlier run or shards stopped.

    Returns
    -------
    list of DecodedSet
        One a test set, in the order they were found.

    Raises
    ------
    ValidationFailed
        Unusable test sets or audio, every problem named.
    InputError, UsageError, ArtifactError, ResourceError, MissingDependency
        See the functions called; nothing that could be mistaken for a result is left behind.
    """
    say = tell or (lambda _: None)
    device = resolve_device(options.device)
    jobs = prepare_jobs(source, described, test_dir, output, options, device, progress, say, per_set)
    with ExitStack() as stack:
        works = [open_work(job, stack, say) for job in jobs]
        translate_here(works, source, device, progress, say)
        return finish(works)


def decode_shard(
    test_dir: Path,
    artifact: Place,
    output: Path,
    shard: Shard,
    options: DecodeOptions | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
    per_set: dict[str, dict[str, Any]] | None = None,
) -> list[DecodedShard]:
    """Decode one shard's share of every test set at `test_dir`; see `decode_shard_with`, and `decode` for the rest."""
    source, described = open_source(artifact)
    options, progress = options or DecodeOptions(), progress or Silent()
    return decode_shard_with(source, described, test_dir, output, shard, options, progress, tell, per_set)


def decode_shard_with(
    source: TensorSource,
    described: RunArtifact,
    test_dir: Path,
    output: Path,
    shard: Shard,
    options: DecodeOptions,
    progress: Progress,
    tell: Callable[[str], None] | None = None,
    per_set: dict[str, dict[str, Any]] | None = None,
) -> list[DecodedShard]:
    """Decode one shard's share of every test set at `test_dir`, into its own journals; see `merging.merge_shards`.

    Shards run at the same time or one after the other, on any machines that see `output`, with the same options.

    Returns
    -------
    list of DecodedShard
        One a test set, in the order they were found.

    Raises
    ------
    UsageError
        The shard, or a process without a shard, is at work in this folder; or other shards have other settings.
    IwsltpackError
        As `decode_with`.
    """
    say = tell or (lambda _: None)
    device = resolve_device(options.device)
    jobs = prepare_jobs(source, described, test_dir, output, options, device, progress, say, per_set)
    with ExitStack() as stack:
        works = [_open_share(job, shard, stack, say) for job in jobs]
        translate_here(works, source, device, progress, say)
    return [
        DecodedShard(
            journal=work.journal.path,
            pieces=len(work.journal.decoded),
            left=len(job.pending(_settled(job))),
        )
        for job, work in zip(jobs, works, strict=True)
    ]


def _open_share(job: RunJob, shard: Shard, stack: ExitStack, say: Callable[[str], None]) -> OpenRun:
    """Open a shard's journal; what is decoded anywhere in the folder is not decoded again."""
    keep_plan(job.folder, job.plan, job.binding)
    journal = stack.enter_context(Journal(shard_journal(job.folder, shard), job.binding))
    # Its own journal first: whoever wants the whole folder locks all of them, so that one of the two sees the other.
    stack.enter_context(kept_from_writers(job.folder / JOURNAL_NAME))
    settled = _settled(job)
    job.check(settled, job.folder)
    share = shares(job.batches, shard.count, job.binding["plan"])[shard.index - 1]
    left = job.pending(settled, share)
    say(
        f"{job.name}: shard {shard} has {sum(map(len, share))} of {sum(map(len, job.batches))} pieces, "
        f"{sum(map(len, left))} to decode"
    )
    return OpenRun(job=job, journal=journal, batches=left, worker=str(shard))


def _settled(job: RunJob) -> set[Key]:
    return decoded_anywhere(job.folder, job.binding, with_placeholders=job.keeps_placeholders)


def open_work(job: RunJob, stack: ExitStack, say: Callable[[str], None]) -> OpenRun:
    """Open a test set's journal, with what shards have decoded taken in; `stack` keeps them locked."""
    journal = stack.enter_context(Journal(job.folder / JOURNAL_NAME, job.binding))
    take_in_shards(job.folder, journal, job.binding, stack)
    job.check(journal.decoded, journal.path)
    if journal.dropped:
        say(
            f"{job.folder.name}: {journal.dropped} bytes of an unfinished batch were dropped from the journal"
        )
    settled = journal.settled(with_placeholders=job.keeps_placeholders)
    if settled:
        share = f"{len(settled)} of {sum(map(len, job.batches))} pieces"
        say(f"{job.name}: {share} were decoded before; going on")
    return OpenRun(job=job, journal=journal, batches=job.pending(settled))


def finish(works: list[OpenRun]) -> list[DecodedSet]:
    """Write hypotheses and record of every test set; their journals hold every piece."""
    return [
        DecodedSet(folder=work.job.folder, run=finish_run(work.job.folder, work.job.plan, work.journal))
        for work in works
    ]


def translate_here(
    works: list[OpenRun],
    source: TensorSource,
    device: torch.device,
    progress: Progress,
    say: Callable[[str], None],
) -> None:
    """Load the model and decode what is left; nothing is loaded where nothing is left."""
    left = [work for work in works if work.batches]
    if not left:
        return
    settings = left[0].job.plan.settings
    progress.start("loading the model", 1)
    started = time.perf_counter()
    model = load_from(source, device=device, mode=settings.mode, dtype=settings.dtype, tell=say)
    load_seconds = time.perf_counter() - started
    progress.finish()
    translator = Translator(model, left[0].job.listener.processor)
    for work in left:
        session = work.journal.begin_session(
            Session(
                device_name=device_name(device),
                mode=settings.mode,
                load_seconds=load_seconds,
                libraries=libraries(),
                worker=work.worker,
                peak_host_bytes=peak_host_bytes(),
                peak_device_bytes=peak_device_bytes(device),
            )
        )
        job = work.job
        translate_batches(
            job.survey,
            work.batches,
            work.journal,
            job.listener,
            translator,
            job.plan.settings,
            progress,
            say,
        )
        work.journal.note_peak(session, peak_host_bytes(), peak_device_bytes(device))
