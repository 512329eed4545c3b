"""
Secrets: what a handler is given, and where they do not appear.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import eventAsText, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from twisted_qmon import CommandProvider, Monitor, RegistrationError, Request, Secret, command
from twisted_qmon.core.audit.trail import Audit
from twisted_qmon.testing import HMPConnection, QMPConnection

MARKER = "hunter2-marker"


class Vault(CommandProvider):
    """Commands that take secrets, in every way that a parameter can be given."""

    def __init__(self) -> None:
        self.given: list[Any] = []
        self.waiting: list[Deferred[None]] = []

    @command(level="operate")
    def open_(self, name: str, password: Secret[str]) -> bool:
        """open it"""
        self.given.append(password)
        return password.value == MARKER

    @command(level="operate", args_type="name:s,new_password:s?")
    def change(self, request: Request, name: str, new_password: Secret[str] | None = None) -> Deferred[None]:
        """change it, some time"""
        self.given.append(new_password)
        self.waiting.append(Deferred())
        return self.waiting[-1]

    @command(level="operate")
    async def fail(self, *, password: Secret[str], request: Request) -> None:
        """fail, with the secret in sight"""
        self.given.append(password)
        raise ZeroDivisionError(f"with {password} and {password!r}")


def test_secret_is_not_shown() -> None:
    """However it is printed it is three stars; it has its value, compares, and is not pickled."""
    secret = Secret(MARKER)
    assert f"{secret} {secret!r} {secret!s} {secret:>20} {[secret]}".count("***") == 5
    assert MARKER not in f"{secret} {secret!r} {secret!s} {secret:>20} {[secret]}"
    assert secret.value == MARKER
    assert secret == Secret(MARKER) != Secret("x")
    assert secret != MARKER
    assert len({secret, Secret(MARKER)}) == 1
    assert secret
    assert not Secret("")
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)


class NowhereTests(SynchronousTestCase):
    """What clients, operators and auditors see."""

    folder: Path

    @pytest.fixture(autouse=True)
    def _in_a_folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def test_secret_is_nowhere(self) -> None:
        """Neither the log, nor the audit, nor query-pending, nor an error has it, whatever becomes of the command."""
        observer = EventLoggingObserver()
        globalLogPublisher.addObserver(observer)
        path = self.folder / "audit"
        monitor = Monitor(clock=Clock(), audit=Audit(str(path), Clock().seconds))
        vault = Vault()
        monitor.register(vault)
        machine, person = QMPConnection(monitor), HMPConnection(monitor)
        seen: list[Any] = []
        try:
            assert machine.execute("open", {"name": "a", "password": MARKER}) == {"return": True}
            assert "true" in person.type(f"open a {MARKER}")
            machine.send({"execute": "change", "arguments": {"name": "a", "new_password": MARKER}, "id": 1})
            seen.append(machine.execute("query-pending"))
            seen.append(person.type("info pending"))
            vault.waiting.pop().errback(RuntimeError(repr(vault.given[-1])))
            seen.append(machine.received())
            seen.append(machine.execute("fail", {"password": MARKER}))
            seen.append(machine.execute("open", {"name": "a", "pasword": MARKER}))
            seen.append(machine.execute("open", {"name": "a", "password": {"x": MARKER}}))
            seen.append(machine.execute("opn", {"password": MARKER}))
        finally:
            globalLogPublisher.removeObserver(observer)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError, RuntimeError)), 2)
        assert [secret.value for secret in vault.given] == [MARKER] * 4
        assert MARKER not in repr(seen)
        assert MARKER not in path.read_text()
        assert path.read_text().count('"password":"***"') == 3
        assert '"new_password":"***"' in path.read_text()
        assert len(observer) > 8
        for event in observer:
            assert MARKER not in eventAsText(event)


def test_to_clients_it_is_a_string() -> None:
    """The schema and the help say that it is a string; one that is missing, or no string, is refused in QEMU's words."""
    monitor = Monitor(clock=Clock())
    monitor.register(Vault())
    client = QMPConnection(monitor)
    [described] = client.execute("query-command-help", {"name": "open"})["return"]
    assert described["parameters"][1] == {"name": "password", "type": {"kind": "str"}}
    assert client.execute("open", {"name": "a"})["error"]["desc"] == "Parameter 'password' is missing"
    assert client.execute("open", {"name": "a", "password": 1})["error"]["desc"] == (
        "Invalid parameter type for 'password', expected: string"
    )
    client.send({"execute": "change", "arguments": {"name": "a"}})
    assert client.received() == []


@pytest.mark.parametrize("annotation", [Secret[int], list[Secret[str]], dict[str, Secret[str]]])  # type: ignore[type-var]
def test_only_a_string_of_its_own(annotation: object) -> None:
    """A secret is a string, and a parameter of its own: anything else is an error where the command is registered."""

    def handler(value: object) -> None: ...

    handler.__annotations__["value"] = annotation
    with pytest.raises(RegistrationError):
        Monitor(clock=Clock()).register_command("x", handler)
