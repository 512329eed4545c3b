"""
Identities: their text, what rules are compared with, and who is the same caller.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from twisted_qmon.core.access.identity import (
    LOCAL,
    UNIX,
    Identity,
    certificate_identity,
    fleet_identity,
    ssh_identity,
    tcp_identity,
    tls_identity,
    unix_identity,
    web_identity,
)


def unix(uid: int, pid: int) -> Identity:
    """A caller on a unix socket."""
    return unix_identity(uid, pid, [1000, 27], {1000: "alice"}, {1000: "alice", 27: "sudo"})


@pytest.mark.parametrize(
    ("identity", "text", "name"),
    [
        (unix(1000, 4711), "uid:1000(alice) pid:4711", "uid:1000(alice)"),
        (unix(1001, 4711), "uid:1001 pid:4711", "uid:1001"),
        (certificate_identity("CN=alice,O=ops"), "cert:CN=alice,O=ops", "cert:CN=alice,O=ops"),
        (ssh_identity("SHA256:abc", "alice@home"), "ssh:SHA256:abc (alice@home)", "ssh:SHA256:abc (alice@home)"),
        (ssh_identity("SHA256:abc"), "ssh:SHA256:abc", "ssh:SHA256:abc"),
        (web_identity("dashboard"), "web:dashboard", "web:dashboard"),
        (fleet_identity("ops-1"), "fleet:ops-1", "fleet:ops-1"),
        (tcp_identity("127.0.0.1", 4444), "tcp:127.0.0.1:4444", "tcp:127.0.0.1:4444"),
        (tls_identity("::1", 4444), "tls:::1:4444", "tls:::1:4444"),
        (LOCAL, "local", "local"),
        (UNIX, "unix", "unix"),
    ],
)
def test_text(identity: Identity, text: str, name: str) -> None:
    """Each kind of connection has its form; errors leave the process's number out."""
    assert str(identity) == identity.text == text
    assert identity.name == name


def test_attributes_of_a_unix_caller() -> None:
    """Rules see the user and each group, by number and by name, and never the pid."""
    assert unix(1000, 4711).attributes == ("uid:1000", "uid:alice", "gid:1000", "gid:alice", "gid:27", "gid:sudo")
    assert unix(1001, 4711).attributes == ("uid:1001", "gid:1000", "gid:alice", "gid:27", "gid:sudo")


def test_name_that_is_a_number_is_no_number() -> None:
    """A user called C{0} is not user 0 to the rules."""
    assert unix_identity(1000, 1, [5], {1000: "0"}, {5: "27"}).attributes == ("uid:1000", "gid:5")


def test_comment_of_a_key_is_no_attribute() -> None:
    """Rules see a key's fingerprint: a comment proves nothing."""
    assert ssh_identity("SHA256:abc", "x").attributes == ("ssh:SHA256:abc",)


def test_kernel_that_tells_nothing_matches_no_rule() -> None:
    """A unix socket without credentials has nothing that a rule could match."""
    assert UNIX.attributes == ()


@pytest.mark.parametrize(
    ("one", "other", "owns"),
    [
        (unix(1000, 1), unix(1000, 2), True),
        (unix(1000, 1), unix(1001, 1), False),
        (web_identity("a"), web_identity("a"), True),
        (web_identity("a"), fleet_identity("a"), False),
        (ssh_identity("SHA256:abc", "x"), ssh_identity("SHA256:abc", "y"), True),
        (certificate_identity("CN=a"), certificate_identity("CN=a"), True),
        (tcp_identity("h", 1), tcp_identity("h", 1), False),
        (tls_identity("h", 1), tls_identity("h", 1), False),
        (UNIX, UNIX, False),
        (LOCAL, LOCAL, True),
        (LOCAL, UNIX, False),
    ],
)
def test_ones_own(one: Identity, other: Identity, owns: bool) -> None:
    """One's own is what the same identity asked for, whatever its process; where the identity tells nothing, the same session."""
    assert one.owns("qmp-1", other, "qmp-2") is owns
    assert other.owns("qmp-2", one, "qmp-1") is owns
    assert one.owns("qmp-1", one, "qmp-1")


@pytest.mark.parametrize(
    ("identity", "text"),
    [
        (certificate_identity("CN=a\nb\x1b,O=\u202e"), r"cert:CN=a\0Ab\1B,O=\E2\80\AE"),
        (certificate_identity("CN=\ud800"), r"cert:CN=\ED\A0\80"),
        (web_identity("a\nb"), r"web:a\nb"),
        (ssh_identity("SHA256:x", "\x1b[2J"), r"ssh:SHA256:x (\x1b[2J)"),
        (unix_identity(1, 2, [], {1: "a\tb"}, {}), r"uid:1(a\tb) pid:2"),
        (certificate_identity("CN=Jürgen"), "cert:CN=Jürgen"),
    ],
)
def test_text_is_printable(identity: Identity, text: str) -> None:
    """What a certificate, a comment or a name brings along can't move a terminal's cursor, nor begin a line of the log."""
    assert identity.text == text


@pytest.mark.parametrize("make", [certificate_identity, web_identity, fleet_identity])
def test_long_text_is_cut_where_it_is_shown(make: Callable[[str], Identity]) -> None:
    """An identity is shown with at most 1,024 characters; rules, and the question whose a request is, go by all of them."""
    identity = make("x" * 5000)
    assert len(identity.text) == 1024
    assert identity.text.endswith("...")
    assert [len(attribute) > 5000 for attribute in identity.attributes] == [True]
    assert not identity.owns("a", make("x" * 5001), "b")
    assert len(ssh_identity("SHA256:x", "c" * 5000).text) < 1100
