"""Apply the rules to lines: until nothing changes, never to nothing, never to more or fewer lines."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from iwsltpack.cleaning.characters import is_plain
from iwsltpack.cleaning.findings import REPORTS
from iwsltpack.cleaning.rules import RULES, CleaningRule, may_be_talk
from iwsltpack.cleaning.script import has_content
from iwsltpack.errors import UsageError

LANGUAGES: Final = ("zh", "de")
MAX_PASSES: Final = 8
"""A line that still changes after as many passes is not understood: its wording is left alone."""
CHARACTER_RULES: Final = tuple(rule for rule in RULES if rule.phase == 1)
WORDING_RULES: Final = tuple(rule for rule in RULES if rule.phase == 2)
LIKELY_RULES: Final = tuple(rule for rule in RULES if rule.phase == 3)
LABELS: Final = ("record", "meta-prefix", "both-languages", "trailing-note")
"""Rules that take a label away which the line alone shows to be one."""
LABELLED_LINES: Final = 2
LABELLED_FROM: Final = 1 / 1000
"""So many lines, and such a share of them, carry labels where the model is one that writes them."""
LIKELY_LINES: Final = 5
"""So many lines that carry what may be a label count as one for that."""
UNSTABLE: Final = "too-nested"
"""Reported where that happened."""
WOULD_EMPTY: Final = "would-empty"
"""Reported where a rule would have left nothing."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """One entry of the audit: `rule` turned `before` into `after`; equal where it is only reported."""

    rule: str
    before: str
    after: str
    message: str | None = None

    @property
    def repaired(self) -> bool:
        """Tell whether the line changed."""
        return self.before != self.after


@dataclass(frozen=True, kw_only=True)
class CleanedLine:
    """One line after cleaning, with everything that was done to it or found in it."""

    text: str
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CleanResult:
    """All lines after cleaning, in order, as many as went in."""

    lines: tuple[CleanedLine, ...]

    @property
    def texts(self) -> list[str]:
        """The cleaned lines."""
        return [line.text for line in self.lines]


def clean_line(text: str, lang: str, *, labelled: bool = False) -> CleanedLine:
    """Clean one hypothesis, or an answer that holds line breaks, in the target language ``zh`` or ``de``.

    `labelled` tells that other lines show the model to write labels (`shows_labels`): then what may be one goes too.
    The result is one line, the same again when cleaned again, and not empty unless `text` was blank. Another
    language is a `UsageError`.
    """
    if lang not in LANGUAGES:
        raise UsageError(f"no cleaning rules for language {lang!r}", expected=" or ".join(LANGUAGES))
    changes: list[Change] = []
    current = text if is_plain(text) else _until_stable(text, lang, CHARACTER_RULES, changes)[0]
    worded: list[Change] = []
    final, stable = current, True
    if may_be_talk(current):
        final, stable = _until_stable(current, lang, WORDING_RULES, worded)
    own = any(change.repaired and change.rule in LABELS for change in worded)
    if stable and (labelled or own):
        # What stands behind a label is the translation, even where it begins as a label does.
        likely = LIKELY_RULES[1:] if own else LIKELY_RULES
        before, final = final, _once(final, lang, likely, worded)
        if final != before:
            final, stable = _until_stable(final, lang, (*WORDING_RULES, *likely), worded)
    if stable:
        current = final
        changes += worded
    else:
        message = f"still changing after {MAX_PASSES} passes"
        changes.append(Change(rule=UNSTABLE, before=current, after=current, message=message))
    for report in REPORTS:
        if (message_found := report.find(current, lang)) is not None:
            changes.append(Change(rule=report.id, before=current, after=current, message=message_found))
    return CleanedLine(text=current, changes=tuple(changes))


def _until_stable(
    text: str, lang: str, rules: tuple[CleaningRule, ...], changes: list[Change]
) -> tuple[str, bool]:
    """Apply `rules` until a whole pass changes nothing; tell whether that came about.

    Taking words away can leave white space or a run behind: then the rules on characters are applied again.
    """
    current = text
    for _ in range(MAX_PASSES):
        begun, current = current, _once(current, lang, rules, changes)
        if current == begun:
            return current, True
        if rules is not CHARACTER_RULES and not is_plain(current):
            current = _once(current, lang, CHARACTER_RULES, changes)
    return current, False


def _once(current: str, lang: str, rules: tuple[CleaningRule, ...], changes: list[Change]) -> str:
    for rule in rules:
        current = _apply(rule, current, lang, changes)
    return current


def _apply(rule: CleaningRule, current: str, lang: str, changes: list[Change]) -> str:
    after = rule.apply(current, lang)
    if after == current:
        return current
    # A repair may not take away all that a line says; a line of white space or of line breaks has nothing to lose.
    if (has_content(current) and not has_content(after)) or (current.strip() and not after.strip()):
        message = f"{rule.id} would leave nothing of the line"
        refused = Change(rule=WOULD_EMPTY, before=current, after=current, message=message)
        if refused not in changes:
            changes.append(refused)
        return current
    changes.append(Change(rule=rule.id, before=current, after=after))
    return after


def shows_labels(lines: Iterable[str], lang: str) -> bool:
    """Tell whether so many of `lines` carry a label that the model is one that writes them."""
    total = sure = likely = 0
    for total, line in enumerate(lines, 1):  # noqa: B007
        if may_be_talk(line):
            found = {change.rule: change.repaired for change in clean_line(line, lang).changes}
            sure += any(map(found.get, LABELS))
            likely += "possible-label" in found
    return sure + likely / LIKELY_LINES >= max(LABELLED_LINES, LABELLED_FROM * total)


def clean_lines(lines: Iterable[str], lang: str) -> CleanResult:
    """Clean all lines of a file; see `clean_line`."""
    lines = tuple(lines)
    labelled = shows_labels(lines, lang)
    return CleanResult(lines=tuple(clean_line(line, lang, labelled=labelled) for line in lines))
