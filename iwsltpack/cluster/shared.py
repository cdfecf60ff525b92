"""A folder that is to be the same folder on every machine."""

import secrets
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from iwsltpack.errors import InputError
from iwsltpack.system.fileio import disk_errors

if TYPE_CHECKING:
    from distributed import Client

PROBE = ".iwsltpack-probe-"
ATTEMPTS, PAUSE_S = 10, 0.5
"""How long a network file system is given to show what another machine wrote."""
ATTEMPTS_OLD = 3
"""The same for files that were there before."""


def check_shared(client: "Client", folder: Path) -> None:
    """Make sure that every worker sees `folder` and what this machine writes into it, and the other way round.

    A worker that does not see it, sees another one of that name, or cannot write to it is an `InputError`; if this
    machine cannot write to it, that is a `ResourceError`.
    """
    folder = folder.resolve()
    token = secrets.token_hex(8)
    probe = folder / f"{PROBE}{token}"
    with disk_errors(folder):
        probe.write_text(token)
    try:
        answers = client.run(_answer, str(probe), token, on_error="return")
        for address, answer in sorted(answers.items()):
            reply = folder / str(answer)
            if (
                isinstance(answer, BaseException)
                or not answer.startswith(PROBE)
                or not _appears(reply, token)
            ):
                raise InputError(
                    "a worker does not share this folder",
                    where=folder,
                    expected="a folder that every machine sees under this path and may write to",
                    got=f"worker {address}: {answer}",
                    fix="use a folder of the shared file system, mounted at the same place everywhere",
                )
    finally:
        for path in folder.glob(f"{PROBE}{token}*"):
            path.unlink(missing_ok=True)


def check_readable(client: "Client", files: Iterable[Path]) -> None:
    """Make sure that every worker sees these files as this machine does, else an `InputError`; nothing is written."""
    sizes = {str(path): path.stat().st_size for path in files}
    answers = client.run(_first_unseen, sizes, on_error="return")
    for address, answer in sorted(answers.items()):
        if answer is not None:
            raise InputError(
                "a worker does not see the same files as this machine",
                where=answer,
                got=f"worker {address}",
                expected="files that every machine sees under this path",
                fix="put them on the shared file system, mounted at the same place everywhere",
            )


def _first_unseen(sizes: dict[str, int]) -> str | None:
    """Return, on a worker, the first file that is not there with its size; network file systems are given time."""
    for name, size in sizes.items():
        if not _becomes(lambda path: path.stat().st_size, Path(name), size, ATTEMPTS_OLD):
            return name
    return None


def _answer(name: str, token: str) -> str:
    """Write, on a worker, a reply beside the probe; return its name, or what is wrong."""
    probe = Path(name)
    if not probe.parent.is_dir():
        return "no such folder there"
    if not _appears(probe, token):
        return "another folder of the same name there"
    reply = probe.with_name(f"{probe.name}-{secrets.token_hex(4)}")
    try:
        reply.write_text(token)
    except OSError as error:
        return f"cannot write there: {error.strerror}"
    return reply.name


def _appears(path: Path, token: str) -> bool:
    return _becomes(Path.read_text, path, token, ATTEMPTS)


def _becomes(look: Callable[[Path], object], path: Path, wanted: object, attempts: int) -> bool:
    """Tell whether a file looks as wanted; it is looked at again after a while, in case it cannot be seen yet."""
    for attempt in range(attempts):
        if attempt:
            time.sleep(PAUSE_S)
        with suppress(OSError):
            if look(path) == wanted:
                return True
    return False
