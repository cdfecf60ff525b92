"""Cleaning a file into a file, line by line, and the audit of what was done."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iwsltpack.cleaning.engine import Change, clean_line, shows_labels
from iwsltpack.documents.names import PAIRS, pair_in
from iwsltpack.errors import InputError, UsageError
from iwsltpack.system import fileio
from iwsltpack.system.progress import SILENT, Reporter
from iwsltpack.testsets.text_kinds import kind_of_text


@dataclass(kw_only=True)
class CleanSummary:
    """What cleaning a file came to: counts by rule, of repairs and of findings left as they are."""

    lines: int = 0
    changed: int = 0
    repaired: Counter[str] = field(default_factory=Counter)
    reported: Counter[str] = field(default_factory=Counter)

    def add(self, changes: tuple[Change, ...]) -> None:
        """Count one line."""
        self.lines += 1
        self.changed += any(change.repaired for change in changes)
        self.repaired.update(change.rule for change in changes if change.repaired)
        self.reported.update(change.rule for change in changes if not change.repaired)


def audit_entry(line: int, change: Change) -> dict[str, Any]:
    """Return one line of the audit; `line` counts from 1, ``before == after`` where it is only reported."""
    return {"line": line, **vars(change)}


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 text file; only LF ends a line, so the count is that of every other tool.

    A file that cannot be read or is not UTF-8 is an `InputError` that names the line.
    """
    try:
        with path.open("rb") as stream:
            for number, raw in enumerate(stream, 1):  # noqa: B007 - told where a line is not UTF-8
                yield raw.removesuffix(b"\n").decode("utf-8")
    except OSError as error:
        raise InputError("cannot read the file", where=path, got=error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        wide = number == 1 and raw.startswith((b"\xff\xfe", b"\xfe\xff"))
        raise InputError(
            "not UTF-8",
            where=f"{path}:{number}",
            expected="UTF-8 text, one hypothesis a line",
            got="UTF-16" if wide else f"byte 0x{raw[error.start]:02x} at column {error.start + 1}",
            fix=f"convert it: iconv -f {'UTF-16' if wide else 'ENCODING'} -t UTF-8 FILE",
        ) from error


def language_of(path: Path, lang: str | None, pair: str | None) -> str:
    """Return the target language told, or else that of the pair told, or that in ``NAME.en-zh.txt``."""
    if told := lang or PAIRS.get(pair or "") or PAIRS.get(pair_in(path.name) or ""):
        return told
    raise UsageError(
        "which language is this file in?",
        where=path,
        expected="--lang zh or --lang de, or a name such as tst.en-zh.txt",
        fix="add --lang zh",
    )


def clean_file(
    path: Path,
    output: Path,
    lang: str,
    *,
    audit: Path | None = None,
    on_change: Callable[[int, Change], None] = lambda _line, _change: None,
    progress: Reporter = SILENT,
) -> CleanSummary:
    """Clean the hypotheses in `path` into `output`, which may be `path`; memory does not grow with the file.

    Both are UTF-8 text, one hypothesis a line; `output` is written whole or not at all, and `audit`, where it is
    given, gets a JSON object for every repair and finding. `on_change` is called with the line (from 1) and each of
    these, `progress` is advanced by bytes. A file that cannot be read, is not UTF-8, is a table or XML, or holds no
    line is an `InputError`.
    """
    if audit is not None and audit.resolve() in (output.resolve(), path.resolve()):
        raise UsageError(
            "the audit would overwrite the hypotheses", where=audit, fix="give --audit another name"
        )
    if (kind := kind_of_text(path)) != "text":
        raise InputError(
            "the lines of this file are not hypotheses",
            where=path,
            expected="text, one hypothesis a line",
            got="a table or another kind of document" if kind == "other" else kind.upper(),
            fix="write the hypotheses alone into a file, one a line",
        )
    summary = CleanSummary()
    progress.start("cleaning", path.stat().st_size if path.is_file() else 0, "bytes")
    labelled = shows_labels(read_lines(path), lang)
    with ExitStack() as stack:
        cleaned = stack.enter_context(fileio.atomic_open(output))
        audited = stack.enter_context(fileio.atomic_open(audit)) if audit is not None else None
        for number, line in enumerate(read_lines(path), 1):
            result = clean_line(line, lang, labelled=labelled)
            cleaned.write(result.text.encode() + b"\n")
            summary.add(result.changes)
            for change in result.changes:
                on_change(number, change)
                if audited is not None:
                    audited.write(fileio.canonical_json(audit_entry(number, change), indent=None))
            progress.advance(len(line) + 1)
        if not summary.lines:
            raise InputError("the file is empty", where=path, expected="one hypothesis a line")
    progress.finish()
    return summary
