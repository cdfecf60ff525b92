"""One run decoded by processes that never speak to each other, as in an array of jobs: their shares, and the merge.

In the run's folder, ``shards/plan.json`` holds what all shards share, and ``shards/I-of-N/journal.jsonl`` what shard I
has decoded. A share depends on the plan and on N alone. What shards have decoded goes into the run's own journal, and
from there into its documents.
"""

import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from iwsltpack.cluster.shards import Shard, deal
from iwsltpack.decoding.batch_plan import Batch, batches_of, binding
from iwsltpack.decoding.journal import Contents, Journal, Key, check_same, kept_from_writers, read_journal
from iwsltpack.decoding.record import DecodedSet, finish_run, refuse_lost_journal
from iwsltpack.documents.decoding_plan import DecodingPlan
from iwsltpack.documents.names import JOURNAL_NAME, PLAN_NAME, SHARD_JOURNALS, SHARDS_DIR
from iwsltpack.documents.run import RunSettings
from iwsltpack.errors import InputError, Problem, UsageError, ValidationFailed
from iwsltpack.system import fileio


def shard_journal(folder: Path, shard: Shard) -> Path:
    """Return the path of a shard's journal in a run's folder."""
    return folder / SHARDS_DIR / f"{shard.index}-of-{shard.count}" / JOURNAL_NAME


def shard_journals(folder: Path) -> list[tuple[Shard, Path]]:
    """Return every shard whose journal is there, in order, with its path."""
    number = "[1-9][0-9]{0,5}"
    return sorted(
        (Shard(index=int(name[1]), count=int(name[2])), path)
        for path in (folder / SHARDS_DIR).glob(SHARD_JOURNALS)
        if (name := re.fullmatch(f"({number})-of-({number})", path.parent.name))
    )


def shares(batches: list[Batch], count: int, digest: str) -> list[list[Batch]]:
    """Deal batches to `count` shards so that each hears about as many seconds; every share in the plan's order.

    `digest`, the plan's, says which shard is dealt first: a run of many small test sets would else give all its first
    batches to the first shard.
    """
    milliseconds = {
        f"{place:09}": round(1000 * sum(piece.duration for piece in batch))
        for place, batch in enumerate(batches)
    }
    dealt = deal(milliseconds, count)
    first = int(digest[:15], 16) % count
    return [
        [batches[place] for place in sorted(map(int, dealt[(index - first) % count]))]
        for index in range(count)
    ]


def keep_plan(folder: Path, plan: DecodingPlan, bound: dict[str, Any]) -> None:
    """Write the plan for `merge`, or find it there already; another one is a `UsageError` that names the difference."""
    path = folder / SHARDS_DIR / PLAN_NAME
    fileio.create_bytes(path, fileio.canonical_json(plan.to_json()))
    check_same(binding(DecodingPlan.read(path)), bound, folder)


def merge_shards(output: Path) -> list[DecodedSet]:
    """Write hypotheses, journal and record of every sharded run in `output`, as one process would have.

    Needs neither the recordings nor the artifact. Done twice, or begun again after a kill, it writes the same. `output`
    is what the shards were given as ``--output``; a `DecodedSet` is returned for each test set, by name.

    If there are no shards, that is an `InputError`. Pieces that no shard has decoded are a `ValidationFailed` that
    names every shard that lacks some; a shard that is still at work, or bound to another artifact, test set, plan or
    settings, is a `UsageError`.
    """
    plans = {folder: DecodingPlan.read(folder / SHARDS_DIR / PLAN_NAME) for folder in _sharded(output)}
    if problems := [problem for folder, plan in plans.items() for problem in _missing(folder, plan)]:
        raise ValidationFailed(
            "not everything is decoded yet",
            problems,
            where=output,
            fix="run these shards with the settings of the others, each goes on where it stopped; then merge again",
        )
    return [_merge(folder, plan) for folder, plan in plans.items()]


def take_in_shards(folder: Path, journal: Journal, bound: dict[str, Any], stack: ExitStack) -> None:
    """Append to a run's journal what its shards have decoded and it has not; `stack` keeps the shards locked.

    A shard that is at work, or bound to something else, is a `UsageError`.
    """
    for _, path in shard_journals(folder):
        _take_in(stack.enter_context(Journal(path, bound)), journal)


def decoded_anywhere(folder: Path, bound: dict[str, Any], settings: RunSettings) -> set[Key]:
    """Return what the run's journal and those of all its shards hold, without a lock; see `Contents.settled`."""
    paths = [folder / JOURNAL_NAME, *(path for _, path in shard_journals(folder))]
    kept = settings.keeps_placeholders
    return {key for path in paths for key in read_journal(path, bound).settled(with_placeholders=kept)}


def _take_in(shard: Contents, journal: Journal) -> None:
    """Append one shard's sessions and pieces. Begun again after a kill, it appends what is missing."""
    known: dict[str, list[int]] = {}
    for index, session in enumerate(journal.sessions):
        known.setdefault(session.worker, []).append(index)
    places: dict[int, int] = {}
    for index, session in enumerate(shard.sessions):
        earlier = known.get(session.worker, [])
        places[index] = earlier.pop(0) if earlier else journal.begin_session(session)
        journal.note_peak(places[index], session.peak_host_bytes, session.peak_device_bytes)
    there = journal.settled(with_placeholders=False)
    for index, place in places.items():
        new = [
            result for key, result in shard.decoded.items() if shard.owners[key] == index and key not in there
        ]
        if new:
            journal.record(new, place)


def _sharded(output: Path) -> list[Path]:
    """Return the folders of sharded runs: `output` itself, or its subfolders, one a test set."""
    if (output / SHARDS_DIR / PLAN_NAME).is_file():
        return [output]
    found = sorted(path.parents[1] for path in output.glob(f"*/{SHARDS_DIR}/{PLAN_NAME}"))
    if not found:
        raise InputError(
            "no shards of a decoding run here",
            where=output,
            expected=f"{SHARDS_DIR}/{PLAN_NAME}, in this folder or in its subfolders",
            fix="decode first: iwsltpack decode TESTDIR --artifact ARTIFACT --output OUTPUT --shard 1/4, and so on",
        )
    return found


def _merge(folder: Path, plan: DecodingPlan) -> DecodedSet:
    refuse_lost_journal(folder)
    bound = binding(plan)
    with ExitStack() as stack:
        journal = stack.enter_context(Journal(folder / JOURNAL_NAME, bound))
        take_in_shards(folder, journal, bound, stack)
        if journal.sessions:
            # The mode may change on the way; a run records the last.
            mode = journal.sessions[-1].mode
            plan = replace(plan, settings=replace(plan.settings, mode=mode))  # type: ignore[arg-type]
        run = finish_run(folder, plan, journal)
        return DecodedSet(folder=folder, run=run, journal=journal.path, pieces=len(journal.decoded))


def _missing(folder: Path, plan: DecodingPlan) -> list[Problem]:
    """Return what is not decoded yet, by shard."""
    bound = binding(plan)
    decoded = decoded_anywhere(folder, bound, plan.settings)
    batches = batches_of(plan)
    if all((piece.segment, piece.part) in decoded for batch in batches for piece in batch):
        return []
    begun = dict(shard_journals(folder))
    if not begun:
        message = f"{plan.test_set.name}: no shard was begun"
        fix = "iwsltpack decode … --shard 1/4, and so on"
        return [Problem(rule="merge.missing", message=message, fix=fix)]
    # Where a run was cut anew on the way, those who go on now are the ones of the last cut.
    count = max(begun, key=lambda shard: (begun[shard].stat().st_mtime_ns, shard)).count
    problems = []
    for index, share in enumerate(shares(batches, count, bound["plan"]), 1):
        pieces = [(piece.segment, piece.part) for batch in share for piece in batch]
        if left := sum(key not in decoded for key in pieces):
            shard = Shard(index=index, count=count)
            state = _state(begun.get(shard))
            share_left = f"{left} of its {len(pieces)} pieces are not decoded"
            problems.append(
                Problem(
                    rule="merge.missing",
                    message=f"{plan.test_set.name}: shard {shard} {state}, {share_left}",
                    fix=None if state == "is at work" else f"iwsltpack decode … --shard {shard}",
                )
            )
    return problems


def _state(journal: Path | None) -> str:
    if journal is None:
        return "was not begun"
    try:
        with kept_from_writers(journal):
            return "stopped"
    except UsageError:
        return "is at work"
