"""The validator: one test that breaks each rule and sees it named."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import REPOSITORY, THIRD_PARTY
from submission_fixtures import (  # noqa: F401
    CLEANED,
    artifact_fixture,
    request,
    rewrite_run,
    rules,
    run_fixture,
    segment,
    tree,
    write_run,
)

from iwsltpack.documents.run import read_run
from iwsltpack.errors import Problem
from iwsltpack.submission import ledger, packaging
from iwsltpack.submission.validation import RULES, Options, kind_of, validate
from iwsltpack.submission.validation.hypotheses import check_alignment
from iwsltpack.system import fileio
from iwsltpack.testsets.order import ranks, spearman

GOOD = "".join(f"{line}\n" for line in CLEANED).encode()


def check_bytes(tmp_path: Path, data: bytes, name: str = "tst.en-zh.txt") -> list[Problem]:
    (tmp_path / name).write_bytes(data)
    kind, problems = validate(tmp_path / name)
    assert kind == "hypotheses"
    return problems


def test_clean_hypotheses_have_no_problem(tmp_path: Path) -> None:
    assert check_bytes(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    ("data", "rule", "line", "severity"),
    [
        (GOOD + b"\xff\xfe\n", "hyp.encoding", 6, "error"),
        (b"\xef\xbb\xbf" + GOOD, "hyp.bom", 1, "error"),
        (GOOD.replace(b"\n", b"\r\n"), "hyp.crlf", 1, "error"),
        (GOOD[:-1], "hyp.final-newline", 5, "warning"),
        (b"", "hyp.empty-file", None, "error"),
        (GOOD + b"\n", "hyp.empty-line", 6, "warning"),
        (GOOD + "？\n".encode(), "hyp.no-content", 6, "warning"),
        (GOOD + "好\0的\n".encode(), "hyp.control", 6, "error"),
        (GOOD + "好\u200b的\n".encode(), "hyp.control", 6, "error"),
        (GOOD + "好\u2028的\n".encode(), "hyp.line-separator", 6, "error"),
        (GOOD + "好\ufffd的\n".encode(), "hyp.replacement", 6, "warning"),
        (GOOD + "好 cafe\u0301\n".encode(), "hyp.nfc", 6, "warning"),
        (GOOD + " 好的\n".encode(), "hyp.white-space", 6, "notice"),
        (GOOD + "翻译：'好的。'\n".encode(), "hyp.meta-prefix", 6, "error"),
        (GOOD + "翻译：\n".encode(), "hyp.prefix-only", 6, "warning"),
        (GOOD + "'好的。'\n".encode(), "hyp.not-clean", 6, "warning"),
        (GOOD + b"We left this one in English.\n", "hyp.not-target-language", 6, "warning"),
        (
            GOOD + "我们 have seen that this is not the best 的方法\n".encode(),
            "hyp.half-translated",
            6,
            "warning",
        ),
        (GOOD + "抱歉，我无法翻译这段语音。\n".encode(), "hyp.refusal", 6, "warning"),
        (GOOD + "这里说了两次。\n这里说了两次。\n".encode(), "hyp.duplicate-lines", 6, "warning"),
        (b"We left all of it in English.\n" * 9, "hyp.script-share", None, "error"),
        (GOOD + b"a" * 1_000_001 + b"\n", "hyp.too-large", 6, "error"),
    ],
)
def test_a_broken_line_is_named_with_its_rule_and_place(
    tmp_path: Path, data: bytes, rule: str, line: int | None, severity: str
) -> None:
    found = [problem for problem in check_bytes(tmp_path, data) if problem.rule == rule]
    assert [(problem.line, problem.severity) for problem in found] == [(line, severity)]
    assert found[0].path == str(tmp_path / "tst.en-zh.txt")
    assert found[0].fix


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["Guten Tag.", "- Wir beginnen heute.", "Danke schön."], [2]),
        (["* Wir beginnen heute.", "Danke schön."], [1]),
        (["Guten Tag.", "1. Die Kosten sind gesunken."], [2]),
        (["Guten Tag.", "3) Wir sind fertig.", "Danke schön."], [2]),
        (["大家好。", "1. 我们开始吧。", "2、谢谢大家。", "再见。", "- 好的。"], [5]),
        (["Guten Tag.", "- Ja.", "- Nein.", "- Ja. - Nein.", "Danke schön."], []),
        (["Guten Tag.", "- Ja. - Nein."], []),
        (["1. FC Köln gewinnt.", "Danke schön.", "1. Mai ist Feiertag.", "Ja gut.", "2. Weltkrieg."], []),
        (["31. Dezember war es.", "Ja gut.", "10.000 Menschen kamen.", "Ja gut.", "- 5 Grad sind es."], []),
        (["1.5亿人看过。", "谢谢大家。", "3月1日。", "大家好。", "*号表示乘法。", "你们好。", "-5度。"], []),
    ],
)
def test_an_item_of_no_list_is_reported(tmp_path: Path, lines: list[str], found: list[int]) -> None:
    name = "tst.en-de.txt" if lines[0].isascii() or "ö" in lines[0] else "tst.en-zh.txt"
    (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), "utf-8")
    problems = [problem for problem in validate(tmp_path / name)[1] if problem.rule == "hyp.chat-mark"]
    assert [problem.line for problem in problems] == found
    assert all("begins as an item of a list" in problem.message for problem in problems)


SEPARATORS = [". ", ") ", "\t", ": ", "、", "．"]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("mark", SEPARATORS)
def test_lines_that_begin_with_their_own_number_are_reported(tmp_path: Path, mark: str, first: int) -> None:
    lines = ["我们开始吧。", "谢谢大家。", "这是结果。", "我们有数据。", "再见，各位。"]
    numbered = "".join(f"{number}{mark}{line}\n" for number, line in enumerate(lines, first))
    found = [problem.message for problem in check_bytes(tmp_path, numbered.encode())]
    assert [message for message in found if "begin with their own number" in message] == [
        "5 of 5 lines begin with their own number"
    ]
    others = "".join(f"{2 * number}{mark}{line}\n" for number, line in enumerate(lines, 1))
    assert not any("own number" in problem.message for problem in check_bytes(tmp_path, others.encode()))


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        *((word, "hyp.no-content") for word in ("nan", "NaN", "null", "undefined", "N/A", "None")),
        ("私たちは新しい方法を提案します。", "hyp.not-target-language"),
        ("We have a problem. 我们有一个问题。", "hyp.half-translated"),
        ("我们有一个问题。We have a problem.", "hyp.half-translated"),
        ("很抱歉，我没有听到任何语音内容。", "hyp.refusal"),
        ("作为一个AI语言模型，我无法听取音频。", "hyp.refusal"),
        ("我们有一个问题。如果您需要进一步的帮助，请告诉我。", "hyp.possible-label"),
        ("翻译：你好。\\n\\n解释：这是一个问候。", "hyp.possible-label"),
        ("我们有一个问题锟斤拷。", "hyp.replacement"),
        ("00:00:01,000 --> 00:00:02,000", "hyp.chat-mark"),
    ],
)
def test_what_is_no_chinese_translation_is_reported(tmp_path: Path, line: str, rule: str) -> None:
    assert rule in {problem.rule for problem in check_bytes(tmp_path, GOOD + f"{line}\n".encode())}


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("Nous avons un problème avec la méthode.", "hyp.not-target-language"),
        ("Tenemos un problema con el método.", "hyp.not-target-language"),
        ("Die GrÃ¶ÃŸe ist fÃ¼r uns wichtig.", "hyp.replacement"),
        ("We have a problem. Wir haben ein Problem.", "hyp.half-translated"),
        ("Wir haben ein Problem - We have a problem.", "hyp.half-translated"),
        ("Ich kann diese Anfrage nicht bearbeiten.", "hyp.refusal"),
        ("Als KI-Sprachmodell kann ich keine Audiodateien anhören.", "hyp.refusal"),
        ("Übersetzung: Hallo.\\n\\nErklärung: Das ist ein Gruß.", "hyp.possible-label"),
    ],
)
def test_what_is_no_german_translation_is_reported(tmp_path: Path, line: str, rule: str) -> None:
    data = f"Guten Tag.\n{line}\n".encode()
    assert rule in {problem.rule for problem in check_bytes(tmp_path, data, "tst.en-de.txt")}


INNOCENT = {
    "de": """Null.
Der Kunde wohnt in Los Angeles und liest Le Monde.
Wir fahren von La Rochelle nach Le Havre.
Der Film heißt „The Lord of the Rings“ und ist lang.
Das Café ist schön – Ärger gibt es nie.
Als KI-Forscher kann ich das bestätigen.
Als Assistent habe ich an der Universität gearbeitet.
Ich kann diese Frage nicht beantworten.
Das Ergebnis ist null.
Was will er in der Not? So war es.""",
    "zh": """这家店叫鲜の每日，在东京。
我们参观了カフェ，很好。
我们的系统叫做Attention Is All You Need。
作为一个AI研究者，我很高兴。
作为助手，我很高兴。
对不起，我没有听懂这个问题。
如果您需要帮助，请告诉我们。
这里的nan表示没有值。
我们有2个问题：1. 数据。2. 模型。""",
}


@pytest.mark.parametrize("lang", ["de", "zh"])
def test_their_innocent_neighbours_are_not(tmp_path: Path, lang: str) -> None:
    data = INNOCENT[lang].encode() + b"\n"
    assert [problem.message for problem in check_bytes(tmp_path, data, f"tst.en-{lang}.txt")] == []


def test_a_file_too_large_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "tst.en-zh.txt"
    with path.open("wb") as stream:
        stream.truncate((256 << 20) + 1)
    assert [problem.rule for problem in validate(path)[1]] == ["hyp.too-large"]


def test_a_short_line_said_twice_is_no_problem(tmp_path: Path) -> None:
    assert check_bytes(tmp_path, GOOD + "谢谢。\n谢谢。\n".encode()) == []


def test_german_is_told_from_english(tmp_path: Path) -> None:
    data = b"Wir haben das Modell verkleinert.\nWe have made the model of the paper smaller.\n"
    assert [(p.rule, p.line) for p in check_bytes(tmp_path, data, "tst.en-de.txt")] == [
        ("hyp.not-target-language", 2)
    ]


def test_a_file_that_does_not_say_its_language_is_named(tmp_path: Path) -> None:
    assert [problem.rule for problem in check_bytes(tmp_path, GOOD, "hyp.txt")] == ["hyp.language"]
    assert validate(tmp_path / "hyp.txt", Options(lang="zh")) == ("hypotheses", [])


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    data = b"\xef\xbb\xbf" + "翻译：'好'\r\n\n\0\nlast".encode()
    assert {
        "hyp.bom",
        "hyp.crlf",
        "hyp.meta-prefix",
        "hyp.empty-line",
        "hyp.control",
        "hyp.final-newline",
    } <= {problem.rule for problem in check_bytes(tmp_path, data)}


def test_nothing_there_is_a_problem_of_its_own(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        kind, problems = validate(path)
        assert (kind, [problem.rule for problem in problems]) == (None, ["path.unknown"])


def test_what_the_server_would_delete_is_a_notice(tmp_path: Path) -> None:
    hyp = tmp_path / "tst.en-de.txt"
    hyp.write_text("Wir verwenden C# und x < y.\nNichts zu tun.\n", encoding="utf-8")
    found = [problem for problem in validate(hyp)[1] if problem.rule == "hyp.server-changes"]
    assert [(problem.line, problem.severity) for problem in found] == [(1, "notice")]
    assert found[0].message == "it makes it: Wir verwenden C und x  y."


# Order and alignment


def test_ranks_share_ties() -> None:
    assert ranks([3.0, 1.0, 3.0, 2.0]) == [3.5, 1.0, 3.5, 2.0]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        # The example in the documentation of scipy.stats.spearmanr.
        ([1, 2, 3, 4, 5], [5, 6, 7, 8, 7], 0.8207826816681233),
        # By hand: ranks 1 2.5 2.5 4 and 3.5 3.5 2 1, covariance -3.75, both spreads 4.5.
        ([1, 2, 2, 3], [4, 4, 1, 0], -3.75 / 4.5),
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([1, 1, 1], [1, 2, 3], 0.0),
    ],
)
def test_spearman_agrees_with_the_reference(left: list[float], right: list[float], expected: float) -> None:
    assert spearman(left, right) == pytest.approx(expected)


def test_sequences_of_different_lengths_have_no_correlation() -> None:
    with pytest.raises(ValueError, match="2 values against 1"):
        spearman([1, 2], [1])


def lines_for(durations: list[float], seed: int = 1) -> list[str]:
    noise = random.Random(seed)
    return ["好" * max(1, round(duration * 4 * noise.uniform(0.6, 1.4))) for duration in durations]


def test_lines_that_follow_the_audio_pass_and_shuffled_ones_do_not() -> None:
    durations = [random.Random(index).uniform(1, 25) for index in range(200)]
    lines = lines_for(durations)
    assert check_alignment(durations, lines, Path("x")) == []
    random.Random(3).shuffle(lines)
    assert [problem.rule for problem in check_alignment(durations, lines, Path("x"))] == [
        "alignment.shuffled"
    ]


def test_lines_that_slipped_half_way_are_called_weak() -> None:
    durations = [random.Random(index).uniform(1, 25) for index in range(200)]
    lines = lines_for(durations)
    slipped = lines[:80] + lines[81:] + ["好"]
    assert [problem.rule for problem in check_alignment(durations, slipped, Path("x"))] == ["alignment.weak"]


def test_a_handful_of_segments_is_too_few_to_tell() -> None:
    found = check_alignment([1.0] * 5, ["好"] * 5, Path("x"))
    assert [(problem.rule, problem.severity) for problem in found] == [("alignment.skipped", "notice")]


def test_hypotheses_are_held_against_a_test_set(tmp_path: Path) -> None:
    folder = tmp_path / "tst"
    (folder / "wav").mkdir(parents=True)
    durations = [random.Random(index).uniform(1, 25) for index in range(200)]
    yaml = [
        f"- {{wav: a.wav, offset: {sum(durations[:i]):.3f}, duration: {d:.3f}}}"
        for i, d in enumerate(durations)
    ]
    (folder / "tst.yaml").write_text("\n".join(yaml))
    (folder / "FILE_ORDER").write_text("a.wav\n")
    (folder / "a.wav").write_bytes(b"RIFF")
    lines = lines_for(durations)
    hyp = tmp_path / "tst.en-zh.txt"
    options = Options(test_set=folder)

    def write(items: list[str]) -> set[str]:
        hyp.write_text("".join(f"{item}\n" for item in items), encoding="utf-8")
        return {problem.rule for problem in validate(hyp, options)[1]} & {
            "hyp.line-count",
            "alignment.shuffled",
        }

    assert write(lines) == set()
    assert write(lines[:-1]) == {"hyp.line-count"}
    assert write(random.Random(0).sample(lines, len(lines))) == {"alignment.shuffled"}


# Runs


def test_a_whole_run_has_no_error(run: Path) -> None:
    kind, problems = validate(run)
    assert (kind, rules(problems)) == ("run", set())
    assert validate(run.parent)[0] == "runs"


def broken_runs() -> dict[str, tuple[Callable[[Path], None], str]]:
    def edited(folder: Path) -> None:
        (folder / "demo.en-zh.txt").write_text("改过。\n" * 5, encoding="utf-8")

    def short(folder: Path) -> None:
        path = folder / "demo.en-zh.txt"
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:4]))
        rewrite_run(folder, output=replace(read_run(folder).output, sha256=fileio.sha256_file(path), lines=4))

    def disordered(folder: Path) -> None:
        rewrite_run(folder, segments=tuple(segment(index) for index in (0, 2, 1, 3, 4)))

    def missing(folder: Path) -> None:
        (folder / "demo.en-zh.txt").unlink()

    def outside(folder: Path) -> None:
        data = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        data["output"]["path"] = "../demo.en-zh.txt"
        (folder / "run.json").write_text(json.dumps(data))

    def linked(folder: Path) -> None:
        path = folder / "demo.en-zh.txt"
        path.rename(folder.parent / "elsewhere.txt")
        path.symlink_to(folder.parent / "elsewhere.txt")

    def unfinished(folder: Path) -> None:
        (folder / "run.json").unlink()
        (folder / "journal.jsonl").write_text("{}\n")

    def garbled(folder: Path) -> None:
        (folder / "run.json").write_text("{")

    def wrong(folder: Path) -> None:
        data = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        (folder / "run.json").write_text(json.dumps(data | {"pair": 7}))

    def truncated(folder: Path) -> None:
        rewrite_run(
            folder, segments=tuple(segment(i, finish="length" if i == 1 else "stop") for i in range(5))
        )

    def replaced(folder: Path) -> None:
        rewrite_run(
            folder, segments=tuple(segment(i, finish="placeholder" if i == 1 else "stop") for i in range(5))
        )

    def strange(folder: Path) -> None:
        rewrite_run(folder, segments=tuple(segment(i, signs=("repetition",)) for i in range(5)))

    return {
        "edited": (edited, "run.output-changed"),
        "short": (short, "hyp.line-count"),
        "disordered": (disordered, "run.order"),
        "missing": (missing, "run.output-missing"),
        "outside": (outside, "schema.run"),
        "linked": (linked, "run.output-missing"),
        "unfinished": (unfinished, "run.unreadable"),
        "garbled": (garbled, "run.unreadable"),
        "wrong": (wrong, "schema.run"),
        "truncated": (truncated, "run.truncated"),
        "replaced": (replaced, "run.placeholders"),
        "strange": (strange, "run.hallucinations"),
    }


@pytest.mark.parametrize("case", broken_runs())
def test_a_broken_run_is_named(run: Path, case: str) -> None:
    breaker, rule = broken_runs()[case]
    breaker(run)
    assert rule in {problem.rule for problem in validate(run)[1]}


# Artifacts and submissions


def test_an_artifact_is_checked_to_the_byte(artifact: Path, tmp_path: Path) -> None:
    import shutil

    assert validate(artifact) == ("artifact", [])
    copy = tmp_path / "copy"
    shutil.copytree(artifact, copy)
    victim = copy / "model" / "config.json"
    victim.write_bytes(victim.read_bytes()[:-1] + b"}")
    assert rules(validate(copy)[1]) == {"artifact.checksum"}


@pytest.fixture
def package(run: Path, artifact: Path, tmp_path: Path) -> Path:
    folder, _ = ledger.add(tmp_path / "submissions", packaging.prepare(request(artifact, run)))
    return folder


def test_what_the_packager_makes_is_valid(package: Path) -> None:
    assert validate(package) == ("submission", [])
    assert validate(package / f"{package.name}.zip") == ("archive", [])
    assert validate(package.parent) == ("ledger", [])


def edit_record(package: Path, **changes: object) -> None:
    path = package / "submission.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    for key, value in changes.items():
        if isinstance(value, dict):
            data[key].update(value)
        else:
            data[key] = value
    path.write_bytes(fileio.canonical_json(data))


def broken_packages() -> dict[str, tuple[Callable[[Path], None], str]]:
    def hyp(package: Path, data: bytes) -> None:
        (package / "demo.en-zh.txt").write_bytes(data)

    def write(name: str, text: str) -> Callable[[Path], None]:
        return lambda package: (package / name).write_text(text, encoding="utf-8") and None

    def append(name: str, text: str) -> Callable[[Path], None]:
        def act(package: Path) -> None:
            with (package / name).open("a", encoding="utf-8") as stream:
                stream.write(text)

        return act

    def link(package: Path) -> None:
        (package / "extra").symlink_to("/etc/hostname")

    def description(package: Path) -> None:
        path = package / "DESCRIPTION.md"
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("## Number of parameters", "## Anything"), encoding="utf-8")

    def archive(package: Path) -> None:
        path = package / f"{package.name}.zip"
        path.write_bytes(path.read_bytes()[:-1] + b"x")

    def rename(package: Path) -> None:
        package.rename(package.with_name("APG_other"))

    def sums(package: Path) -> None:
        append("CHECKSUMS.sha256", f"{'0' * 64}  ../../evil\n")(package)

    return {
        "edited": (lambda package: hyp(package, GOOD + "多一行。\n".encode()), "hyp.line-count"),
        "changed": (
            lambda package: hyp(package, GOOD.replace("谢谢大家".encode(), "谢谢".encode())),
            "submission.checksum",
        ),
        "dirty": (
            lambda package: hyp(package, GOOD.replace("谢谢大家".encode(), "翻译：谢谢".encode())),
            "hyp.meta-prefix",
        ),
        "gone": (lambda package: (package / "demo.en-zh.txt").unlink(), "submission.missing-file"),
        "raw gone": (
            lambda package: (package / "raw" / "demo.en-zh.txt").unlink(),
            "submission.missing-file",
        ),
        "raw changed": (write("raw/demo.en-zh.txt", "x\n"), "submission.checksum"),
        "foreign": (write("notes.txt", "hello"), "submission.foreign-file"),
        "link": (link, "submission.hostile"),
        "description": (description, "submission.description"),
        "archive": (archive, "submission.archive"),
        "no archive": (lambda package: (package / f"{package.name}.zip").unlink(), "submission.missing-file"),
        "path": (append("UPLOAD.md", "see /home/alice/runs\n"), "submission.private"),
        "record garbled": (write("submission.json", "["), "submission.unreadable"),
        "record reformatted": (append("submission.json", "\n"), "submission.checksum"),
        "record misfit": (lambda package: edit_record(package, pair="en-xx"), "schema.submission"),
        "no sums": (lambda package: (package / "CHECKSUMS.sha256").unlink(), "submission.missing-file"),
        "hostile sums": (sums, "submission.checksum"),
        "name": (lambda package: edit_record(package, model_name="APG_DEMO"), "submission.model-name"),
        "team": (lambda package: edit_record(package, team="OTHER"), "submission.model-name"),
        "condition": (
            lambda package: edit_record(package, condition="unconstrained"),
            "submit.datasets-missing",
        ),
        "dataset": (lambda package: edit_record(package, datasets=["MuST-C"]), "submit.datasets-not-allowed"),
        "edition": (lambda package: edit_record(package, edition={"sha256": "0" * 64}), "submission.edition"),
        "no edition": (
            lambda package: edit_record(package, edition={"name": "iwslt1999"}),
            "submission.edition",
        ),
        "size": (lambda package: edit_record(package, artifact={"bytes": 1}), "submission.description"),
        "folder": (rename, "submission.folder-name"),
    }


@pytest.mark.parametrize("case", broken_packages())
def test_a_broken_package_is_named(package: Path, case: str) -> None:
    breaker, rule = broken_packages()[case]
    breaker(package)
    folder = package if package.exists() else package.with_name("APG_other")
    assert rule in {problem.rule for problem in validate(folder)[1]}


def test_a_test_set_missing_from_a_package_is_named(package: Path) -> None:
    data = json.loads((package / "submission.json").read_text(encoding="utf-8"))
    (package / "submission.json").write_bytes(
        fileio.canonical_json(data | {"test_sets": data["test_sets"] * 2})
    )
    assert "submit.test-set-twice" in rules(validate(package)[1])
    from iwsltpack import editions

    other = replace(editions.load("demo"), pairs=editions.load("iwslt2026").pairs)
    assert "submit.test-set-missing" in rules(validate(package, Options(edition=other))[1])


def test_raw_lines_in_a_package_made_without_cleaning_are_accepted(
    run: Path, artifact: Path, tmp_path: Path
) -> None:
    made = packaging.prepare(request(artifact, run, clean=False))
    folder, _ = ledger.add(tmp_path / "submissions", made)
    assert tree(folder)["demo.en-zh.txt"] == tree(folder)["raw/demo.en-zh.txt"]
    assert rules(validate(folder)[1]) == set()


def test_strays_and_missing_primaries_in_a_ledger_are_named(
    run: Path, artifact: Path, tmp_path: Path
) -> None:
    root = tmp_path / "submissions"
    ledger.add(root, packaging.prepare(request(artifact, run, type="contrastive")))
    (root / "notes").mkdir()
    found = {problem.rule: problem.severity for problem in validate(root)[1]}
    assert found == {"ledger.no-primary": "warning", "ledger.stray": "warning"}


def test_two_primaries_in_a_ledger_are_named(package: Path) -> None:
    import shutil

    shutil.copytree(package, package.with_name("copy"))
    assert "ledger.two-primaries" in rules(validate(package.parent)[1])


def test_an_empty_ledger_is_fine(tmp_path: Path) -> None:
    (tmp_path / "submissions").mkdir()
    assert validate(tmp_path / "submissions") == ("ledger", [])


def test_kinds_are_told_by_content(package: Path, run: Path, artifact: Path, tmp_path: Path) -> None:
    found = [
        kind_of(path)
        for path in (package, package.parent, run, artifact, run / "demo.en-zh.txt", tmp_path / "no")
    ]
    assert found == ["submission", "ledger", "run", "artifact", "hypotheses", None]


# The table of rules


def test_every_rule_says_what_to_do() -> None:
    for name, rule in RULES.items():
        assert rule.severity in ("error", "warning", "notice"), name
        assert rule.summary.endswith("."), name
        assert " " in rule.fix, name  # a word alone would be a step that the file does not have


def test_every_rule_is_used_somewhere() -> None:
    code = "".join(
        path.read_text(encoding="utf-8") for path in (REPOSITORY / "iwsltpack" / "submission").rglob("*.py")
    )
    assert [name for name in RULES if f'"{name}"' not in code] == []


def test_the_documentation_lists_exactly_the_rules_there_are() -> None:
    import re

    text = (REPOSITORY / "docs" / "validation.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([a-z.-]+)` \| (error|warning|notice) \|", text, flags=re.M)
    assert dict(listed) == {name: rule.severity for name, rule in RULES.items()}
    for name, rule in RULES.items():
        assert f"| `{name}` | {rule.severity} | {rule.summary} | {rule.fix} |" in text


@pytest.mark.skipif(not THIRD_PARTY.is_dir(), reason="the third-party development file is not there")
def test_the_file_the_author_edited_by_hand_still_has_what_was_overlooked() -> None:
    _, problems = validate(THIRD_PARTY / "q3_submission.final.txt", Options(lang="zh"))
    prefixes = [problem.line for problem in problems if problem.rule == "hyp.meta-prefix"]
    assert prefixes == [217, 224, 246, 255, 285, 294, 368, 415]
