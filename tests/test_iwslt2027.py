"""The 2027 edition: the names and files its page asks for, and one test for each of its rules."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from submission_fixtures import artifact_fixture, request, rules, write_run  # noqa: F401

from iwsltpack import editions
from iwsltpack.artifact.sizes import measure
from iwsltpack.documents.manifest import read_manifest
from iwsltpack.documents.names import MANIFEST_NAME
from iwsltpack.documents.submission import Submission
from iwsltpack.errors import Problem, UsageError, ValidationFailed
from iwsltpack.submission import ledger
from iwsltpack.submission.packaging import Package, prepare
from iwsltpack.submission.validation import Options, validate
from iwsltpack.system import fileio

COUNTS = {"en-zh": 5, "en-de": 6}
GERMAN = ("Guten Tag, ich stelle heute unsere Arbeit vor.", "Vielen Dank für die Aufmerksamkeit.")


def runs(folder: Path, artifact: Path, pair: str = "en-zh", count: int | None = None) -> list[Path]:
    """Write one finished run for each test set of a pair, or `count` of them."""
    lines: dict[str, Any] = {"lines": GERMAN} if pair == "en-de" else {}
    return [
        write_run(folder / f"{pair}-{index}", artifact, name=f"set{index}", pair=pair, **lines)
        for index in range(count or COUNTS[pair])
    ]


def pack(folder: Path, artifact: Path, pair: str = "en-zh", **changes: Any) -> Package:
    return prepare(
        request(artifact, *runs(folder, artifact, pair), edition="iwslt2027", pair=pair, **changes)
    )


def refusal(*folders: Path, artifact: Path, **changes: Any) -> set[str]:
    with pytest.raises(ValidationFailed) as raised:
        prepare(request(artifact, *folders, edition="iwslt2027", **changes))
    return rules(raised.value.problems)


def notices(problems: list[Problem]) -> dict[str, str]:
    return {problem.rule: problem.message for problem in problems if problem.severity == "notice"}


def of_another_model(artifact: Path, folder: Path, **base: str) -> Path:
    """Copy an artifact and say of it that it was built from another model."""
    shutil.copytree(artifact, folder)
    manifest = read_manifest(folder)
    other = replace(manifest, base_model=replace(manifest.base_model, **base), sha256="")
    fileio.write_json(folder / MANIFEST_NAME, other.sealed().to_json())
    return folder


@pytest.mark.parametrize("type_", ["primary", "contrastive"])
@pytest.mark.parametrize("pair", ["en-zh", "en-de"])
def test_a_submission_has_the_names_and_files_the_page_asks_for(
    artifact: Path, tmp_path: Path, pair: str, type_: str
) -> None:
    package = pack(tmp_path, artifact, pair, type=type_)
    name = f"APG_IWSLT27_ModelCompression_{pair}_constrained_{type_}"
    assert package.submission.model_name == name
    uploads = sorted(file for file in package.files if file.endswith(".txt") and "/" not in file)
    assert uploads == [f"set{index}.{pair}.txt" for index in range(COUNTS[pair])]
    for file in uploads:
        lines = package.files[file].decode("utf-8").split("\n")
        assert lines.pop() == ""
        assert len(lines) == (5 if pair == "en-zh" else 2)
    folder, outcome = ledger.add(tmp_path / "submissions", package)
    assert (folder.name, outcome) == (name, "written")
    assert rules(validate(folder)[1]) == set()


def test_the_upload_page_has_the_servers_address_collection_and_steps(artifact: Path, tmp_path: Path) -> None:
    package = pack(tmp_path, artifact, "en-de")
    text = package.files["UPLOAD.md"].decode()
    assert "Server: SPEECHM, https://speechm.cloud.cyfronet.pl/, collection 0000005" in text
    steps = [line for line in text.splitlines() if line[:1].isdigit()]
    assert [step.split(".")[0] for step in steps] == [str(number) for number in range(1, 8)]
    assert f"name it exactly: `{package.submission.model_name}`" in steps[1]
    assert "(6 in all): `set0.en-de.txt`, " in steps[3]
    assert "upload the PRIMARY last" in steps[5]
    assert "by e-mail" in steps[6]
    assert "${" not in text


def test_the_description_has_every_mandatory_field(artifact: Path, tmp_path: Path) -> None:
    text = pack(tmp_path, artifact, condition="unconstrained", datasets=("CoVoST 2",)).files["DESCRIPTION.md"]
    for wanted in (
        "## Exact storage size (mandatory)",
        "## Number of parameters (mandatory)",
        "## Compression techniques applied (mandatory)",
        "## Datasets used (mandatory)\n\n- CoVoST 2",
    ):
        assert wanted in text.decode()


def test_the_size_on_disk_stands_beside_the_one_the_organisers_script_weighs(
    artifact: Path, tmp_path: Path
) -> None:
    package = pack(tmp_path, artifact)
    sizes, text = measure(artifact), package.files["DESCRIPTION.md"].decode()
    assert f"- {sizes.total_bytes} bytes" in text
    assert f"as the organisers' script weighs it: {sizes.state_dict_bytes} bytes" in text
    folder, _ = ledger.add(tmp_path / "submissions", package)
    assert rules(validate(folder)[1]) == set()


def test_the_state_dict_size_is_what_torch_saves(artifact: Path) -> None:
    import torch

    from iwsltpack.runtime.model import load_model

    model = load_model(artifact, dtype="bfloat16", device="cpu")
    saved = io.BytesIO()
    torch.save(model.state_dict(), saved)
    names = 1024 * len(model.state_dict())  # an entry's headers and padding in the file
    assert 0 <= saved.getbuffer().nbytes - measure(artifact).state_dict_bytes < names


def test_a_record_from_before_the_state_dict_was_weighed_is_read(artifact: Path, tmp_path: Path) -> None:
    data = pack(tmp_path, artifact).submission.to_json()
    del data["artifact"]["state_dict_bytes"]
    assert Submission.from_json(data).artifact.state_dict_bytes is None


@pytest.mark.parametrize(
    ("pair", "count", "rule"),
    [
        ("en-zh", 4, "submit.test-set-missing"),
        ("en-zh", 6, "submit.test-set-unknown"),
        ("en-de", 5, "submit.test-set-missing"),
        ("en-de", 7, "submit.test-set-unknown"),
    ],
)
def test_five_and_six_test_sets(artifact: Path, tmp_path: Path, pair: str, count: int, rule: str) -> None:
    found = refusal(*runs(tmp_path, artifact, pair, count), artifact=artifact, pair=pair)
    assert found == {rule}


def test_there_is_nothing_to_submit_for_a_pair_without_test_sets(artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no pair 'en-ar' in iwslt2027"):
        prepare(request(artifact, *runs(tmp_path, artifact), edition="iwslt2027", pair="en-ar"))


def test_unconstrained_must_list_its_datasets(artifact: Path, tmp_path: Path) -> None:
    folders = runs(tmp_path, artifact)
    assert refusal(*folders, artifact=artifact, condition="unconstrained") == {"submit.datasets-missing"}


def test_that_nobody_knows_the_data_of_the_constrained_condition_is_a_notice(
    artifact: Path, tmp_path: Path
) -> None:
    package = pack(tmp_path, artifact, datasets=("ACL 60/60", "MuST-C"))
    assert notices(package.warnings)["submit.datasets-unknown"] == (
        "constrained; datasets listed: ACL 60/60, MuST-C"
    )
    unconstrained = pack(tmp_path / "u", artifact, condition="unconstrained", datasets=("MuST-C",))
    assert "submit.datasets-unknown" not in notices(unconstrained.warnings)


def test_no_base_model_is_required_and_an_unusual_one_is_a_notice(artifact: Path, tmp_path: Path) -> None:
    assert "submit.base-model-unusual" not in notices(pack(tmp_path / "a", artifact).warnings)
    gemma = of_another_model(artifact, tmp_path / "g", architecture="Gemma4UnifiedForConditionalGeneration")
    assert "submit.base-model-unusual" not in notices(pack(tmp_path / "b", gemma).warnings)
    other = of_another_model(
        artifact, tmp_path / "v", architecture="VoxtralForConditionalGeneration", id="mistralai/Voxtral"
    )
    package = pack(tmp_path / "c", other)
    assert notices(package.warnings)["submit.base-model-unusual"].startswith(
        "mistralai/Voxtral of class VoxtralForConditionalGeneration"
    )
    folder, _ = ledger.add(tmp_path / "submissions", package)
    assert "submit.base-model-unusual" in notices(validate(folder)[1])


def test_one_primary_for_a_pair_and_condition(artifact: Path, tmp_path: Path) -> None:
    root = tmp_path / "submissions"
    ledger.add(root, pack(tmp_path / "a", artifact))
    ledger.add(root, pack(tmp_path / "b", artifact, "en-de"))
    ledger.add(root, pack(tmp_path / "c", artifact, condition="unconstrained", datasets=("MuST-C",)))
    ledger.add(root, pack(tmp_path / "d", artifact, type="contrastive"))
    ledger.add(root, pack(tmp_path / "e", artifact, type="contrastive", label="second"))
    assert rules(validate(root)[1]) == set()
    package = pack(tmp_path / "f", artifact, release_outputs=True)
    moved = replace(package.submission, artifact=replace(package.submission.artifact, sha256="1" * 64))
    with pytest.raises(ValidationFailed) as raised:
        ledger.add(root, replace(package, submission=moved))
    assert rules(raised.value.problems) == {"submit.second-primary"}


def test_a_contrastive_submission_alone_is_warned_about(artifact: Path, tmp_path: Path) -> None:
    root = tmp_path / "submissions"
    ledger.add(root, pack(tmp_path, artifact, "en-de", type="contrastive"))
    found = [problem.rule for problem in validate(root)[1] if problem.severity == "warning"]
    assert "ledger.no-primary" in found


def test_a_package_of_another_edition_is_held_against_this_ones_rules(artifact: Path, tmp_path: Path) -> None:
    package = prepare(request(artifact, *runs(tmp_path, artifact), edition="iwslt2026"))
    folder, _ = ledger.add(tmp_path / "submissions", package)
    found = rules(validate(folder, Options(edition=editions.load("iwslt2027")))[1])
    assert found == {"submission.model-name"}
