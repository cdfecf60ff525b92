"""The same bytes everywhere need the same versions everywhere."""

import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from iwsltpack.errors import UsageError
from iwsltpack.version import __version__

if TYPE_CHECKING:
    from distributed import Client

PYTHON, OURS = "python", "iwsltpack"
PACKAGES = ("numcodecs", "numpy", "pcodec", "zarr", "zstandard")
"""Packages that decide the bytes of an artifact."""


@cache
def installed(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Return the versions here of Python (first two parts), iwsltpack and `packages`; absent ones as ``none``."""
    found = {PYTHON: f"{sys.version_info.major}.{sys.version_info.minor}", OURS: __version__}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def check(theirs: Mapping[str, str], ours: Mapping[str, str], worker: str) -> None:
    """Refuse a worker whose versions are not the client's, with every difference by name."""
    differing = [name for name in ours if theirs.get(name, "none") != ours[name]]
    if differing:
        raise UsageError(
            "a worker has other versions than this machine, and could write other bytes",
            where=f"worker {worker}",
            expected=", ".join(f"{name} {ours[name]}" for name in differing),
            got=", ".join(f"{name} {theirs.get(name, 'none')}" for name in differing),
            fix="install the same environment on every machine",
        )


def check_workers(client: "Client", packages: Iterable[str] = ()) -> None:
    """Check every worker there is; those that join later are checked with their first item. See `check`."""
    ours = installed((*PACKAGES, *packages))
    # Asked by distributed itself, so that a worker without iwsltpack can answer, too.
    answers: Any = client.get_versions(packages=[OURS, *PACKAGES, *packages])
    for worker, answer in sorted(answers["workers"].items()):
        found = {name: text or "none" for name, text in answer["packages"].items()}
        found[PYTHON] = ".".join(found[PYTHON].split(".")[:2])
        check(found, ours, worker)
