"""
Certificates for tests: an authority, and what it signs. Made anew each time, with keys that are quick to make.
"""

from __future__ import annotations

import datetime
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["Authority", "Certified"]

_DAY = datetime.timedelta(days=1)
_HOUR = datetime.timedelta(hours=1)


def _pem(thing: Any) -> bytes:
    data: bytes
    if isinstance(thing, x509.Certificate):
        data = thing.public_bytes(serialization.Encoding.PEM)
    else:
        data = thing.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    return data


class Certified:
    """
    A certificate and its key.

    :ivar certificate: in PEM
    :ivar key: in PEM
    """

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = _pem(certificate)
        self.key = _pem(key)

    def private(self) -> Any:
        """:return: as a C{twisted.internet.ssl.PrivateCertificate}"""
        from twisted.internet.ssl import PrivateCertificate

        return PrivateCertificate.loadPEM(self.certificate + self.key)


class Authority:
    """
    A certificate authority.

    :param name: its common name
    :ivar certificate: in PEM
    """

    def __init__(self, name: str = "a test authority") -> None:
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = _pem(self._sign(self._name, self._key, authority=True))

    def issue(self, name: str, *addresses: str, organization: str | None = None, expired: bool = False) -> Certified:
        """
        :param name: the common name
        :param addresses: host names and IP addresses for which it is good, as a server's
        :param organization: what stands before the common name in the subject
        :param expired: it was good until an hour ago
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        if organization is not None:
            subject.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
        return Certified(self._sign(x509.Name(subject), key, addresses, expired=expired), key)

    def trust_root(self) -> Any:
        """:return: as a C{twisted.internet.ssl.Certificate}"""
        from twisted.internet.ssl import Certificate

        return Certificate.loadPEM(self.certificate)

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        addresses: tuple[str, ...] = (),
        *,
        authority: bool = False,
        expired: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now - _HOUR if expired else now + _DAY)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if addresses:
            names = [_general_name(address) for address in addresses]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _general_name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(address))
    except ValueError:
        return x509.DNSName(address)
