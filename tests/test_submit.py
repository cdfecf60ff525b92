"""Packaging: what goes in, what is refused and by which rule, the same bytes every time."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from submission_fixtures import (  # noqa: F401
    CLEANED,
    LINES,
    artifact_fixture,
    request,
    rewrite_run,
    rules,
    run_fixture,
    segment,
    settings,
    tree,
    write_run,
)

from iwsltpack import editions
from iwsltpack.documents.run import read_run
from iwsltpack.documents.submission import read_submission
from iwsltpack.errors import InputError, Problem, UsageError, ValidationFailed
from iwsltpack.submission import ledger, packaging, privacy
from iwsltpack.submission.packaging import prepare
from iwsltpack.submission.validation import validate

NAME = "APG_DEMO_ModelCompression_en-zh_constrained_primary"
UNNAMED = replace(editions.load("demo"), model_name_pattern=None)


def refused(*arguments: Path, **changes: object) -> set[str]:
    with pytest.raises(ValidationFailed) as raised:
        prepare(request(*arguments, **changes))  # type: ignore[arg-type]
    return rules(raised.value.problems)


def test_a_package_holds_everything_an_upload_needs(run: Path, artifact: Path, tmp_path: Path) -> None:
    folder, outcome = ledger.add(tmp_path / "submissions", prepare(request(artifact, run)))
    assert (folder.name, outcome) == (NAME, "written")
    assert sorted(tree(folder)) == sorted(
        [
            f"{NAME}.zip",
            "CHECKSUMS.sha256",
            "DESCRIPTION.md",
            "UPLOAD.md",
            "audit/demo.en-zh.jsonl",
            "demo.en-zh.txt",
            "raw/demo.en-zh.txt",
            "submission.json",
        ]
    )
    assert tree(folder)["demo.en-zh.txt"].decode().splitlines() == list(CLEANED)
    assert tree(folder)["raw/demo.en-zh.txt"].decode().splitlines() == list(LINES)
    audit = [json.loads(line) for line in tree(folder)["audit/demo.en-zh.jsonl"].splitlines()]
    assert [(entry["line"], entry["rule"]) for entry in audit] == [(2, "meta-prefix"), (3, "meta-prefix")]


def test_the_record_says_how_it_came_about(run: Path, artifact: Path) -> None:
    from iwsltpack.artifact.sizes import measure

    submission = prepare(request(artifact, run, datasets=("ACL 60/60",), release_outputs=True)).submission
    assert submission.artifact.bytes == measure(artifact).total_bytes
    assert submission.artifact.bytes == sum(
        path.stat().st_size for path in artifact.rglob("*") if path.is_file()
    )
    assert submission.test_sets[0].run.settings["prompt"] == "Translate this English speech into Chinese."
    assert submission.test_sets[0].raw_sha256 == read_run(run).output.sha256
    assert submission.test_sets[0].repaired == {"meta-prefix": 2}
    assert submission.cleaning.rules[0] == "line-break"
    assert submission.datasets == ("ACL 60/60",)


def test_the_description_has_every_mandatory_field_with_its_exact_value(run: Path, artifact: Path) -> None:
    package = prepare(request(artifact, run, datasets=("ACL 60/60",), release_outputs=False))
    text = package.files["DESCRIPTION.md"].decode()
    for wanted in (
        f"{package.submission.artifact.bytes} bytes",
        f"- {package.submission.artifact.parameters} (",
        "- post-training quantization",
        "- ACL 60/60",
        "## Exact storage size (mandatory)",
        "## Consent to release the outputs\n\n- no",
        "0.400 s a segment",
    ):
        assert wanted in text


def test_the_upload_page_names_this_submissions_files_in_the_servers_steps(run: Path, artifact: Path) -> None:
    text = prepare(request(artifact, run)).files["UPLOAD.md"].decode()
    assert f"name it exactly: `{NAME}`" in text
    assert "(1 in all): `demo.en-zh.txt`" in text
    assert "${" not in text


def test_an_edition_that_has_not_published_its_upload_says_so(run: Path, artifact: Path) -> None:
    edition = replace(editions.load("demo"), upload=None, unknown=("the server",))
    text = prepare(request(artifact, run, edition=edition)).files["UPLOAD.md"].decode()
    assert "is not public" in text
    assert "Not public: the server" in text


def test_checksums_are_what_sha256sum_reads(run: Path, artifact: Path) -> None:
    files = prepare(request(artifact, run)).files
    for line in files["CHECKSUMS.sha256"].decode().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256(files[name]).hexdigest() == digest


def test_the_same_input_gives_the_same_bytes(run: Path, artifact: Path, tmp_path: Path) -> None:
    first, _ = ledger.add(tmp_path / "one", prepare(request(artifact, run)))
    second, _ = ledger.add(tmp_path / "two", prepare(request(artifact, run)))
    assert tree(first) == tree(second)
    assert ledger.add(tmp_path / "one", prepare(request(artifact, run)))[1] == "unchanged"


def test_the_order_in_which_runs_are_named_does_not_matter(artifact: Path, tmp_path: Path) -> None:
    edition = editions.load("iwslt2026")
    runs = [write_run(tmp_path / f"r{i}", artifact, name=f"set{i}") for i in range(5)]
    forth = prepare(request(artifact, *runs, edition=edition))
    assert forth.files == prepare(request(artifact, *reversed(runs), edition=edition)).files
    assert [item.name for item in forth.submission.test_sets] == [f"set{i}" for i in range(5)]
    assert forth.folder == "APG_IWSLT26_ModelCompression_en-zh_constrained_primary"


def test_a_folder_of_runs_gives_those_of_the_pair(artifact: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "zh", artifact)
    write_run(tmp_path / "runs" / "de", artifact, pair="en-de", lines=("Guten Tag.", "Danke."))
    package = prepare(request(artifact, tmp_path / "runs"))
    assert [item.file for item in package.submission.test_sets] == ["demo.en-zh.txt"]


def test_a_size_bin_enters_the_name(artifact: Path, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r", artifact, name="tst")
    package = prepare(request(artifact, folder, edition="iwslt2025"))
    assert package.submission.size_bin == "Bin5"
    assert package.folder == "APG_IWSLT25_ModelCompression_en-zh_Bin5_constrained_primary"


# Refusals: one test for each rule


def test_a_missing_test_set_is_refused(run: Path, artifact: Path) -> None:
    assert refused(artifact, run, edition="iwslt2026") == {"submit.test-set-missing"}


def test_a_missing_test_set_with_a_public_name_is_named(artifact: Path, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "r", artifact, name="other")
    assert refused(artifact, folder) == {"submit.test-set-missing", "submit.test-set-unknown"}


def test_one_test_set_too_many_is_refused(artifact: Path, tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"r{i}", artifact, name=f"set{i}") for i in range(6)]
    assert refused(artifact, *runs, edition="iwslt2026") == {"submit.test-set-unknown"}


def test_two_runs_of_one_test_set_are_refused(run: Path, artifact: Path, tmp_path: Path) -> None:
    assert "submit.test-set-twice" in refused(artifact, run, write_run(tmp_path / "again", artifact))


def test_two_test_sets_of_the_same_recordings_are_told(artifact: Path, tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"r{i}", artifact, name=f"set{i}") for i in range(5)]

    def told(found: list[Problem]) -> list[str]:
        return [problem.message for problem in found if problem.rule == "submit.same-recordings"]

    assert told(prepare(request(artifact, *runs, edition="iwslt2026")).warnings) == []
    same = replace(read_run(runs[3]).test_set, sha256=read_run(runs[1]).test_set.sha256)
    rewrite_run(runs[3], test_set=same)
    package = prepare(request(artifact, *runs, edition="iwslt2026"))
    assert told(package.warnings) == ["set1 and set3"]
    folder, _ = ledger.add(tmp_path / "submissions", package)
    assert told(validate(folder)[1]) == ["set1 and set3"]


def test_a_run_of_another_pair_is_refused(run: Path, artifact: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "de", artifact, pair="en-de", lines=("Guten Tag.", "Danke."))
    assert refused(artifact, run, other) == {"submit.pair"}


def test_a_wrong_line_count_is_refused(run: Path, artifact: Path) -> None:
    rewrite_run(run, test_set=replace(read_run(run).test_set, segments=6))
    assert refused(artifact, run) == {"hyp.line-count"}


def test_a_run_that_was_not_finished_is_refused(run: Path, artifact: Path) -> None:
    (run / "run.json").rename(run / "journal.jsonl")
    assert refused(artifact, run) == {"run.unreadable", "submit.test-set-missing"}


def test_hypotheses_edited_by_hand_are_refused(run: Path, artifact: Path) -> None:
    path = run / "demo.en-zh.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("谢谢大家", "谢谢各位"), encoding="utf-8")
    assert refused(artifact, run) == {"run.output-changed"}


def test_unconstrained_without_datasets_is_refused(run: Path, artifact: Path) -> None:
    assert refused(artifact, run, condition="unconstrained") == {"submit.datasets-missing"}
    package = prepare(request(artifact, run, condition="unconstrained", datasets=("MuST-C",)))
    assert "Datasets used (mandatory)\n\n- MuST-C" in package.files["DESCRIPTION.md"].decode()


def test_constrained_with_other_data_is_refused(run: Path, artifact: Path) -> None:
    assert refused(artifact, run, datasets=("ACL 60/60", "MuST-C")) == {"submit.datasets-not-allowed"}


def test_a_size_that_is_not_the_artifacts_is_refused(run: Path, artifact: Path) -> None:
    rewrite_run(run, artifact=replace(read_run(run).artifact, bytes=1))
    assert refused(artifact, run) == {"submit.size"}


def test_hypotheses_of_another_artifact_are_refused(run: Path, artifact: Path) -> None:
    rewrite_run(run, artifact=replace(read_run(run).artifact, sha256="0" * 64))
    assert refused(artifact, run) == {"submit.other-artifact"}


def test_a_damaged_artifact_is_refused(run: Path, artifact: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(artifact, copy)
    victim = max(
        (path for path in copy.rglob("*") if path.is_file() and "/c/" in str(path)),
        key=lambda p: p.stat().st_size,
    )
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    assert refused(copy, run) == {"submit.artifact-damaged"}


def test_what_is_no_artifact_is_refused(run: Path, tmp_path: Path) -> None:
    assert refused(tmp_path / "none", run) == {"artifact.unreadable"}


def test_a_model_derived_from_another_base_is_refused(run: Path, artifact: Path, tmp_path: Path) -> None:
    from iwsltpack.documents.manifest import read_manifest
    from iwsltpack.documents.names import MANIFEST_NAME
    from iwsltpack.system import fileio

    edition = replace(editions.load("demo"), base_models=("Qwen/Qwen2-Audio-7B-Instruct",))
    package = prepare(request(artifact, run, edition=edition))
    assert "submit.base-model-unknown" in {problem.rule for problem in package.warnings}
    copy = tmp_path / "copy"
    shutil.copytree(artifact, copy)
    manifest = read_manifest(copy)
    foreign = replace(manifest, base_model=replace(manifest.base_model, id="openai/whisper-large"), sha256="")
    fileio.write_json(copy / MANIFEST_NAME, foreign.sealed().to_json())
    other = write_run(tmp_path / "other", copy)
    assert refused(copy, other, edition=edition) == {"submit.base-model"}


def test_a_model_too_large_for_the_edition_is_refused(run: Path, artifact: Path) -> None:
    bins = (replace(editions.load("iwslt2025").size_bins[0], min_bytes=1, max_bytes=2),)  # type: ignore[index]
    pattern = "${TEAM}_${LANGUAGE_PAIR}_${SIZE_BIN}_${CONDITION}_${SUBMISSION_TYPE}"
    edition = replace(editions.load("demo"), size_bins=bins, model_name_pattern=pattern)
    assert refused(artifact, run, edition=edition) == {"submit.size-bin"}


def test_shuffled_hypotheses_are_refused(artifact: Path, tmp_path: Path) -> None:
    lines = tuple("好" * (1 + (index * 37) % 100) + f"，第{index}句。" for index in range(100))
    segments = tuple(segment(index, duration=1.0 + index / 4) for index in range(100))
    folder = write_run(tmp_path / "r", artifact, lines=lines, segments=segments)
    assert refused(artifact, folder) == {"alignment.shuffled"}


def test_every_reason_is_given_at_once(run: Path, artifact: Path) -> None:
    rewrite_run(run, artifact=replace(read_run(run).artifact, sha256="0" * 64))
    (run / "demo.en-zh.txt").write_text("好\n", encoding="utf-8")
    found = refused(artifact, run, condition="unconstrained", edition="iwslt2026")
    assert found == {
        "submit.other-artifact",
        "run.output-changed",
        "hyp.line-count",
        "submit.datasets-missing",
        "submit.test-set-missing",
    }


def test_a_second_primary_is_refused(run: Path, artifact: Path, tmp_path: Path) -> None:
    root = tmp_path / "submissions"
    ledger.add(root, prepare(request(artifact, run)))
    other = write_run(tmp_path / "other", artifact, lines=(*LINES[:-1], "再见。"))
    package = prepare(request(artifact, other))
    moved = replace(package.submission, artifact=replace(package.submission.artifact, sha256="1" * 64))
    with pytest.raises(ValidationFailed) as raised:
        ledger.add(root, replace(package, submission=moved))
    assert rules(raised.value.problems) == {"submit.second-primary"}
    with pytest.raises(UsageError, match="another submission of this name is there"):
        ledger.add(root, package)
    assert ledger.add(root, package, replace_existing=True)[1] == "replaced"
    assert tree(root / NAME)["demo.en-zh.txt"].decode().endswith("再见。\n")


def test_a_primary_in_another_size_bin_is_a_second_one(artifact: Path, tmp_path: Path) -> None:
    root = tmp_path / "submissions"
    folder = write_run(tmp_path / "r", artifact, name="tst")
    package = prepare(request(artifact, folder, edition="iwslt2025"))
    ledger.add(root, package)
    other = replace(
        package, submission=replace(package.submission, model_name=package.folder.replace("Bin5", "Bin4"))
    )
    with pytest.raises(ValidationFailed, match="the ledger does not admit this"):
        ledger.add(root, other)


def test_contrastive_submissions_of_one_name_are_told_apart_by_a_label(
    run: Path, artifact: Path, tmp_path: Path
) -> None:
    root = tmp_path / "submissions"
    first, _ = ledger.add(root, prepare(request(artifact, run, type="contrastive")))
    raw = prepare(request(artifact, run, type="contrastive", clean=False, label="raw"))
    second, _ = ledger.add(root, raw)
    assert second.name == f"{first.name}.raw"
    assert read_submission(second).model_name == first.name
    assert validate(root)[1][-1].rule == "ledger.no-primary"
    with pytest.raises(UsageError, match="not a usable label"):
        prepare(request(artifact, run, type="contrastive", label="../x"))


def test_runs_with_other_prompts_are_warned_about(artifact: Path, tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"r{i}", artifact, name=f"set{i}") for i in range(5)]
    rewrite_run(runs[0], settings=settings(prompt="Translate."))
    package = prepare(request(artifact, *runs, edition="iwslt2026"))
    assert "submit.settings-differ" in {problem.rule for problem in package.warnings}


def test_what_is_no_run_is_refused(artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such run"):
        prepare(request(artifact, tmp_path / "none"))
    with pytest.raises(InputError, match="no run in this folder"):
        prepare(request(artifact, tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pair": "en-ar"}, "no pair 'en-ar'"),
        ({"condition": "open"}, "no condition 'open'"),
        ({"team": "A PG"}, "not a usable team name"),
        ({"edition": UNNAMED}, "has not published how models are to be named"),
    ],
)
def test_a_name_that_cannot_be_is_refused(
    run: Path, artifact: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        prepare(request(artifact, run, **changes))


# Privacy


def test_a_path_in_the_settings_never_enters_a_package(run: Path, artifact: Path) -> None:
    rewrite_run(run, settings=settings(prompt="Use /home/alice/prompt.txt"))
    assert refused(artifact, run) == {"submission.private"}


def test_no_file_of_a_package_holds_where_it_was_made(run: Path, artifact: Path, tmp_path: Path) -> None:
    folder, _ = ledger.add(tmp_path / "submissions", prepare(request(artifact, run)))
    for data in tree(folder).values():
        assert str(tmp_path).encode() not in data
        assert socket.gethostname().encode() not in data


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see /home/alice/x", ["/home/alice/x"]),
        ("at C:\\Users\\alice", ["C:\\Users\\alice"]),
        ("file:///etc/x", ["file:///etc/x"]),
        ("made on alicebox by alice", ["alicebox", "alice"]),
        ("alices box, malice", []),
        ("https://example.org/home/page", []),
        ("ACL 60/60 and and/or en/zh", []),
        ("12.5 GB/s", []),
        ("on /cluster/home/anna/acl and /Volumes/anna/x", ["/cluster/home/anna/acl", "/Volumes/anna/x"]),
        ("~anna/acl, ~/acl", ["~anna/acl,", "~/acl"]),
        ("at C:/Users/anna/acl", ["C:/Users/anna/acl"]),
        ("ftp://a/b/c, s3://a/b, <audio>/</audio>, 3 / 4 / 5, ~5/6 of it", []),
        ("set PYTHON=/path/to/python", []),
    ],
)
def test_paths_and_names_are_found_and_links_are_not(text: str, found: list[str]) -> None:
    assert [wording for _, wording in privacy.find_private(text, names=["alice", "alicebox"])] == found


def test_the_teams_own_name_may_stand_there() -> None:
    assert privacy.find_private("team alice", allowed="Alice", names=["alice"]) == []


def test_a_crash_while_writing_leaves_nothing_that_looks_like_a_submission(
    run: Path,
    artifact: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = tmp_path / "submissions"
    package = prepare(request(artifact, run))

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "commit", fail)
        with pytest.raises(KeyboardInterrupt):
            ledger.add(root, package)
    assert ledger.entries(root) == []
    assert ledger.add(root, package)[1] == "written"
    assert [path.name for path in root.iterdir()] == [NAME]
    assert packaging.run_folders(run) == [run]
