"""Addresses as people type them: taken apart, named, and never printed with what is secret in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from iwsltpack.artifact.location import hub_address, is_address, local_copy, locate, name_of, shown
from iwsltpack.errors import ArtifactError, UsageError
from iwsltpack.remote.address import HubAddress, UrlAddress, is_remote, parse, without_secrets


@pytest.mark.parametrize(
    ("text", "location", "name"),
    [
        ("hf://owner/name", HubAddress("owner/name"), "name"),
        ("HF://owner/na.me-1_2/", HubAddress("owner/na.me-1_2"), "na.me-1_2"),
        ("hf://owner/name@v1", HubAddress("owner/name", "v1"), "name@v1"),
        ("hf://owner/name@v1/sub/q3", HubAddress("owner/name", "v1", "sub/q3"), "q3@v1"),
        ("hf://owner/name/q3/iwsltpack.json", HubAddress("owner/name", None, "q3"), "q3"),
        ("hf://owner/name@refs/pr/7/q3", HubAddress("owner/name", "refs/pr/7", "q3"), "q3@refs-pr-7"),
        ("hf://owner/name@a%2Fb", HubAddress("owner/name", "a/b"), "name@a-b"),
    ],
)
def test_hub_addresses(text: str, location: HubAddress, name: str) -> None:
    assert parse(text) == location
    assert (name_of(text), location.name) == (name, name)
    assert parse(location.shown.replace("a/b", "a%2Fb")) == location


@pytest.mark.parametrize(
    ("text", "url", "name"),
    [
        ("s3://bucket", "s3://bucket/x", "bucket"),
        ("s3://bucket/models/q3/", "s3://bucket/models/q3/x", "q3"),
        ("https://host", "https://host/x", "host"),
        ("https://host:8443/a/b%20c/", "https://host:8443/a/b%20c/x", "b c"),
        ("http://[::1]:80/q3/iwsltpack.json", "http://[::1]:80/q3/x", "q3"),
        ("https://host/q3?sig=1%2B2&x=y", "https://host/q3/x?sig=1%2B2&x=y", "q3"),
        ("https://me:pass@host/q3", "https://me:pass@host/q3/x", "q3"),
    ],
)
def test_urls_of_files_keep_query_and_login_and_their_names_do_not(text: str, url: str, name: str) -> None:
    location = parse(text)
    assert isinstance(location, UrlAddress)
    assert location.url("x") == url
    assert location.name == name
    for visible in (location.shown, repr(location), shown(text)):
        assert "pass" not in visible
        assert "sig" not in visible


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("ftp://host/a", "not an address artifacts can be read from"),
        ("file:///srv/a", "not an address artifacts can be read from"),
        ("gs://bucket/a", "not an address artifacts can be read from"),
        ("hf://owner", "no OWNER/NAME"),
        ("hf://", "no OWNER/NAME"),
        ("hf://../name", "no OWNER/NAME"),
        ("hf://owner/name@", "no OWNER/NAME"),
        ("hf://datasets/owner/name", "a repository of datasets"),
        ("hf://owner/name/a/../b", "an empty, . or .. part"),
        ("hf://owner/name/a//b", "an empty, . or .. part"),
        ("hf://owner/name/%2e%2e/b", "an empty, . or .. part"),
        ("s3://", "no bucket"),
        ("s3:///a", "no bucket"),
        ("s3://key:secret@bucket/a", "an @ in the bucket's name"),
        ("s3://bucket/a/../../b", "an empty, . or .. part"),
        ("https://", "no host"),
        ("https:///a", "no host"),
        ("https://host:port/a", "Port could not be cast"),
        ("https://host/a/../b", "an empty, . or .. part"),
        ("https://host/a b", "white space or a backslash"),
        ("https://host\\a", "white space or a backslash"),
        ("hf://owner/name\n", "white space or a backslash"),
    ],
)
def test_a_malformed_address_is_told_with_the_forms_there_are(text: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as error:
        locate(text)
    assert "hf://OWNER/NAME" in str(error.value)
    assert "secret" not in str(error.value)


def test_a_folder_is_a_folder(tmp_path: Path) -> None:
    for local in ("artifacts/q3", "./hf", "/srv/a", "C:/a", tmp_path):
        assert not is_remote(local)
        assert not is_address(local)
    assert local_copy("artifacts/q3") == Path("artifacts/q3")
    assert name_of(tmp_path / "a" / ".." / "q3") == "q3"
    with pytest.raises(ArtifactError, match="no such artifact"):
        locate(tmp_path / "none")


def test_an_address_that_went_through_path_is_recognised() -> None:
    with pytest.raises(UsageError, match="an address with one slash") as error:
        locate(Path("hf://owner/name"))
    assert "give it as text" in str(error.value)


def test_a_bare_hub_id_is_meant_for_the_hub_only_where_no_folder_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert hub_address("owner/name") == "hf://owner/name"
    assert hub_address("owner/name@v1") == "hf://owner/name@v1"
    for other in ("./owner/name", "owner", "a/b/c", "/owner/name", "../owner/name", "https://host/a"):
        assert hub_address(other) == other
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert hub_address("owner/name") == "owner/name"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("GET https://u:p@host/a?X-Amz-Signature=1 failed", "GET https://host/a failed"),
        ("('http://host/a?sig=x',)", "('http://host/a',)"),
        ("Authorization: Bearer abc.def", "Authorization: bearer …"),
        ("token hf_abcdefghijklmnop is wrong", "token hf_… is wrong"),
        ("what?", "what?"),
    ],
)
def test_secrets_are_taken_out_of_texts(text: str, clean: str) -> None:
    assert without_secrets(text) == clean
