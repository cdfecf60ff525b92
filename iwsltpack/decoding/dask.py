"""Decodes a run on the workers of a dask cluster; their outputs go into the run's one journal as they come.

The client examines the test sets, keeps the journal and writes the documents, as one process does; workers read the
audio and hold the model. Results are the same bytes, so a run may go on by either way.
"""

from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import torch

from iwsltpack.artifact.location import Place, is_address
from iwsltpack.artifact.reader import open_artifact
from iwsltpack.cluster.connection import connect
from iwsltpack.cluster.items import Lost, run_items
from iwsltpack.cluster.shared import check_readable
from iwsltpack.cluster.worker import release
from iwsltpack.decoding.batches import AudioProgress, outputs
from iwsltpack.decoding.dask_messages import BatchResult, BatchTask, WorkerSetup
from iwsltpack.decoding.dask_worker import SLOT, device_type, translate_task
from iwsltpack.decoding.generation import Hypothesis
from iwsltpack.decoding.open_run import OpenRun, open_whole
from iwsltpack.decoding.options import RunRequest
from iwsltpack.decoding.prepare import RunJob, prepare_jobs
from iwsltpack.decoding.record import LIBRARIES, DecodedSet
from iwsltpack.documents.names import MANIFEST_NAME
from iwsltpack.errors import ResourceError, UsageError, ValidationFailed, listed
from iwsltpack.system.progress import Reporter
from iwsltpack.testsets.survey import segment_problem

if TYPE_CHECKING:
    from distributed import Client

THREADS = 2
"""Of a local worker: one has the model, the other reads the next batch's audio."""
GROWTH = 1.0625
"""A peak is journaled again when it has grown by this much."""
FILES_CHECKED = 64
NOTHING = Hypothesis(text="", tokens=0, finish="placeholder")


def decode_on_cluster(request: RunRequest, address: str, reporter: Reporter) -> list[DecodedSet]:
    """Decode the test sets of a request on the workers of a cluster; see `decode.decode` and `connection.connect`.

    Each worker process loads the model once, and reads artifact and audio itself, from where the client does. A batch
    whose worker dies is decoded by another. One that kills every worker is decoded segment by segment; a segment that
    kills its worker alone fails alone, when all others are journaled.

    Such segments are a `ValidationFailed` that names each, unless bad audio is to have a placeholder. Workers with
    devices of different types, or other versions of the libraries, are a `UsageError`; one that does not see the
    recordings, an `InputError`; a cluster that does not answer, has no workers, or whose workers die whatever they are
    given, a `ResourceError`.
    """
    wanted = request.options.device
    with (
        connect(address, gpus=wanted != "cpu", packages=LIBRARIES, threads=THREADS) as client,
        ExitStack() as stack,
    ):
        source = open_artifact(request.artifact)
        device = _common_device(client, wanted)
        jobs = prepare_jobs(request, source, device, reporter)
        runs = [open_whole(job, stack, reporter) for job in jobs]
        if any(run.batches for run in runs):
            # An address, or a path that holds in every folder of every machine.
            place = request.artifact if is_address(request.artifact) else Path(request.artifact).resolve()
            check_readable(client, _some_files(place, jobs))
            workers = client.scheduler_info(n_workers=-1)["workers"]
            setup = WorkerSetup(
                artifact=str(place),
                sha256=source.manifest.sha256,
                device=str(device),
                settings=tuple(job.plan.settings for job in jobs),
                peers=dict(Counter(urlsplit(worker).hostname or "" for worker in workers)),
            )
            try:
                DaskRun(client, setup, runs, reporter).decode()
            finally:
                if client.status == "running":
                    release(client, SLOT)
        return [run.finish() for run in runs]


def _common_device(client: "Client", device: str) -> torch.device:
    """Return the device that all workers resolve `device` to."""
    found: dict[str, str] = client.run(device_type, device)
    if len(set(found.values())) > 1:
        raise UsageError(
            "the workers have devices of different types, and would not write the same text",
            expected="one type",
            got=", ".join(f"{worker}: {kind}" for worker, kind in sorted(found.items())),
            fix="use workers of one type, or --device cpu",
        )
    return torch.device(device if device not in ("auto", "cuda") else next(iter(found.values())))


def _some_files(artifact: Place, jobs: list[RunJob]) -> list[Path]:
    """Return files that every worker must see: of the artifact, where it is a folder, and of each test set."""
    found = [artifact / MANIFEST_NAME] if isinstance(artifact, Path) else []
    for job in jobs:
        paths = list(dict.fromkeys(segment.path.resolve() for segment in job.survey.test_set.segments))
        found += paths[:: max(1, len(paths) // FILES_CHECKED)]
    return found


class DaskRun:
    """One run's batches on their way to the workers and back."""

    def __init__(self, client: "Client", setup: WorkerSetup, runs: list[OpenRun], reporter: Reporter) -> None:
        self._client, self._setup, self._runs, self._reporter = client, setup, runs, reporter
        self._numbers: dict[str, int] = {}
        self._sessions: dict[tuple[int, str], int] = {}
        self._peaks: dict[tuple[int, str], tuple[int, int | None]] = {}

    def decode(self) -> None:
        """Decode all that is left; every result is journaled before the next is taken."""
        tasks = [self._task(place, batch) for place, run in enumerate(self._runs) for batch in run.batches]
        names = list(dict.fromkeys(self._runs[task.test_set].job.name for task in tasks))
        description = f"decoding {names[0] if len(names) == 1 else f'{len(names)} test sets'}"
        batches = ((str(task.test_set), task.batch) for task in tasks)
        self._meter = AudioProgress(self._reporter, description, batches)
        try:
            lost = self._spread(tasks)
            if lost:
                self._see_workers_live()
                lost = self._one_by_one(lost)
        finally:
            for (place, model), peaks in self._peaks.items():
                self._runs[place].journal.note_peak(self._sessions[place, model], *peaks)
            self._reporter.finish()
        if lost:
            self._give_up(lost)

    def _task(self, place: int, batch: Any) -> BatchTask:
        files = self._runs[place].job.files_of(batch)
        return BatchTask(
            test_set=place,
            batch=tuple(batch),
            files=tuple(replace(file, path=file.path.resolve()) for file in files),
        )

    def _spread(self, tasks: list[BatchTask]) -> list[Lost[BatchTask]]:
        return run_items(
            self._client,
            partial(translate_task, self._setup),
            tasks,
            key=self._name,
            done=self._take,
            packages=LIBRARIES,
        )

    def _one_by_one(self, lost: list[Lost[BatchTask]]) -> list[Lost[BatchTask]]:
        """Try the pieces of lost batches alone; return the ones that are lost even so."""
        single = [entry for entry in lost if len(entry.item.batch) == 1]
        pieces = []
        for task in (entry.item for entry in lost if entry not in single):
            self._reporter.say(f"workers die with {self._name(task)}: going on with one at a time")
            pieces += [self._task(task.test_set, (piece,)) for piece in task.batch]
        return single + (self._spread(pieces) if pieces else [])

    def _see_workers_live(self) -> None:
        """Let workers load the model and decode nothing: if they die of that too, no segment is to blame."""
        empty = BatchTask(test_set=0, batch=(), files=())
        if lost := self._spread([empty]):
            raise ResourceError(
                "workers die while they load the model",
                got=lost[0].reason,
                fix="see the workers' log; with too little memory, --mode stream or fewer workers on a machine",
            )

    def _take(self, task: BatchTask, result: BatchResult) -> None:
        """Journal what a worker has decoded."""
        if not task.batch:
            return
        journal = self._runs[task.test_set].journal
        number = self._numbers.setdefault(result.model, len(self._numbers) + 1)
        key = (task.test_set, result.model)
        if key not in self._sessions:
            session = replace(result.session, worker=f"dask-{number}")
            self._sessions[key] = journal.begin_session(session)
        journal.record(result.results, self._sessions[key])
        self._peaks[key] = (result.session.peak_host_bytes, result.session.peak_device_bytes)
        known = journal.sessions[self._sessions[key]]
        if result.session.peak_host_bytes > GROWTH * known.peak_host_bytes:
            journal.note_peak(self._sessions[key], *self._peaks[key])
        for cap in result.caps:
            self._reporter.say(f"dask-{number}: out of memory: going on with {cap} pieces at once")
        self._meter.advance(str(task.test_set), task.batch)

    def _name(self, task: BatchTask) -> str:
        """Name a batch by its segments."""
        job = self._runs[task.test_set].job
        ids = list(dict.fromkeys(job.plan.segments[piece.segment].id for piece in task.batch))
        return f"{job.name}: segment{'s' if len(ids) > 1 else ''} {listed(ids, 4)}"

    def _give_up(self, lost: list[Lost[BatchTask]]) -> None:
        """Write placeholders for segments that kill their workers, or end with an error that names them."""
        problems = []
        for entry in lost:
            (piece,) = entry.item.batch
            segment = self._runs[entry.item.test_set].job.plan.segments[piece.segment]
            problems.append(segment_problem(segment, piece.segment, "decode.kills-worker", entry.reason))
        if all(run.job.plan.settings.keeps_placeholders for run in self._runs):
            for entry, problem in zip(lost, problems, strict=True):
                self._reporter.say(str(problem))
                given_up = outputs(entry.item.batch, [NOTHING], 0.0)
                self._runs[entry.item.test_set].journal.record(given_up, -1)
            self._reporter.say(f"{len(lost)} segments get the placeholder: they kill their workers")
            return
        raise ValidationFailed(
            f"{len(lost)} segments kill their workers; all others are decoded and journaled",
            problems,
            fix="see the workers' log; run the same command again to try them again, "
            "or with --on-bad-audio placeholder to go on without them",
        )
