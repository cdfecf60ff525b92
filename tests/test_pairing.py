"""References find their hypotheses by name: documents, segments; refused where the names or the order are others."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import typer
from evaluation_fixtures import spoil, write_run
from typer.testing import CliRunner

from iwsltpack.cli import score as score_command
from iwsltpack.cli.common import with_options
from iwsltpack.errors import InputError, UsageError
from iwsltpack.scoring.cache import ScoreCache
from iwsltpack.scoring.pairing import pair, scoring_jobs, with_sources
from iwsltpack.scoring.references import References, read_references, read_side
from iwsltpack.scoring.score import score
from iwsltpack.scoring.texts import Hypotheses, read_hypotheses
from iwsltpack.system import fileio
from iwsltpack.system.progress import Reporter

TALKS = {
    "2022.acl-long.110": ["大家好，今天介绍我们在语音翻译方面的工作。", "大语言模型功能强大，运行成本很高。"],
    "2022.acl-long.268": ["我们提出了一种无需训练的简单方法。", "数据只包含五个小时的语音。", "谢谢聆听。"],
}
LINES = [line for lines in TALKS.values() for line in lines]
AUDIO = [f"wavs/{talk}.wav" for talk, lines in TALKS.items() for _ in lines]
IDS = [f"{talk}_{number}" for talk, lines in TALKS.items() for number in range(len(lines))]
OTHER_ORDER = dict(reversed(TALKS.items()))


def xml(path: Path, talks: dict[str, list[str]], tag: str = "refset", *, backwards: bool = False) -> Path:
    docs = []
    for talk, lines in talks.items():
        segments = [f'<seg id="{number}">{line}</seg>' for number, line in enumerate(lines, 1)]
        docs.append(f'<doc docid="{talk}">{"".join(segments[::-1] if backwards else segments)}</doc>')
    path.write_text(f'<mteval><{tag} trglang="Chinese">{"".join(docs)}</{tag}></mteval>', encoding="utf-8")
    return path


def run(folder: Path, lines: list[str] = LINES, audio: list[str] = AUDIO, ids: list[str] = IDS) -> Hypotheses:
    return read_hypotheses(write_run(folder / "run", lines, audio=audio, ids=ids))


def test_a_run_is_paired_with_documents_in_another_order(tmp_path: Path) -> None:
    found = pair(read_references(xml(tmp_path / "other.xml", OTHER_ORDER)), run(tmp_path))
    assert found.lines == tuple(LINES)
    result = score(
        run(tmp_path), read_references(tmp_path / "other.xml"), metrics=["chrf"], cache=ScoreCache(None)
    )
    assert result.metrics[0].score == pytest.approx(100)


def test_segments_of_a_document_are_paired_by_their_numbers(tmp_path: Path) -> None:
    references = read_references(xml(tmp_path / "ref.xml", OTHER_ORDER, backwards=True))
    assert references.lines != tuple(LINES)
    assert pair(references, run(tmp_path)).lines == tuple(LINES)
    output = read_hypotheses(xml(tmp_path / "hyp.xml", TALKS, "tstset", backwards=True))
    assert pair(references, output).lines == output.lines


@pytest.mark.parametrize(
    "names",
    [
        {"2022.acl-long.110": "1922", "2022.acl-long.268": "767"},
        {"2022.acl-long.110": "ted_1922", "2022.acl-long.268": "ted_767"},
    ],
)
def test_a_talk_known_by_its_number_is_found(tmp_path: Path, names: dict[str, str]) -> None:
    references = read_references(
        xml(tmp_path / "r.xml", {names[talk]: OTHER_ORDER[talk] for talk in OTHER_ORDER})
    )
    audio = [f"ted_{names[talk].removeprefix('ted_')}.wav" for talk in TALKS for _ in TALKS[talk]]
    assert pair(references, run(tmp_path, audio=audio)).lines == tuple(LINES)


def test_documents_of_another_test_set_are_refused_with_the_first(tmp_path: Path) -> None:
    others = dict(zip(("2023.acl-long.110", "2023.acl-long.268"), TALKS.values(), strict=True))
    references = read_references(xml(tmp_path / "ref.xml", others))
    for resegment in (False, True):
        with pytest.raises(InputError, match="of other documents") as caught:
            pair(references, run(tmp_path), resegment=resegment)
        assert "wavs/2022.acl-long.110.wav" in str(caught.value)
        assert "2023.acl-long.110" in str(caught.value)
    half = {"2022.acl-long.110": TALKS["2022.acl-long.110"], "x": TALKS["2022.acl-long.268"]}
    with pytest.raises(InputError, match="of other documents") as caught:
        pair(read_references(xml(tmp_path / "half.xml", half)), run(tmp_path))
    assert "wavs/2022.acl-long.268.wav" in str(caught.value)


def test_two_recordings_of_one_name_are_not_taken_for_one_document(tmp_path: Path) -> None:
    audio = ["x/a.wav"] * 2 + ["y/a.wav"] * 3
    references = read_references(xml(tmp_path / "ref.xml", {"a": LINES[:2], "b": LINES[2:]}))
    with pytest.raises(InputError, match="of other documents"):
        pair(references, run(tmp_path, audio=audio))


def test_a_document_of_another_length_is_named(tmp_path: Path) -> None:
    shorter = {**TALKS, "2022.acl-long.268": TALKS["2022.acl-long.268"][:2]}
    with pytest.raises(InputError, match="not one hypothesis for every reference") as caught:
        pair(read_references(xml(tmp_path / "ref.xml", shorter)), run(tmp_path))
    assert "wavs/2022.acl-long.268.wav" in str(caught.value)


class Listener(Reporter):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def test_documents_that_were_not_decoded_are_left_out_and_said(tmp_path: Path) -> None:
    listener = Listener()
    references = read_references(xml(tmp_path / "ref.xml", OTHER_ORDER))
    one = run(tmp_path, LINES[:2], AUDIO[:2], IDS[:2])
    assert pair(references, one, reporter=listener).lines == tuple(LINES[:2])
    assert listener.said == ["1 documents of ref.xml are not in tst.en-zh.txt: 2022.acl-long.268 …"]


def test_resegmenting_pairs_documents_by_name_too(tmp_path: Path) -> None:
    pytest.importorskip("mweralign")
    references = read_references(xml(tmp_path / "other.xml", OTHER_ORDER))
    recut = [LINES[0] + LINES[1][:4], LINES[1][4:], "".join(LINES[2:])]
    hypotheses = run(tmp_path, recut, [AUDIO[0], AUDIO[0], AUDIO[2]], ["a_0", "a_1", "b_0"])
    result = score(hypotheses, references, metrics=["chrf"], resegment=True, cache=ScoreCache(None))
    assert result.resegmented == tuple(LINES)
    whole = run(tmp_path, ["".join(lines) for lines in TALKS.values()], AUDIO[1:3], list(TALKS))
    result = score(whole, references, metrics=["chrf"], resegment=True, cache=ScoreCache(None))
    assert result.resegmented == tuple(LINES)


def csv(path: Path, ids: list[str]) -> Path:
    rows = [f"{name},{line}" for name, line in zip(ids, LINES, strict=True)]
    path.write_text("\n".join(["id,target_zh", *rows, ""]), encoding="utf-8")
    return path


def test_other_segment_ids_are_refused_with_the_first(tmp_path: Path) -> None:
    shuffled = read_references(csv(tmp_path / "ref.csv", IDS))
    assert pair(shuffled.take([4, 2, 0, 1, 3]), run(tmp_path)).lines == tuple(LINES)
    strange = read_references(csv(tmp_path / "strange.csv", [f"x{number}" for number in range(5)]))
    with pytest.raises(InputError, match="no reference for 5 of the run's 5 segments") as caught:
        pair(strange, run(tmp_path))
    assert IDS[0] in str(caught.value)
    assert "got: x0, x1, x2" in str(caught.value)
    with pytest.raises(InputError, match="stands twice"):
        pair(read_references(csv(tmp_path / "twice.csv", [*IDS[:4], IDS[0]])), run(tmp_path))


def table(path: Path, head: str, names: list[str], lines: list[str]) -> References:
    path.write_text("\n".join([head, *map(",".join, zip(names, lines, strict=True)), ""]), encoding="utf-8")
    return read_references(path)


@pytest.mark.parametrize("resegment", [False, True])
@pytest.mark.parametrize("head", ["id,target_zh", "\ufeffID,Target_ZH", "Segment_ID,target_zh"])
def test_exchanged_ids_are_found_however_the_column_is_written(
    tmp_path: Path, head: str, resegment: bool
) -> None:
    references = table(tmp_path / "ref.csv", head, IDS[::-1], LINES[::-1])
    assert pair(references, run(tmp_path), resegment=resegment).lines == tuple(LINES)
    fewer = table(tmp_path / "few.csv", head, IDS[:0:-1], LINES[:0:-1])
    with pytest.raises(InputError, match="in another order" if resegment else "no reference for 1 of"):
        pair(fewer, run(tmp_path), resegment=resegment)


def test_recordings_named_in_a_manifest_are_its_documents(tmp_path: Path) -> None:
    references = table(
        tmp_path / "ref.csv", "audio_path,target_zh", AUDIO[2:] + AUDIO[:2], LINES[2:] + LINES[:2]
    )
    assert pair(references, run(tmp_path)).lines == tuple(LINES)


def named(path: Path, names: str, tag: str = "refset", *, backwards: bool = False) -> Path:
    """Write both talks with ids of segments; `backwards` from the last to the first, each with its own."""
    segments = [f'<seg id="{name}">{line}</seg>' for name, line in zip(names.split(), LINES, strict=True)]
    docs = (f'<doc docid="{talk}">{{}}</doc>' for talk in TALKS)
    step = -1 if backwards else 1
    both = [
        doc.format("".join(part[::step]))
        for doc, part in zip(docs, (segments[:2], segments[2:]), strict=True)
    ]
    path.write_text(f"<!-- made by hand --><{tag}>{''.join(both[::step])}</{tag}>", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("1 2 1 2 3", "0 1 0 1 2"),
        ("1 2 1 2 3", "1 2 3 4 5"),
        ("1 2 1 2 3", "s1 s2 s1 s2 s3"),
        ("a b c d e",) * 2,
    ],
)
def test_segments_are_paired_by_their_names_in_a_document(tmp_path: Path, ours: str, theirs: str) -> None:
    output = read_hypotheses(named(tmp_path / "hyp.sgm", ours, "tstset"))
    references = read_references(named(tmp_path / "ref.sgm", theirs, backwards=True))
    assert references.lines == tuple(LINES[::-1])
    assert pair(references, output).lines == tuple(LINES)


def test_other_numbers_and_a_number_twice_are_refused(tmp_path: Path) -> None:
    references = read_references(named(tmp_path / "ref.xml", "1 2 1 2 4"))
    with pytest.raises(InputError, match="other numbers") as caught:
        pair(references, read_hypotheses(named(tmp_path / "hyp.xml", "1 2 1 2 3", "tstset")))
    assert "expected: 1, 2, 4\n  got: 1, 2, 3" in str(caught.value)
    with pytest.raises(InputError, match="stands twice in a document"):
        read_references(named(tmp_path / "twice.xml", "1 2 1 2 2"))


@pytest.mark.parametrize("resegment", [False, True])
def test_a_recording_a_line_says_no_document_and_the_words_are_asked(tmp_path: Path, resegment: bool) -> None:
    ids = [f"sent_{number}" for number in range(5)]
    cut = run(tmp_path, audio=[f"{name}.wav" for name in ids], ids=ids)
    assert pair(read_references(xml(tmp_path / "same.xml", TALKS)), cut).lines == tuple(LINES)
    with pytest.raises(InputError, match="in another order"):
        pair(read_references(xml(tmp_path / "other.xml", OTHER_ORDER)), cut, resegment=resegment)


@pytest.mark.parametrize("name", ["a.tsv", "a.json", "a.jsonl", "a.YAML", "a.txt", "a.zh"])
def test_rows_of_a_table_and_other_documents_are_not_taken_for_segments(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(f"id\ttarget_zh\n{IDS[0]}\t{LINES[0]}\n", encoding="utf-8")
    for read in (read_references, read_hypotheses):
        with pytest.raises(InputError, match="the lines of this file are not segments"):
            read(tmp_path / name)


def test_sources_are_paired_by_name(tmp_path: Path) -> None:
    references, said = table(tmp_path / "ref.csv", "id,target_zh", IDS, LINES), [f"line {it}" for it in IDS]
    table(tmp_path / "said.csv", "id,source_en,target_zh", IDS[::-1], [f"{line},x" for line in said[::-1]])
    assert with_sources(references, read_side(tmp_path / "said.csv", "source")).sources == tuple(said)
    fileio.write_lines(tmp_path / "said.txt", said[1:])
    with pytest.raises(InputError, match="not one source line for every reference"):
        with_sources(references, read_side(tmp_path / "said.txt", "source"))


def hypotheses_csv(path: Path, ids: list[str], lines: list[str], column: str = "hypothesis") -> Path:
    rows = [f'{name}," {line} "' for name, line in zip(ids, lines, strict=True)]
    path.write_text("\n".join([f"id,{column}", *rows, ""]), encoding="utf-8")
    return path


def test_hypotheses_of_a_csv_are_paired_by_id(tmp_path: Path) -> None:
    references = read_references(csv(tmp_path / "ref.csv", IDS))
    backwards = read_hypotheses(hypotheses_csv(tmp_path / "hyp.csv", IDS[::-1], LINES[::-1]))
    assert backwards.lines == tuple(LINES[::-1])
    reporter = Listener()
    assert pair(references, backwards, reporter=reporter).lines == backwards.lines
    assert reporter.said == []
    result = score(backwards, references, metrics=["chrf"], cache=ScoreCache(None))
    assert result.metrics[0].score == pytest.approx(100)
    fewer = read_hypotheses(hypotheses_csv(tmp_path / "few.csv", IDS[1:3], LINES[1:3], "output"))
    assert pair(references, fewer, reporter=reporter).lines == fewer.lines
    assert reporter.said == [f"3 references of ref.csv have no hypothesis in few.csv: {IDS[0]} …"]


def test_hypotheses_of_a_csv_are_refused_where_their_names_are_no_use(tmp_path: Path) -> None:
    references = read_references(csv(tmp_path / "ref.csv", IDS))
    twice = read_hypotheses(hypotheses_csv(tmp_path / "twice.csv", [*IDS[:4], IDS[0]], LINES))
    with pytest.raises(InputError, match="an id stands twice among the hypotheses") as caught:
        pair(references, twice)
    assert f"got: {IDS[0]}" in str(caught.value)
    other = read_hypotheses(hypotheses_csv(tmp_path / "other.csv", ["x", *IDS[1:]], LINES))
    with pytest.raises(InputError, match="no reference for 1 of"):
        pair(references, other)
    with pytest.raises(InputError, match="the manifest has no hypotheses") as caught:
        read_hypotheses(csv(tmp_path / "none.csv", IDS))
    assert "expected: hypothesis or hyp or output or translation" in str(caught.value)


@pytest.mark.parametrize("quality", [0.0, 0.25])
def test_text_in_the_order_of_other_documents_is_refused(tmp_path: Path, quality: float) -> None:
    lines = spoil(LINES, quality, 5)
    text = Hypotheses(name="hyp.en-zh.txt", lines=tuple(lines))
    assert pair(read_references(xml(tmp_path / "same.xml", TALKS)), text).lines == tuple(LINES)
    other = read_references(xml(tmp_path / "other.xml", OTHER_ORDER))
    with pytest.raises(InputError, match="in another order") as caught:
        pair(other, text)
    assert "got: 2022.acl-long.110, 2022.acl-long.268" in str(caught.value)
    with pytest.raises(InputError, match="in another order"):
        pair(other, text, resegment=True)


def test_bad_text_in_the_right_order_is_not_refused(tmp_path: Path) -> None:
    lines = [
        f"第{number}句说的是{chr(0x4E00 + 7 * number) * 2}{chr(0x5E00 + 5 * number)}的事情。"
        for number in range(300)
    ]
    talks = {f"t{place}": lines[place : place + 10] for place in range(0, 300, 10)}
    references = read_references(xml(tmp_path / "ref.xml", talks))
    shuffled = random.Random(1).sample(lines, len(lines))
    for text in (spoil(lines, 0.6, 1), [*lines[:-30], *lines[:30]], [""] * 300, [lines[7]] * 300, shuffled):
        assert pair(references, Hypotheses(name="h", lines=tuple(text))) is references
    swapped = lines[:50] + lines[60:70] + lines[50:60] + lines[70:]
    for text in (swapped, ["".join(swapped)]):
        with pytest.raises(InputError, match="in another order"):
            pair(references, Hypotheses(name="h", lines=tuple(text)), resegment=len(text) == 1)


def talks_of_durations(count: int) -> tuple[list[float], list[str]]:
    drawn = random.Random(count)
    durations = [drawn.uniform(1, 25) for _ in range(count)]
    return durations, ["好" * max(1, round(seconds * 4 * drawn.uniform(0.7, 1.3))) for seconds in durations]


def test_plain_references_are_held_against_the_durations() -> None:
    durations, lines = talks_of_durations(200)
    hypotheses = Hypotheses(name="tst.en-zh.txt", lines=tuple(lines), durations=tuple(durations))
    assert pair(References(name="ref", lines=tuple(lines)), hypotheses).lines == tuple(lines)
    mixed = tuple(random.Random(2).sample(lines, len(lines)))
    with pytest.raises(InputError, match="do not follow the audio") as caught:
        pair(References(name="ref", lines=mixed), hypotheses)
    assert "Spearman" in str(caught.value)
    listener = Listener()
    slipped = (*lines[:80], *lines[81:], "好")
    pair(References(name="ref", lines=slipped), hypotheses, reporter=listener)
    assert "follows the audio only weakly" in listener.said[0]
    same = Hypotheses(name="tst.en-zh.txt", lines=tuple(lines), durations=(3.5,) * 200)
    assert pair(References(name="ref", lines=mixed), same).lines == mixed


def test_a_baseline_in_another_order_is_refused(tmp_path: Path) -> None:
    references = read_references(xml(tmp_path / "ref.xml", TALKS))
    first = run(tmp_path)
    other = run(tmp_path / "b", LINES[2:] + LINES[:2], AUDIO[2:] + AUDIO[:2], IDS[2:] + IDS[:2])
    with pytest.raises(InputError, match="the baseline is of other segments") as caught:
        score(first, references, baseline=other, cache=ScoreCache(None))
    assert "2022.acl-long.110" in str(caught.value)


@pytest.fixture
def test_set(tmp_path: Path) -> Path:
    folder = tmp_path / "tst"
    (folder / "wavs").mkdir(parents=True)
    for talk in TALKS:
        (folder / "wavs" / f"{talk}.wav").write_bytes(b"RIFF")
    (folder / "FILE_ORDER").write_text("".join(f"{talk}\n" for talk in TALKS))
    entries = [
        f"- {{wav: {Path(audio).stem}, offset: {number}, duration: 1}}" for number, audio in enumerate(AUDIO)
    ]
    (folder / "tst.yaml").write_text("\n".join(entries))
    return folder


def test_a_text_is_paired_through_its_test_set(test_set: Path, tmp_path: Path) -> None:
    text = tmp_path / "tst.en-zh.txt"
    fileio.write_lines(text, LINES)
    application = typer.Typer()
    application.command()(with_options(score_command.command))
    xml(tmp_path / "other.xml", OTHER_ORDER)
    arguments = [str(text), "-r", str(tmp_path / "other.xml"), "--no-cache"]
    assert "in another order" in str(CliRunner().invoke(application, arguments).exception)
    result = CliRunner().invoke(application, [*arguments, "--test-set", str(test_set)])
    assert result.exit_code == 0, result.output
    assert "chrF      100.00" in result.stdout
    fileio.write_lines(text, LINES[:4])
    short = CliRunner().invoke(application, [*arguments, "--test-set", str(test_set)])
    assert "not a line for every segment" in str(short.exception)
    folder = write_run(tmp_path / "run", LINES)
    told = CliRunner().invoke(
        application, [str(folder), "-r", str(tmp_path / "other.xml"), "--test-set", str(test_set)]
    )
    assert isinstance(told.exception, UsageError)


def laid_out(folder: Path, files: str) -> Path:
    for name in files.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        fileio.write_lines(folder / name, LINES)
    return folder


@pytest.mark.parametrize(
    ("hypotheses", "files", "taken"),
    [
        ("tst.2022.en-de.txt", "tst.2022.txt tst.2021.txt tst.txt", "tst.2022.txt"),
        ("tst.2022.en-de.txt", "tst.2022.de tst.2022.en tst.2022.zh.txt", "tst.2022.de"),
        ("2022.acl-long.268.en-de.txt", "2022.acl-long.268.en-de.de.xml", "2022.acl-long.268.en-de.de.xml"),
        ("demo.en-zh.clean.txt", "demo/src.en.txt demo/ref.ZH demo/notes.pdf", "demo/ref.ZH"),
        ("demo.en-zh.txt", "demo.CSV demo.2021.csv", "demo.CSV"),
        ("demo.txt", "demo.zh demo.en", "demo.zh"),
        ("tst.de.en-de.txt", "tst.de.txt", "tst.de.txt"),
    ],
)
def test_of_a_folder_the_whole_name_tells_the_references(
    tmp_path: Path, hypotheses: str, files: str, taken: str
) -> None:
    refs = laid_out(tmp_path / "refs", files)
    fileio.write_lines(tmp_path / hypotheses, LINES)
    (job,) = scoring_jobs(tmp_path / hypotheses, refs)
    assert job.reference == refs / taken


@pytest.mark.parametrize(
    ("hypotheses", "files"),
    [
        ("tst.2022.en-de.txt", "tst.2021.txt"),
        ("2022.acl-long.268.en-de.txt", "2022.acl-long.110.txt"),
        ("tst.en-zh.txt", "tst.2021.txt"),
        ("tst.en-zh.txt", "tst.en"),
        ("tst.en-zh.txt", "tst.de.txt"),
        ("tst.en-zh.txt", "tst.zh.txt tst.txt"),
        ("tst.en-zh.txt", "tst/src.en.txt"),
        ("tst.en-zh.txt", "tst/a.txt tst/b.txt"),
        ("tst.txt", "tst.zh tst.de"),
    ],
)
def test_another_name_another_language_and_several_are_refused_with_all_names(
    tmp_path: Path, hypotheses: str, files: str
) -> None:
    refs = laid_out(tmp_path / "refs", files)
    fileio.write_lines(tmp_path / hypotheses, LINES)
    with pytest.raises(InputError, match="not one for this test set") as caught:
        scoring_jobs(tmp_path / hypotheses, refs)
    assert all(Path(name).name in str(caught.value.got) for name in files.split())
    if hypotheses == "tst.en-zh.txt":
        write_run(tmp_path / "run", LINES)
        with pytest.raises(InputError, match="not one for this test set"):
            scoring_jobs(tmp_path / "run", refs)


CLIPS = [f"sent_{number}" for number in range(5)]


@pytest.mark.parametrize("resegment", [False, True])
@pytest.mark.parametrize(
    ("head", "names"),
    [
        ("audio_path,target_zh", [f"wavs/{name}.wav" for name in CLIPS]),
        ("wav,target_zh", [f"{name}.flac" for name in CLIPS]),
        ("Filename,target_zh", CLIPS),
        ("name,target_zh", CLIPS),
        ("segment,target_zh", CLIPS),
        ("anything,target_zh", [f"/data/{name}.wav" for name in CLIPS]),
    ],
)
def test_a_column_of_any_heading_that_names_the_segments_pairs_them(
    tmp_path: Path, head: str, names: list[str], resegment: bool
) -> None:
    listener = Listener()
    audio = [f"clips/{name}.wav" for name in CLIPS]
    hypotheses = run(
        tmp_path, audio=audio, ids=[f"s{number}" for number in range(5)] if "wav" in head else CLIPS
    )
    references = table(tmp_path / "ref.csv", head, names[::-1], LINES[::-1])
    assert pair(references, hypotheses, resegment=resegment, reporter=listener).lines == tuple(LINES)
    assert listener.said == []
    some = table(tmp_path / "some.csv", head, [*names[:0:-1], "x"], LINES[::-1])
    with pytest.raises(InputError, match="in another order" if resegment else "no reference for 1 of"):
        pair(some, hypotheses, resegment=resegment)


def test_columns_that_name_no_segment_are_said_to_be_of_no_use(tmp_path: Path) -> None:
    listener, others = Listener(), [f"x{number}.wav" for number in range(5)]
    references = table(tmp_path / "ref.csv", "audio_path,target_zh", others, LINES)
    cut = run(tmp_path, audio=[f"{name}.wav" for name in CLIPS], ids=CLIPS)
    assert pair(references, cut, reporter=listener).lines == tuple(LINES)
    assert (
        "paired by order: no segment of tst.en-zh.txt is named in ref.csv, column audio_path" in listener.said
    )
    (tmp_path / "hyp.csv").write_text(
        "\n".join(["clip,hyp", *(f"c{it},{it}" for it in LINES)]), encoding="utf-8"
    )
    by_id = read_references(csv(tmp_path / "ids.csv", IDS))
    assert pair(by_id, read_hypotheses(tmp_path / "hyp.csv"), reporter=listener).lines == tuple(LINES)
    assert listener.said[1:] == ["paired by order: no segment of hyp.csv is named in ids.csv"]
    assert pair(references, Hypotheses(name="text", lines=tuple(LINES)), reporter=listener) is references
    assert len(listener.said) == 2, "text has an order alone, and is not expected to have more"


def test_tables_on_both_sides_are_paired_by_a_column_they_share(tmp_path: Path) -> None:
    references = table(tmp_path / "ref.csv", "clip,target_zh", CLIPS[::-1], LINES[::-1])
    table(tmp_path / "said.csv", "clip,source_en,target_zh", CLIPS, [f"line {it},x" for it in CLIPS])
    (tmp_path / "hyp.csv").write_text(
        "\n".join(["clip,hyp", *(f"{it}.wav,{line}" for it, line in zip(CLIPS, LINES, strict=True))])
    )
    hypotheses = read_hypotheses(tmp_path / "hyp.csv")
    assert pair(references, hypotheses).lines == tuple(LINES)
    sources = with_sources(references, read_side(tmp_path / "said.csv", "source")).sources
    assert sources == tuple(f"line {it}" for it in CLIPS[::-1])


PLACES = [f"{talk},{number}" for talk, lines in TALKS.items() for number in range(1, len(lines) + 1)]


@pytest.mark.parametrize("column", ["segment", "seg", "index", "seg_id", "id"])
def test_segments_of_a_table_are_paired_by_their_numbers_in_a_document(tmp_path: Path, column: str) -> None:
    references = table(tmp_path / "ref.csv", f"document,{column},target_zh", PLACES[::-1], LINES[::-1])
    rows = [f"{place},{line}" for place, line in zip(PLACES, LINES, strict=True)]
    (tmp_path / "hyp.csv").write_text("\n".join([f"document,{column},hyp", *rows]), encoding="utf-8")
    assert pair(references, read_hypotheses(tmp_path / "hyp.csv")).lines == tuple(LINES)
    assert pair(references, run(tmp_path)).lines == tuple(LINES)
    with pytest.raises(InputError, match="stands twice in a document"):
        table(tmp_path / "twice.csv", f"document,{column},target_zh", [*PLACES[:-1], PLACES[-2]], LINES)


def test_a_column_beside_ids_may_count_something_else(tmp_path: Path) -> None:
    rows = [f"{name},{place.split(',')[0]},1" for name, place in zip(IDS, PLACES, strict=True)]
    references = table(tmp_path / "ref.csv", "id,document,index,target_zh", rows[::-1], LINES[::-1])
    assert references.numbers is None
    assert pair(references, run(tmp_path)).lines == tuple(LINES)


def test_numbers_against_the_order_of_the_lines_are_refused_where_only_the_order_could_pair(
    tmp_path: Path,
) -> None:
    text = Hypotheses(name="hyp.en-zh.txt", lines=tuple(LINES))
    backwards = xml(tmp_path / "back.xml", TALKS, backwards=True)
    rows = table(tmp_path / "ref.csv", "document,segment,target_zh", PLACES[::-1], LINES[::-1])
    for references in (read_references(backwards), rows):
        for resegment in (False, True):
            with pytest.raises(InputError, match="not stand in the order of their numbers") as caught:
                pair(references, text, resegment=resegment)
            assert "got: 2, 1" in str(caught.value) or "got: 3, 2, 1" in str(caught.value)
    output = read_hypotheses(xml(tmp_path / "hyp.xml", TALKS, "tstset", backwards=True))
    with pytest.raises(InputError, match="not stand in the order of their numbers"):
        pair(References(name="ref.txt", lines=tuple(LINES)), output)
    assert pair(read_references(xml(tmp_path / "ref.xml", TALKS)), text).lines == tuple(LINES)


def of_language(folder: Path, kind: str) -> Path:
    """Write references that tell a language: by a column, by XML, or by the name of a text."""
    if kind.startswith("target"):
        path = folder / "ref.csv"
        path.write_text("\n".join([f"id,{kind}", *(f"{n},{x}" for n, x in zip(IDS, LINES, strict=True))]))
    elif "." in kind:
        fileio.write_lines(path := folder / kind, LINES)
    else:
        path = xml(folder / "ref.xml", TALKS)
        path.write_text(path.read_text(encoding="utf-8").replace("Chinese", kind), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "target_de",
        "target_German",
        "German",
        "de",
        "de-DE",
        "deu",
        "english",
        "ja",
        "r.de",
        "r.en-de.txt",
        "r.en",
    ],
)
def test_references_of_another_language_are_refused(tmp_path: Path, kind: str) -> None:
    path = of_language(tmp_path, kind)
    with pytest.raises(UsageError, match="in another language"):
        read_references(path, language="zh")
    for hypotheses in (run(tmp_path), Hypotheses(name="tst.en-zh.txt", lines=tuple(LINES))):
        with pytest.raises(InputError, match="not in one language"):
            score(hypotheses, read_references(path), cache=ScoreCache(None))
    with pytest.raises(InputError, match="not in one language") as caught:
        score(run(tmp_path), read_references(path), language="zh", cache=ScoreCache(None))
    assert "zh (tst.en-zh.txt)" in str(caught.value)


@pytest.mark.parametrize(
    "kind",
    [
        "target_zh",
        "target_zh-CN",
        "target_text",
        "target_zh_raw",
        "zh-Hans",
        "Simplified Chinese",
        "cmn",
        "Klingon",
        "r.txt",
        "r.zh",
        "r.en-zh.zh.txt",
        "2022.acl.268.txt",
    ],
)
def test_the_same_language_is_known_however_it_is_written(tmp_path: Path, kind: str) -> None:
    references = read_references(of_language(tmp_path, kind), language="zh")
    found = score(run(tmp_path), references, metrics=["chrf"], language="zh", cache=ScoreCache(None))
    assert (found.language, found.metrics[0].score) == ("zh", pytest.approx(100))


def test_a_manifest_in_several_languages_gives_the_one_that_is_told(tmp_path: Path) -> None:
    both = [f"{line},Deutsch {number}" for number, line in enumerate(LINES)]
    with pytest.raises(UsageError, match="several languages"):
        table(tmp_path / "ref.csv", "id,target_zh,target_de,target_zh_raw", IDS, [f"{it},roh" for it in both])
    assert read_references(tmp_path / "ref.csv", language="de").lines[0] == "Deutsch 0"
    assert read_references(tmp_path / "ref.csv", language="zh").lines == tuple(LINES)
    with pytest.raises(UsageError, match="several languages") as caught:
        read_references(tmp_path / "ref.csv", language="ja")
    assert "expected: target_ja" in str(caught.value)


def test_hypotheses_of_another_language_or_in_several_columns_are_refused(tmp_path: Path) -> None:
    german = xml(tmp_path / "hyp.xml", TALKS, "tstset")
    german.write_text(german.read_text(encoding="utf-8").replace("Chinese", "German"), encoding="utf-8")
    references = read_references(xml(tmp_path / "ref.xml", TALKS))
    with pytest.raises(InputError, match="not in one language"):
        score(read_hypotheses(german), references, cache=ScoreCache(None))
    with pytest.raises(InputError, match="not in one language"):
        score(run(tmp_path), references, baseline=read_hypotheses(german), cache=ScoreCache(None))
    twice = hypotheses_csv(tmp_path / "hyp.csv", IDS, [f'{line}","x' for line in LINES], "hypothesis,hyp")
    with pytest.raises(UsageError, match="hypotheses in several columns") as caught:
        read_hypotheses(twice)
    assert "got: hypothesis, hyp" in str(caught.value)
    same = hypotheses_csv(
        tmp_path / "same.csv", IDS, [f'{line}","{line}' for line in LINES], "hypothesis,hyp"
    )
    assert read_hypotheses(same).lines == tuple(LINES)
    table(tmp_path / "src.csv", "id,source_en,source,target_zh", IDS, [f"a,TED,{line}" for line in LINES])
    assert read_references(tmp_path / "src.csv").sources == ("a",) * 5, "source_en is certain"
    with pytest.raises(UsageError, match="sources in several columns"):
        table(tmp_path / "src.csv", "id,source,src,target_zh", IDS, [f"a,TED,{line}" for line in LINES])
