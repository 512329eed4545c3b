"""C{--ssh}, and C{ssh=} of make_monitor_service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.usage import UsageError

from tests.support.ssh_client import Client, new_key
from twisted_qmon import Monitor, make_monitor_service
from twisted_qmon._twistd import extras
from twisted_qmon.service import serve_ssh
from twisted_qmon.ssh.factory import SSHFactory
from twisted_qmon.tap import Options


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """The options with the two files."""
    (tmp_path / "keys").write_bytes(new_key().public().toString("openssh"))
    return ["--ssh-host-key", str(tmp_path / "host"), "--ssh-authorized-keys", str(tmp_path / "keys")]


def parse(*words: str) -> Options:
    options = Options()
    options.parseOptions(list(words))
    return options


def test_options(files: list[str], tmp_path: Path) -> None:
    """The three together; the key is made; the sockets are those that are there without."""
    options = parse("--ssh", "tcp:2222", *files)
    assert options["qmp"] == ["unix:qmp.sock"]
    assert options.ssh_host_key is not None
    assert options.ssh_authorized_keys is not None
    assert (tmp_path / "host").exists()
    assert parse().ssh_host_key is None


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--ssh", "tcp:2222"], "--ssh: there is no --ssh-host-key"),
        (["--ssh", "tcp:2222", "--ssh-host-key", "HOST"], "--ssh: there is no --ssh-authorized-keys"),
        (["--ssh-host-key", "HOST"], "--ssh-host-key: there is no --ssh"),
        (["--ssh-authorized-keys", "KEYS"], "--ssh-authorized-keys: there is no --ssh"),
        (
            ["--ssh", "nowhere", "--ssh-host-key", "HOST", "--ssh-authorized-keys", "KEYS"],
            "--ssh: 'nowhere' is not a valid",
        ),
        (
            ["--ssh", "tcp:1", "--ssh-host-key", "HOST", "--ssh-authorized-keys", "NONE"],
            "--ssh-authorized-keys: NONE: No such",
        ),
        (
            ["--ssh", "tcp:1", "--ssh-host-key", "KEYS", "--ssh-authorized-keys", "KEYS"],
            "--ssh-host-key: KEYS: others may read",
        ),
    ],
)
def test_errors(files: list[str], tmp_path: Path, words: list[str], error: str) -> None:
    """Each is one line that names the option and the file."""
    places = {"HOST": files[1], "KEYS": files[3], "NONE": str(tmp_path / "none")}
    (tmp_path / "keys").chmod(0o644)
    with pytest.raises(UsageError) as raised:
        parse(*(places.get(word, word) for word in words))
    text = str(raised.value)
    for name, place in places.items():
        text = text.replace(place, name)
    assert text.startswith(error)
    assert "\n" not in text


def test_without_the_extra(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says what to install."""
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    words = "SSH needs twisted[conch] and wcwidth: pip install 'twisted-qmon[ssh]'"
    with pytest.raises(UsageError, match="--ssh: SSH needs") as raised:
        parse("--ssh", "tcp:2222", *files)
    assert words in str(raised.value)
    with pytest.raises(ImportError) as error:
        make_monitor_service(Clock(), Monitor(), ssh=["tcp:2222"], ssh_host_key=files[1], ssh_authorized_keys=files[3])
    assert str(error.value) == words


def test_service(files: list[str]) -> None:
    """Serves at each endpoint; SIGHUP reads the keys again."""
    reactor: Any = MemoryReactorClock()
    monitor = Monitor(clock=reactor)
    with pytest.raises(ValueError, match="ssh needs ssh_host_key and ssh_authorized_keys"):
        make_monitor_service(reactor, Monitor(), ssh=["tcp:1"])
    service = make_monitor_service(
        reactor,
        monitor,
        ssh=["tcp:1:level=observe", "tcp:2"],
        ssh_host_key=files[1],
        ssh_authorized_keys=Path(files[3]),
    )
    first, second = service.factories
    assert isinstance(first, SSHFactory)
    assert (str(first.level), first.endpoint, str(second.level)) == ("observe", "tcp:1", "admin")
    assert [each.name for each in service if each.name.startswith("ssh")] == ["ssh tcp:1", "ssh tcp:2"]
    key = new_key()
    keys = Path(files[3])
    stamp = keys.stat()
    serve_ssh(service, [], None, None)
    serve_ssh(service, ["tcp:3"], files[1], files[3])
    assert service.factories[2:][0].endpoint == "tcp:3"
    assert service.rereads
    assert not Client(first, reactor, key).logged_in
    keys.write_bytes(key.public().toString("openssh"))
    del stamp
    service.reread()
    assert Client(first, reactor, key).logged_in
