"""
The algorithms that are offered and accepted: of those that conch has, the ones that ssh-audit finds no failure in. No CBC, no
SHA-1, no MD5, no DSA, no curves of NIST for the key exchange.
"""

from __future__ import annotations

from twisted.conch.ssh.transport import SSHServerTransport

__all__ = ["CIPHERS", "KEY_EXCHANGES", "LEAST_RSA_BITS", "MACS", "USER_ALGORITHMS"]


def _of(wanted: list[bytes], supported: list[bytes]) -> list[bytes]:
    return [each for each in wanted if each in supported]


#: How keys are agreed upon, best first: as far as this Twisted and its cryptography have them.
KEY_EXCHANGES = _of(
    [b"mlkem768x25519-sha256", b"curve25519-sha256", b"curve25519-sha256@libssh.org"],
    SSHServerTransport.supportedKeyExchanges,
)

CIPHERS = _of([b"aes256-ctr", b"aes192-ctr", b"aes128-ctr"], SSHServerTransport.supportedCiphers)

MACS = _of([b"hmac-sha2-512", b"hmac-sha2-256"], SSHServerTransport.supportedMACs)

#: How clients may sign (RFC 8308's server-sig-algs).
USER_ALGORITHMS = (
    b"ssh-ed25519",
    b"sk-ssh-ed25519@openssh.com",
    b"ecdsa-sha2-nistp256",
    b"ecdsa-sha2-nistp384",
    b"ecdsa-sha2-nistp521",
    b"sk-ecdsa-sha2-nistp256@openssh.com",
    b"rsa-sha2-512",
    b"rsa-sha2-256",
)

#: Bits of the shortest RSA key that may log in.
LEAST_RSA_BITS = 2048
