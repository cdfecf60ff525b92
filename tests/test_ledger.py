"""The ledger: listing, promoting in one step, and what an interruption leaves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from submission_fixtures import LINES, artifact_fixture, request, rules, run_fixture, tree, write_run  # noqa: F401
from typer.testing import CliRunner

from iwsltpack.cli import submissions
from iwsltpack.cli.common import with_options
from iwsltpack.documents.score import read_score
from iwsltpack.documents.submission import read_submission
from iwsltpack.errors import InputError, UsageError, ValidationFailed
from iwsltpack.scoring.cache import ScoreCache
from iwsltpack.scoring.references import References
from iwsltpack.scoring.score import score
from iwsltpack.scoring.texts import read_hypotheses
from iwsltpack.submission import ledger, naming, transaction
from iwsltpack.submission.packaging import prepare
from iwsltpack.submission.validation import validate
from iwsltpack.system import fileio

PRIMARY = "APG_DEMO_ModelCompression_en-zh_constrained_primary"
CONTRASTIVE = "APG_DEMO_ModelCompression_en-zh_constrained_contrastive"
DEMOTED = f"{CONTRASTIVE}.selected-q2"
"""What the PRIMARY is called when another takes its place: never what that other was called."""


@pytest.fixture(scope="module")
def packaged(built: Callable[[str, str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of one primary and one contrastive submission, of different hypotheses; read-only."""
    base = tmp_path_factory.mktemp("ledger")
    artifact = built("selected-q2", "zstd")
    one = write_run(base / "one", artifact)
    other = write_run(base / "other", artifact, lines=(*LINES[:-1], "再见。"))
    ledger.add(base / "submissions", prepare(request(artifact, one)))
    ledger.add(base / "submissions", prepare(request(artifact, other, type="contrastive")))
    return base / "submissions"


@pytest.fixture
def root(packaged: Path, tmp_path: Path) -> Path:
    """The same ledger, to change."""
    shutil.copytree(packaged, tmp_path / "submissions")
    return tmp_path / "submissions"


@pytest.fixture(scope="module")
def promoted(packaged: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What promoting the contrastive submission makes of it."""
    copy = tmp_path_factory.mktemp("promoted") / "submissions"
    shutil.copytree(packaged, copy)
    ledger.promote(copy, CONTRASTIVE)
    return tree(copy)


def last_lines(root: Path) -> dict[str, str]:
    return {
        folder.name: (folder / "demo.en-zh.txt").read_text(encoding="utf-8").splitlines()[-1]
        for folder in sorted(root.iterdir())
        if not folder.name.startswith(".")
    }


def test_the_listing_tells_type_size_and_state(root: Path) -> None:
    entries, problems = ledger.open_ledger(root)
    assert problems == []
    listed = [entry.to_json() for entry in entries]
    assert [(item["name"], item["type"], item["state"]) for item in listed] == [
        (CONTRASTIVE, "contrastive", "valid"),
        (PRIMARY, "primary", "valid"),
    ]
    assert listed[0]["bytes"] > 0


def test_a_damaged_submission_is_listed_as_such(root: Path) -> None:
    (root / PRIMARY / "demo.en-zh.txt").write_text("x\n")
    (root / CONTRASTIVE / "submission.json").write_text("{")
    assert [entry.state for entry in ledger.entries(root)] == ["unreadable", "invalid"]


def test_no_folder_is_an_empty_ledger(tmp_path: Path) -> None:
    assert ledger.open_ledger(tmp_path / "none") == ([], [])
    assert not (tmp_path / "none").exists()


def test_without_a_primary_the_time_stamp_rule_is_told(run: Path, artifact: Path, tmp_path: Path) -> None:
    ledger.add(tmp_path / "s", prepare(request(artifact, run, type="contrastive")))
    _, problems = ledger.open_ledger(tmp_path / "s")
    assert [problem.rule for problem in problems] == ["ledger.no-primary"]
    assert problems[0].severity == "warning"


def test_promoting_swaps_both_and_keeps_every_hypothesis(root: Path) -> None:
    assert last_lines(root) == {PRIMARY: "谢谢大家。", CONTRASTIVE: "再见。"}
    assert ledger.promote(root, CONTRASTIVE) == {CONTRASTIVE: PRIMARY, PRIMARY: DEMOTED}
    assert last_lines(root) == {PRIMARY: "再见。", DEMOTED: "谢谢大家。"}
    assert validate(root) == ("ledger", [])
    assert read_submission(root / PRIMARY).type == "primary"
    assert "This is the PRIMARY submission" in (root / PRIMARY / "UPLOAD.md").read_text(encoding="utf-8")


def test_promoting_twice_is_promoting_once(root: Path) -> None:
    ledger.promote(root, CONTRASTIVE)
    once = tree(root)
    assert ledger.promote(root, CONTRASTIVE) == {}
    assert ledger.promote(root, PRIMARY) == {}
    assert tree(root) == once


def test_promoting_there_and_back_by_label(root: Path) -> None:
    before = tree(root / CONTRASTIVE)
    ledger.promote(root, CONTRASTIVE)
    assert ledger.promote(root, "selected-q2") == {DEMOTED: PRIMARY, PRIMARY: CONTRASTIVE}
    assert ledger.promote(root, "selected-q2") == {}
    assert last_lines(root) == {PRIMARY: "谢谢大家。", CONTRASTIVE: "再见。"}
    assert tree(root / CONTRASTIVE) == before
    assert validate(root) == ("ledger", [])


def test_a_number_means_the_same_submission_before_and_after_promotion(root: Path) -> None:
    numbers = {entry.folder: str(entry.number) for entry in ledger.entries(root)}
    assert sorted(numbers.values()) == ["1", "2"]
    assert ledger.promote(root, numbers[CONTRASTIVE]) == {CONTRASTIVE: PRIMARY, PRIMARY: DEMOTED}
    assert ledger.promote(root, numbers[CONTRASTIVE]) == {}
    for nobody in ("0", "3"):
        with pytest.raises(UsageError, match=f"no submission '{nobody}'"):
            ledger.promote(root, nobody)


def test_promoting_where_there_is_no_primary(run: Path, artifact: Path, tmp_path: Path) -> None:
    ledger.add(tmp_path / "s", prepare(request(artifact, run, type="contrastive", label="q2")))
    assert ledger.promote(tmp_path / "s", f"{CONTRASTIVE}.q2") == {f"{CONTRASTIVE}.q2": PRIMARY}
    assert [path.name for path in (tmp_path / "s").iterdir()] == [PRIMARY]


def test_a_demoted_submission_finds_a_name_of_its_own(root: Path, artifact: Path, tmp_path: Path) -> None:
    third = write_run(tmp_path / "runs" / "third", artifact, lines=(*LINES[:-1], "完了。"))
    ledger.add(root, prepare(request(artifact, third, type="contrastive", label="third")))
    renamed = ledger.promote(root, f"{CONTRASTIVE}.third")
    assert renamed == {f"{CONTRASTIVE}.third": PRIMARY, PRIMARY: f"{CONTRASTIVE}.selected-q2"}
    assert last_lines(root) == {
        PRIMARY: "完了。",
        CONTRASTIVE: "再见。",
        f"{CONTRASTIVE}.selected-q2": "谢谢大家。",
    }
    assert validate(root) == ("ledger", [])


def score_document(path: Path, hypotheses: Path, *, clean: bool = False) -> Path:
    """A document as `iwsltpack score` writes it."""
    found = read_hypotheses(hypotheses)
    references = References(name="ref.txt", lines=tuple(reversed(found.lines)))
    result = score(found, references, metrics=["chrf"], clean=clean, cache=ScoreCache(None))
    fileio.write_json(path, result.to_json())
    return path


def test_a_score_is_recorded_beside_the_package_and_stays_with_it(root: Path, tmp_path: Path) -> None:
    document = score_document(tmp_path / "score.json", root / CONTRASTIVE / "demo.en-zh.txt")
    value = read_score(document).metrics[0].score
    assert ledger.record_score(root, document) == [CONTRASTIVE]
    assert validate(root) == ("ledger", [])
    ledger.promote(root, CONTRASTIVE)
    found = {
        entry.folder: [(s.test_set, s.metric, s.score) for s in entry.scores]
        for entry in ledger.entries(root)
    }
    assert found == {PRIMARY: [("demo", "chrf", value)], DEMOTED: []}


def test_the_score_of_a_cleaned_run_is_that_of_its_package(root: Path, run: Path, tmp_path: Path) -> None:
    (folder,) = ledger.record_score(root, score_document(tmp_path / "score.json", run, clean=True))
    assert folder == PRIMARY


def test_a_score_of_other_lines_is_refused(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "demo.en-zh.txt"
    other.write_text("别的。\n", encoding="utf-8")
    with pytest.raises(InputError, match="these scores belong to no submission here"):
        ledger.record_score(root, score_document(tmp_path / "score.json", other))


def test_scores_of_hypotheses_that_were_replaced_are_kept_and_said(
    root: Path, run: Path, artifact: Path, tmp_path: Path
) -> None:
    ledger.record_score(root, score_document(tmp_path / "score.json", root / PRIMARY / "demo.en-zh.txt"))
    recorded = (root / PRIMARY / naming.SCORES).read_bytes()
    assert all(entry.problems == () for entry in ledger.entries(root))
    other = write_run(tmp_path / "other", artifact, lines=("另外一句。", *LINES[1:]))
    _, outcome = ledger.add(root, prepare(request(artifact, other)), replace_existing=True)
    assert outcome == "replaced"
    assert (root / PRIMARY / naming.SCORES).read_bytes() == recorded
    (entry,) = (entry for entry in ledger.entries(root) if entry.folder == PRIMARY)
    assert (entry.state, entry.scores) == ("valid", ())
    assert [str(found).split("] ")[1] for found in entry.problems if found.rule == "ledger.stale-scores"] == [
        "1 left out: chrf of demo (score the package's lines again and record that: iwsltpack submissions --score FILE)"
    ]
    app = typer.Typer()
    app.command()(with_options(submissions.command))
    listed = CliRunner().invoke(app, ["--submissions", str(root)])
    assert "1 left out: chrf of demo" in listed.stderr.replace("\n", " ")
    ledger.add(root, prepare(request(artifact, run)), replace_existing=True)
    (entry,) = (entry for entry in ledger.entries(root) if entry.folder == PRIMARY)
    assert [score.metric for score in entry.scores] == ["chrf"]


def test_promoting_what_is_not_there_lists_what_is(root: Path) -> None:
    with pytest.raises(UsageError) as raised:
        ledger.promote(root, "APG")
    assert PRIMARY in str(raised.value)


def test_promoting_the_primary_changes_nothing(root: Path) -> None:
    before = tree(root)
    assert ledger.promote(root, PRIMARY) == {}
    assert tree(root) == before


def test_a_damaged_submission_changes_no_type(root: Path) -> None:
    (root / PRIMARY / "demo.en-zh.txt").write_text("x\n")
    before = tree(root)
    with pytest.raises(ValidationFailed, match="a damaged submission cannot change its type"):
        ledger.promote(root, CONTRASTIVE)
    with transaction.locked(root):
        pass
    assert tree(root) == before


class Stop(Exception):
    """Stands for a machine that stops."""


STEPS = 14
"""At least as many renames, deletions and writes as promoting takes."""


@pytest.mark.parametrize("step", range(STEPS))
def test_an_interruption_at_any_step_leaves_all_or_nothing(
    root: Path, promoted: dict[str, bytes], step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after = tree(root), promoted
    count = 0

    def counted(original: object) -> object:
        def call(*arguments: object, **options: object) -> object:
            nonlocal count
            if count == step:
                raise Stop
            count += 1
            return original(*arguments, **options)  # type: ignore[operator]

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", counted(Path.rename))
        patch.setattr(Path, "unlink", counted(Path.unlink))
        patch.setattr(shutil, "rmtree", counted(shutil.rmtree))
        patch.setattr(fileio, "write_json", counted(fileio.write_json))
        patch.setattr(transaction, "write_folder", counted(transaction.write_folder))
        patch.setattr(ledger, "write_folder", counted(ledger.write_folder))
        try:
            ledger.promote(root, CONTRASTIVE)
        except Stop:
            pass
        else:
            assert count <= step
    decided = transaction.is_unfinished(root)
    if decided:
        assert "ledger.unfinished" in {problem.rule for problem in validate(root)[1]}
    ledger.open_ledger(root)
    found = tree(root)
    assert found == (after if decided or found == after else before)
    assert validate(root) == ("ledger", [])
    assert not [path for path in root.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    "journal",
    [
        "not json",
        "{}",
        json.dumps({"install": [{"from": "../x", "to": "y"}], "remove": []}),
        json.dumps({"install": [], "remove": ["/etc"]}),
        json.dumps({"install": [], "remove": [".."]}),
    ],
)
def test_a_journal_that_is_none_of_ours_is_refused(root: Path, journal: str) -> None:
    (root / transaction.JOURNAL).write_text(journal)
    before = tree(root)
    with pytest.raises(InputError, match="the journal of an interrupted change cannot be read"):
        ledger.open_ledger(root)
    assert tree(root) == before


def test_two_writers_take_turns(root: Path, run: Path, artifact: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    package = prepare(request(artifact, run, type="contrastive", label="x"))
    with ThreadPoolExecutor(4) as pool:
        outcomes = sorted(outcome for _, outcome in pool.map(lambda _: ledger.add(root, package), range(4)))
    assert outcomes == ["unchanged", "unchanged", "unchanged", "written"]
    assert rules(validate(root)[1]) == set()
