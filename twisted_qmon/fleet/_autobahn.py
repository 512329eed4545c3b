"""
What is used of Autobahn. It is imported here only, since txaio has to know first that it runs on Twisted: some of Autobahn's
modules take functions out of txaio while they are imported. A process that has chosen asyncio before can't have a fleet.
"""

from __future__ import annotations

import txaio

txaio.use_twisted()

from autobahn.exception import PayloadExceededError  # noqa: E402
from autobahn.twisted.rawsocket import WampRawSocketClientFactory, WampRawSocketClientProtocol  # noqa: E402
from autobahn.twisted.wamp import ApplicationSession  # noqa: E402
from autobahn.twisted.websocket import WampWebSocketClientFactory, WampWebSocketClientProtocol  # noqa: E402
from autobahn.wamp import message  # noqa: E402
from autobahn.wamp.exception import ApplicationError, SerializationError, TransportLost  # noqa: E402
from autobahn.wamp.interfaces import IMessage  # noqa: E402
from autobahn.wamp.serializer import CBORSerializer  # noqa: E402
from autobahn.wamp.types import (  # noqa: E402
    CallDetails,
    CallOptions,
    Challenge,
    CloseDetails,
    ComponentConfig,
    EventDetails,
    PublishOptions,
    RegisterOptions,
    SessionDetails,
    SubscribeOptions,
)

__all__ = [
    "ApplicationError",
    "ApplicationSession",
    "CBORSerializer",
    "CallDetails",
    "CallOptions",
    "Challenge",
    "CloseDetails",
    "ComponentConfig",
    "EventDetails",
    "IMessage",
    "PayloadExceededError",
    "PublishOptions",
    "RegisterOptions",
    "SerializationError",
    "SessionDetails",
    "SubscribeOptions",
    "TransportLost",
    "WampRawSocketClientFactory",
    "WampRawSocketClientProtocol",
    "WampWebSocketClientFactory",
    "WampWebSocketClientProtocol",
    "message",
]
