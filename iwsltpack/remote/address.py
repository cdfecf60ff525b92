"""Where an artifact lies, as a person types it.

    hf://OWNER/NAME[@REVISION][/FOLDER]   a model repository on the Hugging Face hub
    s3://BUCKET/PREFIX                    an S3 bucket, or anything that speaks its protocol
    https://HOST/PATH                     any web server, listing or not

Always text: `pathlib.Path` would make one slash of two.
"""

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from iwsltpack.documents.names import MANIFEST_NAME
from iwsltpack.errors import UsageError

SCHEMES = ("hf", "s3", "https", "http")
FORMS = "hf://OWNER/NAME[@REVISION][/FOLDER], s3://BUCKET/PREFIX or https://HOST/PATH"
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_SWALLOWED = re.compile(rf"(?:{'|'.join(SCHEMES)}):/(?!/)")
_HUB = re.compile(
    r"(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>refs/(?:pr|convert)/[\w.-]+|[^@/]+))?(?:/(?P<folder>.*))?"
)
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*(?:@[^@]+)?")
_OTHER_REPOSITORIES = ("datasets", "spaces", "buckets", "kernels")
_SECRETS = (
    (re.compile(r"(?<=://)[^/\s@]*@"), ""),
    (re.compile(r"(://[^\s?'\"<>]*)\?[^\s'\"<>]*"), r"\1"),
    (re.compile(r"\bhf_[A-Za-z0-9]{8,}"), "hf_…"),
    (re.compile(r"(?i)\bbearer\s+\S+"), "bearer …"),
)


@dataclass(frozen=True)
class HubAddress:
    """An artifact in a model repository on the hub, ``OWNER/NAME``.

    `revision` is a branch, tag or commit, None for the main branch; `folder` is where in the repository the artifact
    lies, empty for its top; `endpoint` the URL of another hub than HF_ENDPOINT names.
    """

    repo: str
    revision: str | None = None
    folder: str = ""
    endpoint: str | None = None

    @property
    def shown(self) -> str:
        """The address, as it may be printed."""
        revision = f"@{self.revision}" if self.revision else ""
        return f"hf://{self.repo}{revision}" + (f"/{self.folder}" if self.folder else "")

    @property
    def name(self) -> str:
        """A name for folders that have to do with this artifact."""
        last = (self.folder or self.repo).rpartition("/")[2]
        return f"{last}@{self.revision.replace('/', '-')}" if self.revision else last


@dataclass(frozen=True)
class UrlAddress:
    """An artifact below a URL; `shown` is the address as it may be printed.

    Never printed are `base`, the URL without query but with user name and password, and `query`, what follows the
    question mark, such as the signature that opens a whole folder.
    """

    scheme: Literal["s3", "http", "https"]
    base: str = field(repr=False)
    query: str = field(repr=False)
    shown: str

    @property
    def name(self) -> str:
        """A name for folders that have to do with this artifact."""
        return unquote(self.shown.rpartition("/")[2]).replace("/", "-").replace(":", "-")

    def url(self, relative: str) -> str:
        """Return the URL of one file below; to be used, not to be printed."""
        return f"{self.base}/{relative}" + (f"?{self.query}" if self.query else "")


Address = HubAddress | UrlAddress


def is_remote(where: object) -> bool:
    """Tell whether `where` is meant as an address and not as a path.

    >>> is_remote("hf://owner/name"), is_remote("artifacts/q3")
    (True, False)
    """
    return _SCHEME.fullmatch(str(where)) is not None


def is_hub_id(text: str) -> bool:
    """Tell whether `text` could be a hub id, with or without a revision.

    >>> is_hub_id("owner/name@v1"), is_hub_id("./owner/name")
    (True, False)
    """
    return _HUB_ID.fullmatch(text) is not None


def lost_a_slash(where: object) -> bool:
    """Tell whether `where` is an address that went through `pathlib.Path`."""
    return _SWALLOWED.match(str(where)) is not None


def parse(text: str) -> Address:
    """Take an address apart; one of an unknown scheme or form is a `UsageError` that quotes no secret."""
    found = _SCHEME.fullmatch(text)
    scheme = found["scheme"].lower() if found else ""
    if found is None or scheme not in SCHEMES:
        raise UsageError(
            "not an address artifacts can be read from", where=without_secrets(text), expected=FORMS
        )
    if re.search(r"[\s\x00-\x1f\\]", text):
        raise _malformed(text, "white space or a backslash")
    rest = found["rest"].rstrip("/").removesuffix(f"/{MANIFEST_NAME}").rstrip("/")
    if scheme == "hf":
        return _hub(rest, text)
    return _bucket(rest, text) if scheme == "s3" else _web(text)


def without_secrets(text: str) -> str:
    """Return `text` without user names, passwords, signatures and tokens in the addresses it quotes.

    >>> without_secrets("https://me:pass@host/a?sig=1")
    'https://host/a'
    """
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _hub(rest: str, text: str) -> HubAddress:
    found = _HUB.fullmatch(rest)
    if found is None or any(part in (".", "..") for part in found["repo"].split("/")):
        raise _malformed(text, "no OWNER/NAME")
    owner = found["repo"].partition("/")[0]
    if owner in _OTHER_REPOSITORIES:
        raise _malformed(text, f"a repository of {owner}; artifacts lie in model repositories")
    folder, revision = found["folder"] or "", found["revision"]
    _check_parts(folder, text)
    return HubAddress(found["repo"], None if revision is None else unquote(revision), folder)


def _bucket(rest: str, text: str) -> UrlAddress:
    bucket, _, prefix = rest.partition("/")
    if not bucket or "@" in bucket:
        raise _malformed(text, "no bucket" if not bucket else "an @ in the bucket's name")
    _check_parts(prefix, text)
    return UrlAddress("s3", f"s3://{rest}", "", f"s3://{rest}")


def _web(text: str) -> UrlAddress:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _malformed(text, without_secrets(str(error))) from None
    if not host:
        raise _malformed(text, "no host")
    path = parts.path.rstrip("/").removesuffix(f"/{MANIFEST_NAME}").rstrip("/")
    _check_parts(path.lstrip("/"), text)
    scheme: Literal["http", "https"] = "https" if parts.scheme.lower() == "https" else "http"
    shown = (f"[{host}]" if ":" in host else host) + (f":{port}" if port is not None else "")
    base, shown = (urlunsplit((scheme, place, path, "", "")) for place in (parts.netloc, shown))
    return UrlAddress(scheme, base, parts.query, shown)


def _check_parts(path: str, text: str) -> None:
    if path and any(unquote(part) in ("", ".", "..") for part in path.split("/")):
        raise _malformed(text, "an empty, . or .. part")


def _malformed(text: str, got: str) -> UsageError:
    return UsageError("a malformed address", where=without_secrets(text), expected=FORMS, got=got)
