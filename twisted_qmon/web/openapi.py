"""
The OpenAPI document: the interface, with each command of the monitor as an operation of its own, made of the commands' types.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from twisted_qmon.info import CommandInfo, ParameterInfo, TypeInfo
from twisted_qmon.web.answers import ERRORS, encode_document

if TYPE_CHECKING:
    from twisted_qmon.core.monitor import Monitor
    from twisted_qmon.info import JSON

__all__ = ["OpenAPI", "SchemaMaker"]

#: A part of the document while it is made.
Schema: TypeAlias = "dict[str, JSON]"

_SCALARS: Mapping[str, Schema] = {
    "str": {"type": "string"},
    "number": {"type": "number"},
    "bool": {"type": "boolean"},
    "null": {"type": "null"},
    "any": {},
    "size": {"type": "integer", "minimum": 0, "maximum": (1 << 64) - 1},
}
_WIDTH = re.compile(r"(u?)int(\d+)")
_NAMED = ("object", "alternate", "enum")

#: The errors that each operation may have, and those of a command's beside them.
_ALL = (400, 401, 403, 405, 408, 413, 415, 500)
_COMMAND = (404, 422, 429, 503, 504)


class SchemaMaker:
    """
    Makes JSON Schema of types.

    :ivar components: the types that have names, by these
    """

    def __init__(self) -> None:
        self.components: dict[str, JSON] = {}
        self._names: dict[int, tuple[TypeInfo, str]] = {}

    def type(self, info: TypeInfo) -> Schema:
        """:return: the schema of a type; where it has a name, a reference"""
        if not info.name or info.kind not in _NAMED:
            return self._describe(info)
        known = self._names.get(id(info))
        return {"$ref": f"#/components/schemas/{known[1] if known else self._add(info)}"}

    def members(self, members: Iterable[ParameterInfo] | None) -> Schema:
        """:return: the schema of an object with these members; C{None}: with any"""
        if members is None:
            return {"type": "object"}
        properties: Schema = {}
        required: list[str] = []
        for member in members:
            properties[member.name] = self.type(member.type)
            if not member.optional:
                required.append(member.name)
        schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
        if required:
            schema["required"] = required
        return schema

    def _add(self, info: TypeInfo) -> str:
        base = re.sub(r"[^A-Za-z0-9._-]", "_", info.name)
        alike = [name for name in self.components if name == base or name.rpartition("-")[0] == base]
        name = base if not alike else f"{base}-{len(alike) + 1}"
        # Before it is described: types refer to themselves.
        self._names[id(info)] = (info, name)
        self.components[name] = {}
        schema = self._describe(info)
        for other in alike:
            if self.components[other] == schema:
                del self.components[name]
                self._names[id(info)] = (info, other)
                return other
        self.components[name] = schema
        return name

    def _describe(self, info: TypeInfo) -> Schema:
        if info.kind in _SCALARS:
            return dict(_SCALARS[info.kind])
        if info.kind == "int":
            width = _WIDTH.fullmatch(info.name)
            bits = int(width[2]) if width else 64
            if width and width[1]:
                return {"type": "integer", "minimum": 0, "maximum": (1 << bits) - 1}
            return {"type": "integer", "minimum": -(1 << (bits - 1)), "maximum": (1 << (bits - 1)) - 1}
        if info.kind == "enum":
            return {"type": "string", "enum": list(info.values)}
        if info.kind == "list":
            return {"type": "array", "items": self.type(info.element or TypeInfo("any"))}
        if info.kind == "alternate":
            return {"anyOf": [self.type(option) for option in info.options]}
        if info.options:
            return {"oneOf": [self.members(option.members) for option in info.options]}
        if info.element is not None:
            return {"type": "object", "additionalProperties": self.type(info.element)}
        return self.members(info.members)


class OpenAPI:
    """
    The document of a monitor.

    :param monitor: the monitor
    """

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._made: tuple[Mapping[str, CommandInfo], bytes] | None = None

    def document(self) -> bytes:
        """:return: the document, encoded; made anew when commands have come or gone"""
        infos = self._monitor.registry.infos()
        if self._made is None or self._made[0] is not infos:
            self._made = (infos, encode_document(self._make(infos)))
        return self._made[1]

    def _make(self, infos: Mapping[str, CommandInfo]) -> Schema:
        from twisted_qmon import __version__

        maker = SchemaMaker()
        maker.components.update(_COMPONENTS)
        paths: Schema = {f"/api/commands/{name}": {"post": _operation(info, maker)} for name, info in infos.items()}
        return {
            "openapi": "3.1.0",
            "info": {
                "title": self._monitor.name or "twisted-qmon",
                "version": __version__,
                "description": "The commands, requests and events of a monitor. An error has the body "
                '{"error": {"class": ..., "desc": ...}}.',
            },
            "security": [{"token": []}, {"cookie": []}],
            "paths": {**_PATHS, **paths},
            "components": {
                "schemas": maker.components,
                "securitySchemes": {
                    "token": {"type": "http", "scheme": "bearer"},
                    "cookie": {"type": "apiKey", "in": "cookie", "name": "qmon"},
                },
            },
        }


def _operation(info: CommandInfo, maker: SchemaMaker) -> Schema:
    schema = maker.members(info.parameters) if info.boxed is None else maker.type(info.boxed)
    result: Schema = {} if info.returns is None else maker.type(info.returns)
    operation: Schema = {
        "operationId": info.name,
        "tags": ["commands"],
        "summary": info.help or info.name,
        "x-level": str(info.need.level),
        "parameters": [
            {
                "name": "Prefer",
                "in": "header",
                "description": "respond-async: answer at once, with the number of the request",
                "schema": {"type": "string", "enum": ["respond-async"]},
            }
        ],
        "requestBody": {
            "description": "the arguments",
            "required": any(not parameter.optional for parameter in info.parameters or ()),
            "content": {"application/json": {"schema": schema}},
        },
        "responses": {
            "200": _content(
                "The command's result.",
                {
                    "type": "object",
                    "properties": {"return": result},
                    "required": ["return"],
                    "additionalProperties": False,
                },
            ),
            "202": {
                **_content("The request has started.", {"$ref": "#/components/schemas/_Started"}),
                "headers": {"Location": {"schema": {"type": "string"}}},
            },
            **_errors(*_ALL, *_COMMAND),
        },
    }
    if info.doc:
        operation["description"] = info.doc
    return operation


def _content(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _errors(*statuses: int) -> Schema:
    return {
        str(status): _content(ERRORS[status], {"$ref": "#/components/schemas/_Error"}) for status in sorted(statuses)
    }


_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_ERROR: Schema = {
    "type": "object",
    "properties": {"class": _TEXT, "desc": _TEXT},
    "required": ["class", "desc"],
    "additionalProperties": False,
}

_COMPONENTS: Schema = {
    "_Error": {"type": "object", "properties": {"error": _ERROR}, "required": ["error"], "additionalProperties": False},
    "_Started": {
        "type": "object",
        "properties": {"number": _COUNT},
        "required": ["number"],
        "additionalProperties": False,
    },
    "_Request": {
        "type": "object",
        "properties": {
            "number": _COUNT,
            "command": _TEXT,
            "state": {"type": "string", "enum": ["pending", "done", "failed"]},
            "seconds": {"type": "number", "minimum": 0},
            "progress": {
                "type": "object",
                "properties": {"current": {"type": "integer"}, "total": {"type": "integer"}},
                "required": ["current", "total"],
            },
            "return": {},
            "error": _ERROR,
        },
        "required": ["number", "command", "state"],
        "additionalProperties": False,
    },
    "_Session": {
        "type": "object",
        "properties": {
            "token": _TEXT,
            "identity": _TEXT,
            "level": {"type": "string", "enum": ["observe", "operate", "admin"]},
            "session": _TEXT,
            "monitor": _TEXT,
            "name": {"type": ["string", "null"]},
        },
        "required": ["token", "identity", "level", "session", "monitor", "name"],
        "additionalProperties": False,
    },
    "_Command": {
        "type": "object",
        "description": "what query-command-help has of it, and its level",
        "properties": {"name": _TEXT, "level": _TEXT},
        "required": ["name", "level"],
    },
}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _get(summary: str, schema: Schema, *more: int) -> Schema:
    return {"summary": summary, "responses": {"200": _content(summary, schema), **_errors(*_ALL, *more)}}


_NUMBER: Schema = {"name": "number", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1}}

_PATHS: Schema = {
    "/api/session": {
        "get": _get("who the caller is", _reference("_Session")),
        "post": _get("a session cookie for the token that is shown", _reference("_Session")),
        "delete": {
            "summary": "end the session of the cookie",
            "responses": {"204": {"description": "It has ended."}, **_errors(*_ALL)},
        },
    },
    "/api/commands": {
        "get": _get("the commands that the caller may run", {"type": "array", "items": _reference("_Command")})
    },
    "/api/requests": {
        "get": _get(
            "the requests of the caller that are pending or kept",
            {"type": "array", "items": _reference("_Request")},
        )
    },
    "/api/requests/{number}": {
        "parameters": [_NUMBER],
        "get": _get("one request, with its result", _reference("_Request"), 404),
        "delete": _get("cancel a request that is pending, forget one that is done", _reference("_Request"), 404),
    },
    "/api/events": {
        "get": {
            "summary": "events as they happen: server-sent events, whose id is MONITOR/NUMBER",
            "parameters": [
                {
                    "name": "names",
                    "in": "query",
                    "description": "names of events, separated by commas; by default all",
                    "schema": _TEXT,
                },
                {
                    "name": "after",
                    "in": "query",
                    "description": "the id of the last event that one has, or its number; 0: all that are kept",
                    "schema": _TEXT,
                },
                {"name": "Last-Event-ID", "in": "header", "description": "as after", "schema": _TEXT},
            ],
            "responses": {
                "200": {"description": "the events", "content": {"text/event-stream": {"schema": _TEXT}}},
                **_errors(*_ALL, 422),
            },
        }
    },
    "/api/openapi.json": {"get": _get("this document", {"type": "object"})},
}
