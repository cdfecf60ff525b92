"""Nothing in a package may tell whose machine it came from."""

from __future__ import annotations

import contextlib
import getpass
import re
import socket
from typing import Final

PATHS: Final = re.compile(
    r"(?<![\w/.:])/(?:home|root|Users|tmp|mnt|var|data|scratch|work|opt|srv|workspace|gpfs|lustre|private|media|usr"
    r"|nfs|projects?|share|shared|export|content|kaggle)/[^\s\"'`|)]+|(?<![A-Za-z])[A-Za-z]:\\[^\s\"'`|)]+|\\\\[\w.-]+\\[^\s\"'`|)]+"
    r"|file://\S+"
)
COMMON: Final = frozenset(
    (
        "admin",
        "debian",
        "demo",
        "docker",
        "jovyan",
        "localhost",
        "main",
        "node",
        "root",
        "runner",
        "test",
        "ubuntu",
    )
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

    Parameters
    ----------
    text
        What goes into a package.
    allowed
        Words that may stand there even if they are such a name: the team's.
    names
        Names to look for; default: those of this user and machine.
    """
    wanted = [
        name for name in (identities() if names is None else names) if name.lower() not in allowed.lower()
    ]
    expression = "|".join(rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in wanted)
    pattern = re.compile(f"{PATHS.pattern}|{expression}" if expression else PATHS.pattern)
    return [
        (number, match.group())
        for number, line in enumerate(text.splitlines(), 1)
        for match in pattern.finditer(line)
    ]
