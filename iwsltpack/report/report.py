"""The report: table in every format, graph, page, in one folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from iwsltpack.artifact.location import Place
from iwsltpack.documents.choices import Measure
from iwsltpack.errors import MissingDependency, UsageError
from iwsltpack.report.mean import means
from iwsltpack.report.page import make_page
from iwsltpack.report.plot import can_plot, draw
from iwsltpack.report.render import to_csv, to_json, to_latex, to_markdown
from iwsltpack.report.segments import ClipFolder, segments_of
from iwsltpack.report.systems import System, gather, published
from iwsltpack.report.table import ReportTable, make_tables
from iwsltpack.scoring.references import References
from iwsltpack.system import fileio
from iwsltpack.system.progress import SILENT, Reporter

TITLE = "Quality and size"
PAGE_NAME = "index.html"
PAGE_LIMIT = 20_000_000
"""Bytes past which a page opens slowly; said, not refused."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was written: the tables, the files, and sentences on what could not be done."""

    tables: tuple[ReportTable, ...]
    files: tuple[Path, ...]
    notices: tuple[str, ...]

    @property
    def page(self) -> Path:
        """The HTML page."""
        return next(path for path in self.files if path.name == PAGE_NAME)


def collect(paths: Sequence[Place], tables: Sequence[str] = ()) -> list[System]:
    """Return the systems under `paths`, also on the mean of their test sets, and in the published `tables`.

    Neither given is a `UsageError`, a path with nothing to report on an `InputError`.
    """
    if not paths and not tables:
        fix = "name runs, artifacts or scores; or --published palomino2026"
        raise UsageError("nothing to report on", fix=fix)
    found = gather(paths)
    return [*found, *means(found), *(system for name in tables for system in published(name))]


def write_report(
    systems: Sequence[System],
    output: Path,
    *,
    references: Sequence[References] = (),
    metric: str | None = None,
    measure: Measure | None = None,
    baseline: str | None = None,
    audio: Path | None = None,
    title: str = TITLE,
    progress: Reporter = SILENT,
) -> Report:
    """Write the report on some systems into a folder.

    ``index.html``, ``report.{md,csv,tex,json}``, and for each test set ``frontier*.{png,svg}``; without matplotlib
    there is no graph outside the page, and a notice says so. For metric, measure and baseline see `make_tables`.

    Parameters
    ----------
    references
        Shown beside the segments they were scored with.
    audio
        The test set's folder (or one of several): its clips are linked into ``audio/`` and played on the page.
    """
    tables = make_tables(systems, metric=metric, measure=measure, baseline=baseline)
    progress.start("report", 3)
    try:
        texts = {"md": to_markdown(tables), "csv": to_csv(tables), "tex": to_latex(tables)}
        for suffix, text in texts.items():
            fileio.write_bytes(output / f"report.{suffix}", text.encode())
        fileio.write_json(output / "report.json", to_json(tables))
        progress.advance()
        drawn, notices = _write_graphs(tables, output)
        progress.advance()
        clips = None if audio is None else ClipFolder(audio, output)
        segments = [segments_of(table, references, clips) for table in tables]
        if references:  # who gave them looks for them
            notices += [warning for each in segments for warning in each.warnings]
        page = make_page(tables, segments, title=title).encode()
        fileio.write_bytes(output / PAGE_NAME, page)
    finally:
        progress.finish()
    if len(page) > PAGE_LIMIT:
        notices.append(
            f"the page is {len(page) / 1e6:.1f} MB and will open slowly: report on fewer systems or test sets"
        )
    files = [output / f"report.{suffix}" for suffix in (*texts, "json")]
    return Report(tables=tuple(tables), files=(*files, *drawn, output / PAGE_NAME), notices=tuple(notices))


def _write_graphs(tables: Sequence[ReportTable], output: Path) -> tuple[list[Path], list[str]]:
    plotted = [table for table in tables if can_plot(table)]
    files: list[Path] = []
    for number, table in enumerate(plotted, 1):
        name = "frontier" if len(plotted) == 1 else f"frontier-{number}"
        try:
            images = draw(table)
        except MissingDependency as error:
            return files, [f"no frontier.png and .svg: {error.what}: {error.fix}"]
        for kind, image in images.items():
            path = output / f"{name}.{kind}"
            fileio.write_bytes(path, image)
            files.append(path)
    return files, []
