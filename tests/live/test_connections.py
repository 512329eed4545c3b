"""The connections of a real process, and one that is closed from outside."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from tests.live.twistd_process import PATIENCE, QMP, Program, Twistd, free_port, until

pytestmark = pytest.mark.live

SILENT = """
from twisted.application import service
from twisted.internet import endpoints, protocol, reactor


# What is paused and has nothing to write is held by no reactor.
alive = []


class Silent(protocol.Protocol):
    def connectionMade(self):
        self.transport.pauseProducing()
        alive.append(self)


def makeService(options):
    from twisted.application.internet import StreamServerEndpointService

    endpoint = endpoints.serverFromString(reactor, options["at"])
    return StreamServerEndpointService(endpoint, protocol.Factory.forProtocol(Silent))
"""

PLUGIN = """
from twisted.application.service import ServiceMaker

silent = ServiceMaker("silent", "silent_service", "reads nothing", "silent")
"""

OPTIONS = """
from twisted.python import usage


class Options(usage.Options):
    optParameters = [["at", None, "", "where"]]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a plugin whose connections are not read."""
    (tmp_path / "twisted" / "plugins").mkdir(parents=True)
    (tmp_path / "twisted" / "plugins" / "silent_plugin.py").write_text(PLUGIN)
    (tmp_path / "silent_service.py").write_text(SILENT + OPTIONS)
    return tmp_path


def _mine(qmp: QMP, client: socket.socket) -> Any:
    host, port = client.getsockname()
    return next((info for info in qmp.execute("query-connections") if info["peer"] == f"tcp:{host}:{port}"), None)


def _connected(port: int, process: Program) -> socket.socket:
    def connect() -> socket.socket | None:
        try:
            return socket.create_connection(("127.0.0.1", port), PATIENCE)
        except ConnectionRefusedError:
            return None

    client: socket.socket = until("the port", connect, process)
    return client


def test_a_paused_connection_is_listed_counted_and_closed(folder: Path) -> None:
    """It is neither read nor written, and yet there with its age and idle time; its client is told the end."""
    port = free_port()
    arguments = ["silent", "--at", f"tcp:{port}:interface=127.0.0.1"]
    with Twistd(folder, arguments, paths=[folder]) as process:
        qmp = process.qmp()
        with _connected(port, process) as client:
            info = until("the connection", lambda: _mine(qmp, client), process)
            assert info["paused"] is True
            assert info["protocol"] == "silent_service.Silent"
            summary = qmp.execute("query-summary")
            ports = {each["address"]: each for each in summary["ports"]}
            assert ports[f"tcp:127.0.0.1:{port}"]["connections"] == 1
            assert summary["clients"] == [{"count": 1, "kind": "qmp"}]
            assert (summary["connections"], summary["outgoing"]) == (2, 0)
            assert qmp.execute("query-reactor")["connection-count"] == 2
            until("it gets older", lambda: _mine(qmp, client)["age"] > info["age"] + 0.5, process)
            assert info["idle"] < _mine(qmp, client)["idle"] < PATIENCE
            assert "The peer of" in qmp.error("connection-close", {"fd": info["fd"], "peer": "tcp:1.2.3.4:5"})
            assert qmp.execute("connection-close", {"fd": info["fd"], "peer": info["peer"]}) == {}
            assert client.recv(1) == b""
        until("it is gone", lambda: len(qmp.execute("query-connections")) == 1, process)
        assert qmp.execute("human-monitor-command", {"command-line": "info summary"}).startswith("up:")
