"""TLS of the HTTP server: PEM files → the OpenSSL context of each connection. Renewed files are taken at once."""

from __future__ import annotations

import logging
from pathlib import Path

from OpenSSL import SSL, crypto

from render.config import Http
from storage.errors import InvalidConfig

_FILE = "plumbago.toml"
_LOG = logging.getLogger(__name__)
# with forward secrecy, and whose MAC is no afterthought: what Mozilla calls intermediate; TLS 1.3 has only such
_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"


class ServerTLS:
    """A context factory in Twisted's sense: TLS 1.2 or better."""

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        """Raises OSError, ValueError, or OpenSSL's error, for files that cannot be used."""
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        self._seen = self._stamp()
        self._context = self._load()

    def getContext(self) -> SSL.Context:  # noqa: N802  # Twisted's name
        """Called for each connection."""
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen = stamp  # first: files that cannot be used are told once, not for each connection
            try:
                self._context = self._load()
                _LOG.info("the certificate in %s was renewed", self._certificate)
            except (OSError, ValueError, SSL.Error, crypto.Error) as error:
                _LOG.error("%s: %r: the certificate of before is kept", self._certificate, error)
        return self._context

    def _stamp(self) -> tuple[tuple[int, int, int], ...]:
        """What changes with the files; () while one of them is missing."""
        paths = (self._certificate, self._key, self._client_ca)
        try:
            found = [path.stat() for path in paths if path is not None]
        except OSError:
            return ()
        return tuple((status.st_mtime_ns, status.st_ino, status.st_size) for status in found)

    def _load(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE)
        context.set_cipher_list(_CIPHERS)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.use_certificate_chain_file(str(self._certificate))
        # a key that is encrypted is refused, where OpenSSL without a passphrase would ask the terminal
        context.use_privatekey(crypto.load_privatekey(crypto.FILETYPE_PEM, self._key.read_bytes(), b""))
        context.check_privatekey()
        if self._client_ca is not None:
            context.load_verify_locations(str(self._client_ca))
            context.set_verify(
                SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *seen: bool(seen[-1])
            )
        return context


def server_tls(http: Http) -> ServerTLS | None:
    """What connections are made with, None without TLS; raises InvalidConfig."""
    if http.tls_certificate is None or http.tls_key is None:
        return None
    try:
        return ServerTLS(http.tls_certificate, http.tls_key, http.tls_client_ca)
    except (OSError, ValueError, SSL.Error, crypto.Error) as error:
        raise InvalidConfig(_FILE, 0, "[http]", f"TLS cannot be had of its files: {error!r}") from error
