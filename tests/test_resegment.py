"""Output recut to its references: nothing lost, documents kept apart, no input that ends the program."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from evaluation_fixtures import REFERENCES, SOURCES, spoil, write_run

pytest.importorskip("mweralign", reason="the optional extra iwsltpack[resegment] is not installed")

from iwsltpack.errors import InputError, MissingDependency, ResourceError
from iwsltpack.scoring import resegment as resegment_module
from iwsltpack.scoring.cache import ScoreCache
from iwsltpack.scoring.references import References
from iwsltpack.scoring.resegment import resegment, tokenize
from iwsltpack.scoring.score import score
from iwsltpack.scoring.texts import Hypotheses, read_hypotheses

SUBJECTS = (
    "我们",
    "这个模型",
    "该方法",
    "作者",
    "实验结果",
    "第一个系统",
    "数据集",
    "这篇论文",
    "解码器",
    "编码器",
)
VERBS = (
    "显著提高了",
    "没有影响",
    "首先介绍了",
    "重新定义了",
    "有效地降低了",
    "详细分析了",
    "进一步验证了",
    "大致描述了",
)
OBJECTS = (
    "翻译质量",
    "模型大小",
    "推理速度",
    "训练数据的规模",
    "语音识别的错误率",
    "BLEU 分数",
    "注意力层",
    "量化误差",
)


def talks(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Sentences of some talks, and the talk of each."""
    random_ = random.Random(seed)
    lines, names = [], []
    for talk in range(count):
        for _ in range(random_.randint(8, 20)):
            one, two = (
                f"{random_.choice(SUBJECTS)}{random_.choice(VERBS)}{random_.choice(OBJECTS)}"
                for _ in range(2)
            )
            lines.append(random_.choice((f"{one}，{two}。", f"{one}。", f"{one}，而{two}？")))
            names.append(f"talk{talk}")
    return lines, names


def recut(lines: list[str], names: list[str], seed: int, glue: str = "") -> tuple[list[str], list[str]]:
    """The same text talk by talk, cut anew at random."""
    random_ = random.Random(seed)
    pieces, owners = [], []
    for talk in dict.fromkeys(names):
        left = glue.join(line for line, name in zip(lines, names, strict=True) if name == talk)
        while left:
            size = random_.randint(4, 60)
            pieces.append(left[:size])
            owners.append(talk)
            left = left[size:]
    return pieces, owners


def plain(lines: list[str]) -> list[str]:
    return ["".join(line.split()) for line in lines]


@pytest.mark.parametrize("seed", range(3))
def test_sentences_of_thirty_talks_are_recovered_after_a_random_cut(seed: int) -> None:
    lines, names = talks(30, seed)
    pieces, owners = recut(lines, names, seed)
    found = resegment(pieces, lines, documents=names, hypothesis_documents=owners, spaces=False)
    recovered = sum(one == other for one, other in zip(plain(found), plain(lines), strict=True))
    assert len(pieces) != len(lines)
    assert recovered >= 0.98 * len(lines)


def test_sentences_are_recovered_without_knowing_the_documents() -> None:
    lines, names = talks(6, 9)
    pieces, _ = recut(lines, names, 9)
    found = resegment(pieces, lines, documents=names, spaces=False)
    assert sum(one == other for one, other in zip(plain(found), plain(lines), strict=True)) >= 0.98 * len(
        lines
    )


def test_a_noisy_output_keeps_every_word_in_order() -> None:
    lines, names = talks(5, 4)
    noisy = spoil(lines, 0.3, 4)
    pieces, owners = recut(noisy, names, 4)
    found = resegment(pieces, lines, documents=names, hypothesis_documents=owners, spaces=False)
    assert len(found) == len(lines)
    assert "".join(plain(found)) == "".join(plain(noisy))


def test_german_keeps_its_spaces_and_punctuation() -> None:
    lines = [
        "Wir stellen ein neues Verfahren vor, das gut ist.",
        "Es liefert die besten Ergebnisse!",
        "Danke.",
    ]
    pieces = [
        "Wir stellen ein neues",
        "Verfahren vor, das gut ist. Es liefert",
        "die besten Ergebnisse! Danke.",
    ]
    assert resegment(pieces, lines) == lines


@pytest.mark.parametrize(
    ("hypotheses", "references", "expected"),
    [
        ([""], ["甲乙", "丙丁"], ["", ""]),
        (["", "  "], ["甲乙", "丙丁", "戊"], ["", "", ""]),
        (["甲乙丙丁"], ["甲乙", "", "丙丁"], ["甲乙", "", "丙丁"]),
        (["甲乙丙丁"], ["", "甲乙", "丙丁", ""], ["", "甲乙", "丙丁", ""]),
        (["甲乙"], ["", "", "甲乙"], ["", "", "甲乙"]),
        (["甲乙", "丙丁"], ["甲乙丙丁"], ["甲乙丙丁"]),
    ],
)
def test_empty_references_and_hypotheses_do_no_harm(
    hypotheses: list[str], references: list[str], expected: list[str]
) -> None:
    assert resegment(hypotheses, references, spaces=False) == expected


@pytest.mark.parametrize(
    "odd",
    ["甲\t乙###丙▁丁|||戊", "甲\x00乙\x07丙", "# 甲 # 乙", "甲\u2028乙\u00a0丙", "😀甲👩‍🔬乙", "a" * 5000],
)
def test_odd_characters_come_through_unchanged(odd: str) -> None:
    found = resegment([odd, "结束了。"], [odd[:3], odd[3:], "结束了。"], spaces=False)
    assert "".join(plain(found)) == "".join(plain([odd, "结束了。"]))


def test_output_without_any_reference_is_refused() -> None:
    with pytest.raises(InputError, match="no reference to align with"):
        resegment(["甲"], ["", ""], spaces=False)


def test_other_numbers_of_documents_are_refused() -> None:
    with pytest.raises(InputError, match="different numbers of documents") as caught:
        resegment(
            ["甲", "乙", "丙"], ["甲", "乙"], documents=["a", "b"], hypothesis_documents=["x", "y", "z"]
        )
    assert "expected: 2" in str(caught.value)
    assert "got: 3" in str(caught.value)


def test_a_line_for_each_document_is_taken_as_that_document() -> None:
    references, names = ["甲乙。", "丙丁。", "甲乙。", "戊己。"], ["a", "a", "b", "b"]
    assert (
        resegment(["甲乙。丙丁。", "甲乙。戊己。"], references, documents=names, spaces=False) == references
    )


def test_a_document_too_long_to_align_is_refused_before_it_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resegment_module, "MAX_CELLS", 10)
    with pytest.raises(InputError, match="too long to align in one piece"):
        resegment(["甲乙丙丁"], ["甲乙", "丙丁"], spaces=False)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("raise SystemExit('odd')", "exit code 1: odd"),
        ("print([[1, 0]])", "mweralign lost part of a document"),
    ],
)
def test_an_aligner_that_dies_or_loses_words_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str, message: str
) -> None:
    (tmp_path / "resegment_worker.py").write_text(program)
    monkeypatch.setattr(resegment_module, "__file__", str(tmp_path / "resegment.py"))
    with pytest.raises(ResourceError) as caught:
        resegment(["甲乙丙丁"], ["甲乙", "丙丁"], spaces=False)
    assert message in str(caught.value)


def test_an_aligner_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "resegment_worker.py").write_text("import time; time.sleep(60)")
    monkeypatch.setattr(resegment_module, "__file__", str(tmp_path / "resegment.py"))
    monkeypatch.setattr(resegment_module, "SECONDS", 0.5)
    with pytest.raises(ResourceError, match="was stopped"):
        resegment(["甲乙丙丁"], ["甲乙", "丙丁"], spaces=False)


def test_without_mweralign_the_extra_and_its_licence_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resegment_module.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingDependency, match="needs mweralign") as caught:
        resegment(["甲"], ["甲"])
    assert "pip install '.[resegment]'" in str(caught.value)
    assert "GPL-3" in str(caught.value)


def test_words_are_cut_around_cjk_words_and_marks() -> None:
    text = "我们用BERT模型，yes it's 3.5%。"
    tokens = tokenize(text)
    assert [token.group() for token in tokens][:6] == ["我", "们", "用", "BERT", "模", "型"]
    assert all(text[token.start() : token.end()] == token.group() for token in tokens)
    assert "".join(token.group() for token in tokens) == "".join(text.split())


def test_a_resegmented_score_says_so_and_keeps_the_lines_scored(tmp_path: Path) -> None:
    hypotheses = Hypotheses(name="tst.en-zh.txt", lines=("".join(REFERENCES),))
    references = References(name="ref", lines=tuple(REFERENCES), sources=tuple(SOURCES))
    result = score(hypotheses, references, resegment=True, cache=ScoreCache(tmp_path))
    assert result.resegmented == tuple(REFERENCES)
    assert result.metrics[0].score == pytest.approx(100)
    assert "|reseg:mweralign-" in result.metrics[0].signature.text
    assert result.hypotheses.lines == 1


def test_a_runs_recordings_are_its_documents(tmp_path: Path) -> None:
    run = write_run(
        tmp_path / "run",
        [REFERENCES[0][:9], REFERENCES[0][9:] + REFERENCES[1], REFERENCES[2] + REFERENCES[3], REFERENCES[4]],
        audio=["talk1.wav", "talk1.wav", "talk2.wav", "talk2.wav"],
    )
    references = References(
        name="ref", lines=tuple(REFERENCES), documents=("talk1", "talk1", "talk2", "talk2", "talk2")
    )
    result = score(read_hypotheses(run), references, resegment=True, cache=ScoreCache(tmp_path))
    assert result.resegmented == tuple(REFERENCES)
