"""References, with sources and documents where the file has them: plain text, CSV manifests, IWSLT's XML."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from iwsltpack.errors import InputError, UsageError
from iwsltpack.scoring.xml_texts import read_xml
from iwsltpack.system import fileio
from iwsltpack.system.fileio import read_lines
from iwsltpack.testsets.csv_manifest import read_rows

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
    numbers
        Each segment's number in its talk, where XML tells.
    language
        Two letters, where the file tells.
    """

    name: str
    lines: tuple[str, ...]
    sources: tuple[str, ...] | None = None
    ids: tuple[str, ...] | None = None
    documents: tuple[str, ...] | None = None
    numbers: tuple[int, ...] | None = None
    language: str | None = None

    def select(self, ids: Sequence[str]) -> References:
        """Return the segments of the given names, in that order.

        Raises
        ------
        InputError
            A name is not among them, or stands there twice.
        """
        known = self.ids or ()
        places = {identifier: index for index, identifier in enumerate(known)}
        if len(places) != len(known):
            twice = next(name for index, name in enumerate(known) if places[name] != index)
            raise InputError("an id stands twice among the references", where=self.name, got=twice)
        if missing := [identifier for identifier in ids if identifier not in places]:
            raise InputError(
                f"no reference for {len(missing)} of the run's {len(ids)} segments",
                where=self.name,
                expected=f"a row for every segment decoded, {missing[0]} the first that has none",
                got=", ".join(known[:3]) + (" …" if len(known) > 3 else ""),
                fix="give the references of this test set",
            )
        return self.take([places[identifier] for identifier in ids])

    def take(self, order: Sequence[int]) -> References:
        """Return the segments at the given places, counted from 0, in that order."""

        def pick(values: Sequence[Any] | None) -> Any:
            return None if values is None else tuple(values[index] for index in order)

        names = ("lines", "sources", "ids", "documents", "numbers")
        return replace(self, **{name: pick(getattr(self, name)) for name in names})


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
            name=path.name,
            lines=found.lines,
            documents=found.documents,
            numbers=found.numbers,
            language=found.language,
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
    rows = read_rows(path, ())
    for line, row in rows:
        if None in row or None in row.values():
            raise InputError(
                f"the row has {'more' if None in row else 'fewer'} values than there are columns",
                where=f"{path}:{line}",
                expected=",".join(name for name in row if name),
                fix="quote a text that holds commas",
            )
    return [row for _, row in rows]


def _column(path: Path, row: dict[str, str], names: tuple[str, ...]) -> str:
    for name in names:
        if name in row:
            return name
    raise InputError(
        "the manifest has no sources", where=path, expected=" or ".join(names), got=",".join(row)
    )
