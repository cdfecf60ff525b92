"""Files of a model repository on the hub, all of one commit, through huggingface_hub's own session and login."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from iwsltpack.remote import failure
from iwsltpack.remote.failure import Failure
from iwsltpack.remote.hub_errors import LOGIN, NO_HUB, hub_failures
from iwsltpack.system import fileio
from iwsltpack.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from iwsltpack.remote.location import HubLocation

BLOCK = 1 << 20
COMMIT_HEADER = "X-Repo-Commit"
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubFiles:
    """Files below a place in a repository.

    The first answer tells the commit that the revision stands for; every later file is of that commit, so that a
    push in between cannot mix two artifacts.
    """

    login = LOGIN

    def __init__(self, location: HubLocation) -> None:
        self._location = location
        self._commit: str | None = None

    def fetch(self, relative: str, into: Path, limit: int) -> None:
        """Write one file of at most `limit` bytes to `into`; raises `Failure`."""
        try:
            with hub_failures():
                self._fetch(relative, into, limit)
        except Failure as wrong:
            if wrong.kind in ("missing", "offline"):
                # Here it is known that a file of an artifact was asked for, and that a cache may hold it.
                raise Failure(wrong.kind, wrong.got or "HF_HUB_OFFLINE is set") from None
            raise

    def _fetch(self, relative: str, into: Path, limit: int) -> None:
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

        place = self._location
        url = hf_hub_url(
            place.repo,
            f"{place.folder}/{relative}" if place.folder else relative,
            revision=self._commit or place.revision or "main",
            endpoint=place.endpoint or os.environ.get("HF_ENDPOINT"),
        )
        headers = build_hf_headers(library_name="iwsltpack", library_version=__version__)
        silence = failure.READ_TIMEOUT_S
        timeout = (failure.CONNECT_TIMEOUT_S, silence, silence, silence)
        with get_session().stream(
            "GET", url, headers=headers, timeout=timeout, follow_redirects=True
        ) as answer:
            hf_raise_for_status(answer)
            if self._commit is None:
                self._commit = _commit_told([*answer.history, answer])
            _receive(answer.iter_bytes(BLOCK), into, limit)


def _commit_told(answers: list[Any]) -> str:
    """Return the commit the hub names; a redirect to where the bytes lie no longer does, the hub's own answer did."""
    told = next((a.headers[COMMIT_HEADER] for a in answers if COMMIT_HEADER in a.headers), "")
    if not _COMMIT.fullmatch(told):
        raise Failure("refused", "an answer that names no commit", row=NO_HUB)
    return str(told)


def _receive(blocks: Iterable[bytes], into: Path, limit: int) -> None:
    received = 0
    with fileio.disk_errors(into):
        stream = into.open("wb")
    with stream:
        for block in blocks:
            received += len(block)
            if received > limit:
                raise Failure("damaged", f"more than {limit} bytes", expected=f"at most {limit} bytes")
            with fileio.disk_errors(into):
                stream.write(block)
