"""Segments of IWSLT's XML: ``<refset>``, ``<srcset>``, ``<tstset>`` around ``<doc>``, or ``<ref>`` … inside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from xml.etree import ElementTree

from iwsltpack.errors import InputError, UsageError
from iwsltpack.system import fileio

if TYPE_CHECKING:
    from pathlib import Path

Side = Literal["reference", "source", "output"]
Segment = tuple[str, str | None, str]
"""Document, ``id`` in it, text."""

_SETS = {"refset": "reference", "srcset": "source", "tstset": "output"}
_SETS |= {"ref": "reference", "src": "source", "hyp": "output"}
_LANGUAGE_NAMES = {"chinese": "zh", "german": "de", "english": "en"}


@dataclass(frozen=True, kw_only=True)
class XmlTexts:
    """The segments of one side, with the document of each, and its number there where all have one."""

    lines: tuple[str, ...]
    documents: tuple[str, ...]
    numbers: tuple[int, ...] | None
    language: str | None


def read_xml(path: Path, language: str | None, side: Side) -> XmlTexts:
    """Read one side of an XML test set; segments in the order of the file.

    A file without sets (documents directly below the top) is all of the side asked for.

    Raises
    ------
    InputError
        Not well-formed, with entities of its own, or without segments.
    UsageError
        Several languages or translators and none chosen.
    """
    root = _parse(path)
    found: dict[tuple[str | None, str], list[Segment]] = {}
    _collect(root, None, None, "", side, found)
    if language is not None and any(key[0] == language for key in found):
        found = {key: value for key, value in found.items() if key[0] == language}
    if not found:
        raise InputError(f"no {side} segments", where=path, expected="<seg> elements inside <doc>")
    if len(found) > 1:
        raise UsageError(
            f"several {side}s of the same segments",
            where=path,
            got=", ".join(
                " ".join(part for part in key if part) or "unnamed" for key in sorted(found, key=str)
            ),
            fix="choose a language with --pair, or leave one in the file",
        )
    ((tongue, _), segments), *_ = found.items()
    return XmlTexts(
        lines=tuple(text for _, _, text in segments),
        documents=tuple(document for document, _, _ in segments),
        numbers=_numbers(segments),
        language=tongue,
    )


def _numbers(segments: list[Segment]) -> tuple[int, ...] | None:
    named = {(document, name) for document, name, _ in segments if (name or "").isdecimal()}
    return tuple(int(name or 0) for _, name, _ in segments) if len(named) == len(segments) else None


def _parse(path: Path) -> ElementTree.Element:
    text = fileio.read_text(path)
    if re.search(r"<!ENTITY", text):
        raise InputError("the XML defines entities of its own, which are not read", where=path)
    try:
        # Without a document type of its own the text cannot make the parser expand or fetch anything.
        return ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text))  # noqa: S314
    except ElementTree.ParseError as error:
        line = error.position[0]
        raise InputError(
            "not well-formed XML",
            where=f"{path}:{line}",
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
    found: dict[tuple[str | None, str], list[Segment]],
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
            found.setdefault((language, translator), []).append((document, element.get("id"), text))
        return
    for child in element:
        _collect(child, inside, language, document, side, found, translator)
