"""The plan of a test set's decoding, and what follows from it: pieces, batches, what its journals are bound to.

Which pieces are decoded together depends on the test set alone, never on what was done already, so a resumed run
searches exactly the batches of an unbroken one and writes the same bytes on any device.
"""

from collections.abc import Iterable
from typing import Any

from iwsltpack.documents.decoding_plan import DecodingPlan, PlanPiece, PlanSegment
from iwsltpack.documents.run import RunArtifact, RunSettings, RunTestSet
from iwsltpack.system.fileio import canonical_json, sha256_bytes
from iwsltpack.testsets.survey import Piece, Survey

Batch = tuple[Piece, ...]
UNBOUND = ("mode", "on_bad_audio")
"""Settings that may change while a run goes on."""


def make_plan(found: Survey, artifact: RunArtifact, settings: RunSettings, pair: str) -> DecodingPlan:
    """Return the plan of an examined test set."""
    pieces: dict[int, list[PlanPiece]] = {}
    for piece in found.pieces:
        pieces.setdefault(piece.segment, []).append(PlanPiece(offset=piece.offset, duration=piece.duration))
    return DecodingPlan(
        pair=pair,
        artifact=artifact,
        test_set=RunTestSet(
            name=found.test_set.name,
            kind=found.test_set.kind,
            sha256=found.sha256,
            segments=len(found.durations),
            audio_seconds=found.audio_seconds,
        ),
        settings=settings,
        segments=tuple(
            PlanSegment(
                id=segment.id,
                audio=segment.audio,
                offset=segment.offset,
                duration=duration,
                source=segment.source,
                pieces=tuple(pieces.get(segment.index, ())),
            )
            for segment, duration in zip(found.test_set.segments, found.durations, strict=True)
        ),
    )


def batches_of(plan: DecodingPlan) -> list[Batch]:
    """Return the batches; the same for everybody who decodes by this plan."""
    pieces = (
        Piece(segment=index, part=part, offset=piece.offset, duration=piece.duration)
        for index, segment in enumerate(plan.segments)
        for part, piece in enumerate(segment.pieces)
    )
    return plan_batches(pieces, plan.settings.batch_size, plan.settings.batch_seconds)


def binding(plan: DecodingPlan) -> dict[str, Any]:
    """Return what a journal is bound to.

    Two settings are left out. All modes compute with the same weights, so a run that did not fit the device may go on
    as `stream`; but `int8` adds up products in another order than the library, so that only `int8` goes on for it.
    And what became of unusable audio is told by the segments themselves, so a run that was stopped by a
    segment that kills its worker may go on with a placeholder for it.
    """
    unusable = [index for index, segment in enumerate(plan.segments) if not segment.pieces]
    settings = {key: value for key, value in plan.settings.to_json().items() if key not in UNBOUND}
    settings["mode"] = "int8" if plan.settings.mode == "int8" else "load, cache or stream"
    return {
        "pair": plan.pair,
        "artifact": plan.artifact.sha256,
        "test_set": {
            "name": plan.test_set.name,
            "sha256": plan.test_set.sha256,
            "segments": len(plan.segments),
            "unusable": sha256_bytes(canonical_json(unusable)) if unusable else None,
        },
        "plan": plan_digest(batches_of(plan)),
        "settings": settings,
    }


def plan_batches(pieces: Iterable[Piece], batch_size: int, batch_seconds: float) -> list[Batch]:
    """Group pieces of like length, the longest first: what will not fit the device shows at once.

    A batch holds `batch_size` pieces and, padding included, `batch_seconds` of audio at most; a single piece may
    exceed these.
    """
    batches: list[Batch] = []
    current: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: (-piece.duration, piece.segment, piece.part)):
        longest = current[0].duration if current else piece.duration
        if current and (len(current) >= batch_size or (len(current) + 1) * longest > batch_seconds):
            batches.append(tuple(current))
            current = []
        current.append(piece)
    return [*batches, tuple(current)] if current else batches


def plan_digest(batches: Iterable[Batch]) -> str:
    """Return the SHA-256 of a plan: every piece's place and the batch it is in."""
    rows = [
        [[piece.segment, piece.part, piece.offset, piece.duration] for piece in batch] for batch in batches
    ]
    return sha256_bytes(canonical_json(rows, indent=None))
