"""The types of commands as JSON Schema."""

from __future__ import annotations

import enum
import json
from dataclasses import replace
from typing import Annotated, Any, Literal, TypedDict

import pytest
from openapi_spec_validator import validate
from twisted.internet.task import Clock

from twisted_qmon import Monitor, Size
from twisted_qmon.info import TypeInfo
from twisted_qmon.web.openapi import OpenAPI, SchemaMaker, _operation

INT64 = {"type": "integer", "minimum": -(1 << 63), "maximum": (1 << 63) - 1}


class Colour(enum.Enum):
    """An enum."""

    RED = "red"
    BLUE = "blue"


class _Named(TypedDict):
    name: str


class Tree(_Named, total=False):
    """A type that refers to itself."""

    below: list[Tree]


def _schema(annotation: object) -> tuple[Any, Any]:
    """The schema of a parameter with this annotation, and the types with names."""

    def handler(value: Any) -> None:
        """do something"""

    handler.__annotations__["value"] = annotation
    monitor = Monitor(clock=Clock())
    monitor.register_command("try", handler)
    document = json.loads(OpenAPI(monitor).document())
    validate(document)
    operation = document["paths"]["/api/commands/try"]["post"]
    assert operation["requestBody"]["required"] is True
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema["required"] == ["value"]
    assert schema["additionalProperties"] is False
    return schema["properties"]["value"], document["components"]["schemas"]


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (str, {"type": "string"}),
        (int, INT64),
        (Size, {"type": "integer", "minimum": 0, "maximum": (1 << 64) - 1}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (Any, {}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (list[int], {"type": "array", "items": INT64}),
        (dict[str, bool], {"type": "object", "additionalProperties": {"type": "boolean"}}),
        (dict, {"type": "object", "additionalProperties": {}}),
    ],
)
def test_types(annotation: object, schema: object) -> None:
    """Each type has its schema."""
    assert _schema(annotation)[0] == schema


def test_named_types() -> None:
    """A type that has a name is described once, under that name; one that refers to itself is no problem."""
    schema, components = _schema(list[Colour])
    assert schema == {"type": "array", "items": {"$ref": "#/components/schemas/Colour"}}
    assert components["Colour"] == {"type": "string", "enum": ["red", "blue"]}
    schema, components = _schema(Tree)
    assert schema == {"$ref": "#/components/schemas/Tree"}
    assert components["Tree"]["properties"]["below"] == {"type": "array", "items": schema}
    assert components["Tree"]["required"] == ["name"]
    schema, components = _schema(str | int)
    assert components[schema["$ref"].rpartition("/")[2]] == {"anyOf": [{"type": "string"}, INT64]}


def test_names_that_are_taken() -> None:
    """Two types of one name are one if they are alike, and have two names if not; a name is fit for a reference."""
    maker = SchemaMaker()
    one = maker.type(TypeInfo("enum", "A b", values=("x",)))
    assert one == {"$ref": "#/components/schemas/A_b"}
    assert maker.type(TypeInfo("enum", "A b", values=("x",))) == one
    assert maker.type(TypeInfo("enum", "A b", values=("y",))) == {"$ref": "#/components/schemas/A_b-2"}
    assert maker.type(TypeInfo("enum", "A b", values=("z",))) == {"$ref": "#/components/schemas/A_b-3"}
    assert set(maker.components) == {"A_b", "A_b-2", "A_b-3"}


def test_widths_and_unions() -> None:
    """Integers have the bounds of their width; a flat union is one of its variants; null is null."""
    maker = SchemaMaker()
    assert maker.type(TypeInfo("int", "uint8")) == {"type": "integer", "minimum": 0, "maximum": 255}
    assert maker.type(TypeInfo("int", "int8")) == {"type": "integer", "minimum": -128, "maximum": 127}
    assert maker.type(TypeInfo("null")) == {"type": "null"}
    assert maker.type(TypeInfo("list")) == {"type": "array", "items": {}}
    variants = (TypeInfo("object", members=()), TypeInfo("object"))
    assert maker.type(TypeInfo("object", tag="kind", options=variants)) == {
        "oneOf": [{"type": "object", "properties": {}, "additionalProperties": False}, {"type": "object"}]
    }


def test_boxed_arguments() -> None:
    """A command whose arguments are a flat union as a whole has that for its body; one that takes any has any."""

    def anything(value: Annotated[str, "x"]) -> None:
        """do something"""

    monitor = Monitor(clock=Clock())
    monitor.register_command("try", anything)
    info = monitor.registry.infos()["try"]
    boxed: Any = _operation(replace(info, boxed=TypeInfo("object", members=None), doc="more"), SchemaMaker())
    assert boxed["requestBody"]["content"]["application/json"]["schema"] == {"type": "object"}
    assert boxed["description"] == "more"
    free: Any = _operation(replace(info, parameters=None, returns=None, help=""), SchemaMaker())
    assert free["requestBody"] == {
        "description": "the arguments",
        "required": False,
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
    assert free["summary"] == "try"
