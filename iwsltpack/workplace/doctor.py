"""What will and will not work, told before hours are spent on it: settings, model, test sets, machine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from iwsltpack import editions
from iwsltpack.artifact import side_files
from iwsltpack.artifact.integrity import check_sizes
from iwsltpack.artifact.location import is_address, shown
from iwsltpack.artifact.sizes import GIB
from iwsltpack.documents.artifact import ArtifactManifest
from iwsltpack.documents.document import Part
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.documents.names import MANIFEST_NAME, MODEL_DIR
from iwsltpack.errors import IwsltpackError, Problem, ValidationFailed, how_to_install
from iwsltpack.submission import edition_rules
from iwsltpack.system import memory
from iwsltpack.workplace.job import Job

State = Literal["ok", "warning", "error"]
CHILD_SECONDS, AUDIO_SECONDS = 8.0, 2.0
"""How long torch may take to answer, and recordings to be opened: the whole is told within 10 s."""
FULL = 0.85
"""Share of the memory that weights alone may take; the rest is for audio, caches and the library."""
RUN_BYTES = 200_000_000
"""Room for the journals and texts of a few thousand segments, many times over."""
EXTRAS = {"sacrebleu": ("score", "chrF and BLEU"), "mweralign": ("resegment", "score --resegment"),
          "matplotlib": ("report", "graphs beside the report's page")}  # fmt: skip
ASK = "import json; from iwsltpack.runtime.environment import machine; print(json.dumps(machine()))"


class Check(Part):
    """One thing looked at: whether it will work, what was found, and what to do where it will not."""

    name: str
    state: State
    told: str
    fix: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Model:
    """The artifact, or the checkpoint that is to become one."""

    base: str | None
    architecture: str
    files: frozenset[str]
    parameters: int
    bytes: int
    manifest: ArtifactManifest | None = None


def examine(job: Job) -> list[Check]:
    """Look at everything the job needs; torch is asked in a process of its own meanwhile."""
    models: list[_Model] = []
    with subprocess.Popen(
        [sys.executable, "-c", ASK], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        try:
            deadline = time.monotonic() + CHILD_SECONDS
            checks = [
                *_taken("settings", _settings(job)),
                *_taken("names", _names(job)),
                *_taken("model", _model(job, models)),
                *_taken("test sets", _test_sets(job)),
            ]
            machine = _answer(child, deadline)
        finally:
            child.kill()
    model = models[0] if models else None
    return [*checks, *_machine(job, model, machine), *_disk(job, model), *_scoring(job)]


def _taken(name: str, found: Iterator[Check]) -> list[Check]:
    """Return the checks; an error on the way becomes the last one."""
    checks: list[Check] = []
    try:
        checks.extend(found)
    except ValidationFailed as error:
        checks += [_of_problem(name, problem) for problem in error.problems]
    except IwsltpackError as error:
        parts = [error.what, error.expected and f"expected: {error.expected}", error.got]
        told = "; ".join(str(part) for part in parts if part)
        where = f"{error.where}: " if error.where else ""
        checks.append(Check(name=name, state="error", told=where + told, fix=error.fix))
    return checks


def _of_problem(name: str, found: Problem) -> Check:
    state: State = "ok" if found.severity == "notice" else found.severity
    place = f"{found.path}: " if found.path else ""
    return Check(name=name, state=state, told=f"{place}{found.message}", fix=found.fix)


def _settings(job: Job) -> Iterator[Check]:
    if job.settings is None:
        fix = job.typed["init"]
        yield Check(name="settings", state="warning", told="no settings in this folder", fix=fix)
    else:
        yield Check(name="settings", state="ok", told=f"{job.settings}: every key is known")
    fix = "name the same folder for both"
    if job.submitted and not any(job.runs in (run, *run.parents) for run in job.submitted):
        told = f"submit takes {', '.join(map(str, job.submitted))}, decode writes {job.runs}"
        yield Check(name="runs", state="warning", told=told, fix=fix)
    if not is_address(job.artifact) and Path(job.artifact) != job.built:
        told = f"build writes {job.built}, decode reads {job.artifact}"
        yield Check(name="artifact", state="warning", told=told, fix=fix)


def _names(job: Job) -> Iterator[Check]:
    edition = editions.load(job.edition)
    condition = edition.condition(job.condition)
    edition.pair(job.pair)
    if job.team is None:
        fix = 'team = "NAME" at the top of the settings, or submit --team NAME'
        yield Check(name="names", state="warning", told="no team", fix=fix)
    else:
        editions.check_team(job.team)
        told = f"{job.team}, {job.pair}, {job.condition}, {edition.title}"
        yield Check(name="names", state="ok", told=told)
    datasets = edition_rules.check_datasets(condition, job.datasets)
    yield from (_of_problem("data sets", found) for found in datasets)


def _model(job: Job, models: list[_Model]) -> Iterator[Check]:
    """Judge the artifact of the job, or else the checkpoint, and leave it in `models`, unless it lies elsewhere."""
    from iwsltpack.building.checkpoint import open_checkpoint
    from iwsltpack.building.source import find_local
    from iwsltpack.scoring.comet_checkpoint import is_offline

    if is_address(job.artifact):
        where = shown(job.artifact)
        told = f"{where} lies elsewhere and is not looked at"
        yield Check(name="artifact", state="warning", told=told, fix=f"iwsltpack verify {where}")
        return
    folder = Path(job.artifact)
    if (folder / MANIFEST_NAME).is_file():
        manifest = read_manifest(folder)
        side = {
            file.path.partition("/")[2] for file in manifest.files if file.path.startswith(f"{MODEL_DIR}/")
        }
        model = _Model(
            base=manifest.base_model.id or job.base_model,
            architecture=manifest.base_model.architecture,
            files=frozenset(side),
            parameters=manifest.parameters,
            bytes=sum(file.bytes for file in manifest.files),
            manifest=manifest,
        )
        wrong = check_sizes(folder, manifest)
        yield from (_of_problem("artifact", found) for found in wrong[:3])
        if not wrong:
            told = f"{folder}: {len(manifest.files)} files of the right sizes, {_gib(model.bytes)}"
            yield Check(name="artifact", state="ok", told=f"{told} (every byte: iwsltpack verify {folder})")
    elif (source := find_local(job.source)) is None:
        fix = "build fetches it from the hub; where there is no network, name a folder as source"
        state: State = "error" if is_offline() else "warning"
        yield Check(name="checkpoint", state=state, told=f"{job.source} is not on this machine", fix=fix)
        return
    else:
        checkpoint, files = open_checkpoint(source), side_files.collect(source)
        model = _Model(
            base=job.base_model or side_files.origin(source)[0],
            architecture=side_files.architecture(files[side_files.CONFIG], source),
            files=frozenset(files),
            parameters=sum(tensor.count for tensor in checkpoint.tensors.values()),
            bytes=checkpoint.nbytes,
        )
        told = f"{job.source}: {model.parameters:,} parameters, {_gib(model.bytes)}; not built yet"
        yield Check(name="checkpoint", state="ok", told=told)
    models.append(model)
    rules = editions.load(job.edition)
    found = edition_rules.check_base_model(rules, model.base, model.architecture)
    yield from (_of_problem("base model", problem) for problem in found)
    if model.base is None:
        fix = 'base_model = "OWNER/NAME" at the top of the settings'
        yield Check(name="base model", state="warning", told=f"not known; a {model.architecture}", fix=fix)
    elif not found:
        yield Check(name="base model", state="ok", told=f"{model.base}, {model.architecture}")
    if absent := side_files.missing(model.files):
        fix = "fetch the checkpoint anew, with all its files"
        yield Check(name="processor", state="error", told=f"no {' and no '.join(absent)}", fix=fix)
    else:
        yield Check(name="processor", state="ok", told="tokenizer and feature extractor are there")


def _test_sets(job: Job) -> Iterator[Check]:
    from iwsltpack.testsets.audio import glance
    from iwsltpack.testsets.containers import BadAudio
    from iwsltpack.testsets.discovery import find_test_sets

    if job.test_dir is None:
        fix = 'test_dir = "FOLDER" under [decode] in the settings'
        yield Check(name="test sets", state="warning", told="nobody said where they are", fix=fix)
        return
    sets = find_test_sets(job.test_dir, kind=job.kind, segmentation=job.segments)
    yield from (_of_problem("test sets", notice) for item in sets for notice in item.notices)
    names = [item.name for item in sets]
    wrong = edition_rules.check_test_sets(editions.load(job.edition), job.pair, names)
    yield from (
        Check(
            name="test sets",
            state="error",
            told=found.message,
            fix=f"put exactly those of the track into {job.test_dir}",
        )
        for found in wrong
    )
    if not wrong:
        yield Check(name="test sets", state="ok", told=f"{len(names)}, as {job.edition} has for {job.pair}")
    told = ", ".join(f"{item.name} ({len(item.segments)})" for item in sets)
    yield Check(name="segments", state="ok", told=f"{job.test_dir} holds {told}")
    paths = list(dict.fromkeys(segment.path for item in sets for segment in item.segments))
    started, opened, seconds = time.monotonic(), 0, 0.0
    for path in paths:
        try:
            seconds += glance(path)
            opened += 1
        except BadAudio as error:
            fix = "mend the file, or: iwsltpack decode --on-bad-audio placeholder"
            yield Check(name="audio", state="error", told=f"{path}: [audio.{error.rule}] {error}", fix=fix)
        if time.monotonic() - started > AUDIO_SECONDS:
            break
    told = f"{opened} of {len(paths)} recordings opened, {seconds / 60:.1f} minutes"
    yield Check(name="audio", state="ok", told=f"{told}; decode hears all of them before it loads the model")


def _answer(child: subprocess.Popen[str], deadline: float) -> dict[str, Any] | None:
    try:
        told, _ = child.communicate(timeout=max(0.0, deadline - time.monotonic()))
        answer: dict[str, Any] = json.loads(told)
    except (subprocess.TimeoutExpired, ValueError):
        return None
    return answer


def _machine(job: Job, model: _Model | None, machine: dict[str, Any] | None) -> Iterator[Check]:
    if machine is None:
        told = f"it cannot be imported, or takes more than {CHILD_SECONDS:g} s"
        yield Check(
            name="torch", state="warning", told=told, fix=f'{Path(sys.executable).name} -c "import torch"'
        )
        return
    devices = machine["devices"]
    told = ", ".join(f"{item['name']} ({_gib(item['bytes'])})" for item in devices) or "no CUDA device"
    wanted = job.device.startswith("cuda")
    index = int(found[1]) if (found := re.fullmatch(r"cuda:(\d+)", job.device)) else 0
    yield Check(
        name="torch",
        state="error" if wanted and index >= len(devices) else "ok",
        told=f"torch {machine['torch']}, {told}",
        fix=f'{job.device} is asked for: device = "cpu", or a CUDA build of torch'
        if wanted and not devices
        else None,
    )
    if (fault := machine["torchvision"]) or (
        fault is None and model and model.architecture.startswith("Gemma4")
    ):
        fix = machine["refit"] if fault else how_to_install("gemma")
        yield Check(name="torchvision", state="warning", told=fault or "the model needs it", fix=fix)
    if model is None:
        return
    on_gpu = bool(devices) and job.device != "cpu"
    room = devices[min(index, len(devices) - 1)]["bytes"] if on_gpu else memory.available()
    itemsize = 2 if job.dtype in ("float16", "bfloat16") or (job.dtype == "auto" and on_gpu) else 4
    needed = _held(model, job.mode, itemsize)
    place = "the GPU" if on_gpu else "this machine"
    told = f"weights take {_gib(needed)} in mode {job.mode}"
    if room is None:
        return
    state: State = "ok" if needed <= FULL * room else "warning" if needed <= room else "error"
    fix = None if state == "ok" else 'mode = "int8" or "stream" under [decode], or another machine'
    yield Check(name="memory", state=state, told=f"{told}, {place} has {_gib(room)}", fix=fix)


def _held(model: _Model, mode: str, itemsize: int) -> int:
    """Return the bytes of the weights as a mode holds them; of what is not built yet, all decoded."""
    if model.manifest is None:
        return itemsize * model.parameters
    inner = re.compile(r"\.\d+\.")

    def size(tensor: Any) -> int:
        apart = tensor.linear and inner.search(tensor.name)
        return 0 if apart and mode == "stream" else 1 if tensor.quantized and mode == "int8" else itemsize

    return sum(size(tensor) * tensor.parameters for tensor in model.manifest.tensors)


def _disk(job: Job, model: _Model | None) -> Iterator[Check]:
    wanted = [("decode", job.runs, RUN_BYTES)]
    if model is not None and model.manifest is None:
        wanted.insert(0, ("build", job.built, model.bytes))
    for name, folder, needed in wanted:
        place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())
        free = shutil.disk_usage(place).free
        told = f"{name} takes {_gib(needed)} at most, {_gib(free)} are free"
        fix = None if free >= needed else f"make room, or name another folder than {folder}"
        yield Check(name="disk", state="ok" if free >= needed else "warning", told=told, fix=fix)


def _scoring(job: Job) -> Iterator[Check]:
    from iwsltpack.scoring.comet_checkpoint import DEFAULT_MODEL, on_this_machine
    from iwsltpack.scoring.comet_env import is_built

    absent = {name: entry for name, entry in EXTRAS.items() if find_spec(name) is None}
    for name, (extra, what) in absent.items():
        state: State = "error" if name == "sacrebleu" and job.references else "warning"
        yield Check(name="extras", state=state, told=f"without {name}: no {what}", fix=how_to_install(extra))
    if not absent:
        yield Check(name="extras", state="ok", told=f"{', '.join(EXTRAS)} are here")
    lacking = [] if is_built() else ["its environment (1.4 GB)"]
    lacking += [] if on_this_machine(DEFAULT_MODEL) else [f"{DEFAULT_MODEL} (2.3 GB)"]
    yield Check(
        name="COMET",
        state="warning" if lacking else "ok",
        told=f"not here yet: {' and '.join(lacking)}"
        if lacking
        else f"environment and {DEFAULT_MODEL} are here",
        fix="score once with --metric chrf,bleu,comet where there is a network" if lacking else None,
    )


def _gib(count: int) -> str:
    return f"{count / GIB:.3f} GiB"
