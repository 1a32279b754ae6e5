"""TLS of listeners: PEM files → what Twisted asks for each connection. Files that are renewed are taken at once."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IOpenSSLContextFactory
from zope.interface import implementer

from carbon.config import FILE, Listener
from storage.errors import InvalidConfig

_log = logging.getLogger(__name__)
_Stamp = tuple[tuple[int, int, int], ...]


@implementer(IOpenSSLContextFactory)
class ServerTLS:
    """A context factory: TLS 1.2 or better; with a client CA only for clients that have a certificate of it."""

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        """Raises OSError, or OpenSSL's error, for files that cannot be used."""
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        self._seen = self._stamp()
        self._context = self._load()

    def getContext(self) -> Any:  # noqa: N802  # Twisted's name
        """Called for each connection."""
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen = stamp  # first: files that cannot be used are told once, not for each connection
            try:
                self._context = self._load()
                _log.info("the certificate in %s was renewed", self._certificate)
            except Exception as error:  # OpenSSL's have no root that is not Exception
                _log.error("%s: %s: the certificate of before is kept", self._certificate, error)
        return self._context

    def _stamp(self) -> _Stamp:
        """What changes with the files; () while one of them is missing."""
        paths = (self._certificate, self._key, self._client_ca)
        try:
            found = [path.stat() for path in paths if path is not None]
        except OSError:
            return ()
        return tuple((status.st_mtime_ns, status.st_ino, status.st_size) for status in found)

    def _load(self) -> Any:
        from OpenSSL import crypto
        from twisted.internet import ssl

        chain = ssl.Certificate.loadPEM  # one at a time
        texts = _certificates(self._certificate.read_bytes())
        # a key that is encrypted is refused, where OpenSSL without a passphrase would ask the terminal
        key = crypto.load_privatekey(crypto.FILETYPE_PEM, self._key.read_bytes(), b"")
        trusted = None
        if self._client_ca is not None:
            authorities = map(chain, _certificates(self._client_ca.read_bytes()))
            trusted = ssl.trustRootFromCertificates(list(authorities))
        options = ssl.CertificateOptions(
            privateKey=key,
            certificate=chain(texts[0]).original,
            extraCertChain=[chain(text).original for text in texts[1:]],
            trustRoot=trusted,
            raiseMinimumTo=ssl.TLSVersion.TLSv1_2,
        )
        return options.getContext()


def _certificates(pem: bytes) -> list[bytes]:
    end = b"-----END CERTIFICATE-----"
    found = [part + end for part in pem.split(end)[:-1]]
    if not found:
        raise ValueError("has no certificate (-----BEGIN CERTIFICATE-----)")
    return found


def server_options(listener: Listener) -> ServerTLS | None:
    """What a listener's connections are made with, None without TLS; raises InvalidConfig."""
    if listener.tls_certificate is None or listener.tls_key is None:
        return None
    try:
        return ServerTLS(listener.tls_certificate, listener.tls_key, listener.tls_client_ca)
    except Exception as error:  # OpenSSL's have no root that is not Exception
        table = f"[listener.{listener.name}]"
        raise InvalidConfig(FILE, 0, table, f"TLS cannot be had of its files: {error}") from error
