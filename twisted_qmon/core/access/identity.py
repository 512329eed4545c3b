"""
Who a caller is, as its connection established it: the text for people, what rules are compared with, and what makes two callers
the same one.

Nothing here asks a socket: the functions take what the kernel, a certificate or a router said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from twisted_qmon._text import printable

__all__ = [
    "LOCAL",
    "UNIX",
    "Identity",
    "certificate_identity",
    "fleet_identity",
    "ssh_identity",
    "tcp_identity",
    "tls_identity",
    "unix_identity",
    "web_identity",
]

#: Characters of an identity as it is shown. A certificate's subject, or a comment, may be longer: what is cut ends in C{...}.
#: Rules see all of it.
MAX_TEXT = 1024


class Identity(msgspec.Struct, frozen=True):
    """
    Who a caller is.

    :ivar text: as C{ICaller.identity} has it: C{uid:1000(alice) pid:4711}
    :ivar name: the same without the process's number, for errors
    :ivar attributes: what the patterns of rules are compared with: C{uid:1000}, C{uid:alice}, C{gid:27}, C{gid:sudo}
    :ivar owner: callers of one owner are the same; empty: only the caller itself is
    """

    text: str
    name: str
    attributes: tuple[str, ...] = ()
    owner: str = ""

    def owns(self, session: str, other: Identity, other_session: str) -> bool:
        """
        :param session: the name of this caller's session
        :param other: who asked for a request, or started a job
        :param other_session: the name of the session that it came by
        :return: whether that is one's own: the same identity without pid and port, or where an identity does not tell one caller
            from another, the same session
        """
        if self.owner:
            return self.owner == other.owner
        return session == other_session

    def __str__(self) -> str:
        return self.text


#: A program that holds the monitor itself.
LOCAL = Identity("local", "local", ("local",), "local")

#: A unix socket whose kernel does not tell who is there: no rule matches, only C{default} applies.
UNIX = Identity("unix", "unix")


def unix_identity(
    uid: int, pid: int, gids: Sequence[int], users: Mapping[int, str], groups: Mapping[int, str]
) -> Identity:
    """
    :param uid: the user, as the kernel said
    :param pid: the process, as the kernel said
    :param gids: the groups, the primary one first
    :param users: the names of users that have one
    :param groups: the names of groups that have one
    :return: C{uid:1000(alice) pid:4711}
    """
    user = users.get(uid)
    name = f"uid:{uid}" if user is None else f"uid:{uid}({printable(user)})"
    attributes = _with_name("uid", uid, users)
    for gid in gids:
        attributes += _with_name("gid", gid, groups)
    return Identity(f"{name} pid:{pid}", name, tuple(dict.fromkeys(attributes)), f"uid:{uid}")


def _with_name(kind: str, number: int, names: Mapping[int, str]) -> list[str]:
    name = names.get(number, "")
    # A name that looks like a number must not pass for that number.
    return [f"{kind}:{number}", f"{kind}:{name}"] if name and not name.isdecimal() else [f"{kind}:{number}"]


def certificate_identity(subject: str) -> Identity:
    """
    :param subject: the subject of a certificate that was verified, in the form of RFC 4514
    :return: C{cert:CN=alice,O=ops}
    """
    return _bounded(f"cert:{_escaped(subject)}")


def ssh_identity(fingerprint: str, comment: str = "") -> Identity:
    """
    :param fingerprint: of the key, as C{ssh-keygen -l} shows it: C{SHA256:...}
    :param comment: the comment of the line in the file of authorized keys
    :return: C{ssh:SHA256:... (comment)}; rules are compared without the comment
    """
    key = f"ssh:{printable(fingerprint)}"
    text = f"{key} ({_cut(printable(comment))})" if comment else key
    return Identity(text, text, (key,), key)


def web_identity(name: str) -> Identity:
    """
    :param name: the name of the token
    :return: C{web:NAME}
    """
    return _bounded(f"web:{printable(name)}")


def fleet_identity(authid: str) -> Identity:
    """
    :param authid: what the router authenticated the caller as
    :return: C{fleet:AUTHID}
    """
    return _bounded(f"fleet:{printable(authid)}")


def tcp_identity(host: str, port: int) -> Identity:
    """
    :return: C{tcp:HOST:PORT}. It says where from, not who: two connections are never the same caller.
    """
    text = f"tcp:{printable(host)}:{port}"
    return Identity(text, text, (text,))


def tls_identity(host: str, port: int) -> Identity:
    """
    :return: C{tls:HOST:PORT}, for TLS without a client certificate. As with TCP, two connections are never the same caller.
    """
    text = f"tls:{printable(host)}:{port}"
    return Identity(text, text, (text,))


def _bounded(text: str) -> Identity:
    cut = _cut(text)
    return Identity(cut, cut, (text,), text)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


def _escaped(subject: str) -> str:
    """The same in RFC 4514's own way, which a subject may be written in without meaning another."""
    return "".join(
        c if c.isprintable() else "".join(f"\\{byte:02X}" for byte in c.encode("utf-8", "surrogatepass"))
        for c in subject
    )
