"""clean, validate, submit and submissions as a participant types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY
from submission_fixtures import CLEANED, artifact_fixture, run_fixture, write_run  # noqa: F401
from warm import iwsltpack

NAME = "APG_DEMO_ModelCompression_en-zh_constrained_primary"


def configure(folder: Path, artifact: Path) -> None:
    (folder / "iwsltpack.toml").write_text(
        f'team = "APG"\npair = "en-zh"\nedition = "demo"\nartifact = "{artifact}"\n[submit]\nrun = ["runs/demo"]\n'
    )


def test_a_configured_folder_submits_bare(run: Path, artifact: Path, tmp_path: Path) -> None:
    configure(tmp_path, artifact)
    dry = iwsltpack("submit", "--primary", "--dry-run", cwd=tmp_path)
    assert dry.returncode == 0, dry.stderr
    assert "would be written" in dry.stdout
    assert not (tmp_path / "submissions").exists()
    done = iwsltpack("submit", "--primary", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{NAME}: written" in done.stdout
    assert (tmp_path / "submissions" / NAME / "demo.en-zh.txt").read_text(
        encoding="utf-8"
    ).splitlines() == list(CLEANED)
    assert iwsltpack("submit", "--contrastive", cwd=tmp_path).returncode == 0
    listed = json.loads(iwsltpack("submissions", "--json", cwd=tmp_path).stdout)
    assert [item["type"] for item in listed["submissions"]] == ["contrastive", "primary"]
    promoted = iwsltpack("submissions", "--promote", NAME.replace("primary", "contrastive"), cwd=tmp_path)
    assert promoted.returncode == 0, promoted.stderr
    assert "PRIMARY" in promoted.stdout
    checked = iwsltpack("validate", "submissions", "runs/demo", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout


SLOW = """
import time
from pathlib import Path
real = Path.{method}
def slow(self, target):
    Path("here").touch()
    time.sleep(60)
    return real(self, target)
Path.{method} = slow
from iwsltpack.cli.main import main
main()
"""


@pytest.mark.parametrize(
    ("method", "command"),
    [
        ("replace", ("clean", "runs/demo/demo.en-zh.txt", "-o", "clean.en-zh.txt", "--audit", "audit.jsonl")),
        ("replace", ("submit", "--primary")),
        ("rename", ("submit", "--primary")),
    ],
)
def test_stopped_as_it_puts_files_in_place_it_says_so_and_goes_on(
    run: Path, artifact: Path, tmp_path: Path, method: str, command: tuple[str, ...]
) -> None:
    """Before the change is decided on, in the middle of it: SIGTERM, as a scheduler sends it."""
    configure(tmp_path, artifact)
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW.format(method=method), "-q", *command],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    while process.poll() is None and not (tmp_path / "here").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told == "interrupted; build, decode, push and pull go on where they stopped when run again\n"
    written = [*tmp_path.glob("clean*"), *tmp_path.glob("audit*"), *tmp_path.glob("submissions/[!.]*")]
    assert written == []
    assert iwsltpack("-q", *command, cwd=tmp_path).returncode == 0
    expected = tmp_path / (
        "clean.en-zh.txt" if command[0] == "clean" else f"submissions/{NAME}/demo.en-zh.txt"
    )
    assert expected.read_text("utf-8").splitlines() == list(CLEANED)
    assert [*tmp_path.glob(".*tmp*"), *tmp_path.glob("submissions/.iwsltpack-*")] == []


def test_a_refusal_lists_every_reason_with_its_rule(run: Path, artifact: Path, tmp_path: Path) -> None:
    configure(tmp_path, artifact)
    done = iwsltpack(
        "submit", "--primary", "--condition", "unconstrained", "--edition", "iwslt2026", cwd=tmp_path
    )
    assert done.returncode == 5
    assert "[submit.datasets-missing]" in done.stderr
    assert "[submit.test-set-missing] 1 of 5 test sets" in done.stderr
    assert not (tmp_path / "submissions").exists()


@pytest.mark.parametrize("types", [[], ["--primary", "--contrastive"]])
def test_the_type_must_be_said_once(run: Path, artifact: Path, tmp_path: Path, types: list[str]) -> None:
    configure(tmp_path, artifact)
    done = iwsltpack("submit", *types, cwd=tmp_path)
    assert done.returncode == 2
    assert "either --primary or --contrastive" in done.stderr


def test_clean_shows_a_diff_and_says_what_it_did(tmp_path: Path) -> None:
    (tmp_path / "t.en-zh.txt").write_text("翻译：'大家好。'\n谢谢。\n", encoding="utf-8")
    done = iwsltpack(
        "clean", "t.en-zh.txt", "--output", "o.txt", "--audit", "a.jsonl", "--diff", cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (0, "1: meta-prefix: [-翻译：'-]大家好。[-'-]\n")
    assert "2 lines, 1 repaired -> o.txt" in done.stderr
    assert (tmp_path / "o.txt").read_text(encoding="utf-8") == "大家好。\n谢谢。\n"
    assert json.loads((tmp_path / "a.jsonl").read_text(encoding="utf-8"))["after"] == "大家好。"


def test_the_file_is_in_place_before_the_diff_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.en-zh.txt").write_text("翻译：'大家好。'\n" * 5000, encoding="utf-8")
    program = (sys.executable, "-m", "iwsltpack", "clean", "t.en-zh.txt", "-o", "o.txt", "--diff")
    with subprocess.Popen(
        program, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as done:
        assert done.stdout is not None and done.stderr is not None
        assert done.stdout.readline() == "1: meta-prefix: [-翻译：'-]大家好。[-'-]\n"
        done.stdout.close()
        assert "5000 lines, 5000 repaired -> o.txt" in done.stderr.read()
    assert (tmp_path / "o.txt").read_text(encoding="utf-8") == "大家好。\n" * 5000


def test_a_run_keeps_what_it_wrote_and_may_hold_cleaned_lines(run: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    own = run / "demo.en-zh.txt"
    wrong = [
        *(("clean", "runs/demo", "-o", target) for target in ("runs/demo", own, "runs/demo/run.json")),
        ("clean", own, "-o", "runs/demo"),
        ("clean", "runs", "-o", "runs"),
        ("clean", own, "-o", "o.txt", "--audit", "runs/demo/run.json"),
    ]
    for command in wrong:
        done = iwsltpack(*map(str, command), cwd=tmp_path)
        assert done.returncode == 2, (command, done.stderr)
        assert "this would replace a file of the run itself" in done.stderr, command
        assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    done = iwsltpack("clean", "runs/demo", "-o", "runs/demo/demo.en-zh.clean.txt", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "journal.jsonl").write_text("{}\n")
    done = iwsltpack("clean", own, "-o", "begun/journal.jsonl", cwd=tmp_path)
    assert (done.returncode, (tmp_path / "begun" / "journal.jsonl").read_text()) == (2, "{}\n")


def test_raw_lines_are_replaced_where_their_file_is_named_alone(tmp_path: Path) -> None:
    (tmp_path / "raw.en-de.txt").write_text("Übersetzung: Wir sind da.\n", encoding="utf-8")
    done = iwsltpack("clean", "raw.en-de.txt", "-o", ".", cwd=tmp_path)
    assert (done.returncode, "the raw hypotheses would be replaced" in done.stderr) == (2, True)
    assert (tmp_path / "raw.en-de.txt").read_text(encoding="utf-8") == "Übersetzung: Wir sind da.\n"
    done = iwsltpack("clean", "raw.en-de.txt", "-o", str(tmp_path / "raw.en-de.txt"), cwd=tmp_path)
    assert "raw.en-de.txt, in place of the raw lines" in done.stderr
    assert (tmp_path / "raw.en-de.txt").read_text(encoding="utf-8") == "Wir sind da.\n"


def test_validate_prints_a_table_json_or_annotations(tmp_path: Path) -> None:
    (tmp_path / "t.en-zh.txt").write_text("翻译：'大家好。'\n", encoding="utf-8")
    table = iwsltpack("validate", "t.en-zh.txt", cwd=tmp_path)
    assert table.returncode == 5
    assert "t.en-zh.txt (hypotheses): 1 error, 0 warnings, 0 notices" in table.stdout
    document = json.loads(iwsltpack("validate", "t.en-zh.txt", "--json", cwd=tmp_path).stdout)
    assert document[0]["problems"][0]["rule"] == "hyp.meta-prefix"
    annotations = iwsltpack("validate", "t.en-zh.txt", "--format", "github", cwd=tmp_path)
    assert annotations.returncode == 5
    assert annotations.stdout.startswith(
        "::error file=t.en-zh.txt,line=1,title=hyp.meta-prefix::rule meta-prefix would"
    )
    assert len(annotations.stdout.splitlines()) == 1


def test_warnings_fail_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "t.en-zh.txt").write_text("大家好。\nHello to all of you.\n", encoding="utf-8")
    assert iwsltpack("validate", "t.en-zh.txt", cwd=tmp_path).returncode == 0
    assert iwsltpack("validate", "t.en-zh.txt", "--strict", cwd=tmp_path).returncode == 5


def test_an_annotation_cannot_be_forged(tmp_path: Path) -> None:
    (tmp_path / "a,b%.en-zh.txt").write_text("翻译：'大家好%0A::error::x'\n", encoding="utf-8")
    line = iwsltpack("validate", "a,b%.en-zh.txt", "--format", "github", cwd=tmp_path).stdout
    assert "file=a%2Cb%25.en-zh.txt" in line
    assert "大家好%250A" in line


@pytest.mark.parametrize("command", ["clean", "validate", "submit", "submissions"])
def test_help_ends_with_an_example(command: str, tmp_path: Path) -> None:
    done = iwsltpack(command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"Example: iwsltpack {command}" in " ".join(done.stdout.split())


@pytest.mark.parametrize("command", ["clean", "validate"])
def test_start_up_loads_nothing_heavy(command: str, tmp_path: Path) -> None:
    (tmp_path / "t.en-zh.txt").write_text("大家好。\n", encoding="utf-8")
    arguments = [command, "t.en-zh.txt", *(["--output", "o.txt"] if command == "clean" else [])]
    code = (
        f"import sys; sys.argv = ['iwsltpack', *{arguments!r}]\n"
        "from iwsltpack.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end\n"
        "heavy = {'torch', 'transformers', 'zarr', 'numpy', 'matplotlib', 'jsonschema'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 5, "half a second on a free machine; the margin is for a loaded one"


def test_the_workflow_and_hooks_to_copy_are_sound() -> None:
    text = (REPOSITORY / "docs" / "ci-for-participants.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(part.split("```")[0]) for part in text.split("```yaml\n")[1:]]
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert [hook["id"] for hook in blocks[0]["repos"][0]["hooks"]] == [hook["id"] for hook in hooks]
    steps = blocks[1]["jobs"]["validate"]["steps"]
    assert steps[-1]["run"] == "iwsltpack validate submissions --format github"
    assert all(hook["entry"].split()[:2] == ["iwsltpack", "validate"] for hook in hooks)


def test_the_documentation_of_cleaning_lists_exactly_the_rules_there_are() -> None:
    import re

    from iwsltpack.cleaning.engine import UNSTABLE, WOULD_EMPTY
    from iwsltpack.cleaning.findings import REPORTS
    from iwsltpack.cleaning.rules import RULES

    text = (REPOSITORY / "docs" / "cleaning.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([a-z-]+)` \|", text, flags=re.M)
    assert listed == [*(rule.id for rule in RULES), UNSTABLE, WOULD_EMPTY, *(report.id for report in REPORTS)]
    for item in (*RULES, *REPORTS):
        assert item.summary.replace("|", "\\|") in text, item.id
