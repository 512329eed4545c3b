"""C{--fleet} and what belongs to it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from twisted.internet.testing import MemoryReactorClock
from twisted.python.usage import UsageError

from twisted_qmon import Monitor, make_monitor_service
from twisted_qmon._twistd import extras
from twisted_qmon.service import join_fleet
from twisted_qmon.tap import Options

needs_autobahn = pytest.mark.skipif(sys.version_info < (3, 11), reason="Autobahn needs Python 3.11")


def parse(*words: str) -> Options:
    options = Options()
    options.parseOptions(list(words))
    return options


def test_without_the_option() -> None:
    """Without the option there is no router."""
    assert parse().fleet_router is None


@needs_autobahn
def test_options(tmp_path: Path) -> None:
    """The URL, the realm and the ticket are looked at when they are given."""
    (tmp_path / "ticket").write_text("secret\n")
    options = parse("--fleet", "wss://router/ws", "--fleet-ticket", str(tmp_path / "ticket"), "--fleet-name", "a.b")
    assert options.fleet_router is not None
    assert (options.fleet_router.host, options.fleet_router.realm) == ("router", "qmon")
    router = parse("--fleet", "ws://router", "--fleet-realm", "lab").fleet_router
    assert router is not None
    assert router.realm == "lab"


@needs_autobahn
@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--fleet-name", "a"], "--fleet-name: there is no --fleet"),
        (["--fleet-realm", "a"], "--fleet-realm: there is no --fleet"),
        (["--fleet-ca", "a"], "--fleet-ca: there is no --fleet"),
        (["--fleet", "http://router"], "--fleet: 'http://router' is not a valid URL"),
        (["--fleet", "ws://router", "--fleet-realm", "a b"], "--fleet: 'a b' is not a valid realm"),
        (["--fleet", "ws://router", "--fleet-name", ""], "--fleet-name: the name of a member is not empty"),
        (["--fleet", "wss://router", "--fleet-ticket", "NONE"], "--fleet-ticket: NONE: No such file"),
        (["--fleet", "ws://router", "--fleet-ticket", "TICKET"], "--fleet-ticket: a ticket is not sent to"),
        (["--fleet", "wss://router", "--fleet-ca", "TICKET"], "--fleet: TICKET: there is no certificate"),
    ],
)
def test_invalid_options(words: list[str], error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong is one line that names the option."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "TICKET").write_text("secret\n")
    with pytest.raises(UsageError) as raised:
        parse(*words)
    assert str(raised.value).startswith(error)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Autobahn one line says what to install."""
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"--fleet: .*Python 3.11.*pip install 'twisted-qmon\[fleet\]'"):
        parse("--fleet", "ws://router")
    service = make_monitor_service(MemoryReactorClock(), Monitor())
    with pytest.raises(ImportError, match="twisted-qmon"):
        join_fleet(service, "ws://router")


@needs_autobahn
def test_the_service_joins(tmp_path: Path) -> None:
    """The service has a member, which reads its ticket again with the rules; a name is made of any text."""
    reactor = MemoryReactorClock()
    service = make_monitor_service(reactor, Monitor("shop", reactor))
    assert service.reread_files == []
    (tmp_path / "ticket").write_text("secret\n")
    member = join_fleet(service, "wss://router/ws", "a.b", ticket=tmp_path / "ticket")
    assert member.member_name == "a_b"
    assert service.rereads
    assert member.reread in service.on_reread
    assert service.other_endpoints == ["fleet:router:443"]
    other = Monitor("vm", reactor)
    assert join_fleet(service, "ws://router", "vm", monitor=other).member.monitor is other
    options = parse("--fleet", "ws://router", "--fleet-name", "c")
    from twisted_qmon.fleet.service import MemberService
    from twisted_qmon.tap.fleet import FleetOptions

    FleetOptions.serve(options, service)
    FleetOptions.serve(parse(), service)
    assert sum(isinstance(each, MemberService) for each in service) == 3
