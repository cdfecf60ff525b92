"""The schemas are generated, the committed ones are current, and they refuse what they always refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from conftest import REPOSITORY
from evaluation_fixtures import REFERENCES, SOURCES, write_run

from iwsltpack.documents import schema
from iwsltpack.documents.decoding_plan import DecodingPlan, PlanPiece, PlanSegment
from iwsltpack.documents.document import OPTIONAL, Document, Part
from iwsltpack.documents.kinds import Count, Keywords, Sha256, whole
from iwsltpack.documents.run import Run, RunSession, read_run
from iwsltpack.documents.submission import RecordedScore, RecordedScores
from iwsltpack.scoring.cache import ScoreCache
from iwsltpack.scoring.references import References
from iwsltpack.scoring.score import score
from iwsltpack.scoring.texts import read_hypotheses
from tools import schemas

# Generation


def test_the_committed_schemas_are_current() -> None:
    committed = {path.name: path.read_text(encoding="utf-8") for path in (REPOSITORY / "schemas").iterdir()}
    assert committed == schemas.generate_all(), "run `make schemas` and commit what it writes"


def test_every_document_has_a_schema() -> None:
    ours = {cls for cls in Document.__subclasses__() if cls.__module__.startswith("iwsltpack.")}
    assert ours == set(schemas.DOCUMENTS)
    assert len({cls.SCHEMA for cls in ours}) == len(ours)


def test_writing_twice_changes_nothing_and_leaves_no_stranger(tmp_path: Path) -> None:
    (tmp_path / "gone.schema.json").write_text("{}")
    for _ in range(2):
        schemas.main(tmp_path)
        found = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
        assert found == schemas.generate_all()


class Leaf(Part):
    """One of many.

    Attributes
    ----------
    digest, other
        Of the file,
        None where there is none.
    """

    RULES: ClassVar[dict[str, Any]] = {"maxProperties": 3}

    digest: Sha256
    other: Sha256 | None
    kind: Literal["a", "b"] | None


class Sample(Document):
    """A sample.

    Holds ``leaves``.
    """

    SCHEMA = "sample"

    format: str = "iwsltpack.sample"
    format_version: int = 1
    count: Count | None
    value: Annotated[float, Keywords(exclusiveMinimum=0)]
    leaves: Annotated[tuple[Leaf, ...], Keywords(minItems=1)]
    by_name: dict[Annotated[str, whole("[a-z]+")], bool | str]
    first: Leaf | None = field(default=None, metadata=OPTIONAL)


def test_types_constraints_and_docstrings_become_a_schema() -> None:
    assert schemas.generate(Sample) == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:iwsltpack:schema:sample:1",
        "title": "A sample",
        "description": "Holds `leaves`.",
        "type": "object",
        "additionalProperties": False,
        "required": ["by_name", "count", "format", "format_version", "leaves", "value"],
        "properties": {
            "format": {"const": "iwsltpack.sample"},
            "format_version": {"const": 1},
            "count": {"type": ["integer", "null"], "minimum": 0, "maximum": 2**53 - 1},
            "value": {"type": "number", "exclusiveMinimum": 0},
            "leaves": {"type": "array", "items": {"$ref": "#/$defs/Leaf"}, "minItems": 1},
            "by_name": {
                "type": "object",
                "propertyNames": {"type": "string", "pattern": r"^[a-z]+(?![\s\S])"},
                "additionalProperties": {"type": ["boolean", "string"]},
            },
            "first": {"$ref": "#/$defs/Leaf"},
        },
        "$defs": {
            "Leaf": {
                "description": "One of many.",
                "type": "object",
                "additionalProperties": False,
                "required": ["digest", "kind", "other"],
                "maxProperties": 3,
                "properties": {
                    "digest": {
                        "description": "Of the file, null where there is none.",
                        "$ref": "#/$defs/sha256",
                    },
                    "other": {
                        "description": "Of the file, null where there is none.",
                        "anyOf": [{"$ref": "#/$defs/sha256"}, {"type": "null"}],
                    },
                    "kind": {"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]},
                },
            },
            "sha256": {"type": "string", "pattern": r"^[0-9a-f]{64}(?![\s\S])"},
        },
    }


def test_a_docstring_that_names_a_field_no_longer_there_is_an_error() -> None:
    class Stale(Part):
        """Stale.

        Attributes
        ----------
        gone
            No more.
        """

        here: int

    with pytest.raises(ValueError, match=r"Stale: the docstring names fields that are not there: \['gone'\]"):
        schemas.object_schema(Stale, {})


def test_an_optional_field_without_a_value_is_not_written() -> None:
    class Loose(Part):
        """Loose."""

        always: int | None = None
        maybe: int | None = field(default=None, metadata=OPTIONAL)

    assert Loose().to_json() == {"always": None}
    assert Loose(maybe=0).to_json() == {"always": None, "maybe": 0}


# Strictness


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One document of every schema, as the program writes it; a recipe as people do."""
    folder = write_run(tmp_path_factory.mktemp("run"), REFERENCES, cut=frozenset({1}))
    run = read_run(folder)
    session = RunSession(
        worker=None,
        device_name="cpu",
        mode="load",
        load_seconds=0.1,
        pieces=5,
        seconds=1.0,
        peak_host_bytes=1,
        peak_device_bytes=None,
    )
    run = Run.from_json(run.to_json() | {"sessions": [session.to_json()]})
    pieces = (PlanPiece(offset=0.0, duration=3.5),)
    segment = PlanSegment(id="1", audio="wavs/1.wav", offset=0.0, duration=3.5, source=None, pieces=pieces)
    plan = DecodingPlan(
        pair=run.pair,
        artifact=run.artifact,
        test_set=run.test_set,
        settings=run.settings,
        segments=(segment,),
    )
    references = References(name="ref.txt", lines=tuple(REFERENCES), sources=tuple(SOURCES))
    scored = score(
        read_hypotheses(folder), references, baseline=read_hypotheses(folder), cache=ScoreCache(None)
    )
    recorded = RecordedScore(
        test_set="demo", metric="chrf", score=39.5, signature="x", hypotheses_sha256="0" * 64
    )
    read = {
        "artifact": next((REPOSITORY / "tests/golden/v1/zstd").glob("*.json")),
        "edition": REPOSITORY / "iwsltpack/editions/iwslt2025.json",
        "results": REPOSITORY / "iwsltpack/report/data/palomino2026.json",
        "submission": next((REPOSITORY / "submissions").glob("*/submission.json")),
    }
    found = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in read.items()}
    upload = json.loads((REPOSITORY / "iwsltpack/editions/iwslt2026.json").read_text(encoding="utf-8"))[
        "upload"
    ]
    found["edition"]["upload"] = upload  # 2025 had size bins, and its server is not known
    return found | {
        "decoding-plan": plan.to_json(),
        "recipe": {
            "name": "mix",
            "description": "x",
            "techniques": ["rounding"],
            "layers": [{"pattern": "mlp", "digits": 2}],
            "prune": {"pattern": "mlp$", "fraction": 0.2},
        },
        "run": run.to_json(),
        "score": json.loads(json.dumps(scored.to_json())),
        "scores": RecordedScores(scores=(recorded,)).to_json(),
    }


def test_every_schema_has_a_document_here(documents: dict[str, Any]) -> None:
    assert set(documents) == set(schema.schema_names())
    for name, document in documents.items():
        assert schema.find_problems(document, name) == []


def objects(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every object, of lists the first item alone."""
    if isinstance(node, dict):
        yield path
        for key, value in node.items():
            yield from objects(value, (*path, key))
    elif isinstance(node, list) and node:
        yield from objects(node[0], (*path, 0))


def at(node: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        node = node[step]
    return node


FREE = {"libraries", "signs", "repaired", "reported", "settings", "scores", "sizes"}
"""Objects that some document fills with keys of its own choice."""
MAY_LACK = {
    "run": {(): {"sessions"}},
    "recipe": {(): {"description", "techniques", "layers", "prune"}},
    "score": {("run",): {"output_sha256"}},
    "submission": {("artifact",): {"state_dict_bytes"}},
}


@pytest.mark.parametrize("name", schema.schema_names())
def test_every_property_is_needed_none_may_be_added_and_none_is_an_object_of_another_kind(
    documents: dict[str, Any], name: str
) -> None:
    tried = 0
    for path in objects(documents[name]):
        keys = at(documents[name], path)
        free = bool(path) and path[-1] in FREE and (name, path[-1]) != ("run", "settings")
        for key in [] if free and path[-1] in ("libraries", "signs", "repaired", "reported") else keys:
            odd = copy.deepcopy(documents[name])
            at(odd, path)[key] = {"strange": [[]]}
            assert schema.find_problems(odd, name), (path, key)
            if free or key in MAY_LACK.get(name, {}).get(path, set()):
                continue
            odd = copy.deepcopy(documents[name])
            del at(odd, path)[key]
            assert schema.find_problems(odd, name), (path, key)
            tried += 1
        odd = copy.deepcopy(documents[name])
        at(odd, path)["surplus"] = {"strange": [[]]}
        assert schema.find_problems(odd, name), path
    assert tried >= (1 if name == "recipe" else 8)


HASHES = ["", "0" * 63, "0" * 65, "G" * 64, "0" * 64 + "\n"]
COUNTS = [-1, 1.5, 2**53, "1", True]
COUNTS_FROM_1 = [0, *COUNTS]
AMOUNTS = [-0.1, "1", None]
REFUSED: dict[str, dict[str, list[Any]]] = {
    "artifact": {
        "format": ["iwsltpack.run", None],
        "format_version": [0, 3, "1"],
        "coding": ["", "g zip", None],
        "sha256": HASHES,
        "tool/libraries/zarr": [3, None],
        "base_model/bytes": COUNTS,
        "base_model/parameters": COUNTS,
        "base_model/sha256": HASHES,
        "base_model/id": [1],
        "recipe/engine": ["other", None],
        "recipe/layers/0/bits": [-1, 15, 7.5, "7"],
        "recipe/prune": [
            {"pattern": "x", "fraction": 1},
            {"pattern": "x", "fraction": -0.1},
            {"pattern": "x"},
        ],
        "tensors/0/name": ["", "zarr.json", "a/b", ".a", "-a", "a b", "a\n", "ä", "a" * 251],
        "tensors/0/shape": [[-1], [1.5], ["2"], [1] * 17, 4, None],
        "tensors/0/source_shape": [[-1], [2**53], [1] * 17],
        "tensors/0/dtype": ["float12", "FLOAT16", None],
        "tensors/0/source_dtype": ["complex64"],
        "tensors/0/component": ["mlp", None],
        "tensors/0/linear": [0, "yes", None],
        "tensors/0/wide": [1, None],
        "tensors/0/bits": [-1, 15, 9.5, "10"],
        "tensors/0/entropy_bits": [-0.1, 32.1, "1"],
        "tensors/0/chunk_rows": COUNTS,
        "tensors/0/bytes": COUNTS,
        "files/0/path": ["", "/a", "../a", "a/../b", "./a", "a//b", "a/", "a\\b", "a\0", "a\n", "..", "a/.."],
        "files/0/bytes": COUNTS,
        "files/0/sha256": HASHES,
    },
    "decoding-plan": {
        "pair": ["en", "EN-ZH", "en-zho", "en-zh\n", "xen-zh"],
        "segments/0/id": ["", 1],
        "segments/0/audio": ["", "/a", "../a", "a/../b", "..", "a/.."],
        "segments/0/offset": AMOUNTS,
        "segments/0/duration": AMOUNTS,
        "segments/0/source": [1],
        "segments/0/pieces/0/offset": AMOUNTS,
        "segments/0/pieces/0/duration": [0, *AMOUNTS],
        "settings/mode": ["fast"],
    },
    "edition": {
        "format": ["iwsltpack.editions"],
        "name": ["", "IWSLT", "-a", "a b", "a\n"],
        "title": [""],
        "rehearsal": [0, None],
        "model_name_pattern": ["", "${TEAM} x", "a/b", "a\n"],
        "pairs": [[], None],
        "pairs/0/name": ["en-xx", "en"],
        "pairs/0/test_sets/count": [0, -1, 1.5],
        "pairs/0/test_sets/names": [[""], [1], "x"],
        "pairs/0/test_sets/domains": [[""], [1]],
        "conditions": [[]],
        "conditions/0/name": ["", "Constrained", "a b", "a1"],
        "conditions/0/datasets": [[""], [1]],
        "types": [[], ["other"], ["primary", "primary"], None],
        "base_models": [[""], [1]],
        "size_bins": [[]],
        "size_bins/0/name": ["", "Bin 1", "a_b"],
        "size_bins/0/min_bytes": COUNTS,
        "size_bins/0/max_bytes": COUNTS_FROM_1,
        "size_measure": ["", None],
        "description_fields/0/id": ["other"],
        "description_fields/0/label": [""],
        "description_fields/0/required": ["sometimes", True],
        "upload/server": ["", None],
        "upload/steps": [[], [""]],
        "default_decoding/prompt": ["", None],
        "default_decoding/max_new_tokens": COUNTS_FROM_1,
        "unknown": [[""], [1], None],
    },
    "recipe": {
        "name": ["", "-a", "a b", "a/b", "a\n", "a" * 61, None],
        "description": [None, 1],
        "techniques": [[], [1], None],
        "layers": [
            [],
            [{"pattern": "x"}],
            [{"pattern": "x", "bits": 1, "digits": 1}],
            [{"pattern": "x", "bits": 1, "lossless": True}],
            [{"bits": 1}],
            [{"pattern": "", "bits": 1}],
            [{"pattern": "x", "bits": None}],
            [{"pattern": "x", "bits": 15}],
            [{"pattern": "x", "digits": 5}],
            [{"pattern": "x", "digits": -1}],
            [{"pattern": "x", "lossless": False}],
            [{"pattern": "x", "bits": 1, "step": 1}],
        ],
        "prune/pattern": ["", None],
        "prune/fraction": [0, 1, -0.1, 1.5, "0.2"],
    },
    "results": {
        "name": ["", "a b", "a/b", "a\n"],
        "url": [1],
        "rows": [[], None],
        "rows/0/name": [""],
        "rows/0/pair": ["en", "EN-ZH", "e-zh", "engl-zh"],
        "rows/0/baseline": [1, None],
        "rows/0/scores": [{}, {"ter": {"score": 1, "signature": ""}}, {"comet": {"score": 1}}, {"comet": 1}],
        "rows/0/seconds_per_item": [-1, "1"],
        "rows/0/sizes": [{"half": {"bytes": 1, "exact": True}}, {"whole": {"bytes": 0, "exact": True}}],
        "rows/0/note": [1],
    },
    "run": {
        "format_version": [2],
        "pair": ["en", "en-zho"],
        "artifact/sha256": HASHES,
        "artifact/bytes": COUNTS,
        "test_set/name": ["", "a b", "a/b", "a\n"],
        "test_set/kind": ["other"],
        "test_set/sha256": HASHES,
        "test_set/segments": COUNTS,
        "test_set/audio_seconds": AMOUNTS,
        "settings/max_new_tokens": COUNTS_FROM_1,
        "settings/retry_truncated": COUNTS_FROM_1,
        "settings/num_beams": COUNTS_FROM_1,
        "settings/batch_size": COUNTS_FROM_1,
        "settings/batch_seconds": [0, *AMOUNTS],
        "settings/repetition_penalty": [0, *AMOUNTS],
        "settings/no_repeat_ngram_size": COUNTS,
        "settings/device": ["cuda:0", None],
        "settings/dtype": ["float64", None],
        "settings/mode": ["fast", None],
        "settings/long": ["cut"],
        "settings/on_bad_audio": ["skip"],
        "settings/chat_template": [1],
        "output/path": ["", "a/b", "a\n"],
        "output/sha256": HASHES,
        "output/lines": COUNTS,
        "segments/0/index": COUNTS,
        "segments/0/id": [""],
        "segments/0/audio": ["", "/a", "a/../b", "..", "../a"],
        "segments/0/offset": AMOUNTS,
        "segments/0/duration": AMOUNTS,
        "segments/0/tokens": COUNTS,
        "segments/0/finish": ["cut"],
        "segments/0/seconds": AMOUNTS,
        "segments/0/pieces": COUNTS,
        "segments/0/signs": [[1], None],
        "sessions": [None],
        "sessions/0/mode": ["fast"],
        "sessions/0/load_seconds": AMOUNTS,
        "sessions/0/pieces": COUNTS,
        "sessions/0/seconds": AMOUNTS,
        "sessions/0/peak_host_bytes": COUNTS,
        "sessions/0/peak_device_bytes": COUNTS,
        **{
            f"summary/{key}": AMOUNTS
            for key in (
                "load_seconds",
                "decode_seconds",
                "seconds_per_segment",
                "tokens_per_second",
                "real_time_factor",
            )
        },
        **{
            f"summary/{key}": COUNTS
            for key in ("truncated", "placeholders", "segmented", "peak_host_bytes", "sessions")
        },
        "summary/peak_device_bytes": COUNTS,
        "summary/signs": [{"long": -1}, {"long": "1"}, None],
    },
    "score": {
        "language": ["", "ZH", "z", "chin", "zh\n"],
        "cleaned": [0, None],
        "hypotheses/name": ["a/b", "a\\b", "/a", "a\n/"],
        "hypotheses/lines": COUNTS,
        "hypotheses/sha256": HASHES,
        "references/sha256": HASHES,
        "resegmented": [[1], "x"],
        "run/artifact_sha256": HASHES,
        "run/artifact_bytes": COUNTS,
        "run/seconds_per_segment": AMOUNTS,
        "metrics": [[], None],
        "metrics/0/metric": ["ter"],
        "metrics/0/score": ["1", None],
        "metrics/0/segments": [["1"], None],
        "metrics/0/signature/hypotheses": HASHES,
        "metrics/0/signature/references": HASHES,
        "metrics/0/signature/sources": HASHES,
        "metrics/0/signature/checkpoint": [
            {"name": name, "revision": None, "sha256": digest}
            for name, digest in (
                ("a/b/c", "0" * 64),
                ("", "0" * 64),
                ("/a", "0" * 64),
                ("a\\b", "0" * 64),
                ("a", "0"),
            )
        ],
        "metrics/0/comparison/p_bootstrap": [-0.1, 1.1, None],
        "metrics/0/comparison/p_randomization": [-0.1, 1.1],
        "metrics/0/comparison/bootstrap_samples": COUNTS,
        "metrics/0/comparison/randomization_trials": COUNTS,
        "metrics/0/comparison/seed": [-1, 0.5],
        "metrics/0/comparison/interval": AMOUNTS,
    },
    "scores": {
        "scores/0/test_set": [""],
        "scores/0/metric": ["ter"],
        "scores/0/score": ["1", None],
        "scores/0/signature": [""],
        "scores/0/hypotheses_sha256": HASHES,
    },
    "submission": {
        "model_name": ["", "-a", "a b", "a/b", "a\n", "a" * 201],
        "team": [""],
        "pair": ["en-xx"],
        "condition": [""],
        "type": ["other"],
        "size_bin": [""],
        "label": ["", "A", "-a", "a" * 32, "a\n"],
        "edition/name": [""],
        "edition/sha256": HASHES,
        "edition/rehearsal": [0],
        "artifact/sha256": HASHES,
        "artifact/bytes": COUNTS_FROM_1,
        **{f"artifact/{key}": COUNTS for key in ("parameters", "source_bytes", "source_parameters")},
        **{
            f"artifact/{key}": [""]
            for key in ("base_model", "revision", "architecture", "license", "recipe", "coding")
        },
        "artifact/techniques": [[""], None],
        "datasets": [[""], ["a", "a"], None],
        "release_outputs": [1],
        "cleaning/applied": [1],
        "cleaning/lang": ["en"],
        "cleaning/rules": [[""]],
        "cleaning/version": [""],
        "test_sets": [[], None],
        "test_sets/0/name": ["", "-a", "a b", "a" * 201],
        "test_sets/0/file": ["", "a/b", "a\n"],
        **{
            f"test_sets/0/{key}": HASHES
            for key in ("sha256", "raw_sha256", "run/sha256", "run/test_set_sha256")
        },
        **{f"test_sets/0/{key}": COUNTS for key in ("bytes", "lines", "lines_changed")},
        **{f"test_sets/0/run/{key}": COUNTS for key in ("segments", "truncated", "placeholders")},
        **{
            f"test_sets/0/run/{key}": AMOUNTS
            for key in ("audio_seconds", "seconds_per_segment", "real_time_factor")
        },
        "test_sets/0/run/tool_version": [""],
        "test_sets/0/run/settings": [{"x": []}, {"x": {}}, None],
        "test_sets/0/repaired": [{"x": -1}, {"x": None}, None],
        "test_sets/0/reported": [{"x": -1}],
    },
}
"""By document and place: values that no schema may ever let through."""


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_values_out_of_range_are_refused_at_their_place(documents: dict[str, Any], name: str) -> None:
    assert set(REFUSED) == set(schema.schema_names())
    accepted = []
    for pointer, values in REFUSED[name].items():
        path = tuple(int(step) if step.isdigit() else step for step in pointer.split("/"))
        for value in values:
            odd = copy.deepcopy(documents[name])
            at(odd, path[:-1])[path[-1]] = value
            problems = schema.find_problems(odd, name)
            if not any(problem.message.startswith(f"/{path[0]}") for problem in problems):
                accepted.append((pointer, value))
    assert accepted == []


def test_a_submission_has_at_most_100_test_sets(documents: dict[str, Any]) -> None:
    document = copy.deepcopy(documents["submission"])
    document["test_sets"] *= 101
    assert schema.find_problems(document, "submission")
    document["test_sets"] = document["test_sets"][:100]
    assert schema.find_problems(document, "submission") == []


def test_a_recipe_does_something(documents: dict[str, Any]) -> None:
    assert schema.find_problems({"name": "nothing"}, "recipe")
    assert schema.find_problems({"name": "x", "prune": documents["recipe"]["prune"]}, "recipe") == []
