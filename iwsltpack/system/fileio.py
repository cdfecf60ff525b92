"""Atomic, deterministic files: every write goes to a sibling temporary file, is synced, then renamed."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from iwsltpack.errors import InputError, ResourceError

CACHE_VARIABLE = "IWSLTPACK_CACHE"
"""Environment variable that names another place for the cache."""


def cache_directory() -> Path:
    """Return the folder of everything iwsltpack keeps between runs."""
    if told := os.environ.get(CACHE_VARIABLE):
        return Path(told).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "iwsltpack"


def canonical_json(document: Any, *, indent: int | None = 1) -> bytes:
    """Serialise to the one byte sequence used on disk: UTF-8, sorted keys, trailing newline.

    NaN and infinity, which JSON does not have, are a `ValueError`.
    """
    separators = (",", ": ") if indent is not None else (",", ":")
    text = json.dumps(
        document, ensure_ascii=False, sort_keys=True, indent=indent, separators=separators, allow_nan=False
    )
    return text.encode() + b"\n"


def read_json(path: Path, *, limit: int | None = None) -> Any:
    """Read one JSON document; a missing or malformed file is an `InputError`. For `limit` see `read_bytes`."""
    return parse_json(read_bytes(path, limit=limit), path)


def parse_json(data: bytes, where: object) -> Any:
    """Parse one JSON document that came from `where`; a malformed one is an `InputError`."""
    try:
        return json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError("not UTF-8", where=where, expected="a UTF-8 JSON file", got=str(error)) from error
    except json.JSONDecodeError as error:
        raise InputError(
            "not valid JSON", where=f"{where}:{error.lineno}", expected="a JSON document", got=error.msg
        ) from error
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or brackets nested thousands deep: JSON by grammar, hostile by intent.
        raise InputError("not usable JSON", where=where, got=str(error)) from error


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; one that is missing or malformed is an `InputError`."""
    try:
        return tomllib.loads(read_bytes(path).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError("not valid TOML", where=path, got=str(error)) from error


def read_bytes(path: Path, *, limit: int | None = None, first: int = -1) -> bytes:
    """Read a file whole, or its `first` bytes; every reason it cannot be read becomes an `InputError`.

    With `limit`, anything but a regular file of at most that many bytes is refused before it is opened: a
    pipe would block for ever, a sparse file fill the memory.
    """
    try:
        if limit is not None and not stat.S_ISREG((found := path.stat()).st_mode):
            raise InputError("not a regular file", where=path)
        if limit is not None and found.st_size > limit:
            raise InputError(
                "the file is too large for what it is",
                where=path,
                expected=f"at most {limit} bytes",
                got=f"{found.st_size} bytes",
            )
        with path.open("rb") as stream:
            return stream.read(first)
    except OSError as error:
        raise InputError("cannot read the file", where=path, got=error.strerror or str(error)) from error


def read_text(path: Path) -> str:
    """Read a UTF-8 text file, a byte order mark left out; anything else is an `InputError` that names the line."""
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            "not UTF-8",
            where=path,
            expected="UTF-8 text",
            got=f"byte 0x{data[error.start]:02x} on line {line}",
            fix="convert it: iconv -f ENCODING -t UTF-8 FILE",
        ) from error


def read_lines(path: Path) -> tuple[str, ...]:
    """Read the lines of a text file as sacrebleu does: white space at the end of a line does not count.

    Only a line feed ends a line, so that the count is that of every other tool. A file that is not readable, not UTF-8
    or without a line is an `InputError`.
    """
    lines = read_text(path).split("\n")
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise InputError("the file is empty", where=path, expected="one segment a line")
    return tuple(line.rstrip() for line in lines)


def sha256_bytes(data: bytes | memoryview) -> str:
    """Return the SHA-256 of `data` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def crc32c(data: memoryview) -> str:
    """Return the CRC-32C of `data` as 8 hexadecimal digits: every damage of up to 32 bits in a row changes it."""
    import google_crc32c
    import numpy as np

    # The extension takes an array as it is, and no memoryview.
    return f"{google_crc32c.value(np.frombuffer(data, np.uint8)):08x}"


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits; the file is never in memory whole."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fsync(path: Path) -> None:
    """Make a file's bytes durable, or a rename or a new name inside a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def disk_errors(path: object) -> Iterator[None]:
    """Turn the operating system's refusals, in the writing of `path`, into one clear `ResourceError`."""
    try:
        yield
    except OSError as error:
        again, fix, where = "run the same command again", None, path
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            what, fix = "no space left to write", f"free space and {again}"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            what, fix = "not allowed to write here", "see who owns it, and the folders above it: ls -ld"
        else:
            what, where = "the operating system refused a file operation", error.filename or path
            fix = f"see that the path is right and its disk is sound, then {again}"
        raise ResourceError(what, where=where, got=error.strerror or str(error), fix=fix) from error


@contextlib.contextmanager
def atomic_open(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary sibling for writing; on success it becomes `path`, on any error it disappears.

    A device or a pipe, which a file would take the place of, is an `InputError`; so is `-`, which other programs take
    for their output.
    """
    with disk_errors(path):
        # /dev/stdout is a link, and may lead to a file: another file in its place would stay there, for every program.
        special = str(path) == "-" or path.parent.resolve() == Path("/dev")
        if special or (path.exists() and not path.is_file() and not path.is_dir()):
            raise InputError(
                "not a file that can be replaced", where=path, fix="name a file, and copy it there"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        fsync(path.parent)


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Give a new folder to fill beside `path`; on success it becomes `path`, on any error it disappears."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))
        try:
            folder.chmod(0o755)
            yield folder
            folder.rename(path)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        fsync(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_open(path) as stream:
        stream.write(data)


def create_bytes(path: Path, data: bytes) -> None:
    """Write a file that is not there yet, whole; of several who do so at once, on any machines, the first wins."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
            os.fchmod(stream.fileno(), 0o644)
            # Unlike a rename, a link never replaces what somebody else wrote since one looked.
            with contextlib.suppress(FileExistsError):
                os.link(stream.name, path)
        fsync(path.parent)


def write_json(path: Path, document: Any) -> None:
    """Write `document` to `path` atomically, as `canonical_json`."""
    write_bytes(path, canonical_json(document))


def write_lines(path: Path, lines: list[str]) -> None:
    """Write text lines to `path` atomically: UTF-8, LF, one trailing newline.

    A line that holds a line feed or carriage return is a `ValueError`: it would shift every line after it.
    """
    if broken := next((line for line in lines if "\n" in line or "\r" in line), None):
        raise ValueError(f"line {lines.index(broken) + 1} holds a line break: {broken!r}")
    write_bytes(path, "".join(f"{line}\n" for line in lines).encode())
