"""
Logging in: with a public key that is authorized, and in no other way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.conch.error import ValidPublicKey
from twisted.conch.interfaces import IConchUser
from twisted.conch.ssh.common import getNS
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.userauth import SSHUserAuthServer
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ISSHPrivateKey, SSHPrivateKey
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, execute
from zope.interface import Interface, implementer

from twisted_qmon.ssh.algorithms import USER_ALGORITHMS
from twisted_qmon.ssh.log import QuietLogger

if TYPE_CHECKING:
    from twisted_qmon.ssh.authorized_keys import AuthorizedKey, AuthorizedKeys
    from twisted_qmon.ssh.transport import ServerTransport
    from twisted_qmon.ssh.visitor import Visitor

__all__ = ["LOGIN_ATTEMPTS", "LOGIN_TIMEOUT", "KeyChecker", "Login", "make_portal"]

#: Seconds that a client has to log in. OpenSSH gives 120.
LOGIN_TIMEOUT = 30.0

#: Keys that a client may try. As many as with OpenSSH.
LOGIN_ATTEMPTS = 6


@implementer(ICredentialsChecker)
class KeyChecker:
    """
    Looks for keys in a file. The name that a client gives makes no difference.

    :param keys: those that are authorized
    :param host: the address that the client comes from; empty if it has none
    """

    credentialInterfaces = (ISSHPrivateKey,)

    def __init__(self, keys: AuthorizedKeys, host: str) -> None:
        self._keys = keys
        self._host = host

    def requestAvatarId(self, credentials: SSHPrivateKey) -> Deferred[AuthorizedKey]:  # type: ignore[override]
        """
        :return: fires with the line of the file; fails with C{ValidPublicKey} where the key would do and nothing is signed, else
            with C{UnauthorizedLogin}
        """
        return execute(self._check, credentials)

    def _check(self, credentials: SSHPrivateKey) -> AuthorizedKey:
        key = self._keys.find(credentials.blob, self._host)
        if key is None or credentials.algName not in USER_ALGORITHMS:
            raise UnauthorizedLogin("the key is not authorized")
        if not credentials.signature:
            raise ValidPublicKey
        if not _is_signed(credentials):
            raise UnauthorizedLogin("the signature is not that of the key")
        return key


def _is_signed(credentials: SSHPrivateKey) -> bool:
    try:
        # conch would also take the signature of another algorithm, such as RSA's with SHA-1.
        if getNS(credentials.signature)[0] != credentials.algName:
            return False
        return bool(Key.fromString(credentials.blob).verify(credentials.signature, credentials.sigData))
    except Exception:
        # What conch and cryptography raise of a signature that is none.
        return False


@implementer(IRealm)
class _Realm:
    def __init__(self, visit: Callable[[AuthorizedKey], Visitor]) -> None:
        self._visit = visit

    def requestAvatar(  # type: ignore[override]
        self, avatarId: AuthorizedKey, mind: object, *interfaces: type[Interface]
    ) -> tuple[type[Interface], Visitor, Callable[[], None]]:
        return IConchUser, self._visit(avatarId), lambda: None


def make_portal(keys: AuthorizedKeys, host: str, visit: Callable[[AuthorizedKey], Visitor]) -> Portal:
    """
    :param keys: those that are authorized
    :param host: the address that the client comes from; empty if it has none
    :param visit: what becomes of one that has logged in with a key
    :return: what conch asks whether a client may log in
    """
    return Portal(_Realm(visit), [KeyChecker(keys, host)])


class Login(SSHUserAuthServer):
    """conch's part of it, within limits."""

    transport: ServerTransport
    attemptsBeforeDisconnect = LOGIN_ATTEMPTS - 1
    loginTimeout = LOGIN_TIMEOUT  # type: ignore[assignment]
    _log = QuietLogger()

    def serviceStarted(self) -> None:
        self.clock = self.transport.factory.clock
        super().serviceStarted()
        self.portal = self.transport.factory.portal_for(self.transport)
