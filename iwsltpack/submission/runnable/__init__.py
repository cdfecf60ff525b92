"""The runnable package: a folder that sets itself up and translates, in a place it was not made in.

It holds ``setup.sh``, ``run.sh``, ``requirements.txt``, ``README.md``, the artifact, this package's own code in
``lib/`` and the settings the runs were decoded with. The contract is the sister track's:
``bash run.sh --lang-pair P --batch-size N --input F --output F`` writes one line for each input line.
"""

import re
import shutil
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from iwsltpack.artifact.location import local_copy
from iwsltpack.artifact.sizes import GIB
from iwsltpack.documents.names import LANGUAGE_NAMES, PAIRS
from iwsltpack.documents.places import run_folders
from iwsltpack.documents.run import Run
from iwsltpack.documents.schema import schema_directory
from iwsltpack.documents.submission import Submission
from iwsltpack.errors import MissingDependency, ValidationFailed
from iwsltpack.submission.description import describe_bytes
from iwsltpack.submission.naming import folder_of
from iwsltpack.submission.packaging import Request
from iwsltpack.submission.privacy import refuse_private
from iwsltpack.submission.transaction import commit, locked, write_folder
from iwsltpack.submission.validation.runs import load_run
from iwsltpack.submission.validation_rules import problem
from iwsltpack.system import fileio
from iwsltpack.system.progress import SILENT, Reporter
from iwsltpack.system.templates import render

DISTRIBUTION: Final = "iwsltpack"
PACKAGE: Final = Path(__file__).parents[2]
"""The folder of the package itself."""
REQUIREMENT: Final = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?P<extras>\[[^\]]*\])?")
LEFT_OUT: Final = ("demo/miniature", "demo/testset")
"""Data of the demonstration: of no use to a package that brings its own model."""
WRITTEN: Final = ("README.md", "settings.json", "requirements.txt", "chat_template.jinja")
"""The files that are written for one submission."""


def make_runnable(root: Path, request: Request, submission: Submission, progress: Reporter = SILENT) -> Path:
    """Write the runnable package of a submission below `root`, wholly or not at all; return its folder.

    One of the same name and label is replaced. A copy of the artifact that is not whole, and a package that would tell
    whose machine it came from, are a `ValidationFailed`; for `MissingDependency` see `requirements`.
    """
    from iwsltpack.artifact.integrity import verify_artifact

    run = _a_run(request)
    source = local_copy(request.artifact, progress)
    files = {**_code(), **_texts(submission, run)}
    refuse_private(files, submission.team, WRITTEN)
    with locked(root), fileio.disk_errors(root):
        folder = write_folder(root, 0, files)
        _copy_artifact(source, folder / "artifact", progress)
        for name in ("setup.sh", "run.sh"):
            (folder / name).chmod(0o755)
        if problems := verify_artifact(folder / "artifact", progress):
            raise ValidationFailed("the copy of the artifact is not whole", problems, where=root)
        commit(root, {folder_of(submission): folder})
    return root / folder_of(submission)


def requirements() -> list[str]:
    """Return this package's own requirements, each at the very version installed here.

    `MissingDependency` where iwsltpack or one of its requirements is not installed.
    """
    try:
        pinned = []
        for line in _declared():
            if "extra ==" in line:
                continue
            found = REQUIREMENT.match(line)
            if found is None:
                raise ValueError(f"not a requirement: {line!r}")
            # A local tag such as +cpu names a build that no index but its own has.
            version = metadata.version(found["name"]).split("+")[0]
            pinned.append(f"{found['name']}{found['extras'] or ''}=={version}")
    except metadata.PackageNotFoundError as error:
        raise MissingDependency(
            "a runnable package pins what is installed here, and this is not",
            where=str(error),
            fix="install iwsltpack with pip, then try again",
        ) from error
    return sorted(pinned, key=str.lower)


def _declared() -> list[str]:
    """Return the declared requirements: of the checkout this runs from, or of the installed package.

    An editable installation keeps the requirements of the day it was made, which may lack a later one.
    """
    project = PACKAGE.parent / "pyproject.toml"
    if project.is_file():
        data = tomllib.loads(project.read_text(encoding="utf-8")).get("project", {})
        if data.get("name") == DISTRIBUTION:
            return list(data["dependencies"])
    return metadata.requires(DISTRIBUTION) or []


def _a_run(request: Request) -> Run:
    for path in request.runs:
        for folder in run_folders(path):
            run, problems = load_run(folder)
            if run is None:
                raise ValidationFailed("not a finished run", problems, where=folder)
            if run.pair == request.pair:
                return run
    raise ValidationFailed("no run of this pair", [problem("submit.pair", request.pair)])


def _code() -> dict[str, bytes]:
    """Return this package's own files below ``lib/``, with its schemas and licence."""
    files = {}
    for path in sorted(PACKAGE.rglob("*")):
        name = path.relative_to(PACKAGE).as_posix()
        if path.is_file() and "__pycache__" not in path.parts and not name.startswith(LEFT_OUT):
            files[f"lib/{DISTRIBUTION}/{name}"] = path.read_bytes()
    for path in sorted(schema_directory().glob("*.json")):
        files[f"lib/{DISTRIBUTION}/schemas/{path.name}"] = path.read_bytes()
    try:
        licence = metadata.distribution(DISTRIBUTION).read_text("licenses/LICENSE")
    except metadata.PackageNotFoundError:
        licence = None
    return {**files, "lib/LICENSE": licence.encode()} if licence else files


def _texts(submission: Submission, run: Run) -> dict[str, bytes]:
    folder = Path(__file__).with_name("template")
    files = {name: (folder / name).read_bytes() for name in ("setup.sh", "run.sh", "translate.py")}
    readme = render(
        folder / "README.md.jinja",
        {"size": describe_bytes, "gib": lambda count: f"{count / GIB:.2f} GiB"},
        submission=submission,
        artifact=submission.artifact,
        run=run,
        summary=run.summary,
        language=LANGUAGE_NAMES[PAIRS[submission.pair]],
    )
    if run.settings.chat_template is not None:
        files["chat_template.jinja"] = run.settings.chat_template.encode()
    return {
        **files,
        "README.md": readme.encode(),
        "requirements.txt": "".join(f"{line}\n" for line in requirements()).encode(),
        "settings.json": fileio.canonical_json(_settings(submission, run)),
    }


def _settings(submission: Submission, run: Run) -> dict[str, Any]:
    """Return what decides the text; how the model is held is for the machine it runs on."""
    given = {
        "prompt": run.settings.prompt,
        "system-prompt": run.settings.system_prompt,
        "max-new-tokens": run.settings.max_new_tokens,
        "retry-truncated": run.settings.retry_truncated,
    }
    return {
        "pair": submission.pair,
        "clean": submission.cleaning.applied,
        "decode": {name: value for name, value in given.items() if value is not None},
    }


def _copy_artifact(source: Path, target: Path, progress: Reporter) -> None:
    # Not copytree, which would give the copy the folders' modes: read-only ones could never be replaced.
    sizes = {path: path.stat().st_size for path in sorted(source.rglob("*")) if path.is_file()}
    progress.start("copying the artifact", sum(sizes.values()), "bytes")
    for path, size in sizes.items():
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        progress.advance(size)
    progress.finish()
