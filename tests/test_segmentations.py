"""Segmentations and FILE_ORDER as the organisers' script reads them, and every layout in which they are shipped."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from inference_fixtures import RATE, write_tone

from iwsltpack.errors import InputError, IwsltpackError, UsageError, ValidationFailed
from iwsltpack.testsets.discovery import find_test_sets
from iwsltpack.testsets.testset import Segment, TestSet


def entry(wav: str, offset: float = 0.0, duration: float = 0.5) -> dict[str, Any]:
    return {"wav": wav, "offset": offset, "duration": duration}


def make(folder: Path, audio: list[str], order: str | None = None, **lists: Any) -> Path:
    """Write recordings, FILE_ORDER and segmentations; `lists` are entries, or text, by path with __ for /."""
    for name in audio:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        known = path.suffix.lower() in (".wav", ".flac")
        soundfile.write(path, np.full(8_000, 0.1, np.float32), RATE, format=None if known else "WAV")
    if order is not None:
        (folder / "FILE_ORDER").write_text(order, encoding="utf-8")
    for name, entries in lists.items():
        path = folder / name.replace("__", "/").replace("_yaml", ".yaml").replace("_json", ".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(entries if isinstance(entries, str) else yaml.safe_dump(entries), encoding="utf-8")
    return folder


def only(path: Path, **options: Any) -> TestSet:
    (found,) = find_test_sets(path, **options)
    return found


def lines(path: Path, **options: Any) -> list[tuple[str, float]]:
    return [(segment.audio, segment.offset) for segment in only(path, **options).segments]


# --- the organisers' reader -------------------------------------------------------------------------------------------


def as_the_organisers_read(
    folder: Path, segments: list[dict[str, Any]] | None, order: list[str] | None
) -> list[tuple[str, float, float | None]]:
    """Return (recording, offset, duration) of each line, from the description of the organisers' script alone."""
    if order is None:
        assert segments is not None
        assert len({Path(item["wav"]).name for item in segments}) == 1, "FILE_ORDER is needed"
    rank = {name: place for place, name in enumerate(order or [])}
    by_base = {Path(name).name: place for name, place in rank.items()}

    def place(wav: str) -> int:
        return rank.get(wav, by_base.get(Path(wav).name, len(rank)))

    def on_disk(wav: str) -> str:
        whole = folder / wav
        found = [whole] if whole.exists() else list(folder.rglob(Path(wav).name))
        assert len(found) == 1, wav
        return found[0].relative_to(folder).as_posix()

    if segments is None:
        wavs = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.wav"))
        return [(wav, 0.0, None) for wav in sorted(wavs, key=place)]
    ordered = sorted(segments, key=lambda item: place(item["wav"]))
    return [(on_disk(item["wav"]), item["offset"], item["duration"]) for item in ordered]


def random_folder(
    folder: Path, dice: random.Random
) -> tuple[Path, list[dict[str, Any]] | None, list[str] | None]:
    """Make a test set: recordings at any depth, lists that name them by path or by base name, some not at all."""
    names = dice.sample(
        [f"{letter}{dice.choice(['', '.v1', '-x'])}.wav" for letter in "abcdefgh"], dice.randint(1, 6)
    )
    places = {name: dice.choice(["", "wav/", "wav/deep/", "part 2/"]) + name for name in names}
    make(folder, list(places.values()))

    def written(name: str) -> str:
        return dice.choice([name, places[name]])

    segments: list[dict[str, Any]] | None = None
    if dice.random() < 0.8:
        used = dice.sample(names, dice.randint(1, len(names)))
        starts = [(name, start / 10) for name in used for start in range(dice.randint(1, 4))]
        dice.shuffle(starts)
        segments = [entry(written(name), start, 0.1) for name, start in starts]
        text = yaml.safe_dump(segments) if dice.random() < 0.7 else str(segments).replace("'", '"')
        (folder / "lists").mkdir()
        (folder / "lists" / "segments.yaml").write_text(text)
    named = {Path(item["wav"]).name for item in segments or []}
    if segments is not None and len(named) == 1 and dice.random() < 0.5:
        return folder / "lists" / "segments.yaml", segments, None
    order = [written(name) for name in dice.sample(names, dice.randint(1, len(names)))]
    if segments is not None:
        order += ["gone.wav"] * (dice.random() < 0.3)
        dice.shuffle(order)
    (folder / "FILE_ORDER").write_text("".join(f"{name}\n" for name in order))
    return folder / "lists" / "segments.yaml", segments, order


def test_two_hundred_random_folders_give_the_organisers_segments_in_their_order(tmp_path: Path) -> None:
    dice = random.Random(27)
    without_yaml = without_order = refused = 0
    for _ in range(200):
        folder = tmp_path / "set"
        given, segments, order = random_folder(folder, dice)
        expected = as_the_organisers_read(folder, segments, order)
        found = only(folder, segmentation=given if segments is not None else None)
        assert [(s.audio, s.offset, s.duration) for s in found.segments] == expected
        assert len({s.id for s in found.segments}) == len(expected)
        try:
            assert only(folder).segments == found.segments, "found, it is read as when it is given"
        except ValidationFailed as error:
            # The stricter of the two: a list that was only found may be the wrong one.
            assert {problem.rule for problem in error.problems} <= {"yaml.unused", "file-order.missing"}
            refused += 1
        without_yaml += segments is None
        without_order += order is None
        shutil.rmtree(folder)
    assert without_yaml > 20
    assert without_order > 10
    assert refused < 120


# --- where the lists lie ----------------------------------------------------------------------------------------------


def test_a_yaml_of_one_recording_needs_no_file_order(tmp_path: Path) -> None:
    entries = [entry("talk.wav", 0.1, 0.1), entry("talk.wav", 0.0, 0.1), entry("talk.wav", 0.3, 0.1)]
    folder = make(tmp_path, ["talk.wav"], segments_yaml=entries)
    assert lines(folder) == [("talk.wav", 0.1), ("talk.wav", 0.0), ("talk.wav", 0.3)]


def test_a_yaml_of_several_recordings_without_file_order_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path, ["a.wav", "b.wav"], segments_yaml=[entry("a.wav"), entry("b.wav")])
    with pytest.raises(InputError, match="order of the recordings is not known"):
        find_test_sets(folder)


@pytest.mark.parametrize("place", ["yaml", "txt", "segments__en", "wav"])
@pytest.mark.parametrize("suffix", ["_yaml", ".yml", ".YAML", "_json"])
def test_a_segmentation_is_used_wherever_it_lies(tmp_path: Path, place: str, suffix: str) -> None:
    text = str([entry("wav/b.wav", 0.25), entry("a.wav")]).replace("'", '"')
    make(tmp_path, ["wav/a.wav", "wav/b.wav"], "a.wav\nb.wav\n", **{f"{place}__s{suffix}": text})
    assert lines(tmp_path) == [("wav/a.wav", 0.0), ("wav/b.wav", 0.25)]


@pytest.mark.parametrize("order", ["txt", "wav"])
def test_file_order_and_yaml_may_lie_beside_the_recordings_folder(tmp_path: Path, order: str) -> None:
    make(tmp_path / "tst", ["wav/a.wav", "wav/b.wav"], txt__s_yaml=[entry("a.wav"), entry("b.wav")])
    (tmp_path / "tst" / order / "FILE_ORDER").write_text("b.wav\na.wav\n")
    assert lines(tmp_path / "tst") == [("wav/b.wav", 0.0), ("wav/a.wav", 0.0)]
    assert only(tmp_path / "tst").name == "tst"
    assert lines(tmp_path) == lines(tmp_path / "tst"), "found one folder up, too"


def test_a_segmentation_among_deeper_recordings_is_not_passed_over(tmp_path: Path) -> None:
    make(tmp_path, ["a.wav", "sub/b.wav"], sub__s_yaml=[entry("a.wav", 0.25)])
    assert lines(tmp_path) == [("a.wav", 0.25)]


def test_recordings_given_without_their_segmentation_one_folder_up_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "tst", ["wav/a.wav"], txt__s_yaml=[entry("a.wav"), entry("a.wav", 0.1, 0.1)])
    with pytest.raises(UsageError, match="belong to the test set one folder up"):
        find_test_sets(tmp_path / "tst" / "wav")
    assert lines(tmp_path / "tst" / "wav", kind="folder") == [("a.wav", 0.0)]


def test_a_segmentation_beside_several_test_sets_is_refused_by_name(tmp_path: Path) -> None:
    make(tmp_path, ["acl/a.wav", "tv/b.wav"], yaml__tv_yaml=[entry("b.wav")])
    (tmp_path / "acl" / "FILE_ORDER").write_text("a.wav\n")
    with pytest.raises(InputError, match="a list of segments without recordings") as caught:
        find_test_sets(tmp_path)
    assert "tv.yaml" in str(caught.value)


def test_two_segmentations_in_different_folders_are_refused_and_one_may_be_chosen(tmp_path: Path) -> None:
    make(
        tmp_path,
        ["a.wav"],
        "a.wav\n",
        s_yaml=[entry("a.wav", 0.1, 0.1)],
        txt__t_yaml=[entry("a.wav", 0.2, 0.1)],
    )
    with pytest.raises(InputError, match="more than one segmentation") as caught:
        find_test_sets(tmp_path)
    assert "s.yaml, txt/t.yaml" in str(caught.value)
    assert lines(tmp_path, segmentation=tmp_path / "txt" / "t.yaml") == [("a.wav", 0.2)]


def test_a_chosen_segmentation_may_leave_recordings_out_and_says_so(tmp_path: Path) -> None:
    chosen = make(tmp_path / "x", [], s_yaml=[entry("b.wav"), entry("c.wav"), entry("a.wav")]) / "s.yaml"
    make(tmp_path / "set", ["a.wav", "b.wav", "c.wav", "d.wav"], "c.wav\nd.wav\ngone.wav\na.wav\n")
    found = only(tmp_path / "set", segmentation=chosen)
    assert [s.audio for s in found.segments] == ["c.wav", "a.wav", "b.wav"]
    rules = {notice.rule: notice for notice in found.notices}
    assert "'gone.wav'" in rules["file-order.missing"].message
    assert "'d.wav'" in rules["yaml.unused"].message
    assert "come last: b.wav" in rules["file-order.unlisted"].message
    assert {notice.severity for notice in found.notices} == {"warning"}


@pytest.mark.parametrize("kind", ["csv", "acl6060", "folder"])
def test_a_segmentation_chosen_for_another_layout_is_refused(tmp_path: Path, kind: Any) -> None:
    folder = make(tmp_path, ["sent_1.wav"], s_yaml=[entry("sent_1.wav")])
    with pytest.raises(UsageError, match="what is not cut by one"):
        find_test_sets(folder, kind=kind, segmentation=folder / "s.yaml")


def test_yaml_that_is_something_else_is_no_segmentation(tmp_path: Path) -> None:
    make(tmp_path, ["a.wav", "b.wav"], settings_yaml="seed: 7\n", run_json='{"segments": [{"offset": 1}]}')
    assert lines(tmp_path) == [("a.wav", 0.0), ("b.wav", 0.0)]


def test_recordings_cut_already_and_a_segmentation_need_a_choice(tmp_path: Path) -> None:
    gold = [f"segmented_wavs/gold/sent_{number}.wav" for number in (1, 2)]
    folder = make(tmp_path, [*gold, "full_wavs/2022.acl-long.1.wav"], acl_yaml=[entry("2022.acl-long.1")])
    with pytest.raises(UsageError, match="both a segmentation and ACL 60/60's sentences"):
        find_test_sets(folder)
    assert lines(folder, kind="iwslt") == [("full_wavs/2022.acl-long.1.wav", 0.0)]
    found = only(folder, kind="acl6060")
    assert len(found.segments) == 2
    assert any("acl.yaml" in notice.message for notice in found.notices), "not used, and not in silence"


def test_a_manifest_and_a_segmentation_need_a_choice(tmp_path: Path) -> None:
    folder = make(tmp_path, ["a.wav"], s_yaml=[entry("a.wav")])
    (folder / "m.csv").write_text("id,audio_path\nx,a.wav\n")
    with pytest.raises(UsageError, match="both a segmentation and a CSV manifest"):
        find_test_sets(folder)
    assert "s.yaml" in only(folder, kind="csv").notices[0].message


def test_file_order_of_another_spelling_is_found(tmp_path: Path) -> None:
    make(tmp_path, ["a.wav", "b.wav"])
    (tmp_path / "file_order.txt").write_text("b.wav\na.wav\n")
    assert lines(tmp_path) == [("b.wav", 0.0), ("a.wav", 0.0)]


def test_recordings_deeper_in_a_plain_folder_are_told(tmp_path: Path) -> None:
    found = only(make(tmp_path, ["a.wav", "more/b.wav"]))
    assert [s.audio for s in found.segments] == ["a.wav"]
    assert "more/b.wav" in found.notices[0].message


# --- names ------------------------------------------------------------------------------------------------------------


def ids(found: TestSet) -> list[str]:
    return [segment.id for segment in found.segments]


def test_ids_are_made_of_whole_names_with_their_dots(tmp_path: Path) -> None:
    names = [f"2022.acl-long.{number}" for number in (110, 117)]
    entries = [entry(names[0], 0.1, 0.1), entry(names[0], 0.3, 0.1), entry(names[1])]
    make(tmp_path, [f"wavs/{name}.wav" for name in names], "\n".join(names), acl_yaml=entries)
    assert ids(only(tmp_path)) == ["2022.acl-long.110_0", "2022.acl-long.110_1", "2022.acl-long.117_0"]
    (tmp_path / "acl.yaml").unlink()
    assert ids(only(tmp_path)) == names
    assert ids(only(tmp_path / "wavs", kind="folder")) == names


@pytest.mark.parametrize(
    ("audio", "expected"),
    [
        (["a.wav", "a.flac"], ["a.wav", "a.flac"]),
        (["x/a.wav", "y/a.wav"], ["x/a", "y/a"]),
        (["a.wav.wav", "a.flac", "a.wav"], ["a.wav.wav", "a.flac", "a.wav"]),
        (["a.WAV", "a.wav"], ["a.WAV", "a.wav"]),
    ],
)
def test_ids_of_recordings_of_one_stem_differ(tmp_path: Path, audio: list[str], expected: list[str]) -> None:
    make(tmp_path, audio, "\n".join(audio))
    assert ids(only(tmp_path)) == expected


@pytest.mark.parametrize(
    ("audio", "order", "wav", "both"),
    [
        (["a.wav", "a.flac"], "a\n", "a.wav", "'a' may be a.flac or a.wav"),
        (["x/a.wav", "y/a.wav"], "a.wav\n", "a.wav", "'a.wav' may be x/a.wav or y/a.wav"),
        (["x/a.wav", "y/a.wav"], "x/a.wav\ny/a.wav\n", "a.wav", "'a.wav' may be x/a.wav or y/a.wav"),
        (["x/a.wav", "a.wav"], "x/a.wav\n", "a.wav", "a.wav has the name of x/a.wav"),
    ],
)
def test_a_name_that_may_be_either_is_refused_with_both(
    tmp_path: Path, audio: list[str], order: str, wav: str, both: str
) -> None:
    make(tmp_path, audio, order, s_yaml=[entry(wav), *([entry("x/a.wav")] if "x/a.wav" in order else [])])
    with pytest.raises(ValidationFailed, match=both):
        find_test_sets(tmp_path)


@pytest.mark.parametrize("written", ["wav/a.wav", "elsewhere/a.wav", "a.wav", "a", "wav/a", "a.WAV"])
@pytest.mark.parametrize("place", ["a.wav", "wav/a.wav", "wav/a.WAV", "x/y/a.wav"])
def test_a_folder_prefix_a_suffix_and_its_case_do_not_matter(
    tmp_path: Path, written: str, place: str
) -> None:
    make(tmp_path, [place, "b.wav"], "b.wav\na.wav\n", s_yaml=[entry(written), entry("b.wav")])
    assert lines(tmp_path) == [("b.wav", 0.0), (place, 0.0)]


def test_a_name_in_the_other_unicode_form_is_found(tmp_path: Path) -> None:
    make(tmp_path, ["re\u0301union.wav"], "r\u00e9union.wav\n")
    assert len(only(tmp_path).segments) == 1


@pytest.mark.parametrize(
    ("audio", "name"), [("talk_a.wav", "Talk-a.wav"), ("a.wave", "a.wav"), ("wav/x1.wav", "wav/x2.wav")]
)
def test_a_near_miss_is_suggested(tmp_path: Path, audio: str, name: str) -> None:
    make(tmp_path, [audio], f"{name}\n")
    with pytest.raises(ValidationFailed, match=f"no recording '{name}'; did you mean '{audio}'"):
        find_test_sets(tmp_path)


def test_recordings_file_order_does_not_name_come_last_without_a_yaml(tmp_path: Path) -> None:
    found = only(make(tmp_path, ["c10.wav", "c9.wav", "b.wav", "b.flac"], "b.wav\n"))
    assert [s.audio for s in found.segments] == ["b.wav", "c9.wav", "c10.wav"], (
        "b.flac is b.wav in another format"
    )
    assert [notice.severity for notice in found.notices] == ["warning", "notice"]
    assert "come last: c9.wav, c10.wav" in found.notices[0].message
    assert "left out: b.flac" in found.notices[1].message


# --- formats ----------------------------------------------------------------------------------------------------------

SPEECH = [
    ".wav",
    ".WAV",
    ".wave",
    ".sph",
    ".w64",
    ".au",
    ".caf",
    ".mpga",
    ".flac",
    ".aiff",
    ".oga",
    ".rf64",
    ".voc",
]
FORMATS = {
    ".sph": "NIST",
    ".w64": "W64",
    ".au": "AU",
    ".caf": "CAF",
    ".mpga": "MP3",
    ".oga": "OGG",
    ".voc": "VOC",
}


def test_every_format_that_can_be_read_is_a_line_and_the_others_are_named(tmp_path: Path) -> None:
    for number, suffix in enumerate(SPEECH):
        known = FORMATS.get(suffix, {".rf64": "RF64", ".flac": "FLAC", ".aiff": "AIFF"}.get(suffix, "WAV"))
        soundfile.write(tmp_path / f"r{number}{suffix}", np.full(8_000, 0.1, np.float32), RATE, format=known)
    write_tone(tmp_path / "x.wav", 0.5).rename(tmp_path / "r20.recording")
    (tmp_path / "r21.3gp").write_bytes(b"\0\0\0\x18ftyp3gp4" + bytes(100))
    (tmp_path / "r22.m4x").write_bytes(b"\0\0\0\x18ftypM4A " + bytes(100))
    (tmp_path / "notes.txt").write_text("no recording")
    from iwsltpack.system.progress import SILENT
    from iwsltpack.testsets.survey import survey

    found = survey(only(tmp_path), 30.0, SILENT)
    assert len(found.durations) == len(SPEECH) + 3
    assert [
        found.test_set.segments[index].audio for index, seconds in enumerate(found.durations) if not seconds
    ] == [
        "r21.3gp",
        "r22.m4x",
    ]
    assert [problem.rule for problem in found.problems] == ["audio.unsupported", "audio.unreadable"]


# --- YAML -------------------------------------------------------------------------------------------------------------

NUMBERS = {"010": 10.0, "1e-05": 1e-05, "+.5": 0.5, "5.": 5.0, "'1.5'": 1.5, "2E+0": 2.0, "!!int '010'": 10.0}
NO_NUMBERS = [
    "1:30",
    "1_000",
    "0x1F",
    "0o17",
    "yes",
    "1,5",
    "'１'",
    "1 s",
    "2022-01-01",
    "[1]",
    ".inf",
    "1e999",
]


@pytest.mark.parametrize("written", NUMBERS)
def test_a_number_is_one_of_yaml_1_2(tmp_path: Path, written: str) -> None:
    make(tmp_path, ["a.wav"], s_yaml=f"- {{wav: a.wav, offset: {written}, duration: 1}}\n")
    assert lines(tmp_path) == [("a.wav", NUMBERS[written])]


@pytest.mark.parametrize("written", NO_NUMBERS)
def test_what_only_yaml_1_1_takes_for_a_number_is_refused(tmp_path: Path, written: str) -> None:
    make(tmp_path, ["a.wav"], s_yaml=f"- {{wav: a.wav, offset: {written}, duration: 1}}\n")
    with pytest.raises((ValidationFailed, InputError), match=r"yaml.number|yaml.keys|not valid YAML"):
        find_test_sets(tmp_path)


@pytest.mark.parametrize("name", ["no", "on", "2022-01-01", "1:30", "y"])
def test_a_name_that_yaml_1_1_takes_for_something_else_is_a_name(tmp_path: Path, name: str) -> None:
    make(tmp_path, [f"{name}.wav"], s_yaml=f"- {{wav: {name}, offset: 0, duration: 1}}\n")
    assert lines(tmp_path) == [(f"{name}.wav", 0.0)]


@pytest.mark.parametrize(
    "twice", ["offset: 1, offset: 2, duration: 1", 'offset: 1, "offset": 2, duration: 1']
)
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, twice: str) -> None:
    make(tmp_path, ["a.wav"], s_yaml=f"- {{wav: a.wav, {twice}}}\n")
    with pytest.raises(InputError, match="the key 'offset' stands twice at line 1"):
        find_test_sets(tmp_path)


@pytest.mark.parametrize("wav", ["../a.wav", "/a.wav"])
def test_a_yaml_that_leads_out_of_the_test_set_is_refused(tmp_path: Path, wav: str) -> None:
    make(tmp_path, ["a.wav"], s_yaml=[entry(wav)])
    with pytest.raises(ValidationFailed, match=r"\[yaml.escape\]"):
        find_test_sets(tmp_path)


def test_aliases_that_unfold_to_billions_are_refused_at_once(tmp_path: Path) -> None:
    text = "- &a [x, x]\n" + "".join(
        f"- &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
    )
    make(tmp_path, ["a.wav"], s_yaml=text)
    with pytest.raises(IwsltpackError, match=r"\[yaml.entry\]"):
        find_test_sets(tmp_path)


def test_segment_is_what_documents_hold(tmp_path: Path) -> None:
    make(tmp_path, ["wav/a.wav"], s_yaml=[entry("a.wav", 0.1, 0.2)])
    (segment,) = only(tmp_path).segments
    assert segment == Segment(
        index=0, id="a_0", audio="wav/a.wav", path=tmp_path / "wav" / "a.wav", offset=0.1, duration=0.2
    )
