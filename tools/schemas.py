"""Generate the JSON Schemas under ``schemas/`` from the documents' dataclasses: ``make schemas``.

A field's type says what JSON may hold there; ``Annotated[type, Keywords(…)]`` adds keywords of JSON Schema, which
stand in the schema as they are. Docstrings become descriptions. Every object refuses properties that it does not know.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import types
import typing
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from iwsltpack.documents.artifact import ArtifactManifest
from iwsltpack.documents.decoding_plan import DecodingPlan
from iwsltpack.documents.document import Document, Part
from iwsltpack.documents.recipe import RecipeFile
from iwsltpack.documents.results import Results
from iwsltpack.documents.run import Run
from iwsltpack.documents.schema import SUFFIX, schema_directory
from iwsltpack.documents.score import Score
from iwsltpack.documents.submission import RecordedScores, Submission
from iwsltpack.editions import Edition

Schema = dict[str, Any]
DOCUMENTS: tuple[type[Document], ...] = (
    ArtifactManifest,
    DecodingPlan,
    Edition,
    RecipeFile,
    RecordedScores,
    Results,
    Run,
    Score,
    Submission,
)
SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
BOUND_TO_A_TYPE = {"type", "items", "additionalProperties", "propertyNames", "pattern"}
WIDTH = 110
"""Characters in a line of a schema at most; what fits one is not broken up."""


def generate(document: type[Document]) -> Schema:
    """Return the schema of a document, complete in itself."""
    definitions: dict[str, Schema] = {}
    schema = object_schema(document, definitions)
    title, _, description = schema.pop("description").partition("\n\n")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:iwsltpack:schema:{document.SCHEMA}:1",
        "title": title.rstrip("."),
        **({"description": description} if description else {}),
        **schema,
        **({"$defs": dict(sorted(definitions.items()))} if definitions else {}),
    }


def object_schema(part: type[Part], definitions: dict[str, Schema]) -> Schema:
    """Return the schema of a dataclass; what it refers to is added to `definitions`."""
    text, meanings = read_docstring(part)
    hints = typing.get_type_hints(part, include_extras=True)
    properties: dict[str, Schema] = {}
    required = []
    for field in dataclasses.fields(part):  # type: ignore[arg-type]
        if field.metadata.get("internal"):
            continue
        kind = hints[field.name]
        if field.metadata.get("optional"):
            kind = without_none(kind) if field.default is None else kind
        else:
            required.append(field.name)
        schema = value_schema(kind, definitions)
        if issubclass(part, Document) and field.name in ("format", "format_version") and "enum" not in schema:
            schema = {"const": field.default}
        meaning = meanings.pop(field.name, None)
        properties[field.name] = {"description": meaning, **schema} if meaning else schema
    if meanings:
        raise ValueError(
            f"{part.__name__}: the docstring names fields that are not there: {sorted(meanings)}"
        )
    return {
        "description": text,
        "type": "object",
        "additionalProperties": False,
        "required": sorted(required),
        **part.RULES,
        "properties": properties,
    }


def read_docstring(part: type[Part]) -> tuple[str, dict[str, str]]:
    """Return a dataclass's docstring up to its list of attributes, and what the list says of each."""
    words = re.sub(r"\bNone\b", "null", inspect.getdoc(part) or "").replace("``", "`")
    text, _, listed = words.partition("\nAttributes\n----------\n")
    meanings = {}
    for entry in re.split(r"\n(?=\S)", listed) if listed else ():
        names, _, meaning = entry.partition("\n")
        meanings |= dict.fromkeys(names.split(", "), " ".join(meaning.split()))
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")), meanings


def without_none(kind: Any) -> Any:
    """Return a type without None: a property that may be left out is never null."""
    return typing.Union[tuple(option for option in get_args(kind) if option is not type(None))]  # noqa: UP007


def value_schema(kind: Any, definitions: dict[str, Schema]) -> Schema:
    """Return the schema of a type's values."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return defined(value_schema(arguments[0], definitions) | arguments[1].keywords, definitions)
    if origin in (typing.Union, types.UnionType):
        return union_schema([value_schema(option, definitions) for option in arguments])
    if origin is typing.Literal:
        return {"enum": [*arguments]}
    if origin is tuple:
        return {"type": "array", "items": value_schema(arguments[0], definitions)}
    if origin is dict:
        key = value_schema(arguments[0], definitions)
        names = {"propertyNames": key} if key != {"type": "string"} else {}
        return {"type": "object", **names, "additionalProperties": value_schema(arguments[1], definitions)}
    if dataclasses.is_dataclass(kind):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}  # holds the name while its own fields are read
            definitions[kind.__name__] = object_schema(kind, definitions)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    return {"type": SIMPLE[kind]}


def defined(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """Return `schema`, or a reference to it where it has a title to be defined under."""
    if "title" not in schema:
        return schema
    name = schema.pop("title")
    if definitions.setdefault(name, schema) != schema:
        raise ValueError(f"two kinds of values are called {name}")
    return {"$ref": f"#/$defs/{name}"}


def union_schema(options: list[Schema]) -> Schema:
    """Return the schema of either of `options`.

    Where only one of them says more than its type, and nothing that binds other types too, they become one schema
    with several types: its errors name what is wrong, which those of ``anyOf`` do not.
    """
    speaking = [option for option in options if option.keys() != {"type"}]
    if len(speaking) <= 1 and all(binds_one_type(option) for option in options):
        names = [option["type"] for option in options]
        return {**(speaking[0] if speaking else {}), "type": names}
    return {"anyOf": options}


def binds_one_type(schema: Schema) -> bool:
    """Return whether no keyword speaks of values of other types than the schema's own."""
    return all(key in BOUND_TO_A_TYPE or re.match(r"(exclusive)?(min|max)", key) for key in schema)


def render(value: Any, indent: str = "", room: int = WIDTH) -> str:
    """Return JSON with every object and list on one line that fits there."""
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value or len(flat) <= room:
        return flat
    inner = indent + "  "
    if isinstance(value, list):
        items = [render(item, inner, WIDTH - len(inner)) for item in value]
    else:
        heads = {key: f"{json.dumps(key)}: " for key in value}
        items = [
            heads[key] + render(item, inner, WIDTH - len(inner + heads[key])) for key, item in value.items()
        ]
    first, last = "[]" if isinstance(value, list) else "{}"
    return f"{first}\n{inner}" + f",\n{inner}".join(items) + f"\n{indent}{last}"


def generate_all() -> dict[str, str]:
    """Return the text of every schema file by its name."""
    return {f"{document.SCHEMA}{SUFFIX}": render(generate(document)) + "\n" for document in DOCUMENTS}


def main(folder: Path | None = None) -> None:
    """Write every schema, and remove those of documents that are no more."""
    folder = folder or schema_directory()
    texts = generate_all()
    for path in folder.glob(f"*{SUFFIX}"):
        if path.name not in texts:
            path.unlink()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
