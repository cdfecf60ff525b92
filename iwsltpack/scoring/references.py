"""References, with sources and documents where the file has them: plain text, CSV manifests, IWSLT's XML."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self
from xml.etree import ElementTree

from iwsltpack.errors import InputError, UsageError, listed
from iwsltpack.system import fileio
from iwsltpack.system.progress import Reporter
from iwsltpack.testsets.csv_manifest import read_rows
from iwsltpack.testsets.text_kinds import kind_of_text

Side = Literal["reference", "source", "output"]
COLUMNS = {
    "source": ("source_en", "source", "src"),
    "output": ("hypothesis", "hyp", "output", "translation"),
}
"""Names under which a manifest may hold a side."""
CONTENTS = {"source": "sources", "output": "hypotheses"}
"""What these are called."""
PLAIN_TARGETS = ("target", "reference", "ref")
ID_COLUMNS = ("id", "segment_id", "seg_id", "utt_id", "utterance_id")
DOCUMENT_COLUMNS = ("document", "doc", "talk", "doc_id", "docid", "talk_id", "talkid", "recording")
AUDIO_COLUMNS = ("audio_path", "audio", "wav")
NUMBER_COLUMNS = ("segment", "seg", "segment_number", "index")
"""What counts the segments of a document."""
_SETS = {"refset": "reference", "srcset": "source", "tstset": "output"}
_SETS |= {"ref": "reference", "src": "source", "hyp": "output"}
"""Elements of IWSLT's XML around ``<doc>``, or inside it, and the side whose segments they hold."""
_SPELT = {
    "zh": "chinese mandarin zho chi cmn",
    "de": "german deutsch deu ger",
    "en": "english eng",
    "ja": "japanese jpn",
    "ko": "korean kor",
}
_LANGUAGE_NAMES = {name: code for code, names in _SPELT.items() for name in (code, *names.split())}
_TAGS = re.compile(rf"(?i)(.+?)((?:\.(?:en-)?(?:{'|'.join(_SPELT)}))*)(\.(?:txt|csv|xml|sgm))?")
"""A file's name, the languages it ends in, and the suffix of a text."""


@dataclass(frozen=True, kw_only=True)
class SegmentLines:
    """A line for each segment, in output order, from a file of this name.

    `ids` are the segments' names, `documents` the recordings or talks they are of, where these are known; `numbers`
    count a document's segments, where they are told; `language` is that of the lines, two letters. `others` are the
    further columns of a table in which no value stands twice: they may hold names, too.
    """

    name: str
    lines: tuple[str, ...]
    ids: tuple[str, ...] | None = None
    documents: tuple[str, ...] | None = None
    numbers: tuple[int, ...] | None = None
    language: str | None = None
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class References(SegmentLines):
    """What the segments should say, and what is said in each."""

    sources: tuple[str, ...] | None = None

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
        return replace(self, **picked, others={})


def split_name(name: str) -> tuple[str, str | None]:
    """Return a file's name without suffix and language, and that language.

    >>> split_name("tst.2022.en-de.txt"), split_name("tst.zh"), split_name("acl.268.xml")
    (('tst.2022', 'de'), ('tst', 'zh'), ('acl.268', None))
    """
    found = _TAGS.fullmatch(name)
    stem, tags = (found[1], found[2]) if found else (name, "")
    return stem, tags[-2:].lower() or None


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
    languages and none chosen, another language than the one told, or no such split, a `UsageError`.
    """
    if (kind := kind_of(path)) == "xml":
        found = read_xml(path, language, "reference")
    elif kind == "text":
        lines = fileio.read_lines(path)
        found = References(name=path.name, lines=lines, language=split_name(path.name)[1])
    else:
        found = _read_manifest(path, language, split)
    if language is not None and found.language not in (None, language):
        raise UsageError(
            "the references are in another language",
            where=path,
            expected=language,
            got=found.language,
            fix="give the references of this test set in that language",
        )
    return found


def _read_manifest(path: Path, language: str | None, split: str | None) -> References:
    columns = read_columns(path, split)
    targets = {name: _code(name.removeprefix("target_")) for name in columns if name.startswith("target_")}
    wanted = [name for name, code in targets.items() if code == language] if language else []
    wanted = [f"target_{language}"] if f"target_{language}" in columns else wanted or [*targets]
    wanted = wanted or [name for name in PLAIN_TARGETS if name in columns]
    if len(wanted) > 1:
        raise UsageError(
            "the manifest has references in several languages",
            where=path,
            expected=language and f"target_{language}",
            got=", ".join(wanted),
            fix="leave one of them in the file" if language else "choose one: --pair en-zh",
        )
    if not wanted:
        raise _lacking_column(path, "references", f"a column target_{language or 'zh'}", columns)
    return References(
        name=path.name,
        lines=columns[wanted[0]],
        sources=_text_column(path, columns, "source"),
        language=_two_letters(targets.get(wanted[0])),
        **_named(path, columns),
    )


def read_side(path: Path, side: Literal["source", "output"], split: str | None = None) -> SegmentLines:
    """Read what is said, or a system's output, alone: text, a manifest's column, or the set of it in XML."""
    if (kind := kind_of(path)) == "xml":
        return read_xml(path, None, side)
    if kind == "text":
        lines = fileio.read_lines(path)
        return SegmentLines(name=path.name, lines=lines, language=split_name(path.name)[1])
    columns = read_columns(path, split)
    if (texts := _text_column(path, columns, side)) is None:
        raise _lacking_column(path, CONTENTS[side], " or ".join(COLUMNS[side]), columns)
    return SegmentLines(name=path.name, lines=texts, **_named(path, columns))


def _lacking_column(path: Path, what: str, expected: str, columns: dict[str, tuple[str, ...]]) -> InputError:
    return InputError(f"the manifest has no {what}", where=path, expected=expected, got=",".join(columns))


def _first_column(columns: dict[str, tuple[str, ...]], names: Sequence[str]) -> tuple[str, ...] | None:
    return next((columns[name] for name in names if name in columns), None)


def _text_column(path: Path, columns: dict[str, tuple[str, ...]], side: Side) -> tuple[str, ...] | None:
    """Return the one column of a side; of sources ``source_en`` is certain, "source" may be a corpus."""
    found = [name for name in COLUMNS[side] if name in columns]
    if len({columns[name] for name in found}) > 1 and found[0] != "source_en":
        raise UsageError(
            f"the manifest has {CONTENTS[side]} in several columns",
            where=path,
            expected="one",
            got=", ".join(found),
            fix="leave one of them in the file",
        )
    return columns[found[0]] if found else None


def _named(path: Path, columns: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """Return what names a manifest's rows: fields of `SegmentLines`."""
    ids, documents = _first_column(columns, ID_COLUMNS), _first_column(columns, DOCUMENT_COLUMNS)
    if (
        documents is None
        and (audio := _first_column(columns, AUDIO_COLUMNS))
        and len(set(audio)) < len(audio)
    ):
        documents = audio  # of several segments each: talks
    numbers = None
    if documents is not None:
        repeated = ids is not None and len(set(ids)) < len(ids)  # counted anew in each document
        names = _first_column(columns, NUMBER_COLUMNS) or (ids if repeated else None)
        # Beside an id, a column of that name may count something else.
        count = names and (
            ids is None or repeated or len({*zip(documents, names, strict=True)}) == len(names)
        )
        numbers = _numbers(path, documents, names) if names and count else None
        ids = None if repeated and numbers else ids
    texts = {*PLAIN_TARGETS, *COLUMNS["source"], *COLUMNS["output"]}
    others = {
        name: values
        for name, values in columns.items()
        if len(set(values)) == len(values) and name not in texts and not name.startswith("target_")
    }
    return {"ids": ids, "documents": documents, "numbers": numbers, "others": others if ids is None else {}}


def _numbers(path: Path, documents: Sequence[str], names: Sequence[str]) -> tuple[int, ...] | None:
    """Return the numbers that segments' names end in, where each has its own in its document.

    A name that stands twice in a document is an `InputError`.
    """
    counts = Counter(key for key in zip(documents, names, strict=True) if all(key))
    if twice := [" of ".join(reversed(key)) for key, count in counts.items() if count > 1]:
        raise InputError("a segment id stands twice in a document", where=path, got=twice[0])
    digits = [re.findall(r"\d+$", name)[-1:] for name in names]
    known = {(document, *number) for document, number in zip(documents, digits, strict=True) if number}
    return tuple(int(number) for (number,) in digits) if len(known) == len(names) else None


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
    documents, numbered, texts = zip(*segments, strict=True)
    numbers = _numbers(path, documents, numbered)
    nameless = numbers is not None or not all(all(segment[:2]) for segment in segments)
    return References(
        name=path.name,
        lines=texts,
        # Names that say no order are of use where both sides have them.
        ids=None if nameless else tuple(" ".join(segment[:2]) for segment in segments),
        documents=documents,
        numbers=numbers,
        language=_two_letters(tongue),
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
    return _code(own or element.get("lang") or "")


def _code(language: str) -> str | None:
    """Return two letters for a language however it is written (Chinese, zh-CN); the word itself for an unknown one."""
    words = re.split("[^a-z]+", language.lower())
    return next(
        (_LANGUAGE_NAMES[word] for word in words if word in _LANGUAGE_NAMES), language.lower() or None
    )


def _two_letters(language: str | None) -> str | None:
    return language if language is not None and re.fullmatch("[a-z]{2}", language) else None


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


def check_filled(lines: Sequence[str], where: str, what: str, effect: str, reporter: Reporter) -> None:
    """Refuse lines half of which are empty, or more: a column was lost; fewer, as of noise or music, are told."""
    empty = [str(number) for number, line in enumerate(lines, 1) if not line.strip()]
    if empty and 2 * len(empty) >= len(lines):
        raise InputError(
            f"{what} are empty",
            where=where,
            expected="a text for nearly every segment",
            got=f"{len(empty)} of {len(lines)} empty, segment {empty[0]} the first",
            fix="give the file they stand in",
        )
    if empty:
        told = f"{where}: {len(empty)} of {len(lines)} {what} are empty, segments {listed(empty)}"
        reporter.say(f"{told}; {effect}")
