"""C{twistd -n qmon PLUGIN}, with plugins of Twisted's own, and with one that fails: whole processes, seen from outside."""

from __future__ import annotations

import re
import socket
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.twistd_process import PATIENCE, Twistd, free_port, until

pytestmark = [pytest.mark.live, pytest.mark.slow]

PLUGIN = """
from twisted.application.service import ServiceMaker
maker = ServiceMaker("failing", "failing_tap", "fails when and as it is told", "failing")
"""

TAP = """
from twisted.application.service import Service
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python import usage

class Options(usage.Options):
    optParameters = [["when", None, "never", "when it fails: making, preparing, starting, later, by-itself, slowly or never"]]

class Failing(Service):
    log = Logger()

    def __init__(self, when):
        self.when = when

    def privilegedStartService(self):
        if self.when == "preparing":
            raise OSError("can't prepare")

    def startService(self):
        super().startService()
        from twisted.internet import reactor
        if self.when == "starting":
            raise OSError("can't start")
        if self.when == "later":
            reactor.callLater(0.2, self.fail)
        if self.when == "by-itself":
            reactor.callLater(0.2, self.stopService)
        if self.when == "slowly":
            return deferLater(reactor, 0.2, self.fail)

    def fail(self):
        raise RuntimeError("broke down")

def makeService(options):
    if options["when"] == "making":
        raise ValueError("can't be made\\nat all")
    return Failing(options["when"])
"""


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    """A folder with a plugin of twistd that fails."""
    folder = tmp_path / "plugin"
    (folder / "twisted" / "plugins").mkdir(parents=True)
    (folder / "twisted" / "plugins" / "failing_plugin.py").write_text(PLUGIN)
    (folder / "failing_tap.py").write_text(TAP)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the process runs; short, for the sake of the unix sockets in it."""
    with tempfile.TemporaryDirectory(prefix="qmon-") as name:
        yield Path(name)


def _fetch(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/page.html", timeout=PATIENCE) as page:
        data: bytes = page.read()
        return data


def _refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


def _paths(services: Any) -> dict[str, bool]:
    return {service["path"]: service["running"] for service in services}


def test_a_web_server_is_watched_stopped_and_started(folder: Path) -> None:
    """A page is fetched; the service is stopped, and the connection refused; it is started, and the page is there again."""
    (folder / "page.html").write_bytes(b"a page")
    port = free_port()
    with Twistd(folder, ["web", "--path", ".", "--listen", f"tcp:{port}:interface=127.0.0.1"]) as process:
        qmp = process.qmp()
        assert until("a page", lambda: _fetch(port) == b"a page")
        services = qmp.execute("query-services")
        assert all(set(service) == {"path", "name", "class", "running"} for service in services)
        assert {path: running for path, running in _paths(services).items() if path in ("", "web", "qmon")} == {
            "": True,
            "web": True,
            "qmon": True,
        }
        ports = {info["address"]: info["factory"] for info in qmp.execute("query-ports")}
        assert ports[f"tcp:127.0.0.1:{port}"] == "twisted.web.server.Site"

        assert qmp.execute("service-stop", {"path": "web"}) == {}
        assert _refuses(port)
        assert _paths(qmp.execute("query-services"))["web"] is False
        assert qmp.event("SERVICE_CHANGE")["data"] == {"path": "web", "name": "web", "running": False}
        assert qmp.error("service-stop", {"path": "web"}) == "Service 'web' is not running"

        assert qmp.execute("service-start", {"path": "web"}) == {}
        assert _fetch(port) == b"a page"
        assert _paths(qmp.execute("query-services"))["web"] is True
        assert qmp.error("service-start", {"path": "web"}) == "Service 'web' is already running"

        for path in ("", "qmon"):
            assert "can't be stopped" in qmp.error("service-stop", {"path": path})
        assert all(_paths(qmp.execute("query-services")).values())
        assert _fetch(port) == b"a page"

        assert qmp.execute("quit") == {}
        assert process.ends() == 0, process.output()
        assert _refuses(port)


def test_connections_are_told_with_their_bytes(folder: Path) -> None:
    """An HTTP connection that stays open is listed with its peer, protocol and bytes; so is the one that asks."""
    (folder / "page.html").write_bytes(b"x" * 1000)
    port = free_port()
    with Twistd(folder, ["web", "--path", ".", "--listen", f"tcp:{port}:interface=127.0.0.1"]) as process:
        qmp = process.qmp()
        until("the port", lambda: not _refuses(port))
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            request = b"GET /page.html HTTP/1.1\r\nHost: x\r\n\r\n"
            client.sendall(request)
            received = b""
            while not received.endswith(b"x" * 1000):
                received += client.recv(65536)
            found = {info["peer"]: info for info in qmp.execute("query-connections")}
            host, number = client.getsockname()
            mine = found[f"tcp:{host}:{number}"]
            assert mine["host"] == f"tcp:127.0.0.1:{port}"
            assert "HTTP" in mine["protocol"]
            if "received" in mine:
                assert (mine["received"], mine["sent"]) == (len(request), len(received))
            assert [info["protocol"] for info in found.values() if info["host"].startswith("unix:")] == [
                "twisted_qmon.qmp.protocol.QMPProtocol"
            ]


@pytest.mark.parametrize("plugin", ["ftp", "mail"])
def test_other_servers_of_twisted_are_stopped_and_started(plugin: str, folder: Path) -> None:
    """A service that listens by itself, not by us, refuses connections while it is stopped, and takes them again after."""
    port = free_port()
    if plugin == "ftp":
        arguments = ["--port", str(port), "--root", "."]
    else:
        arguments = ["--smtp", f"tcp:{port}:interface=127.0.0.1"]
    with Twistd(folder, [plugin, *arguments]) as process:
        qmp = process.qmp()
        until("the port", lambda: not _refuses(port), process)
        assert _paths(qmp.execute("query-services"))[plugin] is True
        qmp.execute("service-stop", {"path": plugin})
        assert _refuses(port)
        qmp.execute("service-start", {"path": plugin})
        assert not _refuses(port)


def test_the_plugins_help_and_usage_errors_are_its_own(folder: Path) -> None:
    """C{--help} after its name is the plugin's; so is the complaint about an option that it does not have."""
    with Twistd(folder, ["web", "--help"]) as process:
        assert process.ends() == 0
        assert "--mime-type" in process.output()
        assert "--in-flight" not in process.output()
    with Twistd(folder, ["web", "--nonsense"]) as process:
        assert process.ends() == 1
        lines = process.output().splitlines()
        assert lines[-1].endswith("option --nonsense not recognized")
        assert any("--mime-type" in line for line in lines)
        assert "Traceback (most" not in process.output()


@pytest.mark.parametrize(
    ("when", "line"),
    [
        ("making", "twistd qmon: failing: can't be made at all"),
        ("preparing", "twistd qmon: failing: can't prepare"),
        ("starting", "twistd qmon: failing: can't start"),
    ],
)
def test_a_failure_at_start_up_ends_the_process(when: str, line: str, folder: Path, failing: Path) -> None:
    """Status 1, one line that says why, no traceback."""
    with Twistd(folder, ["failing", "--when", when], paths=[failing]) as process:
        assert process.ends() == 1
        output = process.output()
    assert len(re.findall(re.escape(line), output)) == 1, output
    assert output.rstrip().endswith(line)
    assert "Traceback" not in output


def test_a_busy_port_ends_the_process(folder: Path) -> None:
    """So does a port that somebody else has."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with Twistd(folder, ["web", "--path", ".", "--listen", f"tcp:{port}:interface=127.0.0.1"]) as process:
            assert process.ends() == 1
            output = process.output()
    assert "twistd qmon: web: Couldn't listen on 127.0.0.1:" in output.splitlines()[-1], output
    assert "Traceback" not in output


@pytest.mark.parametrize("when", ["later", "slowly"])
def test_a_failure_later_is_told_and_the_monitor_stays(when: str, folder: Path, failing: Path) -> None:
    """The error is logged, goes out as an event, is kept, and the monitor answers as before."""
    with Twistd(folder, ["failing", "--when", when], paths=[failing]) as process:
        qmp = process.qmp()
        until(
            "the failure in the log",
            lambda: [info for info in qmp.execute("query-log", {"level": "critical"}) if "broke down" in info["text"]],
            process,
        )
        assert qmp.execute("query-status")["running"] is True


def test_a_service_that_stops_by_itself_is_told_and_the_monitor_stays(folder: Path, failing: Path) -> None:
    """It is seen in the list and in the log, and it can be started again."""
    with Twistd(folder, ["failing", "--when", "by-itself"], paths=[failing]) as process:
        qmp = process.qmp()
        until("the service to stop", lambda: not _paths(qmp.execute("query-services"))["failing"], process)
        until(
            "the log to say so",
            lambda: [info for info in qmp.execute("query-log") if info["text"] == "service 'failing' has stopped"],
            process,
        )
        assert qmp.execute("service-start", {"path": "failing"}) == {}
        assert qmp.event("SERVICE_CHANGE")["data"]["running"] in (True, False)


def test_a_handler_that_blocks_shows_in_the_latency(folder: Path) -> None:
    """A call that blocks the reactor for 0.6 s or more is seen as that late, less 0.05 s at most."""
    (folder / "blocking.py").write_text(
        "import time\n"
        "from twisted_qmon import CommandProvider, command\n"
        "class Blocking(CommandProvider):\n"
        "    @command\n"
        "    def block(self, seconds: float) -> None:\n"
        "        time.sleep(seconds)\n"
    )
    with Twistd(folder, ["--provider", "blocking.Blocking"], paths=[folder]) as process:
        qmp = process.qmp()
        # On a busy machine it may have been late by itself: it must be less than what is to be seen.
        before = until("a beat", lambda: qmp.execute("query-reactor")["latency"]["worst"])
        seconds = 0.6 + before
        began = time.monotonic()
        qmp.execute("block", {"seconds": seconds})
        latency = qmp.execute("query-reactor")["latency"]
        took = time.monotonic() - began
        assert seconds - latency["interval"] - 0.01 <= latency["worst"] <= took + 0.05


def test_providers_that_can_not_be_had_end_the_process(folder: Path) -> None:
    """One line each, and status 1."""
    (folder / "taken.py").write_text(
        "from twisted_qmon import CommandProvider, command\n"
        "class Taken(CommandProvider):\n"
        "    @command\n"
        "    def quit(self): ...\n"
    )
    for name, line in (
        ("nobody", "--provider: no provider 'nobody' is installed"),
        ("no.such.thing", "--provider: no.such.thing can't be imported: "),
        ("taken.Taken", "twistd qmon: --provider: taken.Taken can't be registered: the name 'quit' is already taken"),
    ):
        with Twistd(folder, ["--provider", name], paths=[folder]) as process:
            assert process.ends() == 1
            assert line in process.output().splitlines()[-1]
            assert "Traceback" not in process.output()
