"""How far the job of a working folder is: read from what the commands wrote, without checking it anew."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from iwsltpack import editions
from iwsltpack.artifact.location import folder_bytes, is_address, shown
from iwsltpack.decoding.journal import bound, read_header
from iwsltpack.documents.document import Part
from iwsltpack.documents.names import (
    BUILD_JOURNALS,
    CALIBRATION_DIR,
    CLEANED_SCORE_NAME,
    JOURNAL_NAME,
    MANIFEST_NAME,
    PARTIAL_SUFFIX,
    RUN_NAME,
    SCORE_NAME,
    SHARD_JOURNALS,
    SHARDS_DIR,
    SUBMISSION_NAME,
)
from iwsltpack.documents.places import things_in
from iwsltpack.documents.score import DIGITS, TITLES
from iwsltpack.errors import InputError, IwsltpackError
from iwsltpack.submission import naming
from iwsltpack.system import fileio, json_lines
from iwsltpack.workplace.job import Job

State = Literal["done", "begun", "missing", "outdated", "unreadable"]


class JobStep(Part):
    """One thing of the job: what it is, where it lies, its state, and what there is to say of it."""

    step: Literal["built", "decoded", "scored", "packaged", "handed in"]
    where: str
    state: State
    told: str


class Status(Part):
    """Everything that is there or begun, the next command to type (None: nothing is left), and why that one."""

    steps: tuple[JobStep, ...]
    next: str | None
    why: str


@dataclass(frozen=True, kw_only=True)
class _RunFound:
    """A run of the job's pair: its folder, test set, state, and its record where it is finished."""

    folder: Path
    name: str
    state: State
    told: str
    record: dict[str, Any]


def survey(job: Job) -> Status:
    """Look at everything the job has made so far; nothing is checked, loaded or fetched."""
    artifact, digest = _artifact(job)
    runs = _runs(job, digest)
    scores = [_score(run) for run in runs if run.state == "done"]
    packages = _packages(job, runs, digest)
    steps = [
        artifact,
        *(JobStep(step="decoded", where=str(run.folder), state=run.state, told=run.told) for run in runs),
        *scores,
        *packages,
    ]
    typed, why = _next(job, artifact, runs, scores, packages)
    return Status(steps=tuple(steps), next=typed, why=why)


def _next(
    job: Job, artifact: JobStep, runs: list[_RunFound], scores: list[JobStep], packages: list[JobStep]
) -> tuple[str | None, str]:
    if job.settings is None and artifact.state == "missing":
        return job.typed["init"], "no settings here yet: they save typing every option again"
    if artifact.state == "missing" and (job.built / MANIFEST_NAME).is_file():
        return None, f"build writes {job.built}, decode reads {job.artifact}: name one of them for both"
    if artifact.state != "done":
        return job.typed["build"], f"the artifact is {artifact.state}"
    if odd := [run for run in runs if run.state in ("outdated", "unreadable")]:
        return None, (
            f"{odd[0].folder}: {odd[0].told}; move it away, or name another output for decode in {job.settings}"
        )
    if begun := sum(run.state != "done" for run in runs):
        return job.typed["decode"], f"{begun} of {len(runs)} test sets are not finished"
    left, why = _left_to_decode(job, {run.name for run in runs})
    if left or why:
        return (job.typed["decode"] if left else None), why
    if job.references and any(score.state != "done" for score in scores):
        return job.typed["score"], "not every run is scored"
    primary = [step for step in packages if step.step == "packaged"]
    if not primary:
        return job.typed["submit"], "everything is decoded, and nothing packaged"
    if primary[0].state != "done":
        return f"{job.typed['submit']} --replace", primary[0].told
    if packages[-1].state != "done":
        place = Path(primary[0].where)
        return None, (
            f"hand it in as {place / naming.UPLOAD} says, then note it down: "
            f"iwsltpack submissions --uploaded {place.name}"
        )
    return None, "nothing is left"


def _left_to_decode(job: Job, finished: set[str]) -> tuple[bool, str]:
    """Tell whether test sets are left that are here, and what is to be said of it."""
    needed = editions.load(job.edition).pair(job.pair).test_sets.count or 1
    if len(finished) >= needed:
        return False, ""
    if job.test_dir is None or not job.test_dir.exists():
        return True, f"{len(finished)} of {needed} test sets are decoded"
    from iwsltpack.testsets.discovery import find_test_sets

    here = [item.name for item in find_test_sets(job.test_dir, kind=job.kind, segmentation=job.segments)]
    if left := [name for name in here if name not in finished] if len(here) > 1 or not finished else []:
        return True, f"{len(left)} of {len(here)} test sets are not decoded"
    return False, (
        f"{job.edition} has {needed} test sets for {job.pair}, {job.test_dir} holds {len(here)}: put the others there"
    )


def _artifact(job: Job) -> tuple[JobStep, str | None]:
    """Return the artifact's state, and its digest where it is there."""
    folder = Path(job.artifact)
    digest: str | None = None
    partial = folder.with_name(folder.name + PARTIAL_SUFFIX)
    state: State = "missing"
    told = "not built yet"
    if is_address(job.artifact):
        state, told = "done", "elsewhere; not looked at"
    elif (folder / MANIFEST_NAME).is_file():
        try:
            data = fileio.read_json(folder / MANIFEST_NAME)
            told = f"{folder_bytes(folder):,} bytes, {data['recipe']['name']}, {data['coding']}"
            state, digest = "done", str(data["sha256"])
        except (IwsltpackError, LookupError, TypeError):
            state, told = "unreadable", f"its manifest cannot be read: iwsltpack verify {folder}"
    elif partial.is_dir():
        names = {
            record["tensor"]["name"]
            for path in partial.glob(BUILD_JOURNALS)
            for _, record in json_lines.read(fileio.read_bytes(path))
            if record is not None and "tensor" in record
        }
        state, told = "begun", f"{len(names)} tensors packed"
        if (partial / CALIBRATION_DIR).is_dir():
            factors = len(list((partial / CALIBRATION_DIR).rglob("*.factor")))
            rounded = len(list(partial.glob("trials/*/matrices/*.matrix")))
            told = f"calibrating: {factors} matrices looked at, {rounded} rounded"
    return JobStep(step="built", where=shown(job.artifact), state=state, told=told), digest


def _runs(job: Job, digest: str | None) -> list[_RunFound]:
    found = [_run(folder, digest) for thing, folder in things_in(job.runs) if thing == "run"]
    return [run for run in found if run.record.get("pair", job.pair) == job.pair]


def _run(folder: Path, digest: str | None) -> _RunFound:
    """Read what a run is; where it is not finished, its record is the header of its journals, shards' too."""
    try:
        if (folder / RUN_NAME).is_file():
            record = fileio.read_json(folder / RUN_NAME)
            other = digest is not None and record["artifact"]["sha256"] != digest
            told = "decoded with another artifact" if other else f"{record['output']['lines']} lines"
            state: State = "outdated" if other else "done"
        else:
            shards = sorted((folder / SHARDS_DIR).glob(SHARD_JOURNALS))
            record, pieces = {}, set()
            for path in [*([folder / JOURNAL_NAME] if (folder / JOURNAL_NAME).is_file() else []), *shards]:
                raw = fileio.read_bytes(path)
                if (header := read_header(raw, path)) is None:  # decode begins it anew
                    continue
                record, first = header["binding"], raw.find(b"\n") + 1
                pieces |= {
                    piece["segment"]
                    for _, piece in json_lines.read(raw, first, bound(raw))
                    if piece is not None and piece.get("kind") == "piece"
                }
            if not record:
                return _RunFound(
                    folder=folder, name=folder.name, state="begun", told="no segments", record={}
                )
            told = f"{len(pieces)} of {record['test_set']['segments']} segments"
            state, told = "begun", f"{told}, {len(shards)} shards begun" if shards else told
        return _RunFound(
            folder=folder, name=record["test_set"]["name"], state=state, told=told, record=record
        )
    except (IwsltpackError, LookupError, TypeError):
        return _RunFound(
            folder=folder, name=folder.name, state="unreadable", told="its record cannot be read", record={}
        )


def _score(run: _RunFound) -> JobStep:
    """Return the figures of a run, or that there are none of what it wrote."""
    told: list[str] = []
    for name, text in ((SCORE_NAME, ""), (CLEANED_SCORE_NAME, "cleaned ")):
        try:
            document = fileio.read_json(run.folder / name)
            if document["run"]["output_sha256"] == run.record["output"]["sha256"]:
                told += [
                    f"{text}{TITLES[entry['metric']]} {entry['score']:.{DIGITS[entry['metric']]}f}"
                    for entry in document["metrics"]
                ]
        except (InputError, LookupError, TypeError, ValueError):
            continue
    state: State = "done" if told else "missing"
    return JobStep(step="scored", where=str(run.folder), state=state, told=", ".join(told) or "not scored")


def _packages(job: Job, runs: list[_RunFound], digest: str | None) -> list[JobStep]:
    """Return the PRIMARY of the job, if it is there, then whether it was handed in."""
    steps: list[JobStep] = []
    for thing, folder in things_in(job.submissions, 1):
        record = _record(folder) if thing == "submission" else {}
        same = [record.get(key) for key in ("team", "pair", "condition", "type")]
        if same != [job.team, job.pair, job.condition, "primary"] or record["edition"]["name"] != job.edition:
            continue
        packaged = {item["name"]: item["run"]["sha256"] for item in record["test_sets"]}
        ours = {run.name: fileio.sha256_file(run.folder / RUN_NAME) for run in runs if run.state == "done"}
        current = digest in (None, record["artifact"]["sha256"]) and packaged == ours
        told = f"PRIMARY, {len(packaged)} test sets"
        if not current:
            told += ": of other runs than those here"
        state: State = "done" if current else "outdated"
        steps += [JobStep(step="packaged", where=str(folder), state=state, told=told), _upload(folder)]
    return steps


def _record(folder: Path) -> dict[str, Any]:
    try:
        found = fileio.read_json(folder / SUBMISSION_NAME)
    except InputError:
        return {}
    return found if isinstance(found, dict) else {}


def _upload(folder: Path) -> JobStep:
    noted = folder / naming.UPLOADED
    state: State = "missing"
    told = "not handed in, as far as is known"
    if noted.is_file():
        same = fileio.read_json(noted) == {"checksums": fileio.sha256_file(folder / naming.CHECKSUMS)}
        state, told = "done", "handed in"
        if not same:
            state, told = "outdated", "changed since it was handed in: upload it again"
    return JobStep(step="handed in", where=str(folder), state=state, told=told)
