"""Editions of the track as data: naming, pairs, test sets, mandatory fields, limits. One JSON file each.

Rules and names change every year, so an edition is a file that is checked against its schema; adding one is
adding a file here, or passing the path of one's own wherever a name is accepted. What an edition has not
published is null in its file and named under ``unknown``: nothing is made up.
"""

import re
from dataclasses import field, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from iwsltpack.documents.choices import DEFAULT_EDITION
from iwsltpack.documents.document import OPTIONAL, Document, Part
from iwsltpack.documents.kinds import Count, Keywords, PositiveCount, Text, TrackPair, whole
from iwsltpack.documents.names import DEVICE_NAME, LANGUAGE_NAMES, PAIRS, TYPES
from iwsltpack.errors import InputError, UsageError
from iwsltpack.system import fileio

FORMAT: Final = "iwsltpack.edition"
TEAM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,39}(?:_[A-Za-z0-9.+-]{1,39})*")
"""What a team may be called: it becomes part of a model name, a folder name and a file name."""
Requirement = Literal["always", "unconstrained", "never"]
Named = TypeVar("Named", "Pair", "Condition")
FieldId = Literal["storage_size", "parameters", "techniques", "datasets", "efficiency", "release_consent"]


class DecodingDefaults(Part):
    """What the edition's baseline decodes with; `prompt` may hold ``${LANGUAGE}``."""

    prompt: Text
    max_new_tokens: PositiveCount


class TestSets(Part):
    """The released test sets of a pair: how many, what they are called, what they are about; null: not public."""

    count: PositiveCount | None
    names: tuple[Text, ...] | None
    domains: tuple[Text, ...] | None


class Pair(Part):
    """A language pair of the edition."""

    name: TrackPair
    test_sets: TestSets


class Condition(Part):
    """A data condition.

    ``datasets`` are the only ones allowed. They are null where there is no restriction and every dataset must be
    listed (``datasets_required``), or where nobody has to list any because what is allowed is not public.
    """

    name: Annotated[str, whole("[a-z]+")]
    datasets: tuple[Text, ...] | None
    datasets_required: bool


class SizeBin(Part):
    """Model sizes from ``min_bytes`` on and below ``max_bytes``: a model on a boundary goes to the larger bin."""

    name: Annotated[str, whole("[A-Za-z0-9]+")]
    min_bytes: Count
    max_bytes: PositiveCount | None


class DescriptionField(Part):
    """A field of the server's form. ``id`` is what the packager fills it by."""

    id: FieldId
    label: Text
    required: Requirement


class Upload(Part):
    """How a submission is handed in; ``steps`` may hold ``${MODEL_NAME}``, ``${PAIR}``, ``${FILES}``, ``${COUNT}``."""

    server: Text
    steps: Annotated[tuple[Text, ...], Keywords(minItems=1)]


class Edition(Document):
    """An edition of the Model Compression track.

    ``model_name_pattern`` holds ``${TEAM}``, ``${LANGUAGE_PAIR}``, ``${CONDITION}``, ``${SUBMISSION_TYPE}`` and,
    with size bins, ``${SIZE_BIN}``; null where it is not public. ``base_models`` are hub names the model must be
    derived from; null where the rules name none. ``usual_architectures`` are the model classes that participants are
    expected to compress: another one is no error. ``unknown`` says in words what is not public.
    """

    SCHEMA = "edition"

    format: str = FORMAT
    format_version: int = 1
    name: Annotated[str, whole("[a-z0-9][a-z0-9-]*")]
    title: Text
    rehearsal: bool
    model_name_pattern: Annotated[str, whole(r"[A-Za-z0-9._${}+-]+")] | None
    pairs: Annotated[tuple[Pair, ...], Keywords(minItems=1)]
    conditions: Annotated[tuple[Condition, ...], Keywords(minItems=1)]
    types: Annotated[
        tuple[Annotated[str, Keywords(enum=[*TYPES])], ...], Keywords(minItems=1, uniqueItems=True)
    ]
    base_models: tuple[Text, ...] | None
    usual_architectures: tuple[Text, ...] | None = field(default=None, metadata=OPTIONAL)
    size_bins: Annotated[tuple[SizeBin, ...], Keywords(minItems=1)] | None
    size_measure: Text
    description_fields: tuple[DescriptionField, ...]
    upload: Upload | None
    default_decoding: DecodingDefaults
    unknown: tuple[Text, ...]

    @property
    def sha256(self) -> str:
        """Digest of the edition's canonical JSON: two submissions with it were packaged by the same rules."""
        return fileio.sha256_bytes(fileio.canonical_json(Part.to_json(self)))

    def pair(self, name: str) -> Pair:
        """Return the rules of a pair; another one is a `UsageError` that lists the pairs."""
        return self._named("pair", self.pairs, name)

    def condition(self, name: str) -> Condition:
        """Return the rules of a data condition; another one is a `UsageError` that lists them."""
        return self._named("condition", self.conditions, name)

    def _named(self, kind: str, choices: tuple[Named, ...], name: str) -> Named:
        named = {choice.name: choice for choice in choices}
        if name not in named:
            raise UsageError(f"no {kind} {name!r} in {self.name}", expected=", ".join(named), got=name)
        return named[name]

    def decoding(self, pair: str) -> DecodingDefaults:
        """Return prompt (target language filled in) and token limit for a pair."""
        language = LANGUAGE_NAMES[PAIRS[self.pair(pair).name]]
        given = self.default_decoding
        return replace(given, prompt=given.prompt.replace("${LANGUAGE}", language))

    def size_bin(self, size_bytes: int) -> str | None:
        """Return the bin of a model of exactly `size_bytes`, or None where the edition has no bins.

        A model that is in none of the bins is a `UsageError`.
        """
        if self.size_bins is None:
            return None
        for bin_ in self.size_bins:
            if size_bytes >= bin_.min_bytes and (bin_.max_bytes is None or size_bytes < bin_.max_bytes):
                return bin_.name
        known = (f"{b.name}: {b.min_bytes} to {b.max_bytes or 'any'} bytes" for b in self.size_bins)
        what = f"a model of {size_bytes} bytes fits no size bin of {self.name}"
        raise UsageError(what, expected="; ".join(known))

    def model_name(
        self,
        team: str,
        pair: str,
        condition: str,
        type: str,  # noqa: A002
        size_bytes: int | None = None,
    ) -> str:
        """Return the model's exact name.

        A part that the edition does not have, a team that cannot be part of a name, a size that is missing though the
        name holds a bin, and an edition whose pattern is not public are each a `UsageError`.
        """
        if self.model_name_pattern is None:
            raise UsageError(
                f"{self.name} has not published how models are to be named",
                fix="write an edition file of your own with the pattern you want and pass its path as --edition",
            )
        check_team(team)
        if type not in self.types:
            raise UsageError(f"no submission type {type!r} in {self.name}", expected=", ".join(self.types))
        values = {
            "TEAM": team,
            "LANGUAGE_PAIR": self.pair(pair).name,
            "CONDITION": self.condition(condition).name,
            "SUBMISSION_TYPE": type,
        }
        if self.size_bins is not None:
            if size_bytes is None:
                raise UsageError(f"model names of {self.name} hold the size bin: the model's size is needed")
            values["SIZE_BIN"] = self.size_bin(size_bytes) or ""
        return re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], self.model_name_pattern)


def check_team(team: str) -> None:
    """Refuse a team name that cannot be part of a model's name."""
    if TEAM.fullmatch(team) is None or DEVICE_NAME.fullmatch(team):
        raise UsageError(
            f"not a usable team name: {team!r}",
            expected="letters, digits, '.', '+', '-' and single '_' within; no device of Windows such as CON",
        )


@cache
def names() -> tuple[str, ...]:
    """Return the names of the editions that come with the package, sorted."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.json")))


@cache
def load(name: str = DEFAULT_EDITION) -> Edition:
    """Return an edition by its name, or from a JSON file of one's own, checked against the schema and its own sense.

    Another name is a `UsageError` that lists the editions at hand.
    """
    path = Path(__file__).with_name(f"{name}.json") if name in names() else Path(name)
    if name not in names() and not name.endswith(".json") and "/" not in name:
        known = ", ".join(names())
        raise UsageError(f"unknown edition {name!r}", expected=known, fix="or the path of a JSON file")
    where = path.name if name in names() else name
    edition = Edition.from_json(fileio.read_json(path), path=where)
    _check(edition, where)
    return edition


def _check(edition: Edition, where: str) -> None:
    """Refuse what the schema cannot say: the parts of the name pattern, names against counts."""
    pattern = edition.model_name_pattern
    if pattern is not None:
        needed = ["TEAM", "LANGUAGE_PAIR", "CONDITION", "SUBMISSION_TYPE"]
        needed += ["SIZE_BIN"] if edition.size_bins is not None else []
        if sorted(re.findall(r"\$\{(\w+)\}", pattern)) != sorted(needed):
            raise InputError(
                "the model name pattern must hold each part once",
                where=where,
                expected=" ".join(sorted(f"${{{part}}}" for part in needed)),
                got=pattern,
            )
    for pair in edition.pairs:
        sets = pair.test_sets
        if sets.names is not None and (len(sets.names) != sets.count or len(set(sets.names)) != sets.count):
            raise InputError(f"{pair.name}: {sets.count} test sets but {len(sets.names)} names", where=where)
