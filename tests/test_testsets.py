"""Finding test sets, the order of their lines, and every way in which they can be wrong."""

from __future__ import annotations

import csv
import os
import unicodedata
from pathlib import Path

import pytest
from inference_fixtures import write_tone

from iwsltpack.errors import InputError, IwsltpackError, UsageError, ValidationFailed
from iwsltpack.testsets.discovery import find_test_sets
from iwsltpack.testsets.testset import natural_key

HEADER = ["id", "split", "audio_path", "source_en", "target_zh"]


def ids(path: Path, **options: object) -> list[str]:
    (found,) = find_test_sets(path, **options)  # type: ignore[arg-type]
    return [segment.id for segment in found.segments]


@pytest.fixture
def iwslt(tmp_path: Path) -> Path:
    """Two recordings out of alphabetic order, with segments out of time order."""
    folder = tmp_path / "tst2026"
    for name in ("talk_b", "talk_a"):
        write_tone(folder / f"{name}.wav", 2.0)
    (folder / "FILE_ORDER").write_text("talk_b.wav\ntalk_a.wav\n")
    (folder / "segments.yaml").write_text(
        "- {wav: talk_a.wav, offset: 0.5, duration: 0.5, speaker_id: x}\n"
        "- {wav: talk_b.wav, offset: 1.0, duration: 0.5}\n"
        "- {wav: talk_b.wav, offset: 0.0, duration: 0.75}\n"
    )
    return folder


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    for name in ("c", "a", "b"):
        write_tone(folder / "clips" / f"{name}.wav", 0.5)
    write_csv(
        folder / "manifest.csv", [[name, "test", f"clips/{name}.wav", f"say {name}", "说"] for name in "cab"]
    )
    return folder


def write_csv(path: Path, rows: list[list[str]], header: list[str] = HEADER) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def test_iwslt_lines_follow_file_order_then_the_order_of_the_yaml(iwslt: Path) -> None:
    (found,) = find_test_sets(iwslt)
    assert found.kind == "iwslt"
    assert found.name == "tst2026"
    assert [(s.audio, s.offset, s.duration) for s in found.segments] == [
        ("talk_b.wav", 1.0, 0.5),
        ("talk_b.wav", 0.0, 0.75),
        ("talk_a.wav", 0.5, 0.5),
    ]
    assert [s.index for s in found.segments] == [0, 1, 2]
    assert len({s.id for s in found.segments}) == 3


def test_without_a_yaml_each_recording_is_one_line(iwslt: Path) -> None:
    (iwslt / "segments.yaml").unlink()
    assert ids(iwslt) == ["talk_b", "talk_a"]


@pytest.mark.parametrize("place", ["wav", "wavs", "audio"])
def test_recordings_may_lie_one_folder_down_and_the_yaml_in_txt(iwslt: Path, place: str) -> None:
    for folder in (place, "txt"):
        (iwslt / folder).mkdir()
    for path in iwslt.glob("*.wav"):
        path.rename(iwslt / place / path.name)
    (iwslt / "segments.yaml").rename(iwslt / "txt" / "segments.yaml")
    (found,) = find_test_sets(iwslt)
    assert [s.audio for s in found.segments] == [f"{place}/talk_b.wav"] * 2 + [f"{place}/talk_a.wav"]


def test_file_order_may_leave_out_the_suffix_and_end_lines_as_windows_does(iwslt: Path) -> None:
    (iwslt / "FILE_ORDER").write_bytes("\ufefftalk_b\r\ntalk_a\r\n\r\n".encode())
    assert [s.audio for s in find_test_sets(iwslt)[0].segments] == ["talk_b.wav"] * 2 + ["talk_a.wav"]


def test_a_number_that_yaml_takes_for_a_string_is_a_number(iwslt: Path) -> None:
    (iwslt / "segments.yaml").write_text(
        "- {wav: talk_b.wav, offset: 1e-05, duration: 0.5}\n- {wav: talk_a.wav, offset: 0, duration: 1}\n"
    )
    assert find_test_sets(iwslt)[0].segments[0].offset == 1e-05


def test_recordings_not_in_file_order_are_told(iwslt: Path) -> None:
    write_tone(iwslt / "left_over.wav", 0.5)
    (notice,) = find_test_sets(iwslt)[0].notices
    assert notice.severity == "notice"
    assert "1 recordings are not in FILE_ORDER" in notice.message
    assert "left_over.wav" in notice.message


FILE_ORDER_BREAKS = {
    "missing": (
        "talk_b.wav\ntalk_c.wav\n",
        r"FILE_ORDER:2: error \[file-order.missing\].*'talk_c.wav'.*did you mean",
    ),
    "duplicate": ("talk_b.wav\ntalk_a.wav\ntalk_b.wav\n", r"FILE_ORDER:3: error \[file-order.duplicate\]"),
    "duplicate without its suffix": ("talk_b.wav\ntalk_b\n", r"FILE_ORDER:2: error \[file-order.duplicate\]"),
    "parent folder": ("../talk_b.wav\n", r"\[file-order.escape\] '../talk_b.wav' leads out of the test set"),
    "absolute": ("/etc/passwd\n", r"\[file-order.escape\]"),
    "backslashes": ("wav\\talk_b.wav\n", r"\[file-order.escape\]"),
    "empty": ("", r"\[file-order.empty\] lists no recording"),
    "blank": ("\n \n", r"\[file-order.empty\]"),
    "control character": ("talk_b.wav\x00\n", r"\[file-order.control\]"),
    "not audio": ("FILE_ORDER\n", r"\[file-order.missing\]"),
}


@pytest.mark.parametrize("kind", FILE_ORDER_BREAKS)
def test_a_wrong_file_order_is_refused_with_file_and_line(iwslt: Path, kind: str) -> None:
    text, message = FILE_ORDER_BREAKS[kind]
    (iwslt / "FILE_ORDER").write_text(text)
    with pytest.raises(ValidationFailed, match=message):
        find_test_sets(iwslt)


def test_a_file_order_that_is_no_text_is_refused(iwslt: Path) -> None:
    (iwslt / "FILE_ORDER").write_bytes(b"\xff\xfe\x00talk")
    with pytest.raises(InputError, match="FILE_ORDER: not UTF-8"):
        find_test_sets(iwslt)


def test_a_file_order_that_is_a_folder_is_refused(iwslt: Path) -> None:
    (iwslt / "FILE_ORDER").unlink()
    (iwslt / "FILE_ORDER").mkdir()
    with pytest.raises(InputError, match="not an IWSLT test set"):
        find_test_sets(iwslt)


def test_every_wrong_line_and_entry_is_named_at_once(iwslt: Path) -> None:
    (iwslt / "FILE_ORDER").write_text("x.wav\ntalk_a.wav\ny.wav\n")
    (iwslt / "segments.yaml").write_text("- {wav: talk_a.wav, offset: -1, duration: 1}\n- 7\n")
    with pytest.raises(ValidationFailed) as caught:
        find_test_sets(iwslt)
    rules = [problem.rule for problem in caught.value.problems]
    assert rules == ["file-order.missing", "file-order.missing", "yaml.offset", "yaml.entry"]


GOOD = "- {wav: talk_a.wav, offset: 0, duration: 1}\n"
YAML_BREAKS = {
    "no wav": ("- {offset: 0, duration: 1}\n", r"\[yaml.keys\] segment 1: wav missing"),
    "no duration": (GOOD + "- {wav: talk_b.wav, offset: 0}\n", r"\[yaml.keys\] segment 2: duration missing"),
    "nothing in it": ("- {}\n", r"\[yaml.keys\] segment 1: wav, offset, duration missing"),
    "unknown wav": (
        "- {wav: other.wav, offset: 0, duration: 1}\n",
        r"\[yaml.unknown-wav\] segment 1: 'other.wav' is not in",
    ),
    "wav no text": ("- {wav: 7, offset: 0, duration: 1}\n", r"\[yaml.wav\] segment 1: wav is 7"),
    "negative offset": (
        "- {wav: talk_b.wav, offset: -0.1, duration: 1}\n",
        r"\[yaml.offset\] segment 1: negative offset -0.1",
    ),
    "negative duration": (
        "- {wav: talk_b.wav, offset: 0, duration: -2}\n",
        r"\[yaml.duration\] segment 1: duration -2.0",
    ),
    "zero duration": ("- {wav: talk_b.wav, offset: 0, duration: 0}\n", r"\[yaml.duration\]"),
    "text for a number": (
        "- {wav: talk_b.wav, offset: soon, duration: 1}\n",
        r"\[yaml.number\] segment 1: offset is 'soon'",
    ),
    "nothing for a number": (
        "- {wav: talk_b.wav, offset: , duration: 1}\n",
        r"\[yaml.number\] segment 1: offset is None",
    ),
    "not a number": (
        "- {wav: talk_b.wav, offset: .nan, duration: 1}\n",
        r"\[yaml.number\] segment 1: offset is nan",
    ),
    "infinite": (
        "- {wav: talk_b.wav, offset: 0, duration: .inf}\n",
        r"\[yaml.number\] segment 1: duration is inf",
    ),
    "a truth value": (
        "- {wav: talk_b.wav, offset: true, duration: 1}\n",
        r"\[yaml.number\] segment 1: offset is True",
    ),
    "an entry that is a string": ("- talk_b.wav\n", r"\[yaml.entry\] segment 1: expected an object"),
    "the same twice": (GOOD + GOOD, r"\[yaml.duplicate\] segment 2"),
    "a file without segments": (GOOD, r"\[yaml.unused\] 'talk_b.wav' of FILE_ORDER has no segment"),
    "not yaml": ("- {wav: talk_a.wav\n", r"not valid YAML"),
    "an object": ("wav: talk_a.wav\n", r"no list of segments"),
    "empty": ("", r"no list of segments"),
    "code": ("- !!python/object/apply:os.getcwd []\n", r"not valid YAML"),
    "not utf-8": (b"- {wav: \xff}", r"segments.yaml: not UTF-8"),
}


@pytest.mark.parametrize("kind", YAML_BREAKS)
def test_a_wrong_yaml_is_refused_with_the_segment(iwslt: Path, kind: str) -> None:
    content, message = YAML_BREAKS[kind]
    (iwslt / "segments.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises((ValidationFailed, InputError), match=message):
        find_test_sets(iwslt)


def test_two_segmentations_are_refused(iwslt: Path) -> None:
    (iwslt / "other.yml").write_text(GOOD)
    with pytest.raises(InputError, match="more than one segmentation") as caught:
        find_test_sets(iwslt)
    assert "other.yml, segments.yaml" in str(caught.value)


def test_csv_lines_follow_the_rows(manifest: Path) -> None:
    (found,) = find_test_sets(manifest)
    assert (found.name, found.kind) == ("set", "csv")
    assert [(s.id, s.audio, s.source) for s in found.segments] == [
        ("c", "clips/c.wav", "say c"),
        ("a", "clips/a.wav", "say a"),
        ("b", "clips/b.wav", "say b"),
    ]
    assert [s.id for s in find_test_sets(manifest / "manifest.csv")[0].segments] == ["c", "a", "b"]


def test_csv_paths_are_tried_from_the_manifest_then_from_the_working_folder(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    write_tone(work / "data" / "x.wav", 0.5)
    write_tone(work / "clips" / "a.wav", 0.7)
    write_csv(
        manifest / "manifest.csv", [["x", "t", "data/x.wav", "", ""], ["a", "t", "clips/a.wav", "", ""]]
    )
    monkeypatch.chdir(work)
    (found,) = find_test_sets(manifest)
    assert found.segments[0].path.resolve() == work / "data" / "x.wav"
    assert found.segments[1].path == manifest / "clips" / "a.wav"


def test_a_path_of_this_machine_never_gets_into_what_is_recorded(manifest: Path) -> None:
    outside = write_tone(manifest.parent / "elsewhere" / "z.wav", 0.5)
    write_csv(
        manifest / "manifest.csv",
        [["z", "t", str(outside), "", ""], ["y", "t", "../elsewhere/z.wav", "", ""]],
    )
    (found,) = find_test_sets(manifest)
    assert [s.audio for s in found.segments] == ["z.wav", "z.wav"]
    assert all(s.path.is_file() for s in found.segments)


def test_each_split_of_a_csv_is_a_test_set(manifest: Path) -> None:
    rows = [
        ["c", "dev", "clips/c.wav", "", ""],
        ["a", "eval", "clips/a.wav", "", ""],
        ["b", "dev", "clips/b.wav", "", ""],
    ]
    write_csv(manifest / "manifest.csv", rows)
    found = find_test_sets(manifest)
    assert [(item.name, [s.id for s in item.segments]) for item in found] == [
        ("set-dev", ["c", "b"]),
        ("set-eval", ["a"]),
    ]
    assert [s.index for s in found[0].segments] == [0, 1]


def test_csv_rows_may_be_stretches_of_a_recording(manifest: Path) -> None:
    text = "id,audio_path,offset,duration\na,clips/a.wav,0,0.25\nb,clips/a.wav,0.25,1e-1\nc,clips/c.wav,,\n"
    (manifest / "manifest.csv").write_text(text)
    (found,) = find_test_sets(manifest)
    assert [(s.id, s.offset, s.duration) for s in found.segments] == [
        ("a", 0.0, 0.25), ("b", 0.25, 0.1), ("c", 0.0, None)
    ]  # fmt: skip
    assert found.notices == ()


def test_csv_rows_of_one_recording_are_told_and_other_times_never_passed_over(manifest: Path) -> None:
    csv = manifest / "manifest.csv"
    csv.write_text("id,audio_path\na,clips/a.wav\nb,clips/a.wav\n")
    (notice,) = find_test_sets(manifest)[0].notices
    assert (notice.severity, "1 recordings stand on several rows" in notice.message) == ("warning", True)
    csv.write_text("id,audio_path,start,end\na,clips/a.wav,0,1\nb,clips/b.wav,0,1\n")
    (notice,) = find_test_sets(manifest)[0].notices
    assert (notice.severity, notice.message) == ("notice", "columns that are not read: start, end")
    csv.write_text(
        "id,audio_path,duration\na,clips/a.wav,1\nb,clips/b.wav,2\n"
    )  # what clips are known to last
    assert find_test_sets(manifest)[0].notices == ()


def test_a_csv_finds_a_file_named_in_the_other_unicode_form(manifest: Path) -> None:
    write_tone(manifest / "clips" / unicodedata.normalize("NFD", "Rede über.wav"), 0.5)
    (manifest / "manifest.csv").write_text("id,audio_path\na,clips/Rede über.wav\n", encoding="utf-8")
    assert find_test_sets(manifest)[0].segments[0].path.is_file()


CSV_BREAKS = {
    "times not read": (
        "id,audio_path,start,end\na,clips/a.wav,0,1\nb,clips/a.wav,1,2\n",
        r"(?s)not told in a way that is read.*columns offset and duration.*start, end",
    ),
    "no duration": ("id,audio_path,offset\na,clips/a.wav,1\n", r"\[csv.number\] a: duration is ''"),
    "negative": ("id,audio_path,offset,duration\na,clips/a.wav,-1,2\n", r"\[csv.offset\] a: negative offset"),
    "a duration alone": (
        "id,audio_path,offset,duration\na,clips/a.wav,,2\n",
        r"\[csv.number\] a: offset is ''",
    ),
    "no audio_path": ("id,path\nx,clips/a.wav\n", "lacks the column audio_path"),
    "no columns": ("1,2\nx,y\n", "lacks the columns id, audio_path"),
    "semicolons": ("id;audio_path\nx;clips/a.wav\n", "lacks the columns id, audio_path"),
    "empty": ("", "lacks the columns id, audio_path"),
    "header only": ("id,audio_path\n", "lists nothing"),
    "column twice": ("id,audio_path,id\nx,clips/a.wav,y\n", "column 'id' appears twice"),
    "duplicate id": (
        "id,audio_path\nx,clips/a.wav\nx,clips/b.wav\n",
        r"manifest.csv:3: error \[csv.duplicate\] id 'x' was used on line 2",
    ),
    "empty id": ("id,audio_path\n ,clips/a.wav\n", r"\[csv.id\] empty id"),
    "empty path": ("id,audio_path\nx,\n", r"\[csv.audio-path\] x: empty audio_path"),
    "too few values": (
        "id,audio_path,source_en\nx,clips/a.wav\n",
        r"manifest.csv:2: error \[csv.columns\] no value for source_en",
    ),
    "unquoted comma": (
        "id,audio_path\nx,clips/a.wav,Hi, there\n",
        r"\[csv.columns\] 2 more values than columns",
    ),
    "open quote": ('id,audio_path\nx,"clips/a.wav\n', "not valid CSV"),
    "not utf-8": (b"id,audio_path\n\xe9,clips/a.wav\n", "manifest.csv: not UTF-8"),
    "nul": (b"id,audio_path\nx\0,clips/a.wav\n", "a NUL character"),
}


@pytest.mark.parametrize("kind", CSV_BREAKS)
def test_a_wrong_csv_is_refused_with_the_line(manifest: Path, kind: str) -> None:
    content, message = CSV_BREAKS[kind]
    (manifest / "manifest.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises((ValidationFailed, InputError), match=message):
        find_test_sets(manifest)


def test_acl6060_sentences_come_in_numeric_order(tmp_path: Path) -> None:
    gold = tmp_path / "dev" / "segmented_wavs" / "gold"
    for number in (10, 9, 11, 1, 2, 3, 4, 5, 6, 7, 8):
        write_tone(gold / f"sent_{number}.wav", 0.2)
    for place in (tmp_path / "dev", gold):
        (found,) = find_test_sets(place)
        assert (found.kind, found.name) == ("acl6060", "dev")
        assert [s.id for s in found.segments] == [f"sent_{number}" for number in range(1, 12)]


def test_acl6060_with_a_gap_is_refused_and_readable_as_a_folder(tmp_path: Path) -> None:
    for number in (1, 2, 4, 10):
        write_tone(tmp_path / f"sent_{number}.wav", 0.2)
    with pytest.raises(ValidationFailed, match=r"\[acl6060.gap\] sentences missing: 3, 5, 6, 7, 8, 9"):
        find_test_sets(tmp_path)
    assert ids(tmp_path, kind="folder") == ["sent_1", "sent_2", "sent_4", "sent_10"]


def test_acl6060_begins_at_the_first_sentence(tmp_path: Path) -> None:
    for number in (2, 3):
        write_tone(tmp_path / f"sent_{number}.wav", 0.2)
    with pytest.raises(ValidationFailed, match=r"\[acl6060.gap\] sentences missing: 1"):
        find_test_sets(tmp_path)
    write_tone(tmp_path / "sent_1.wav", 0.2)
    assert ids(tmp_path) == ["sent_1", "sent_2", "sent_3"]
    write_tone(tmp_path / "sent_0.wav", 0.2)
    assert ids(tmp_path) == ["sent_0", "sent_1", "sent_2", "sent_3"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("FILE_ORDER.lst", "b.wav\na.wav\n"),
        ("FILE-ORDER", "b\na\n"),
        ("tst.FILE_ORDER", "b\n"),
        ("order.txt", "wavs/b.wav\nwavs/a.wav\n"),
        ("wav.scp", "u1 b.wav\nu2 a.wav\n"),
    ],
)
def test_an_order_by_another_name_is_refused(tmp_path: Path, name: str, text: str) -> None:
    for clip in "ab":
        write_tone(tmp_path / f"{clip}.wav", 0.2)
    (tmp_path / name).write_text(text)
    with pytest.raises(
        InputError, match=r"(?s)a list of the recordings that is not read.*call it FILE_ORDER"
    ):
        find_test_sets(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("notes.txt", "a.wav is good\n"),
        ("list.txt", "a.wav\nb.wav\n"),  # the order they have
        ("README", "b.wav\nsays hello\n"),
        ("tst.de.txt", "Guten Tag.\nVielen Dank.\n"),
        ("one.txt", "b.wav\n"),
    ],
)
def test_other_files_beside_recordings_need_no_word(tmp_path: Path, name: str, text: str) -> None:
    for clip in "ab":
        write_tone(tmp_path / f"{clip}.wav", 0.2)
    (tmp_path / name).write_text(text)
    (found,) = find_test_sets(tmp_path)
    assert (found.kind, found.notices) == ("folder", ())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("segments", "u1 a 0.0 1.0\nu2 a 1.0 2.0\n"),
        ("segments.tsv", "a\t0\t1\n"),
        ("set.stm", ";; reference\n"),
        ("set.yaml.txt", "- {wav: a.wav, offset: 0, duration: 1}\n"),
        ("set.txt", "- {wav: a.wav, offset: 0, duration: 1}\n"),
        ("set.json", '{"segments": [{"wav": "a.wav", "start": 0, "end": 1}]}'),
        ("set.jsonl", '{"audio": "a.wav", "offset": 0, "duration": 1}\n'),
    ],
)
@pytest.mark.parametrize("ordered", [True, False])
def test_segments_in_another_form_are_told(tmp_path: Path, name: str, text: str, ordered: bool) -> None:
    for clip in "ab":
        write_tone(tmp_path / f"{clip}.wav", 0.2)
    (tmp_path / name).write_text(text)
    if ordered:
        (tmp_path / "FILE_ORDER").write_text("b\na\n")
    (found,) = find_test_sets(tmp_path)
    (notice,) = found.notices
    assert (notice.severity, Path(notice.path or "").name) == ("warning", name)
    assert "may say where segments lie, in a form that is not read" in notice.message


def test_acl6060_with_a_sentence_twice_is_refused(tmp_path: Path) -> None:
    for name in ("sent_1.wav", "sent_01.wav", "sent_2.wav"):
        write_tone(tmp_path / name, 0.2)
    with pytest.raises(ValidationFailed, match=r"\[acl6060.duplicate\] sentence 1 is there twice"):
        find_test_sets(tmp_path)


def test_a_folder_is_read_in_natural_order_and_hidden_files_are_none(tmp_path: Path) -> None:
    for name in ("b2.wav", "b10.flac", "a.ogg", "._a.ogg", "notes.txt"):
        path = tmp_path / name
        if path.suffix == ".txt" or name.startswith("."):
            path.write_bytes(b"x")
        else:
            write_tone(path, 0.3)
    assert ids(tmp_path) == ["a", "b2", "b10"]


def test_two_recordings_of_one_name_are_refused(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.wav", 0.3)
    write_tone(tmp_path / "a.flac", 0.3)
    with pytest.raises(
        ValidationFailed, match=r"\[folder.duplicate\] two recordings of one name: a.flac and a.wav"
    ):
        find_test_sets(tmp_path)


def test_two_unicode_forms_of_one_name_are_one_name(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        write_tone(tmp_path / f"{unicodedata.normalize(form, 'Rede über')}.wav", 0.2)
    with pytest.raises(ValidationFailed, match="two recordings of one name"):
        find_test_sets(tmp_path)


def test_a_folder_of_test_sets_gives_each_and_tells_what_was_passed_over(iwslt: Path, manifest: Path) -> None:
    (iwslt.parent / "docs").mkdir()
    found = find_test_sets(iwslt.parent)
    assert [item.name for item in found] == ["set", "tst2026"]
    assert "no test set in docs: passed over" in found[0].notices[0].message


def test_test_sets_of_one_name_are_refused(tmp_path: Path) -> None:
    write_tone(tmp_path / "a b" / "x.wav", 0.3)
    write_tone(tmp_path / "a_b" / "x.wav", 0.3)
    with pytest.raises(InputError, match="two test sets are called 'a_b'"):
        find_test_sets(tmp_path)


def test_both_layouts_at_once_need_a_choice(iwslt: Path) -> None:
    write_csv(iwslt / "list.csv", [["x", "t", "talk_a.wav", "", ""]])
    with pytest.raises(UsageError, match="both FILE_ORDER and a CSV manifest"):
        find_test_sets(iwslt)
    assert ids(iwslt, kind="csv") == ["x"]
    assert len(ids(iwslt, kind="iwslt")) == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such test set"),
        (lambda path: path.mkdir(), "no test set found"),
        (lambda path: path.write_text("x"), "not a test set"),
    ],
    ids=["nothing", "empty folder", "a file"],
)
def test_what_is_no_test_set_is_refused(tmp_path: Path, make: object, message: str) -> None:
    path = tmp_path / "x"
    make(path)  # type: ignore[operator]
    with pytest.raises(InputError, match=message):
        find_test_sets(path)


def test_a_layout_that_is_not_there_is_refused(manifest: Path) -> None:
    with pytest.raises(InputError, match="no test set found") as caught:
        find_test_sets(manifest, kind="iwslt")
    assert "layout 'iwslt'" in str(caught.value)


def test_a_name_must_fit_a_file_and_one_test_set(iwslt: Path, manifest: Path) -> None:
    assert find_test_sets(iwslt, name="talks")[0].name == "talks"
    with pytest.raises(UsageError, match="not fit for a file name"):
        find_test_sets(iwslt, name="../talks")
    with pytest.raises(UsageError, match="more than one test set"):
        find_test_sets(manifest.parent, name="talks")


def test_natural_order_is_total() -> None:
    names = ["a1", "a01", "a", "10", "9", "", "a10b2", "a10b10", "²", "a²"]
    assert sorted(names, key=natural_key) == sorted(set(names), key=natural_key)


def test_no_broken_test_set_escapes_the_error_tree(iwslt: Path) -> None:
    """Bytes flipped at random in the text files: either a test set of the same lines, or a clear error."""
    random = __import__("random").Random(7)
    originals = {name: (iwslt / name).read_bytes() for name in ("FILE_ORDER", "segments.yaml")}
    refused = 0
    for _ in range(300):
        name = random.choice(sorted(originals))
        data = bytearray(originals[name])
        data[random.randrange(len(data))] = random.randrange(256)
        (iwslt / name).write_bytes(data)
        try:
            find_test_sets(iwslt)
        except IwsltpackError:
            refused += 1
        (iwslt / name).write_bytes(originals[name])
    assert refused > 100


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_list_is_refused(iwslt: Path) -> None:
    (iwslt / "FILE_ORDER").chmod(0)
    with pytest.raises(InputError, match="cannot read the file"):
        find_test_sets(iwslt)


def test_the_papers_own_manifest_is_read() -> None:
    path = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "apg" / "acl6060_dev_en_zh.csv"
    if not path.is_file():
        pytest.skip("third-party data ../shared/data/apg is not here")
    (found,) = find_test_sets(path)
    assert found.name == "acl6060_dev_en_zh"
    assert len(found.segments) == 468
    assert found.segments[0].audio == "data/raw/acl6060_en_zh/dev/segmented_wavs/gold/sent_1.wav"
    assert [int(s.id.split("_")[1]) for s in found.segments] == list(range(1, 469))
