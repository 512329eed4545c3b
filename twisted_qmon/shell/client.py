"""
QMP over a blocking socket, without Twisted: for commands that run and end, where every millisecond of start-up is waited for.

L{QMPClient<twisted_qmon.qmp.client.QMPClient>} is the client for everything else.
"""

from __future__ import annotations

import json
import select
import socket
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

from twisted_qmon.errors import CommandError, GenericError
from twisted_qmon.qmp.json.limits import MAX_MESSAGE
from twisted_qmon.shell.address import Address
from twisted_qmon.shell.errors import NoConnection, TimedOut

if TYPE_CHECKING:
    from twisted_qmon.info import JSON
    from twisted_qmon.qmp.json.reader import MessageReader
    from twisted_qmon.shell.address import Destination

__all__ = ["CONNECT_TIMEOUT", "Client", "connect", "open_socket"]

#: Seconds for the connection, the greeting and the negotiation together. A QEMU monitor that serves another client accepts the
#: connection and says nothing.
CONNECT_TIMEOUT = 10.0

#: Seconds in which the server has to confirm that it has cancelled a command.
CANCEL_TIMEOUT = 1.0

_CHUNK = 1 << 18


class Client:
    """
    One connection to a QMP server.

    :param connection: connected; closed by L{close}
    :param keep_events: events that come while a reply is waited for are kept for L{next_event}, not dropped
    :ivar output: the descriptor of where the messages are written to: when that has no reader any more, none is waited for
    :ivar greeting: the C{QMP} member of the greeting
    :ivar oob: out-of-band execution is enabled
    """

    def __init__(self, connection: socket.socket, *, keep_events: bool = False) -> None:
        self._socket = connection
        self.output: int | None = None
        self._keep_events = keep_events
        self._events: deque[Mapping[str, JSON]] = deque()
        self.greeting: Mapping[str, JSON] = {}
        self.oob = False
        self._last_id = 0
        self._messages: deque[JSON] = deque()
        self._partial: list[bytes] = []
        self._held = 0
        self._reader: MessageReader | None = None

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    # -- the conversation

    def negotiate(self, deadline: float | None = None) -> None:
        """
        Read the greeting and negotiate the capabilities.

        :param deadline: in C{time.monotonic()}
        :raise NoConnection: when the server does not do it, or not in time
        """
        try:
            first = self.read(deadline)
        except TimeoutError:
            raise NoConnection(
                "the server did not greet: it may be stuck (then ask its watchdog), serve another client (a QEMU monitor has "
                "one at a time), or be no QMP server"
            ) from None
        if not isinstance(first, dict) or not isinstance(first.get("QMP"), dict):
            raise NoConnection("this is not a QMP server: it does not begin with a greeting")
        self.greeting = first["QMP"]
        capabilities = self.greeting.get("capabilities")
        self.oob = isinstance(capabilities, list) and "oob" in capabilities
        try:
            self.execute("qmp_capabilities", {"enable": ["oob"]} if self.oob else None, deadline=deadline)
        except TimeoutError:
            raise NoConnection("the server did not complete the negotiation") from None
        except CommandError as error:
            raise NoConnection(f"the server refuses the negotiation: {error.desc}") from None

    def send(self, name: str, arguments: Mapping[str, JSON] | None = None, *, oob: bool = False) -> int:
        """
        Send a request.

        :return: its id
        :raise NoConnection: when the connection is lost
        """
        self._last_id += 1
        message: dict[str, JSON] = {"exec-oob" if oob else "execute": name}
        if arguments:
            message["arguments"] = arguments
        message["id"] = self._last_id
        self._socket.settimeout(None)
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise NoConnection(f"the connection was lost: {error.strerror or error}") from None
        return self._last_id

    def reply(self, number: int, deadline: float | None = None) -> JSON:
        """
        Wait for the reply to a request.

        :param number: the request's id
        :param deadline: in C{time.monotonic()}
        :return: the result
        :raise CommandError: what it is answered with
        :raise TimeoutError: when it has not come by then; it may still be waited for
        :raise NoConnection: when the connection is lost
        """
        while True:
            message = self.read(deadline)
            if not isinstance(message, dict):
                # QEMU writes a number that is out of range as "inf".
                raise GenericError("The reply is not JSON")
            if "event" in message:
                if self._keep_events:
                    self._events.append(message)
            elif message.get("id", number) == number:
                if "return" in message:
                    result: JSON = message["return"]
                    return result
                raise _error(message)

    def execute(
        self,
        name: str,
        arguments: Mapping[str, JSON] | None = None,
        *,
        deadline: float | None = None,
        oob: bool = False,
    ) -> JSON:
        """L{send}, and the L{reply}."""
        return self.reply(self.send(name, arguments, oob=oob), deadline)

    def run(
        self,
        name: str,
        arguments: Mapping[str, JSON] | None = None,
        *,
        timeout: float | None = None,
        oob: bool = False,
    ) -> JSON:
        """
        L{execute} for a person: it is cancelled at the server when it takes too long, and when the person interrupts it.

        :param timeout: in seconds
        :raise TimedOut: when it took longer
        """
        number = self.send(name, arguments, oob=oob)
        try:
            return self.reply(number, None if timeout is None else time.monotonic() + timeout)
        except TimeoutError:
            self.cancel(number)
            raise TimedOut(f"Command '{name}' timed out after {timeout:g} s") from None
        except KeyboardInterrupt:
            self.cancel(number)
            raise

    def cancel(self, number: int) -> None:
        """Have the server cancel a request, where it can."""
        deadline = time.monotonic() + CANCEL_TIMEOUT
        try:
            self.execute("cancel-command", {"id": number}, deadline=deadline, oob=self.oob)
        except (CommandError, NoConnection, TimeoutError):
            # A QEMU has no such command; or the request was answered before.
            return

    def next_event(self, deadline: float | None = None) -> Mapping[str, JSON]:
        """
        Wait for an event.

        :param deadline: in C{time.monotonic()}
        :raise TimeoutError: when none has come by then
        :raise NoConnection: when the connection is lost
        """
        while not self._events:
            message = self.read(deadline)
            if isinstance(message, dict) and "event" in message:
                return message
        return self._events.popleft()

    # -- bytes

    def read(self, deadline: float | None = None) -> JSON:
        """
        Wait for a message.

        :param deadline: in C{time.monotonic()}
        :return: its JSON value; C{None} for what is not JSON
        :raise TimeoutError: when it has not come by then
        :raise NoConnection: when the connection is lost
        :raise BrokenPipeError: when the output has no reader
        """
        while not self._messages:
            if self._held > MAX_MESSAGE:
                raise NoConnection(f"the server sends a message of more than {MAX_MESSAGE} bytes")
            data = self._receive(deadline)
            if not data:
                # Behind an endpoint of Twisted's it is known why.
                raise NoConnection(getattr(self._socket, "reason", "") or "the server closed the connection")
            if self._reader is not None:
                self._feed_reader(data)
            else:
                self._feed(data)
        return self._messages.popleft()

    def _receive(self, deadline: float | None) -> bytes:
        if self.output is not None:
            self._wait(self.output, deadline)
        # Zero would mean something else: what is there already is read, however late it is.
        self._socket.settimeout(None if deadline is None else max(0.001, deadline - time.monotonic()))
        try:
            return self._socket.recv(_CHUNK)
        except TimeoutError:
            raise
        except OSError as error:
            raise NoConnection(f"the connection was lost: {error.strerror or error}") from None

    def _wait(self, output: int, deadline: float | None) -> None:
        """Wait until something has come, or the deadline has passed. What the output is a pipe to may end while nothing comes."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        # An error is told unasked: of a pipe, that it has no reader.
        poll.register(output, 0)
        ready = dict(poll.poll(None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000))
        if self._socket.fileno() not in ready and ready.get(output, 0) & select.POLLERR:
            raise BrokenPipeError

    def _feed(self, data: bytes) -> None:
        """One message a line, as servers write them."""
        if b"\n" not in data:
            self._partial.append(data)
            self._held += len(data)
            return
        lines = b"".join([*self._partial, data]).split(b"\n")
        self._partial = [lines[-1]]
        self._held = len(lines[-1])
        for index, line in enumerate(lines[:-1]):
            if not line.strip():
                continue
            try:
                self._messages.append(json.loads(line))
            except (ValueError, RecursionError):
                # A message of many lines (C{pretty=on}), or none at all: the reader of QEMU's dialect can tell.
                from twisted_qmon.qmp.json.reader import MessageReader

                self._partial = []
                self._reader = MessageReader(max_message=MAX_MESSAGE)
                self._feed_reader(b"\n".join(lines[index:]))
                return

    def _feed_reader(self, data: bytes) -> None:
        from twisted_qmon.qmp.json.reader import CommandMessage, Malformed

        assert self._reader is not None
        self._reader.feed(data)
        while batch := self._reader.next_batch():
            # It makes values of what is no command.
            self._messages.extend(
                value if not isinstance(value, (Malformed, CommandMessage)) else None for value in batch
            )
        self._held = self._reader.buffered


def _error(reply: Mapping[str, JSON]) -> CommandError:
    error = reply.get("error")
    if isinstance(error, dict) and isinstance(error.get("class"), str) and isinstance(error.get("desc"), str):
        return CommandError.from_wire(error["class"], error["desc"])
    return GenericError(f"The server sent a malformed reply: {json.dumps(reply):.200}")


def open_socket(address: Destination, timeout: float) -> socket.socket:
    """
    Connect to an address.

    :param timeout: in seconds
    :raise NoConnection: when it can't be
    """
    if not isinstance(address, Address) or not address.is_plain:
        from twisted_qmon.shell.relay import connect_endpoint

        return connect_endpoint(address, timeout)
    try:
        if not address.path:
            return socket.create_connection((address.host, address.port), timeout)
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(timeout)
            connection.connect(address.path)
        except BaseException:
            connection.close()
            raise
        return connection
    except OSError as error:
        raise NoConnection(f"{error.strerror or error}") from None


def connect(
    address: Destination,
    *,
    timeout: float = CONNECT_TIMEOUT,
    keep_events: bool = False,
) -> Client:
    """
    Connect and negotiate.

    :param timeout: in seconds
    :param keep_events: see L{Client}
    :raise NoConnection: when it comes to nothing; it names the address
    """
    deadline = time.monotonic() + timeout
    try:
        client = Client(open_socket(address, timeout), keep_events=keep_events)
        try:
            client.negotiate(deadline)
        except BaseException:
            client.close()
            raise
    except NoConnection as error:
        raise NoConnection(f"no connection to {address.text}: {error}") from None
    return client
