"""
Endpoint descriptions as C{twistd qmon} takes them: safe defaults for unix sockets, and errors in plain words.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.posixbase import PosixReactorBase

from twisted_qmon._transport.unix_port import Owner, UnixReactor
from twisted_qmon.info import Level

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint

__all__ = ["client_endpoint", "server_endpoint", "service_name", "take_level", "unix_path"]

#: The mode of a unix socket whose description names none. Twisted's own is 666: all users.
MODE = "600"

# The fields of a description: separated by colons, with backslashes before what is meant literally.
_FIELD = re.compile(r"((?:\\.|[^\\:])*)(?::|$)", re.DOTALL)

# How the usual descriptions look, for the error about one that is not complete.
_SERVER_FORMS = {"unix": "unix:PATH", "tcp": "tcp:PORT", "tcp6": "tcp6:PORT", "systemd": "systemd:domain=UNIX:index=0"}
_CLIENT_FORMS = {"unix": "unix:PATH", "tcp": "tcp:HOST:PORT", "tls": "tls:HOST:PORT", "ssl": "ssl:HOST:PORT"}

# What Twisted's parsers raise, which is about the functions that they call.
_PLAIN = [
    (r".* missing \d+ required (?:positional|keyword-only) arguments?: (.*)", r"it lacks \1"),
    (r".* got multiple values for argument ('.*')", r"\1 is given twice"),
    (r".* got an unexpected keyword argument ('.*?').*", r"\1 is not one of its options"),
    (r".* takes .* positional arguments? but \d+ (?:was|were) given", "it has too many fields"),
    (r"invalid literal for int\(\) with base 10: ('.*')", r"\1 is not a number"),
    (r"invalid literal for int\(\) with base 8: ('.*')", r"\1 is not an octal number"),
    (r"Unknown endpoint type: ('.*')", r"\1 is not an endpoint type"),
    (r"list index out of range", "there is no socket of that index"),
    # OpenSSL's, which does not say of which file.
    (r"\[\('[\w ]+ routines', .*\)\]", "the key or the certificate is not in PEM, or can't be read"),
]


def _fields(description: str) -> list[str]:
    return _FIELD.findall(description + ":")[:-1]


def unix_path(description: str) -> str | None:
    """:return: the path of a C{unix:} description, or of one behind C{haproxy:}; C{None} for any other"""
    kind, *fields = _fields(description.removeprefix("haproxy:"))
    if kind != "unix":
        return None
    for field in fields:
        if field.startswith("address="):
            return re.sub(r"\\(.)", r"\1", field[len("address=") :])
    return re.sub(r"\\(.)", r"\1", fields[0]) if fields else None


def take_level(description: str) -> tuple[str, Level]:
    """
    Take the level out of a description: Twisted does not know it.

    :param description: as Twisted takes it, and maybe with C{level=LEVEL} among its options
    :return: it without that, and the most that a client may do there
    :raise ValueError: when there is no such level, or there are two
    """
    kind, *fields = _fields(description)
    levels = [field.removeprefix("level=") for field in fields if field.startswith("level=")]
    if not levels:
        return description, Level.ADMIN
    try:
        if len(levels) > 1:
            raise ValueError("'level' is given twice")
        level = Level.of(levels[0])
    except ValueError as e:
        raise ValueError(f"{description!r} is not a valid server endpoint: {e}") from e
    return ":".join([kind, *(field for field in fields if not field.startswith("level="))]), level


def service_name(description: str) -> str:
    """:return: the description without the folders in it: a name that can be part of the path of a service"""
    return re.sub(r"[^:=]*/", "", description)


def server_endpoint(reactor: Any, description: str, owner: Owner | None = None) -> IStreamServerEndpoint:
    """
    Make the server endpoint that a description names. A C{unix:} one without a mode gets 600, and without C{lockfile}
    has no lock file of Twisted's: see L{UnixPort<twisted_qmon._transport.unix_port.UnixPort>}.

    :param reactor: the reactor; C{None}: only check the description
    :param description: as C{twisted.internet.endpoints.serverFromString} takes it
    :param owner: the user and the group that get a unix socket
    :return: provides C{IStreamServerEndpoint}
    :raise ValueError: when the description is not valid
    """
    completed = description
    path = unix_path(description)
    if path is not None:
        # Behind haproxy: they stand in the same place.
        options = {field.partition("=")[0] for field in _fields(description)}
        if "mode" not in options:
            completed += f":mode={MODE}"
        if "lockfile" not in options:
            completed += ":lockfile=0"
        if isinstance(reactor, PosixReactorBase):
            reactor = UnixReactor(reactor, owner)
    try:
        if path == "":
            raise ValueError("the path is empty")
        endpoint: IStreamServerEndpoint = serverFromString(reactor, completed)
    except Exception as e:
        # Endpoint parsers raise what they like: for a key file that is missing, for a module that is not installed.
        raise ValueError(_complaint(description, "server", e, _SERVER_FORMS)) from e
    return endpoint


def client_endpoint(reactor: Any, description: str) -> IStreamClientEndpoint:
    """
    Make the client endpoint that a description names.

    :param reactor: the reactor; C{None}: only check the description
    :param description: as C{twisted.internet.endpoints.clientFromString} takes it
    :return: provides C{IStreamClientEndpoint}
    :raise ValueError: when the description is not valid
    """
    try:
        if unix_path(description.replace("path=", "address=")) == "":
            raise ValueError("the path is empty")
        endpoint: IStreamClientEndpoint = clientFromString(reactor, description)
    except Exception as e:
        raise ValueError(_complaint(description, "client", e, _CLIENT_FORMS)) from e
    return endpoint


def _complaint(description: str, kind: str, error: Exception, forms: dict[str, str]) -> str:
    reason = _reason(error)
    form = forms.get(description.partition(":")[0])
    hint = f" (as in {form})" if form is not None and reason.startswith("it lacks") else ""
    return f"{description!r} is not a valid {kind} endpoint: {reason}{hint}"


def _reason(error: Exception) -> str:
    # Of Twisted's UnlistableError.
    error = getattr(error, "originalException", error)
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        return f"{error.filename}: {os.strerror(error.errno)}"
    text = " ".join(str(error).split()) or type(error).__name__
    for pattern, plain in _PLAIN:
        match = re.fullmatch(pattern, text)
        if match is not None:
            return match.expand(plain)
    return text
