"""One process for all QEMUs of a folder: real ones come and go."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tests.live.needs import need
from tests.live.twistd_process import PATIENCE, QMP, until
from tests.support.qemu_folder import Host

pytestmark = pytest.mark.live


def test_come_and_go(tmp_path: Path) -> None:
    """Each QEMU that is there has its proxy, each that has gone has none, whatever order they come and go in."""
    names = [f"vm{number}" for number in range(6)]
    with Host(tmp_path, need("qemu-system-x86_64"), 7) as host:
        for name in names[:4]:
            host.start(name)
        host.settle()
        with closing(QMP(tmp_path / "qmp.sock")) as own:
            found = own.execute("query-upstreams")
            assert [each["name"] for each in found] == names[:4]
            assert {each["connected"] for each in found} == {True}
            for _ in range(2):
                for _ in range(6):
                    host.step(names, 6)
                host.settle()
            host.end_all()
            host.settle()
            until("none is left", lambda: own.execute("query-upstreams") == [])
        host.proxy.terminate()
        host.proxy.wait(PATIENCE)
        assert [path.name for path in host.target.iterdir()] == [".lock"]


def test_second_process(tmp_path: Path) -> None:
    """What a process that was killed has left in its folder goes, or is served by the next one."""
    with Host(tmp_path, need("qemu-system-x86_64"), 7) as host:
        host.start("vm")
        host.settle()
        host.proxy.kill()
        host.proxy.wait(PATIENCE)
        assert (host.target / "vm.qmp").exists()
        (host.target / "vm.qmp").rename(host.target / "stale.qmp")
        host.serve()
        host.settle()
