"""
Which router, and as whom to connect to it: the options, the environment, the connection.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from twisted_qmon.fleet.router import REALM, Router, read_ticket
from twisted_qmon.shell.connecting import reason_of
from twisted_qmon.shell.errors import NoConnection, UsageError

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from twisted_qmon.fleet.client import FleetClient
    from twisted_qmon.fleet.interfaces import FleetGap, IFleet, IFleetClient

__all__ = ["VARIABLES", "Login", "add_options", "login_of"]

#: The environment variables that have the values of options that are not given.
VARIABLES = {
    "realm": "QMON_FLEET_REALM",
    "authid": "QMON_FLEET_AUTHID",
    "ticket": "QMON_FLEET_TICKET",
    "ca": "QMON_FLEET_CA",
}


def add_options(parser: ArgumentParser) -> None:
    """Add the options that say who connects, and how."""
    helps = {
        "realm": ("REALM", f"the realm of the fleet (default: {REALM})"),
        "authid": ("NAME", "as whom to connect (default: anonymous)"),
        "ticket": ("FILE", "the file with the ticket of that name"),
        "ca": ("FILE", "trust the certificates in this file (PEM), not those that the system trusts"),
    }
    for name, (metavar, text) in helps.items():
        parser.add_argument(f"--{name}", metavar=metavar, help=f"{text}; ${VARIABLES[name]}")


class Login(NamedTuple):
    """
    A router, and who connects to it.

    :ivar router: the router
    :ivar authid: who connects; C{None}: anonymous
    :ivar ticket: the secret of that name; C{None}: none is needed
    """

    router: Router
    authid: str | None = None
    ticket: str | None = None

    def connect(self, reactor: IReactorTime) -> Deferred[IFleet]:
        """
        Connect once.

        :return: fires with the connection; fails with L{NoConnection} when there is none
        """
        from twisted_qmon.fleet._connection import connect

        return connect(reactor, self.router, self.authid, self.ticket).addErrback(self._no_connection)

    def _no_connection(self, failure: Failure) -> NoReturn:
        error = failure.value
        if isinstance(error, (CancelledError, NoConnection)) or not isinstance(error, Exception):
            failure.raiseException()
        why = error.__cause__ if isinstance(error.__cause__, Exception) else error
        raise NoConnection(f"no connection to {self.router.url}: {reason_of(why)}")

    def client(
        self,
        reactor: IReactorTime,
        on_connection: Callable[[bool, str], object],
        on_gap: Callable[[FleetGap], object] | None = None,
    ) -> FleetClient:
        """
        :param on_connection: called when the connection is there, and when it was lost
        :param on_gap: called when events are missing
        :return: what connects again and again, not connected yet
        """
        from twisted_qmon.fleet.client import FleetClient

        return FleetClient(
            reactor,
            self.router.url,
            realm=self.router.realm,
            ca=self.router.ca,
            authid=self.authid,
            ticket=self.ticket,
            on_gap=on_gap,
            on_connection=on_connection,
        )

    async def connected(self, client: IFleetClient) -> None:
        """
        Connect a client of L{client}.

        :raise NoConnection: when the first attempt fails
        """
        await client.connect().addErrback(self._no_connection)


def login_of(options: Namespace) -> Login:
    """
    :param options: those of L{add_options}, and C{url}
    :return: who connects, and where to
    :raise UsageError: when an option is not valid, or the file of the ticket can't be read
    """
    given = {name: getattr(options, name) or os.environ.get(variable) or None for name, variable in VARIABLES.items()}
    try:
        router = Router.parse(options.url, given["realm"] or REALM, given["ca"])
        if given["ticket"] is None:
            return Login(router, given["authid"])
        if given["authid"] is None:
            raise UsageError(f"--ticket is that of a name: --authid NAME, or ${VARIABLES['authid']}")
        router.check_ticket()
        return Login(router, given["authid"], read_ticket(given["ticket"]))
    except ValueError as error:
        raise UsageError(str(error)) from None
