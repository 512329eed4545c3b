"""
Text from a server, or from another client of it, reaches no terminal as a control sequence: a service whose name is every control
character and some attacks, events, errors, results and log entries like it; at the prompt, in the commands that run and end, in
C{top}, and in pagers that show raw characters.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest

from tests.live.needs import need
from tests.live.qmon_program import COMMAND
from tests.live.terminal import Terminal
from tests.live.twistd_process import TWISTD, Program, until
from tests.support.shop import CONTROLS

pytestmark = pytest.mark.live

HOWS = ("return", "raise", "event", "log")

# The service is not named in a command line: a process has no way to be given such a name there.
APPLICATION = """
from twisted.application.service import Application, MultiService
from twisted.internet import reactor
from tests.support.shop import HOSTILE, Shop
from twisted_qmon import Monitor, make_monitor_service

application = Application("shop")
monitor = Monitor(name=HOSTILE, clock=reactor)
monitor.register(Shop())
make_monitor_service(reactor, monitor, ["unix:qmp.sock"], application=application).setServiceParent(application)
service = MultiService()
service.setName(HOSTILE)
service.setServiceParent(application)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """One server for all of these tests, with a service and a name of that kind."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "app.tac").write_text(APPLICATION)
    with Program(folder, [*TWISTD, "-n", "-y", "app.tac"]) as program:
        until("qmp.sock", (folder / "qmp.sock").exists, program)
        program.qmp().close()
        yield program


def _check(terminal: Terminal, *, seen: int) -> None:
    """
    Nothing of it is a control character, and so many of the characters were shown as escapes.

    :raise AssertionError: when one has come through
    """
    text = terminal.raw.decode(errors="surrogateescape")
    for c in CONTROLS:
        # A line end may be one of a folded line; a text that stands by itself may have tabs.
        if c not in "\r\n\t":
            assert not re.search(f"<[\r\n]*{re.escape(c)}[\r\n]*>", text), repr(c)
    assert "\x1b]0;pwned" not in text
    assert "\x9b" not in text
    assert "\x1bP" not in text
    assert "\x1b[6n" not in text
    assert terminal._screen.title != "pwned"
    folded = re.sub(r"[\r\n]", "", text)
    escapes = {c for c in CONTROLS if f"<{_escape(c)}>" in folded or f"<{_json_escape(c)}>" in folded}
    assert len(escapes) >= seen, sorted(set(CONTROLS) - escapes)


def _escape(c: str) -> str:
    """A character as text for people shows it."""
    short = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}
    return short.get(c) or (f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}")


def _json_escape(c: str) -> str:
    short = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
    return short.get(c) or f"\\u{ord(c):04x}"


#: All but the tab and the line end, which text that stands by itself may have.
ALMOST_ALL = len(CONTROLS) - 2


def test_at_the_prompt(server: Program) -> None:
    """In results, errors, events, log entries, and the services' names; in lines and in messages; watched, followed."""
    client = server.qmp()
    with Terminal(server.folder, columns=4000) as terminal:
        terminal.prompts()
        terminal.does("events on")
        for how in HOWS:
            terminal.does(f"hostile {how}")
            terminal.does(f'{{"execute": "hostile", "arguments": {{"how": "{how}"}}}}')
        for line in ("info services", "info name", "info log", "info status"):
            terminal.does(line)
        for line, shown in (("watch 0.2 hostile raise", b"raised"), ("log follow", b"logged")):
            wanted = terminal.raw.count(shown) + 2
            terminal.enters(line)
            client.execute("hostile", {"how": "log"})
            terminal.until(line, lambda shown=shown, wanted=wanted: terminal.raw.count(shown) >= wanted)  # type: ignore[misc]
            terminal.types("\x03")
            terminal.prompts()
        _check(terminal, seen=len(CONTROLS))


def test_in_top(server: Program) -> None:
    """In the title, in events, and in the filter."""
    client = server.qmp()
    with Terminal(server.folder, "./qmp.sock", "top", columns=1500) as terminal:
        terminal.shows("memory")
        client.execute("hostile", {"how": "event"})
        terminal.shows("SALE", "sold")
        terminal.types("/hostile\r")
        terminal.shows("filter")
        terminal.types("q")
        assert terminal.ends() == 0
        _check(terminal, seen=len(CONTROLS))


COMMANDS = (
    "exec hostile how=return",
    "exec hostile how=return --json",
    "exec hostile how=raise",
    "exec query-services",
    "exec query-services --json",
    "exec query-name",
    "log",
    "log --json",
    "-c 'hostile return' -c 'hostile raise' -c 'info services' -c 'info log'",
)


def test_commands_at_a_terminal(server: Program) -> None:
    """What they write to a terminal: tables, trees, JSON, errors."""
    server.qmp().execute("hostile", {"how": "log"})
    qmon = shlex.join([*COMMAND, "./qmp.sock"])
    script = "; ".join(f"{qmon} {command}" for command in COMMANDS)
    with Terminal(server.folder, program=["bash", "-c", script], columns=4000) as terminal:
        terminal.ends()
        _check(terminal, seen=ALMOST_ALL)


def test_events_at_a_terminal(server: Program) -> None:
    """So do events that are followed."""
    client = server.qmp()
    for words in ((), ("--json",)):
        with Terminal(server.folder, "./qmp.sock", "events", *words, columns=4000) as terminal:
            until(
                "the event", lambda t=terminal: client.execute("hostile", {"how": "event"}) or "sold" in t.settles(0.2)
            )
            terminal.types("\x03")
            assert terminal.ends() == 130
            _check(terminal, seen=len(CONTROLS))


def test_in_a_pager(server: Program) -> None:
    """A pager that shows raw characters has none to show."""
    server.qmp().execute("hostile", {"how": "log"})
    qmon = shlex.join([*COMMAND, "./qmp.sock"])
    commands = " ; ".join(f"{qmon} {command} 2>&1" for command in COMMANDS)
    script = f"({commands}) | {need('less')} -r"
    with Terminal(server.folder, program=["bash", "-c", script], columns=4000, lines=300) as terminal:
        terminal.shows("returned", "raised", "logged", "pwned")
        terminal.settles()
        terminal.types("q")
        assert terminal.ends() == 0
        _check(terminal, seen=ALMOST_ALL)
