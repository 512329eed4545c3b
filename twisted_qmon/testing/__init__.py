"""
What tests of programs that speak QMP need: clients of a monitor in memory, and a QEMU that isn't one. No socket, no reactor and
no waiting, unless they are wanted.

::

    clock = Clock()
    monitor = Monitor(clock=clock)
    monitor.register(Balloon())
    client = QMPConnection(monitor)
    assert client.execute("query-balloon") == {"return": {"actual": 536870912}}

L{QMPConnection} is a machine, L{HMPConnection} a person; L{connected_client} makes a L{QMPClient<twisted_qmon.QMPClient>} that is
connected to a server of the monitor.

L{FakeQEMU} is a QMP server that behaves like a version of QEMU, in memory, at an endpoint, or in a thread of its own for tests
that know nothing of Twisted. What it is to do is said in steps: L{twisted_qmon.testing.script}. L{MonitorServer} serves a monitor
in such a thread. The fixtures C{fake_qemu} and C{qmp_server} of the pytest plugin are these two.
"""

from __future__ import annotations

from twisted_qmon.testing.connections import (
    Connection,
    HMPConnection,
    MemoryEndpoint,
    MemoryTransport,
    QMPConnection,
    connected_client,
)
from twisted_qmon.testing.fake_qemu import FakeQEMU, FakeRequest
from twisted_qmon.testing.recording import Recording
from twisted_qmon.testing.script import Answer, Delay, Drop, Emit, Fail, Half, Raw, Silence
from twisted_qmon.testing.thread import MonitorServer

__all__ = [
    "Answer",
    "Connection",
    "Delay",
    "Drop",
    "Emit",
    "Fail",
    "FakeQEMU",
    "FakeRequest",
    "HMPConnection",
    "Half",
    "MemoryEndpoint",
    "MemoryTransport",
    "MonitorServer",
    "QMPConnection",
    "Raw",
    "Recording",
    "Silence",
    "connected_client",
]
