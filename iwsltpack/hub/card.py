"""The model card of an artifact's repository: made from the manifest alone, so the same artifact gives the same card.

A card ends with a digest of itself. One that still fits was edited by nobody, and may be renewed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from iwsltpack.artifact.sizes import GB, GIB
from iwsltpack.codecs.registry import coding_in
from iwsltpack.documents.names import MANIFEST_NAME, WEIGHTS_DIR
from iwsltpack.system import fileio

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from iwsltpack.artifact.sizes import Sizes
    from iwsltpack.codecs.chain import Chain
    from iwsltpack.documents.artifact import ArtifactManifest

CARD_NAME = "README.md"
LIBRARY = "iwsltpack"
AUDIO_TASK = "audio-text-to-text"
"""The hub's name for what a model with an audio tower and a language model does."""
SEAL = "<!-- written by iwsltpack; a card that was edited is not overwritten. sha256: {} -->\n"
_SEAL = re.compile(rb"<!-- written by iwsltpack; [^\n]* sha256: ([0-9a-f]{64}) -->\n\Z")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")

TECHNIQUE_TAGS = {
    "post-training quantization": "quantized",
    "structured pruning": "pruned",
    "lossless entropy coding": "lossless-compression",
}
COMPONENTS = {
    "selected": "rounded layers",
    "linear": "other linear layers",
    "embedding": "embeddings",
    "audio_tower": "audio tower",
    "other": "norms and the like",
}


def write_card(manifest: ArtifactManifest, sizes: Sizes, repo: str) -> str:
    """Return the card of an artifact that lies in the repository ``OWNER/NAME``."""
    parts = [
        f"---\n{_front_matter(manifest)}---\n",
        f"# {repo.partition('/')[2]}\n",
        _introduction(manifest),
        "## Size\n",
        _size_tables(sizes),
        "## Recipe\n",
        _recipe(manifest),
        "## Use\n",
        _use(manifest, repo),
        "## Provenance\n",
        _provenance(manifest),
        "## Verify\n",
        _verify(repo),
    ]
    card = "\n".join(parts) + "\n"
    return card + SEAL.format(fileio.sha256_bytes(card.encode()))


def is_generated(card: bytes) -> bool:
    """Tell whether a card is as `write_card` made it, whatever the version."""
    found = _SEAL.search(card)
    return found is not None and fileio.sha256_bytes(card[: found.start()]) == found[1].decode()


def _front_matter(manifest: ArtifactManifest) -> str:
    import yaml

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


def _introduction(manifest: ArtifactManifest) -> str:
    base, recipe = manifest.base_model, manifest.recipe
    about = f" ({_plain(recipe.description)})" if recipe.description else ""
    origin = _model_link(manifest) if base.id else "A model of unknown origin"
    return (
        f"{origin}, compressed with recipe **{_plain(recipe.name)}**{about} and stored as an iwsltpack "
        f"artifact: a Zarr v3 group, the tokenizer and processor, a manifest, and a SHA-256 of every file. It holds no "
        f"pickle and nothing that runs. Architecture: `{_code(base.architecture)}`.\n"
    )


def _size_tables(sizes: Sizes) -> str:
    rows = [
        ("**whole folder on disk** (what the IWSLT organisers rank)", sizes.total_bytes, sizes.source_bytes),
        (
            "linear layers alone (what the paper's table counts)",
            sizes.linear_bytes,
            sizes.source_linear_bytes,
        ),
        ("the uncompressed checkpoint", sizes.source_bytes, sizes.source_bytes),
    ]
    measures = _table(
        ("measure", "bytes", "GB", "GiB", "of the uncompressed"),
        [
            (label, f"{size:,}", f"{size / GB:.3f}", f"{size / GIB:.3f}", _share(size, source))
            for label, size, source in rows
        ],
    )
    components = _table(
        ("part", "bytes", "parameters", "bits per weight", "of the uncompressed"),
        [
            (
                COMPONENTS[name],
                f"{part.bytes:,}",
                f"{part.parameters:,}",
                f"{part.bits_per_weight:.3f}",
                _share(part.bytes, part.source_bytes),
            )
            for name, part in sizes.components.items()
            if part.bytes
        ]
        + [
            ("configuration, tokenizer, manifest", f"{sizes.side_bytes:,}", "", "", ""),
            (
                "**all**",
                f"{sizes.total_bytes:,}",
                f"{sizes.parameters:,}",
                f"{8 * sizes.total_bytes / max(sizes.parameters, 1):.3f}",
                _share(sizes.total_bytes, sizes.source_bytes),
            ),
        ],
    )
    entropy = (
        f"\nThe codes of the rounded layers have a Shannon entropy of {sizes.entropy_bits:.3f} bits a weight.\n"
        if sizes.entropy_bits is not None
        else ""
    )
    units = "GB = 10⁹ bytes, GiB = 2³⁰ bytes. The first two measures must not be compared with each other."
    return f"{measures}\n{units}\n\n{components}{entropy}"


def _recipe(manifest: ArtifactManifest) -> str:
    recipe = manifest.recipe
    rows = []
    if recipe.prune is not None:
        dropped = f"{100 * recipe.prune.fraction:g} % of the units pruned by magnitude"
        rows.append((f"`{_code(recipe.prune.pattern)}`", dropped, ""))
    for rule in recipe.layers:
        kept = "lossless" if rule.bits is None else f"rounded to multiples of 2^-{rule.bits}"
        rows.append(
            (f"`{_code(rule.pattern)}`", kept, "" if rule.bits is None else f"{2.0**-rule.bits:.14g}")
        )
    if recipe.engine == "bitsandbytes":
        rows.append(("every layer it selects", "int8 by bitsandbytes", ""))
    rows.append(("everything else", "lossless", ""))
    rounded = sum(tensor.quantized for tensor in manifest.tensors)
    coding = (
        f"\n{rounded} of {len(manifest.tensors)} tensors are rounded. Coding `{manifest.coding}`, which says how the "
        f"result is packed and does not change a weight. Patterns are regular expressions over checkpoint names; later "
        f"rules win.\n"
    )
    return _table(("layers", "what is done", "step"), rows) + coding


def _use(manifest: ArtifactManifest, repo: str) -> str:
    example = next((t for t in manifest.tensors if t.bits is not None), None) or (
        manifest.tensors[0] if manifest.tensors else None
    )
    plain = ""
    if example is not None:
        chain = coding_in(manifest.format_version, manifest.coding).chain(example)
        plain = (
            "\nWith plain zarr, without iwsltpack:\n\n```python\n"
            "import zarr, huggingface_hub\n\n"
            f'folder = huggingface_hub.snapshot_download("{repo}")\n'
            f'array = zarr.open_group(f"{{folder}}/{WEIGHTS_DIR}", mode="r")["{example.name}"]\n'
            f"{_reading(chain, rounded=example.bits is not None)}```\n"
        )
    return (
        "```python\n"
        "import iwsltpack\n\n"
        f'model = iwsltpack.load_model("hf://{repo}", device="cuda")\n'
        f'processor = iwsltpack.load_processor("hf://{repo}")\n'
        "```\n\n"
        "Decode a test set on the command line:\n\n"
        f"```console\n$ iwsltpack decode test/ --artifact hf://{repo} --output runs/out --device cuda\n```\n{plain}"
    )


def _reading(chain: Chain, *, rounded: bool) -> str:
    if rounded and chain.scaling(1.0):
        return (
            "codes = array[...]\n"
            'weights = codes * array.attrs["scale_factor"] + array.attrs.get("add_offset", 0.0)\n'
        )
    if chain.rotated:
        return (
            "words = array[...]\n"
            'bits = words >> 1 | words << 8 * words.itemsize - 1  # of array.attrs["torch_dtype"]\n'
        )
    return "values = array[...]\n"


def _provenance(manifest: ArtifactManifest) -> str:
    base, tool = manifest.base_model, manifest.tool
    libraries = ", ".join(f"{_plain(name)} {_plain(tool.libraries[name])}" for name in sorted(tool.libraries))
    rows = [
        ("base model", _model_link(manifest)),
        ("its revision", f"`{_code(base.revision)}`" if base.revision else "not known"),
        ("its licence", _plain(base.license) if base.license else "not known"),
        ("its tensors", f"{base.parameters:,} parameters, {base.bytes:,} bytes"),
        ("its fingerprint (SHA-256 of all tensor headers)", f"`{base.sha256}`"),
        ("this artifact (SHA-256 of its manifest)", f"`{manifest.sha256}`"),
        ("format", f"{manifest.format}, version {manifest.format_version}"),
        ("built with", f"{_plain(tool.name)} {_plain(tool.version)}; {libraries}"),
    ]
    return _table(("what", "value"), rows)


def _verify(repo: str) -> str:
    return (
        f"```console\n$ iwsltpack pull {repo} --output artifact\n$ iwsltpack verify artifact\n```\n\n"
        f"`pull` checks every file against `{MANIFEST_NAME}` as it comes, and the whole at the end; `verify` does so "
        f"again at any time. The bytes are the ones that were built, wherever they are read.\n"
    )


def _model_link(manifest: ArtifactManifest) -> str:
    name = manifest.base_model.id
    if not name:
        return "not known"
    if not _HUB_ID.fullmatch(name):
        return _plain(name)
    return f"[{name}](https://huggingface.co/{name})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    numeric = ("bytes", "GB", "GiB", "parameters", "bits per weight", "of the uncompressed", "step")
    lines = [head, ["---:" if name in numeric else "---" for name in head], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _share(size: int, source: int) -> str:
    return f"{100 * size / source:.1f} %" if source else ""


def _plain(text: str) -> str:
    """Return a manifest's text as prose of one line: no markup, no table's end, no HTML of its own."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """Return a manifest's text for a code span inside a table."""
    return " ".join(text.split()).replace("`", "'").replace("|", r"\|")
