"""Every command of README and docs: run from an empty folder where it can be run here, else listed with the reason."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import warm
from conftest import MINIATURE, REPOSITORY, TESTSET
from test_workplace import SETS

PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
COMMAND = re.compile(
    r"(?:\$ )?((?:[A-Z_]+=\S+ )?(?:\.venv/bin/)?(?:iwsltpack|make|pip|python|bash|sbatch|hf|git|uv|export) .*)"
)

HERE = {
    r"Qwen/Qwen2-Audio-7B-Instruct|/shared/qwen2-audio|\bCHECKPOINT\b": "checkpoint",
    r"^(iwsltpack init .*)": r"\1 --source checkpoint --base-model Qwen/Qwen2-Audio-7B-Instruct",
    r"^(iwsltpack init .* --recipe calibrated .*)": r"\1 --output calibrated.toml",
    r"--device cuda": "--device cpu",
    r"--calibration DEVSET": "--calibration dev",
    r"--target-size 3\.0GB( --output| -o) artifacts/c": r"--target-size 2MB\1 artifacts/sized",
    r"^(iwsltpack report .*--reference )manifest\.csv": r"\1references.csv",
    r"(--reference|-r) manifest\.csv": r"\1 test",
    r",comet": "",
    r"^(iwsltpack decode /shared/.*--shard)": r"iwsltpack merge /shared/artifacts/q3 && \1",
    r"/shared/": "shared/",
    r"^(iwsltpack submit --primary --team .*)": r"\1 --replace",
    r"--promote 2": "--promote 1",
}
"""What stands for what, so that a command runs with the miniature on five test sets of a clip each."""

ELSEWHERE = {
    r"^make ": "sets up an environment of its own",
    r"^pip install": "needs a package index",
    r"^iwsltpack demo": "tests/test_demo.py runs it",
    r"^iwsltpack frontier": "calibrates and builds by sizes: tests/test_size.py and test_demo.py run it",
    r"my-team/": "needs a hub: tests/test_hub_push.py and test_hub_pull.py run it against their own",
    r"(hf|s3|https)://": "needs a store: tests/test_remote_commands.py runs it against its own",
    r"tcp://": "needs a dask cluster: tests/test_decode_dask.py and test_build_dask.py start their own",
    r"--dask local": "starts a worker for each core or GPU: tests/test_decode_dask.py runs it",
    r"^sbatch ": "needs SLURM",
    r"^bash ": "stands in a runnable package: tests/test_runnable.py runs it",
    r"benchmarks[./]": "measures, at full size or on a GPU: tests/test_benchmarks.py runs what it can",
    r"standin": "needs a checkpoint of 1 or 17 GB: tests/test_benchmarks.py makes a tiny one",
    r"iwsltpack\.hf": "runs a script of the organisers: tests/test_hf.py runs one",
    r"pytest": "runs the tests themselves",
}
"""Commands that are not run here, and why."""


def commands(page: Path) -> list[str]:
    """Return the commands in a page's blocks of code, and the examples of the page of commands."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    found, fenced = [], False
    for line in text.splitlines():
        if line.strip().startswith("```"):
            fenced = not fenced
        elif page.name == "commands.md" and (
            example := re.match(r"(?:Example|Calibrated): (iwsltpack .*)", line)
        ):
            found.append(example[1])
        elif "[OPTIONS]" in line:
            continue  # how to call it, no call
        elif (fenced or line.startswith("    ")) and (match := COMMAND.fullmatch(line.strip())):
            found.append(re.sub(r"\s+#.*", "", re.sub(r"\s+", " ", match[1])).strip())
    return found


def elsewhere(command: str) -> str | None:
    return next((reason for pattern, reason in ELSEWHERE.items() if re.search(pattern, command)), None)


ALL = [(page.name, command) for page in PAGES for command in commands(page)]


def test_commands_are_found_and_every_reason_is_needed() -> None:
    pages = {page for page, _ in ALL}
    assert {"README.md", "commands.md", "decoding.md", "scoring.md", "submitting.md", "slurm.md"} <= pages
    assert sum(elsewhere(command) is None for _, command in ALL) >= 30
    for pattern in ELSEWHERE:
        assert any(re.search(pattern, command) for _, command in ALL), pattern
    for pattern in HERE:
        assert any(re.search(pattern, command) for _, command in ALL), pattern
    assert commands(REPOSITORY / "README.md")[0].startswith("iwsltpack init ")


@pytest.mark.slow
def test_every_command_that_can_be_run_here_runs(tmp_path: Path) -> None:
    """Page after page in one folder, which holds a checkpoint and the test sets, and nothing else at first."""
    for extra in ("sacrebleu", "matplotlib", "mweralign"):
        pytest.importorskip(extra, reason="score and report are run, too")
    shutil.copytree(MINIATURE, tmp_path / "checkpoint")
    rows = (TESTSET / "manifest.csv").read_text(encoding="utf-8").splitlines()
    for number, name in enumerate(SETS, 1):
        place = tmp_path / "test" / name
        (place / "wavs").mkdir(parents=True)
        shutil.copy(TESTSET / "wavs" / f"demo_{number}.flac", place / "wavs")
        row = rows[number].replace(",demo,", f",{name},")
        (place / "manifest.csv").write_text(f"{rows[0]}\n{row}\n", encoding="utf-8")
    shutil.copytree(tmp_path / "test", tmp_path / "shared" / "test")
    shutil.copytree(TESTSET / "wavs", tmp_path / "dev" / "wavs")
    (tmp_path / "dev" / "manifest.csv").write_text("\n".join([*rows[:3], ""]), encoding="utf-8")
    shutil.copytree(tmp_path / "test", tmp_path / "references")
    shutil.copy(TESTSET / "manifest.csv", tmp_path / "references.csv")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "tst.en-zh.txt").write_text("谢谢大家。\n", encoding="utf-8")
    slurm = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "1", "SLURM_CPUS_PER_TASK": "1"}
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "iwsltpack"
    program.write_text(f'#!/bin/sh\nexec "{warm.python()}" -m iwsltpack "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    seen, failed = set[str](), []
    for page, command in ALL:
        if elsewhere(command) is not None:
            continue
        for pattern, place in HERE.items():
            command = re.sub(pattern, place, command)
        if command in seen:
            continue
        seen.add(command)
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**os.environ, **slurm, "PATH": path},
        )  # fmt: skip
        if done.returncode:
            failed.append(f"{page}: {command}\n{done.stderr[-1500:]}")
    assert not failed, "\n".join(failed)
