"""The environment COMET lives in: built once in the user's cache, whole or not there at all.

unbabel-comet 2.2.7 needs numpy 1, transformers 4 and huggingface_hub 0, so it cannot share an environment with
this program. `venv` makes it and pip fills it, from wherever pip is configured to take packages: uv would be
faster, but reads none of that configuration, and its cache must be there, and be lockable, whenever COMET runs.
"""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from iwsltpack.errors import IwsltpackError, MissingDependency, ResourceError, how_to_install
from iwsltpack.system import fileio, locks
from iwsltpack.system.progress import SILENT, Reporter

COMET_VERSION = "2.2.7"
PYTHON_VARIABLE = "IWSLTPACK_COMET_PYTHON"
"""Environment variable: the Python of an environment of the user's own, used as it is."""
OWN_ENVIRONMENT = (
    f"set {PYTHON_VARIABLE} to the Python of an environment that has unbabel-comet {COMET_VERSION}"
)
TORCH_VARIABLE = "IWSLTPACK_COMET_TORCH"
"""Environment variable: the version of torch to install, local tag included, in place of this program's."""

COMPLETE_NAME = "iwsltpack-complete.json"
NEWEST_PYTHON = (3, 12)
"""numpy 1 has no wheels past it."""
BUILD_SECONDS = 3600.0
CHECK_SECONDS = 600.0
LOG_LINES = 12
"""Shown of what a process wrote before it failed."""


@dataclass(frozen=True, kw_only=True)
class CometEnvironment:
    """An environment with COMET in it: its Python, and the versions a signature needs."""

    python: Path
    comet: str
    torch: str


def requirements() -> list[str]:
    """Return what is installed: COMET, what it fails to pin, and this program's own torch, local tag included.

    An unpinned torch would bring several GB of CUDA to a machine that has none.
    """
    torch = os.environ.get(TORCH_VARIABLE)
    if not torch:
        with contextlib.suppress(metadata.PackageNotFoundError):
            torch = metadata.version("torch")
    return [f"unbabel-comet=={COMET_VERSION}", "setuptools<81", f"torch=={torch}" if torch else "torch"]


def environment_path() -> Path:
    """Return where the environment for these requirements and this Python lies once it is whole."""
    version = min((sys.version_info[0], sys.version_info[1]), NEWEST_PYTHON)
    key = {"requirements": requirements(), "python": list(version), "platform": sys.platform}
    return fileio.cache_directory() / "comet" / fileio.sha256_bytes(fileio.canonical_json(key))[:16]


def is_built() -> bool:
    """Tell whether `ensure_environment` would return without building anything."""
    return bool(os.environ.get(PYTHON_VARIABLE)) or _built(environment_path()) is not None


def ensure_environment(progress: Reporter = SILENT) -> CometEnvironment:
    """Return the environment, built first if it is not there yet.

    Of several builders one builds and the others wait, an hour at most. It is made under another name and renamed
    when it has been seen to work, so that one who is killed leaves nothing half done. `MissingDependency` where it
    cannot be built (no network on the first run, no fitting Python) ends with the installer's words.
    """
    if told := os.environ.get(PYTHON_VARIABLE):
        return _inspect(Path(told))
    home = environment_path()
    if (built := _built(home)) is not None:
        return built
    progress.start("building the COMET environment (once; a minute or two)", 3)
    try:
        with locks.held(
            home.with_name(f"{home.name}.lock"),
            patience=BUILD_SECONDS,
            waiting=lambda: progress.note("another process is building it; waiting"),
        ) as taken:
            if not taken:
                raise ResourceError(
                    "another process has been building the COMET environment for an hour",
                    where=home,
                    fix="stop it and run the same command again",
                )
            return _built(home) or _build(home, progress)
    finally:
        progress.finish()


def _built(home: Path) -> CometEnvironment | None:
    """Return the environment in a folder; None if it is not there, not whole, or its Python is gone."""
    try:
        mark = fileio.read_json(home / COMPLETE_NAME)
        found = CometEnvironment(python=home / "bin" / "python", comet=mark["comet"], torch=mark["torch"])
    except (IwsltpackError, TypeError, KeyError):
        return None
    # The interpreter is a link to a Python that may have been removed since.
    return found if os.access(found.python, os.X_OK) else None


def _build(home: Path, progress: Reporter) -> CometEnvironment:
    for left_over in (*home.parent.glob(f"{home.name}.building.*"), home):
        shutil.rmtree(left_over, ignore_errors=True)
    fitting = _fitting_python()
    # A name of its own: the installer of a builder that was killed may still be writing into the old one.
    staging = Path(tempfile.mkdtemp(dir=home.parent, prefix=f"{home.name}.building."))
    python = str(staging / "bin" / "python")
    # This environment's pip can fill another, which spares that one a pip. Environments made by uv have none.
    own = importlib.util.find_spec("pip") is not None
    pip = [sys.executable, "-m", "pip", "--python", python] if own else [python, "-m", "pip"]
    pip += ["install", "--quiet", "--disable-pip-version-check"]
    steps = (
        ("making it", [*fitting, "-m", "venv", *["--without-pip"] * own, str(staging)], CHECK_SECONDS),
        ("installing unbabel-comet and its torch", [*pip, *requirements()], BUILD_SECONDS),
        ("trying it", [python, "-c", "import comet"], CHECK_SECONDS),
    )
    try:
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
            for name, command, seconds in steps:
                progress.note(name)
                _run(command, log, seconds)
                progress.advance()
        found = _inspect(Path(python))
        mark = {"requirements": requirements(), "comet": found.comet, "torch": found.torch}
        fileio.write_json(staging / COMPLETE_NAME, mark)
        staging.rename(home)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return replace(found, python=home / "bin" / "python")


def _fitting_python() -> list[str]:
    """Return the command of a Python that COMET works with: this one, or an older one that uv finds or fetches."""
    if sys.version_info[:2] <= NEWEST_PYTHON:
        return [sys.executable]
    # The extra `comet` brings uv where it is needed, beside this Python's own program.
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    if (uv := shutil.which("uv", path=places)) is None:
        raise MissingDependency(
            "COMET needs Python 3.12 or older beside this one",
            got=f"Python {sys.version_info[0]}.{sys.version_info[1]}, and no uv to fetch another",
            fix=f"{how_to_install('comet')}; or {OWN_ENVIRONMENT}",
        )
    return [uv, "run", "--quiet", "--no-project", "--python", ".".join(map(str, NEWEST_PYTHON)), "python"]


def _run(command: Sequence[str], log: IO[str], seconds: float) -> None:
    """Run one step of the build; its failure is told with the last lines it wrote."""
    try:
        _start(command, seconds, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    except (subprocess.SubprocessError, OSError) as error:
        reason = "it took too long" if isinstance(error, subprocess.TimeoutExpired) else str(error)
        raise MissingDependency(
            "the COMET environment could not be built",
            where=fileio.cache_directory() / "comet",
            got=last_words(log) or reason,
            fix="the first use needs the network (pip's own settings for index and proxy are used); or "
            + OWN_ENVIRONMENT,
        ) from error


def _start(command: Sequence[str], seconds: float, **streams: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, check=True, timeout=seconds, text=True, env=_clean_environment(), **streams
    )


def last_words(log: IO[str]) -> str:
    """Return the last lines that a process wrote into `log`; nothing where there are none."""
    with contextlib.suppress(ValueError, OSError):
        log.seek(0)
        return "\n    ".join([line.rstrip() for line in log if line.strip()][-LOG_LINES:])
    return ""


def _clean_environment() -> dict[str, str]:
    """Return the environment without what would lead another Python to this one's packages."""
    misleading = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    return {key: value for key, value in os.environ.items() if key not in misleading}


def worker_environment(*, offline: bool) -> dict[str, str]:
    """Return the environment variables a worker runs with."""
    extra = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONWARNINGS": "ignore"}
    return {**_clean_environment(), **extra, **({"HF_HUB_OFFLINE": "1"} if offline else {})}


_VERSIONS = (
    "from importlib.metadata import version, PackageNotFoundError\n"
    "for name in ('unbabel-comet', 'torch'):\n"
    "    try: print(version(name))\n"
    "    except PackageNotFoundError: print('')\n"
)


def _inspect(python: Path) -> CometEnvironment:
    """Ask an environment for its versions, without importing anything heavy."""
    try:
        done = _start([str(python), "-c", _VERSIONS], CHECK_SECONDS, capture_output=True)
        comet, torch = done.stdout.split("\n")[:2]
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        raise MissingDependency(
            "the Python of the COMET environment does not run",
            where=python,
            got=str(error),
            fix=f"correct {PYTHON_VARIABLE}, or remove the folder and run the same command again",
        ) from error
    if not comet or not torch:
        raise MissingDependency(
            "the environment lacks COMET",
            where=python,
            expected=f"unbabel-comet {COMET_VERSION} and torch",
            got=f"unbabel-comet {comet or 'none'}, torch {torch or 'none'}",
        )
    return CometEnvironment(python=python, comet=comet, torch=torch)
