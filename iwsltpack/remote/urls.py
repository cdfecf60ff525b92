"""Files below a URL, through fsspec: aiohttp for the web, s3fs for buckets. Both are extras."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

from iwsltpack.errors import MissingDependency
from iwsltpack.remote import failure
from iwsltpack.remote.failure import Failure
from iwsltpack.system import fileio

if TYPE_CHECKING:
    from pathlib import Path

    from iwsltpack.remote.location import UrlLocation

INSTALL = "pip install 'iwsltpack[remote]'"


class _UrlFiles:
    """What both have in common: one file system, made anew in a forked process, which may not share its threads."""

    def __init__(self, location: UrlLocation) -> None:
        self._location = location
        self._made: tuple[int, Any] = (os.getpid(), self._connect())

    def _connect(self) -> Any:
        raise NotImplementedError

    def _reraise(self, error: Exception) -> NoReturn:
        raise NotImplementedError

    def fetch(self, relative: str, into: Path, limit: int) -> None:
        """Write one file of at most `limit` bytes to `into`; raises `Failure`."""
        if self._made[0] != os.getpid():
            self._made = (os.getpid(), self._connect())
        try:
            self._made[1].get_file(self._location.url(relative), str(into), callback=_at_most(limit))
        except Failure:
            raise
        except Exception as error:  # noqa: BLE001  # whatever the libraries raise is told apart below
            self._reraise(error)


class WebFiles(_UrlFiles):
    """Files of a web server."""

    login = "give user and password in the address, in ~/.netrc, or an address that is signed"

    def _connect(self) -> Any:
        try:
            import aiohttp
            from fsspec.implementations.http import HTTPFileSystem  # type: ignore[import-untyped]
        except ImportError as error:
            raise _missing("aiohttp", "https://") from error
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=failure.CONNECT_TIMEOUT_S, sock_read=failure.READ_TIMEOUT_S
        )
        # trust_env: proxies and ~/.netrc, as every other program of this machine uses them.
        return HTTPFileSystem(client_kwargs={"timeout": timeout, "trust_env": True}, skip_instance_cache=True)

    def _reraise(self, error: Exception) -> NoReturn:
        import aiohttp

        cause = _first(error, aiohttp.ClientError)
        text = f"{type(cause).__name__}: {cause}"
        if isinstance(error, FileNotFoundError):
            raise Failure("missing", "HTTP 404") from None
        if isinstance(cause, aiohttp.ClientResponseError):
            raise failure.of_status(cause.status, cause.headers, cause.message) from None
        if isinstance(cause, aiohttp.InvalidURL):
            raise Failure("refused", "not a URL") from None
        if isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            raise Failure("unreachable", text) from None
        if isinstance(cause, aiohttp.ClientError | TimeoutError):
            raise Failure("transient", text) from None
        _not_of_the_network(error)


class BucketFiles(_UrlFiles):
    """Files of an S3 bucket; credentials, region and endpoint come from where every AWS tool takes them."""

    login = "give credentials as for any AWS tool: AWS_PROFILE, AWS_ACCESS_KEY_ID …, or a role"

    def __init__(self, location: UrlLocation) -> None:
        self._anonymous = False
        super().__init__(location)

    def _connect(self) -> Any:
        try:
            from s3fs import S3FileSystem  # type: ignore[import-untyped]
        except ImportError as error:
            raise _missing("s3fs", "s3://") from error
        files = S3FileSystem(
            anon=self._anonymous,
            config_kwargs={
                "connect_timeout": failure.CONNECT_TIMEOUT_S,
                "read_timeout": failure.READ_TIMEOUT_S,
                "retries": {"total_max_attempts": 1, "mode": "standard"},
            },
            max_concurrency=1,
            skip_instance_cache=True,
        )
        files.retries = 1  # how often and how long to try is decided in one place for all stores
        return files

    def fetch(self, relative: str, into: Path, limit: int) -> None:
        """Write one file of at most `limit` bytes to `into`; raises `Failure`."""
        try:
            super().fetch(relative, into, limit)
        except _NoCredentials:
            # A public bucket wants requests without a signature, and this machine has nothing to sign with.
            self._anonymous = True
            self._made = (os.getpid(), self._connect())
            super().fetch(relative, into, limit)

    def _reraise(self, error: Exception) -> NoReturn:
        import aiohttp
        from botocore import exceptions  # type: ignore[import-untyped]

        cause = _first(error, exceptions.BotoCoreError, exceptions.ClientError, aiohttp.ClientError)
        text = f"{type(cause).__name__}: {cause}"
        if isinstance(cause, exceptions.NoCredentialsError) and not self._anonymous:
            raise _NoCredentials
        if isinstance(cause, exceptions.ClientError):
            told = cause.response.get("ResponseMetadata", {})
            answer = cause.response.get("Error", {})
            raise failure.of_status(
                int(told.get("HTTPStatusCode", 0)),
                told.get("HTTPHeaders", {}),
                str(answer.get("Message", "")),
            ) from None
        if isinstance(error, FileNotFoundError):
            raise Failure("missing", "no such object") from None
        if isinstance(error, PermissionError) and error.errno is None:
            raise Failure("denied", text) from None
        unreachable = (
            exceptions.EndpointConnectionError | exceptions.ConnectTimeoutError | aiohttp.ClientConnectorError
        )
        if isinstance(cause, unreachable):
            raise Failure("unreachable", text) from None
        broken = (
            exceptions.HTTPClientError | exceptions.IncompleteReadError | exceptions.ResponseStreamingError
        )
        if isinstance(cause, broken | aiohttp.ClientError | TimeoutError):
            raise Failure("transient", text) from None
        if isinstance(cause, exceptions.BotoCoreError):
            raise Failure("denied" if "redential" in text else "refused", text) from None
        _not_of_the_network(error)


class _NoCredentials(Exception):
    """There is nothing to sign a request with."""


def _missing(package: str, scheme: str) -> MissingDependency:
    return MissingDependency(f"{scheme} needs a package that is not here", got=f"no {package}", fix=INSTALL)


def _at_most(limit: int) -> Any:
    """Return a callback that breaks a transfer off once it is longer than it may be."""
    from fsspec.callbacks import Callback  # type: ignore[import-untyped]

    class AtMost(Callback):  # type: ignore[misc]
        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            if self.value > limit:
                raise Failure("damaged", f"more than {limit} bytes", expected=f"at most {limit} bytes")

    return AtMost()


def _first(error: BaseException, *kinds: type[BaseException]) -> BaseException:
    """Return what a library below raised: fsspec and s3fs wrap it, and it wraps what the system said."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, kinds):
        cause = cause.__cause__
    return cause or error


def _not_of_the_network(error: Exception) -> NoReturn:
    """Raise what remains: the local disk's refusals as they are told everywhere, anything else as a refusal."""
    if isinstance(error, OSError):
        with fileio.disk_errors("the cache"):
            raise error
    raise Failure("refused", f"{type(error).__name__}: {error}") from None
