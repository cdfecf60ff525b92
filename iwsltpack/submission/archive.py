"""A submission's archive: the same files give the same bytes; a foreign one is read with suspicion.

The format is ZIP with entries stored, not deflated: no compressor's version can change a byte, and hypotheses are
small. Time stamps, modes and order are fixed.
"""

import io
import stat
import zipfile
from pathlib import Path
from typing import Final

from iwsltpack.errors import Problem, ValidationFailed
from iwsltpack.submission.validation_rules import problem
from iwsltpack.system import fileio

EPOCH: Final = (1980, 1, 1, 0, 0, 0)
MODE: Final = stat.S_IFREG | 0o644
MAX_ENTRIES: Final = 1000
MAX_TOTAL: Final = 1 << 30
"""Bytes an archive may unpack to: far above any submission's text."""
MAX_RATIO: Final = 200
RATIO_FROM: Final = 1 << 20
"""Entries smaller than this may be as compressible as they like."""
REGULAR: Final = (0, stat.S_IFREG)


def make_archive(folder: str, files: dict[str, bytes]) -> bytes:
    """Return the archive of a package: `files` by their path in it, all below one `folder`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{folder}/{name}", date_time=EPOCH)
            entry.create_system = 3
            entry.external_attr = MODE << 16
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def unsafe_name(name: str) -> str | None:
    """Return why a path from outside must not be used, or None where it stays inside its folder.

    >>> unsafe_name("../evil")
    "leaves the folder with '..'"
    """
    if not name or "\0" in name:
        return "is empty or holds a NUL"
    if name.startswith(("/", "\\")) or (len(name) > 1 and name[1] == ":"):
        return "is absolute"
    parts = name.replace("\\", "/").split("/")
    if ".." in parts:
        return "leaves the folder with '..'"
    if "\\" in name:
        return "holds a backslash"
    return "holds an empty or '.' part" if "" in parts or "." in parts else None


def read_archive(path: Path) -> dict[str, bytes]:
    """Return the files of an archive by name, after checking that none can do harm.

    `ValidationFailed` holds every problem: no ZIP, ``..``, absolute names, links, special files, encryption, duplicate
    names, more entries or bytes than any submission has, or an entry that unpacks to far more than it should.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if problems := _inspect(archive.infolist(), path):
                raise ValidationFailed("the archive is not safe to unpack", problems, where=path)
            return {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError) as error:
        found = problem("submission.hostile", f"not a sound ZIP archive: {error}", path=path)
        raise ValidationFailed("the archive cannot be read", [found], where=path) from error


def _inspect(entries: list[zipfile.ZipInfo], path: Path) -> list[Problem]:
    reasons = []
    if len(entries) > MAX_ENTRIES:
        reasons.append(f"{len(entries)} entries, at most {MAX_ENTRIES} are expected")
    if (total := sum(entry.file_size for entry in entries)) > MAX_TOTAL:
        reasons.append(f"unpacks to {total} bytes, at most {MAX_TOTAL} are expected")
    seen: set[str] = set()
    for entry in entries[:MAX_ENTRIES]:
        reasons += [f"{entry.filename!r}: {reason}" for reason in _entry_reasons(entry, seen)]
        seen.add(entry.filename.lower())
    return [problem("submission.hostile", reason, path=path) for reason in reasons]


def _entry_reasons(entry: zipfile.ZipInfo, seen: set[str]) -> list[str]:
    kind, packed, size = stat.S_IFMT(entry.external_attr >> 16), entry.compress_size, entry.file_size
    checks = [
        (unsafe_name(entry.filename.rstrip("/")), True),
        ("is a link or a special file", kind not in (*REGULAR, stat.S_IFDIR)),
        ("is encrypted", bool(entry.flag_bits & 1)),
        ("stands in the archive twice", entry.filename.lower() in seen),
        (f"unpacks from {packed} to {size} bytes", size > max(RATIO_FROM, MAX_RATIO * max(packed, 1))),
    ]
    return [reason for reason, wrong in checks if wrong and reason]


def checksum_lines(files: dict[str, bytes]) -> bytes:
    """Return ``CHECKSUMS.sha256`` of the given files, as ``sha256sum --check`` reads it."""
    return "".join(f"{fileio.sha256_bytes(files[name])}  {name}\n" for name in sorted(files)).encode()


def parse_checksums(data: bytes) -> dict[str, str]:
    """Return file name -> SHA-256 of a checksum file; `ValueError` tells the line that is none."""
    found: dict[str, str] = {}
    for number, line in enumerate(data.decode("utf-8").splitlines(), 1):
        digest, gap, name = line.partition("  ")
        if len(digest) != 64 or not gap or set(digest) - set("0123456789abcdef"):
            raise ValueError(f"line {number} is not 'SHA-256, two spaces, name'")
        if (reason := unsafe_name(name)) is not None or name in found:
            raise ValueError(f"line {number}: {name!r} {reason or 'stands there twice'}")
        found[name] = digest
    return found
