"""Artifacts in an S3 bucket, with the credentials and the endpoint that every AWS tool takes from the environment."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_store import HttpStore, isolate
from moto.server import ThreadedMotoServer

from iwsltpack.artifact.integrity import verify_artifact
from iwsltpack.artifact.location import local_copy, locate
from iwsltpack.artifact.reader import open_artifact
from iwsltpack.artifact.sizes import measure
from iwsltpack.errors import ArtifactError, InputError, ResourceError
from iwsltpack.remote import failure

GOLDEN = Path(__file__).parent / "golden" / "v1"
LAYER = "block.mlp.up_proj.weight"
CHUNK = f"weights.zarr/{LAYER}/c/0/0"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A stand-in for S3 with one bucket, `models`, that holds the golden artifacts."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    moto.start()
    host, port = moto.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        moto.stop()


@pytest.fixture(autouse=True)
def environment(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    isolate(monkeypatch, tmp_path)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "verysecretkey")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    upload(server, "models", GOLDEN)
    yield
    bucket(server).delete_objects(
        Bucket="models", Delete={"Objects": [{"Key": name} for name in keys(server, "models")]}
    )


def bucket(server: str) -> object:
    import boto3

    return boto3.client("s3", endpoint_url=server)


def keys(server: str, name: str) -> list[str]:
    return [entry["Key"] for entry in bucket(server).list_objects_v2(Bucket=name)["Contents"]]


def upload(server: str, name: str, folder: Path) -> None:
    client = bucket(server)
    client.create_bucket(Bucket=name)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "paper" not in path.parts:
            client.put_object(
                Bucket=name,
                Key=path.relative_to(folder).as_posix(),
                Body=path.read_bytes(),
                ACL="public-read",
            )


def test_a_bucket_reads_like_the_folder() -> None:
    remote, local = open_artifact("s3://models/zstd"), open_artifact(GOLDEN / "zstd")
    for name in local.names():
        assert remote.tensor(name).tobytes() == local.tensor(name).tobytes()
    assert measure("s3://models/pcodec/") == measure(GOLDEN / "pcodec")
    assert verify_artifact("s3://models/zstd") == []
    assert verify_artifact(local_copy("s3://models/pcodec")) == []


def test_a_damaged_object_is_one_clear_error(server: str) -> None:
    remote = open_artifact("s3://models/zstd")
    data = (GOLDEN / "zstd" / CHUNK).read_bytes()
    for broken in (data[:-1] + b"\0", data[:-1], data + b"\0"):
        bucket(server).put_object(Bucket="models", Key=f"zstd/{CHUNK}", Body=broken)
        with pytest.raises(ArtifactError, match="damaged, at its source or on its way") as error:
            remote.tensor(LAYER)
        assert f"s3://models/zstd/{CHUNK}" in str(error.value)
    bucket(server).delete_object(Bucket="models", Key=f"zstd/{CHUNK}")
    with pytest.raises(ArtifactError, match="missing at its source"):
        remote.tensor(LAYER)
    bucket(server).put_object(Bucket="models", Key=f"zstd/{CHUNK}", Body=data)
    assert remote.tensor(LAYER).shape == (24, 10)


@pytest.mark.parametrize("address", ["s3://models/none", "s3://no-such-bucket-here/zstd", "s3://models"])
def test_what_is_not_there_is_no_artifact(address: str) -> None:
    with pytest.raises(ArtifactError, match="no artifact here"):
        locate(address)


def test_a_bucket_without_a_name_that_can_be_is_refused() -> None:
    with pytest.raises(ResourceError, match="the store refuses the request"):
        locate("s3://a*b/zstd")


def test_a_public_bucket_needs_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert open_artifact("s3://models/zstd").tensor(LAYER).shape == (24, 10)


def test_half_a_login_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InputError, match="not allowed to read this") as error:
        locate("s3://models/zstd")
    assert "AWS_ACCESS_KEY_ID" in str(error.value)


def test_no_network_is_told_at_once_and_no_key_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(failure, "FIRST_PAUSE_S", 60.0)
    started = time.monotonic()
    with pytest.raises(ResourceError, match="the store cannot be reached") as error:
        locate("s3://models/zstd")
    assert time.monotonic() - started < 10
    assert "verysecretkey" not in f"{error.value}{error.value.to_json()}"


@pytest.mark.parametrize(
    ("status", "kind", "complaint"),
    [
        (503, ResourceError, "the store keeps failing"),
        (403, InputError, "not allowed to read this"),
    ],
)
def test_what_a_server_answers_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, kind: type[Exception], complaint: str
) -> None:
    with HttpStore(tmp_path) as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL", store.url)
        store.fail("", times=None, status=status)
        with pytest.raises(kind, match=complaint):
            locate("s3://models/zstd")
        assert len(store.requests) == (5 if status == 503 else 1)
        store.heal()
        store.forget()
        store.fail("", times=None, reset=True)
        with pytest.raises(ResourceError, match=r"the store keeps failing|cannot be reached"):
            locate("s3://models/zstd")
