"""The mean over test sets: one row for each system that was decoded on all of them."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from iwsltpack.report.systems import METRICS, System, SystemScore
from iwsltpack.system.fileio import sha256_bytes


def means(systems: Sequence[System]) -> list[System]:
    """Return the systems again, on the mean of a pair's test sets, where there are several.

    Each test set counts the same, whatever its length. A pair of which no system has all sets has no mean, and what
    somebody else published is left out.
    """
    ours = [system for system in systems if system.test_set and not system.published]
    sets: dict[str, dict[str, None]] = {}
    members: dict[tuple[str, str], dict[str, System]] = {}
    for system in ours:
        sets.setdefault(system.pair, {})[system.test_set] = None
        members.setdefault((system.pair, system.title), {})[system.test_set] = system
    meant = {pair for (pair, _), found in members.items() if len(found) == len(sets[pair]) > 1}
    return [_mean(found, list(sets[pair])) for (pair, _), found in members.items() if pair in meant]


def _mean(found: dict[str, System], sets: Sequence[str]) -> System:
    first = next(iter(found.values()))
    empty = replace(first, test_set=f"mean of {len(sets)} test sets", hypotheses=None, score=None, scores={})
    if lacking := [name for name in sets if name not in found]:
        return replace(empty, seconds_per_item=None, note=f"no mean, not decoded: {', '.join(lacking)}")
    whole = [found[name] for name in sets]
    seconds = [system.seconds_per_item for system in whole if system.seconds_per_item is not None]
    scores = {
        metric: made
        for metric in METRICS
        if (made := _mean_score([system.scores.get(metric) for system in whole])) is not None
    }
    return replace(
        empty, scores=scores, seconds_per_item=fmean(seconds) if len(seconds) == len(whole) else None
    )


def _mean_score(entries: Sequence[SystemScore | None]) -> SystemScore | None:
    """Return the mean of a metric; None unless every set has it. Comparable are means of comparable scores."""
    known = [entry for entry in entries if entry is not None and entry.comparable is not None]
    if len(known) < len(entries):
        return None
    if len(set(known)) == 1:  # of the artifact, not of a test set
        return known[0]
    settings = [part for part in str(known[0].comparable).split("|") if part[:4] not in ("ref:", "src:")]
    digest = sha256_bytes("\n".join(str(entry.comparable) for entry in known).encode())[:8]
    text = "|".join([*settings, f"mean:{len(known)}", f"sets:{digest}"])
    return SystemScore(
        score=fmean(entry.score for entry in known),
        signature=text,
        comparable=text,
        checkpoint=known[0].checkpoint,
    )
