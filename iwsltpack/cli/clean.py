"""``iwsltpack clean``."""

from pathlib import Path
from typing import TYPE_CHECKING

from iwsltpack.cli import console
from iwsltpack.errors import UsageError, printable

if TYPE_CHECKING:
    from iwsltpack.cleaning.engine import Change
    from iwsltpack.cleaning.files import CleanSummary


def command(
    file: Path,
    *,
    output: Path,
    lang: str | None = None,
    pair: str | None = None,
    audit: Path | None = None,
    diff: bool = False,
) -> None:
    """Clean hypotheses: meta prefixes, wrapping quotes, both-language answers, line breaks, runs.

    As many lines come out as went in; none is emptied, merged or split. What no rule can repair is reported.

    Example: iwsltpack clean runs/tst.en-zh.txt --output tst.zh --audit tst.audit.jsonl --diff
    """
    from iwsltpack.cleaning.files import clean_file, language_of
    from iwsltpack.documents.places import hypothesis_files, refuse_inside, refuse_own_file

    refuse_inside(output if output.is_dir() else output.parent, "run")
    files = hypothesis_files(file)

    def placed(given: Path, name: Path) -> Path:
        # A run is a folder and is cleaned into one, unless the output is named as a file is.
        folder = len(files) > 1 or given.is_dir() or (file.is_dir() and not given.suffix)
        return given / name if folder else given

    names = [Path(path.name) if path == file else path.relative_to(file) for path in files]
    targets = [placed(output, name) for name in names]
    audits = [placed(audit, name.with_suffix(".jsonl")) if audit is not None else None for name in names]
    for written in filter(None, (*targets, *audits)):
        refuse_own_file(written)
    for path, target in zip(files, targets, strict=True):
        if target != output and target.resolve() == path.resolve():
            fix = f"name the file itself to replace it, --output {target}, or another folder"
            raise UsageError("the raw hypotheses would be replaced", where=target, fix=fix)
    summaries = {}
    shown: list[tuple[int, Change]] = []
    with console.reporter() as reporter:
        for path, target, noted in zip(files, targets, audits, strict=True):
            summaries[target] = clean_file(
                path,
                target,
                language_of(path, lang, pair),
                audit=noted,
                on_change=(lambda *change: shown.append(change)) if diff else lambda _line, _change: None,
                progress=reporter,
            )
    raw = {path.resolve() for path in files}
    for target, summary in summaries.items():
        _say_summary(summary, target, in_place=target.resolve() in raw)
    # Whoever reads a difference may stop reading: by then everything is written and said.
    for line, change in shown:
        _show_change(line, change)
    if console.as_json():
        console.show_json([{"output": str(path), **vars(summary)} for path, summary in summaries.items()])


def _show_change(line: int, change: "Change") -> None:
    if console.as_json():
        return
    from rich.text import Text

    from iwsltpack.cleaning.diff import marked

    styles = {"kept": "", "removed": "red strike", "added": "green"}
    signs = {"kept": ("", ""), "removed": ("[-", "-]"), "added": ("{+", "+}")}
    text = Text(f"{line}: {change.rule}: ", style="bold")
    for mark, piece in marked(change.before, change.after):
        before, after = ("", "") if console.out.is_terminal else signs[mark]
        text.append(f"{before}{printable(piece)}{after}", style=styles[mark] or "not bold")
    if change.message:
        text.append(f"  ({printable(change.message)})", style="yellow not bold")
    console.show(text)


def _say_summary(summary: "CleanSummary", output: Path, *, in_place: bool) -> None:
    told = f"{output}, in place of the raw lines" if in_place else output
    console.say(f"{summary.lines} lines, {summary.changed} repaired -> {told}")
    for title, counts in (("repaired", summary.repaired), ("left as they are", summary.reported)):
        if counts:
            console.say(f"  {title}: " + ", ".join(f"{rule} {count}" for rule, count in counts.most_common()))
