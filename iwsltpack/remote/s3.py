"""Files of an S3 bucket, or of any store of that protocol, through botocore, which is an extra."""

import os
from contextlib import closing
from pathlib import Path
from typing import Any

from iwsltpack.errors import MissingDependency, how_to_install
from iwsltpack.remote import failure
from iwsltpack.remote.address import UrlAddress
from iwsltpack.remote.failure import Failure

BLOCK = 1 << 16


class BucketFiles:
    """Files of an S3 bucket; credentials, region and endpoint come from where every AWS tool takes them.

    One client, made anew in a forked process, which may not share connections.
    """

    login = "give credentials as for any AWS tool: AWS_PROFILE, AWS_ACCESS_KEY_ID …, or a role"

    def __init__(self, location: UrlAddress) -> None:
        try:
            import botocore  # type: ignore[import-untyped]  # noqa: F401
        except ImportError as error:
            raise MissingDependency(
                "s3:// needs a package that is not here",
                got="no botocore",
                fix=how_to_install("remote"),
            ) from error
        self._location = location
        self._signed = True
        self._made: tuple[int, Any] = (0, None)

    def _connect(self) -> Any:
        from botocore import UNSIGNED
        from botocore.config import Config  # type: ignore[import-untyped]
        from botocore.session import Session  # type: ignore[import-untyped]

        # How often and how long to try is decided in one place for all stores.
        once = {"total_max_attempts": 1, "mode": "standard"}
        config = Config(
            connect_timeout=failure.CONNECT_TIMEOUT_S,
            read_timeout=failure.READ_TIMEOUT_S,
            retries=once,
            max_pool_connections=32,
            signature_version=None if self._signed else UNSIGNED,
        )
        return Session().create_client("s3", config=config)

    def fetch(self, relative: str, into: Path, limit: int) -> None:
        """Write one file of at most `limit` bytes to `into`; raises `Failure`."""
        from botocore import exceptions

        try:
            self._fetch(relative, into, limit)
        except exceptions.NoCredentialsError as error:
            if not self._signed:
                raise _failure(error) from None
            # A public bucket wants requests without a signature, and this machine has nothing to sign with.
            self._signed, self._made = False, (0, None)
            self.fetch(relative, into, limit)
        except (exceptions.BotoCoreError, exceptions.ClientError) as error:
            raise _failure(error) from None

    def _fetch(self, relative: str, into: Path, limit: int) -> None:
        if self._made[0] != os.getpid():
            self._made = (os.getpid(), self._connect())
        bucket, _, key = self._location.url(relative).removeprefix("s3://").partition("/")
        client = self._made[1]
        found = failure.answered(
            lambda: client.get_object(Bucket=bucket, Key=key), lambda found: found["Body"].close()
        )
        with closing(found["Body"]) as body:
            failure.receive(body.iter_chunks(BLOCK), into, limit)


def _failure(error: Any) -> Failure:
    """Return what an exception of botocore means."""
    from botocore import exceptions

    text = f"{type(error).__name__}: {error}"
    if isinstance(error, exceptions.ClientError):
        told = error.response.get("ResponseMetadata", {})
        return failure.of_status(
            int(told.get("HTTPStatusCode", 0)),
            told.get("HTTPHeaders", {}),
            str(error.response.get("Error", {}).get("Message", "")),
        )
    if isinstance(error, exceptions.EndpointConnectionError | exceptions.ConnectTimeoutError):
        return Failure("unreachable", text)
    broken = exceptions.HTTPClientError | exceptions.IncompleteReadError | exceptions.ResponseStreamingError
    if isinstance(error, exceptions.ReadTimeoutError):
        return Failure("silent", text)
    if isinstance(error, broken):
        return Failure("transient", text)
    return Failure("denied" if "redential" in text else "refused", text)
