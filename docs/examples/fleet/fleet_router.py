"""
The router's part in a fleet of monitors: who may join (L{create_authenticator}), what a member may do (L{Authorizer}), and who
is there (L{Directory}). Crossbar.io imports this; C{router.yaml} and C{router-tls.yaml} name it.

It also makes tickets::

    python fleet_router.py web-1 member > web-1.ticket
    python fleet_router.py ops-alice operator > ops-alice.ticket

Each adds an entry to C{tickets.toml}, which the router reads again when it has changed. The file has a hash of each ticket, with
which none can join.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: How the names of those that have a role begin. The members' C{access.toml} grants levels by these names.
PREFIXES = {"observer": "view-", "operator": "ops-", "admin": "admin-"}

#: What a name may consist of. A dot would make it a part of another member's addresses.
NAME = re.compile("[A-Za-z0-9_-]+")


def refusal(name: str, role: str) -> str:
    """:return: why that name can't have that role; empty if it can"""
    if not NAME.fullmatch(name):
        return f"{name!r} is not a name: it has other characters than A-Z, a-z, 0-9, '_' and '-'"
    if role != "member" and role not in PREFIXES:
        return f"{role!r} is not a role: member, {', '.join(PREFIXES)}"
    needed = PREFIXES.get(role, "")
    if not name.startswith(needed):
        return f"the name of an {role} begins with {needed!r}"
    if role == "member" and name.startswith(tuple(PREFIXES.values())):
        return f"the name of a member does not begin with {', '.join(map(repr, PREFIXES.values()))}"
    return ""


def hash_of(ticket: str) -> str:
    """:return: what is kept of a ticket; it is long and random, so that no salt is needed"""
    return hashlib.sha256(ticket.encode()).hexdigest()


class Tickets:
    """
    Who may join.

    :param path: of the file; if it is not there, none may
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[int, int] | None = None
        self._entries: dict[str, dict[str, str]] = {}

    def entries(self) -> dict[str, dict[str, str]]:
        """
        :return: by name, C{role} and C{sha256}
        :raise ValueError: when the file is not TOML
        """
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return {}
        version = (found.st_mtime_ns, found.st_size)
        if version != self._read:
            self._entries = tomllib.loads(self._path.read_text()).get("tickets", {})
            self._read = version
        return self._entries

    def role(self, name: str, ticket: str) -> str:
        """:return: the role of the name, if the ticket is its own; empty if it is not"""
        entry = self.entries().get(name)
        if entry is None or not hmac.compare_digest(entry["sha256"], hash_of(ticket)):
            return ""
        return "" if refusal(name, entry["role"]) else entry["role"]

    def add(self, name: str, role: str) -> str:
        """
        Make a ticket.

        :return: it
        :raise ValueError: when the name has one, or may not have that role
        """
        reason = refusal(name, role)
        if not reason and name in self.entries():
            reason = f"{name!r} has a ticket: take its lines out of {self._path} first"
        if reason:
            raise ValueError(reason)
        ticket = secrets.token_urlsafe(32)
        with open(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as file:
            file.write(f'[tickets."{name}"]\nrole = "{role}"\nsha256 = "{hash_of(ticket)}"\n\n')
        return ticket


def create_authenticator(config, controller):  # type: ignore[no-untyped-def]
    """
    Called by Crossbar.io once, with what C{"config"} beside C{"create"} has: C{"tickets"}, the path of the file.

    :return: called for each who wants to join
    """
    from autobahn.wamp.exception import ApplicationError

    tickets = Tickets(Path(__file__).parent / config.get("tickets", "tickets.toml"))

    def authenticate(realm, authid, details):  # type: ignore[no-untyped-def]
        role = tickets.role(authid or "", details["ticket"])
        if not role:
            raise ApplicationError("wamp.error.authentication_failed", f"the ticket of {authid!r} is not valid")
        return {"realm": realm, "authid": authid, "role": role}

    return authenticate


def may(name: str, action: str, uri: str, match: str) -> bool:
    """
    :param name: of the member, as it was authenticated
    :param action: C{"register"}, C{"publish"}, C{"call"} or C{"subscribe"}
    :param match: C{"exact"}, or how else the address is meant
    :return: whether the member may do it: offer what is its own, and tell of it
    """
    if action == "register":
        return match in ("exact", "prefix") and uri.startswith(f"qmon.{name}.")
    return action == "publish" and uri.startswith(f"qmon.{name}.event.")


try:
    from autobahn.twisted.wamp import ApplicationSession
except ImportError:
    # To make a ticket nothing else is needed.
    pass
else:

    class Authorizer(ApplicationSession):  # type: ignore[misc]
        """Answers the router when a member wants to do something."""

        async def onJoin(self, details):  # type: ignore[no-untyped-def]
            """The realm is there."""
            await self.register(self.authorize, "fleet_router.authorize")

        def authorize(self, session, uri, action, options):  # type: ignore[no-untyped-def]
            """
            :return: what Crossbar.io takes. It must not be cached: the router would keep it for the role, that is for all
                members.
            """
            match = (options or {}).get("match") or "exact"
            return {"allow": may(session["authid"], action, uri, match), "disclose": True, "cache": False}

    class Directory(ApplicationSession):  # type: ignore[misc]
        """
        Tells all members in one answer. WAMP itself has a question for each, which takes seconds with thousands of them. Without
        this, that is what callers do.
        """

        async def onJoin(self, details):  # type: ignore[no-untyped-def]
            """The realm is there; no member can be yet."""
            self.registrations = {}
            await self.subscribe(self.created, "wamp.registration.on_create")
            await self.subscribe(self.deleted, "wamp.registration.on_delete")
            await self.register(self.members, "fleet_router.members")

        def created(self, session, registration):  # type: ignore[no-untyped-def]
            """Something is offered: that of a member is a prefix, C{qmon.NAME.}."""
            if registration["match"] == "prefix" and registration["uri"].startswith("qmon."):
                self.registrations[registration["id"]] = registration["uri"]

        def deleted(self, session, registration):  # type: ignore[no-untyped-def]
            """It is offered no more."""
            self.registrations.pop(registration, None)

        def members(self):  # type: ignore[no-untyped-def]
            """:return: the id of each member's registration, and what it begins with"""
            return [list(each) for each in self.registrations.items()]


def main() -> int:
    """Make a ticket, and print it."""
    if len(sys.argv) != 3:
        print("usage: python fleet_router.py NAME member|observer|operator|admin", file=sys.stderr)
        return 2
    try:
        print(Tickets(Path(__file__).parent / "tickets.toml").add(*sys.argv[1:]))
    except (OSError, ValueError) as error:
        print(f"fleet_router: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
