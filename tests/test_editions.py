"""Editions as data: what is public is there, what is not is null, names are exact."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY

from iwsltpack import editions
from iwsltpack.documents.choices import DEFAULT_EDITION
from iwsltpack.errors import InputError, UsageError, ValidationFailed

PAPER = "APG_IWSLT26_ModelCompression_en-zh_constrained_primary"


def changed(tmp_path: Path, **changes: Any) -> str:
    data = editions.load("demo").to_json() | {"name": "mine"} | changes
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(data))
    return str(path)


@pytest.mark.parametrize("name", editions.names())
def test_every_edition_fits_its_schema_and_goes_by_its_file_name(name: str) -> None:
    assert editions.load(name).name == name


def test_all_four_are_there() -> None:
    assert editions.names() == ("demo", "iwslt2025", "iwslt2026", "iwslt2027")
    assert editions.load() == editions.load("iwslt2027")


def test_the_documentation_names_the_editions_and_the_default() -> None:
    text = (REPOSITORY / "docs" / "submitting.md").read_text(encoding="utf-8")
    assert f"`{DEFAULT_EDITION}` (default)" in text
    assert [name for name in editions.names() if f"`{name}`" not in text] == []


def test_2026_asks_for_five_and_six_test_sets_and_does_not_make_up_their_names() -> None:
    edition = editions.load("iwslt2026")
    assert {pair.name: pair.test_sets.count for pair in edition.pairs} == {"en-zh": 5, "en-de": 6}
    assert all(pair.test_sets.names is None for pair in edition.pairs)
    assert "accent challenge" in (edition.pair("en-de").test_sets.domains or ())


def test_2027_asks_for_five_and_six_test_sets_and_says_what_is_not_public() -> None:
    edition = editions.load("iwslt2027")
    assert {pair.name: pair.test_sets.count for pair in edition.pairs} == {"en-zh": 5, "en-de": 6}
    assert all(pair.test_sets.names is None for pair in edition.pairs)
    assert edition.base_models is None
    assert [condition.datasets for condition in edition.conditions] == [None, None]
    for gap in ("names and domains", "constrained", "Base models", "en-ar"):
        assert any(gap in entry for entry in edition.unknown)


def test_the_papers_own_name_is_made() -> None:
    assert editions.load("iwslt2026").model_name("APG", "en-zh", "constrained", "primary") == PAPER


@pytest.mark.parametrize("type_", ["primary", "contrastive"])
@pytest.mark.parametrize("condition", ["constrained", "unconstrained"])
@pytest.mark.parametrize("pair", ["en-zh", "en-de"])
def test_2027_names_models_as_its_page_says(pair: str, condition: str, type_: str) -> None:
    name = editions.load("iwslt2027").model_name("APG", pair, condition, type_)
    assert name == f"APG_IWSLT27_ModelCompression_{pair}_{condition}_{type_}"


def test_an_edition_that_has_not_published_its_names_makes_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mine has not published how models are to be named"):
        editions.load(changed(tmp_path, model_name_pattern=None)).model_name(
            "APG", "en-zh", "constrained", "primary"
        )


@pytest.mark.parametrize("team", ["", "A PG", "../x", "a/b", "x" * 60, "_x", "Ä", "CON", "nul.2", "com1"])
def test_a_team_that_cannot_be_part_of_a_name_is_refused(team: str) -> None:
    with pytest.raises(UsageError, match="not a usable team name"):
        editions.load("iwslt2026").model_name(team, "en-zh", "constrained", "primary")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("APG", "en-ar", "constrained", "primary"), "no pair 'en-ar' in iwslt2026"),
        (("APG", "en-zh", "open", "primary"), "no condition 'open' in iwslt2026"),
        (("APG", "en-zh", "constrained", "final"), "no submission type 'final' in iwslt2026"),
    ],
)
def test_a_part_the_edition_does_not_have_is_refused(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        editions.load("iwslt2026").model_name(*arguments)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (3_000_000_000, "Bin1"),
        (2_000_000_000, "Bin1"),
        (1_999_999_999, "Bin2"),
        (1_000_000_000, "Bin2"),
        (500_000_000, "Bin3"),
        (200_000_000, "Bin4"),
        (199_999_999, "Bin5"),
    ],
)
def test_in_2025_a_model_on_a_boundary_goes_to_the_larger_bin(size: int, expected: str) -> None:
    edition = editions.load("iwslt2025")
    assert edition.size_bin(size) == expected
    name = edition.model_name("APG", "en-de", "constrained", "primary", size)
    assert name == f"APG_IWSLT25_ModelCompression_en-de_{expected}_constrained_primary"


def test_a_model_too_large_for_every_bin_is_refused() -> None:
    with pytest.raises(UsageError, match="fits no size bin of iwslt2025"):
        editions.load("iwslt2025").size_bin(16_000_000_000)


def test_a_name_with_a_bin_needs_the_size() -> None:
    with pytest.raises(UsageError, match="the model's size is needed"):
        editions.load("iwslt2025").model_name("APG", "en-de", "constrained", "primary")


@pytest.mark.parametrize(
    ("edition", "pair", "prompt", "tokens"),
    [
        ("iwslt2026", "en-zh", "Translate this English speech into Chinese.", 64),
        ("iwslt2026", "en-de", "Translate this English speech into German.", 64),
        (
            "iwslt2027",
            "en-de",
            "Translate the following speech into German. Output only the translation, with no explanation or newlines.",
            256,
        ),
    ],
)
def test_the_baselines_prompt_and_limit_are_given(edition: str, pair: str, prompt: str, tokens: int) -> None:
    defaults = editions.load(edition).decoding(pair)
    assert (defaults.prompt, defaults.max_new_tokens) == (prompt, tokens)


def test_the_rehearsal_says_that_it_is_one() -> None:
    edition = editions.load("demo")
    assert edition.rehearsal
    assert edition.pair("en-zh").test_sets.names == ("demo",)
    assert "_DEMO_" in edition.model_name("T", "en-zh", "constrained", "primary")


def test_an_edition_of_ones_own_is_a_file(tmp_path: Path) -> None:
    path = changed(tmp_path, model_name_pattern="${TEAM}.${LANGUAGE_PAIR}.${CONDITION}.${SUBMISSION_TYPE}")
    assert (
        editions.load(path).model_name("T", "en-zh", "constrained", "primary")
        == "T.en-zh.constrained.primary"
    )


def test_an_unknown_edition_lists_the_known() -> None:
    with pytest.raises(UsageError) as raised:
        editions.load("iwslt1999")
    assert "demo, iwslt2025, iwslt2026, iwslt2027" in str(raised.value)


def test_every_mistake_in_an_edition_file_is_listed(tmp_path: Path) -> None:
    with pytest.raises(ValidationFailed) as raised:
        editions.load(changed(tmp_path, title="", types=["final"]))
    assert "/title" in str(raised.value)
    assert "/types/0" in str(raised.value)


def test_a_pattern_that_lacks_a_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the model name pattern must hold each part once"):
        editions.load(changed(tmp_path, model_name_pattern="${TEAM}_${CONDITION}"))


def test_as_many_names_as_test_sets(tmp_path: Path) -> None:
    pairs = [{"name": "en-zh", "test_sets": {"count": 2, "names": ["a"], "domains": None}}]
    with pytest.raises(InputError, match="en-zh: 2 test sets but 1 names"):
        editions.load(changed(tmp_path, pairs=pairs))
