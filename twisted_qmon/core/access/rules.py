"""
The rules of who may do what: read from TOML, and applied to an identity.

::

    default = "none"
    [[grant]]
    who = ["uid:alice", "gid:ops", "cert:CN=backup,*"]
    level = "operate"
    also = ["quit"]
    never = ["service-*"]
    endpoint = "unix:ops.sock"
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from itertools import chain
from typing import NoReturn

import msgspec

from twisted_qmon._text import printable
from twisted_qmon.core.access.identity import Identity
from twisted_qmon.core.access.verdict import Verdict
from twisted_qmon.info import Level

__all__ = ["AccessError", "Grant", "Rules", "endpoint_name", "parse_rules"]

#: What an identity that rules can name begins with; C{local} stands alone.
KINDS = ("uid", "gid", "cert", "ssh", "web", "fleet", "tcp", "tls")

# One attribute of a subject in RFC 4514 form: up to a comma that is not escaped.
_ATTRIBUTE = re.compile(r"((?:\\.|[^\\,])*)(?:,|$)", re.DOTALL)

# One field of an endpoint's description: up to a colon that is not escaped.
_FIELD = re.compile(r"((?:\\.|[^\\:])*)(?::|$)", re.DOTALL)

# What Twisted calls the first argument of an endpoint where it is not given by its place.
_FIRST = ("address", "port", "domain")


class AccessError(ValueError):
    """The rules can't be used. The text is one line: the file, the key and the reason."""


class Grant(msgspec.Struct, frozen=True):
    """
    One C{[[grant]]}.

    :ivar who: patterns of identities
    :ivar level: what they may do; C{None}: this grant does not say
    :ivar also: patterns of commands that they may run beyond their level
    :ivar never: patterns of commands that they may not run
    :ivar endpoint: only there (see L{endpoint_name}); C{None}: everywhere
    """

    who: tuple[str, ...]
    level: Level | None = None
    also: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    endpoint: str | None = None

    def concerns(self, identity: Identity, endpoint: str) -> bool:
        """:return: whether it is for this caller at this endpoint"""
        if self.endpoint is not None and self.endpoint != endpoint:
            return False
        return any(_matches(attribute, pattern) for pattern in self.who for attribute in identity.attributes)


class Rules(msgspec.Struct, frozen=True):
    """
    All the rules.

    :ivar default: the level of callers whom no grant gives one
    :ivar grants: the grants; their order makes no difference
    """

    default: Level = Level.ADMIN
    grants: tuple[Grant, ...] = ()

    def verdict(self, identity: Identity, endpoint: str = "", cap: Level = Level.ADMIN) -> Verdict:
        """
        :param identity: the caller
        :param endpoint: where it came in, as L{endpoint_name} has it
        :param cap: the level of that endpoint: it gives no more
        :return: what the caller may do
        """
        grants = [grant for grant in self.grants if grant.concerns(identity, endpoint)]
        levels = [grant.level for grant in grants if grant.level is not None]
        return Verdict(
            level=min(max(levels, default=self.default), cap),
            cap=cap,
            also=_union(grant.also for grant in grants),
            never=_union(grant.never for grant in grants),
        )


def _union(groups: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(chain.from_iterable(groups)))


def endpoint_name(description: str) -> str:
    """
    :param description: a server endpoint's description, as Twisted takes it
    :return: its type and its first argument, which is what C{endpoint} in a rule is compared with: C{"unix:ops.sock"} for
        C{"unix:ops.sock:mode=660"}
    """
    if description.startswith("haproxy:"):
        # Its first argument is another description.
        return f"haproxy:{endpoint_name(description.removeprefix('haproxy:'))}"
    kind, *fields = _FIELD.findall(description + ":")[:-1]
    first = fields[0] if fields else ""
    for field in fields:
        key, separator, value = field.partition("=")
        if not separator:
            first = field
            break
        if key in _FIRST:
            first = value
            break
    name = f"{kind}:{first}" if fields else kind
    return re.sub(r"\\(.)", r"\1", name, flags=re.DOTALL)


def _matches(attribute: str, pattern: str) -> bool:
    """
    Compare an attribute of an identity with a pattern, as a whole.

    The subject of a certificate has attributes of its own: each is compared as a whole too, so that C{*} in one does not match
    what stands in the next; a C{*} alone matches one or more of them.
    """
    if not pattern.startswith("cert:"):
        return fnmatchcase(attribute, pattern)
    if not attribute.startswith("cert:"):
        return False
    return _all_match(_attributes(attribute[5:]), _attributes(pattern[5:]))


def _attributes(subject: str) -> list[str]:
    return _ATTRIBUTE.findall(subject + ",")[:-1]


def _all_match(values: list[str], patterns: list[str]) -> bool:
    # Which patterns may have been used up by the values so far; a bare * stays.
    reached = {0}
    for value in values:
        beyond = {at + 1 for at in reached if at < len(patterns) and fnmatchcase(value, patterns[at])}
        staying = {at for at in reached if at > 0 and patterns[at - 1] == "*"}
        reached = beyond | staying
    return len(patterns) in reached


# -- from a file's content


class _Table:
    """
    One table of the file, which says what is wrong with it.

    :param name: the file's
    :param prefix: what stands before its keys: C{"grant[1]."}
    """

    def __init__(self, name: str, prefix: str, table: Mapping[str, object], known: Sequence[str]) -> None:
        self._name = name
        self._prefix = prefix
        self._table = table
        for key in table:
            if key not in known:
                self.fail(key, f"there is no such key; there are {', '.join(known)}")

    def fail(self, key: str, reason: str) -> NoReturn:
        raise AccessError(f"{self._name}: {printable(self._prefix + key)}: {printable(reason)}")

    def level(self, key: str) -> Level | None:
        value = self._table.get(key)
        if value is None:
            return None
        if isinstance(value, str):
            with suppress(ValueError):
                return Level.of(value)
        self.fail(key, f"{value!r} is not a level: none, observe, operate or admin")

    def strings(self, key: str) -> tuple[str, ...]:
        value = self._table.get(key, [])
        if not isinstance(value, list):
            self.fail(key, f"a list of strings is expected, not {value!r}")
        for each in value:
            if not isinstance(each, str) or not each:
                self.fail(key, f"a list of strings is expected, with {each!r} in it")
        return tuple(value)

    def string(self, key: str) -> str | None:
        value = self._table.get(key)
        if value is not None and (not isinstance(value, str) or not value):
            self.fail(key, f"a string is expected, not {value!r}")
        return value


def parse_rules(document: Mapping[str, object], name: str) -> Rules:
    """
    :param document: what was read from the file
    :param name: the file's name, for the error
    :return: the rules
    :raise AccessError: when something in it can't be used
    """
    top = _Table(name, "", document, ("default", "grant"))
    default = top.level("default")
    tables = document.get("grant", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        top.fail("grant", "each grant is a table of its own: [[grant]]")
    grants = tuple(_parse_grant(table, f"grant[{number}]", name) for number, table in enumerate(tables, 1))
    return Rules(Level.NONE if default is None else default, grants)


def _parse_grant(document: Mapping[str, object], where: str, name: str) -> Grant:
    table = _Table(name, f"{where}.", document, ("who", "level", "also", "never", "endpoint"))
    who = table.strings("who")
    if not who:
        table.fail("who", "at least one identity is expected")
    for pattern in who:
        kind, _, rest = pattern.partition(":")
        if pattern not in ("*", "local") and not (kind in KINDS and rest):
            table.fail("who", f"{pattern!r} is not a pattern for an identity: {':..., '.join(KINDS)}:..., local or *")
    endpoint = table.string("endpoint")
    return Grant(
        who,
        table.level("level"),
        table.strings("also"),
        table.strings("never"),
        None if endpoint is None else endpoint_name(endpoint),
    )
