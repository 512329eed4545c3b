"""
The pytest plugin: the fixtures L{fake_qemu} and L{qmp_server}. Pytest finds it where this package is installed.

Nothing of this package is imported before a fixture is used. C{-p no:twisted_qmon} switches it off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from twisted_qmon.testing import FakeQEMU, MonitorServer

__all__ = ["fake_qemu", "pytest_configure", "qmp_server"]

_MARKERS = (
    "fake_qemu(version, **options): how the fixture fake_qemu is made: the parameters of twisted_qmon.testing.FakeQEMU",
    "qmp_server(**options): how the fixture qmp_server is made: the parameters of twisted_qmon.testing.MonitorServer",
)


def pytest_configure(config: pytest.Config) -> None:
    """See pytest: declare the markers."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.fixture
def fake_qemu(request: pytest.FixtureRequest) -> Iterator[FakeQEMU]:
    """A FakeQEMU that runs in a thread of its own, at the unix socket fake_qemu.address."""
    from twisted_qmon.testing import FakeQEMU

    arguments, options = _of_marker(request, "fake_qemu")
    with FakeQEMU(*arguments, **options) as fake:
        yield fake


@pytest.fixture
def qmp_server(request: pytest.FixtureRequest) -> Iterator[MonitorServer]:
    """A twisted_qmon.Monitor that is served by a thread of its own, at the unix socket qmp_server.address."""
    from twisted_qmon.testing import MonitorServer

    arguments, options = _of_marker(request, "qmp_server")
    with MonitorServer(*arguments, **options) as server:
        yield server


def _of_marker(request: pytest.FixtureRequest, name: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    marker = request.node.get_closest_marker(name)
    return ((), {}) if marker is None else (marker.args, marker.kwargs)
