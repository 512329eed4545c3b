"""The human monitor of a C{twistd -n qmon}, through what people use: C{telnet} in a terminal, C{nc}, C{socat}, a bare socket."""

from __future__ import annotations

import fcntl
import os
import pty
import random
import re
import select
import socket
import subprocess
import termios
import time
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.live.needs import need
from tests.live.plain_qemu import PlainQEMU
from tests.live.twistd_process import PATIENCE, Twistd, free_port, until
from tests.support.qemu_hmp_commands import QEMUCommands
from twisted_qmon import Monitor
from twisted_qmon.providers.human import HumanMonitorCommand

P = "(qmon) "

PROVIDER = """
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted_qmon import CommandProvider, command

class Slow(CommandProvider):
    "Commands that take their time."

    @command
    def slow(self, seconds: float, text: str = "done"):
        "answer later"
        return deferLater(reactor, seconds, lambda: text)

    @command(on_disconnect="cancel")
    def hold(self):
        "never answer"
        return Deferred()

    @command
    def echo(self, text: str) -> str:
        "answer at once"
        return text

    @command
    def flood(self, size: int) -> str:
        "answer with much"
        return "x" * size
"""


class Person:
    """
    A line client at a socket.

    :ivar seen: what it was sent and has not been taken
    """

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(path))
        self.seen = ""

    def type(self, text: str) -> None:
        self.socket.sendall(text.encode())

    def until(self, end: str, times: int = 1) -> str:
        """:return: what came up to where C{end} has come so many times"""
        while self.seen.count(end) < times:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError(self.seen)
            self.seen += data.decode()
        at = 0
        for _ in range(times):
            at = self.seen.index(end, at) + len(end)
        text, self.seen = self.seen[:at], self.seen[at:]
        return text

    def rest(self) -> str:
        """:return: what comes up to the end of the connection"""
        while data := self.socket.recv(65536):
            self.seen += data.decode()
        return self.seen


@contextmanager
def monitor(*options: str) -> Iterator[Twistd]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "slow_commands.py").write_text(PROVIDER)
        options = ("--qmp", "unix:qmp.sock", "--hmp", "unix:hmp.sock", "--provider", "slow_commands.Slow", *options)
        with Twistd(folder, options, paths=[folder]) as twistd:
            twistd.qmp()
            yield twistd


@pytest.mark.live
class SocketTests(unittest.TestCase):
    """A line client at a unix socket."""

    def test_a_person_and_a_machine(self) -> None:
        """Lines typed while a command is pending run afterwards, in order; a machine is served meanwhile."""
        with monitor() as twistd:
            machine = twistd.qmp()
            person = Person(twistd.folder / "hmp.sock")
            self.assertRegex(
                person.until(P), r"\Atwisted-qmon \S+ monitor - type 'help' for more information\r\n\(qmon\) \Z"
            )
            begin = time.monotonic()
            person.type("slow 1\n" + "".join(f"echo {number}\n" for number in range(10)))
            answers = 0
            while time.monotonic() - begin < 0.8:
                machine.execute("query-version")
                answers += 1
            self.assertGreater(answers, 10)
            pending = machine.execute("query-pending")
            self.assertEqual([entry["command"] for entry in pending if entry["command"] == "slow"], ["slow"])
            shown = "".join(f"echo {number}\r\n{number}\r\n{P}" for number in range(10))
            self.assertEqual(person.until(P, 11), f"done\r\n{P}" + shown)
            self.assertGreaterEqual(time.monotonic() - begin, 1.0)
            self.assertEqual(machine.execute("human-monitor-command", {"command-line": "echo x"}), "x\r\n")
            person.socket.close()

    def test_end_of_input(self) -> None:
        """What came complete is run and answered before the connection is closed."""
        with monitor() as twistd:
            person = Person(twistd.folder / "hmp.sock")
            person.until(P)
            person.type("slow 0.3 one\nslow 0.3 two\necho three\necho incomplete")
            person.socket.shutdown(socket.SHUT_WR)
            self.assertEqual(person.rest(), f"one\r\n{P}slow 0.3 two\r\ntwo\r\n{P}echo three\r\nthree\r\n{P}")
            person.socket.close()

    def test_a_person_who_does_not_read(self) -> None:
        """Is not read either; what was typed is all answered in the end, while others are served."""
        with monitor() as twistd:
            person = Person(twistd.folder / "hmp.sock")
            person.until(P)
            person.socket.setblocking(False)
            sent = person.socket.send(b"flood 200000\n" * 50)
            self.assertEqual(sent, 13 * 50)
            time.sleep(0.5)
            self.assertNotEqual(twistd.qmp().execute("query-version"), {})
            person.socket.settimeout(PATIENCE)
            expected = ("x" * 200_000 + f"\r\n{P}") * 50
            chunks: list[bytes] = []
            left = len(expected)
            while left > 0:
                chunks.append(person.socket.recv(1 << 20))
                left -= len(chunks[-1])
            self.assertEqual(b"".join(chunks), expected.encode())
            person.socket.close()

    def test_a_person_who_goes_away(self) -> None:
        """With a command pending: noticed while the connection is paused, and what was typed behind it is not run."""
        with monitor() as twistd:
            machine = twistd.qmp()
            person = Person(twistd.folder / "hmp.sock")
            person.until(P)
            person.type("hold\nslow 100\n")

            def pending() -> list[str]:
                return [entry["command"] for entry in machine.execute("query-pending")]

            until("the command is pending", lambda: "hold" in pending())
            person.socket.close()
            until("nothing is pending", lambda: "hold" not in pending())
            self.assertNotIn("slow", pending())
            self.assertNotIn("Traceback", twistd.output())


@pytest.mark.live
class QuitTests(unittest.TestCase):
    """C{quit} where another plugin runs beside the monitor."""

    def test_said_twice(self) -> None:
        """The first time one is asked; the second time it ends, and the log says who did it."""
        with monitor("web", "--listen", "tcp:0:interface=127.0.0.1", "--path", ".") as twistd:
            person = Person(twistd.folder / "hmp.sock")
            person.until(P)
            person.type("quit\n")
            self.assertIn("this ends 'web' as well. Say 'quit' again, or 'quit now'", person.until(P))
            person.type("quit\n")
            self.assertEqual(person.rest(), "")
            twistd.ends()
            self.assertRegex(twistd.output(), r"uid:\S+ pid:\d+ quits this process, in the session hmp-\d+")
            person.socket.close()


@pytest.mark.live
class ProgramTests(unittest.TestCase):
    """The programs that people have."""

    def pipe(self, command: list[str], text: bytes) -> str:
        result = subprocess.run(command, input=text, capture_output=True, timeout=PATIENCE, check=False)
        return result.stdout.decode()

    def test_socat(self) -> None:
        """C{socat} shuts its writing side at the end of its input."""
        socat = need("socat")
        with monitor() as twistd:
            path = twistd.folder / "hmp.sock"
            output = self.pipe([socat, "-t20", "-", f"UNIX-CONNECT:{path}"], b"echo one\nslow 0.3 two\n")
            self.assertTrue(output.endswith(f"{P}one\r\n{P}two\r\n{P}"), output)

    def test_nc(self) -> None:
        """So does C{nc -N}."""
        nc = need("nc")
        with monitor() as twistd:
            path = twistd.folder / "hmp.sock"
            output = self.pipe([nc, "-N", "-U", str(path)], b"echo one\nslow 0.3 two\n")
            self.assertTrue(output.endswith(f"{P}one\r\n{P}two\r\n{P}"), output)

    def test_telnet_in_a_terminal(self) -> None:
        """Line by line; what is typed ahead is shown where it runs; negotiation that nobody asked for does no harm."""
        with monitor_for_telnet() as (twistd, terminal):
            terminal.type("echo one")
            terminal.read("one\r\n" + P)
            terminal.type("slow 0.5 two", "echo three")
            terminal.read("three\r\n" + P)
            self.assertTrue(terminal.seen.endswith(f"\ntwo\r\n{P}echo three\r\nthree\r\n{P}"), terminal.seen)
            # To telnet's own prompt, to negotiate something and to leave.
            terminal.to_telnet("send nop")
            time.sleep(0.2)
            terminal.type("echo four")
            terminal.read("four\r\n" + P)
            terminal.to_telnet("quit")
            self.assertEqual(terminal.process.wait(PATIENCE), 0)
            self.assertNotIn("Traceback", twistd.output())

    def test_ctrl_c_in_telnet(self) -> None:
        """Cancels the pending command, and the prompt is back; at the prompt, and behind a half-typed line, a new prompt."""
        with monitor_for_telnet() as (twistd, terminal):
            machine = twistd.qmp()
            terminal.type("hold")

            def pending() -> list[str]:
                return [entry["command"] for entry in machine.execute("query-pending")]

            until("the command is pending", lambda: "hold" in pending())
            terminal.press(b"\x03")
            terminal.read(f"\r\nError: Command 'hold' was cancelled\r\n{P}")
            self.assertNotIn("hold", pending())
            terminal.type("echo one")
            terminal.read("one\r\n" + P)
            terminal.press(b"\x03")
            terminal.read(f"^C\r\n{P}", times=1)
            terminal.press(b"nonsense")
            time.sleep(0.2)
            terminal.press(b"\x03")
            terminal.read(f"nonsense^C\r\n{P}")
            terminal.type("echo two")
            terminal.read("two\r\n" + P)
            self.assertNotIn("unknown command", terminal.seen)
            # With TCP's urgent data.
            terminal.type("hold")
            until("the command is pending", lambda: "hold" in pending())
            terminal.to_telnet("send ip synch")
            terminal.read("was cancelled\r\n" + P, times=2)
            terminal.type("echo three")
            terminal.read("three\r\n" + P)

    def test_ctrl_d_in_telnet(self) -> None:
        """Leaves the session."""
        with monitor_for_telnet() as (_, terminal):
            terminal.press(b"\x04")
            terminal.read("Connection closed by foreign host.")

    def test_log_follow_in_telnet(self) -> None:
        """Shows what is logged, but not that it looks, until the next line."""
        with monitor_for_telnet() as (twistd, terminal):
            terminal.type("log follow")
            terminal.read("HMPFactory starting on")
            time.sleep(1.5)
            Person(twistd.folder / "hmp.sock").socket.close()
            terminal.read(" disconnected: ")
            terminal.type("echo one")
            terminal.read(f"\r\none\r\n{P}")
            self.assertNotIn("query-log", terminal.seen)

    def test_watch_in_telnet(self) -> None:
        """Repeats a line until Ctrl-C."""
        with monitor_for_telnet() as (_, terminal):
            terminal.type("watch 0.1 echo tick")
            terminal.read("\r\ntick\r\n", times=5)
            terminal.press(b"\x03")
            terminal.read(f"^C\r\n{P}")
            terminal.type("exit")
            terminal.read("Connection closed by foreign host.")

    def test_ctrl_c_during_a_flood(self) -> None:
        """Telnet throws away what it has not shown, and the session goes on."""
        with monitor_for_telnet() as (_, terminal):
            terminal.type("flood 20000000")
            terminal.read("xxxx")
            terminal.press(b"\x03")
            terminal.read(f"\r\n{P}", times=2)
            self.assertLess(len(terminal.seen), 20_000_000)
            terminal.type("echo one")
            terminal.read("one\r\n" + P)

    def test_telnet_from_a_pipe(self) -> None:
        """It ends lines with CR NUL CR LF, as input for a terminal: the line, and an empty one, as at a QEMU."""
        telnet = need("telnet")
        port = free_port()
        with monitor("--hmp", f"tcp:{port}:interface=127.0.0.1"):
            process = subprocess.Popen(
                [telnet, "127.0.0.1", str(port)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            assert process.stdin is not None
            assert process.stdout is not None
            seen = b""
            with process:
                process.stdin.write(b"echo one\r\n")
                process.stdin.flush()
                while seen.count(P.encode()) < 3:
                    data = os.read(process.stdout.fileno(), 65536)
                    self.assertNotEqual(data, b"", seen)
                    seen += data
                process.kill()
            self.assertTrue(seen.endswith(f"{P}one\n{P}{P}".encode()), seen)

    def test_nc_in_a_terminal(self) -> None:
        """What is typed while a command is pending is shown where it runs."""
        nc = need("nc")
        with monitor() as twistd, terminal_of([nc, "-U", str(twistd.folder / "hmp.sock")]) as terminal:
            terminal.read(P)
            terminal.type("slow 0.7 two")
            time.sleep(0.2)
            terminal.type("echo three")
            # The terminal adds a CR of its own.
            terminal.read(f"two\r\r\n{P}echo three\r\r\nthree\r\r\n{P}")

    def test_rlwrap(self) -> None:
        """C{rlwrap}, which the documentation names, adds line editing and a history to C{socat}."""
        rlwrap, socat = need("rlwrap"), need("socat")
        with monitor() as twistd:
            # It wants a terminal of some width, and keeps its history in the home folder.
            start = f"stty cols 80; HOME={twistd.folder} exec {rlwrap} {socat} - UNIX-CONNECT:{twistd.folder}/hmp.sock"
            with terminal_of(["sh", "-c", start]) as terminal:
                terminal.read(P)
                left, backspace, up = b"\x1b[D", b"\x7f", b"\x1b[A"
                terminal.press(b"echo oen" + left + backspace + b"\x1b[C" + b"e\r")
                terminal.read("\none\r\r\r\n")
                terminal.press(up + b"\r")
                terminal.read("\none\r\r\r\n", times=2)


class Terminal:
    """
    A program in a pseudo-terminal of its own.

    :ivar seen: all that it has shown
    :ivar process: the program
    """

    def __init__(self, command: list[str]) -> None:
        self.seen = ""
        self._asked = 0
        self._descriptor, side = pty.openpty()
        self.process = subprocess.Popen(
            command, stdin=side, stdout=side, stderr=side, start_new_session=True, preexec_fn=_take_terminal
        )
        os.close(side)

    def press(self, keys: bytes) -> None:
        os.write(self._descriptor, keys)

    def type(self, *lines: str) -> None:
        for line in lines:
            self.press(line.encode() + b"\r")

    def to_telnet(self, line: str) -> None:
        """Give telnet itself an order."""
        self.press(b"\x1d")
        self._asked += 1
        self.read("telnet> ", times=self._asked)
        self.type(line)

    def read(self, wanted: str, times: int = 1) -> None:
        """Read on until that has been seen so often."""
        end = time.monotonic() + PATIENCE
        while self.seen.count(wanted) < times:
            if time.monotonic() > end or not select.select([self._descriptor], [], [], PATIENCE)[0]:
                raise AssertionError(f"{wanted!r} has not come: {self.seen[-2000:]!r}")
            self.seen += os.read(self._descriptor, 65536).decode()

    def close(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        os.close(self._descriptor)


def _take_terminal() -> None:
    # Without a controlling terminal Ctrl-C is no signal.
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def terminal_of(command: list[str]) -> Iterator[Terminal]:
    terminal = Terminal(command)
    try:
        yield terminal
    finally:
        terminal.close()


@contextmanager
def monitor_for_telnet() -> Iterator[tuple[Twistd, Terminal]]:
    telnet = need("telnet")
    port = free_port()
    with (
        monitor("--hmp", f"tcp:{port}:interface=127.0.0.1") as twistd,
        terminal_of([telnet, "127.0.0.1", str(port)]) as terminal,
    ):
        terminal.read(P)
        yield twistd, terminal


NUMBERS = ["0", "1", "7", "010", "0x1f", "08", "18446744073709551615", "9" * 20, "'a'", "'", "$eax", "-1", "(1", "1)"]
OPERATORS = ["+", "-", "*", "/", "%", "&", "|", "^", " + ", " -", "- ", "~", "(", ")", "", "@"]
WORDS = ["x", '"x y"', '"x', '"\\z"', "'x'", "-f", "-q", "-", "on", "off", "ON", "", "a,b=c", "-f x"]
SIZES = ["1", "1.5", "1.5k", ".5", "1Q", "0x10", "-1", "1e3", "1.5e3", "+2G", "9E", "0.5b", "", "x"]
FORMATS = ["", "/x", "/d", "/u", "/o", "/c", "/5xw", "/z", " /x", "/"]
TOPICS = ["quit", "q", "info version", "nope", "info nope", "?", "c"]
NAMES = ["Foo", "info nope", "info/x", "cont/x", "/"]
LINES = [
    "print{format} {number}{end}",
    "cpu {number}{end}",
    "sum {number} {number}{end}",
    "balloon {number}{end}",
    "memsave",
    "memsave 0",
    "memsave 0 1",
    "block_resize {word} {size}{end}",
    "eject {word} {word}{end}",
    "set_link {word} {word}{end}",
    "device_del {word}{end}",
    "help {topic}",
    "? {topic}{end}",
    "{name}{end}",
    "  {name}{end}",
]


def _random_line(choose: random.Random) -> str:
    """A line that tests how QEMU reads one: mostly sensible, sometimes not."""
    number = "".join(choose.choice(NUMBERS) + choose.choice(OPERATORS) for _ in range(choose.randint(0, 4)))
    return choose.choice(LINES).format(
        number=number,
        word=choose.choice(WORDS),
        size=choose.choice(SIZES),
        format=choose.choice(FORMATS),
        topic=choose.choice(TOPICS),
        name=choose.choice(NAMES),
        end=choose.choice(["", "", "", " x", "\t", " 1"]),
    )


@pytest.mark.live
class DifferentialTests(unittest.TestCase):
    """The same lines at a QEMU and here."""

    def test_random_lines(self) -> None:
        """Whatever is typed, the same is printed."""
        choose = random.Random(20100124)
        monitor = Monitor(clock=Clock())
        monitor.register(QEMUCommands(), shadow=True)
        monitor.register(HumanMonitorCommand())
        different: list[Any] = []
        with PlainQEMU() as qemu:
            for _ in range(3000):
                line = _random_line(choose)
                arguments = {"command-line": line}
                theirs = qemu.execute("human-monitor-command", arguments)
                ours: list[Any] = []
                monitor.execute("human-monitor-command", arguments).addBoth(ours.append)
                if not _same(theirs, ours[0]):
                    different.append((line, theirs, ours[0]))
        self.assertEqual(different[:10], [])


def _same(theirs: Any, ours: Any) -> bool:
    theirs = theirs["return"] if isinstance(theirs, dict) else theirs
    # QEMU loses the line end where the letter of a refused option is missing.
    return bool(re.sub(r"option -Try", "option -\r\nTry", theirs) == ours)
