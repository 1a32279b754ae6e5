"""A certificate authority of a test's own: PEM files of certificates for servers and clients."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_DAY = datetime.timedelta(days=1)
_NO_SECRET = serialization.NoEncryption()


class Pair(NamedTuple):
    """The files of a certificate (with its chain) and of its key."""

    certificate: Path
    key: Path


class Authority:
    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._name = folder, _named(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._own = self._sign(self._name, self._key.public_key(), is_authority=True)
        self.certificate = folder / f"{name}.pem"
        self.certificate.write_bytes(_pem(self._own))

    def issue(self, name: str, *, secret: bytes = b"") -> Pair:
        """A certificate for localhost; `secret` encrypts its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        pair = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        pair.certificate.write_bytes(_pem(self._sign(_named(name), key.public_key(), is_authority=False)))
        how = serialization.BestAvailableEncryption(secret) if secret else _NO_SECRET
        pair.key.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
        )
        return pair

    def between(self, name: str) -> Authority:
        """An authority whose certificate is signed by this one; what it issues is a chain."""
        made = Authority(self._folder / name, name)
        made._own = self._sign(made._name, made._key.public_key(), is_authority=True)
        made.certificate.write_bytes(_pem(made._own))
        return made

    def _sign(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, *, is_authority: bool
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        made = x509.CertificateBuilder(
            self._name, name, key, x509.random_serial_number(), now - _DAY, now + _DAY
        )
        made = made.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        made = made.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        return made.sign(self._key, hashes.SHA256())


def client_context(trusted: Path, pair: Pair | None = None) -> ssl.SSLContext:
    """A client's that trusts an authority, with a certificate of its own if it has one."""
    context = ssl.create_default_context(cafile=str(trusted))
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
