"""Which tokens a model can do without: those of scripts that a language pair is not written in, or that a text lacks.

Ids and tokenizer stay as they are. The rows of dropped tokens become zero, which costs next to nothing packed, and
their tokens are suppressed at generation: left alone, a zero row keeps the logit 0 and takes probability.
"""

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import regex
from numpy.typing import NDArray

from iwsltpack import editions
from iwsltpack.artifact import side_files
from iwsltpack.building.checkpoint import Checkpoint
from iwsltpack.documents.artifact import Vocabulary
from iwsltpack.documents.names import PAIRS
from iwsltpack.documents.recipe import DataFile, VocabularyRule
from iwsltpack.errors import InputError, UsageError
from iwsltpack.system import fileio

_TABLES = re.compile(r"embed|(^|\.)(lm_head|proj_out|shared|output|wte)\.weight$")
"""Names of tensors that have a row a token, if they have as many rows as the vocabulary."""
_UNDECODED = "\N{REPLACEMENT CHARACTER}"
"""What a tokenizer makes of a part of a character."""
_BATCH = 10_000


def find_dropped(rule: VocabularyRule, checkpoint: Checkpoint) -> tuple[Vocabulary, frozenset[str]]:
    """Return the tokens that a rule drops, and the tensors that have a row for each.

    Never dropped: added and special tokens, parts of characters, single letters of ASCII and, as mathematics uses them,
    of Greek; what holds no letter; rows without a token; where tokens are counted, those of the prompts.

    InputError: the checkpoint has no tokenizer, or no table of its tokens; a file names a token that is not there or
    must stay. UsageError: a script that Unicode does not know, or nothing to drop.
    """
    rows = _rows(checkpoint.folder)
    tables = frozenset(
        name
        for name, tensor in checkpoint.tensors.items()
        if len(tensor.shape) == 2 and tensor.shape[0] == rows and _TABLES.search(name)
    )
    if not tables:
        raise InputError(
            "no tensor has a row for each token",
            where=checkpoint.folder,
            expected=f"an embedding of {rows} rows",
            fix="leave [vocabulary] out of the recipe",
        )
    files = (checkpoint.folder / name for name in side_files.SIDE_FILES)
    state = tuple((path, path.stat().st_mtime_ns) for path in files if path.is_file())
    return _dropped(rule, checkpoint.folder, rows, state), tables


@lru_cache(8)
def _dropped(rule: VocabularyRule, folder: Path, rows: int, _state: object) -> Vocabulary:
    """Return the tokens that a rule drops; a calibration asks for every artifact it tries."""
    tokenizer = _tokenizer(folder)
    texts = _texts(tokenizer, folder, rows)
    dropped = _outside(texts, rule.scripts) if rule.scripts else set()
    counts = _count(tokenizer, () if rule.text is None else rule.text.lines, rows)
    if rule.at_least is not None:
        asked = _count(tokenizer, _questions(tokenizer), rows)
        dropped |= {token for token in texts if counts[token] < rule.at_least and not asked[token]}
    dropped -= _named(rule.keep, tokenizer)
    named = _named(rule.drop, tokenizer)
    if rule.drop is not None and (kept := sorted(named - texts.keys())):
        raise InputError(
            "a token that is always kept is to be dropped",
            where=rule.drop.name,
            got=tokenizer.convert_ids_to_tokens(kept[0]),
            fix="take special tokens, parts of characters, numerals and punctuation out of the list",
        )
    if not (ids := sorted(dropped | named)):
        raise UsageError("the recipe's [vocabulary] drops no token of this model", where=folder)
    total = int(counts.sum())
    return Vocabulary(
        tokens=rows,
        dropped=_ranges(ids),
        text_tokens=total or None,
        text_dropped=int(counts[ids].sum()) if total else None,
    )


@cache
def dropped_rows(vocabulary: Vocabulary) -> NDArray[np.int64]:
    """Return the ids of dropped tokens, ascending."""
    return np.array(vocabulary.ids(), np.int64)


def _rows(folder: Path) -> int:
    """Return the size of the vocabulary as the configuration says it, before all in the part that writes text."""
    config = side_files.parse(fileio.read_bytes(folder / side_files.CONFIG), folder / side_files.CONFIG)
    parts = [config.get("text_config"), config, *config.values()]
    sizes = [part.get("vocab_size") for part in parts if isinstance(part, dict)]
    if found := [size for size in sizes if type(size) is int and size > 0]:
        return found[0]
    raise InputError("the configuration tells no vocab_size", where=folder / side_files.CONFIG)


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # files that hold anything can make a library fail in any way
        raise InputError(
            "the tokenizer cannot be read, so no token can be dropped", where=folder, got=str(error)[:300]
        ) from error


def _texts(tokenizer: Any, folder: Path, rows: int) -> dict[int, str]:
    """Return what each token that may be dropped stands for."""
    fixed = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids, *_named_ids(folder)}
    ids = sorted({token for token in tokenizer.get_vocab().values() if token < rows} - fixed)
    texts: list[str] = []
    for start in range(0, len(ids), _BATCH):
        texts += tokenizer.batch_decode(
            [[token] for token in ids[start : start + _BATCH]], clean_up_tokenization_spaces=False
        )
    letter, symbol = regex.compile(r"\p{L}"), regex.compile(r"[A-Za-z]| ?\p{Greek}")
    return {
        token: text
        for token, text in zip(ids, texts, strict=True)
        if _UNDECODED not in text and letter.search(text) and not symbol.fullmatch(text)
    }


def _named_ids(folder: Path) -> set[int]:
    """Return the tokens that the generation settings name, such as the end, whatever the tokenizer says of them."""
    path = folder / side_files.GENERATION_CONFIG
    settings = side_files.parse(fileio.read_bytes(path), path) if path.is_file() else {}
    values = [value for key, value in settings.items() if re.search(r"token_ids?$", key)]
    listed = [token for value in values for token in (value if isinstance(value, list) else [value])]
    return {token for token in listed if type(token) is int}


def _outside(texts: dict[int, str], scripts: tuple[str, ...]) -> set[int]:
    """Return the tokens with a letter of another script; letters that scripts share, such as µ, belong to all."""
    try:
        known = "".join(rf"\p{{Script={script}}}" for script in (*scripts, "Common", "Inherited"))
        foreign = regex.compile(rf"(?V1)[\p{{L}}--[{known}]]")
    except regex.error as error:
        raise UsageError(
            "no such script", expected="Unicode's names, such as Latin, Han or Greek", got=", ".join(scripts)
        ) from error
    return {token for token, text in texts.items() if foreign.search(text)}


def _count(tokenizer: Any, lines: Sequence[str], rows: int) -> NDArray[np.int64]:
    """Return how often each token occurs."""
    counts = np.zeros(rows, np.int64)
    for start in range(0, len(lines), _BATCH):
        for ids in tokenizer(list(lines[start : start + _BATCH]), add_special_tokens=False)["input_ids"]:
            np.add.at(counts, [token for token in ids if token < rows], 1)
    return counts


def _questions(tokenizer: Any) -> list[str]:
    """Return what a model is asked with: the chat template's words and the editions' prompts."""
    known = [tokenizer.chat_template] if isinstance(tokenizer.chat_template, str) else []
    for edition in map(editions.load, editions.names()):
        known += [edition.decoding(pair.name).prompt for pair in edition.pairs if pair.name in PAIRS]
    return known


def _named(listed: DataFile | None, tokenizer: Any) -> set[int]:
    """Return the ids of the tokens in a file."""
    known, lines = tokenizer.get_vocab(), [] if listed is None else [line for line in listed.lines if line]
    if listed is not None and (wrong := [line for line in lines if line not in known]):
        raise InputError(
            "the tokenizer has no such token",
            where=listed.name,
            expected="one token a line, as the tokenizer's own file writes it",
            got=", ".join(wrong[:5]),
        )
    return {known[line] for line in lines}


def _ranges(ids: list[int]) -> str:
    ends = [place for place, (one, other) in enumerate(pairwise(ids), 1) if other != one + 1]
    parts = (ids[start:end] for start, end in pairwise([0, *ends, len(ids)]))
    return ",".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)
