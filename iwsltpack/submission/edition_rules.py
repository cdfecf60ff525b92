"""What an edition's rules say of a submission: asked when it is packaged, and again when the package is validated."""

from collections import Counter
from collections.abc import Sequence

from iwsltpack.documents.artifact import ArtifactManifest
from iwsltpack.documents.names import DEVICE_NAME
from iwsltpack.editions import Condition, Edition
from iwsltpack.errors import Problem
from iwsltpack.submission import naming
from iwsltpack.submission.validation_rules import problem


def datasets_used(told: Sequence[str], manifest: ArtifactManifest) -> tuple[str, ...]:
    """Return the datasets that supported a compression: those told, and those that the artifact itself names."""
    rule = manifest.recipe.vocabulary
    known = (data.name for data in (manifest.calibration, rule and rule.text) if data)
    return tuple(dict.fromkeys((*told, *known)))


def check_datasets(condition: Condition, datasets: Sequence[str]) -> list[Problem]:
    """Return what is wrong with the datasets that supported a compression."""
    if condition.datasets_required and not datasets:
        return [problem("submit.datasets-missing", f"{condition.name} submissions must list their datasets")]
    if condition.datasets is None:
        if condition.datasets_required:
            return []
        listed = ", ".join(datasets) or "none"
        return [problem("submit.datasets-unknown", f"{condition.name}; datasets listed: {listed}")]
    allowed = ", ".join(condition.datasets)
    return [
        problem("submit.datasets-not-allowed", f"{name!r}; {condition.name} allows {allowed}")
        for name in datasets
        if name not in condition.datasets
    ]


def check_base_model(edition: Edition, base_model: str | None, architecture: str) -> list[Problem]:
    """Return what is wrong with the model that was compressed, and whether it is an unusual one."""
    allowed, usual = edition.base_models, edition.usual_architectures
    if allowed is not None and base_model is None:
        message = f"{architecture}, allowed: {', '.join(allowed)}"
        return [problem("submit.base-model-unknown", message)]
    if allowed is not None and base_model not in allowed:
        message = f"built from {base_model}, allowed: {', '.join(allowed)}"
        return [problem("submit.base-model", message)]
    if usual is not None and architecture not in usual:
        message = f"{base_model or 'a model'} of class {architecture}, usual: {', '.join(usual)}"
        return [problem("submit.base-model-unusual", message)]
    return []


def check_test_sets(
    edition: Edition, pair: str, names: Sequence[str], digests: Sequence[str] = ()
) -> list[Problem]:
    """Return what is wrong with the test sets translated.

    `names` holds one name for each hypothesis file, `digests` what tells their segments apart, where it is known.
    """
    wanted = edition.pair(pair).test_sets
    counts = Counter(names)
    found = sorted(counts)
    problems = [
        problem("submit.test-set-twice", f"{name}: {counts[name]} times")
        for name in found
        if counts[name] > 1
    ]
    same: dict[str, list[str]] = {}
    for name, digest in zip(names, digests, strict=False):
        same.setdefault(digest, []).append(name)
    problems += [
        problem("submit.same-recordings", " and ".join(others))
        for others in same.values()
        if len(set(others)) > 1
    ]
    problems += [
        problem("submit.test-set-unknown", f"{name!r} cannot be part of a file name")
        for name in found
        if naming.FILE_PART.fullmatch(name) is None or DEVICE_NAME.fullmatch(name)
    ]
    if wanted.names is not None:
        problems += [problem("submit.test-set-missing", name) for name in wanted.names if name not in counts]
        listed = ", ".join(wanted.names)
        return problems + [
            problem("submit.test-set-unknown", f"{name}; {edition.name} has {listed}")
            for name in found
            if name not in wanted.names
        ]
    needed = wanted.count if wanted.count is not None else 1
    domains = f" ({', '.join(wanted.domains)})" if wanted.domains else ""
    message = f"{len(found)} of {needed} test sets of {pair}{domains}: {', '.join(found) or 'none'}"
    if len(found) < needed:
        problems.append(problem("submit.test-set-missing", message))
    elif wanted.count is not None and len(found) > needed:
        problems.append(problem("submit.test-set-unknown", message))
    return problems
