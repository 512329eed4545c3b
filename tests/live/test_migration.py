"""A guest is migrated from one QEMU to another, each behind a proxy, by qmon."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.live.qmon_program import Qmon
from tests.live.real_qemu import RealQemu
from tests.live.twistd_process import QMP, Twistd, until

pytestmark = pytest.mark.live


class Host(NamedTuple):
    """A QEMU, a client of the proxy in front of it, and C{qmon} there."""

    qemu: RealQemu
    client: QMP
    qmon: Qmon

    def asks(self, *words: str) -> object:
        """:return: what C{qmon} prints, which succeeds"""
        status, out, err = self.qmon(*words, "--json")
        assert (status, err) == (0, ""), (out, err)
        return json.loads(out)

    def status(self) -> object:
        """:return: whether the guest runs, as C{qmon} is told"""
        status = self.asks("exec", "query-status")
        assert isinstance(status, dict)
        return status["status"]


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    """Two hosts: a guest runs on the one, and the other waits for it, with the same disk."""
    with ExitStack() as stack:
        found: list[Host] = []
        for name in ("source", "target"):
            folder = tmp_path / name
            folder.mkdir()
            qemu = RealQemu(folder, "-incoming", "defer", disk=found[0].qemu.disk) if found else RealQemu(folder)
            stack.enter_context(qemu)
            proxy = stack.enter_context(Twistd(folder, ["--qemu", f"unix:{qemu.socket}"]))
            client = proxy.qmp()
            until("QEMU behind the proxy", lambda client=client: "return" in client.answer("query-block"), proxy)
            found.append(Host(qemu, client, Qmon(folder, "./qmp.sock")))
        source, target = found
        assert source.asks("exec", "cont") == {}
        yield source, target


def test_migration(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    """One request begins it and waits for its end; the guest runs there then, and no more here. Where no
    QEMU waits it fails with QEMU's reason, and the guest runs on."""
    source, target = hosts
    status, out, err = source.qmon("exec", "qmon-migrate", f"uri=unix:{tmp_path}/nowhere")
    assert (status, out) == (1, "")
    assert "Failed to connect" in err
    uri = f"unix:{tmp_path}/stream"
    assert (source.status(), target.status()) == ("running", "inmigrate")
    assert target.asks("exec", "migrate-incoming", f"uri={uri}") == {}
    result = source.asks("exec", "qmon-migrate", f"uri={uri}")
    assert isinstance(result, dict)
    assert result["status"] == "completed"
    assert result["ram"]["transferred"] > 0
    assert result["ram"]["remaining"] == 0
    assert source.status() == "postmigrate"
    # Like the other one it was started with -S.
    assert target.status() == "paused"
    assert target.asks("exec", "cont") == {}
    assert target.client.event("RESUME")
    assert target.status() == "running"
    assert "VM status: running" in target.qmon("-c", "info status")[1]
    assert "completed" in source.qmon("-c", "info migrate")[1]
    # The disk went with it.
    assert target.asks("exec", "human-monitor-command", 'command-line=qemu-io hd0 "write 0 512"') is not None
