"""Sessions over SSH: what a client may ask for, and what a session is as a transport."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from twisted.conch.ssh.common import NS
from twisted.conch.ssh.keys import Key
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.support.ssh_client import Channel, Client, new_key
from twisted_qmon import CommandProvider, HMPFactory, Monitor, QMPFactory, command
from twisted_qmon._transport.connection import LINGER
from twisted_qmon.hmp.protocol import HMPProtocol
from twisted_qmon.ssh.authorized_keys import AuthorizedKeys
from twisted_qmon.ssh.channel import HIGH_WATER, WINDOW, SessionChannel
from twisted_qmon.ssh.command import FAILED, INTERRUPTED, CommandFactory
from twisted_qmon.ssh.connection import MAX_SESSIONS
from twisted_qmon.ssh.factory import MAX_LOGINS, SSHFactory
from twisted_qmon.ssh.login import LOGIN_ATTEMPTS, LOGIN_TIMEOUT
from twisted_qmon.ssh.transport import MAX_LOGIN_BYTES

HOST_KEY, KEY, OTHER = new_key(), new_key(), new_key()
P = "(qmon) "


class Commands(CommandProvider):
    """Commands of every kind."""

    def __init__(self) -> None:
        self.waiting: Deferred[str] | None = None
        self.ran: list[str] = []

    @command
    def now(self, text: str) -> str:
        """answer at once"""
        self.ran.append(text)
        return text

    @command(on_disconnect="cancel")
    def slow(self) -> Deferred[str]:
        """answer later"""
        self.waiting = Deferred()
        return self.waiting

    @command
    def query_big(self, size: int) -> str:
        """say a lot"""
        return "x" * size


class SSHCase(SynchronousTestCase):
    """Has a server, and one key that may log in."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.monitor = Monitor(clock=self.clock)
        self.commands = Commands()
        self.monitor.register(self.commands)
        self.path = Path(mkdtemp()) / "keys"
        self.authorize(KEY)
        self.factory = self.make_factory()

    def authorize(self, key: Key, options: str = "") -> None:
        self.path.write_text(f"{options}{key.public().toString('openssh').decode()} alice\n")

    def make_factory(self, max_connections: int = 4096, **options: Any) -> SSHFactory:
        return SSHFactory(
            HMPFactory(self.monitor, banner="hello", **options),
            CommandFactory(self.monitor, **options),
            QMPFactory(self.monitor, **options),
            HOST_KEY,
            AuthorizedKeys(str(self.path)),
            max_connections=max_connections,
        )

    def connect(self, *keys: Key, **options: Any) -> Client:
        return Client(self.factory, self.clock, *(keys or (KEY,)), **options)

    def channel_of(self, client: Client, number: int = 0) -> SessionChannel:
        channel = client.server.service.channels[number]
        assert isinstance(channel, SessionChannel)
        return channel


class SessionTests(SSHCase):
    """Shells, commands, subsystems."""

    def test_interfaces(self) -> None:
        """A session is a transport, as far as Twisted's interfaces say what that is."""
        client = self.connect()
        client.open()
        for interface in (ITransport, IPushProducer, IConsumer):
            verifyObject(interface, self.channel_of(client))

    def test_shell(self) -> None:
        """Without a terminal lines are run as they come; C{exit} ends it with status 0."""
        client = self.connect()
        channel = client.shell()
        self.assertEqual(channel.answers, [True])
        self.assertEqual(channel.take(), f"hello\r\n{P}")
        self.assertEqual(client.type(channel, "now a\n"), f"a\r\n{P}")
        client.type(channel, "exit\n")
        self.assertEqual((channel.status, channel.ended, channel.gone), (0, True, True))

    def test_terminal(self) -> None:
        """With a terminal lines are edited; its size is known and followed."""
        client = self.connect()
        channel = client.shell((40, 10))
        self.assertEqual(channel.answers, [True, True])
        self.assertEqual(channel.take(), f"hello\r\n\x1b[?2004h{P}")
        self.assertEqual(client.type(channel, "nowx\x7f a\r"), f"now a\r\na\r\n{P}")
        channel.ask(b"window-change", struct.pack(">4L", 20, 5, 0, 0), reply=False)
        client.pump()
        channel.take()
        self.assertEqual(client.type(channel, "y" * 15), "y" * 13 + "yy")
        protocol: Any = self.channel_of(client).protocol
        self.assertEqual((protocol._editor._painter.columns, protocol._editor._painter.rows), (20, 5))

    def test_terminals_that_are_refused(self) -> None:
        """A dumb one, and one of a key that may have none: the session has lines then. A size without a terminal is none."""
        client = self.connect()
        channel = client.shell((40, 10), term=b"dumb")
        self.assertEqual(channel.answers, [False, True])
        channel.ask(b"window-change", struct.pack(">4L", 20, 5, 0, 0))
        client.pump()
        self.assertEqual(channel.answers[2:], [False])
        self.authorize(KEY, "restrict ")
        self.assertEqual(self.connect().shell((40, 10)).answers, [False, True])

    def test_signals(self) -> None:
        """SIGINT cancels what is pending; others do nothing."""
        client = self.connect()
        channel = client.shell()
        client.type(channel, "slow\n")
        for name in (b"TERM", b"INT"):
            channel.ask(b"signal", NS(name), reply=False)
        client.pump()
        self.assertIn("Command 'slow' was cancelled", channel.take())
        channel = client.open()
        channel.ask(b"signal", NS(b"INT"))
        client.pump()
        self.assertEqual(channel.answers, [False])

    def test_commands(self) -> None:
        """One line: its output, its errors apart, its status; nothing that comes is read, nothing has to be confirmed."""
        client = self.connect()
        for line, out, err, status in (
            ("now a", "a\n", "", 0),
            ("", "", "", 0),
            ("nothing", "", "unknown command: 'nothing'\n", FAILED),
            (
                "now a\nend",
                "",
                'now: extraneous characters at the end of line\nTry "help now" for more information\n',
                FAILED,
            ),
        ):
            channel = client.run(line)
            self.assertEqual((channel.out.decode(), channel.status), (out, status))
            self.assertEqual(channel.err.decode(), err)
            self.assertTrue(channel.gone)
        channel = client.run("slow")
        client.type(channel, "now c\n")
        client.connection.sendEOF(channel)
        client.pump()
        assert self.commands.waiting is not None
        self.commands.waiting.callback("done")
        client.pump()
        self.assertEqual((channel.out, channel.status), (b"done\n", 0))
        self.assertEqual(self.commands.ran, ["a"])
        channel = client.open()
        channel.ask(b"exec", NS(b"now \xff"))
        client.pump()
        self.assertIn(b"the line is not UTF-8", channel.err)

    def test_a_command_for_a_terminal(self) -> None:
        """Its lines end in CR LF."""
        client = self.connect()
        channel = client.open()
        channel.ask(b"pty-req", NS(b"xterm") + struct.pack(">4L", 80, 24, 0, 0) + NS(b""))
        channel.ask(b"exec", NS(b"now a"))
        client.pump()
        self.assertEqual(channel.out, b"a\r\n")

    def test_a_command_that_is_interrupted(self) -> None:
        """Ends with the status that interrupted programs have."""
        client = self.connect()
        channel = client.run("slow")
        channel.ask(b"signal", NS(b"INT"))
        client.pump()
        self.assertEqual((channel.out, channel.status), (b"", INTERRUPTED))
        self.assertIn(b"was cancelled", channel.err)

    def test_qmp(self) -> None:
        """The subsystem is QMP, and the caller has the key's identity."""
        client = self.connect()
        channel = client.subsystem()
        self.assertIn('"QMP"', channel.take())
        client.type(channel, '{"execute": "qmp_capabilities"}')
        reply = json.loads(client.type(channel, '{"execute": "query-whoami"}'))["return"]
        self.assertRegex(reply["identity"], r"^ssh:SHA256:[\w+/]{43} \(alice\)$")
        self.assertEqual(reply["level"], "admin")
        client.connection.sendEOF(channel)
        client.pump()
        self.assertEqual((channel.status, channel.gone), (0, True))

    def test_what_is_refused(self) -> None:
        """Other requests, other subsystems, a second one, and what is not complete."""
        client = self.connect()
        channel = client.open()
        for kind, data in (
            (b"env", NS(b"A") + NS(b"b")), (b"x11-req", bytes(20)), (b"auth-agent-req@openssh.com", b""),
            (b"subsystem", NS(b"sftp")), (b"subsystem", b""), (b"pty-req", NS(b"xterm") + b"\0"), (b"exec", b"\0\0\1"),
            (b"window-change", b""), (b"\xff", b""), (b"signal", b""),
        ):  # fmt: skip
            channel.ask(kind, data)
        client.pump()
        self.assertEqual(channel.answers, [False] * 10)
        channel.ask(b"shell")
        for kind in (b"shell", b"exec", b"subsystem", b"pty-req"):
            channel.ask(kind, NS(b"qmp") + bytes(30))
        client.pump()
        self.assertEqual(channel.answers[10:], [True, False, False, False, False])

    def test_other_channels(self) -> None:
        """Nothing is forwarded, in either direction; the connection stays."""
        client = self.connect()
        channel = Channel(conn=client.connection)
        channel.name = b"direct-tcpip"
        client.connection.openChannel(channel, NS(b"127.0.0.1") + bytes(4) + NS(b"x") + bytes(4))
        asked = client.connection.sendGlobalRequest(b"tcpip-forward", NS(b"") + bytes(4), wantReply=True)
        client.pump()
        self.assertTrue(channel.failed)
        self.failureResultOf(asked)
        self.assertEqual(client.run("now a").out, b"a\n")

    def test_many_sessions(self) -> None:
        """A connection has so many at most; a factory that has as many as it takes refuses more."""
        client = self.connect()
        channels = [client.shell() for _ in range(MAX_SESSIONS)]
        self.assertTrue(client.open().failed)
        client.connection.sendClose(channels[0])
        client.pump()
        self.assertEqual(client.shell().answers, [True])
        self.factory = self.make_factory()
        for factory in (self.factory.people, self.factory.commands, self.factory.machines):
            factory.max_connections = 1
        client = self.connect()
        self.assertEqual([client.shell().answers for _ in range(2)], [[True], [False]])
        self.assertEqual([client.run("slow").answers for _ in range(2)], [[True], [False]])
        self.assertEqual([client.subsystem().answers for _ in range(2)], [[True], [False]])

    def test_no_access(self) -> None:
        """Who may do nothing here is told so, with the status of a failure where there is one."""
        self.factory.level = self.factory.level.NONE
        client = self.connect()
        self.assertIn("Permission denied: ssh:SHA256:", client.shell().take())
        channel = client.run("now a")
        self.assertEqual((channel.out, channel.status), (b"", FAILED))
        self.assertIn(b"has no access here", channel.err)

    def test_a_protocol_that_fails(self) -> None:
        """Ends its session, as with a socket; the failure is logged."""
        client = self.connect()
        channel = client.shell()
        protocol: Any = self.channel_of(client).protocol
        protocol.dataReceived = lambda data: 1 / 0
        client.type(channel, "x\n")
        self.assertTrue(channel.gone)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.patch(HMPProtocol, "connectionMade", lambda self: 1 / 0)
        protocol = client.shell()
        self.assertTrue(protocol.gone)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        # What it had not begun it can't end.
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)


class BackPressureTests(SSHCase):
    """A client that reads slowly, or not at all; one that sends more than is taken."""

    def test_a_window_that_is_used_up(self) -> None:
        """A session is suspended while its client gives it no room, and others of the connection are not."""
        client = self.connect()
        channel = client.subsystem(window=1000, packet=100)
        channel.take()
        # The client's conch would give room again at once.
        adjust = client.connection.adjustWindow
        self.patch(client.connection, "adjustWindow", lambda channel, size: None)
        client.type(channel, '{"execute": "qmp_capabilities"}')
        size = 10 * HIGH_WATER
        client.type(
            channel, f'{{"execute": "query-big", "arguments": {{"size": {size}}}}}{{"execute": "query-name", "id": 7}}'
        )
        server = self.channel_of(client)
        self.assertGreater(server.unsent, HIGH_WATER)
        self.assertFalse(server._reading)
        self.assertEqual(client.run("now a", window=1 << 20).out, b"a\n")
        self.patch(client.connection, "adjustWindow", adjust)
        client.connection.adjustWindow(channel, 2 * size)
        channel.localWindowLeft = 2 * size
        client.pump()
        self.assertEqual(server.unsent, 0)
        self.assertIn('"id":7', channel.out.decode()[-60:].replace(" ", ""))

    def test_a_client_that_does_not_read(self) -> None:
        """Nothing is read from it, and not more than so much waits for it; when it reads, all goes on."""
        client = self.connect()
        channel = client.shell(window=1 << 24)
        channel.take()
        client.below.stop_reading()
        client.type(channel, "info big 5000000\n")
        self.assertEqual(client.below.producerState, "paused")
        self.assertTrue(client.server.held)
        self.assertLess(len(client.below.value()), 4 * HIGH_WATER)
        client.type(channel, "now a\n")
        self.assertEqual(self.commands.ran, [])
        client.below.read_on()
        client.pump()
        self.assertEqual(channel.take(), "x" * 5_000_000 + f"\r\n{P}a\r\n{P}")

    def test_requests_of_a_client_that_does_not_read(self) -> None:
        """The answers don't pile up, as nothing more is read."""
        client = self.connect()
        client.below.stop_reading()
        for _ in range(20_000):
            client.connection.sendGlobalRequest(b"keepalive@openssh.com", b"", wantReply=True).addErrback(
                lambda _: None
            )
            if client.below.producerState == "paused":
                break
            client.pump()
        self.assertEqual(client.below.producerState, "paused")
        client.lose()

    def test_a_client_that_sends_more_than_is_taken(self) -> None:
        """What comes while a session is suspended waits, within its window; a client that sends more is cut off."""
        client = self.connect()
        channel = client.subsystem()
        client.type(channel, '{"execute": "qmp_capabilities"}')
        server = self.channel_of(client)
        assert server.protocol is not None
        server.protocol.suspend()
        more = '{"execute": "query-name", "id": 1}' + " " * 1000
        client.type(channel, more * 100)
        self.assertLessEqual(sum(map(len, server._held)), WINDOW)
        self.assertGreater(len(channel.buf), 0)
        self.assertEqual(channel.out, b"")
        server.protocol.resume()
        client.pump()
        client.pump()
        self.assertEqual(channel.out.count(b'"id"'), 100)
        server.protocol.suspend()
        channel.remoteWindowLeft = 1 << 30
        client.type(channel, " " * 2 * WINDOW)
        self.assertTrue(server.localClosed)

    def test_too_long_a_packet(self) -> None:
        """Is more than was offered, for standard error as well; what comes for that otherwise is dropped, and paid back."""
        client = self.connect()
        channel = client.shell()
        for _ in range(5):
            client.connection.sendExtendedData(channel, 1, b"x" * 20_000)
            client.pump()
        self.assertFalse(channel.gone)
        client.connection.sendExtendedData(channel, 1, b"x" * (WINDOW // 2 + 1))
        client.pump()
        self.assertTrue(self.channel_of(client).localClosed if client.server.service.channels else channel.gone)

    def test_an_end_of_input(self) -> None:
        """Comes behind what was sent before it; what is pending is answered."""
        client = self.connect()
        channel = client.open()
        channel.ask(b"shell")
        channel.write(b"slow\nnow a\n")
        client.connection.sendEOF(channel)
        client.pump()
        self.assertFalse(channel.gone)
        assert self.commands.waiting is not None
        self.commands.waiting.callback("done")
        client.pump()
        self.assertIn("done\r\n", channel.take())
        self.assertEqual(self.commands.ran, ["a"])
        self.assertEqual((channel.status, channel.gone), (0, True))

    def test_new_keys(self) -> None:
        """While they are negotiated nothing is sent, and nothing is lost."""
        client = self.connect()
        channel = client.shell(window=1 << 24)
        channel.take()
        client.server.sendKexInit()
        self.channel_of(client).write(b"first")
        self.assertEqual(self.channel_of(client).unsent, 5)
        client.pump()
        self.assertEqual(channel.take(), "first")
        client.transport.sendKexInit()
        client.pump()
        self.assertEqual(client.type(channel, "now a\n"), f"a\r\n{P}")

    def test_aborting(self) -> None:
        """Ends a session at once; the connection too, if its client reads nothing."""
        client = self.connect()
        channel = client.shell()
        other = client.shell()
        server = self.channel_of(client)
        server.abortConnection()
        server.stopProducing()
        server.write(b"dropped")
        server.resumeProducing()
        client.pump()
        self.assertTrue(channel.gone)
        client.below.stop_reading()
        client.type(other, "info big 5000000\n")
        self.channel_of(client, 1).abortConnection()
        self.assertTrue(client.closed)
        self.assertFalse(self.factory.people.connections)

    def test_a_rest_that_is_not_read(self) -> None:
        """A session that is ended is cut off if its client reads nothing of the rest."""
        client = self.connect()
        channel = client.shell(window=100_000)
        self.patch(client.connection, "adjustWindow", lambda channel, size: None)
        client.type(channel, "info big 500000\nexit\n")
        server: Any = self.channel_of(client)
        server.protocol.finish()
        self.clock.advance(LINGER)
        self.clock.advance(LINGER)
        client.pump()
        self.assertEqual(self.factory.people.counters.cut_off, 1)
        self.assertTrue(channel.gone)

    def test_a_client_that_closes(self) -> None:
        """Its pending requests are left; what crosses the end is dropped."""
        client = self.connect()
        channel = client.shell()
        client.type(channel, "slow\n")
        client.connection.sendClose(channel)
        client.transport.sendPacket(93, struct.pack(">2L", 0, 5))
        client.transport.sendPacket(94, struct.pack(">L", 0) + NS(b"late"))
        client.pump()
        self.assertTrue(channel.gone)
        self.assertFalse(self.factory.people.connections)
        waiting = self.commands.waiting
        assert waiting is not None
        self.assertTrue(waiting.called)

    def test_a_client_that_leaves_before_it_is_served(self) -> None:
        """Then it is not."""
        client = self.connect()
        channel = client.open()
        advance = self.clock.advance
        self.patch(self.clock, "advance", lambda seconds: None)
        channel.ask(b"shell")
        client.pump()
        client.lose()
        advance(1)
        self.assertEqual(self.factory.people.counters.accepted, 0)

    def test_a_connection_that_is_lost(self) -> None:
        """All its sessions are."""
        client = self.connect()
        client.shell()
        client.type(client.shell(), "slow\n")
        client.lose()
        self.assertFalse(self.factory.people.connections)


class LoginTests(SSHCase):
    """Who is let in, and for how long one has to try."""

    def test_keys(self) -> None:
        """A key of the file, whatever the name; no other; not the name alone."""
        self.assertTrue(self.connect().logged_in)
        self.assertFalse(self.connect(OTHER).logged_in)
        self.assertTrue(self.connect(OTHER, KEY).logged_in)
        self.authorize(OTHER)
        self.assertFalse(self.connect().logged_in)

    def test_a_key_that_is_taken_away(self) -> None:
        """When the file is read again its owner is disconnected, and what it waits for is cancelled; others go on."""
        self.path.write_text(
            "".join(f"{key.public().toString('openssh').decode()} who\n" for key in (KEY, OTHER)), encoding="ascii"
        )
        one, other, stranger = self.connect(), self.connect(OTHER), self.connect(logs_in=False)
        one.run("slow")
        waiting = self.commands.waiting
        assert waiting is not None
        self.authorize(OTHER)
        self.assertFalse(one.below.disconnected)
        self.factory.reread()
        self.assertTrue(one.below.disconnected)
        self.assertFalse(other.below.disconnected or stranger.below.disconnected)
        one.lose()
        self.assertTrue(waiting.called)
        self.path.unlink()
        self.factory.reread()
        self.assertTrue(other.below.disconnected)

    def test_where_from(self) -> None:
        """C{from=} holds for the key's owner too."""
        self.authorize(KEY, 'from="192.0.2.7" ')
        self.assertTrue(self.connect().logged_in)
        self.assertFalse(self.connect(host="192.0.2.8").logged_in)

    def test_rsa(self) -> None:
        """Signing with SHA-1, as conch's client does, is refused."""
        key = Key(rsa.generate_private_key(65537, 2048))
        self.authorize(key)
        self.assertFalse(self.connect(key).logged_in)

    def test_signatures(self) -> None:
        """That of another key, of another algorithm, and what is none."""
        sign = Key.sign
        for wrong in (
            lambda self, data, signatureType=None: sign(OTHER, data),
            lambda self, data, signatureType=None: NS(b"ssh-rsa") + NS(bytes(64)),
            lambda self, data, signatureType=None: b"x",
        ):
            self.factory = self.make_factory()
            self.patch(
                Key, "sign", lambda self, *a, wrong=wrong, **k: (sign if self == HOST_KEY else wrong)(self, *a, **k)
            )
            self.assertFalse(self.connect().logged_in)

    def test_attempts(self) -> None:
        """So many keys may be tried."""
        client = self.connect(*(new_key() for _ in range(LOGIN_ATTEMPTS + 1)), KEY)
        self.assertFalse(client.logged_in)
        self.assertTrue(client.below.disconnecting)

    def test_time(self) -> None:
        """A client that has not logged in is disconnected after a while, one that has is not."""
        stranger, client = self.connect(logs_in=False), self.connect()
        self.clock.advance(LOGIN_TIMEOUT)
        self.assertTrue(stranger.closed)
        self.assertFalse(client.closed)

    def test_bytes(self) -> None:
        """One that has not logged in may not send without end."""
        stranger = self.connect(logs_in=False)
        stranger.send(b"SSH-2.0-x\r\n")
        # A packet of the type "ignore".
        packet = struct.pack(">LB", 32_772, 10) + b"\x02" + NS(bytes(32_752)) + bytes(10)
        packet = packet[:4] + packet[4:]
        for _ in range(MAX_LOGIN_BYTES // 16_384 + 3):
            if not stranger.closed:
                stranger.send(packet)
        self.assertTrue(stranger.closed)

    def test_what_is_no_ssh(self) -> None:
        """Is disconnected, without a traceback; of a client that has logged in there is one."""
        stranger = self.connect(logs_in=False)
        stranger.send(b"SSH-2.0-x\r\n" + struct.pack(">LB", 12, 10) + b"\x14" + bytes(10))
        self.assertTrue(stranger.closed)
        self.assertEqual(self.flushLoggedErrors(), [])
        client = self.connect()
        client.transport.sendPacket(90, b"\0")
        client.pump()
        self.assertTrue(client.closed)
        self.assertEqual(len(self.flushLoggedErrors(struct.error)), 1)

    def test_many_strangers(self) -> None:
        """The oldest of those from the address that has most of them makes room; those from elsewhere stay."""
        friend = self.connect(logs_in=False, host="192.0.2.9")
        strangers = [self.connect(logs_in=False) for _ in range(MAX_LOGINS + 10)]
        self.assertEqual([each.closed for each in strangers], [True] * 11 + [False] * (MAX_LOGINS - 1))
        self.assertFalse(friend.closed)
        self.assertTrue(self.connect().logged_in)
        self.assertTrue(strangers[11].closed)
        for each in (friend, *strangers):
            if not each.closed:
                each.lose()
        self.assertEqual(self.factory._strangers, {})

    def test_not_twice(self) -> None:
        """A client that has logged in does not do so again, and one that has not gets nothing else."""
        client = self.connect()
        client.transport.sendPacket(5, NS(b"ssh-userauth"))
        client.pump()
        self.assertTrue(client.below.disconnecting)
        stranger = self.connect(OTHER)
        stranger.transport.sendPacket(5, NS(b"ssh-connection"))
        stranger.pump()
        self.assertTrue(stranger.below.disconnecting)


class FactoryTests(SSHCase):
    """Limits of all connections, and their end."""

    def test_what_the_service_sets(self) -> None:
        """Holds for the sessions of each kind."""
        self.factory.level = self.factory.level.OBSERVE
        self.factory.endpoint = "tcp:2222"
        self.factory.ending = True
        for factory in (self.factory.people, self.factory.commands, self.factory.machines):
            self.assertEqual((str(factory.level), factory.endpoint, factory.ending), ("observe", "tcp:2222", True))
        self.assertTrue(self.factory.ending)
        self.assertEqual((self.factory.endpoint, str(self.factory.level)), ("tcp:2222", "observe"))
        self.assertTrue(self.factory.is_restricted)

    def test_connections(self) -> None:
        """There are so many at a time."""
        self.factory = self.make_factory(max_connections=2)
        clients = [self.connect() for _ in range(2)]
        self.assertTrue(self.connect().refused)
        clients[0].lose()
        self.assertFalse(self.connect().refused)

    def test_idle(self) -> None:
        """A connection without a session is closed after the idle time; one with a session that is busy is not."""
        self.factory = self.make_factory(idle_timeout=60)
        client, other = self.connect(), self.connect()
        client.run("now a")
        channel = other.run("slow")
        self.clock.advance(60)
        self.assertTrue(client.below.disconnecting)
        self.clock.advance(60)
        self.assertFalse(other.below.disconnecting)
        assert self.commands.waiting is not None
        self.commands.waiting.callback("done")
        other.pump()
        self.assertTrue(channel.gone)
        self.clock.advance(60)
        self.assertTrue(other.below.disconnecting)

    def test_closing(self) -> None:
        """Sessions end, then the connections; clients that have not logged in go too; no new ones come."""
        client, idle, stranger = self.connect(), self.connect(), self.connect(logs_in=False)
        channel = client.shell()
        closed = self.factory.close(5)
        self.assertTrue(self.connect().refused)
        client.pump()
        self.assertTrue(channel.gone)
        for each in (client, idle, stranger):
            each.below.disconnect(ConnectionError())
        self.assertIsNone(self.successResultOf(closed))
        self.assertIsNone(self.successResultOf(self.factory.close()))
        self.assertFalse(self.connect().refused)

    def test_closing_with_a_client_that_does_not_read(self) -> None:
        """It is cut off after the time that it has."""
        client = self.connect()
        channel = client.shell()
        client.below.stop_reading()
        client.type(channel, "info big 5000000\n")
        closed = self.factory.close(5)
        self.assertNoResult(closed)
        self.clock.advance(5)
        self.successResultOf(closed)
