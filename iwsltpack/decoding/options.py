"""What a person may ask of a decoding run, with the track's defaults."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from iwsltpack import editions
from iwsltpack.artifact.location import Place
from iwsltpack.cluster.shards import Shard, check_sharing
from iwsltpack.documents.choices import DEFAULT_PAIR, BadAudio, Dtype, Engine, LongAudio, Mode, TestSetKind
from iwsltpack.documents.names import LANGUAGE_NAMES, PAIRS
from iwsltpack.errors import UsageError
from iwsltpack.runtime.families import AUDIO_FIRST, Family
from iwsltpack.system.fileio import read_toml

DEFAULT_MAX_NEW_TOKENS = 64
"""The paper's."""


def default_prompt(pair: str) -> str:
    """Return the paper's prompt for a language pair.

    >>> default_prompt("en-zh")
    'Translate this English speech into Chinese.'
    """
    return f"Translate this English speech into {LANGUAGE_NAMES[PAIRS[pair]]}."


@dataclass(frozen=True, kw_only=True)
class DecodeOptions:
    """Settings of a decoding run; the command line takes options, defaults and their help from here.

    Attributes
    ----------
    pair
        Language pair.
    engine
        What generates; vllm is an extra, for many segments on a GPU.
    device
        auto takes CUDA where there is one.
    mode
        Weights: all decoded at once, at first use, or at every use; int8: rounded ones held as codes.
    dtype
        auto: float16 on CUDA, float32 on CPU.
    prompt
        Asked about the audio; default: the edition's, or that of the model's family.
    system_prompt
        Default: the chat template's own.
    chat_template
        Jinja source; default: the artifact's own.
    max_new_tokens
        Token limit of an output; default: the edition's, or that of the model's family.
    retry_truncated
        Larger limit for outputs that reach the first; default: they stay cut.
    batch_size
        Most segments decoded at once.
    batch_seconds
        Most seconds of audio decoded at once.
    long
        Segments longer than the model hears: cut at silences, or refuse.
    on_bad_audio
        Unusable audio: refuse, or keep its line with a placeholder.
    placeholder
        The line written for unusable audio: not empty, as empty lines get lost on the way to a score.
    kind
        Layout of the test set, where it is not to be found out.
    name
        Name of the test set; default: its folder's.
    segments
        YAML list of segments to use; default: the one in the test set's folder.
    edition
        Edition of the track whose prompt and token limit to use.
    """

    pair: str = DEFAULT_PAIR
    engine: Engine = "transformers"
    device: str = "auto"
    mode: Mode = "load"
    dtype: Dtype = "auto"
    prompt: str | None = None
    system_prompt: str | None = None
    chat_template: str | None = None
    max_new_tokens: int | None = None
    retry_truncated: int | None = None
    batch_size: int = 16
    batch_seconds: float = 240.0
    long: LongAudio = "segment"
    on_bad_audio: BadAudio = "error"
    placeholder: str = "…"
    kind: TestSetKind | None = None
    name: str | None = None
    segments: Path | None = None
    edition: str | None = None

    def __post_init__(self) -> None:
        if self.pair not in PAIRS:
            raise UsageError(f"unknown language pair {self.pair!r}", expected=", ".join(sorted(PAIRS)))
        for name, least in (("max_new_tokens", 1), ("batch_size", 1), ("batch_seconds", 1e-9)):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise UsageError(f"{name.replace('_', '-')} is too small", expected="at least 1", got=value)
        if self.engine != "transformers" and self.mode != "load":
            raise UsageError(
                "vLLM holds its weights decoded", expected="--mode load", got=f"--mode {self.mode}"
            )
        limit = self.max_new_tokens
        if self.retry_truncated is not None and limit is not None and self.retry_truncated <= limit:
            raise UsageError(
                "retry-truncated must exceed max-new-tokens", expected=f"> {limit}", got=self.retry_truncated
            )
        if not self.placeholder.strip() or len(self.placeholder.splitlines()) != 1:
            raise UsageError("the placeholder must be one line that is not empty", got=repr(self.placeholder))

    def resolved(self, family: Family = AUDIO_FIRST) -> Self:
        """Return the same options with prompt and token limit filled in.

        They are those of the edition that was named, else those of the one whose baseline the model's family is, else
        the paper's. Models of a family that is told its target language have that for a prompt.
        """
        prompt, limit = default_prompt(self.pair), DEFAULT_MAX_NEW_TOKENS
        if (named := self.edition or family.edition) is not None:
            decoding = editions.load(named).decoding(self.pair)
            prompt, limit = decoding.prompt, decoding.max_new_tokens
        prompt = prompt if family.told is None else family.told[PAIRS[self.pair]]
        return replace(
            self,
            prompt=prompt if self.prompt is None else self.prompt,
            max_new_tokens=limit if self.max_new_tokens is None else self.max_new_tokens,
        )


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What is to be decoded, with which model, into which folder, and by whom.

    Attributes
    ----------
    test_dir
        A test set, or a folder of several.
    artifact
        The model's artifact: its folder, or the address of a remote one, of which chunks are fetched when needed.
    output
        Folder for the run; with several test sets, for one subfolder each.
    options
        Settings; by default the track's.
    per_set
        Settings that single test sets are decoded with, by name; see `read_per_set`.
    shard
        Decode only this share of every test set; `decoding.merge.merge_shards` joins them. Shards run at the same time
        or one after the other, on any machines that see `output`, with the same options.
    cluster
        Decode on the workers of the dask cluster at this address; see `cluster.connection.connect`.
    """

    test_dir: Path
    artifact: Place
    output: Path
    options: DecodeOptions = field(default_factory=DecodeOptions)
    per_set: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    shard: Shard | None = None
    cluster: str | None = None

    def __post_init__(self) -> None:
        check_sharing(self.shard, self.cluster)
        if self.cluster is not None and self.options.engine != "transformers":
            raise UsageError(
                "the workers of a dask cluster decode with transformers",
                fix="share the work by --shard, or leave --engine out",
            )

    def options_of(self, names: list[str], family: Family) -> dict[str, DecodeOptions]:
        """Return the options of every test set, by name, for a model of this family."""
        if unknown := sorted(self.per_set.keys() - set(names)):
            raise UsageError(
                f"settings for a test set that is not there: {unknown[0]!r}", expected=", ".join(names)
            )
        common = self.options.resolved(family)
        return {name: replace(common, **self.per_set.get(name, {})) for name in names}


PER_SET = {
    "prompt": str,
    "system_prompt": str,
    "chat_template": str,
    "max_new_tokens": int,
    "retry_truncated": int,
}
"""What may differ from one test set to another, and its type."""


def read_per_set(path: Path) -> dict[str, dict[str, Any]]:
    """Read a TOML file with a table for each test set that is to be decoded with settings of its own.

        [business-news]
        prompt = "Translate this English news item into Chinese."
        max_new_tokens = 128

    A setting that is not one of `PER_SET`, or of another type, is a `UsageError`.
    """
    document = read_toml(path)
    for name, settings in document.items():
        if not isinstance(settings, dict):
            raise UsageError(f"{name!r} is no table", where=path, expected="[TEST SET] tables")
        for key, value in settings.items():
            kind = PER_SET.get(key)
            if kind is None or not isinstance(value, kind) or isinstance(value, bool):
                wanted = ", ".join(f"{setting} ({kind.__name__})" for setting, kind in PER_SET.items())
                raise UsageError(f"[{name}] {key} = {value!r} cannot be set", where=path, expected=wanted)
    return document
