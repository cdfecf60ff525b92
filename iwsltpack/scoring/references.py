"""References, with sources and documents where the file has them: plain text, CSV manifests, IWSLT's XML."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from iwsltpack.errors import InputError, UsageError
from iwsltpack.scoring.texts import decode_text, read_lines
from iwsltpack.scoring.xml_texts import read_xml
from iwsltpack.system import fileio

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SOURCE_COLUMNS = ("source_en", "source", "src")
PLAIN_TARGETS = ("target", "reference", "ref")
DOCUMENT_COLUMNS = ("document", "doc", "talk")


@dataclass(frozen=True, kw_only=True)
class References:
    """What the segments should say.

    Attributes
    ----------
    name
        The file's.
    lines
        One reference a segment, in output order.
    sources
        What is said in each segment, or None.
    ids, documents
        Each segment's name, and the talk it belongs to, or None.
    language
        Two letters, where the file tells.
    """

    name: str
    lines: tuple[str, ...]
    sources: tuple[str, ...] | None = None
    ids: tuple[str, ...] | None = None
    documents: tuple[str, ...] | None = None
    language: str | None = None

    def select(self, ids: Sequence[str]) -> References:
        """Return the segments of the given names, in that order.

        Raises
        ------
        InputError
            A name is not among them.
        """
        if self.ids is None:
            return self
        places = {identifier: index for index, identifier in enumerate(self.ids)}
        if missing := [identifier for identifier in ids if identifier not in places]:
            raise InputError(
                f"no reference for {len(missing)} of the run's {len(ids)} segments",
                where=self.name,
                expected="a row for every segment decoded",
                got=f"none for {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}",
            )
        order = [places[identifier] for identifier in ids]

        def pick(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
            return None if values is None else tuple(values[index] for index in order)

        return replace(
            self,
            lines=tuple(self.lines[index] for index in order),
            sources=pick(self.sources),
            ids=tuple(ids),
            documents=pick(self.documents),
        )


def read_references(path: Path, *, language: str | None = None, split: str | None = None) -> References:
    """Read references; the kind of file is told by its first characters and its name.

    Parameters
    ----------
    path
        A CSV manifest with a column ``target_zh`` (or ``target``), IWSLT XML, or text with one reference a line.
    language
        Which column or language of XML to take; None where there is only one.
    split
        Rows of a manifest to take, by its column ``split``; None for all of them.

    Raises
    ------
    InputError
        Not readable, or not one reference for every segment.
    UsageError
        The file holds several languages and none was chosen, or no such split.
    """
    head = fileio.read_bytes(path)[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    if path.suffix.lower() == ".xml" or head.startswith((b"<?xml", b"<mteval", b"<dataset", b"<refset")):
        found = read_xml(path, language, "reference")
        return References(
            name=path.name, lines=found.lines, documents=found.documents, language=found.language
        )
    if path.suffix.lower() == ".csv":
        return _read_csv(path, language, split)
    return References(name=path.name, lines=read_lines(path))


def read_sources(path: Path, *, split: str | None = None) -> tuple[str, ...]:
    """Read the source side alone: text, a manifest's source column, or the source set of XML."""
    if path.suffix.lower() == ".csv":
        rows = _chosen_rows(path, split)
        column = _column(path, rows[0], SOURCE_COLUMNS)
        return tuple(row[column].strip() for row in rows)
    if path.suffix.lower() == ".xml":
        return read_xml(path, None, "source").lines
    return read_lines(path)


def _read_csv(path: Path, language: str | None, split: str | None) -> References:
    rows = _chosen_rows(path, split)
    header = list(rows[0])
    targets = [name for name in header if name.startswith("target_")]
    wanted = [f"target_{language}"] if language and f"target_{language}" in header else targets
    wanted = wanted or [name for name in PLAIN_TARGETS if name in header]
    if not wanted:
        raise InputError(
            "the manifest has no references",
            where=path,
            expected=f"a column target_{language or 'zh'}",
            got=",".join(header),
        )
    if len(wanted) > 1:
        raise UsageError(
            "the manifest has references in several languages",
            where=path,
            got=", ".join(wanted),
            fix="choose one: --pair en-zh",
        )
    column = wanted[0]
    source = next((name for name in SOURCE_COLUMNS if name in header), None)
    document = next((name for name in DOCUMENT_COLUMNS if name in header), None)
    return References(
        name=path.name,
        lines=tuple(row[column].strip() for row in rows),
        sources=None if source is None else tuple(row[source].strip() for row in rows),
        ids=tuple(row["id"].strip() for row in rows) if "id" in header else None,
        documents=None if document is None else tuple(row[document].strip() for row in rows),
        language=column.removeprefix("target_") if column.startswith("target_") else None,
    )


def _chosen_rows(path: Path, split: str | None) -> list[dict[str, str]]:
    rows = _csv_rows(path)
    splits = sorted({row.get("split", "").strip() for row in rows})
    if split is not None:
        chosen = [row for row in rows if row.get("split", "").strip() == split]
        if not chosen:
            raise UsageError(f"no rows of split {split!r}", where=path, expected=", ".join(splits))
        return chosen
    return rows


def _csv_rows(path: Path) -> list[dict[str, str]]:
    reader = csv.DictReader(
        io.StringIO(decode_text(fileio.read_bytes(path), path), newline=""),
        strict=True,
        restkey="",
        restval=None,
    )
    try:
        rows = list(reader)
    except csv.Error as error:
        raise InputError("not valid CSV", where=f"{path}:{reader.line_num}", got=str(error)) from error
    if not rows:
        raise InputError("the manifest lists nothing", where=path, expected="a row for each segment")
    for number, row in enumerate(rows, 1):
        if "" in row or None in row.values():
            raise InputError(
                f"row {number} has {'more' if '' in row else 'fewer'} values than there are columns",
                where=path,
                expected=",".join(name for name in row if name),
                fix="quote a text that holds commas",
            )
    return [{name.strip(): value for name, value in row.items()} for row in rows]


def _column(path: Path, row: dict[str, str], names: tuple[str, ...]) -> str:
    for name in names:
        if name in row:
            return name
    raise InputError(
        "the manifest has no sources", where=path, expected=" or ".join(names), got=",".join(row)
    )
