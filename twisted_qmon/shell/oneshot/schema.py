"""
The schema of a server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from twisted_qmon.shell.client import Client
from twisted_qmon.shell.errors import Failed

if TYPE_CHECKING:
    from twisted_qmon.info import JSON

__all__ = ["Entries", "Entry", "event_names", "read_schema"]

#: A command, an event or a type, as QEMU describes it: what its members are depends on its C{meta-type}.
Entry: TypeAlias = Mapping[str, Any]

Entries: TypeAlias = list[Entry]


def read_schema(client: Client) -> Entries:
    """
    :return: what C{query-qmp-schema} returns
    :raise CommandError: what it is answered with
    :raise Failed: when it is no schema
    """
    schema = client.execute("query-qmp-schema")
    if not isinstance(schema, list) or not all(isinstance(entry, Mapping) and "name" in entry for entry in schema):
        raise Failed("the server's query-qmp-schema does not return a schema")
    return [entry for entry in schema if isinstance(entry, Mapping)]


def event_names(schema: JSON) -> set[str]:
    """
    :param schema: what C{query-qmp-schema} returned
    :return: the names of the events in it
    """
    entries = schema if isinstance(schema, list) else []
    return {
        str(entry.get("name")) for entry in entries if isinstance(entry, Mapping) and entry.get("meta-type") == "event"
    }
