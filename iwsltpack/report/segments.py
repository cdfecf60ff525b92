"""What the page shows of every segment: source, reference, each system's text raw and cleaned, scores, the clip."""

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from iwsltpack.cleaning.engine import LANGUAGES, clean_lines
from iwsltpack.documents.run import RunSegment
from iwsltpack.documents.score import DIGITS, TITLES, ScoredText, digest
from iwsltpack.errors import InputError
from iwsltpack.report.systems import System
from iwsltpack.report.table import ReportTable
from iwsltpack.scoring.pairing import pair
from iwsltpack.scoring.references import References
from iwsltpack.scoring.texts import scored_text
from iwsltpack.system import fileio

AUDIO_DIR = "audio"


@dataclass(frozen=True, kw_only=True)
class Segments:
    """The segments of a table as JSON for the page, and sentences on what could not be shown."""

    data: dict[str, Any] | None
    warnings: tuple[str, ...] = ()


def segments_of(table: ReportTable, references: Sequence[References], audio: "ClipFolder | None") -> Segments:
    """Gather the segments of a table: of its systems with scores and lines, those with the references that most share.

    Those of `references` are shown that the scores were computed with; clips are taken from `audio`, where it is given.
    """
    scored = [
        (number, row.system)
        for number, row in enumerate(table.rows, 1)
        if row.system.score is not None and _lines(row.system) is not None
    ]
    if not scored:
        return Segments(data=None)
    digests = {number: system.score.references.sha256 for number, system in scored if system.score}
    common = Counter(digests.values()).most_common(1)[0][0]
    members = [(number, system) for number, system in scored if digests[number] == common]
    run_segments = next(filter(None, (_run_segments(system) for _, system in members)), None)
    warnings = []
    if left_out := [system.title for number, system in scored if digests[number] != common]:
        left = "; ".join(left_out)
        warnings.append(f"Segments of {left} are not shown: they were scored with other references.")
    found, others = _matching(references, common, members[0][1])
    if found is None:
        told = "give them with --reference"
        if others and members[0][1].score:
            wanted = _named(members[0][1].score.references)
            told = f"{table.test_set} was scored with {wanted}; --reference gave {'; '.join(others)}"
        warnings.append(f"References and sources are not shown: {told}.")
    texts = _Texts()
    systems = [_system(number, system, texts) for number, system in members]
    count = members[0][1].score.references.lines if members[0][1].score else 0
    ids = [segment.id for segment in run_segments] if run_segments else list(found.ids or ()) if found else []
    data = {
        "count": count,
        "ids": ids or [str(number) for number in range(1, count + 1)],
        "durations": [round(segment.duration, 2) for segment in run_segments] if run_segments else None,
        "sources": list(found.sources) if found and found.sources else None,
        "references": list(found.lines) if found else None,
        "audio": audio.clips(run_segments, table.test_set) if audio and run_segments else {},
        "texts": texts.data,
        "systems": systems,
        "metrics": [
            {"key": name, "title": table.titles.get(name, TITLES[name])}
            for name in TITLES
            if any(name in system["scores"] for system in systems)
        ],
    }
    return Segments(data=data, warnings=(*warnings, *texts.warnings))


def _lines(system: System) -> tuple[str, ...] | None:
    """Return the lines shown: those recut to the references, or as the system wrote them."""
    return _recut(system) or (system.hypotheses.lines if system.hypotheses else None)


def _recut(system: System) -> tuple[str, ...] | None:
    return system.score.resegmented if system.score else None


def _run_segments(system: System) -> tuple[RunSegment, ...] | None:
    """Return the run's segments where they are the lines scored."""
    run = system.hypotheses.run if system.hypotheses else None
    return None if run is None or _recut(system) is not None else run.segments


def _matching(
    references: Sequence[References], wanted: str, system: System
) -> tuple[References | None, list[str]]:
    """Return the references of a digest, in the system's order; and without them what the given ones are."""
    others = []
    for candidate in references:
        chosen, why = [candidate], ""
        try:
            if system.hypotheses is not None:
                chosen.append(pair(candidate, system.hypotheses, resegment=_recut(system) is not None))
        except InputError as error:
            why = f" ({error.what})"
        for found in chosen:
            if digest(found.lines) == wanted:
                return found, []
        others.append(_named(scored_text(candidate.name, chosen[-1].lines)) + why)
    return None, others


def _named(text: ScoredText) -> str:
    return f"{text.name}, {text.lines} lines, SHA-256 {text.sha256[:8]}…"


class _Texts:
    """Texts shared by systems: the raw and the cleaned scores of one run show the same lines."""

    def __init__(self) -> None:
        self.data: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self._places: dict[tuple[str, str], int] = {}
        self._cleaned: list[str | None] = []

    def place(self, system: System, lines: tuple[str, ...]) -> int:
        """Return the number of the system's text, added if it is new."""
        language = system.score.language if system.score else ""
        recut = _recut(system) is not None
        key = (digest(lines), language)
        if key not in self._places:
            self._places[key] = len(self.data)
            self.data.append(self._entry(lines, "" if recut else language))
        number = self._places[key]
        score = None if recut or not system.cleaned else system.score
        if score is not None and self._cleaned[number] != score.hypotheses.sha256:
            what = f"{system.title} was scored as other cleaning rules left it"
            self.warnings.append(f"{what}; the cleaning shown is this version's.")
        return number

    def _entry(self, lines: tuple[str, ...], language: str) -> dict[str, Any]:
        if language not in LANGUAGES:
            self._cleaned.append(None)
            return {"raw": list(lines), "cleaned": {}}
        after = [line.rstrip() for line in clean_lines(lines, language).texts]
        self._cleaned.append(digest(after))
        cleaned = {i: new for i, (old, new) in enumerate(zip(lines, after, strict=True)) if old != new}
        return {"raw": list(lines), "cleaned": cleaned}


def _system(number: int, system: System, texts: _Texts) -> dict[str, Any]:
    score, lines, segments = system.score, _lines(system), _run_segments(system) or ()
    metrics = score.metrics if score else ()
    return {
        "number": number,
        "title": system.title,
        "cleaned": system.cleaned and score is not None and score.resegmented is None,
        "text": texts.place(system, lines or ()),
        "scores": {
            result.metric: [round(value, DIGITS[result.metric]) for value in result.segments]
            for result in metrics
        },
        "finish": {segment.index: segment.finish for segment in segments if segment.finish != "stop"},
        "signs": {segment.index: list(segment.signs) for segment in segments if segment.signs},
    }


@dataclass(frozen=True)
class ClipFolder:
    """Clips, put beside the page so that the folder can be moved; linked where the file system can.

    `source` is the test set's folder, or one that holds a folder for each test set; `output` is the report's.
    """

    source: Path
    output: Path

    def clips(self, segments: Sequence[RunSegment], test_set: str) -> dict[int, str]:
        """Return each segment's clip as an address relative to the page; those not there are left out."""
        found = {}
        for segment in segments:
            address = self._clip(PurePosixPath(segment.audio), test_set)
            if address is not None:
                whole = segment.offset == 0 and segment.pieces <= 1
                part = "" if whole else f"#t={segment.offset:.3f},{segment.offset + segment.duration:.3f}"
                found[segment.index] = f"{address}{part}"
        return found

    def _clip(self, name: PurePosixPath, test_set: str) -> str | None:
        if name.is_absolute() or ".." in name.parts:
            return None
        for folder in (self.source, self.source / test_set):
            if (folder / name).is_file():
                inside = PurePosixPath(AUDIO_DIR) / test_set.replace("/", "_") / name
                _link(folder / name, self.output / inside)
                return quote(str(inside))
        return None


def _link(source: Path, target: Path) -> None:
    with fileio.disk_errors(target):
        if target.exists():
            if target.samefile(source) or target.stat().st_size == source.stat().st_size:
                return
            target.unlink()
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):
            os.link(source.resolve(), target)
            return
        with fileio.atomic_open(target) as stream, source.open("rb") as clip:
            shutil.copyfileobj(clip, stream)
