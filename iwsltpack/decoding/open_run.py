"""A test set whose journal is open: what is left to decode of it, and its end."""

from contextlib import ExitStack
from dataclasses import dataclass

from iwsltpack.cluster.shards import Shard
from iwsltpack.decoding.batch_plan import Batch
from iwsltpack.decoding.journal import Journal, Key, kept_from_writers
from iwsltpack.decoding.merge import decoded_anywhere, keep_plan, shard_journal, shares, take_in_shards
from iwsltpack.decoding.prepare import RunJob
from iwsltpack.decoding.record import DecodedSet, finish_run
from iwsltpack.documents.names import JOURNAL_NAME
from iwsltpack.system.progress import Reporter


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """What is left to decode of a test set, the open journal it goes into, and the shard that decodes it."""

    job: RunJob
    journal: Journal
    batches: list[Batch]
    shard: Shard | None = None

    def finish(self) -> DecodedSet:
        """Write hypotheses and record; the journal holds every piece. A shard leaves that to `merge_shards`."""
        job, journal = self.job, self.journal
        run = finish_run(job.folder, job.plan, journal) if self.shard is None else None
        return DecodedSet(
            folder=job.folder,
            run=run,
            journal=journal.path,
            pieces=len(journal.decoded),
            left=0 if run else len(job.pending(_settled(job))),
        )


def open_whole(job: RunJob, stack: ExitStack, reporter: Reporter) -> OpenRun:
    """Open a test set's journal and take in what shards have decoded; `stack` keeps all of them locked.

    If a shard or another process is at work in this folder, that is a `UsageError`; if the journal holds what the test
    set does not have, an `InputError`.
    """
    journal = stack.enter_context(Journal(job.folder / JOURNAL_NAME, job.binding))
    take_in_shards(job.folder, journal, job.binding, stack)
    job.check(journal.decoded, journal.path)
    settled = journal.settled(with_placeholders=job.plan.settings.keeps_placeholders)
    if settled:
        share = f"{len(settled)} of {sum(map(len, job.batches))} pieces"
        reporter.say(f"{job.name}: {share} were decoded before; going on")
    return OpenRun(job=job, journal=journal, batches=job.pending(settled))


def open_share(job: RunJob, shard: Shard, stack: ExitStack, reporter: Reporter) -> OpenRun:
    """Open a shard's journal; what is decoded anywhere in the folder is not decoded again.

    If the shard or a process without one is at work in this folder, or other shards have other settings, that is a
    `UsageError`; if the journal holds what the test set does not have, an `InputError`.
    """
    keep_plan(job.folder, job.plan, job.binding)
    journal = stack.enter_context(Journal(shard_journal(job.folder, shard), job.binding))
    # Its own journal first: whoever wants the whole folder locks all of them, so that one of the two sees the other.
    stack.enter_context(kept_from_writers(job.folder / JOURNAL_NAME))
    settled = _settled(job)
    job.check(settled, job.folder)
    share = shares(job.batches, shard.count, job.binding["plan"])[shard.index - 1]
    left = job.pending(settled, share)
    reporter.say(
        f"{job.name}: shard {shard} has {sum(map(len, share))} of {sum(map(len, job.batches))} pieces, "
        f"{sum(map(len, left))} to decode"
    )
    return OpenRun(job=job, journal=journal, batches=left, shard=shard)


def _settled(job: RunJob) -> set[Key]:
    return decoded_anywhere(job.folder, job.binding, job.plan.settings)
