"""Decode test sets with an artifact: prepare, translate, journal, write.

Everything that can be wrong with the input is found before the model is loaded. The model is loaded once, for the
test sets that have something left to decode.
"""

import time
from contextlib import ExitStack

import torch

from iwsltpack.artifact.location import Place, local_copy
from iwsltpack.artifact.reader import Artifact, open_artifact
from iwsltpack.decoding.batches import audio_seconds, translate_batches
from iwsltpack.decoding.generation import Translator
from iwsltpack.decoding.journal import Session
from iwsltpack.decoding.open_run import OpenRun, open_share, open_whole
from iwsltpack.decoding.options import RunRequest
from iwsltpack.decoding.prepare import prepare_jobs
from iwsltpack.decoding.record import DecodedSet, libraries
from iwsltpack.runtime.environment import device_name, peak_device_bytes, peak_host_bytes
from iwsltpack.runtime.model import load_from, resolve_device
from iwsltpack.system.progress import SILENT, Reporter, SetsReporter


def decode(
    request: RunRequest, reporter: Reporter = SILENT, source: Artifact | None = None
) -> list[DecodedSet]:
    """Decode test sets; what an earlier run, shards or a cluster have decoded of them is not decoded again.

    Parameters
    ----------
    request
        What to decode, with which artifact, into which folder.
    reporter
        Where progress and remarks go.
    source
        The artifact of the request, where it is open already; a cluster's workers open it for themselves.

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
    if request.cluster is not None:
        from iwsltpack.decoding.dask import decode_on_cluster

        return decode_on_cluster(request, request.cluster, reporter)
    source = source or open_artifact(request.artifact)
    device = resolve_device(request.options.device)
    jobs = prepare_jobs(request, source, device, reporter)
    with ExitStack() as stack:
        if (shard := request.shard) is None:
            runs = [open_whole(job, stack, reporter) for job in jobs]
        else:
            runs = [open_share(job, shard, stack, reporter) for job in jobs]
        _translate([run for run in runs if run.batches], source, request.artifact, device, reporter)
        return [run.finish() for run in runs]


def _translate(
    runs: list[OpenRun], source: Artifact, place: Place, device: torch.device, reporter: Reporter
) -> None:
    """Load the model and decode what is left; if nothing is, no model is loaded."""
    if not runs:
        return
    settings = runs[0].job.plan.settings
    reporter.start("loading the model", 1)
    started = time.perf_counter()
    builder = runs[0].job.input_builder
    if settings.engine == "vllm":
        from iwsltpack.decoding.vllm_engine import VllmTranslator

        folder = local_copy(place, reporter)
        translator: Translator = VllmTranslator(folder, builder, [run.job.plan.settings for run in runs])
    else:
        model = load_from(source, device=device, mode=settings.mode, dtype=settings.dtype, reporter=reporter)
        translator = Translator(model, builder.processor)
    load_seconds = time.perf_counter() - started
    reporter.finish()
    # Audio is what takes the time; the model is loaded once, so its time is no part of the rate.
    sets = SetsReporter(reporter, [audio_seconds(run.batches) for run in runs])
    for run in runs:
        sets.next_set()
        session = run.journal.begin_session(
            Session(
                device_name=device_name(device),
                mode=settings.mode,
                load_seconds=load_seconds,
                libraries=libraries(settings),
                worker=str(run.shard or ""),
                peak_host_bytes=peak_host_bytes(),
                peak_device_bytes=peak_device_bytes(device),
            )
        )
        translate_batches(run, translator, sets)
        run.journal.note_peak(session, peak_host_bytes(), peak_device_bytes(device))
