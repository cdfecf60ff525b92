"""From runs and an artifact to a package: everything is checked first, then written in one step."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from iwsltpack.artifact.location import Place, local_copy
from iwsltpack.artifact.sizes import measure
from iwsltpack.cleaning.engine import CleanedLine, clean_lines
from iwsltpack.cleaning.files import CleanSummary, audit_entry
from iwsltpack.cleaning.rules import RULES as CLEANING_RULES
from iwsltpack.documents.artifact import ArtifactManifest, Tool
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.documents.names import PAIRS, RUN_NAME, SUBMISSION_NAME
from iwsltpack.documents.places import run_folders
from iwsltpack.documents.run import Run
from iwsltpack.documents.submission import (
    Submission,
    SubmissionArtifact,
    SubmissionCleaning,
    SubmissionEdition,
    SubmissionRun,
    SubmissionTestSet,
)
from iwsltpack.editions import Edition
from iwsltpack.errors import IwsltpackError, Problem, UsageError, ValidationFailed, has_errors
from iwsltpack.submission import naming
from iwsltpack.submission.archive import checksum_lines, make_archive
from iwsltpack.submission.description import render_description, render_upload
from iwsltpack.submission.edition_rules import (
    check_base_model,
    check_datasets,
    check_test_sets,
    datasets_used,
)
from iwsltpack.submission.privacy import refuse_private
from iwsltpack.submission.validation.hypotheses import check_hypotheses
from iwsltpack.submission.validation.runs import check_loaded_run, load_run
from iwsltpack.submission.validation_rules import as_problems, problem
from iwsltpack.system import fileio
from iwsltpack.system.progress import SILENT, Reporter
from iwsltpack.version import __version__


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a participant asks to be packaged.

    `runs` are folders of finished runs, or folders that hold such folders (then only runs of `pair` are taken);
    `artifact` is what they were decoded with: its folder, or the address of a remote one. To the `datasets` that
    supported the compression, what the artifact was calibrated on is added. A `label` tells contrastive submissions of
    one model name apart; `release_outputs` is the consent, which None leaves to the form; `base_model` is the hub's
    name of the model compressed, where the artifact does not tell it.
    """

    edition: Edition
    team: str
    pair: str
    condition: str
    type: str
    runs: tuple[Path, ...]
    artifact: Place
    datasets: tuple[str, ...] = ()
    label: str | None = None
    release_outputs: bool | None = None
    clean: bool = True
    base_model: str | None = None


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package ready to be written: its record, every file's bytes, and what is worth a warning."""

    submission: Submission
    files: dict[str, bytes]
    warnings: list[Problem] = field(default_factory=list)

    @property
    def folder(self) -> str:
        """Name of the folder it goes into."""
        return naming.folder_of(self.submission)


def prepare(request: Request, progress: Reporter = SILENT) -> Package:
    """Check everything and render every file of the package; nothing is written.

    `ValidationFailed` holds every problem found in runs, artifact and request. A pair, condition, type, team or label
    that cannot be is a `UsageError`; for a remote artifact see `local_copy`.
    """
    naming.check_label(request.label)
    request.edition.pair(request.pair)
    problems, manifest, artifact = _check_artifact(request, local_copy(request.artifact, progress), progress)
    if manifest is not None:
        request = replace(request, datasets=datasets_used(request.datasets, manifest))
    problems += check_datasets(request.edition.condition(request.condition), request.datasets)
    runs, run_problems = _collect_runs(request)
    names, digests = ([getattr(run.test_set, key) for _, run in runs] for key in ("name", "sha256"))
    problems += run_problems + check_test_sets(request.edition, request.pair, names, digests)
    known = manifest.calibration.sha256 if manifest is not None and manifest.calibration else None
    problems += [
        problem("submit.calibrated-on-test-set", run.test_set.name, path=folder / RUN_NAME)
        for folder, run in runs
        if run.test_set.sha256 == known
    ]
    sizes_name, name_problems = _model_name(request, artifact)
    problems += name_problems
    files: dict[str, bytes] = {}
    test_sets = []
    for folder, run in runs:
        problems += _check_against_artifact(folder, run, artifact)
        found = check_loaded_run(folder, run)
        problems += found
        if not has_errors(found) and naming.FILE_PART.fullmatch(run.test_set.name):
            test_sets.append(_render_test_set(request, folder, run, files, problems))
    if has_errors(problems) or manifest is None or artifact is None:
        raise ValidationFailed(
            "this cannot be submitted", problems, fix="mend every error below; warnings may stay"
        )
    submission = _record(request, sizes_name, artifact, tuple(sorted(test_sets, key=lambda item: item.name)))
    files = finish(submission, request.edition, files)
    return Package(submission=submission, files=files, warnings=problems)


def finish(submission: Submission, edition: Edition, files: dict[str, bytes]) -> dict[str, bytes]:
    """Add record, description, upload page, checksums and archive to a package's hypotheses and audits.

    An absolute path, user name or host name that would enter the package is a `ValidationFailed`.
    """
    files = {
        **files,
        SUBMISSION_NAME: fileio.canonical_json(submission.to_json()),
        naming.DESCRIPTION: render_description(submission, edition).encode(),
        naming.UPLOAD: render_upload(submission, edition).encode(),
    }
    refuse_private(files, submission.team)
    files[naming.CHECKSUMS] = checksum_lines(files)
    folder = naming.folder_of(submission)
    return {**files, f"{folder}.zip": make_archive(folder, files)}


def _check_artifact(
    request: Request, folder: Path, progress: Reporter
) -> tuple[list[Problem], ArtifactManifest | None, SubmissionArtifact | None]:
    from iwsltpack.artifact.integrity import verify_artifact

    try:
        manifest = read_manifest(folder)
        sizes = measure(folder)
    except IwsltpackError as error:
        return as_problems(error, "artifact.unreadable", folder), None, None
    problems = [
        problem("submit.artifact-damaged", f"[{found.rule}] {found.message}", path=found.path)
        for found in verify_artifact(folder, progress)
        if found.severity == "error"
    ]
    base = manifest.base_model
    if None not in (base.id, request.base_model) and base.id != request.base_model:
        problems.append(problem("submit.base-model", f"built from {base.id}, not {request.base_model}"))
    artifact = SubmissionArtifact(
        sha256=manifest.sha256,
        bytes=sizes.total_bytes,
        state_dict_bytes=sizes.state_dict_bytes,
        parameters=sizes.parameters,
        source_bytes=sizes.source_bytes,
        source_parameters=sizes.source_parameters,
        base_model=base.id or request.base_model,
        revision=base.revision,
        architecture=base.architecture,
        license=base.license,
        recipe=manifest.recipe.name,
        coding=manifest.coding,
        techniques=manifest.recipe.techniques,
    )
    problems += check_base_model(request.edition, artifact.base_model, artifact.architecture)
    return problems, manifest, artifact


def _collect_runs(request: Request) -> tuple[list[tuple[Path, Run]], list[Problem]]:
    runs: list[tuple[Path, Run]] = []
    problems: list[Problem] = []
    for path in request.runs:
        folders = run_folders(path)
        for folder in folders:
            run, found = load_run(folder)
            problems += found
            if run is None:
                continue
            if run.pair == request.pair:
                runs.append((folder, run))
            elif folders == [path]:
                message = f"a run of {run.pair}, not {request.pair}"
                problems.append(problem("submit.pair", message, path=folder))
    used = {(run.settings.prompt, run.settings.max_new_tokens) for _, run in runs}
    if len(used) > 1:
        listed = "; ".join(f"{prompt!r} with {tokens} tokens" for prompt, tokens in sorted(used))
        problems.append(problem("submit.settings-differ", listed))
    return runs, problems


def _model_name(request: Request, artifact: SubmissionArtifact | None) -> tuple[str, list[Problem]]:
    size = artifact.bytes if artifact else 0
    try:
        request.edition.size_bin(size)
    except UsageError as error:
        return "", [problem("submit.size-bin", f"{error.what}: {error.expected}")] if artifact else []
    return request.edition.model_name(request.team, request.pair, request.condition, request.type, size), []


def _check_against_artifact(folder: Path, run: Run, artifact: SubmissionArtifact | None) -> list[Problem]:
    used, path = run.artifact, folder / RUN_NAME
    if artifact is None:
        return []
    if used.sha256 != artifact.sha256:
        message = f"decoded with artifact {used.sha256} ({used.recipe}), this is {artifact.sha256}"
        return [problem("submit.other-artifact", message, path=path)]
    if used.bytes != artifact.bytes:
        message = f"the run says {used.bytes} bytes, the artifact has {artifact.bytes}"
        return [problem("submit.size", message, path=path)]
    return []


def _render_test_set(
    request: Request, folder: Path, run: Run, files: dict[str, bytes], problems: list[Problem]
) -> SubmissionTestSet:
    raw = fileio.read_bytes(folder / run.output.path)
    lang = PAIRS[request.pair]
    lines = raw.decode().removesuffix("\n").split("\n")
    summary, audit = CleanSummary(), list[bytes]()
    cleaned = clean_lines(lines, lang).lines if request.clean else [CleanedLine(text=line) for line in lines]
    for number, line in enumerate(cleaned, 1):
        summary.add(line.changes)
        audit += [fileio.canonical_json(audit_entry(number, change), indent=None) for change in line.changes]
    stem = f"{run.test_set.name}.{request.pair}"
    name = f"{stem}.txt"
    data = "".join(f"{line.text}\n" for line in cleaned).encode()
    files[name] = data
    files[f"{naming.RAW_FOLDER}/{name}"] = raw
    files[f"{naming.AUDIT_FOLDER}/{stem}.jsonl"] = b"".join(audit)
    # The raw hypotheses may have given the same finding already.
    known = {(found.rule, found.line) for found in problems}
    found_in_text = check_hypotheses(data, lang, folder / name, raw=not request.clean)
    problems += [found for found in found_in_text if (found.rule, found.line) not in known]
    return SubmissionTestSet(
        name=run.test_set.name,
        file=name,
        sha256=fileio.sha256_bytes(data),
        bytes=len(data),
        lines=len(lines),
        raw_sha256=run.output.sha256,
        lines_changed=summary.changed,
        repaired=dict(summary.repaired),
        reported=dict(summary.reported),
        run=_record_run(folder, run),
    )


def _record_run(folder: Path, run: Run) -> SubmissionRun:
    return SubmissionRun(
        sha256=fileio.sha256_file(folder / RUN_NAME),
        tool_version=run.tool.version,
        test_set_sha256=run.test_set.sha256,
        segments=run.test_set.segments,
        audio_seconds=run.test_set.audio_seconds,
        settings=run.settings.to_json(),
        seconds_per_segment=run.summary.seconds_per_segment,
        real_time_factor=run.summary.real_time_factor,
        device_name=run.summary.device_name,
        truncated=run.summary.truncated,
        placeholders=run.summary.placeholders,
    )


def _record(
    request: Request, model_name: str, artifact: SubmissionArtifact, test_sets: tuple[SubmissionTestSet, ...]
) -> Submission:
    edition, lang = request.edition, PAIRS[request.pair]
    return Submission(
        tool=Tool(version=__version__, libraries={}),
        edition=SubmissionEdition(name=edition.name, sha256=edition.sha256, rehearsal=edition.rehearsal),
        model_name=model_name,
        team=request.team,
        pair=request.pair,
        condition=request.condition,
        type=request.type,
        size_bin=edition.size_bin(artifact.bytes),
        label=request.label,
        artifact=artifact,
        datasets=request.datasets,
        release_outputs=request.release_outputs,
        cleaning=SubmissionCleaning(
            applied=request.clean,
            lang=lang,
            rules=tuple(rule.id for rule in CLEANING_RULES) if request.clean else (),
            version=__version__,
        ),
        test_sets=test_sets,
    )
