"""What will and will not work, told before hours are spent on it: settings, model, test sets, machine."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from iwsltpack import editions
from iwsltpack.artifact import side_files
from iwsltpack.artifact.integrity import check_sizes
from iwsltpack.artifact.location import is_address, shown
from iwsltpack.artifact.sizes import GB, GIB
from iwsltpack.documents.artifact import ArtifactManifest
from iwsltpack.documents.choices import DEFAULT_SOURCE
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.documents.names import MODEL_DIR
from iwsltpack.documents.recipe import Recipe
from iwsltpack.errors import IwsltpackError, Problem, UsageError, ValidationFailed, how_to_install
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
SOURCE_BYTES = 16_800_000_000
"""Of the default checkpoint, about."""
EXTRAS = {"sacrebleu": ("score", "chrF and BLEU"), "mweralign": ("resegment", "score --resegment"),
          "matplotlib": ("report", "graphs beside the report's page")}  # fmt: skip
ASK = "import json; from iwsltpack.runtime.environment import machine; print(json.dumps(machine()))"


@dataclass(frozen=True)
class Check:
    """One thing looked at: whether it will work, what was found, and what to do where it will not."""

    name: str
    state: State
    told: str
    fix: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the parts as JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class _Model:
    """The artifact, or the checkpoint that is to become one; `work` is what building it takes on disk beside it."""

    base: str | None
    architecture: str
    files: frozenset[str]
    parameters: int
    bytes: int
    work: int = 0
    manifest: ArtifactManifest | None = None


def examine(job: Job) -> list[Check]:
    """Look at everything the job needs; torch is asked in a process of its own meanwhile."""
    models: list[_Model] = []
    recipes: list[Recipe] = []
    data: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", ASK], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        try:
            deadline = time.monotonic() + CHILD_SECONDS
            checks = [
                *_taken("settings", _settings(job)),
                *_taken("names", _names(job)),
                *_taken("recipe", _recipe(job, recipes, data)),
                *_taken("model", _model(job, models, recipes)),
                *_taken("data sets", _data_sets(job, models, data)),
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
        checks.append(Check(name, "error", where + told, error.fix))
    return checks


def _of_problem(name: str, found: Problem) -> Check:
    state: State = "ok" if found.severity == "notice" else found.severity
    place = f"{found.path}: " if found.path else ""
    return Check(name, state, f"{place}{found.message}", found.fix)


def _settings(job: Job) -> Iterator[Check]:
    if job.settings is None:
        yield Check("settings", "warning", "no settings in this folder", job.typed["init"])
    else:
        yield Check("settings", "ok", f"{job.settings}: every key is known")
    fix = "name the same folder for both"
    if job.submitted and not any(job.runs in (run, *run.parents) for run in job.submitted):
        told = f"submit takes {', '.join(map(str, job.submitted))}, decode writes {job.runs}"
        yield Check("runs", "warning", told, fix)
    if not is_address(job.artifact) and Path(job.artifact) != job.built:
        told = f"build writes {job.built}, decode reads {job.artifact}"
        yield Check("artifact", "warning", told, fix)


def _names(job: Job) -> Iterator[Check]:
    edition = editions.load(job.edition)
    edition.condition(job.condition)
    edition.pair(job.pair)
    if job.team is None:
        fix = 'team = "NAME" at the top of the settings, or submit --team NAME'
        yield Check("names", "warning", "no team", fix)
    else:
        editions.check_team(job.team)
        yield Check("names", "ok", f"{job.team}, {job.pair}, {job.condition}, {edition.title}")


def _recipe(job: Job, recipes: list[Recipe], data: list[str]) -> Iterator[Check]:
    """Judge how the artifact will be built; leave the recipe in `recipes`, what it is calibrated on in `data`."""
    from iwsltpack.building.recipes import load_recipe
    from iwsltpack.building.request import BuildRequest
    from iwsltpack.building.size import SizeTarget, parse_size
    from iwsltpack.testsets.discovery import find_test_sets

    if not job.is_unbuilt:
        return
    recipe = load_recipe(job.recipe)
    recipes.append(recipe)
    size = None if job.target_size is None else parse_size(job.target_size)
    try:
        bits = None if job.bits is None else float(job.bits)
    except ValueError:
        raise UsageError("not a number of bits", got=repr(job.bits)) from None
    target = None if size is None and bits is None else SizeTarget(bytes=size, bits=bits)
    request = BuildRequest(Path(job.source), job.built, recipe, matrices=job.matrices, target=target)
    request.check_calibration(job.calibration)
    if job.calibration is None:
        yield Check("recipe", "ok", f"{recipe.name}: {recipe.description}")
        return
    found = find_test_sets(job.calibration)
    told = ", ".join(f"{item.name} ({len(item.segments)} segments)" for item in found)
    if len(found) != 1 or len(found[0].segments) < 2:
        fix = (
            "name one test set under [build], calibration; a part of it is held out to measure the damage on"
        )
        yield Check("recipe", "error", f"{job.calibration} holds {told}", fix)
        return
    if job.test_dir and {job.test_dir.resolve()} & {(at := job.calibration.resolve()), *at.parents}:
        told = f"{job.calibration} is among the test sets, which judge what is calibrated"
        yield Check("recipe", "warning", told, "name a development set under [build], calibration")
    data.append(job.calibration_name or found[0].name)
    weighed = f", to weigh {target}" if target else ""
    yield Check("recipe", "ok", f"{recipe.name} on {told}{weighed}; iwsltpack estimate tells time and memory")


def _data_sets(job: Job, models: list[_Model], data: list[str]) -> Iterator[Check]:
    used = tuple(dict.fromkeys((*job.datasets, *data)))
    if models and models[0].manifest is not None:
        used = edition_rules.datasets_used(job.datasets, models[0].manifest)
    condition = editions.load(job.edition).condition(job.condition)
    yield from (_of_problem("data sets", found) for found in edition_rules.check_datasets(condition, used))


def _model(job: Job, models: list[_Model], recipes: list[Recipe]) -> Iterator[Check]:
    """Judge the artifact of the job, or else the checkpoint, and leave it in `models`, unless it lies elsewhere."""
    if is_address(job.artifact):
        where = shown(job.artifact)
        told = f"{where} lies elsewhere and is not looked at"
        yield Check("artifact", "warning", told, f"iwsltpack verify {where}")
        return
    yield from _checkpoint(job, models, recipes) if job.is_unbuilt else _artifact(job, models)
    for model in models:
        rules = editions.load(job.edition)
        found = edition_rules.check_base_model(rules, model.base, model.architecture)
        yield from (_of_problem("base model", problem) for problem in found)
        if model.base is None:
            fix = 'base_model = "OWNER/NAME" at the top of the settings'
            yield Check("base model", "warning", f"not known; a {model.architecture}", fix)
        elif not found:
            yield Check("base model", "ok", f"{model.base}, {model.architecture}")
        if absent := side_files.missing(model.files):
            fix = "fetch the checkpoint anew, with all its files"
            yield Check("processor", "error", f"no {' and no '.join(absent)}", fix)
        else:
            yield Check("processor", "ok", "tokenizer and feature extractor are there")


def _artifact(job: Job, models: list[_Model]) -> Iterator[Check]:
    folder = Path(job.artifact)
    manifest = read_manifest(folder)
    side = {file.path.partition("/")[2] for file in manifest.files if file.path.startswith(f"{MODEL_DIR}/")}
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
        yield Check("artifact", "ok", f"{told} (every byte: iwsltpack verify {folder})")
    models.append(model)


def _checkpoint(job: Job, models: list[_Model], recipes: list[Recipe]) -> Iterator[Check]:
    from huggingface_hub.constants import HF_HUB_CACHE

    from iwsltpack.building.checkpoint import open_checkpoint
    from iwsltpack.building.plan import calibration_bytes
    from iwsltpack.building.source import find_local
    from iwsltpack.scoring.comet_checkpoint import is_offline

    if (source := find_local(job.source)) is None:
        fix = "build fetches it from the hub; where there is no network, name a folder as source"
        state: State = "error" if is_offline() else "warning"
        size = f", {SOURCE_BYTES / GB:g} GB" if job.source == DEFAULT_SOURCE else ""
        told = f"{job.source} is not on this machine{size}; {_gib(_free(Path(HF_HUB_CACHE)))} are free for it"
        yield Check("checkpoint", state, told, fix)
        return
    checkpoint, files = open_checkpoint(source), side_files.collect(source)
    model = _Model(
        base=job.base_model or side_files.origin(source)[0],
        architecture=side_files.architecture(files[side_files.CONFIG], source),
        files=frozenset(files),
        parameters=sum(tensor.count for tensor in checkpoint.tensors.values()),
        bytes=checkpoint.nbytes,
        work=sum(calibration_bytes(checkpoint, recipe) for recipe in recipes),
    )
    size = f"{model.parameters:,} parameters, {_gib(model.bytes)}"
    yield Check("checkpoint", "ok", f"{job.source}: {size}; not built yet")
    models.append(model)


def _test_sets(job: Job) -> Iterator[Check]:
    from iwsltpack.testsets.audio import glance
    from iwsltpack.testsets.containers import BadAudio
    from iwsltpack.testsets.discovery import find_test_sets

    if job.test_dir is None:
        fix = 'test_dir = "FOLDER" under [decode] in the settings'
        yield Check("test sets", "warning", "nobody said where they are", fix)
        return
    sets = find_test_sets(job.test_dir, kind=job.kind, segmentation=job.segments)
    yield from (_of_problem("test sets", notice) for item in sets for notice in item.notices)
    names = [item.name for item in sets]
    wrong = edition_rules.check_test_sets(editions.load(job.edition), job.pair, names)
    fix = f"put exactly those of the track into {job.test_dir}"
    yield from (Check("test sets", "error", found.message, fix) for found in wrong)
    if not wrong:
        yield Check("test sets", "ok", f"{len(names)}, as {job.edition} has for {job.pair}")
    told = ", ".join(f"{item.name} ({len(item.segments)})" for item in sets)
    yield Check("segments", "ok", f"{job.test_dir} holds {told}")
    paths = list(dict.fromkeys(segment.path for item in sets for segment in item.segments))
    started, opened, seconds = time.monotonic(), 0, 0.0
    for path in paths:
        try:
            seconds += glance(path)
            opened += 1
        except BadAudio as error:
            fix = "mend the file, or: iwsltpack decode --on-bad-audio placeholder"
            yield Check("audio", "error", f"{path}: [audio.{error.rule}] {error}", fix)
        if time.monotonic() - started > AUDIO_SECONDS:
            break
    told = f"{opened} of {len(paths)} recordings opened, {seconds / 60:.1f} minutes"
    yield Check("audio", "ok", f"{told}; decode hears all of them before it loads the model")


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
        yield Check("torch", "warning", told, f'{Path(sys.executable).name} -c "import torch"')
        return
    devices = machine["devices"]
    told = ", ".join(f"{item['name']} ({_gib(item['bytes'])})" for item in devices) or "no CUDA device"
    wanted = job.device.startswith("cuda")
    index = int(found[1]) if (found := re.fullmatch(r"cuda:(\d+)", job.device)) else 0
    state: State = "error" if wanted and index >= len(devices) else "ok"
    fix = (
        f'{job.device} is asked for: device = "cpu", or a CUDA build of torch'
        if wanted and not devices
        else None
    )
    yield Check("torch", state, f"torch {machine['torch']}, {told}", fix)
    if (fault := machine["torchvision"]) or (
        fault is None and model and model.architecture.startswith("Gemma4")
    ):
        fix = machine["refit"] if fault else how_to_install("gemma")
        yield Check("torchvision", "warning", fault or "the model needs it", fix)
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
    state = "ok" if needed <= FULL * room else "warning" if needed <= room else "error"
    fix = None if state == "ok" else 'mode = "int8" or "stream" under [decode], or another machine'
    yield Check("memory", state, f"{told}, {place} has {_gib(room)}", fix)


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
        wanted.insert(0, ("build", job.built, model.bytes + model.work))
    for name, folder, needed in wanted:
        free = _free(folder)
        told = f"{name} takes {_gib(needed)} at most, {_gib(free)} are free"
        fix = None if free >= needed else f"make room, or name another folder than {folder}"
        yield Check("disk", "ok" if free >= needed else "warning", told, fix)


def _scoring(job: Job) -> Iterator[Check]:
    from iwsltpack.scoring.comet_checkpoint import DEFAULT_MODEL, on_this_machine
    from iwsltpack.scoring.comet_env import is_built

    absent = {name: entry for name, entry in EXTRAS.items() if find_spec(name) is None}
    for name, (extra, what) in absent.items():
        state: State = "error" if name == "sacrebleu" and job.references else "warning"
        yield Check("extras", state, f"without {name}: no {what}", how_to_install(extra))
    if not absent:
        yield Check("extras", "ok", f"{', '.join(EXTRAS)} are here")
    lacking = [] if is_built() else ["its environment (1.4 GB)"]
    lacking += [] if on_this_machine(DEFAULT_MODEL) else [f"{DEFAULT_MODEL} (2.3 GB)"]
    if lacking:
        fix = "score once with --metric chrf,bleu,comet where there is a network"
        yield Check("COMET", "warning", f"not here yet: {' and '.join(lacking)}", fix)
    else:
        yield Check("COMET", "ok", f"environment and {DEFAULT_MODEL} are here")


def _free(folder: Path) -> int:
    """Return the free bytes where a folder is, or will be."""
    place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())
    return shutil.disk_usage(place).free


def _gib(count: int) -> str:
    return f"{count / GIB:.3f} GiB"
