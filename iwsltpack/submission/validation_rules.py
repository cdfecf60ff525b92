"""Every rule the validator and the packager can name: its severity, what it means, what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from iwsltpack.errors import Problem, Severity

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Rule:
    """A rule's severity, its meaning in one sentence, and the next step."""

    severity: Severity
    summary: str
    fix: str


_CLEAN = "run `iwsltpack clean` on the raw hypotheses, or submit from the run"
_AGAIN = "package it again with `iwsltpack submit`"
_DECODE = "run the same `iwsltpack decode` again"

RULES: Final[dict[str, Rule]] = {
    "path.unknown": Rule(
        "error",
        "Nothing at this path that can be validated.",
        ("give a hypothesis file (.txt), a run, an artifact, a submission or a folder of submissions"),
    ),
    "hyp.too-large": Rule(
        "error",
        (
            "A hypothesis file larger than 256 MiB, or a line longer than 1 MB: not the output of"
            " one test set."
        ),
        "check that this is the right file",
    ),
    "hyp.encoding": Rule(
        "error",
        "The text is not UTF-8.",
        "convert it with iconv",
    ),
    "hyp.bom": Rule(
        "error",
        "The file begins with a byte-order mark, which becomes part of the first sentence.",
        "save it without BOM, or run `iwsltpack clean`",
    ),
    "hyp.crlf": Rule(
        "error",
        "Lines end in CR LF or hold a CR; the server counts on LF alone.",
        "run `iwsltpack clean` or dos2unix",
    ),
    "hyp.final-newline": Rule(
        "warning",
        "The last line does not end in a line feed.",
        "add one, or run `iwsltpack clean`",
    ),
    "hyp.empty-file": Rule(
        "error",
        "The file holds no line.",
        "decode the test set again",
    ),
    "hyp.empty-line": Rule(
        "warning",
        "A line holds nothing: the segment scores zero.",
        "look at the segment's audio and decode it again",
    ),
    "hyp.no-content": Rule(
        "warning",
        "A line holds neither a letter nor a digit.",
        "look at the segment's audio and decode it again",
    ),
    "hyp.control": Rule(
        "error",
        "A line holds a control, zero-width or direction character.",
        _CLEAN,
    ),
    "hyp.line-separator": Rule(
        "error",
        (
            "A line holds U+2028, U+2029, U+0085, form feed or vertical tab, which some tools "
            "count as line breaks."
        ),
        _CLEAN,
    ),
    "hyp.replacement": Rule(
        "warning",
        (
            "A line holds U+FFFD: a character was lost, by a wrong encoding or where generation "
            "stopped within it."
        ),
        "decode with a larger --max-new-tokens",
    ),
    "hyp.nfc": Rule(
        "warning",
        "Text is not in Unicode's composed form (NFC): equal characters will not match.",
        _CLEAN,
    ),
    "hyp.white-space": Rule(
        "notice",
        "White space at an end of a line, or runs of it within.",
        _CLEAN,
    ),
    "hyp.meta-prefix": Rule(
        "error",
        "Talk about the translation is left before it.",
        _CLEAN,
    ),
    "hyp.prefix-only": Rule(
        "warning",
        "A line is talk about the translation and no translation.",
        "decode the segment again with a larger --max-new-tokens",
    ),
    "hyp.possible-label": Rule(
        "warning",
        "A line holds what may be a label or content, or the source text labelled as such.",
        "look at the line",
    ),
    "hyp.chat-mark": Rule(
        "warning",
        "A line holds what may be a chat model's mark or content: a token, fence, tag, entity, heading or record.",
        "look at the line",
    ),
    "hyp.not-clean": Rule(
        "warning",
        "A cleaning rule would still change the line.",
        _CLEAN,
    ),
    "hyp.not-target-language": Rule(
        "warning",
        "The line is not in the target language.",
        "look at the line; a milder recipe or another prompt may help",
    ),
    "hyp.half-translated": Rule(
        "warning",
        "Six or more English words in a row are left in a Chinese line.",
        "look at the line",
    ),
    "hyp.refusal": Rule(
        "warning",
        "The model answers that it cannot translate.",
        "decode the segment again",
    ),
    "hyp.script-share": Rule(
        "error",
        "More than half of the lines are empty or not in the target language.",
        "check language and file: this looks like another language's output",
    ),
    "hyp.duplicate-lines": Rule(
        "warning",
        "The same line stands twice or more in a row.",
        "check that no segment was decoded twice in place of its neighbour",
    ),
    "hyp.line-count": Rule(
        "error",
        "Not one line for each segment of the test set.",
        "decode the test set again: lines can be neither added nor left out",
    ),
    "hyp.language": Rule(
        "error",
        "The target language is not known, so most checks cannot run.",
        "name it: --pair en-zh, or a file name like tst.en-zh.txt",
    ),
    "alignment.shuffled": Rule(
        "error",
        (
            "Lengths of the lines and durations of the segments are unrelated: the lines are in "
            "another order, or belong to another test set."
        ),
        "check the order of FILE_ORDER and the YAML; decode with this test set",
    ),
    "alignment.weak": Rule(
        "warning",
        (
            "Lengths of the lines follow the durations of the segments only weakly (Spearman "
            "below 0.5; a whole run is near 0.8)."
        ),
        "look for segments that were cut, merged or swapped",
    ),
    "alignment.skipped": Rule(
        "notice",
        "Fewer than 20 segments: too few to tell whether lengths follow durations.",
        "nothing to do",
    ),
    "run.unreadable": Rule(
        "error",
        "The run's folder or its run.json cannot be used.",
        _DECODE,
    ),
    "run.output-missing": Rule(
        "error",
        "The hypothesis file named in run.json is not there.",
        _DECODE,
    ),
    "run.output-changed": Rule(
        "error",
        "The hypothesis file is not the one this run wrote (SHA-256 differs).",
        "restore the run's own file; cleaning happens at submit, into the package",
    ),
    "run.order": Rule(
        "error",
        "The segments in run.json are not numbered 0, 1, 2, … in output order.",
        _DECODE,
    ),
    "run.truncated": Rule(
        "warning",
        "Segments stopped at the token limit: their translation is cut off.",
        "decode with --retry-truncated or a larger --max-new-tokens",
    ),
    "run.placeholders": Rule(
        "warning",
        "Segments whose audio could not be used hold a placeholder.",
        "mend the audio files and decode again",
    ),
    "run.hallucinations": Rule(
        "notice",
        "Segments show signs of hallucination.",
        "look at the segments' signs in run.json",
    ),
    "artifact.unreadable": Rule(
        "error",
        "The artifact cannot be used.",
        "build or download it again",
    ),
    "submission.unreadable": Rule(
        "error",
        "submission.json cannot be used.",
        _AGAIN,
    ),
    "submission.hostile": Rule(
        "error",
        "The package holds a link, a path outside itself or something that is no plain file.",
        "do not use it; ask its author for a clean one",
    ),
    "submission.foreign-file": Rule(
        "error",
        "The package holds a file that its checksums do not list.",
        "remove the file, or package again",
    ),
    "submission.missing-file": Rule(
        "error",
        "A file that the checksums list is not there.",
        _AGAIN,
    ),
    "submission.checksum": Rule(
        "error",
        "A file differs from its checksum.",
        _AGAIN,
    ),
    "submission.folder-name": Rule(
        "error",
        "The folder is not called by the model name.",
        "rename the folder, or package again",
    ),
    "submission.model-name": Rule(
        "error",
        ("The model name does not follow the edition's pattern, or does not say what submission.json says."),
        _AGAIN,
    ),
    "submission.edition": Rule(
        "warning",
        "The edition's rules have changed since this was packaged.",
        _AGAIN,
    ),
    "submission.description": Rule(
        "error",
        "DESCRIPTION.md lacks a mandatory field or its exact value.",
        _AGAIN,
    ),
    "submission.private": Rule(
        "error",
        "An absolute path, user name or host name stands in the package.",
        "remove it and package again",
    ),
    "submission.archive": Rule(
        "error",
        "The archive does not hold exactly the package's files.",
        _AGAIN,
    ),
    "submit.test-set-missing": Rule(
        "error",
        "Not every test set of the pair is there.",
        "decode the missing test sets and name every run with --run",
    ),
    "submit.test-set-unknown": Rule(
        "error",
        "A test set that the edition does not have for this pair.",
        "leave that run out, or name the right --edition",
    ),
    "submit.test-set-twice": Rule(
        "error",
        "Two runs of the same test set.",
        "name one of them",
    ),
    "submit.pair": Rule(
        "error",
        "The run is of another language pair.",
        "name the runs of this pair",
    ),
    "submit.second-primary": Rule(
        "error",
        "There is a PRIMARY for this pair and condition already; exactly one is allowed.",
        "submit --contrastive, or afterwards: iwsltpack submissions --promote NAME",
    ),
    "submit.datasets-missing": Rule(
        "error",
        "This data condition makes the list of datasets mandatory.",
        "add --dataset NAME for each",
    ),
    "submit.datasets-not-allowed": Rule(
        "error",
        "A dataset that the data condition does not allow.",
        "leave it out or submit as unconstrained",
    ),
    "submit.size": Rule(
        "error",
        "A size that is not the artifact's on disk.",
        "decode with this artifact, or let `iwsltpack submit` measure it",
    ),
    "submit.size-bin": Rule(
        "error",
        "The model fits no size bin of the edition.",
        "compress further, or check --edition",
    ),
    "submit.artifact-damaged": Rule(
        "error",
        "The artifact fails `iwsltpack verify`.",
        "build or download the artifact again",
    ),
    "submit.other-artifact": Rule(
        "error",
        "The hypotheses were not decoded with this artifact.",
        "decode with it, or name the artifact the run used",
    ),
    "submit.base-model": Rule(
        "error",
        "The model is not derived from one the edition allows.",
        "build from an allowed base model",
    ),
    "submit.base-model-unknown": Rule(
        "warning",
        "The artifact does not say which hub model it was built from.",
        "build it with the hub's name, so that the derivation is on record",
    ),
    "submit.settings-differ": Rule(
        "warning",
        "The runs were decoded with different prompts or token limits.",
        "make sure that this was meant",
    ),
    "ledger.two-primaries": Rule(
        "error",
        "More than one PRIMARY for a pair and condition.",
        "demote one: iwsltpack submissions --promote NAME",
    ),
    "ledger.no-primary": Rule(
        "warning",
        ("No PRIMARY for a pair and condition: the latest file by time stamp will count as PRIMARY."),
        "promote one: iwsltpack submissions --promote NAME",
    ),
    "ledger.unfinished": Rule(
        "error",
        "A change of the ledger was interrupted half-way.",
        "run `iwsltpack submissions`: it finishes the change",
    ),
    "ledger.stray": Rule(
        "warning",
        "Something among the submissions that is no submission.",
        "move it elsewhere",
    ),
}


def problem(
    rule: str,
    message: str,
    *,
    path: Path | str | None = None,
    line: int | None = None,
    fix: str | None = None,
) -> Problem:
    """Make the `Problem` of a rule of the table; severity and fix come from there."""
    known = RULES[rule]
    return Problem(
        rule=rule,
        message=message,
        severity=known.severity,
        path=None if path is None else str(path),
        line=line,
        fix=fix or known.fix,
    )
