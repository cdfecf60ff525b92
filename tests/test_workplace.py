"""A working folder from `init` to the upload: what is said of it, and the whole job killed on the way."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import warm
from conftest import MINIATURE, TESTSET, write_checkpoint
from warm import iwsltpack

from iwsltpack.errors import UsageError
from iwsltpack.workplace.new_settings import write_settings

SETS = ("business-news", "calls", "talks", "tv", "youtube")


def status(folder: Path) -> dict[str, object]:
    done = iwsltpack("status", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with a checkpoint, five test sets of one clip each, and their references."""
    shutil.copytree(MINIATURE, tmp_path / "checkpoint")
    rows = (TESTSET / "manifest.csv").read_text(encoding="utf-8").splitlines()
    for number, name in enumerate(SETS, 1):
        place = tmp_path / "test" / name
        (place / "wavs").mkdir(parents=True)
        shutil.copy(TESTSET / "wavs" / f"demo_{number}.flac", place / "wavs")
        row = rows[number].replace(",demo,", f",{name},")
        (place / "manifest.csv").write_text(f"{rows[0]}\n{row}\n", encoding="utf-8")
    return tmp_path


INIT = ("init", "--team", "APG", "--pair", "en-zh", "--source", "checkpoint", "--test-dir", "test")
INIT = (*INIT, "--reference", "test", "--base-model", "iwsltpack/miniature")


def killed_when(typed: str, there: Path, folder: Path) -> bool:
    """Type a command, and kill it as soon as a file or folder is there that was not, or has grown."""

    def seen() -> int:
        files = [there, *there.rglob("*")] if there.is_dir() else [there]
        return sum(path.stat().st_size for path in files if path.is_file())

    before = seen()
    command = [sys.executable, "-m", *typed.split()]
    process = warm.start(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if seen() != before:
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait() == -signal.SIGKILL
        time.sleep(0.002)
    return False


@pytest.mark.slow
def test_the_whole_job_on_five_test_sets_killed_five_times_ends_valid(folder: Path) -> None:
    """Nothing is typed but `init` and what `status` said next."""
    pytest.importorskip("sacrebleu", reason="the job is scored")
    assert iwsltpack(*INIT, cwd=folder).returncode == 0
    doctor = iwsltpack("doctor", "--json", cwd=folder)
    assert doctor.returncode == 0, doctor.stdout
    runs = "runs/selected-q3-en-zh"
    kills = [
        ("build", "artifacts/selected-q3.partial"),
        ("build", "artifacts/selected-q3.partial/build.jsonl"),
        ("decode", f"{runs}/calls/journal.jsonl"),
        ("decode", f"{runs}/tv/journal.jsonl"),
        ("submit", "submissions"),
    ]
    typed, killed = [], 0
    while (told := status(folder))["next"] is not None:
        command = str(told["next"])
        typed.append(command)
        assert len(typed) < 20, typed
        if kills and command.split()[1] == kills[0][0]:
            killed += killed_when(command, folder / kills.pop(0)[1], folder)
        else:
            done = iwsltpack(*command.split()[1:], cwd=folder)
            assert done.returncode == 0, (command, done.stderr)
    assert killed == 5, typed
    assert typed[-1] == "iwsltpack submit --primary"
    assert {step["step"]: step["state"] for step in told["steps"]} == {
        "built": "done", "decoded": "done", "scored": "done", "packaged": "done", "handed in": "missing"
    }  # fmt: skip
    valid = iwsltpack("validate", "artifacts", "runs", "submissions", "--json", cwd=folder)
    assert valid.returncode == 0, valid.stdout
    assert {item["kind"] for item in json.loads(valid.stdout)} == {"folder", "runs", "ledger"}
    name = "APG_IWSLT27_ModelCompression_en-zh_constrained_primary"
    lines = (TESTSET / "manifest.csv").read_text(encoding="utf-8").splitlines()
    for number, item in enumerate(SETS, 1):
        text = (folder / "submissions" / name / f"{item}.en-zh.txt").read_text(encoding="utf-8")
        assert text == lines[number].rpartition(",")[2] + "\n"
    assert str(told["why"]).endswith(f"iwsltpack submissions --uploaded {name}")
    noted = iwsltpack("submissions", "--uploaded", name, cwd=folder)
    assert noted.returncode == 0, noted.stderr
    assert status(folder)["steps"][-1]["state"] == "done"
    assert iwsltpack("validate", "submissions", cwd=folder).returncode == 0
    again = iwsltpack("submit", "--primary", "--no-clean", "--replace", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert status(folder)["steps"][-1]["state"] == "missing"


def everything(folder: Path) -> list[dict[str, str]]:
    done = iwsltpack("doctor", "--json", cwd=folder)
    found: list[dict[str, str]] = json.loads(done.stdout)
    assert (done.returncode == 5) == any(item["state"] == "error" for item in found), done.stdout
    return found


def check(folder: Path, name: str) -> dict[str, str]:
    found = [item for item in everything(folder) if item["name"] == name]
    return sorted(found, key=lambda item: ("error", "warning", "ok").index(item["state"]))[0]


def change(folder: Path, old: str, new: str) -> None:
    text = (folder / "iwsltpack.toml").read_text(encoding="utf-8")
    assert old in text
    (folder / "iwsltpack.toml").write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.slow
def test_doctor_tells_what_will_not_work_and_what_to_do(folder: Path) -> None:
    assert iwsltpack(*INIT, cwd=folder).returncode == 0
    change(folder, 'base_model = "iwsltpack/miniature"', "")
    assert check(folder, "base model")["state"] == "warning"
    assert "base_model" in check(folder, "base model")["fix"]
    change(folder, 'device = "auto"', 'device = "cuda:7"')
    assert check(folder, "torch")["state"] in ("error", "warning")  # a warning where torch took too long
    change(folder, 'run = ["runs/', 'run = ["elsewhere/')
    assert check(folder, "runs")["state"] == "warning"
    shutil.move(folder / "test" / "tv", folder / "tv")
    found = check(folder, "test sets")
    assert (found["state"], found["told"].partition(":")[0]) == ("error", "4 of 5 test sets of en-zh")
    (folder / "test" / "talks" / "wavs" / "demo_3.flac").write_bytes(b"")
    assert check(folder, "audio")["told"].endswith("[audio.empty] the file is empty")
    (folder / "checkpoint" / "tokenizer.json").unlink()
    assert check(folder, "model")["state"] == "error"
    change(folder, 'source = "checkpoint"', 'source = "nobody/nothing"')
    found = check(folder, "checkpoint")
    assert re.fullmatch(
        r"nobody/nothing is not on this machine; [\d.]+ GiB are free for it", found.pop("told")
    )
    assert found == {
        "name": "checkpoint", "state": "warning",
        "fix": "build fetches it from the hub; where there is no network, name a folder as source",
    }  # fmt: skip
    change(folder, 'team = "APG"', 'team = "A P G"')
    assert check(folder, "names")["state"] == "error"


def test_a_calibrated_job_is_set_up_judged_and_said_to_lack_its_data(folder: Path) -> None:
    shutil.copytree(folder / "test" / "tv", folder / "dev")
    (folder / "dev" / "manifest.csv").write_text(
        (TESTSET / "manifest.csv").read_text(encoding="utf-8").replace(",demo,", ",dev,"), encoding="utf-8"
    )
    shutil.copytree(TESTSET / "wavs", folder / "dev" / "wavs", dirs_exist_ok=True)
    calibrated = (*INIT, "--recipe", "calibrated")
    assert iwsltpack(*calibrated, cwd=folder).returncode == 0
    assert status(folder)["next"] == "iwsltpack build --calibration DEVSET"
    assert check(folder, "recipe")["told"].endswith("the recipe is calibrated, and there is no data")
    change(folder, '# calibration = "DEVSET"', 'calibration = "dev"')
    assert status(folder)["next"] == "iwsltpack build"
    assert check(folder, "recipe")["told"].startswith("calibrated on dev (8 segments); iwsltpack estimate")
    assert "datasets listed: dev" in check(folder, "data sets")["told"]
    plain = float(check(folder, "disk")["told"].split()[2])
    assert plain > 0.01, "codes and factors count"
    change(folder, 'calibration = "dev"', 'calibration = "test/tv"')
    assert check(folder, "recipe")["state"] == "error"  # one segment is too little
    shutil.move(folder / "dev", folder / "test" / "dev")
    change(folder, 'calibration = "test/tv"', 'calibration = "test/dev"')
    assert check(folder, "recipe")["told"].startswith("test/dev is among the test sets")
    change(folder, '# target_size = "3.0GB"', 'target_size = "3 apples"')
    assert check(folder, "recipe")["told"].startswith("not a size")
    change(folder, 'target_size = "3 apples"', 'bits = "many"')
    assert check(folder, "recipe")["told"].startswith("not a number of bits")
    change(folder, 'bits = "many"', "bits = 2.5")
    told = [item["told"] for item in everything(folder) if item["name"] == "recipe"]
    assert "to weigh 2.5 bits a weight" in told[-1], told
    change(folder, "bits = 2.5", 'target_size = "1MB"')
    change(folder, 'recipe = "calibrated"', 'recipe = "selected-q3"')
    assert check(folder, "recipe")["told"].startswith(
        "selected-q3: a size is met by the step of a calibration"
    )
    change(folder, 'target_size = "1MB"', "")
    assert check(folder, "recipe")["told"].startswith("selected-q3: the recipe has nothing to calibrate")
    (folder / "iwsltpack.toml").unlink()
    assert iwsltpack(*calibrated, "--calibration", "test/dev", cwd=folder).returncode == 0
    change(folder, 'recipe = "calibrated"', 'recipe = "calibrated"\nstep = 3e-7')
    work = folder / "artifacts" / "calibrated.partial" / "calibration"
    process = warm.start(
        [sys.executable, "-m", "iwsltpack", "build"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not list(work.rglob("*.factor")):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    told = re.fullmatch(
        r"calibrating: (\d+) matrices looked at, 0 rounded", status(folder)["steps"][0]["told"]
    )
    assert told and 0 < int(told[1]) <= 52
    (folder / "iwsltpack.toml").unlink()
    for wrong, said in (
        (("--recipe", "selected-q4"), "unknown recipe 'selected-q4'"),
        (("--calibration", "dev"), "the recipe is not calibrated"),
        (("--recipe", "calibrated", "--target-size", "3 apples"), "not a size"),
    ):
        done = iwsltpack(*INIT, *wrong, cwd=folder)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert not (folder / "iwsltpack.toml").exists()


def test_doctor_judges_the_artifact_by_its_mode(tmp_path: Path) -> None:
    from iwsltpack.workplace.doctor import _held, _Model

    built = iwsltpack("-q", "build", MINIATURE, "-o", "artifact", cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    from iwsltpack.documents.manifest import read_manifest

    manifest = read_manifest(tmp_path / "artifact")
    model = _Model(
        base=None,
        architecture="x",
        files=frozenset(),
        parameters=manifest.parameters,
        bytes=1,
        manifest=manifest,
    )
    load, int8, stream = (_held(model, mode, 2) for mode in ("load", "int8", "stream"))
    assert load == 2 * manifest.parameters
    rounded = sum(tensor.parameters for tensor in manifest.tensors if tensor.quantized)
    assert rounded > 0
    assert int8 == load - rounded
    assert stream < int8
    (tmp_path / "artifact" / "model" / "config.json").write_text("{}")
    next((tmp_path / "artifact" / "weights.zarr").rglob("c/*")).unlink()
    (tmp_path / "iwsltpack.toml").write_text('artifact = "artifact"\nteam = "A"\n', encoding="utf-8")
    assert check(tmp_path, "artifact")["state"] == "error"


def test_status_tells_what_is_there_and_what_is_next(folder: Path) -> None:
    found = status(folder)
    assert found["next"] == "iwsltpack init --team TEAM --pair en-zh"
    assert iwsltpack(*INIT, cwd=folder).returncode == 0
    assert status(folder)["next"] == "iwsltpack build"
    (folder / "artifacts" / "selected-q3").mkdir(parents=True)
    manifest = folder / "artifacts" / "selected-q3" / "iwsltpack.json"
    manifest.write_text(json.dumps({"recipe": {"name": "r"}, "coding": "zstd", "sha256": "ab"}))
    assert status(folder)["next"] == "iwsltpack decode"
    run = folder / "runs" / "selected-q3-en-zh"

    def record(name: str, artifact: str) -> None:
        (run / name).mkdir(parents=True, exist_ok=True)
        document = {
            "pair": "en-zh", "artifact": {"sha256": artifact}, "test_set": {"name": name},
            "output": {"lines": 1, "sha256": name},
        }  # fmt: skip
        (run / name / "run.json").write_text(json.dumps(document))

    for name in SETS[:4]:
        record(name, "ab")
    assert (status(folder)["next"], status(folder)["why"]) == (
        "iwsltpack decode", "1 of 5 test sets are not decoded"
    )  # fmt: skip
    (run / SETS[4]).mkdir()
    for torn in ("", '{"binding": {"art', '{"binding": {"art\n'):  # killed in its first line
        (run / SETS[4] / "journal.jsonl").write_text(torn)
        assert {i["state"] for i in status(folder)["steps"] if i["where"].endswith(SETS[4])} == {"begun"}
        assert status(folder)["next"] == "iwsltpack decode"
    shutil.rmtree(run / SETS[4])
    shutil.rmtree(folder / "test" / SETS[4])
    assert status(folder)["next"] is None
    assert "test holds 4" in str(status(folder)["why"])
    record(SETS[4], "ab")
    assert status(folder)["next"] == "iwsltpack score"
    for name in SETS:
        score = {"run": {"output_sha256": name}, "metrics": [{"metric": "chrf", "score": 50.0}]}
        (run / name / "score.json").write_text(json.dumps(score))
    assert status(folder)["next"] == "iwsltpack submit --primary"
    (run / SETS[0] / "score.json").write_text(json.dumps(score))
    assert status(folder)["next"] == "iwsltpack score"
    record(SETS[2], "cd")
    assert status(folder)["next"] is None
    assert "decoded with another artifact" in str(status(folder)["why"])
    (run / SETS[2] / "run.json").write_text("{}")
    assert {i["state"] for i in status(folder)["steps"] if i["where"].endswith(SETS[2])} == {"unreadable"}
    manifest.write_text("{")
    assert status(folder)["steps"][0]["state"] == "unreadable"


def test_without_settings_status_goes_by_what_is_there(folder: Path) -> None:
    write_checkpoint(folder / "none", {})
    (folder / "artifacts" / "q3").mkdir(parents=True)
    manifest = folder / "artifacts" / "q3" / "iwsltpack.json"
    manifest.write_text(json.dumps({"recipe": {"name": "r"}, "coding": "zstd", "sha256": "ab"}))
    assert status(folder)["next"] == "iwsltpack decode TESTDIR --artifact artifacts/q3 --output runs/q3"


LAYOUT: dict[str, Any] = {
    "team": "APG", "pair": "en-de", "condition": "unconstrained", "edition": "iwslt2026",
    "source": 'a "folder"\\x', "base_model": None, "recipe": "mine.toml", "test_dir": Path("test sets"),
    "reference": None, "calibration": None, "target_size": None,
}  # fmt: skip


def test_init_writes_settings_that_every_command_takes(tmp_path: Path) -> None:
    import tomllib

    write_settings(tmp_path / "iwsltpack.toml", **LAYOUT)
    text = (tmp_path / "iwsltpack.toml").read_text(encoding="utf-8")
    write_settings(tmp_path / "iwsltpack.toml", **LAYOUT)  # twice is no error
    assert (tmp_path / "iwsltpack.toml").read_text(encoding="utf-8") == text
    found = tomllib.loads(text)
    assert (found["build"]["source"], found["decode"]["test_dir"]) == ('a "folder"\\x', "test sets")
    assert found["estimate"] == {"source": found["build"]["source"]}
    assert found["submit"] == {"edition": "iwslt2026", "run": ["runs/mine-en-de"]}
    assert status(tmp_path)["next"] == "iwsltpack build"
    # What is switched off is right, too: every key is known.
    keys = [
        line[2:] for line in text.splitlines() if line.startswith("# ") and " = " in line.partition("  #")[0]
    ]
    assert len(keys) >= 6
    (tmp_path / "iwsltpack.toml").write_text(
        "\n".join(line[2:] if line[2:] in keys else line for line in text.splitlines()), encoding="utf-8"
    )
    assert status(tmp_path)["next"] == "iwsltpack build"
    with pytest.raises(UsageError, match=r"(?s)other settings here.*--output"):
        write_settings(tmp_path / "iwsltpack.toml", **LAYOUT)
    for wrong in ({"team": "A P G"}, {"pair": "en-ar"}, {"condition": "best"}, {"edition": "iwslt1999"}):
        with pytest.raises(UsageError):
            write_settings(tmp_path / "new.toml", **(LAYOUT | wrong))
    assert not (tmp_path / "new.toml").exists()


@pytest.mark.parametrize("command", ["status", "doctor", "validate"])
def test_they_answer_without_torch(folder: Path, command: str) -> None:
    assert iwsltpack(*INIT, cwd=folder).returncode == 0
    arguments = ["validate", "test"] if command == "validate" else [command]
    code = (
        "import sys\nfrom iwsltpack.cli.main import main\n"
        f"sys.argv = ['iwsltpack', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'transformers', 'zarr'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("[]\n"), done.stdout
