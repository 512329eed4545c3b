"""
Tests of programs that talk to QEMU, with a FakeQEMU: run them with pytest. The fixture `fake_qemu` comes with twisted-qmon.
"""

import asyncio
import contextlib
import json
import socket

import pytest
from qemu.qmp import ExecuteError, QMPClient
from qemu.qmp.legacy import QEMUMonitorProtocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twisted_qmon.testing import Answer, Delay, Drop, Emit, FakeQEMU


def test_plain_socket(fake_qemu):
    """Any program that can open a socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(fake_qemu.address)
        file = connection.makefile("rw")
        assert json.loads(file.readline())["QMP"]["version"]["qemu"]["major"] == 7
        for command in ("qmp_capabilities", "query-status"):
            file.write(json.dumps({"execute": command}))
            file.flush()
            reply = json.loads(file.readline())
        assert reply["return"]["status"] == "running"


def test_synchronous(fake_qemu):
    """qemu.qmp's synchronous client, as many scripts use it."""
    fake_qemu.answer("query-block", [])
    fake_qemu.fail("migrate", "GenericError", "no route to host")
    qmp = QEMUMonitorProtocol(fake_qemu.address)
    qmp.connect()
    try:
        assert qmp.cmd("query-block") == []
        assert qmp.cmd_raw("migrate", {"uri": "tcp:far:4444"})["error"]["desc"] == "no route to host"
        assert fake_qemu.requests[-1].arguments == {"uri": "tcp:far:4444"}
    finally:
        qmp.close()


def test_asyncio(fake_qemu):
    """qemu.qmp, on asyncio: a job that takes its time, and a QEMU that dies."""
    fake_qemu.once(
        "block-job-cancel",
        Answer({}),
        Delay(0.1),
        Emit(
            "BLOCK_JOB_CANCELLED",
            {"type": "mirror", "device": "disk0", "len": 100, "offset": 50, "speed": 0},
        ),
    )
    fake_qemu.once("query-block-jobs", Drop())

    async def cancel_the_job():
        qmp = QMPClient("test")
        await qmp.connect(fake_qemu.address)
        with qmp.listener(names=["BLOCK_JOB_CANCELLED"]) as listener:
            await qmp.execute("block-job-cancel", {"device": "disk0"})
            event = await asyncio.wait_for(listener.get(), 30)
        with pytest.raises(ExecuteError, match="Block job 'disk1' not found"):
            await qmp.execute("block-job-cancel", {"device": "disk1"})
        with pytest.raises(Exception, match="."):
            await qmp.execute("query-block-jobs")
        with contextlib.suppress(EOFError):  # the connection was lost, as was wanted
            await qmp.disconnect()
        return event["data"]

    assert asyncio.run(cancel_the_job())["offset"] == 50


@pytest.mark.fake_qemu(one_client=True, paused=True)
def test_options(fake_qemu):
    """The marker says how the fake is made."""
    assert fake_qemu.status == "prelaunch"


def test_your_own_server(qmp_server):
    """The fixture `qmp_server` serves commands of your own."""
    qmp_server.register_command("double", lambda value: 2 * value)
    qmp = QEMUMonitorProtocol(qmp_server.address)
    qmp.connect()
    try:
        assert qmp.cmd("double", value=21) == 42
    finally:
        qmp.close()


class InMemory(SynchronousTestCase):
    """With Twisted: no socket, no thread, and a clock that the test turns."""

    def test_slow_reply(self):
        clock = Clock()
        fake = FakeQEMU(clock=clock)
        fake.once("query-block", Delay(60), Answer([]))
        client = fake.connect()
        self.assertIsNone(client.execute("query-block"))
        clock.advance(60)
        self.assertEqual(client.received(), [{"return": [], "id": "test-1"}])
