"""The model card of an artifact's repository: made from the manifest alone, so the same artifact gives the same card.

A card ends with a digest of itself. One that still fits was edited by nobody, and may be renewed.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from iwsltpack.artifact.sizes import GB, GIB, Sizes
from iwsltpack.building import mlp_layers
from iwsltpack.codecs.registry import coding_in
from iwsltpack.documents.artifact import ArtifactManifest
from iwsltpack.documents.names import MANIFEST_NAME, WEIGHTS_DIR
from iwsltpack.documents.recipe import LayerRule
from iwsltpack.system import fileio
from iwsltpack.system.templates import render

CARD_NAME = "README.md"
TEMPLATE = Path(__file__).with_name("card.md.jinja")
LIBRARY = "iwsltpack"
AUDIO_TASK = "audio-text-to-text"
"""The hub's name for what a model with an audio tower and a language model does."""
SEAL = "<!-- written by iwsltpack; a card that was edited is not overwritten. sha256: {} -->\n"
_SEAL = re.compile(rb"<!-- written by iwsltpack; [^\n]* sha256: ([0-9a-f]{64}) -->\n\Z")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")

CALIBRATED = "codes and scales of rows and columns, by calibration"
MOST_STEPS = 3
"""Steps named of calibrated matrices: vocabularies have one of their own."""

TECHNIQUE_TAGS = {
    "post-training quantization": "quantized",
    "structured pruning": "pruned",
    "lossless entropy coding": "lossless-compression",
}


def write_card(manifest: ArtifactManifest, sizes: Sizes, repo: str) -> str:
    """Return the card of an artifact that lies in the repository ``OWNER/NAME``."""
    simple = [tensor for tensor in manifest.tensors if tensor.classes is None]
    example = next((tensor for tensor in simple if tensor.quantized), simple[0] if simple else None)
    chain = None if example is None else coding_in(manifest.format_version, manifest.coding).chain(example)
    card = render(
        TEMPLATE,
        {"plain": _plain, "code": _code, "share": _share},
        manifest=manifest,
        base=manifest.base_model,
        sizes=sizes,
        repo=repo,
        front_matter=_front_matter(manifest),
        origin=_model_link(manifest),
        recipe_rows=_recipe_rows(manifest),
        example=example,
        chain=chain,
        GB=GB,
        GIB=GIB,
        WEIGHTS_DIR=WEIGHTS_DIR,
        MANIFEST_NAME=MANIFEST_NAME,
    )
    return card + SEAL.format(fileio.sha256_bytes(card.encode()))


def is_generated(card: bytes) -> bool:
    """Tell whether a card is as `write_card` made it, whatever the version."""
    found = _SEAL.search(card)
    return found is not None and fileio.sha256_bytes(card[: found.start()]) == found[1].decode()


def _front_matter(manifest: ArtifactManifest) -> str:
    base, tags = manifest.base_model, ["iwslt", "model-compression", "zarr"]
    data: dict[str, Any] = {}
    if base.id and _HUB_ID.fullmatch(base.id):
        data |= {"base_model": base.id, "base_model_relation": "quantized"}
    data["library_name"] = LIBRARY
    if base.license:
        data |= _license(base.license)
    if any(tensor.component == "audio_tower" for tensor in manifest.tensors):
        data["pipeline_tag"] = AUDIO_TASK
        tags += ["speech-translation", "audio"]
    tags += [TECHNIQUE_TAGS[name] for name in manifest.recipe.techniques if name in TECHNIQUE_TAGS]
    data["tags"] = tags
    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)
    return text


def _license(name: str) -> dict[str, str]:
    """Return the card's entries: the hub takes identifiers of its own list, and any name beside `other`."""
    if _LICENSE.fullmatch(name.lower()):
        return {"license": name.lower()}
    return {"license": "other", "license_name": _plain(name)}


def _recipe_rows(manifest: ArtifactManifest) -> list[tuple[str, str, str]]:
    """Return layers, what is done to them, and the step, one row a rule."""
    recipe = manifest.recipe
    rows = []
    if recipe.prune is not None:
        dropped = f"{100 * recipe.prune.fraction:g} % of the units pruned by magnitude"
        rows.append((f"`{_code(recipe.prune.pattern)}`", dropped, ""))
    for rule in recipe.layers:
        named = mlp_layers.title(rule.pattern) or f"`{_code(rule.pattern)}`"
        rows.append((named, *_done(rule)))
    if recipe.engine == "bitsandbytes":
        rows.append(("every layer it selects", "int8 by bitsandbytes", ""))
    if calibrated := [tensor.step for tensor in manifest.tensors if tensor.classes is not None]:
        steps = ", ".join(f"{step:.6g}" for step in sorted({step or 0 for step in calibrated})[:MOST_STEPS])
        rows.append((f"{len(calibrated)} matrices", CALIBRATED, steps))
    rows.append(("everything else", "lossless", ""))
    return rows


def _done(rule: LayerRule) -> tuple[str, str]:
    """Return what a rule does, and the step."""
    if rule.bits is not None:
        return f"rounded to multiples of 2^-{rule.bits}", f"{2.0**-rule.bits:.14g}"
    if rule.step is not None:
        return "rounded to multiples of the step", f"{rule.step:.14g}"
    return (CALIBRATED if rule.quantizer else "lossless"), ""


def _model_link(manifest: ArtifactManifest) -> str:
    """Return the base model's name, with a link where it is one of the hub; empty where none is known."""
    name = manifest.base_model.id or ""
    return f"[{name}](https://huggingface.co/{name})" if _HUB_ID.fullmatch(name) else _plain(name)


def _share(size: int, source: int) -> str:
    return f"{100 * size / source:.1f} %" if source else ""


def _plain(text: str) -> str:
    """Return a manifest's text as prose of one line: no markup, no table's end, no HTML of its own."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """Return a manifest's text for a code span inside a table."""
    return " ".join(text.split()).replace("`", "'").replace("|", r"\|")
