"""The built-in recipes, one for every row of the paper's table and its subsets, and recipes from files.

A recipe file is TOML or JSON:

    name = "my-mix"
    description = "fine in the first layers, coarse elsewhere"

    [[layers]]
    pattern = 'mlp\\.(gate|up|down)_proj'
    digits = 2                        # the paper's q2; `bits = 7` says the same

    [[layers]]                        # later rules win
    pattern = 'layers\\.[0-3]\\.mlp'
    bits = 9

    [[layers]]
    pattern = 'embed_tokens|lm_head'
    quantizer = "rounding"            # naming one, the pattern may match any matrix, not linear layers alone
    step = 0.003                      # any number; needs format 2

    [[layers]]
    pattern = 'self_attn'
    quantizer = "calibrated"          # needs format 2 and `iwsltpack build --calibration DEVSET`, or `--matrices`

    [vocabulary]                      # docs/vocabulary.md
    pair = "en-de"                    # tokens with letters of other scripts go
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from iwsltpack.building import mlp_layers
from iwsltpack.codecs.paper import bits_of_digits
from iwsltpack.documents.document import Document
from iwsltpack.documents.names import SCRIPTS
from iwsltpack.documents.recipe import (
    DataFile,
    LayerRule,
    Recipe,
    RecipeFile,
    VocabularyEntry,
    VocabularyRule,
)
from iwsltpack.errors import InputError, UsageError
from iwsltpack.system import fileio

_CODEC = ("post-training quantization", "lossless entropy coding")
_CALIBRATED = (_CODEC[0], "error feedback and row scales from calibration data", _CODEC[1])


def load_recipe(name_or_file: str) -> Recipe:
    """Return a built-in recipe by name, or read one from a ``.toml`` or ``.json`` file.

    UsageError: an unknown name (the known ones are listed), or a pattern that is no regular expression.
    InputError, ValidationFailed: the file is missing or malformed, or does not fit the recipe schema.
    """
    if name_or_file in BUILT_IN:
        return BUILT_IN[name_or_file]
    path = Path(name_or_file)
    if path.suffix not in (".toml", ".json"):
        raise UsageError(
            f"unknown recipe {name_or_file!r}",
            expected=", ".join(BUILT_IN),
            fix="or name a .toml or .json recipe file",
        )
    document = fileio.read_json(path) if path.suffix == ".json" else fileio.read_toml(path)
    recipe = _recipe(RecipeFile.from_json(document, path=path), path.parent)
    for rule in (*recipe.layers, recipe.prune):
        if rule is not None:
            mlp_layers.check_pattern(rule.pattern, path)
    return recipe


def _vocabulary(entry: VocabularyEntry, folder: Path) -> VocabularyRule:
    """Read the files that an entry names."""

    def read(name: str | None, title: str | None = None) -> DataFile | None:
        if name is None:
            return None
        raw = fileio.read_bytes(folder / name)
        try:
            lines = tuple(raw.decode("utf-8").splitlines())
        except UnicodeDecodeError as error:
            raise InputError("not a text in UTF-8", where=folder / name) from error
        return DataFile(name=title or Path(name).name, sha256=fileio.sha256_bytes(raw), lines=lines)

    languages = () if entry.pair is None else entry.pair.split("-")
    return VocabularyRule(
        scripts=entry.scripts or tuple(dict.fromkeys(SCRIPTS[language] for language in languages)),
        text=read(entry.text, entry.text_name),
        at_least=entry.at_least,
        keep=read(entry.keep),
        drop=read(entry.drop),
    )


def _recipe(file: RecipeFile, folder: Path) -> Recipe:
    rules = tuple(
        LayerRule(
            pattern=entry.pattern,
            bits=entry.bits if entry.digits is None else bits_of_digits(entry.digits),
            step=entry.step,
            quantizer=entry.quantizer,
        )
        for entry in file.layers
    )
    coded = _CALIBRATED if any(rule.calibrated for rule in rules) else _CODEC
    cut = (("structured pruning", file.prune), ("vocabulary reduction", file.vocabulary))
    techniques = (*(name for name, rule in cut if rule), *(coded if rules else _CODEC[1:]))
    return Recipe(
        name=file.name,
        description=file.description,
        techniques=file.techniques or techniques,
        layers=rules,
        prune=file.prune,
        vocabulary=None if file.vocabulary is None else _vocabulary(file.vocabulary, folder),
    )


def _built_in(entry: dict[str, Any]) -> Recipe:
    """Return a recipe of ``recipes.toml``, whose rules may name roles of MLP projections instead of a pattern."""
    for rule in entry.get("layers", ()):
        if "mlp" in rule:
            rule["pattern"] = mlp_layers.pattern(*rule.pop("mlp"))
    engine = entry.pop("engine", "codec")
    # Not held against the schema of what people write: this is ours, and the schema's library takes long to load.
    return replace(_recipe(super(Document, RecipeFile).from_json(entry), Path()), engine=engine)


BUILT_IN = {
    entry["name"]: _built_in(entry)
    for entry in fileio.read_toml(Path(__file__).with_suffix(".toml"))["recipe"]
}
"""By name."""
