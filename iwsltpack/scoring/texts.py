"""Lines of text to be scored: how they are read, and the digest they are known by."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from iwsltpack.documents.names import PAIRS, RUN_NAME, pair_in
from iwsltpack.documents.run import Run, RunSegment, read_run
from iwsltpack.documents.score import ScoredRun, ScoredText, digest
from iwsltpack.errors import InputError
from iwsltpack.scoring.references import SegmentLines, kind_of, read_side
from iwsltpack.system import fileio
from iwsltpack.system.fileio import read_lines
from iwsltpack.testsets.discovery import test_set_of
from iwsltpack.testsets.order import durations_of
from iwsltpack.testsets.testset import Segment


@dataclass(frozen=True, kw_only=True)
class Hypotheses(SegmentLines):
    """What a system said; `run` and the segments' `durations` (seconds) are there where a run or test set tells."""

    run: Run | None = None
    durations: tuple[float, ...] | None = None

    @property
    def pair(self) -> str | None:
        """Language pair, told by the run or by a name like ``tst.en-zh.txt``."""
        return pair_in(self.name) if self.run is None else self.run.pair

    @property
    def target(self) -> str | None:
        """Language of the lines, two letters, told by that pair, by XML or by the end of the file's name."""
        return PAIRS.get(self.pair or "") or self.language

    @property
    def scored_run(self) -> ScoredRun | None:
        """What a score document says of the run, where it is known."""
        run = self.run
        if run is None:
            return None
        return ScoredRun(
            artifact_sha256=run.artifact.sha256,
            artifact_bytes=run.artifact.bytes,
            recipe=run.artifact.recipe,
            coding=run.artifact.coding,
            mode=run.settings.mode,
            test_set=run.test_set.name,
            seconds_per_segment=run.summary.seconds_per_segment,
            output_sha256=run.output.sha256,
        )


def scored_text(name: str, lines: Sequence[str]) -> ScoredText:
    """Return what a score document says of lines."""
    return ScoredText(name=name, lines=len(lines), sha256=digest(lines))


def read_hypotheses(path: Path, test_set: Path | None = None) -> Hypotheses:
    """Read hypotheses from text, CSV with a column ``hypothesis``, IWSLT XML, or the folder of a decoding run.

    `test_set` is the folder of the test set whose segments the lines of a text are; a run, CSV and XML tell theirs
    themselves. What is missing or unreadable, an unfinished run, one whose text was changed since it was decoded, and
    not a line for every segment of the test set are each an `InputError`.
    """
    if path.is_dir():
        return _read_run(path)
    texts = read_side(path, "output")
    found = Hypotheses(**{each.name: getattr(texts, each.name) for each in fields(SegmentLines)})
    if test_set is None or kind_of(path) != "text":
        return found
    known = test_set_of(path, test_set)
    if len(known.segments) != len(found.lines):
        raise InputError(
            "not a line for every segment of the test set",
            where=found.name,
            expected=f"{len(known.segments)} lines, as {known.name} has segments",
            got=len(found.lines),
        )
    return of_segments(found, known.segments)


def _read_run(path: Path) -> Hypotheses:
    if not (path / RUN_NAME).is_file() and (inside := sorted(path.glob(f"*/{RUN_NAME}"))):
        raise InputError(
            "a folder of several runs",
            where=path,
            expected=f"one run, a folder that holds {RUN_NAME}",
            got=", ".join(run.parent.name for run in inside),
            fix=f"score each of them: iwsltpack score {inside[0].parent} …",
        )
    run = read_run(path)
    text = path / run.output.path
    if fileio.sha256_bytes(fileio.read_bytes(text)) != run.output.sha256:
        raise InputError(
            "the hypotheses are not those the run wrote",
            where=text,
            expected=f"SHA-256 {run.output.sha256}",
            fix="decode again, or score the edited file by itself: iwsltpack score FILE",
        )
    lines = read_lines(text)
    if len(lines) != len(run.segments):
        raise InputError(
            "the run does not describe every line",
            where=path / RUN_NAME,
            expected=len(lines),
            got=len(run.segments),
        )
    return of_segments(Hypotheses(name=text.name, lines=lines, run=run), run.segments)


def of_segments(found: Hypotheses, segments: Sequence[Segment | RunSegment]) -> Hypotheses:
    """Return hypotheses with the names and durations of the segments they are of."""
    return replace(
        found,
        ids=tuple(segment.id for segment in segments),
        documents=tuple(segment.audio for segment in segments),
        durations=tuple(durations_of(segments)),
    )
