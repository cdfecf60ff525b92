"""Tokens that a model can do without: which go, what becomes of them, and that nothing else changes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MINIATURE, TESTSET, bfloat16
from submission_fixtures import request as submission_request
from submission_fixtures import write_run

from iwsltpack.artifact.export import export_checkpoint
from iwsltpack.artifact.reader import open_artifact
from iwsltpack.artifact.sizes import measure
from iwsltpack.building import dropped_tokens
from iwsltpack.building.checkpoint import open_checkpoint
from iwsltpack.building.dropped_tokens import find_dropped
from iwsltpack.building.pipeline import build_artifact
from iwsltpack.building.plan import plan_tensors
from iwsltpack.building.recipes import load_recipe
from iwsltpack.building.request import BuildRequest
from iwsltpack.building.size_estimate import estimate
from iwsltpack.calibration.damage import measure_dropping
from iwsltpack.calibration.model_weights import Weights
from iwsltpack.decoding.decode import decode
from iwsltpack.decoding.options import DecodeOptions, RunRequest
from iwsltpack.documents.artifact import Vocabulary
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.documents.recipe import DataFile, Recipe, VocabularyRule
from iwsltpack.errors import ArtifactError, InputError, IwsltpackError, UsageError, ValidationFailed
from iwsltpack.hub.card import write_card
from iwsltpack.runtime.model import load_model
from iwsltpack.submission.packaging import prepare
from iwsltpack.system.progress import SILENT

TABLES = {"language_model.model.embed_tokens.weight", "language_model.lm_head.weight"}
PIECES = (
    "the",
    "Ġdie",
    "Straße",
    "你好",
    "привет",
    "Ġмир",
    "αβ",
    "Ġσ",
    "한국",
    "アイ",
    "µ",
    "123",
    "Ġ٣",
    "!?",
    "→",
    "aé",
    "x",
    "naïve",
)
KEPT_ALWAYS = {"Ġσ", "123", "Ġ٣", "!?", "→", "x", "<end>"}


def letters(text: str) -> str:
    """Return a text as byte-level tokenizers write it."""
    from tokenizers.pre_tokenizers import ByteLevel

    ((written, _),) = ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(
        text.replace("Ġ", " ")
    )
    return written


def with_tokenizer(folder: Path, pieces: tuple[str, ...] = PIECES, **config: Any) -> dict[str, int]:
    """Write a byte-level tokenizer of bytes, `pieces`, halves of characters and an end; return its vocabulary."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {piece: number for number, piece in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for piece in pieces:
        vocabulary.setdefault(letters(piece), len(vocabulary))
    vocabulary[letters("好")[:2]] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<end>", special=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | config))
    return tokenizer.get_vocab()


@pytest.fixture
def small(checkpoint: Callable[..., Path]) -> tuple[Path, dict[str, int]]:
    """Give a checkpoint with a tied embedding of 300 rows, its tokens, and a matrix of as many rows that is none."""
    random = np.random.default_rng(0)
    tensors = {
        "model.embed_tokens.weight": bfloat16(random.standard_normal((300, 8))),
        "model.layers.0.mlp.up_proj.weight": bfloat16(random.standard_normal((300, 8))),
    }
    folder = checkpoint(tensors, {"architectures": ["AnyModel"], "text_config": {"vocab_size": 300}})
    return folder, with_tokenizer(folder)


def dropped(folder: Path, tokens: dict[str, int], rule: VocabularyRule) -> set[str]:
    found, _ = find_dropped(rule, open_checkpoint(folder))
    names = {number: name for name, number in tokens.items()}
    return {names[number] for number in found.ids()}


def listed(*lines: str) -> DataFile:
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return DataFile(name="list", sha256=digest, lines=lines)


def test_letters_of_other_scripts_go_and_nothing_else(small: tuple[Path, dict[str, int]]) -> None:
    foreign = {letters(piece) for piece in ("привет", "Ġмир", "αβ", "한국", "アイ")}
    assert dropped(*small, VocabularyRule(scripts=("Latin", "Han"))) == foreign
    assert dropped(*small, VocabularyRule(scripts=("Latin",))) == foreign | {letters("你好")}
    greek = VocabularyRule(scripts=("Latin", "Han", "Greek"))
    assert dropped(*small, greek) == foreign - {letters("αβ")}


def test_tokens_are_found_once_for_a_model_and_again_once_its_files_change(
    small: tuple[Path, dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, loaded, rule = dropped_tokens._tokenizer, [], VocabularyRule(scripts=("Latin",))
    monkeypatch.setattr(dropped_tokens, "_tokenizer", lambda folder: (loaded.append(folder), real(folder))[1])
    first = dropped(*small, rule)
    assert dropped(*small, rule) == first
    assert len(loaded) == 1
    os.utime(small[0] / "tokenizer.json", (1, 1))
    assert dropped(*small, rule) == first
    assert dropped(*small, VocabularyRule(scripts=("Han",))) != first
    assert len(loaded) == 3


def test_only_tables_of_tokens_lose_rows_and_only_those(small: tuple[Path, dict[str, int]]) -> None:
    folder, _ = small
    rule = VocabularyRule(scripts=("Latin", "Han"))
    vocabulary, tables = find_dropped(rule, open_checkpoint(folder))
    assert tables == {"model.embed_tokens.weight"}
    assert vocabulary.tokens == 300
    recipe = Recipe(name="r", description="", techniques=(), vocabulary=rule)
    plan = plan_tensors(open_checkpoint(folder), recipe)[0]
    ids = vocabulary.ids()
    for start, stop in ((0, 300), (ids[0], ids[0] + 1), (ids[0] + 1, ids[-1] + 1), (0, ids[0])):
        source, found = plan.source.rows(start, stop), plan.read(start, stop)
        zero = np.isin(np.arange(start, stop), ids)
        assert not found[zero].any() and np.array_equal(found[~zero], source[~zero])
    assert plan.entry.parameters == (300 - len(ids)) * 8 and plan.entry.values == 2400


def test_a_text_decides_and_lists_overrule(small: tuple[Path, dict[str, int]]) -> None:
    text = replace(listed("你好 die", "the the"), name="t")
    always = {name for name in small[1] if len(name) == 1} | {letters(piece) for piece in KEPT_ALWAYS}
    # Without merges the tokenizer only ever uses bytes, so that a text uses no other token.
    gone = dropped(*small, VocabularyRule(text=text, at_least=1))
    assert gone == {letters(piece) for piece in PIECES} - always
    kept = dropped(*small, VocabularyRule(text=text, at_least=1, keep=listed("the", letters("你好"))))
    assert kept == gone - {"the", letters("你好")}
    assert dropped(*small, VocabularyRule(drop=listed("the"))) == {"the"}
    counted, _ = find_dropped(VocabularyRule(drop=listed("the"), text=text), open_checkpoint(small[0]))
    assert (counted.text_dropped, counted.text_tokens) == (0, len("你好 die the the".encode()) - 1)


@pytest.mark.parametrize("piece", ["<end>", "123", "x", letters("好")[:2]])
def test_what_is_always_kept_cannot_be_listed(small: tuple[Path, dict[str, int]], piece: str) -> None:
    with pytest.raises(InputError, match="always kept"):
        dropped(*small, VocabularyRule(drop=listed(piece)))


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (VocabularyRule(scripts=("Klingon",)), UsageError),
        (VocabularyRule(scripts=("Latin", "Han", "Cyrillic", "Greek", "Hangul", "Katakana")), UsageError),
        (VocabularyRule(keep=listed("nothing"), scripts=("Latin",)), InputError),
    ],
)
def test_rules_that_fit_no_tokenizer(
    small: tuple[Path, dict[str, int]], rule: VocabularyRule, error: type[IwsltpackError]
) -> None:
    with pytest.raises(error):
        dropped(*small, rule)


def test_a_checkpoint_without_tokens(checkpoint: Callable[..., Path]) -> None:
    config = {"architectures": ["AnyModel"], "vocab_size": 300}
    folder = checkpoint({"model.embed_tokens.weight": bfloat16(np.ones((299, 8)))}, config)
    with pytest.raises(InputError, match="no tensor has a row"):
        find_dropped(VocabularyRule(scripts=("Latin",)), open_checkpoint(folder))
    folder = checkpoint({"model.embed_tokens.weight": bfloat16(np.ones((300, 8)))}, config)
    with pytest.raises(InputError, match="tokenizer cannot be read"):
        find_dropped(VocabularyRule(scripts=("Latin",)), open_checkpoint(folder))


@pytest.mark.parametrize("ranges", ["3-2", "5,4", "3,3", "700-704", "1-16777215"])
def test_forged_ranges_are_refused(ranges: str) -> None:
    with pytest.raises(ArtifactError):
        Vocabulary(tokens=704, dropped=ranges).ids()
    assert Vocabulary(tokens=704, dropped="0,3-5,703").ids() == [0, 3, 4, 5, 703]


def recipe_file(folder: Path, table: str, rest: str = "") -> Path:
    path = folder / "small-vocabulary.toml"
    path.write_text(f'name = "small-vocabulary"\n[vocabulary]\n{table}\n{rest}', "utf-8")
    return path


def test_recipe_files(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "text").write_text("a\nb\n", "utf-8")
    recipe = load_recipe(str(recipe_file(tmp_path, 'pair = "en-zh"')))
    assert recipe.vocabulary is not None and recipe.vocabulary.scripts == ("Latin", "Han")
    assert recipe.techniques == ("vocabulary reduction", "lossless entropy coding")
    table = 'pair = "en-de"\ntext = "lists/text"\ntext_name = "ACL 60/60"\nat_least = 2'
    rule = load_recipe(str(recipe_file(tmp_path, table))).vocabulary
    assert rule is not None and rule.scripts == ("Latin",) and rule.text is not None
    assert (rule.text.name, rule.text.lines, rule.at_least) == ("ACL 60/60", ("a", "b"), 2)
    assert "lines" not in rule.to_json()["text"]
    for table in ("", 'keep = "x"', 'pair = "en-de"\nscripts = ["Latin"]', "at_least = 1", 'pair = "en-xx"'):
        with pytest.raises(ValidationFailed):
            load_recipe(str(recipe_file(tmp_path, table)))
    with pytest.raises(InputError):
        load_recipe(str(recipe_file(tmp_path, 'drop = "missing"')))
    (tmp_path / "lists" / "text").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        load_recipe(str(recipe_file(tmp_path, 'drop = "lists/text"')))


@pytest.fixture(scope="module")
def reduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the miniature without the tokens that the demo's translations do not use."""
    folder = tmp_path_factory.mktemp("vocabulary")
    lines = [line.rpartition(",")[2] for line in (TESTSET / "manifest.csv").read_text("utf-8").splitlines()]
    (folder / "text").write_text("\n".join(lines[1:]), "utf-8")
    table = 'text = "text"\ntext_name = "dev"\nat_least = 1'
    layers = "[[layers]]\npattern = 'mlp'\nbits = 10"
    build_artifact(
        BuildRequest(MINIATURE, folder / "out", load_recipe(str(recipe_file(folder, table, layers))))
    )
    return folder / "out"


def texts(artifact: Path, output: Path, **options: Any) -> list[str]:
    settings = DecodeOptions(device="cpu", **options)
    decode(RunRequest(test_dir=TESTSET, artifact=artifact, output=output, options=settings))
    return (output / "testset.en-zh.txt").read_text("utf-8").splitlines()


@pytest.mark.parametrize("mode", ["load", "stream", "int8"])
def test_the_demo_says_the_same_in_every_engine(reduced: Path, tmp_path: Path, mode: Any) -> None:
    lines = (TESTSET / "manifest.csv").read_text("utf-8").splitlines()
    wanted = [line.rpartition(",")[2] for line in lines[1:]]
    assert texts(reduced, tmp_path / "run", mode=mode) == wanted
    vocabulary = read_manifest(reduced).vocabulary
    assert vocabulary is not None and len(vocabulary.ids()) > 60
    suppressed = load_model(reduced, device="cpu", mode=mode).generation_config.suppress_tokens
    assert suppressed == vocabulary.ids()


def test_suppressed_tokens_are_never_said(reduced: Path) -> None:
    """A zero row has the logit 0, which wins where all others are negative."""
    model = load_model(reduced, device="cpu")
    with torch.no_grad():
        model.get_output_embeddings().weight *= 1e-3
    inputs = {"input_ids": torch.tensor([[636, 5, 6]])}
    said = model.generate(**inputs, max_new_tokens=12, min_new_tokens=12, do_sample=True, top_k=0)[0, 3:]
    assert not set(said.tolist()) & set(model.generation_config.suppress_tokens)
    model.generation_config.suppress_tokens = None
    loose = model.generate(**inputs, max_new_tokens=64, min_new_tokens=64, do_sample=True, top_k=0)[0, 3:]
    assert set(loose.tolist()) & set(read_manifest(reduced).vocabulary.ids())  # type: ignore[union-attr]


def test_rows_are_zero_parameters_do_not_count_them_and_bytes_are_saved(
    reduced: Path, tmp_path: Path
) -> None:
    artifact, whole = open_artifact(reduced), tmp_path / "whole"
    ids = artifact.manifest.vocabulary.ids()  # type: ignore[union-attr]
    for name, values in artifact.tensors(TABLES):
        assert not values[ids].any() and values.any(1).sum() >= len(values) - len(ids) - 70, name
    build_artifact(BuildRequest(MINIATURE, whole, replace(artifact.manifest.recipe, vocabulary=None)))
    found, before = measure(reduced), measure(whole)
    assert found.parameters == before.parameters - 2 * len(ids) * 192
    assert found.state_dict_bytes == before.state_dict_bytes
    saved = before.total_bytes - found.total_bytes
    assert saved > 0.6 * found.saved_by_dropping > 0
    card = write_card(artifact.manifest, found, "team/model")
    told = f"{len(ids)} of 704"
    assert told in str(artifact.manifest.vocabulary) and told in card


def test_an_export_suppresses_and_decodes_alike(reduced: Path, tmp_path: Path) -> None:
    export_checkpoint(reduced, tmp_path / "export")
    settings = json.loads((tmp_path / "export" / "generation_config.json").read_text())
    assert settings["suppress_tokens"] == read_manifest(reduced).vocabulary.ids()  # type: ignore[union-attr]
    assert settings["eos_token_id"] == [638, 636]


def test_it_is_foretold(reduced: Path, tmp_path: Path) -> None:
    recipe = load_recipe(str(reduced.parent / "small-vocabulary.toml"))
    (found,) = estimate(MINIATURE, [recipe])
    assert found.sizes.total_bytes == measure(reduced).total_bytes
    assert found.sizes.parameters == measure(reduced).parameters


def test_constrained_holds_the_text_to_what_the_edition_allows(reduced: Path, tmp_path: Path) -> None:
    request = submission_request(reduced, write_run(tmp_path / "runs" / "demo", reduced))
    with pytest.raises(ValidationFailed) as error:
        prepare(request)
    assert "submit.datasets-not-allowed" in {problem.rule for problem in error.value.problems}


def test_a_finished_build_is_known_again_and_another_text_is_another_build(
    reduced: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(reduced.parent, copy)
    recipe = str(copy / "small-vocabulary.toml")
    build_artifact(BuildRequest(MINIATURE, copy / "out", load_recipe(recipe)))
    (copy / "text").write_text("another", "utf-8")
    with pytest.raises(UsageError, match="another artifact"):
        build_artifact(BuildRequest(MINIATURE, copy / "out", load_recipe(recipe)))


@pytest.mark.parametrize("tied", [False, True])
def test_what_the_data_uses_of_dropped_tokens_is_measured(tied: bool, tmp_path: Path) -> None:
    from calibration_fixtures import llama, text

    model, batches = llama(tied), text(2)
    given = torch.cat([batch.inputs["input_ids"][0] for batch in batches])
    gone = sorted(set(given[5:9].tolist()))
    vocabulary = Vocabulary(tokens=64, dropped=",".join(map(str, gone)))
    weights = model.get_input_embeddings().weight.clone()
    found = measure_dropping(Weights.of_model(model), batches, vocabulary, tmp_path, SILENT)
    assert torch.equal(model.get_input_embeddings().weight, weights)
    assert (found.used, found.tokens) == (int(torch.isin(given, torch.tensor(gone)).sum()), len(given))
    reduced = llama(tied)
    with torch.no_grad():
        for part in (reduced.get_input_embeddings(), reduced.get_output_embeddings()):
            part.weight[gone] = 0
        losses, shares = [], []
        for batch in batches:
            chances = torch.softmax(model(**batch.inputs).logits[batch.targets], -1)
            other = reduced(**batch.inputs).logits[batch.targets]
            shares.append(chances[:, gone].sum(-1))
            chances[:, gone], other[:, gone] = 0, -torch.inf
            chances /= chances.sum(-1, keepdim=True)
            log = torch.log_softmax(other, -1)
            losses.append(torch.where(chances > 0, chances * (chances.log() - log), 0).sum(-1))
    assert found.kl == pytest.approx(float(torch.cat(losses).mean()), rel=1e-3) and found.kl > 0.001
    assert found.share == pytest.approx(float(torch.cat(shares).mean()), rel=1e-4)
    unused = sorted(set(range(64)) - set(given.tolist()))
    none = measure_dropping(
        Weights.of_model(model),
        batches,
        Vocabulary(tokens=64, dropped=",".join(map(str, unused))),
        tmp_path,
        SILENT,
    )
    assert (none.used, none.kl) == (0, 0.0) and none.share > 0
    assert "0 of the data's" in str(none)
