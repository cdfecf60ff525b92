"""Frozen dataclasses that are JSON documents: one conversion for all of them, both ways."""

import dataclasses
import types
import typing
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self, get_args, get_origin

from iwsltpack.documents import schema
from iwsltpack.errors import InputError
from iwsltpack.system import fileio

OPTIONAL = {"optional": True}
"""Metadata of a field that JSON may lack. A default of None stands for that, and is not written."""
INTERNAL = {"internal": True}
"""Metadata of a field with a default that is no part of the document."""


@cache
def _field_types(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            field: getattr(value, field.name)
            for field in dataclasses.fields(value)
            if not field.metadata.get("internal")
        }
        return {
            field.name: _encode(item)
            for field, item in fields.items()
            if item is not None or not field.metadata.get("optional")
        }
    if isinstance(value, dict):
        return {str(key): _encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    return value


def _decode(kind: Any, value: Any) -> Any:
    origin = get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        options = [option for option in get_args(kind) if option is not type(None)]
        return None if value is None else _decode(options[0] if len(options) == 1 else Any, value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _build(kind, value)
    if origin is tuple:
        item = get_args(kind)[0]
        return tuple(_decode(item, element) for element in value)
    if origin is dict:
        return {key: _decode(get_args(kind)[1], element) for key, element in value.items()}
    # To a JSON schema 2.0 is an integer, and 2 is a number.
    return kind(value) if kind in (float, int) else value


def _build(cls: type, data: dict[str, Any]) -> Any:
    return cls(
        **{name: _decode(kind, data[name]) for name, kind in _field_types(cls).items() if name in data}
    )


@typing.dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,))
class Part:
    """A piece of a document: every class below is a frozen dataclass whose fields are given by name.

    `RULES` are keywords of its schema that no single field can say.
    """

    RULES: ClassVar[dict[str, Any]] = {}
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def __init_subclass__(cls) -> None:
        """Make the dataclass."""
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON: dicts, lists, strings, numbers, booleans and null."""
        encoded: dict[str, Any] = _encode(self)
        return encoded

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Build from JSON that has been checked against its schema already."""
        built: Self = _build(cls, data)
        return built


class Document(Part):
    """A whole document with a schema of its own.

    Subclasses set `SCHEMA`. The first two fields are ``format`` and ``format_version``, whose defaults are the only
    values the schema admits; files that people write have neither.
    """

    SCHEMA: ClassVar[str]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON, checked against the schema: an invalid document is never written."""
        data = super().to_json()
        schema.check(data, self.SCHEMA)
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any], *, path: object = None) -> Self:
        """Check `data` against the schema, then build; a `ValidationFailed` holds every problem and names `path`."""
        schema.check(data, cls.SCHEMA, None if path is None else str(path))
        return super().from_json(data)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check the document in a file; one that cannot be read, or is another, is an `InputError`."""
        data, kind = fileio.read_json(path), f"iwsltpack.{cls.SCHEMA}"
        if not isinstance(data, dict) or data.get("format") != kind:
            raise InputError(f"not a {cls.SCHEMA} document", where=path, expected=f'"format": "{kind}"')
        return cls.from_json(data, path=path)
