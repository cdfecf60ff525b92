"""A recipe as data: which layers are rounded and how finely, and what is pruned first; and the file people write."""

from dataclasses import field
from typing import Annotated, Any, ClassVar, Literal

from iwsltpack.documents.choices import CALIBRATED_CODING, DEFAULT_CODING
from iwsltpack.documents.document import INTERNAL, OPTIONAL, Document, Part
from iwsltpack.documents.kinds import Keywords, PositiveCount, Sha256, Text, TrackPair, whole

Bits = Annotated[int, Keywords(minimum=0, maximum=14)]
"""Fractional bits b of a rounding step 2^-b: with more, float16 does not hold the multiples."""
CALIBRATED = "calibrated"
QuantizerChoice = Literal["calibrated", "rounding"]


Step = Annotated[float, Keywords(exclusiveMinimum=0, maximum=65504)]
"""Of rounding: any that float16 can hold a multiple of."""


class LayerRule(Part):
    """Quantize the weights of the matching linear layers, or matrices.

    Attributes
    ----------
    pattern
        Regular expression searched for in the layer's checkpoint name (without ``.weight``).
    bits
        Fractional bits b of the rounding step 2^-b. Later rules win over earlier ones.
    step
        Any other rounding step. A rule with neither keeps the layer lossless, unless it is calibrated.
    quantizer
        A rule that names one is for all matrices, embeddings too; others are for linear layers alone.
    """

    pattern: str
    bits: Bits | None
    step: Step | None = field(default=None, metadata=OPTIONAL)
    quantizer: QuantizerChoice | None = field(default=None, metadata=OPTIONAL)

    @property
    def calibrated(self) -> bool:
        """Whether it wants what a calibration makes."""
        return self.quantizer == CALIBRATED


class PruneRule(Part):
    """Structured pruning of gated MLPs: drop the intermediate units of least magnitude.

    Attributes
    ----------
    pattern
        Regular expression searched for in the MLP's checkpoint name, e.g. ``layers\\.0\\.mlp$``.
    fraction
        Share of the units to drop, rounded down to whole units.
    """

    pattern: str
    fraction: Annotated[float, Keywords(exclusiveMinimum=0, exclusiveMaximum=1)]


class DataFile(Part):
    """A text file that a recipe names, as it was read.

    Attributes
    ----------
    name
        What the track's rules call it.
    sha256
        Of its bytes.
    """

    name: Text
    sha256: Sha256
    lines: tuple[str, ...] = field(default=(), compare=False, repr=False, metadata=INTERNAL)


class VocabularyRule(Part):
    """Which tokens a model keeps. The others' rows of embedding and output layer become zero.

    Attributes
    ----------
    scripts
        Tokens with a letter of another script go; empty for no such rule.
    text
        What tokens are counted in.
    at_least
        Times that a token must occur in the text to stay.
    keep, drop
        Tokens that stay, and that go, whatever the other rules say.
    """

    scripts: tuple[Text, ...] = ()
    text: DataFile | None = field(default=None, metadata=OPTIONAL)
    at_least: PositiveCount | None = field(default=None, metadata=OPTIONAL)
    keep: DataFile | None = field(default=None, metadata=OPTIONAL)
    drop: DataFile | None = field(default=None, metadata=OPTIONAL)


class Recipe(Part):
    """Layer selection + transform, independent of the coding that packs the result.

    Attributes
    ----------
    name, description
        For people.
    techniques
        Names of the compression techniques applied, as a submission's description needs them.
    layers
        Rounding rules; the last that matches a layer wins.
    prune
        Pruning applied before rounding, or None.
    vocabulary
        Which tokens stay; None for all.
    engine
        ``codec`` for this package's chains; ``bitsandbytes`` for that library's own int8 checkpoint.
    """

    name: str
    description: str
    techniques: tuple[str, ...]
    layers: tuple[LayerRule, ...] = ()
    prune: PruneRule | None = None
    engine: Literal["codec", "bitsandbytes"] = "codec"
    vocabulary: VocabularyRule | None = field(default=None, metadata=OPTIONAL)

    @property
    def calibrated(self) -> bool:
        """Whether a rule wants what a calibration makes."""
        return any(rule.calibrated for rule in self.layers)

    @property
    def coding(self) -> str:
        """The name of the coding that packs the result where nobody names one."""
        return CALIBRATED_CODING if self.calibrated else DEFAULT_CODING


class LayerEntry(Part):
    """A rule as people write it, with one of ``bits``, ``digits``, ``step`` and ``lossless``, or calibrated.

    Attributes
    ----------
    pattern
        As in `LayerRule`.
    bits
        Fractional bits of the step.
    digits
        Decimal digits, as the paper counts them.
    step
        Any step; needs format 2.
    quantizer
        ``calibrated`` takes what a calibration made of the matrices; ``rounding`` rounds as the other keys say. Either
        lets the pattern match all matrices, embeddings too.
    lossless
        Keeps what an earlier rule would round.
    """

    RULES: ClassVar[dict[str, Any]] = {
        "oneOf": [
            *({"required": [key]} for key in ("bits", "digits", "step", "lossless")),
            {"required": ["quantizer"], "properties": {"quantizer": {"const": "calibrated"}}},
        ]
    }

    pattern: Text
    bits: Bits | None = field(default=None, metadata=OPTIONAL)
    digits: Annotated[int, Keywords(minimum=0, maximum=4)] | None = field(default=None, metadata=OPTIONAL)
    step: Step | None = field(default=None, metadata=OPTIONAL)
    quantizer: QuantizerChoice | None = field(default=None, metadata=OPTIONAL)
    lossless: Literal[True] | None = field(default=None, metadata=OPTIONAL)


class VocabularyEntry(Part):
    """Which tokens stay, as people write it; files lie where the recipe says, seen from its folder.

    Attributes
    ----------
    pair
        Tokens with a letter that neither language of this pair is written with go.
    scripts
        The same, by Unicode's names of scripts.
    text
        File of a text: what of it is dropped is counted and told; with `at_least`, the tokens that it seldom uses go.
    text_name
        What the track's rules call that text; default: the file's name.
    at_least
        Times that a token must occur in the text to stay.
    keep, drop
        Files of tokens, one a line as the tokenizer writes them, that stay, or go, whatever the other rules say.
    """

    RULES: ClassVar[dict[str, Any]] = {
        "anyOf": [{"required": [key]} for key in ("pair", "scripts", "at_least", "drop")],
        "not": {"required": ["pair", "scripts"]},
        "dependentRequired": {"at_least": ["text"], "text_name": ["text"]},
    }

    pair: TrackPair | None = field(default=None, metadata=OPTIONAL)
    scripts: Annotated[tuple[Text, ...], Keywords(minItems=1)] | None = field(default=None, metadata=OPTIONAL)
    text: Text | None = field(default=None, metadata=OPTIONAL)
    text_name: Text | None = field(default=None, metadata=OPTIONAL)
    at_least: PositiveCount | None = field(default=None, metadata=OPTIONAL)
    keep: Text | None = field(default=None, metadata=OPTIONAL)
    drop: Text | None = field(default=None, metadata=OPTIONAL)


class RecipeFile(Document):
    """A recipe file of iwsltpack (TOML or JSON).

    Attributes
    ----------
    name, description
        For people.
    techniques
        Of compression; where none are named, what the rules do.
    layers, prune, vocabulary
        What is done: one of them at least.
    """

    SCHEMA = "recipe"
    RULES: ClassVar[dict[str, Any]] = {
        "anyOf": [{"required": [key]} for key in ("layers", "prune", "vocabulary")]
    }

    name: Annotated[str, whole("[A-Za-z0-9][A-Za-z0-9._-]*", maxLength=60)]
    description: str = field(default="", metadata=OPTIONAL)
    techniques: Annotated[tuple[str, ...], Keywords(minItems=1)] | None = field(
        default=None, metadata=OPTIONAL
    )
    layers: Annotated[tuple[LayerEntry, ...], Keywords(minItems=1)] = field(default=(), metadata=OPTIONAL)
    prune: Annotated[PruneRule, Keywords(properties={"pattern": {"minLength": 1}})] | None = field(
        default=None, metadata=OPTIONAL
    )
    vocabulary: VocabularyEntry | None = field(default=None, metadata=OPTIONAL)
