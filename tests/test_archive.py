"""Archives: the same bytes every time, and none that could do harm is accepted."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from iwsltpack.errors import ValidationFailed
from iwsltpack.submission.archive import (
    checksum_lines,
    make_archive,
    parse_checksums,
    read_archive,
    unsafe_name,
)
from iwsltpack.submission.validation import validate

FILES = {"b.txt": b"b\n", "a/c.txt": "大家好\n".encode()}


def test_an_archive_holds_the_files_and_gives_them_back(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(make_archive("x", FILES))
    assert read_archive(path) == {"x/b.txt": b"b\n", "x/a/c.txt": "大家好\n".encode()}


def test_the_same_files_give_the_same_bytes_in_any_order() -> None:
    assert make_archive("x", FILES) == make_archive("x", dict(reversed(FILES.items())))


def test_nothing_of_the_day_or_the_machine_is_in_it() -> None:
    with zipfile.ZipFile(io.BytesIO(make_archive("x", FILES))) as archive:
        for entry in archive.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert entry.external_attr >> 16 == stat.S_IFREG | 0o644
            assert entry.create_system == 3


def write(path: Path, entries: list[tuple[str, bytes, int]], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data, mode in entries:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            entry.compress_type = compression
            archive.writestr(entry, data)


def hostile() -> dict[str, tuple[Callable[[Path], None], str]]:
    def one(name: str, mode: int = 0) -> Callable[[Path], None]:
        return lambda path: write(path, [(name, b"x", mode)])

    def twice(path: Path) -> None:
        with pytest.warns(UserWarning, match="Duplicate name"):
            write(path, [("x/a", b"1", 0), ("x/a", b"2", 0)])

    def bomb(path: Path) -> None:
        write(path, [("x/a", b"\0" * (8 << 20), 0)], zipfile.ZIP_DEFLATED)

    def many(path: Path) -> None:
        write(path, [(f"x/{number}", b"", 0) for number in range(1001)])

    def liar(path: Path) -> None:
        write(path, [("x/a", b"y" * 100, 0)])
        data = path.read_bytes().replace((100).to_bytes(4, "little") * 2, (9).to_bytes(4, "little") * 2)
        path.write_bytes(data)

    def huge(path: Path) -> None:
        write(path, [("x/a", b"z", 0)])
        data = bytearray(path.read_bytes())
        at = data.rindex(b"PK\x01\x02") + 24
        data[at : at + 4] = (2 << 30).to_bytes(4, "little")
        path.write_bytes(bytes(data))

    def encrypted(path: Path) -> None:
        write(path, [("x/a", b"z", 0)])
        data = bytearray(path.read_bytes())
        data[data.rindex(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(bytes(data))

    return {
        "parent": (one("x/../../evil"), "leaves the folder with '..'"),
        "absolute": (one("/etc/passwd"), "is absolute"),
        "drive": (one("C:/evil"), "is absolute"),
        "backslash": (one("x\\..\\evil"), "leaves the folder with '..'"),
        "dot": (one("x/./a"), "holds an empty or '.' part"),
        "link": (one("x/a", stat.S_IFLNK | 0o777), "is a link or a special file"),
        "device": (one("x/a", stat.S_IFCHR | 0o600), "is a link or a special file"),
        "twice": (twice, "stands in the archive twice"),
        "case": (lambda path: write(path, [("x/a", b"", 0), ("x/A", b"", 0)]), "stands in the archive twice"),
        "bomb": (bomb, "unpacks from"),
        "many": (many, "1001 entries"),
        "huge": (huge, "unpacks to 2147483648 bytes"),
        "liar": (liar, "sound ZIP archive"),
        "encrypted": (encrypted, "is encrypted"),
        "garbage": (
            lambda path: path.write_bytes(b"PK\x03\x04 nonsense") and None,
            "not a sound ZIP archive",
        ),
    }


@pytest.mark.parametrize("case", hostile())
def test_a_hostile_archive_is_refused_with_its_reason(tmp_path: Path, case: str) -> None:
    maker, reason = hostile()[case]
    path = tmp_path / "x.zip"
    maker(path)
    with pytest.raises(ValidationFailed) as raised:
        read_archive(path)
    assert reason in str(raised.value)
    kind, problems = validate(path)
    assert kind == "archive"
    assert {problem.rule for problem in problems} == {"submission.hostile"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.zip"]


def test_a_tar_is_no_submission(tmp_path: Path) -> None:
    import tarfile

    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("../evil"), io.BytesIO())
    assert [problem.rule for problem in validate(path)[1]] == ["submission.hostile"]


def test_an_archive_of_two_folders_is_no_submission(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    write(path, [("a/x", b"", 0), ("b/x", b"", 0)])
    assert [problem.rule for problem in validate(path)[1]] == ["submission.archive"]


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/../b", "a//b", "./a", "a\\b", "C:a", "a\0b"])
def test_a_path_that_is_not_plainly_inside_is_refused(name: str) -> None:
    assert unsafe_name(name) is not None


def test_checksums_there_and_back() -> None:
    lines = checksum_lines(FILES)
    assert list(parse_checksums(lines)) == ["a/c.txt", "b.txt"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abc  a\n", "line 1 is not"),
        (f"{'0' * 64} a\n", "line 1 is not"),
        (f"{'0' * 64}  ../a\n", "leaves the folder"),
        (f"{'0' * 64}  a\n{'0' * 64}  a\n", "line 2: 'a' stands there twice"),
    ],
)
def test_checksums_that_are_none_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_checksums(text.encode())
