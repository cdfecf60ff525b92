"""References, with sources and documents where the file has them: plain text, CSV manifests, IWSLT's XML."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self
from xml.etree import ElementTree

from iwsltpack.errors import InputError, UsageError
from iwsltpack.system import fileio
from iwsltpack.testsets.csv_manifest import read_rows
from iwsltpack.testsets.text_kinds import kind_of_text

Side = Literal["reference", "source", "output"]
COLUMNS = {
    "source": ("source_en", "source", "src"),
    "output": ("hypothesis", "hyp", "output", "translation"),
}
"""Names under which a manifest may hold a side."""
PLAIN_TARGETS = ("target", "reference", "ref")
ID_COLUMNS = ("id", "segment_id", "seg_id", "utt_id", "utterance_id")
DOCUMENT_COLUMNS = ("document", "doc", "talk", "doc_id", "docid", "talk_id", "talkid", "recording")
AUDIO_COLUMNS = ("audio_path", "audio", "wav")
_SETS = {"refset": "reference", "srcset": "source", "tstset": "output"}
_SETS |= {"ref": "reference", "src": "source", "hyp": "output"}
"""Elements of IWSLT's XML around ``<doc>``, or inside it, and the side whose segments they hold."""
_LANGUAGE_NAMES = {"chinese": "zh", "german": "de", "english": "en"}


@dataclass(frozen=True, kw_only=True)
class SegmentLines:
    """A line for each segment, in output order, from a file of this name.

    `ids` are the segments' names, `documents` the recordings or talks they are of, where these are known; `numbers`
    count a document's segments, where XML tells.
    """

    name: str
    lines: tuple[str, ...]
    ids: tuple[str, ...] | None = None
    documents: tuple[str, ...] | None = None
    numbers: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class References(SegmentLines):
    """What the segments should say; what is said in each, and the language, two letters, where the file tells."""

    sources: tuple[str, ...] | None = None
    language: str | None = None

    def select(self, ids: Sequence[str]) -> Self:
        """Return the segments of the given names, in that order; each must be there, and once."""
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

    def take(self, order: Sequence[int]) -> Self:
        """Return the segments at the given places, counted from 0, in that order."""
        names = ("lines", "sources", "ids", "documents", "numbers")
        known: dict[str, Any] = {name: getattr(self, name) for name in names}
        picked: dict[str, Any] = {
            name: tuple(known[name][place] for place in order) for name in names if known[name] is not None
        }
        return replace(self, **picked)


def kind_of(path: Path) -> Literal["xml", "csv", "text"]:
    """Tell by a file's name and its first characters how it holds texts; another kind is an `InputError`."""
    if (kind := kind_of_text(path)) == "other":
        raise InputError(
            "the lines of this file are not segments",
            where=path,
            expected="text with one segment a line, a table in a file *.csv, or IWSLT's XML",
            fix="write it as CSV with a column id and one of the text, separated by commas",
        )
    return kind


def read_references(path: Path, *, language: str | None = None, split: str | None = None) -> References:
    """Read references; the kind of file is told by its first characters and its name.

    It is a CSV manifest with a column ``target_zh`` (or ``target``), IWSLT XML, or text with one reference a line.
    `language` is the column or the language of XML to take, where there are several; `split` the rows of a manifest, by
    its column ``split``. What is not readable, or not one reference for every segment, is an `InputError`; several
    languages and none chosen, or no such split, a `UsageError`.
    """
    if (kind := kind_of(path)) == "xml":
        return read_xml(path, language, "reference")
    if kind == "text":
        return References(name=path.name, lines=fileio.read_lines(path))
    columns = read_columns(path, split)
    targets = [name for name in columns if name.startswith("target_")]
    wanted = [f"target_{language}"] if language and f"target_{language}" in columns else targets
    wanted = wanted or [name for name in PLAIN_TARGETS if name in columns]
    if len(wanted) > 1:
        raise UsageError(
            "the manifest has references in several languages",
            where=path,
            got=", ".join(wanted),
            fix="choose one: --pair en-zh",
        )
    if not wanted:
        raise _lacking_column(path, "references", f"a column target_{language or 'zh'}", columns)
    return References(
        name=path.name,
        lines=columns[wanted[0]],
        sources=_first_column(columns, COLUMNS["source"]),
        ids=_first_column(columns, ID_COLUMNS),
        documents=_documents(columns),
        language=wanted[0].removeprefix("target_") if targets else None,
    )


def read_side(path: Path, side: Literal["source", "output"], split: str | None = None) -> SegmentLines:
    """Read what is said, or a system's output, alone: text, a manifest's column, or the set of it in XML."""
    if (kind := kind_of(path)) == "xml":
        return read_xml(path, None, side)
    if kind == "text":
        return SegmentLines(name=path.name, lines=fileio.read_lines(path))
    columns = read_columns(path, split)
    if (lines := _first_column(columns, COLUMNS[side])) is None:
        what = {"source": "sources", "output": "hypotheses"}[side]
        raise _lacking_column(path, what, " or ".join(COLUMNS[side]), columns)
    ids = _first_column(columns, ID_COLUMNS)
    return SegmentLines(name=path.name, lines=lines, ids=ids, documents=_documents(columns))


def _lacking_column(path: Path, what: str, expected: str, columns: dict[str, tuple[str, ...]]) -> InputError:
    return InputError(f"the manifest has no {what}", where=path, expected=expected, got=",".join(columns))


def _first_column(columns: dict[str, tuple[str, ...]], names: Sequence[str]) -> tuple[str, ...] | None:
    return next((columns[name] for name in names if name in columns), None)


def _documents(columns: dict[str, tuple[str, ...]]) -> tuple[str, ...] | None:
    found = _first_column(columns, DOCUMENT_COLUMNS)
    if found is None and (audio := _first_column(columns, AUDIO_COLUMNS)) and len(set(audio)) < len(audio):
        return audio  # of several segments each: talks
    return found


def read_columns(path: Path, split: str | None) -> dict[str, tuple[str, ...]]:
    """Return a manifest by columns, white space around its values taken away; of one split where it is told."""
    rows = read_rows(path, ())
    for line, row in rows:
        if None in row or None in row.values():
            raise InputError(
                f"the row has {'more' if None in row else 'fewer'} values than there are columns",
                where=f"{path}:{line}",
                expected=",".join(name for name in row if name),
                fix="quote a text that holds commas",
            )
    columns = {name: tuple(row[name].strip() for _, row in rows) for name in rows[0][1]}
    if split is None:
        return columns
    splits = columns.get("split", ("",) * len(rows))
    if split not in splits:
        raise UsageError(f"no rows of split {split!r}", where=path, expected=", ".join(sorted(set(splits))))
    return {
        name: tuple(value for value, its in zip(values, splits, strict=True) if its == split)
        for name, values in columns.items()
    }


def read_xml(path: Path, language: str | None, side: Side) -> References:
    """Read one side of an XML test set; segments in the order of the file.

    A file without sets (documents directly below the top) is all of the side asked for. Entities of its own and a file
    without segments are an `InputError`; several languages or translators, and none chosen, a `UsageError`.
    """
    found: dict[tuple[str | None, str], list[_Segment]] = {}
    _collect(_parse(path), None, None, "", side, found)
    if language is not None and any(key[0] == language for key in found):
        found = {key: value for key, value in found.items() if key[0] == language}
    if not found:
        raise InputError(f"no {side} segments", where=path, expected="<seg> elements inside <doc>")
    if len(found) > 1:
        names = [" ".join(part for part in key if part) or "unnamed" for key in sorted(found, key=str)]
        raise UsageError(
            f"several {side}s of the same segments",
            where=path,
            got=", ".join(names),
            fix="choose a language with --pair, or leave one in the file",
        )
    ((tongue, _), segments), *_ = found.items()
    documents, _, texts = zip(*segments, strict=True)
    counts = Counter(segment[:2] for segment in segments if all(segment[:2]))
    if twice := [" of ".join(reversed(key)) for key, count in counts.items() if count > 1]:
        raise InputError("a segment id stands twice in a document", where=path, got=twice[0])
    digits = [(document, *re.findall(r"\d+$", name)[-1:]) for document, name, _ in segments]
    numbered = len({key for key in digits if len(key) > 1}) == len(texts)
    return References(
        name=path.name,
        lines=texts,
        # Names that say no order are of use where both sides have them.
        ids=None if numbered or len(counts) < len(texts) else tuple(map(" ".join, counts)),
        documents=documents,
        numbers=tuple(int(key[-1]) for key in digits) if numbered else None,
        language=tongue,
    )


_Segment = tuple[str, str, str]
"""Document, ``id`` in it or nothing, text."""


def _parse(path: Path) -> ElementTree.Element:
    text = fileio.read_text(path)
    if "<!ENTITY" in text:
        raise InputError("the XML defines entities of its own, which are not read", where=path)
    try:
        # Without a document type of its own the text cannot make the parser expand or fetch anything.
        return ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text))  # noqa: S314
    except ElementTree.ParseError as error:
        raise InputError(
            "not well-formed XML",
            where=f"{path}:{error.position[0]}",
            got=str(error),
            fix="write & as &amp; and < as &lt;, or give the references as text, one a line",
        ) from error


def _language(element: ElementTree.Element, side: str | None) -> str | None:
    own = element.get("srclang") if side == "source" else element.get("trglang")
    value = (own or element.get("lang") or "").lower()
    return _LANGUAGE_NAMES.get(value, value[:2] or None)


def _collect(
    element: ElementTree.Element,
    inside: str | None,
    language: str | None,
    document: str,
    side: Side,
    found: dict[tuple[str | None, str], list[_Segment]],
    translator: str = "",
) -> None:
    """Walk the tree; `inside` is the side of the nearest set around, None outside of any."""
    tag = element.tag.lower()
    if tag in _SETS:
        inside = _SETS[tag]
        language = _language(element, inside)
        translator = next(filter(None, map(element.get, ("refid", "translator", "sysid", "system"))), "")
    elif tag == "doc":
        document = element.get("docid") or element.get("id") or document
        language = language or _language(element, inside)
    elif tag == "seg":
        if inside in (None, side):
            text = " ".join("".join(element.itertext()).split())
            found.setdefault((language, translator), []).append((document, element.get("id") or "", text))
        return
    for child in element:
        _collect(child, inside, language, document, side, found, translator)
