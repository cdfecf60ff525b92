"""Nothing in a package may tell whose machine it came from."""

import contextlib
import getpass
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from iwsltpack.documents.names import SUBMISSION_NAME
from iwsltpack.errors import Problem, ValidationFailed
from iwsltpack.submission import naming
from iwsltpack.submission.validation_rules import problem

TEXTS: Final = (SUBMISSION_NAME, naming.DESCRIPTION, naming.UPLOAD)
"""The files of a package that are written here, and not decoded."""
PATHS: Final = re.compile(
    r"(?<![\w/.:<])/(?!path/to/)[\w.-]+/[^\s\"'`|)]+|(?<![\w~/])~(?:[A-Za-z_][\w.-]*)?/[^\s\"'`|)]+"
    r"|(?<![A-Za-z])[A-Za-z]:[\\/](?!/)[^\s\"'`|)]+|\\\\[\w.-]+\\[^\s\"'`|)]+|file://\S+"
)
"""Absolute paths of two parts and more, of home folders, of drives and shares; ``/path/to/`` is nobody's."""
COMMON: Final = frozenset(
    "admin debian demo docker jovyan localhost main node root runner test ubuntu".split()  # noqa: SIM905
)
"""Names of users and hosts that tell nothing."""
MIN_NAME: Final = 4


def identities() -> list[str]:
    """Return the user's and the machine's names, where they could identify anyone."""
    found = [socket.gethostname(), socket.gethostname().split(".")[0]]
    # In many containers the user id has no name.
    with contextlib.suppress(OSError, KeyError):
        found.append(getpass.getuser())
    return sorted({name for name in found if len(name) >= MIN_NAME and name.lower() not in COMMON})


def find_private(text: str, *, allowed: str = "", names: list[str] | None = None) -> list[tuple[int, str]]:
    """Return line (from 1) and wording of every absolute path, user name or host name in `text`.

    Looked for are `names`, or else those of this user and machine, but for words in `allowed`: the team's.
    """
    wanted = [
        name for name in (identities() if names is None else names) if name.lower() not in allowed.lower()
    ]
    patterns = [PATHS.pattern, *(rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in wanted)]
    return [
        (number, match.group())
        for number, line in enumerate(text.splitlines(), 1)
        for match in re.finditer("|".join(patterns), line)
    ]


def check_private(
    files: dict[str, bytes], team: str, where: Path = Path(), texts: Sequence[str] = TEXTS
) -> list[Problem]:
    """Return a problem for everything private in the `texts` among the files of a package that lies at `where`."""
    return [
        problem("submission.private", f"{wording!r}", path=where / name, line=line)
        for name in texts
        for line, wording in find_private(files.get(name, b"").decode(errors="replace"), allowed=team)
    ]


def refuse_private(files: dict[str, bytes], team: str, texts: Sequence[str] = TEXTS) -> None:
    """Raise `ValidationFailed` with everything private in the `texts` among `files`."""
    if problems := check_private(files, team, texts=texts):
        raise ValidationFailed("this would tell whose machine it came from", problems)
