"""The environment COMET lives in: built once in the user's cache, whole or not there at all.

unbabel-comet 2.2.7 needs numpy 1, transformers 4 and huggingface_hub 0, so it cannot share an environment with
this program. Packages come from wherever pip is configured to take them; uv, which installs them several times
faster, does not read pip's configuration, so it is translated.
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, TYPE_CHECKING

from iwsltpack.errors import IwsltpackError, MissingDependency, ResourceError
from iwsltpack.system import fileio
from iwsltpack.system.fileio import cache_directory
from iwsltpack.system.progress import SILENT, Reporter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


COMET_VERSION = "2.2.7"
PYTHON_VARIABLE = "IWSLTPACK_COMET_PYTHON"
"""Environment variable: the Python of an environment of the user's own, used as it is."""
TORCH_VARIABLE = "IWSLTPACK_COMET_TORCH"
"""Environment variable: the version of torch to install, local tag included, in place of this program's."""

COMPLETE_NAME = "iwsltpack-complete.json"
NEWEST_PYTHON = (3, 12)
"""numpy 1 has no wheels past it."""
BUILD_SECONDS = 3600.0
CHECK_SECONDS = 600.0
POLL_SECONDS = 0.2
LOG_LINES = 12

_LISTS = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "proxy": ("ALL_PROXY", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
}
"""pip's settings, uv's variables, and what stands between several values."""


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


def environments_directory() -> Path:
    """Return the folder that holds the environments built here."""
    return cache_directory() / "comet"


def environment_path() -> Path:
    """Return where the environment for these requirements and this Python lies once it is whole."""
    key = {"requirements": requirements(), "python": list(_python_version()), "platform": sys.platform}
    return environments_directory() / fileio.sha256_bytes(fileio.canonical_json(key))[:16]


def is_built() -> bool:
    """Tell whether `ensure_environment` would return without building anything."""
    return bool(os.environ.get(PYTHON_VARIABLE)) or _is_whole(environment_path())


def ensure_environment(progress: Reporter = SILENT) -> CometEnvironment:
    """Return the environment, built first if it is not there yet.

    Safe against another builder at the same time (one builds, the others wait) and against being killed at any
    moment: the environment is made under another name and renamed when it has been seen to work.

    Raises
    ------
    MissingDependency
        It cannot be built: no network on the first run, no fitting Python; ends with the installer's words.
    ResourceError
        Another builder took longer than an hour.
    """
    if told := os.environ.get(PYTHON_VARIABLE):
        return _inspect(Path(told))
    home = environment_path()
    if not _is_whole(home):
        home.parent.mkdir(parents=True, exist_ok=True)
        progress.start("building the COMET environment (once; a minute or two)", 3)
        try:
            with _lock(home, progress):
                if not _is_whole(home):
                    _build(home, progress)
        finally:
            progress.finish()
    mark = fileio.read_json(home / COMPLETE_NAME)
    return CometEnvironment(python=_python_of(home), comet=mark["comet"], torch=mark["torch"])


def _python_of(home: Path) -> Path:
    return home / "bin" / "python"


def _is_whole(home: Path) -> bool:
    # The interpreter is a link to a Python that may have been removed since.
    return _is_marked(home / COMPLETE_NAME) and os.access(_python_of(home), os.X_OK)


def _is_marked(path: Path) -> bool:
    try:
        mark = fileio.read_json(path)
    except IwsltpackError:
        return False
    return isinstance(mark, dict) and all(isinstance(mark.get(name), str) for name in ("comet", "torch"))


def _python_version() -> tuple[int, int]:
    return min((sys.version_info[0], sys.version_info[1]), NEWEST_PYTHON)


@contextlib.contextmanager
def _lock(home: Path, progress: Reporter) -> Iterator[None]:
    """Hold the builders' lock; it goes with the process, however that ends."""
    deadline = time.monotonic() + BUILD_SECONDS
    with home.with_name(f"{home.name}.lock").open("ab") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                progress.note("another process is building it; waiting")
                if time.monotonic() > deadline:
                    raise ResourceError(
                        "another process has been building the COMET environment for an hour",
                        where=home,
                        fix="stop it and run the same command again",
                    ) from None
                time.sleep(POLL_SECONDS)
            else:
                break
        yield


def _build(home: Path, progress: Reporter) -> None:
    for left_over in (*home.parent.glob(f"{home.name}.building.*"), home):
        shutil.rmtree(left_over, ignore_errors=True)
    # A name of its own: the installer of a builder that was killed may still be writing into the old one.
    staging = Path(tempfile.mkdtemp(dir=home.parent, prefix=f"{home.name}.building."))
    try:
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
            _install(staging, log, progress)
            progress.note("trying it")
            _run([str(_python_of(staging)), "-c", "import comet"], log, CHECK_SECONDS)
            progress.advance()
        found = _inspect(_python_of(staging))
        mark = {"requirements": requirements(), "comet": found.comet, "torch": found.torch}
        fileio.write_json(staging / COMPLETE_NAME, mark)
        staging.rename(home)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def _install(staging: Path, log: IO[str], progress: Reporter) -> None:
    uv, fits = find_uv(), sys.version_info[:2] <= NEWEST_PYTHON
    python = str(_python_of(staging))
    progress.note("making it")
    if uv is not None:
        version = sys.executable if fits else ".".join(map(str, NEWEST_PYTHON))
        environment = {**_clean_environment(), **uv_settings(), "UV_COMPILE_BYTECODE": "1"}
        _run(
            [uv, "venv", "--quiet", "--clear", "--relocatable", "--python", version, str(staging)],
            log,
            CHECK_SECONDS,
            environment,
        )
        install = [uv, "pip", "install", "--quiet", *uv_flags(), "--python", python]
    elif fits:
        environment = _clean_environment()
        _run([sys.executable, "-m", "venv", str(staging)], log, CHECK_SECONDS, environment)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    else:
        raise MissingDependency(
            "COMET needs Python 3.12 or older beside this one",
            got=f"Python {sys.version_info[0]}.{sys.version_info[1]}, and no uv to fetch another",
            fix=f'pip install "iwsltpack[comet]", or set {PYTHON_VARIABLE} to the Python of an environment that has '
            f"unbabel-comet {COMET_VERSION}",
        )
    progress.advance()
    progress.note("installing unbabel-comet and its torch")
    _run([*install, *requirements()], log, BUILD_SECONDS, environment)
    progress.advance()


def _run(
    command: Sequence[str], log: IO[str], seconds: float, environment: dict[str, str] | None = None
) -> None:
    """Run one step of the build; its failure is told with the last lines it wrote."""
    try:
        subprocess.run(
            command,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            timeout=seconds,
            env=environment or _clean_environment(),
        )
    except (subprocess.SubprocessError, OSError) as error:
        log.seek(0)
        said = [line.rstrip() for line in log if line.strip()][-LOG_LINES:]
        reason = "it took too long" if isinstance(error, subprocess.TimeoutExpired) else None
        raise MissingDependency(
            "the COMET environment could not be built",
            where=environments_directory(),
            got="\n    ".join(said) or reason or str(error),
            fix="the first use needs the network (pip's own settings for index and proxy are used); or set "
            f"{PYTHON_VARIABLE} to the Python of an environment that has unbabel-comet {COMET_VERSION}",
        ) from error


def find_uv() -> str | None:
    """Return the path of uv, installed as a Python package or on PATH; None without it."""
    try:
        import uv
    except ImportError:
        return shutil.which("uv")
    try:
        return str(uv.find_uv_bin())
    except FileNotFoundError:
        return shutil.which("uv")


def uv_settings() -> dict[str, str]:
    """Return pip's settings as uv's environment variables; variables the user has set already win."""
    found: dict[str, str] = {}
    for key, values in pip_settings().items():
        name, separator = _LISTS.get(key, (None, ""))
        if name is not None and name not in os.environ and values:
            found[name] = separator.join(values)
    if "UV_INDEX" in found:
        # pip takes the best version over all its indexes; uv by default stays with the first that has any.
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return found


def uv_flags() -> list[str]:
    """Return what of pip's settings uv takes on its command line alone."""
    told = pip_settings().get("no-index", ["0"])
    return ["--no-index"] if told[:1] and told[0].lower() in ("1", "true", "yes", "on") else []


def pip_settings() -> dict[str, list[str]]:
    """Return what pip is configured with, ``key -> values``: the environment over ``install`` over ``global``."""
    settings: dict[str, list[str]] = {}
    ranks: dict[str, int] = {}
    for line in _pip_config_lines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        rank = (
            ("global", "install", ":env:").index(section) if section in ("global", "install", ":env:") else -1
        )
        if rank < 0 or rank < ranks.get(key, 0):
            continue
        try:
            text = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            continue
        settings[key], ranks[key] = str(text).split(), rank
    return settings


def _pip_config_lines() -> list[str]:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    except (subprocess.SubprocessError, OSError):
        # An environment without pip: its configuration files are not read, its variables are.
        return [
            f":env:.{key.removeprefix('PIP_').lower().replace('_', '-')}={value!r}"
            for key, value in os.environ.items()
            if key.startswith("PIP_")
        ]
    return done.stdout.splitlines()


def _clean_environment() -> dict[str, str]:
    """Return the environment without what would lead another Python to this one's packages."""
    return {
        key: value
        for key, value in os.environ.items()
        if key not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
    }


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
        done = subprocess.run(
            [str(python), "-c", _VERSIONS],
            capture_output=True,
            text=True,
            timeout=CHECK_SECONDS,
            check=True,
            env=_clean_environment(),
        )
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
