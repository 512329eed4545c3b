"""Who may log in, out of a file as OpenSSH has it."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from twisted.conch.ssh.common import NS
from twisted.conch.ssh.keys import Key
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from tests.support.ssh_client import new_key
from twisted_qmon.ssh.authorized_keys import (
    MAX_KEYS_FILE,
    AuthorizedKey,
    AuthorizedKeys,
    AuthorizedKeysError,
    parse_line,
)

KEY = new_key().public()
TEXT = KEY.toString("openssh").decode().strip()
EC = Key(ec.generate_private_key(ec.SECP256R1())).public().toString("openssh").decode()
RSA = Key(rsa.generate_private_key(65537, 2048)).public().toString("openssh").decode()
SHORT_RSA = Key(rsa.generate_private_key(65537, 1024)).public().toString("openssh").decode()


def parsed(line: str) -> AuthorizedKey:
    key = parse_line(line)
    assert key is not None
    return key


def test_a_line(tmp_path: Path) -> None:
    """The identity is the fingerprint, as ssh-keygen shows it, and the comment."""
    key = parsed(f"{TEXT} alice at home ")
    assert key.blob == KEY.blob()
    fingerprint = key.identity.attributes[0]
    assert fingerprint.startswith("ssh:SHA256:")
    assert str(key.identity) == f"{fingerprint} (alice at home)"
    assert str(parsed(TEXT).identity) == fingerprint
    assert parse_line("") is None
    assert parse_line("  # a comment") is None
    (tmp_path / "key.pub").write_text(f"{TEXT} x\n")
    try:
        shown = subprocess.run(
            ["ssh-keygen", "-lf", str(tmp_path / "key.pub")], capture_output=True, text=True, timeout=30
        )
    except FileNotFoundError:
        return
    assert shown.stdout.split()[1] == fingerprint.removeprefix("ssh:")


@pytest.mark.parametrize(
    ("options", "pty"),
    [
        ("", True),
        ("restrict ", False),
        ("restrict,pty ", True),
        ("no-pty ", False),
        ("no-port-forwarding,no-agent-forwarding,no-X11-forwarding,no-user-rc ", True),
        ('from="192.0.2.1",RESTRICT\t', False),
    ],
)
def test_options(options: str, pty: bool) -> None:
    """Options that forbid what is not to be had are kept to anyway; C{restrict} forbids the terminal, too."""
    assert parsed(options + TEXT).pty is pty
    assert parsed(options + TEXT).blob == KEY.blob()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f'command="id" {TEXT}', "the option 'command' is not kept to here"),
        (f"cert-authority {TEXT}", "the option 'cert-authority' is not kept to here"),
        (f"port-forwarding {TEXT}", "the option 'port-forwarding' is not kept to here"),
        (f'environment="A=\\"b, c\\"" {TEXT}', "the option 'environment' is not kept to here"),
        (f'expiry-time="20300101" {TEXT}', "the option 'expiry-time' is not kept to here"),
        (f'restrict="x" {TEXT}', "the option 'restrict' is not kept to here"),
        (f"from {TEXT}", "the option 'from' is not kept to here"),
        (f'no-user-rc="x" {TEXT}', "the option 'no-user-rc' is not kept to here"),
        (f'from="*.example.org" {TEXT}', "from='*.example.org' is not an address, a pattern of one, or a network"),
        (f'from="192.0.2.0/99" {TEXT}', "from='192.0.2.0/99' is not an address"),
        (f'from="192.0.2.1,,x" {TEXT}', "from='' is not an address"),
        (f'command="id {TEXT}', "it has neither a known type of key nor options"),
        ("nonsense", "it has neither a known type of key nor options"),
        ("ssh-dss AAAA", "the option 'ssh-dss' is not kept to here"),
        ("restrict ssh-dss AAAA", "'ssh-dss' is not a type of key that is accepted"),
        ("ssh-ed25519", "the key can't be read"),
        ("ssh-ed25519 AAAA", "the key can't be read"),
        ("ssh-ed25519 ÄÖÜ", "the key can't be read"),
        (TEXT.replace("ssh-ed25519", "ssh-rsa"), "the key is not of the type ssh-rsa"),
        (SHORT_RSA, "an RSA key needs at least 2048 bits, it has 1024"),
    ],
    # The key is made for each run; what is run is the same in each.
    ids=lambda value: value.replace(SHORT_RSA, "RSA").replace(TEXT, "KEY").replace(TEXT.split()[1], "KEY"),
)
def test_lines_that_are_not_used(line: str, words: str) -> None:
    """What would not be kept to is no line at all, and is told."""
    with pytest.raises(AuthorizedKeysError) as error:
        parse_line(line)
    assert words in str(error.value)


def test_types_of_keys() -> None:
    """Ed25519, ECDSA and RSA, and those of security keys where Twisted has them."""
    assert parsed(EC).blob
    assert parsed(RSA).blob
    if not hasattr(Key, "isSecurityKey"):
        return
    blob = NS(b"sk-ssh-ed25519@openssh.com") + NS(bytes(32)) + NS(b"ssh:")
    assert parsed("sk-ssh-ed25519@openssh.com " + base64.b64encode(blob).decode()).blob


@pytest.mark.parametrize(
    ("source", "host", "admitted"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.11", False),
        ("192.0.2.*", "192.0.2.11", True),
        ("192.0.2.0/24", "192.0.2.11", True),
        ("192.0.2.0/24", "192.0.3.11", False),
        ("192.0.2.0/24", "2001:db8::1", False),
        ("2001:DB8::/32,10.0.0.?", "2001:db8::1", True),
        ("2001:DB8:*", "2001:db8::1", True),
        ("192.0.2.0/24", "::ffff:192.0.2.11", True),
        ("192.0.2.*,!192.0.2.11", "192.0.2.11", False),
        ("192.0.2.*,!192.0.2.11", "192.0.2.12", True),
        ("!192.0.2.11", "192.0.2.12", False),
        ("*", "", False),
        ("!192.0.2.0/24,*", "192.0.2.9", False),
    ],
)
def test_from(source: str, host: str, admitted: bool) -> None:
    """C{from=} takes addresses, patterns and networks; one with C{!} wins."""
    assert parsed(f'from="{source}" {TEXT}').admits(host) is admitted
    assert parsed(TEXT).admits(host)


@implementer(ILogObserver)
class Logged:
    """What is logged meanwhile."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __enter__(self) -> Logged:
        globalLogPublisher.addObserver(self)
        return self

    def __exit__(self, *_: object) -> None:
        globalLogPublisher.removeObserver(self)

    def __call__(self, event: LogEvent) -> None:
        if str(event["log_namespace"]).startswith("twisted_qmon.ssh"):
            self.lines.append(formatEvent(event))


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.write_text(text)
    path.chmod(mode)


def test_the_file_is_read_again(tmp_path: Path) -> None:
    """When it has changed, when it is told to; lines that can't be used are named, once each time."""
    path = tmp_path / "keys"
    other = new_key().public()
    with Logged() as logged:
        write(path, f"{TEXT} one\n\nnonsense\n")
        keys = AuthorizedKeys(str(path))
        assert logged.lines == [
            f"{path}:3: it has neither a known type of key nor options at its beginning; the line is not used"
        ]
        assert str(keys.find(KEY.blob(), "")).count("(one)")
        assert keys.find(other.blob(), "") is None
        assert len(logged.lines) == 1
        write(path, f'from="10.0.0.1" {TEXT} two\n{TEXT} three\n{other.toString("openssh").decode()} é\n')
        for host, comment in (("10.0.0.1", "two"), ("10.0.0.2", "three")):
            found = keys.find(KEY.blob(), host)
            assert found is not None
            assert f"({comment})" in str(found.identity)
        assert keys.find(other.blob(), "") is not None
        stamp = path.stat()
        path.write_bytes(path.read_bytes().replace(b"two", b"TWO"))
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        keys.reread()
        assert "(TWO)" in str(keys.find(KEY.blob(), "10.0.0.1"))


def test_a_file_that_can_t_be_read(tmp_path: Path) -> None:
    """Lets no client in, until it can; that is said once. At the start it is an error."""
    path = tmp_path / "keys"
    with pytest.raises(AuthorizedKeysError, match="No such file"):
        AuthorizedKeys(str(path))
    write(path, TEXT, 0o620)
    with pytest.raises(AuthorizedKeysError, match=r"others may write to it \(its mode is 620\)"):
        AuthorizedKeys(str(path))
    write(path, TEXT + "\n" + "#" * MAX_KEYS_FILE)
    path.chmod(0o600)
    with pytest.raises(AuthorizedKeysError, match="it is longer than"):
        AuthorizedKeys(str(path))
    with pytest.raises(AuthorizedKeysError, match="it is not a file"):
        AuthorizedKeys(str(tmp_path))
    write(path, TEXT)
    keys = AuthorizedKeys(str(path))
    assert keys.find(KEY.blob(), "")
    with Logged() as logged:
        path.unlink()
        assert keys.find(KEY.blob(), "") is None
        assert keys.find(KEY.blob(), "") is None
        assert logged.lines == [f"{path}: No such file or directory; no client can log in over SSH"]
        write(path, TEXT, 0o666)
        assert keys.find(KEY.blob(), "") is None
        assert "others may write to it" in logged.lines[1]
        path.chmod(0o600)
        assert keys.find(KEY.blob(), "")
