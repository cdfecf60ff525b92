"""What a report compares: systems on a test set, gathered from runs, artifacts, scores and published tables."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from iwsltpack.artifact.location import Place, is_address, locate, name_of
from iwsltpack.artifact.sizes import Sizes, sizes_of
from iwsltpack.cleaning.engine import clean_lines
from iwsltpack.documents.artifact import ArtifactManifest
from iwsltpack.documents.choices import Measure
from iwsltpack.documents.names import (
    CLEANED_SCORE_NAME,
    MANIFEST_NAME,
    RESULTS_FORMAT,
    RUN_NAME,
    SCORE_FORMAT,
    SCORE_NAME,
)
from iwsltpack.documents.results import Results, SystemSize
from iwsltpack.documents.score import TITLES, Score, ScoredRun, digest, read_score
from iwsltpack.errors import InputError, UsageError
from iwsltpack.scoring.texts import Hypotheses, read_hypotheses
from iwsltpack.system import fileio
from iwsltpack.system.fileio import read_lines

MEASURES: tuple[Measure, ...] = get_args(Measure)
MEASURE_TITLES = {"whole": "whole folder", "linear": "linear layers"}
MEASURE_MEANINGS = {
    "whole": "every byte of the artifact on disk, which the track ranks by",
    "linear": "weights and biases of linear layers alone, which the paper's table counts",
}
BASELINE_RECIPE = "fp16"
DAMAGE = "damage"
METRICS = TITLES | {DAMAGE: "KL"}
"""What systems may be ranked by, best known first, with headings: scores, or what an artifact says of its damage."""
BOUNDS = {"comet": (0.0, 1.0), "chrf": (0.0, 100.0), "bleu": (0.0, 100.0), DAMAGE: (0.0, math.inf)}
"""Where axes stop."""
PUBLISHED = Path(__file__).with_name("data")
"""The folder of the published tables that come with the package."""
SEARCH_DEPTH = 3
Kind = Literal["run", "artifact", "score", "results"]
"""What a place given holds."""
FORMATS: dict[str, Kind] = {SCORE_FORMAT: "score", RESULTS_FORMAT: "results"}


@dataclass(frozen=True, kw_only=True)
class SystemScore:
    """A score, its signature in one line, and what other scores must share with it to be compared.

    `comparable` is None where that is not known; `checkpoint` names the model that scored, for COMET.
    """

    score: float
    signature: str
    comparable: str | None
    checkpoint: str | None = None


@dataclass(frozen=True, kw_only=True)
class System:
    """One system on one test set, in one state of its text (raw or cleaned).

    Attributes
    ----------
    name, setting
        Method and setting; together unique within a report.
    test_set, pair
        What it was decoded on; empty for an artifact that no run was given of.
    cleaned, published
        Whether the scored text was cleaned; whether the figures are somebody else's.
    sizes, source_sizes
        Bytes by measure, and those of the checkpoint it was made from.
    components
        Tensor bytes by part of the model, and ``side files``.
    hypotheses, score
        The raw lines and the whole score document, for the view of segments.
    """

    name: str
    setting: str
    test_set: str = ""
    pair: str = ""
    baseline: bool = False
    cleaned: bool = False
    published: bool = False
    scores: dict[str, SystemScore] = field(default_factory=dict)
    seconds_per_item: float | None = None
    sizes: dict[str, SystemSize] = field(default_factory=dict)
    source_sizes: dict[str, int] = field(default_factory=dict)
    components: dict[str, int] | None = None
    note: str | None = None
    hypotheses: Hypotheses | None = None
    score: Score | None = None

    @property
    def title(self) -> str:
        """Method and setting in one."""
        return f"{self.name} ({self.setting})" if self.setting else self.name


class _Artifact(NamedTuple):
    name: str
    manifest: ArtifactManifest
    sizes: Sizes


def published(name: str) -> list[System]:
    """Return the rows of a published table: one that comes with the package, or a results document."""
    ours = {path.stem: path for path in sorted(PUBLISHED.glob("*.json"))}
    path = ours.get(name, Path(name))
    if not path.is_file():
        expected = f"{', '.join(ours)}, or a results document"
        raise UsageError(f"no published table {name!r}", expected=expected)
    return _published_rows(path)


def gather(paths: Sequence[Place]) -> list[System]:
    """Return every system found in runs, artifacts, score documents, results documents and folders of these.

    A run's sizes come from its artifact where that was given too; otherwise the whole folder's size is known from
    the run. Scores lie beside a run as ``score.json`` and ``score.cleaned.json``; those of another run are an
    `InputError`, and so is a path that holds nothing. An address is that of an artifact, of which only the manifest is
    read.
    """
    found: dict[str, list[Any]] = {"run": [], "artifact": [], "score": [], "results": []}
    for place in paths:
        inside = [("artifact", place)] if is_address(place) else list(_find(Path(place)))
        if not inside:
            raise InputError(
                "nothing to report on",
                where=place,
                expected=f"a run ({RUN_NAME}), an artifact ({MANIFEST_NAME}), {SCORE_NAME}, or folders of these",
            )
        for kind, where in inside:
            found[kind].append(where)
    artifacts = {}
    for place in found["artifact"]:
        manifest, total = (opened := locate(place)).manifest, opened.total_bytes
        artifacts[manifest.sha256] = _Artifact(name_of(place), manifest, sizes_of(manifest, total))
    placed = [(system, path) for path in found["run"] for system in _run_rows(path, artifacts)]
    placed += [(_score_row(read_score(path), path, artifacts), path) for path in found["score"]]
    runs = [system.hypotheses.scored_run for system, _ in placed if system.hypotheses]
    runs += [system.score.run for system, _ in placed if system.score]
    used = {run.artifact_sha256 for run in runs if run}
    unused = (artifact for key, artifact in artifacts.items() if key not in used)
    placed += [(_artifact_row(artifact), Path(artifact.name)) for artifact in unused]
    placed += [(system, path) for path in found["results"] for system in _published_rows(path)]
    return _told_apart(placed)


def _find(path: Path, depth: int = 0) -> Iterator[tuple[Kind, Place]]:
    """Yield what lies at `path` or below it, and what it is."""
    if path.is_file():
        yield _kind_of(path), path
    elif (path / RUN_NAME).is_file():
        yield "run", path
    elif (path / MANIFEST_NAME).is_file():
        yield "artifact", path
    elif path.is_dir():
        for entry in sorted(path.iterdir()) if depth < SEARCH_DEPTH else ():
            if entry.name in (SCORE_NAME, CLEANED_SCORE_NAME):
                yield "score", entry
            elif entry.is_dir() and not entry.name.startswith("."):
                yield from _find(entry, depth + 1)
    else:
        raise InputError("no such file or folder", where=path)


def _kind_of(path: Path) -> Kind:
    data = fileio.read_json(path)
    kind = data.get("format") if isinstance(data, dict) else None
    if kind in FORMATS:
        return FORMATS[kind]
    raise InputError("neither scores nor results", where=path, expected=" or ".join(FORMATS), got=kind)


def _published_rows(path: Path) -> list[System]:
    results = Results.read(path)
    return [
        System(
            name=row.name,
            setting=row.setting,
            # The publication's test set is its own: same name or not, its lines are not at hand to be compared.
            test_set=f"{row.test_set}, {results.title}",
            pair=row.pair,
            baseline=row.baseline,
            published=True,
            scores={
                metric: SystemScore(score=entry.score, signature=entry.signature, comparable=entry.signature)
                for metric, entry in row.scores.items()
            },
            seconds_per_item=row.seconds_per_item,
            sizes=dict(row.sizes.items()),
            note=row.note,
        )
        for row in results.rows
    ]


def _run_rows(path: Path, artifacts: dict[str, _Artifact]) -> list[System]:
    """Return a row for each score beside the run, or one without scores."""
    hypotheses = read_hypotheses(path)
    if hypotheses.scored_run is None:
        raise InputError("not a run", where=path)
    base = _decoded(hypotheses.scored_run, str(hypotheses.pair), artifacts)
    base, rows = replace(base, hypotheses=hypotheses), []
    for name, cleaned in ((SCORE_NAME, False), (CLEANED_SCORE_NAME, True)):
        if (path / name).is_file():
            score = read_score(path / name)
            _check_belongs(score, hypotheses, path / name)
            rows.append(replace(_with_scores(base, score), cleaned=cleaned))
    return rows or [base]


def _decoded(run: ScoredRun, pair: str, artifacts: dict[str, _Artifact]) -> System:
    return System(
        name=run.recipe,
        setting=f"{run.coding}, {run.mode}",
        test_set=run.test_set,
        pair=pair,
        baseline=run.recipe == BASELINE_RECIPE,
        seconds_per_item=run.seconds_per_segment,
        **_size_fields(artifacts.get(run.artifact_sha256), run.artifact_bytes),
    )


def _check_belongs(score: Score, hypotheses: Hypotheses, path: Path) -> None:
    run, ours = score.run, hypotheses.scored_run
    same_run = run is not None and ours is not None and run.artifact_sha256 == ours.artifact_sha256
    if run is not None and ours is not None and run.output_sha256 is not None:
        same_text = run.output_sha256 == ours.output_sha256
    else:
        # Documents of before the run's output was recorded: the lines scored must be what they would be today.
        lines = clean_lines(hypotheses.lines, score.language).texts if score.cleaned else hypotheses.lines
        same_text = score.hypotheses.sha256 == digest([line.rstrip() for line in lines])
    same_kind = score.cleaned == (path.name == CLEANED_SCORE_NAME)
    if not (same_run and same_text and same_kind and score.hypotheses.lines == len(hypotheses.lines)):
        raise InputError(
            "these scores are not of the run they lie beside",
            where=path,
            fix=f"score it again: iwsltpack score {path.parent} --reference REF{' --clean' if score.cleaned else ''}",
        )


def _score_row(score: Score, path: Path, artifacts: dict[str, _Artifact]) -> System:
    run = score.run
    if path.name in (SCORE_NAME, CLEANED_SCORE_NAME) and (path.parent / RUN_NAME).is_file():
        _check_belongs(score, read_hypotheses(path.parent), path)
    if run is None:
        name = score.hypotheses.name if path.name in (SCORE_NAME, CLEANED_SCORE_NAME) else path.stem
        base = System(name=name, setting="", test_set=score.references.name, pair=f"to {score.language}")
    else:
        base = _decoded(run, f"to {score.language}", artifacts)
    return replace(_with_scores(base, score), cleaned=score.cleaned, hypotheses=_text_beside(score, path))


def _text_beside(score: Score, path: Path) -> Hypotheses | None:
    """Return the lines scored, where the file lies beside the scores and is still what it was."""
    text = path.parent / score.hypotheses.name
    if score.cleaned or not text.is_file():
        return None
    lines = read_lines(text)
    return Hypotheses(name=text.name, lines=lines) if digest(lines) == score.hypotheses.sha256 else None


def _with_scores(base: System, score: Score) -> System:
    return replace(
        base,
        score=score,
        scores=base.scores
        | {
            result.metric: SystemScore(
                score=result.score,
                signature=result.signature.text,
                comparable=result.signature.comparable,
                checkpoint=result.signature.checkpoint.name if result.signature.checkpoint else None,
            )
            for result in score.metrics
        },
    )


def _artifact_row(artifact: _Artifact) -> System:
    manifest = artifact.manifest
    return System(
        name=manifest.recipe.name,
        setting=manifest.coding,
        baseline=manifest.recipe.name == BASELINE_RECIPE,
        note="not decoded yet",
        **_size_fields(artifact, artifact.sizes.total_bytes),
    )


def _size_fields(artifact: _Artifact | None, total_bytes: int) -> dict[str, Any]:
    if artifact is None:
        return {"sizes": {"whole": SystemSize(bytes=total_bytes)}}
    sizes = artifact.sizes
    return {
        "sizes": {
            "whole": SystemSize(bytes=sizes.total_bytes),
            "linear": SystemSize(bytes=sizes.linear_bytes),
        },
        "source_sizes": {"whole": sizes.source_bytes, "linear": sizes.source_linear_bytes},
        "scores": _damage(artifact.manifest),
        "components": {
            **{name.replace("_", " "): part.bytes for name, part in sizes.components.items() if part.bytes},
            "side files": sizes.side_bytes,
        },
    }


def _damage(manifest: ArtifactManifest) -> dict[str, SystemScore]:
    """Return the damage that was measured; comparable where model and held-out data are the same."""
    if (damage := manifest.damage) is None:
        return {}
    model = manifest.base_model.sha256[:8]
    text = f"KL|nats a token|data:{damage.data}|tokens:{damage.tokens}|model:{model}"
    return {DAMAGE: SystemScore(score=damage.kl, signature=text, comparable=text)}


def _told_apart(placed: list[tuple[System, Path]]) -> list[System]:
    """Say ``cleaned`` where text was, and name the folder of systems that would look the same."""

    def told(systems: list[System], additions: list[str], *, all_of_them: bool = False) -> list[System]:
        """Add to the setting of each system, or of each that looks like another."""
        keys = [(system.pair, system.test_set, system.name, system.setting) for system in systems]
        return [
            replace(system, setting=", ".join(filter(None, (system.setting, addition))))
            if all_of_them or keys.count(key) > 1
            else system
            for system, addition, key in zip(systems, additions, keys, strict=True)
        ]

    systems = [system for system, _ in placed]
    systems = told(systems, ["cleaned" if system.cleaned else "" for system in systems], all_of_them=True)
    folders = [place.parent if place.name == system.test_set else place for system, place in placed]
    systems = told(systems, [folder.name for folder in folders])
    titles = [(system.pair, system.test_set, system.title) for system in systems]
    return told(systems, [f"no. {titles[: place + 1].count(title)}" for place, title in enumerate(titles)])
