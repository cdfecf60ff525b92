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


def clean_line(text: str, lang: str) -> CleanedLine:
    """Clean one hypothesis, or an answer that holds line breaks, in the target language ``zh`` or ``de``.

    The result is one line, the same again when cleaned again, and not empty unless `text` was blank. Another
    language is a `UsageError`.
    """
    if lang not in LANGUAGES:
        raise UsageError(f"no cleaning rules for language {lang!r}", expected=" or ".join(LANGUAGES))
    changes: list[Change] = []
    current = text if is_plain(text) else _until_stable(text, lang, CHARACTER_RULES, changes)[0]
    if may_be_talk(current):
        worded: list[Change] = []
        final, stable = _until_stable(current, lang, WORDING_RULES, worded)
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
        begun = current
        for rule in rules:
            current = _apply(rule, current, lang, changes)
        if current == begun:
            return current, True
        if rules is not CHARACTER_RULES and not is_plain(current):
            for rule in CHARACTER_RULES:
                current = _apply(rule, current, lang, changes)
    return current, False


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


def clean_lines(lines: Iterable[str], lang: str) -> CleanResult:
    """Clean all lines; see `clean_line`."""
    return CleanResult(lines=tuple(clean_line(line, lang) for line in lines))
