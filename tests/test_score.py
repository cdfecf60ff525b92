"""chrF and BLEU to the last digit, their signatures, references of every kind, the cache, the command."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import typer
import warm
from conftest import THIRD_PARTY
from evaluation_fixtures import PREFIX, REFERENCES, SOURCES, spoil, write_run
from typer.testing import CliRunner

from iwsltpack.cli import common
from iwsltpack.cli import score as score_command
from iwsltpack.documents import schema
from iwsltpack.documents.score import Score, read_score
from iwsltpack.errors import InputError, IwsltpackError, UsageError, ValidationFailed
from iwsltpack.scoring import sacrebleu_metrics
from iwsltpack.scoring import score as scores_module
from iwsltpack.scoring.cache import ScoreCache
from iwsltpack.scoring.references import References, read_references, read_side
from iwsltpack.scoring.sacrebleu_metrics import _fast_tokenizer, make_metric
from iwsltpack.scoring.score import merge, score
from iwsltpack.scoring.texts import Hypotheses, digest, read_hypotheses, read_lines
from iwsltpack.system.fileio import cache_directory
from iwsltpack.system.progress import Reporter

GERMAN = [
    "Wir stellen ein neues Verfahren vor.",
    "Es liefert auf drei Datensätzen die besten Ergebnisse.",
    "Danke!",
]


@pytest.fixture
def cache(tmp_path: Path) -> ScoreCache:
    return ScoreCache(tmp_path / "cache")


def of(lines: list[str], name: str = "tst.en-zh.txt") -> Hypotheses:
    return Hypotheses(name=name, lines=tuple(lines))


def refs(lines: list[str] = REFERENCES, **fields: object) -> References:
    return References(name="ref.txt", lines=tuple(lines), **fields)  # type: ignore[arg-type]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def sacrebleu(reference: Path, hypotheses: Path, *options: str) -> str:
    """What the official command prints."""
    command = [sys.executable, "-m", "sacrebleu", str(reference), "-i", str(hypotheses), "-w", "14", *options]
    return warm.run(command, check=True).stdout


def assert_equal_to_command(
    tmp_path: Path, hypotheses: list[str], references: list[str], language: str
) -> None:
    hyp, ref = write(tmp_path / "hyp", hypotheses), write(tmp_path / "ref", references)
    tokenizer = {"zh": "zh", "de": "13a"}[language]
    told = {
        entry["name"]: entry
        for entry in json.loads(sacrebleu(ref, hyp, "-m", "chrf", "bleu", "-tok", tokenizer))
    }
    found = score(
        Hypotheses(name="hyp", lines=read_lines(hyp)),
        References(name="ref", lines=read_lines(ref)),
        language=language,
        cache=ScoreCache(None),
    )
    assert len(found.metrics) == 2
    for result in found.metrics:
        entry = told[result.signature.metric]
        assert round(result.score, 14) == entry["score"]
        assert result.signature.settings == entry["signature"]
        lines = sacrebleu(ref, hyp, "-m", result.metric, "-tok", tokenizer, "-sl", "-b").split()
        assert [float(f"{value:.14f}") for value in result.segments] == [float(line) for line in lines]


def test_chinese_scores_equal_the_sacrebleu_commands_to_the_last_digit(tmp_path: Path) -> None:
    assert_equal_to_command(tmp_path, spoil(REFERENCES, 0.3, 1), REFERENCES, "zh")


def test_german_scores_equal_the_sacrebleu_commands_to_the_last_digit(tmp_path: Path) -> None:
    assert_equal_to_command(tmp_path, spoil(GERMAN, 0.2, 2), GERMAN, "de")


@pytest.mark.skipif(not THIRD_PARTY.is_dir(), reason="the paper's outputs are not at ../shared/data/apg")
def test_scores_of_the_papers_own_outputs_equal_the_sacrebleu_commands(tmp_path: Path) -> None:
    raw, final = (THIRD_PARTY / f"q3_submission.{kind}.txt" for kind in ("raw", "final"))
    assert_equal_to_command(tmp_path, list(read_lines(raw)), list(read_lines(final)), "zh")


def test_a_chinese_bleu_is_not_computed_with_the_tokenizer_for_spaces(cache: ScoreCache) -> None:
    result = score(of(REFERENCES), refs(), metrics=["bleu"], cache=cache).metric("bleu")
    assert result is not None
    assert result.score == pytest.approx(100)
    assert "tok:zh" in result.signature.settings


def test_different_line_counts_are_refused_with_both_counts(cache: ScoreCache) -> None:
    with pytest.raises(InputError, match="not one hypothesis for every reference") as caught:
        score(of(REFERENCES[:-1]), refs(), cache=cache)
    assert "5 lines" in str(caught.value)
    assert "4 lines" in str(caught.value)
    assert "--resegment" in str(caught.value)


def test_empty_hypotheses_and_references_are_scored_as_the_command_does(tmp_path: Path) -> None:
    assert_equal_to_command(tmp_path, ["", *REFERENCES[1:]], [*REFERENCES[:-1], ""], "zh")


def test_the_signature_changes_with_hypotheses_references_and_cleaning(cache: ScoreCache) -> None:
    spoken = [PREFIX + line for line in REFERENCES]
    one = score(of(spoken), refs(), metrics=["chrf"], cache=cache).metrics[0].signature
    other = score(of(REFERENCES), refs(), metrics=["chrf"], cache=cache).metrics[0].signature
    cleaned = score(of(spoken), refs(), metrics=["chrf"], clean=True, cache=cache).metrics[0].signature
    elsewhere = (
        score(of(REFERENCES), refs(REFERENCES[::-1]), metrics=["chrf"], cache=cache).metrics[0].signature
    )
    assert one.hypotheses != other.hypotheses
    assert one.comparable == other.comparable == cleaned.comparable
    assert elsewhere.comparable != other.comparable
    assert "|clean:no|" in one.text
    assert "|clean:iwsltpack-" in cleaned.text
    assert f"hyp:{digest(spoken)[:8]}" in one.text


def test_cleaning_before_scoring_scores_the_cleaned_lines(cache: ScoreCache) -> None:
    spoken = [PREFIX + line for line in REFERENCES]
    raw = score(of(spoken), refs(), metrics=["chrf"], cache=cache)
    cleaned = score(of(spoken), refs(), metrics=["chrf"], clean=True, cache=cache)
    assert raw.metrics[0].score < 90
    assert cleaned.metrics[0].score == pytest.approx(100)
    assert (raw.cleaned, cleaned.cleaned) == (False, True)


def test_the_second_scoring_comes_from_the_cache(cache: ScoreCache, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = spoil(REFERENCES, 0.2, 3)
    first = score(of(lines), refs(), baseline=of(REFERENCES), cache=cache)

    def fail(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(scores_module.sacrebleu_metrics, "score_surface", fail)
    monkeypatch.setattr(scores_module, "compare_surface", fail)
    assert score(of(lines), refs(), baseline=of(REFERENCES), cache=cache) == first
    with pytest.raises(AssertionError, match="computed again"):
        score(of(lines[::-1]), refs(), cache=cache)


def test_a_damaged_cache_entry_is_computed_again(cache: ScoreCache, tmp_path: Path) -> None:
    first = score(of(spoil(REFERENCES, 0.2, 3)), refs(), cache=cache)
    entries = list((tmp_path / "cache").rglob("*.json"))
    assert len(entries) == 2
    for entry, text in zip(
        entries, ("{", entries[1].read_text().replace("segments", "segment")), strict=True
    ):
        entry.write_text(text)
    assert score(of(spoil(REFERENCES, 0.2, 3)), refs(), cache=cache) == first


def test_a_cached_score_that_was_altered_is_not_believed(cache: ScoreCache, tmp_path: Path) -> None:
    first = score(of(REFERENCES), refs(), metrics=["chrf"], cache=cache)
    (entry,) = (tmp_path / "cache").rglob("*.json")
    entry.write_text(entry.read_text().replace('"score": 100.0', '"score": 12.0'))
    assert score(of(REFERENCES), refs(), metrics=["chrf"], cache=cache) == first


def test_a_cache_that_cannot_be_written_loses_no_score(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = score(of(REFERENCES), refs(), cache=ScoreCache(tmp_path / "file"))
    assert result.metrics[0].score == pytest.approx(100)


def test_the_cache_lies_where_the_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IWSLTPACK_CACHE", str(tmp_path))
    assert cache_directory() == tmp_path
    monkeypatch.delenv("IWSLTPACK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "xdg" / "iwsltpack"


def test_a_test_against_a_baseline_tells_a_clear_difference_from_none(cache: ScoreCache) -> None:
    many = REFERENCES * 8
    good, bad = spoil(many, 0.05, 4), spoil(many, 0.6, 5)
    clear = score(of(good), refs(many), metrics=["chrf"], baseline=of(bad), cache=cache).metrics[0]
    none = score(of(good), refs(many), metrics=["chrf"], baseline=of(good), cache=cache).metrics[0]
    assert clear.comparison is not None
    assert none.comparison is not None
    assert clear.comparison.p_bootstrap < 0.01 > clear.comparison.p_randomization
    assert clear.comparison.difference == clear.score - clear.comparison.score > 20
    assert none.comparison.p_randomization > 0.9 < none.comparison.p_bootstrap
    assert (none.comparison.difference, none.comparison.seed) == (0, 12345)


def test_a_seed_that_is_no_number_is_refused(cache: ScoreCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACREBLEU_SEED", "none")
    with pytest.raises(UsageError, match="cannot be repeated"):
        score(of(REFERENCES), refs(), baseline=of(REFERENCES[::-1]), cache=cache)


@pytest.mark.parametrize(("metrics", "message"), [(["ter"], "unknown metric 'ter'"), ([], "no metric")])
def test_unknown_metrics_are_refused(cache: ScoreCache, metrics: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        score(of(REFERENCES), refs(), metrics=metrics, cache=cache)


def test_the_language_is_told_by_name_references_or_script(cache: ScoreCache) -> None:
    assert score(of(GERMAN, "tst.en-de.txt"), refs(GERMAN), cache=cache).language == "de"
    assert score(of(GERMAN, "hyp"), refs(GERMAN, language="de"), cache=cache).language == "de"
    assert score(of(REFERENCES, "hyp"), refs(), cache=cache).language == "zh"
    with pytest.raises(UsageError, match="which language is this"):
        score(of(GERMAN, "hyp"), refs(GERMAN), cache=cache)


def test_comet_without_sources_says_how_to_give_them(cache: ScoreCache) -> None:
    with pytest.raises(InputError, match="COMET needs what was said") as caught:
        score(of(REFERENCES), refs(), metrics=["comet"], cache=cache)
    assert "--source FILE" in str(caught.value)


def manifest(
    tmp_path: Path, rows: list[str], header: str = "id,split,audio_path,source_en,target_zh"
) -> Path:
    return write(tmp_path / "manifest.csv", [header, *rows])


def test_a_manifest_gives_references_sources_and_language(tmp_path: Path) -> None:
    path = manifest(tmp_path, ['a,dev,a.wav,"One, two",一二', "b,dev,b.wav,Three,三"])
    found = read_references(path)
    assert found.lines == ("一二", "三")
    assert found.sources == ("One, two", "Three")
    assert (found.ids, found.language) == (("a", "b"), "zh")
    assert read_side(path, "source").lines == found.sources


def test_a_split_of_a_manifest_can_be_taken(tmp_path: Path) -> None:
    path = manifest(tmp_path, ["a,dev,a.wav,One,一", "b,eval,b.wav,Two,二"])
    assert read_references(path, split="eval").lines == ("二",)
    with pytest.raises(UsageError, match="no rows of split 'test'"):
        read_references(path, split="test")


def test_a_manifest_in_several_languages_needs_one_chosen(tmp_path: Path) -> None:
    path = manifest(tmp_path, ["a,a.wav,一,Eins"], "id,audio_path,target_zh,target_de")
    assert read_references(path, language="de").lines == ("Eins",)
    with pytest.raises(UsageError, match="several languages"):
        read_references(path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a,dev,a.wav,One"], "fewer values"),
        (["a,dev,a.wav,One,一,more"], "more values"),
        (['a,dev,a.wav,"One,一'], "not valid CSV"),
        ([], "lists nothing"),
    ],
)
def test_broken_manifests_are_refused(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_references(manifest(tmp_path, rows))


def test_a_manifest_without_references_names_its_columns(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no references") as caught:
        read_references(manifest(tmp_path, ["a,a.wav"], "id,audio_path"))
    assert "id,audio_path" in str(caught.value)


def test_a_run_takes_its_own_rows_of_a_manifest_in_its_own_order(tmp_path: Path, cache: ScoreCache) -> None:
    rows = [f's{i},dev,s{i}.wav,"{SOURCES[i]}",{REFERENCES[i]}' for i in range(5)]
    path = manifest(tmp_path, rows)
    run = write_run(tmp_path / "run", [REFERENCES[3], REFERENCES[0]], ids=["s3", "s0"])
    result = score(read_hypotheses(run), read_references(path), metrics=["chrf"], cache=cache)
    assert result.metrics[0].segments == pytest.approx((100, 100))
    assert result.run is not None
    assert result.run.recipe == "selected-q3"
    other = write_run(tmp_path / "other", REFERENCES[:2], ids=["s0", "s9"])
    with pytest.raises(InputError, match="no reference for 1 of the run's 2 segments"):
        score(read_hypotheses(other), read_references(path), cache=cache)


XML = """<?xml version="1.0" encoding="UTF-8"?>
<mteval>
<srcset setid="tst" srclang="english"><doc docid="talk1"><seg id="1"> One &amp; two </seg></doc>
<doc docid="talk2"><seg id="1">Three</seg></doc></srcset>
<refset setid="tst" srclang="english" trglang="chinese" refid="ref">
<doc docid="talk1"><seg id="1"> 一和二 </seg></doc><doc docid="talk2"><seg id="1">三</seg></doc></refset>
</mteval>"""


def test_iwslt_xml_gives_references_documents_and_sources(tmp_path: Path) -> None:
    path = tmp_path / "ref.xml"
    path.write_text(XML, encoding="utf-8")
    found = read_references(path)
    assert found.lines == ("一和二", "三")
    assert found.documents == ("talk1", "talk2")
    assert found.language == "zh"
    assert read_side(path, "source").lines == ("One & two", "Three")


def test_wmt_style_xml_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "ref.xml"
    path.write_text(
        '<dataset id="d"><doc id="t"><src lang="en"><p><seg id="1">One</seg></p></src>'
        '<ref lang="zh" translator="A"><p><seg id="1">一</seg></p></ref>'
        '<hyp system="x"><p><seg id="1">x</seg></p></hyp></doc></dataset>',
        encoding="utf-8",
    )
    assert read_references(path).lines == ("一",)
    assert read_side(path, "source").lines == ("One",)


TWO_TRANSLATORS = "".join(
    f'{start}<refset refid="{name}"><doc><seg>{name}</seg></doc></refset>{end}'
    for name, start, end in (("a", "<m>", ""), ("b", "", "</m>"))
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<mteval><refset><doc><seg>a & b</seg></doc></refset></mteval>", "not well-formed"),
        ("<mteval><refset/></mteval>", "no reference segments"),
        (
            '<!DOCTYPE m [<!ENTITY a "b">]><mteval><refset><doc><seg>&a;</seg></doc></refset></mteval>',
            "entities",
        ),
        (TWO_TRANSLATORS, "several references"),
    ],
)
def test_broken_or_ambiguous_xml_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "ref.xml"
    path.write_text(text)
    with pytest.raises(IwsltpackError, match=message):
        read_references(path)


def test_text_is_read_as_sacrebleu_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes("\ufeffone \r\n\u2028two\nthree".encode())
    assert read_lines(path) == ("one", "\u2028two", "three")


@pytest.mark.parametrize(("data", "message"), [(b"", "the file is empty"), (b"a\n\xff\n", "not UTF-8")])
def test_unreadable_text_is_refused_with_its_place(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "text"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_lines(path)


def test_a_run_whose_text_was_edited_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", REFERENCES)
    write(run / "tst.en-zh.txt", REFERENCES[::-1])
    with pytest.raises(InputError, match="not those the run wrote"):
        read_hypotheses(run)


def test_a_folder_of_several_runs_names_them(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_run(tmp_path / name, REFERENCES)
    with pytest.raises(InputError, match="several runs") as caught:
        read_hypotheses(tmp_path)
    assert "got: one, two" in str(caught.value)


def test_the_document_survives_writing_and_reading(tmp_path: Path, cache: ScoreCache) -> None:
    result = score(of(spoil(REFERENCES, 0.2, 3)), refs(), baseline=of(REFERENCES), cache=cache)
    path = tmp_path / "score.json"
    path.write_text(json.dumps(result.to_json()))
    assert read_score(path) == result
    assert read_score(path).metrics[0].signature.text == result.metrics[0].signature.text


def test_every_field_of_the_document_is_in_its_schema(cache: ScoreCache) -> None:
    data = score(of(REFERENCES), refs(), baseline=of(REFERENCES[::-1]), cache=cache).to_json()
    properties = schema.load_schema("score")["properties"]
    assert set(properties) == set(data)
    for name, part in (("MetricResult", data["metrics"][0]), ("Signature", data["metrics"][0]["signature"])):
        assert set(schema.load_schema("score")["$defs"][name]["properties"]) == set(part)


def test_a_path_in_the_document_is_refused(cache: ScoreCache) -> None:
    with pytest.raises(ValidationFailed, match="/hypotheses/name"):
        score(of(REFERENCES, "/home/someone/tst.en-zh.txt"), refs(), cache=cache).to_json()


def test_a_document_with_segments_missing_is_refused(tmp_path: Path, cache: ScoreCache) -> None:
    data = score(of(REFERENCES), refs(), cache=cache).to_json()
    data["metrics"][0]["segments"].pop()
    path = tmp_path / "score.json"
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match="a score for every segment"):
        read_score(path)


def test_merging_keeps_other_metrics_of_the_same_texts_only(cache: ScoreCache) -> None:
    def made(lines: list[str], *metrics: str) -> Score:
        return score(of(lines), refs(), metrics=metrics, cache=cache)

    both = merge(made(REFERENCES, "bleu"), made(REFERENCES, "chrf"))
    assert [result.metric for result in both.metrics] == ["chrf", "bleu"]
    alone = merge(made(REFERENCES, "bleu"), made(REFERENCES[::-1], "chrf"))
    assert [result.metric for result in alone.metrics] == ["chrf"]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> typer.Typer:
    monkeypatch.setenv("IWSLTPACK_CACHE", str(tmp_path / "user-cache"))
    application = typer.Typer()
    application.command(cls=common.Command)(common.with_options(score_command.command))
    return application


def test_the_command_prints_scores_with_signatures(app: typer.Typer, tmp_path: Path) -> None:
    hyp, ref = write(tmp_path / "a.en-zh.txt", REFERENCES), write(tmp_path / "ref.txt", REFERENCES)
    result = CliRunner().invoke(app, [str(hyp), "--reference", str(ref)])
    assert result.exit_code == 0, result.output
    assert "chrF      100.00   chrF2|nrefs:1" in result.stdout
    assert "add --metric chrf,bleu,comet" in result.stderr


def test_the_command_writes_into_the_runs_folder_and_merges(app: typer.Typer, tmp_path: Path) -> None:
    run, ref = write_run(tmp_path / "run", REFERENCES), write(tmp_path / "ref.txt", REFERENCES)
    for metric in ("chrf", "bleu"):
        result = CliRunner().invoke(app, [str(run), "-r", str(ref), "--metric", metric, "--json"])
        assert result.exit_code == 0, result.output
    assert [entry["metric"] for entry in json.loads(result.stdout)["metrics"]] == ["chrf", "bleu"]
    assert read_score(run / "score.json").hypotheses.name == "tst.en-zh.txt"
    assert not (run / "score.cleaned.json").exists()
    assert CliRunner().invoke(app, [str(run), "-r", str(ref), "--clean"]).exit_code == 0
    assert read_score(run / "score.cleaned.json").cleaned


def test_the_command_refuses_a_word_that_is_no_pair(app: typer.Typer, tmp_path: Path) -> None:
    hyp = write(tmp_path / "a.txt", REFERENCES)
    result = CliRunner().invoke(app, [str(hyp), "-r", str(hyp), "--pair", "chinese"])
    assert isinstance(result.exception, UsageError)
    assert "not a language pair" in str(result.exception)


def test_sources_of_another_length_are_refused(app: typer.Typer, tmp_path: Path) -> None:
    hyp, src = write(tmp_path / "a.txt", REFERENCES), write(tmp_path / "src", SOURCES[:3])
    result = CliRunner().invoke(app, [str(hyp), "-r", str(hyp), "--source", str(src)])
    assert "not one source line for every reference" in str(result.exception)


SERVER = {
    "Wir verwenden C# und <unk> Marken.": "Wir verwenden C und unk Marken.",
    "F&E ist wichtig &amp; gut.": "F&E ist wichtig & gut.",
    "Das #1 Modell mit x < y.": "Das 1 Modell mit x  y.",
    "Nichts zu tun.": "Nichts zu tun.",
}


def test_the_servers_preparation_of_hypotheses_can_be_scored(app: typer.Typer, tmp_path: Path) -> None:
    hyp = write(tmp_path / "a.en-de.txt", list(SERVER))
    ref = write(tmp_path / "ref.txt", list(SERVER.values()))
    output = tmp_path / "s.json"
    options = [str(hyp), "-r", str(ref), "--metric", "chrf", "-o", str(output)]
    raw = json.loads(CliRunner().invoke(app, [*options, "--json"]).stdout)
    told = json.loads(CliRunner().invoke(app, [*options, "--as-server", "--json"]).stdout)
    assert raw["metrics"][0]["score"] < 100
    assert told["metrics"][0]["score"] == pytest.approx(100)
    assert "|clean:server|" in read_score(output).metrics[0].signature.text
    assert told["hypotheses"] == raw["hypotheses"]
    other = json.loads(CliRunner().invoke(app, [*options[:-3], "bleu", *options[-2:], "--json"]).stdout)
    assert [entry["metric"] for entry in other["metrics"]] == ["bleu"], (
        "raw and prepared never in one document"
    )
    run = write_run(tmp_path / "run", list(SERVER), pair="en-de")
    result = CliRunner().invoke(app, [str(run), "-r", str(ref), "--as-server", "--clean"])
    assert "|clean:iwsltpack-" in result.stdout
    assert "+server|" in result.stdout
    assert not list(run.glob("score*")), "the run's own documents hold what it wrote"


def test_shared_n_grams_are_those_counted_one_by_one() -> None:
    drawn = random.Random(3)

    def text(length: int, letters: str) -> list[int]:
        return [ord(drawn.choice(letters)) for _ in range(length)]

    wide = "".join(chr(0x4E00 + number) for number in range(3000))
    sides = [
        ([], []),
        ([], text(9, "ab")),
        (text(4000, "abc"), text(20, "ab")),
        (text(9, "a"), text(700, "a")),
    ]
    sides += [(text(drawn.randint(0, 40), "abcd"), text(drawn.randint(0, 40), "abcd")) for _ in range(300)]
    sides += [(text(900, wide), text(900, wide)) for _ in range(30)]
    sides[-1] = (sides[-1][0], sides[-1][0][100:] + text(5, wide))
    ours, theirs = ([np.array(side, np.int64) for side in column] for column in zip(*sides, strict=True))
    for block in (sacrebleu_metrics.BLOCK, 50):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sacrebleu_metrics, "BLOCK", block)
            found = sacrebleu_metrics.count_shared(ours, theirs, 6)
        for (one, other), counts in zip(sides, found.tolist(), strict=True):
            for size, told in enumerate(counts, 1):
                left, right = (
                    Counter(tuple(side[at : at + size]) for at in range(len(side) - size + 1))
                    for side in (one, other)
                )
                assert told == [left.total(), right.total(), (left & right).total()]


@pytest.mark.parametrize("language", ["zh", "de", "ja"])
def test_the_quick_tokenizer_is_sacrebleus(language: str) -> None:
    drawn = random.Random(5)
    pieces = [
        *"中文，。：“” 　ab5.5,,..--3-4 \t{}[]()&%$#@!/:;<=>?^_`|~'\"é𠀀ｆ１．\u2028\xa0",
        "&amp;",
        "<skipped>",
        "&quot;",
    ]
    theirs = make_metric("bleu", language, ["x"])
    ours = _fast_tokenizer(make_metric("bleu", language, ["x"]))
    for _ in range(4000):
        line = "".join(drawn.choice(pieces) for _ in range(drawn.randint(0, 25)))
        assert ours(line) == theirs._preprocess_segment(line).split()


class Listener(Reporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.parametrize("places", [(0, 2, 4), (0, 1, 2, 3, 4)])
def test_references_half_of_which_are_empty_are_refused(
    tmp_path: Path, cache: ScoreCache, places: tuple[int, ...]
) -> None:
    lines = ["" if place in places else line for place, line in enumerate(REFERENCES)]
    segs = "".join(f'<seg id="{number}">{line}</seg>' for number, line in enumerate(lines))
    (tmp_path / "ref.xml").write_text(f"<refset><doc docid='a'>{segs}</doc></refset>", encoding="utf-8")
    for references in (refs(lines), read_references(tmp_path / "ref.xml")):
        with pytest.raises(InputError, match="references are empty") as caught:
            score(of(REFERENCES), references, cache=cache)
        assert f"{len(places)} of 5 empty, segment 1 the first" in str(caught.value)


def test_a_few_empty_references_are_scored_as_the_server_does_and_told_by_number(cache: ScoreCache) -> None:
    listener = Listener()
    lines = [REFERENCES[0], " ", *REFERENCES[2:4], "　"]
    found = score(of(REFERENCES), refs(lines), metrics=["chrf"], cache=cache, progress=listener)
    assert found.metrics[0].score == pytest.approx(100)
    (said,) = listener.said
    assert said.startswith(
        "ref.txt: 2 of 5 references are empty, segments 2, 5; chrF leaves them out, BLEU counts"
    )
    score(of(["", *REFERENCES[1:]]), refs(), metrics=["chrf"], cache=cache, progress=listener)
    assert len(listener.said) == 1, "empty hypotheses are the system's"


def test_comet_without_what_was_said_is_refused_and_one_line_of_it_told(
    cache: ScoreCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise AssertionError("COMET is started")

    monkeypatch.setattr(scores_module, "Comet", fail)
    listener = Listener()
    with pytest.raises(InputError, match="sources for COMET are empty") as caught:
        score(of(REFERENCES), refs(sources=("",) * 5), metrics=["comet"], cache=cache, progress=listener)
    assert "5 of 5 empty" in str(caught.value)
    score(of(REFERENCES), refs(sources=("",) * 5), metrics=["chrf"], cache=cache, progress=listener)
    assert listener.said == [], "chrF asks for none"
    with pytest.raises(AssertionError, match="is started"):
        sources = (*SOURCES[:4], "")
        score(of(REFERENCES), refs(sources=sources), metrics=["comet"], cache=cache, progress=listener)
    told = "given with ref.txt: 1 of 5 sources for COMET are empty, segments 5; COMET reads an empty sentence there"
    assert listener.said == [told]


ENGLISH = ["The cat is on the mat.", "This is what we do.", "Thank you for listening to it."]


@pytest.mark.parametrize(
    ("language", "lines"),
    [("zh", ENGLISH), ("de", ENGLISH), ("ja", ENGLISH), ("zh", GERMAN), ("de", REFERENCES[:3])],
)
def test_references_that_look_like_another_language_are_told(
    cache: ScoreCache, language: str, lines: list[str]
) -> None:
    listener = Listener()
    score(of(lines, "h"), refs(lines), language=language, metrics=["chrf"], cache=cache, progress=listener)
    assert listener.said == [f"3 of the first 3 references of ref.txt do not look like {language}"]


@pytest.mark.parametrize(
    ("language", "lines"),
    [
        ("de", GERMAN),
        ("zh", [*REFERENCES, "BERT", "GPT-4"]),
        ("en", ENGLISH),
        ("de", ["BERT"] * 3),
        ("fr", ENGLISH),
        ("ja", ["ありがとう。"]),
        ("ko", ["감사합니다."]),
    ],
)
def test_references_of_the_language_are_not_told(cache: ScoreCache, language: str, lines: list[str]) -> None:
    listener = Listener()
    score(of(lines, "h"), refs(lines), language=language, metrics=["chrf"], cache=cache, progress=listener)
    assert listener.said == []


def test_metrics_stay_where_only_the_files_name_differs_and_go_with_the_language(cache: ScoreCache) -> None:
    old = score(of(REFERENCES, "h"), refs(), metrics=["bleu"], cache=cache)
    named = References(name="other.xml", lines=tuple(REFERENCES))
    kept = merge(old, score(of(REFERENCES, "h"), named, metrics=["chrf"], cache=cache))
    assert [result.metric for result in kept.metrics] == ["chrf", "bleu"]
    other = score(of(REFERENCES, "h"), refs(), language="ja", metrics=["chrf"], cache=cache)
    assert merge(old, other) == other


@pytest.mark.parametrize(
    ("pair", "error"),
    [("en-de", InputError), ("en-xx", UsageError), ("zh-en", InputError), ("de", UsageError)],
)
def test_another_pair_than_the_runs_leaves_its_scores_alone(
    app: typer.Typer, tmp_path: Path, pair: str, error: type[Exception]
) -> None:
    run, ref = write_run(tmp_path / "run", REFERENCES), write(tmp_path / "ref.txt", REFERENCES)
    arguments = [str(run), "-r", str(ref), "--metric", "chrf"]
    assert CliRunner().invoke(app, [*arguments, "--pair", "en-zh"]).exit_code == 0
    before = (run / "score.json").read_bytes()
    assert isinstance(CliRunner().invoke(app, [*arguments, "--pair", pair]).exception, error)
    assert (run / "score.json").read_bytes() == before


def test_a_run_takes_its_language_of_a_manifest_in_several(app: typer.Typer, tmp_path: Path) -> None:
    rows = [f"sent_{number},{line},x" for number, line in enumerate(REFERENCES, 1)]
    path = manifest(tmp_path, rows, "id,target_zh,target_de")
    run = write_run(tmp_path / "run", REFERENCES)
    result = CliRunner().invoke(app, [str(run), "-r", str(path), "--metric", "chrf"])
    assert "chrF      100.00" in result.stdout, result.output


def test_scores_that_are_replaced_are_said(app: typer.Typer, tmp_path: Path) -> None:
    run, ref = write_run(tmp_path / "run", REFERENCES), write(tmp_path / "ref.txt", REFERENCES)
    write(tmp_path / "other.txt", REFERENCES[::-1])
    for options, replaced in (
        (["--metric", "chrf,bleu"], []),
        (["--metric", "chrf"], []),
        (["-r", str(tmp_path / "other.txt"), "--metric", "chrf"], ["chrF 100.00", "BLEU 100.00"]),
    ):
        result = CliRunner().invoke(app, [str(run), "-r", str(ref), *options])
        assert result.exit_code == 0, result.output
        told = [line for line in result.stderr.splitlines() if line.startswith("no longer in")]
        assert len(told) == len(replaced), told
        assert all(name in line for name, line in zip(replaced, told, strict=True))


def test_what_would_be_ignored_is_refused(app: typer.Typer, tmp_path: Path) -> None:
    run, ref = write_run(tmp_path / "run", REFERENCES), write(tmp_path / "ref.txt", REFERENCES)
    arguments = [str(run), "-r", str(ref), "--metric", "chrf"]
    for options, message in (
        (["--split", "dev"], "only a manifest has splits"),
        (["--comet-model", "x/y"], "options of COMET, which is not asked for"),
        (["--comet-device", "auto"], "options of COMET, which is not asked for"),
    ):
        result = CliRunner().invoke(app, [*arguments, *options])
        assert isinstance(result.exception, UsageError), result.output
        assert message in str(result.exception)
    assert CliRunner().invoke(app, [*arguments, "--comet-batch-size", "-3"]).exit_code == 2
    said = manifest(tmp_path, [f"{line},dev" for line in SOURCES], "source_en,split")
    said.write_text(said.read_text().replace("Hello, I", "Hello I").replace("Today,", "Today"))
    split = CliRunner().invoke(app, [*arguments, "--source", str(said), "--split", "dev"])
    assert split.exit_code == 0, split.output
