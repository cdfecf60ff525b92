"""Cleaning: each rule, what holds for every line, the development file, files and audit."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from conftest import THIRD_PARTY
from hypothesis import given, settings
from hypothesis import strategies as st

from iwsltpack import cleaning
from iwsltpack.cleaning import vocabulary
from iwsltpack.cleaning.diff import marked
from iwsltpack.cleaning.engine import clean_line, clean_lines
from iwsltpack.cleaning.files import clean_file, language_of
from iwsltpack.cleaning.rules import RULES, CleaningRule, may_be_talk
from iwsltpack.cleaning.script import has_content
from iwsltpack.errors import InputError, UsageError

RAW = THIRD_PARTY / "q3_submission.raw.txt"
LABELLED = {
    "zh": ["这段英语的中文翻译是：'大家好。'", "翻译成中文是：'谢谢。'"],
    "de": ["Die Übersetzung lautet: 'Hallo.'", "Deutsche Übersetzung: 'Danke.'"],
}
"""Labels past doubt: in their company what may be one is one."""
PIECES = st.sampled_from(
    [
        *(
            "这段英语",
            "的",
            "中文",
            "翻译",
            "是",
            "为",
            "如下",
            "我们提出了一种方法",
            "英文",
            "中文：",
            "模型模型",
            "好" * 13,
        ),
        *("The English speech", " translates to", " in Chinese", "Hello everyone.", "Translation", "I'm"),
        *(
            "Die Übersetzung lautet",
            "Wir haben es.",
            "(Note: a translation)",
            "<|im_end|>",
            "10:30",
            "C:\\new\\a",
        ),
        *(
            "：",
            ":",
            "'",
            '"',
            "“",
            "”",
            "「",
            "」",
            "《",
            "》",
            "„",
            "（",
            "）",
            "**",
            "。",
            "，",
            "？",
            "？？？？？",
        ),
        *(
            "<think>",
            "</think>",
            "```",
            "{'German': '",
            "}",
            "<b>",
            "</b>",
            "<s>",
            "[INST]",
            "[00:01]",
            "&amp;",
            "amp;",
        ),
        *("*", "(Wǒmen tíchū le)", "model ", "<end_of_turn>", "Übersetzung: ", "nein, ", "<|channel>", "---"),
        *(" ", "\u3000", "\n", "\\n", "\r\n", "\t", "\0", "\u200b", "\u2028", "e\u0301", "\ufffd"),
    ]
)
LINES = st.one_of(st.lists(PIECES, max_size=14).map("".join), st.text(max_size=60))
LANGUAGES = st.sampled_from(["zh", "de"])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_does_what_its_example_shows(rule: CleaningRule) -> None:
    before, after = rule.example, rule.becomes
    lang = "de" if rule.id == "unicode-form" else "zh"
    result = clean_line(before, lang, labelled=rule.phase == 3)
    assert result.text == after
    assert rule.id in {change.rule for change in result.changes if change.repaired}


@settings(max_examples=400, deadline=None)
@given(LINES, LANGUAGES)
def test_cleaning_twice_is_cleaning_once(line: str, lang: str) -> None:
    once = clean_line(line, lang)
    assert clean_line(once.text, lang).text == once.text


@settings(max_examples=400, deadline=None)
@given(LINES, LANGUAGES)
def test_no_line_is_emptied_or_split(line: str, lang: str) -> None:
    result = clean_line(line, lang)
    assert "\n" not in result.text
    assert "\r" not in result.text
    assert bool(result.text.strip()) == bool(line.strip())
    assert has_content(result.text) == has_content(line)


@settings(max_examples=300, deadline=None)
@given(LINES, LANGUAGES)
def test_the_audit_leads_from_the_raw_line_to_the_cleaned_one(line: str, lang: str) -> None:
    result = clean_line(line, lang)
    current = line
    for change in result.changes:
        if change.repaired:
            assert change.before == current
            current = change.after
    assert current == result.text


@settings(max_examples=60, deadline=None)
@given(st.lists(LINES, max_size=8), LANGUAGES)
def test_as_many_lines_come_out_as_went_in_and_cleaning_them_again_changes_none(
    lines: list[str], lang: str
) -> None:
    once = clean_lines([*lines, *LABELLED[lang]], lang).texts
    assert len(once) == len(lines) + 2
    assert clean_lines(once, lang).texts == once


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["我们", "提出", "模型", "方法", "，", "数据集", "很", "好", "BERT", " "]),
        max_size=20,
    ),
    LANGUAGES,
)
def test_plain_sentences_are_left_as_they_are(pieces: list[str], lang: str) -> None:
    line = " ".join("".join(pieces).split())[:40].strip()
    changed = {change.rule for change in clean_line(line, lang).changes if change.repaired}
    assert changed <= {"phrase-loop", "character-run"}


def test_no_word_of_the_vocabulary_has_two_meanings() -> None:
    for writing in ("han", "latin"):
        words = [word for listed in vocabulary._WORDS[writing].values() for word in listed.split()]
        assert sorted(words) == sorted(set(words))


def test_every_pattern_of_the_table_is_one_and_is_used() -> None:
    """A name mistyped in the code or in the table is found here, not by a line that nobody cleans."""
    sources = "".join(
        path.read_text(encoding="utf-8") for path in Path(cleaning.__file__).parent.glob("*.py")
    )
    for section, listed in vocabulary._PATTERNS.items():
        (holder,) = re.findall(rf'(\w+): Final = (?:v\.)?Patterns\("{section}"\)', sources)
        used = set(re.findall(rf"\b{holder}\.(\w+)", sources))
        parts = {part for pieces in listed.values() for part in re.findall(r"%(\w+)%", "".join(pieces))}
        assert used | parts == set(listed), section
        for name in listed:
            assert getattr(vocabulary.Patterns(section), name).pattern


@pytest.mark.parametrize(
    ("line", "lang", "rule"),
    [
        ("", "zh", "empty-line"),
        ("？", "zh", "no-content"),
        ("这段英语的中文翻译是：", "zh", "prefix-only"),
        ("这段英语的中文翻译是：'", "zh", "prefix-only"),
        ("Die deutsche Übersetzung lautet:", "de", "prefix-only"),
        ("The remaining references were matched.", "zh", "not-target-language"),
        ("Bonjour, je m'appelle Antoine.", "zh", "not-target-language"),
        ("We have matched the references of the data set.", "de", "not-target-language"),
        ("所以 we can see that the model is better than the baseline 在这里。", "zh", "half-translated"),
        ("结果\ufffd很好", "zh", "replacement-character"),
        ("抱歉，我无法翻译这段音频。", "zh", "refusal"),
        ("I'm sorry, I cannot translate this audio.", "zh", "refusal"),
        ("Es tut mir leid, ich kann diese Aufnahme nicht hören.", "de", "refusal"),
        ("\0\0", "zh", "would-empty"),
    ],
)
def test_what_cannot_be_repaired_is_reported_and_left(line: str, lang: str, rule: str) -> None:
    result = clean_line(line, lang)
    assert result.text == line
    assert [(change.before, change.after) for change in result.changes if change.rule == rule] == [
        (line, line)
    ]


def test_a_prefix_before_a_french_answer_goes_and_the_answer_is_reported() -> None:
    result = clean_line("法语翻译：'Bonjour, je m'appelle Antoine.'", "zh")
    assert result.text == "Bonjour, je m'appelle Antoine."
    assert [change.rule for change in result.changes] == ["meta-prefix", "not-target-language"]


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(UsageError, match="no cleaning rules for language 'fr'"):
        clean_line("bonjour", "fr")


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("第一行\n第二行", "第一行第二行"),
        ("第一行 \\n\\n second line", "第一行 second line"),
        ("eins\\r\\nzwei", "eins zwei"),
        ("a\u2028b\x0bc\x85d", "a b c d"),
        ("使用\\nabla和\\neq以及\\theta", "使用\\nabla和\\neq以及\\theta"),
        ("C:\\new\\text.txt", "C:\\new\\text.txt"),
        *(
            (line, line)
            for line in (r"\\server\neu", r"\\Server\Neu\n", r"\noindent Gut.", r"Gut. \noindent Ja.")
        ),
        *(
            (line, line)
            for line in (r"Drücken Sie \n für einen Umbruch.", r"Drücken Sie \t für einen Tabulator.")
        ),
        (r"Das ist gut.\nund das auch.\n", "Das ist gut. und das auch."),
        (r"Hallo\nWelt\n- eins\n1. zwei", "Hallo Welt - eins 1. zwei"),
        ("Translation:\\n大家好。", "大家好。"),
    ],
)
def test_line_breaks_are_folded_and_latex_and_paths_are_not(line: str, after: str) -> None:
    assert clean_line(line, "zh").text == after


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("什么？？？？？？", "什么？"),
        ("真的吗？？？", "真的吗？？？"),
        ("共100000000000000个", "共100000000000000个"),
        ("啊" * 40, "啊啊啊"),
        ("等等……", "等等……"),
        ("我们使用" + "这个模型" * 9 + "。", "我们使用这个模型。"),
        ("我们说" + "这个模型" * 8 + "这个", "我们说这个模型"),
        ("很好很好很好很好", "很好很好很好很好"),
    ],
)
def test_endless_repetition_is_shortened_and_emphasis_is_not(line: str, after: str) -> None:
    assert clean_line(line, "zh").text == after


def test_a_mark_piled_up_without_end_does_not_stall_composition() -> None:
    started = time.process_time()
    clean_line("a" + "\u0301\u0316" * 200_000, "de")
    assert time.process_time() - started < 5


PATHOLOGICAL = {
    "one letter": "a" * 1_000_000,
    "spaces": " " * 1_000_000,
    "quotes": "'" * 1_000_000,
    "nested quotes": "“" * 400_000 + "好" + "”" * 400_000,
    "prefixes": "翻译：'" * 250_000,
    "prefix words": "这段英语的中文翻译是" * 100_000,
    "English talk": "the English speech translated " * 33_000,
    "escaped breaks": "\\n" * 500_000,
    "breaks": "好\n" * 500_000,
    "labels": "英文：Hello there. " * 60_000,
    "notes": "(Translation: a) " * 60_000,
    "brackets": "（" * 1_000_000,
    "backslashes": "\\" * 1_000_000,
    "long answer": "这段英语的中文翻译是：'" + "我们好。很好。" * 140_000 + "'",
}


@pytest.mark.parametrize("shape", PATHOLOGICAL)
def test_a_line_of_a_megabyte_takes_no_time_worth_mentioning(shape: str) -> None:
    started = time.process_time()
    result = clean_line(PATHOLOGICAL[shape], "zh")
    assert time.process_time() - started < 3, (
        "under a second on a free machine; the margin is for a loaded one"
    )
    assert clean_line(result.text, "zh").text == result.text


def test_what_still_changes_after_the_last_pass_keeps_its_wording() -> None:
    line = '翻译："' * 12 + "大家好" + '"' * 12
    result = clean_line(line, "zh")
    assert result.text == line
    assert [change.rule for change in result.changes] == ["too-nested"]


@pytest.mark.skipif(not RAW.is_file(), reason="the third-party development file is not there")
class TestDevelopmentFile:
    lines = RAW.read_text(encoding="utf-8").split("\n")[:-1] if RAW.is_file() else []

    CONTENT_WITH_COLON_AND_QUOTE = 306
    """"系统输出的短语是：'…'" renders "when the system outputs a short sentence": words of the talk."""

    def test_every_prefix_goes(self) -> None:
        cleaned = clean_lines(self.lines, "zh").texts
        left = [
            number
            for number, line in enumerate(cleaned, 1)
            if number != self.CONTENT_WITH_COLON_AND_QUOTE
            and any(mark in line[:60] for mark in ("：'", ": '", "翻译是", "翻译为", "translat"))
            and not line.startswith("When assigning")
        ]
        assert left == []
        assert all(cleaned)

    def test_only_the_expected_lines_change(self) -> None:
        result = clean_lines(self.lines, "zh")
        by_rule: dict[str, list[int]] = {}
        for number, line in enumerate(result.lines, 1):
            for change in line.changes:
                if change.repaired:
                    by_rule.setdefault(change.rule, []).append(number)
        assert len(by_rule["meta-prefix"]) == 83
        assert by_rule["wrapping-quotes"] == [94, 406]
        assert by_rule["white-space"] == [44]
        assert set(by_rule) == {"meta-prefix", "wrapping-quotes", "white-space"}

    def test_what_is_left_is_a_piece_of_what_was_there(self) -> None:
        for raw, cleaned in zip(self.lines, clean_lines(self.lines, "zh").texts, strict=True):
            assert cleaned.replace(" ", "") in raw.replace(" ", "")

    def test_repairs_agree_with_the_lines_edited_by_hand(self) -> None:
        final = (THIRD_PARTY / "q3_submission.final.txt").read_text(encoding="utf-8").split("\n")[:-1]
        cleaned = clean_lines(self.lines, "zh").texts
        differing = [
            n for n, (ours, theirs) in enumerate(zip(cleaned, final, strict=True), 1) if ours != theirs
        ]
        # Translated by hand (101, 227, 332), a quote cut off one side only, or a prefix overlooked by hand.
        assert differing == [101, 217, 224, 227, 246, 255, 285, 294, 306, 332, 368, 415]


def test_a_file_is_cleaned_line_by_line_with_an_audit(tmp_path: Path) -> None:
    source, output, audit = tmp_path / "tst.en-zh.txt", tmp_path / "out.txt", tmp_path / "audit.jsonl"
    source.write_bytes("\ufeff翻译：'大家好。'\r\n谢谢。\nHello to you all.".encode())
    summary = clean_file(source, output, "zh", audit=audit)
    assert output.read_bytes() == "大家好。\n谢谢。\nHello to you all.\n".encode()
    assert (summary.lines, summary.changed) == (3, 1)
    entries = [json.loads(line) for line in audit.read_text(encoding="utf-8").splitlines()]
    assert [(entry["line"], entry["rule"]) for entry in entries] == [
        (1, "line-break"),
        (1, "control-character"),
        (1, "meta-prefix"),
        (3, "not-target-language"),
    ]
    assert entries[-1]["before"] == entries[-1]["after"]


def test_a_separator_within_a_line_does_not_make_two(tmp_path: Path) -> None:
    source, output = tmp_path / "a.txt", tmp_path / "b.txt"
    source.write_bytes("一\u2028二\n三\x0c四\n".encode())
    assert clean_file(source, output, "zh").lines == 2
    assert output.read_text(encoding="utf-8") == "一二\n三四\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"good\n\xff\xfe bad\n", "a.txt:2: not UTF-8"),
        ("大家好".encode("utf-16"), "UTF-16"),
        ("大家好\n".encode("gb18030"), "byte 0xb4 at column 1"),
        (b"", "the file is empty"),
    ],
)
def test_a_file_that_is_no_text_is_refused_and_leaves_nothing(
    tmp_path: Path, data: bytes, message: str
) -> None:
    source, output = tmp_path / "a.txt", tmp_path / "out.txt"
    source.write_bytes(data)
    with pytest.raises(InputError) as raised:
        clean_file(source, output, "zh", audit=tmp_path / "audit")
    assert message in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "hypothesis\n翻译：大家好。\n"),
        ("a.txt", "id,hypothesis\n1,大家好。\n"),
        ("a.tsv", "1\t大家好。\n"),
        ("a.txt", '<?xml version="1.0"?>\n<tstset>\n</tstset>\n'),
        ("a.jsonl", '{"id": 1, "text": "大家好。"}\n'),
    ],
)
def test_a_table_or_a_document_is_no_text_of_hypotheses(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="the lines of this file are not hypotheses"):
        clean_file(tmp_path / name, tmp_path / "out.txt", "zh")
    assert not (tmp_path / "out.txt").exists()


def test_a_line_that_begins_with_id_and_a_comma_is_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("ID, bitte.\n<b>Hallo.</b>\n", encoding="utf-8")
    assert clean_file(tmp_path / "a.txt", tmp_path / "out.txt", "de").lines == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the file"):
        clean_file(tmp_path / "none.txt", tmp_path / "out.txt", "zh")


def test_an_audit_over_the_output_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("好\n")
    with pytest.raises(UsageError, match="the audit would overwrite"):
        clean_file(tmp_path / "a.txt", tmp_path / "b.txt", "zh", audit=tmp_path / "b.txt")


@pytest.mark.parametrize(
    ("name", "lang", "pair", "expected"),
    [
        ("a.txt", "de", None, "de"),
        ("a.txt", None, "en-zh", "zh"),
        ("tst.en-de.txt", None, None, "de"),
        ("t.en-zh.clean.txt", None, None, "zh"),
    ],
)
def test_the_language_comes_from_option_pair_or_name(
    name: str, lang: str | None, pair: str | None, expected: str
) -> None:
    assert language_of(Path(name), lang, pair) == expected


def test_a_file_whose_language_nobody_tells_is_refused() -> None:
    with pytest.raises(UsageError, match="which language is this file in"):
        language_of(Path("hyp.txt"), None, None)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_a_diff_holds_both_lines(before: str, after: str) -> None:
    pieces = marked(before, after)
    assert "".join(text for mark, text in pieces if mark != "added") == before
    if before != after:
        assert "".join(text for mark, text in pieces if mark != "removed") == after


def test_a_diff_of_a_very_long_line_is_still_quick() -> None:
    inner = "我们好。" * 50_000
    assert marked(f"翻译：'{inner}'", inner) == [("removed", "翻译：'"), ("kept", inner), ("removed", "'")]


def test_plain_lines_skip_the_rules_on_wording() -> None:
    assert not may_be_talk("我们在三个数据集上进行了实验。")
    assert may_be_talk("这段英语的中文翻译是：好")
