"""
The server endpoint C{mtls:}, for any program that takes Twisted's endpoint descriptions.

Each of them imports this file when it looks for endpoints. So it imports nothing that may not be installed, and nothing of
twisted_qmon, before such an endpoint is asked for.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import IPlugin
from zope.interface import implementer


@implementer(IPlugin, IStreamServerEndpointStringParser)
class _MutualTLSParser:
    """C{mtls:PORT:interface=HOST:key=FILE:cert=FILE:ca=FILE}."""

    prefix = "mtls"

    def parseStreamServer(self, reactor: Any, *arguments: Any, **options: Any) -> Any:
        """
        :return: provides C{IStreamServerEndpoint}
        :raise ValueError: when an argument is missing, unknown or wrong, or TLS is not installed
        """
        from twisted_qmon._transport.mtls import parse

        return parse(reactor, *arguments, **options)


mtls = _MutualTLSParser()
