"""Give every hypothesis its reference: by names where both sides have them, and never by number alone unsaid.

Where folders hold several test sets, their files are paired first, by the names of the test sets.
"""

import itertools
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from statistics import median
from typing import Final

from iwsltpack.documents.names import PAIRS, pair_in
from iwsltpack.documents.places import run_folders
from iwsltpack.documents.run import read_run
from iwsltpack.errors import InputError, listed
from iwsltpack.scoring.references import References, SegmentLines, split_name
from iwsltpack.scoring.texts import Hypotheses
from iwsltpack.system.progress import SILENT, Reporter
from iwsltpack.testsets.order import compare_order
from iwsltpack.testsets.recordings import bare_name

PIECE: Final = 24
"""Characters of text whose document is told at once."""
CERTAIN: Final = 0.3
"""Share of pieces whose document must be sure for their order to be judged."""
SHARED: Final = -1
NAMED: Final = [field.name for field in fields(SegmentLines)]


def pair(
    references: References, hypotheses: Hypotheses, *, resegment: bool = False, reporter: Reporter = SILENT
) -> References:
    """Return the references of the hypotheses, in their order.

    Segments are paired by id, or by document and place in it. A document is the recording it was cut from. Where one
    side has no names the order must do: it is held against the durations of the segments where those are known, and
    against the text where only the references tell documents apart. With `resegment` lines are not segments yet: only
    documents are paired, and numbers may differ. Other names on both sides, other numbers, or another order are an
    `InputError`; what is left out, and an order that is doubtful, is told to the `reporter`.
    """
    talks = _talks(references.documents, hypotheses.documents) if references.documents else {}
    if not talks and (references.ids is None or hypotheses.ids is None):
        references, hypotheses = _by_columns(references, hypotheses, reporter)
    known = bool(set(hypotheses.ids or ()) & set(references.ids or ()))
    if talks and (resegment or not known):
        found = _by_documents(references, hypotheses, talks, resegment, reporter)
    elif references.documents and hypotheses.documents and not (known or _one_a_line(references, hypotheses)):
        raise _strangers(references, hypotheses.documents[0])
    elif hypotheses.ids is not None and references.ids is not None and not resegment:
        return _by_ids(references, hypotheses, hypotheses.ids, reporter)
    else:
        found = references
        for side in () if known else (references, hypotheses):
            _check_numbers(side)
        if references.documents is not None and (
            hypotheses.documents is None or _one_a_line(references, hypotheses)
        ):
            _check_documents(references, hypotheses)
    if resegment:
        return _in_order(found, hypotheses)
    if len(hypotheses.lines) != len(found.lines):
        raise _unequal(len(hypotheses.lines), len(found.lines), hypotheses.name, references.name)
    _check_order(found, hypotheses, reporter)
    return found


def with_sources(references: References, sources: SegmentLines) -> References:
    """Return the references with what is said in each, paired by name where both have names; see `pair`."""
    ours, theirs = ({name: getattr(side, name) for name in NAMED} for side in (references, sources))
    if any(
        getattr(references, names) and getattr(sources, names) for names in ("ids", "documents", "others")
    ):
        lines = pair(References(**theirs), Hypotheses(**ours)).lines
    else:
        lines = sources.lines
    if len(lines) != len(references.lines):
        what = "not one source line for every reference"
        raise InputError(what, where=sources.name, expected=len(references.lines), got=len(lines))
    return replace(references, sources=lines)


def _by_columns(
    references: References, hypotheses: Hypotheses, reporter: Reporter
) -> tuple[References, Hypotheses]:
    """Return both with ids, where columns of whatever heading name the same segments; else as they are, said."""
    both = itertools.product(_named_by(hypotheses), _named_by(references))
    ours, theirs = max(both, key=lambda sides: len({*sides[0]} & {*sides[1]}), default=((), ()))
    if ours and 2 * len({*ours} & {*theirs}) >= len(ours):
        return replace(references, ids=theirs), replace(hypotheses, ids=ours)
    if all(side.ids or side.documents or side.others for side in (references, hypotheses)):
        unused = f", column {', '.join(references.others)}" if references.others else ""
        reporter.say(
            f"paired by order: no segment of {hypotheses.name} is named in {references.name}{unused}"
        )
    return references, hypotheses


def _named_by(side: SegmentLines) -> list[tuple[str, ...]]:
    """Return names of the segments, a recording's without folder and suffix, where all differ."""
    columns = [values for values in (side.ids, side.documents, *side.others.values()) if values]
    files = [[value.rpartition("/")[2] for value in values] for values in columns]
    bare = [tuple(bare_name(name) if "." in name else name for name in names) for names in files]
    return [names for names in bare if len(set(names)) == len(names)]


def _check_numbers(side: SegmentLines) -> None:
    """Refuse segments out of the order of their numbers where the other side's lines have an order alone."""
    for document, lines in _places(side.documents or (), side.numbers).items():
        if lines != sorted(lines):
            raise InputError(
                "the segments do not stand in the order of their numbers, and the other side has none",
                where=f"{side.name}, {document}",
                expected="segments 1, 2, 3 … from top to bottom",
                got=", ".join(map(str, _numbers(side, sorted(lines))[:8])),
                fix="sort them, where the other side's lines follow the numbers; or give that with names, too: a run, "
                "XML, CSV, or --test-set",
            )


def _by_ids(
    references: References, hypotheses: Hypotheses, ids: Sequence[str], reporter: Reporter
) -> References:
    counts = Counter(ids)
    if twice := [name for name, count in counts.items() if count > 1]:
        raise InputError("an id stands twice among the hypotheses", where=hypotheses.name, got=twice[0])
    found = references.select(ids)
    if left := [name for name in references.ids or () if name not in counts]:
        reporter.say(
            f"{len(left)} references of {references.name} have no hypothesis in {hypotheses.name}: {left[0]} …"
        )
    return found


def _in_order(references: References, hypotheses: Hypotheses) -> References:
    """Return references that lines will be cut to in the order of the hypotheses, as far as ids tell it."""
    ours, theirs = hypotheses.ids or (), references.ids or ()
    if set(ours) == set(theirs):
        return references.select(ours) if ours else references
    common = set(ours) & set(theirs)
    for one, other in zip(
        *([name for name in side if name in common] for side in (ours, theirs)), strict=False
    ):
        if one != other:
            raise InputError(
                "the references stand in another order than the hypotheses",
                where=references.name,
                expected=one,
                got=other,
                fix="give references of these segments alone, or in their order",
            )
    return references


def _unequal(got: int, expected: int, where: str, references: str) -> InputError:
    return InputError(
        "not one hypothesis for every reference",
        where=where,
        expected=f"{expected} lines, as in {references}",
        got=f"{got} lines",
        fix="give the references of this test set (of a manifest with several splits: --split NAME), or align them: "
        "--resegment",
    )


def _talks(documents: Sequence[str] | None, recordings: Sequence[str] | None) -> dict[str, str]:
    """Return the document of each recording, where one and only one has its name.

    ``2022.acl-long.110`` is the document of ``wavs/2022.acl-long.110.wav``, and ``1922`` that of ``ted_1922.wav``.
    """
    named: dict[str, set[str]] = {}
    for document in set(documents or ()):
        for name in _names(document):
            named.setdefault(name, set()).add(document)
    talks = {}
    for recording in dict.fromkeys(recordings or ()):
        fits: set[str] = set().union(*(named.get(name, ()) for name in _names(recording)))
        if not fits and (number := re.search(r"(?<=\D)\d+$", bare_name(recording))):
            fits = named.get(number[0], set())
        if len(fits) == 1:
            talks[recording] = next(iter(fits))
    claimed = list(talks.values())
    return {recording: document for recording, document in talks.items() if claimed.count(document) == 1}


def _names(name: str) -> set[str]:
    bare = bare_name(name)
    return {name, bare, PurePosixPath(bare).name}


def _one_a_line(references: References, hypotheses: Hypotheses) -> bool:
    """Tell whether every line has a recording of its own, which says nothing of the talk that it is from."""
    recordings = len(set(hypotheses.documents or ()))
    return recordings == len(hypotheses.lines) and recordings != len(set(references.documents or ()))


def _strangers(references: References, missing: str) -> InputError:
    return InputError(
        "the references are of other documents than the hypotheses",
        where=references.name,
        expected=f"a document for the recording {missing}",
        got=", ".join(list(dict.fromkeys(references.documents or ()))[:5]),
        fix="give the references of this test set",
    )


def _by_documents(
    references: References, hypotheses: Hypotheses, talks: dict[str, str], resegment: bool, reporter: Reporter
) -> References:
    given = _places(hypotheses.documents or (), hypotheses.numbers)
    wanted = _places(references.documents or (), references.numbers)
    if missing := [recording for recording in given if recording not in talks]:
        raise _strangers(references, missing[0])
    if left := [document for document in wanted if document not in talks.values()]:
        reporter.say(f"{len(left)} documents of {references.name} are not in {hypotheses.name}: {left[0]} …")
    order: dict[int, int] = {}
    for recording, lines in given.items():
        places = wanted[talks[recording]]
        if resegment:
            order |= {len(order) + number: place for number, place in enumerate(places)}
            continue
        if len(lines) != len(places):
            where = f"{hypotheses.name}, {recording}"
            raise _unequal(len(lines), len(places), where, f"{references.name}, {talks[recording]}")
        ours, theirs = _numbers(hypotheses, lines), _numbers(references, places)
        if ours and theirs and [number - ours[0] for number in ours] != [n - theirs[0] for n in theirs]:
            raise InputError(
                "the segments of a document have other numbers than its references",
                where=f"{hypotheses.name}, {recording}",
                expected=", ".join(map(str, theirs)),
                got=", ".join(map(str, ours)),
                fix="give the references of these segments",
            )
        order |= dict(zip(lines, places, strict=True))
    return references.take([order[line] for line in range(len(order))])


def _places(documents: Sequence[str], numbers: Sequence[int] | None) -> dict[str, list[int]]:
    """Return the lines of each document, by their numbers in it where they have any."""
    places: dict[str, list[int]] = {}
    for line, document in enumerate(documents):
        places.setdefault(document, []).append(line)
    if numbers is not None:
        for lines in places.values():
            lines.sort(key=numbers.__getitem__)
    return places


def _numbers(side: SegmentLines, lines: Sequence[int]) -> list[int]:
    return [] if side.numbers is None else [side.numbers[line] for line in lines]


def _check_order(references: References, hypotheses: Hypotheses, reporter: Reporter) -> None:
    durations = hypotheses.durations
    if durations is None or len(set(durations)) == 1:
        return
    verdict, figures = compare_order(durations, [len(line) for line in references.lines])
    if verdict == "shuffled":
        raise InputError(
            "the references do not follow the audio: another order, or another test set",
            where=references.name,
            expected="longer references for longer segments",
            got=figures,
            fix="put them in the order of the test set, or give them with names: XML, or CSV with a column id",
        )
    if verdict == "weak":
        reporter.say(f"{references.name} follows the audio only weakly ({figures}): is the order right?")


def _check_documents(references: References, hypotheses: Hypotheses) -> None:
    """Refuse text whose documents stand in another order than those of the references, judged by their words."""
    documents = references.documents or ()
    names = list(dict.fromkeys(documents))
    rank = {name: place for place, name in enumerate(names)}
    owners: dict[str, int] = {}
    for document, line in zip(documents, references.lines, strict=True):
        for gram in _grams(line):
            owners[gram] = rank[document] if owners.get(gram, rank[document]) == rank[document] else SHARED
    pieces = [line[at : at + PIECE] for line in hypotheses.lines for at in range(0, len(line), PIECE)]
    votes = [vote for piece in pieces if (vote := _vote(piece, owners)) is not None]
    if len(votes) < CERTAIN * len(pieces):
        return
    places = {place: [index for index, vote in enumerate(votes) if vote == place] for place in set(votes)}
    order = sorted(places, key=lambda place: median(places[place]))
    given, found = _displaced(votes), _displaced([order.index(vote) for vote in votes])
    if given >= max(2, len(votes) / 50) and 2 * found <= given:
        raise InputError(
            "the documents of the hypotheses stand in another order than those of the references",
            where=hypotheses.name,
            expected=f"{', '.join(names[:8])}, as in {references.name}",
            got=f"{', '.join(names[place] for place in order[:8])}, judged by the words",
            fix="give the run's folder, or the test set of the lines with --test-set: both are paired by name",
        )


def _vote(piece: str, owners: dict[str, int]) -> int | None:
    """Return the document that a piece of text surely belongs to, by letter sequences that no other one has."""
    counts = Counter(owners.get(gram, SHARED) for gram in _grams(piece))
    del counts[SHARED]
    (best, most), (_, second) = (*counts.most_common(2), (SHARED, 0), (SHARED, 0))[:2]
    return best if most > max(2, 2 * second) else None


def _displaced(values: Sequence[int]) -> int:
    """Return how many values must go for the others to stand in order."""
    ends: list[int] = []
    for value in values:
        at = bisect_right(ends, value)
        ends[at : at + 1] = [value]
    return len(values) - len(ends)


def _grams(line: str) -> set[str]:
    text = "".join(line.split())
    size = 2 if max(text, default="") >= "\u2e80" else 4
    return {text[start : start + size] for start in range(len(text) - size + 1)}


@dataclass(frozen=True, kw_only=True)
class ScoringJob:
    """Hypotheses (a file, or a run's folder), the file of their references, and what they are compared with."""

    hypotheses: Path
    reference: Path
    baseline: Path | None


def scoring_jobs(
    hypotheses: Path, reference: Path, baseline: Path | None = None, language: str | None = None
) -> list[ScoringJob]:
    """Return what is to be scored: the file, or every run in a folder, each with its own test set's texts.

    `reference` is a file for all of them, or a folder with a file or folder named after each test set, in the target
    `language` where several are there (two letters; None: what run or file name tell); `baseline` is the same as
    `hypotheses`, of another system. A test set with no references or no baseline, or with more than one, is an
    `InputError`.
    """
    if not hypotheses.is_dir():
        pair, (name, told) = pair_in(hypotheses.name), split_name(hypotheses.name)
        if pair is not None:
            name = f"{hypotheses.name}.".rpartition(f".{pair}.")[0] or name
        reference = _reference(reference, name, language or PAIRS.get(pair or "") or told)
        return [ScoringJob(hypotheses=hypotheses, reference=reference, baseline=baseline)]
    jobs = []
    for folder in run_folders(hypotheses):
        run = read_run(folder)
        name, other = run.test_set.name, None
        if baseline is not None:
            runs = run_folders(baseline) if baseline.is_dir() else [baseline]
            same = runs if len(runs) == 1 else [each for each in runs if read_run(each).test_set.name == name]
            other = _only(same, baseline, f"one run of {name}")
        texts = _reference(reference, name, language or PAIRS.get(run.pair))
        jobs.append(ScoringJob(hypotheses=folder, reference=texts, baseline=other))
    return jobs


def _reference(reference: Path, name: str, language: str | None) -> Path:
    """Return the references of a test set: its name with or without the language and a suffix, or what a folder holds.

    A folder of that name has one CSV, XML or text file in the language, or that tells none.
    """
    if not reference.is_dir():
        return reference

    def fits(path: Path) -> bool:
        tongue = split_name(path.name)[1]
        return tongue in (None, language) or (language is None and tongue != "en")

    def text(path: Path) -> bool:
        return path.suffix.lower() in (".csv", ".xml", ".sgm", ".txt")

    where, found = reference, []
    for path in sorted(reference.iterdir()):
        whole = path.stem if text(path) else path.name
        if name in (path.name, whole) or (name == split_name(path.name)[0] and fits(path)):
            found.append(path)
    if len(found) == 1 and found[0].is_dir():
        where, inner = found[0], [path for path in sorted(found[0].iterdir()) if path.is_file()]
        found = [path for path in inner if (text(path) or split_name(path.name)[1]) and fits(path)]
    names = f"{name}.txt, {name}.{language or 'zh'}.xml …, or in a folder {name}"
    return _only(found, where, f"one file of references for {name}: {names}")


def _only(found: list[Path], where: Path, expected: str) -> Path:
    if len(found) != 1:
        got = listed([path.name for path in found or sorted(where.iterdir())], 20) or "nothing"
        raise InputError("not one for this test set", where=where, expected=expected, got=got)
    return found[0]
