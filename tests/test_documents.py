"""Documents and schemas say the same; each is tested against the other."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import pkgutil
from pathlib import Path
from typing import Any

import pytest

import iwsltpack.documents
import iwsltpack.editions
from iwsltpack.documents import schema
from iwsltpack.documents.artifact import ArtifactManifest
from iwsltpack.documents.document import INTERNAL, Document
from iwsltpack.errors import InputError, UsageError, ValidationFailed
from iwsltpack.system import fileio

for module in pkgutil.iter_modules(iwsltpack.documents.__path__):
    importlib.import_module(f"iwsltpack.documents.{module.name}")
DOCUMENTS: list[type[Document]] = sorted(
    (cls for cls in Document.__subclasses__() if cls.__module__.startswith("iwsltpack.")),
    key=lambda cls: cls.__name__,
)


MAY_LACK = {
    "Run": {"sessions"},
    "RunSettings": {"engine"},
    "RecipeFile": {"description", "techniques", "layers", "prune", "vocabulary"},
    "LayerEntry": {"bits", "digits", "lossless", "step", "quantizer"},
    "LayerRule": {"step", "quantizer"},
    "Tensor": {"quantizer", "step", "classes", "zero_rows"},
    "Recipe": {"vocabulary"},
    "Vocabulary": {"text_tokens", "text_dropped"},
    "VocabularyRule": {"text", "at_least", "drop", "keep"},
    "VocabularyEntry": {"text", "text_name", "at_least", "scripts", "drop", "keep", "pair"},
    "ArtifactManifest": {"calibration", "damage", "vocabulary"},
    "File": {"crc32c"},
    "Edition": {"usual_architectures"},
    "ScoredRun": {"output_sha256"},
    "SubmissionArtifact": {"state_dict_bytes"},
}
"""Properties that earlier documents do not have, and that people need not write."""


def parts(cls: type) -> dict[str, type]:
    """Return every dataclass reachable from the fields of `cls`, by name."""
    import typing

    found: dict[str, type] = {}
    queue: list[Any] = [cls]
    while queue:
        kind = queue.pop()
        queue += [argument for argument in typing.get_args(kind) if not isinstance(argument, str | int)]
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__name__ not in found:
            found[kind.__name__] = kind
            queue += list(typing.get_type_hints(kind).values())
    return found


def test_every_kind_of_document_is_found() -> None:
    assert {"ArtifactManifest", "Run", "Submission"} <= {cls.__name__ for cls in DOCUMENTS}


@pytest.mark.parametrize("cls", DOCUMENTS)
def test_schema_and_dataclass_have_the_same_properties(cls: type[Document]) -> None:
    document = schema.load_schema(cls.SCHEMA)
    for name, part in parts(cls).items():
        parts_described = {
            f"{cls.__name__}{key}": value for key, value in document["$defs"].items()
        } | document["$defs"]
        described = document if part is cls else parts_described[name]
        fields = {field.name for field in dataclasses.fields(part) if field.metadata != INTERNAL}
        assert set(described["properties"]) == fields, name
        assert described["additionalProperties"] is False, name
        assert set(described["required"]) == fields - MAY_LACK.get(name, set()), name


@pytest.mark.parametrize("name", schema.schema_names())
def test_every_schema_is_valid_2020_12(name: str) -> None:
    document = schema.load_schema(name)
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    schema.find_problems({}, name)  # checks the schema itself


def test_an_unknown_schema_lists_the_known() -> None:
    with pytest.raises(UsageError, match=r"unknown schema 'x'\n  expected: artifact"):
        schema.load_schema("x")


def test_an_invalid_document_is_neither_read_nor_written() -> None:
    with pytest.raises(ValidationFailed, match="does not fit the artifact schema"):
        ArtifactManifest.from_json({"format": "iwsltpack.artifact"})


def test_canonical_json_has_one_byte_sequence() -> None:
    assert fileio.canonical_json({"b": 1, "a": "ü"}) == '{\n "a": "ü",\n "b": 1\n}\n'.encode()
    with pytest.raises(ValueError, match="Out of range float"):
        fileio.canonical_json({"x": float("nan")})


def test_unreadable_json_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the file"):
        fileio.read_json(tmp_path / "none")
    (tmp_path / "a").write_text('{\n"a": }')
    with pytest.raises(InputError, match=r"a:2: not valid JSON"):
        fileio.read_json(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        fileio.read_json(tmp_path / "a")


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    fileio.write_json(target, {"old": 1})
    with pytest.raises(RuntimeError), fileio.atomic_open(target) as stream:
        stream.write(b"half")
        raise RuntimeError
    assert json.loads(target.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [target]


def test_a_pipe_or_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(InputError, match="not a file that can be replaced"):
            fileio.write_bytes(tmp_path / name, b"x")
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink()


def test_an_output_of_the_shells_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = Path("/dev/iwsltpack-test")  # not /dev/stdout, which would be gone if this failed
    try:
        for path in (Path("-"), made):
            with pytest.raises(InputError, match="not a file that can be replaced"):
                fileio.write_bytes(path, b"x")
            assert not path.exists()
    finally:
        made.unlink(missing_ok=True)


def test_settings_may_begin_with_a_mark_of_byte_order(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b'\xef\xbb\xbfteam = "A"\n')
    assert fileio.read_toml(tmp_path / "a.toml") == {"team": "A"}


def test_lines_are_never_split_by_their_content(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line 2 holds a line break"):
        fileio.write_lines(tmp_path / "a", ["x", "y\nz"])
    assert not list(tmp_path.iterdir())
    fileio.write_lines(tmp_path / "a", ["x", "你好"])
    assert (tmp_path / "a").read_bytes() == "x\n你好\n".encode()
