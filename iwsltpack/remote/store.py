"""One store, whichever scheme: files by their path, with patience where patience helps."""

from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Protocol

from iwsltpack.documents.names import MANIFEST_NAME
from iwsltpack.errors import ArtifactError
from iwsltpack.remote.address import Address, HubAddress, UrlAddress
from iwsltpack.remote.failure import Failure, as_error, persist


class RemoteFiles(Protocol):
    """Files below a root; `fetch` may be called from several threads once a first call has returned."""

    login: str
    """What to do where the store lets nobody in."""

    def fetch(self, relative: str, into: Path, limit: int) -> None:
        """Write one file of at most `limit` bytes to `into`; raises `Failure`."""


class Store:
    """An artifact's files at their source, `location`."""

    def __init__(self, location: Address) -> None:
        self.location = location
        self._files = _connect(location)
        self._spoken = False

    def fetch(
        self,
        relative: str,
        into: Path,
        limit: int,
        check: Callable[[Path], None],
        stop: Event | None = None,
    ) -> None:
        """Write one file, `relative` to the artifact's top, to `into`; tried again as long as that makes sense.

        A store that sends more than `limit` bytes is cut off. `check` looks at what came, and raises a `Failure` of
        kind ``damaged`` if it is not what it should be. Once `stop` is set there is no further try.

        A file that is missing at its source, or damaged however often it is fetched, is an `ArtifactError`; a store
        that does not let us in, an `InputError`; one that cannot be reached, keeps failing or refuses, a
        `ResourceError`, as is a full disk. If HF_HUB_OFFLINE forbids to ask, that is an `OfflineError`.
        """

        def once() -> None:
            self._files.fetch(relative, into, limit)
            self._spoken = True
            check(into)

        try:
            persist(once, patient=self._spoken, stop=stop)
        except Failure as failure:
            wrong = failure
        else:
            return
        # Raised here, where no context is left that could hold an address with its password.
        where = f"{self.location.shown}/{relative}"
        if wrong.kind == "missing" and relative == MANIFEST_NAME:
            raise ArtifactError("no artifact here", where=where, got=wrong.got, fix="check the address")
        raise as_error(wrong, where, login=self._files.login)


def _connect(location: Address) -> RemoteFiles:
    if isinstance(location, UrlAddress) and location.scheme == "s3":
        from iwsltpack.remote.s3 import BucketFiles

        return BucketFiles(location)
    from iwsltpack.remote.http import HubFiles, WebFiles

    return HubFiles(location) if isinstance(location, HubAddress) else WebFiles(location)
